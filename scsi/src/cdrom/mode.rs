//! MODE SENSE of a CD-ROM drive: read error recovery (MMC-5 7.3) and capabilities (MMC-3 5.5.10).

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::refuse_if;
use crate::mode::{CHANGEABLE, Form, Header6, Header10, Request, SAVED};
use crate::reply::Reply;
use crate::sense::Sense;

const ERROR_RECOVERY: u8 = 0x01;
const CAPABILITIES: u8 = 0x2A;
const ALL: u8 = 0x3F;
const ALL_SUBPAGES: u8 = 0xFF;

/// Read error recovery. The backend retries as it sees fit.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct ErrorRecovery {
    page: u8,
    length: u8,
    parameter: u8,
    retries: u8,
    rest: [u8; 8],
}
const _: () = assert!(size_of::<ErrorRecovery>() == 12);

/// C/DVD capabilities and mechanical status.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Capabilities {
    page: u8,
    length: u8,
    /// DVD-ROM 0x08, CD-RW 0x02, CD-R 0x01.
    reads: u8,
    writes: u8,
    /// Multi-session 0x40, mode 2 form 2 0x20 and form 1 0x10, audio 0x01.
    features: u8,
    /// Bar code 0x80, …, R-W channels 0x04, CD-DA 0x01.
    more: u8,
    /// A tray is 0x20; eject 0x08, prevent jumper 0x04, lock 0x01.
    loading: u8,
    audio: u8,
    /// In kB/s, of 1x 176.4.
    max_speed: U16,
    volume_levels: U16,
    /// In KiB.
    buffer: U16,
    speed: U16,
    rest: [u8; 4],
}
const _: () = assert!(size_of::<Capabilities>() == 20);

/// 4x: what old initiators expect a drive to have; nothing here is so slow or so fast.
const SPEED: U16 = U16::new(706);

/// Returns the mode data asked for, whole.
pub(super) fn sense(request: &Request) -> Result<Reply, Sense> {
    if request.control == SAVED {
        return Err(Sense::SAVING_NOT_SUPPORTED);
    }
    let all = request.page == ALL;
    refuse_if(request.subpage != 0 && !(all && request.subpage == ALL_SUBPAGES), 3)?;
    refuse_if(!all && !matches!(request.page, ERROR_RECOVERY | CAPABILITIES), 2)?;
    // Nothing can be changed: the mask of changeable bits is all zero.
    let mask = request.control == CHANGEABLE;
    let value = |value: u8| if mask { 0 } else { value };
    let speed = if mask { U16::ZERO } else { SPEED };
    let mut pages = Reply::EMPTY;
    if all || request.page == ERROR_RECOVERY {
        pages.push(&ErrorRecovery {
            page: ERROR_RECOVERY,
            length: (size_of::<ErrorRecovery>() - 2) as u8,
            parameter: 0,
            retries: 0,
            rest: [0; 8],
        });
    }
    if all || request.page == CAPABILITIES {
        pages.push(&Capabilities {
            page: CAPABILITIES,
            length: (size_of::<Capabilities>() - 2) as u8,
            reads: value(0x08),
            writes: 0,
            features: 0,
            more: 0,
            loading: value(0x29),
            audio: 0,
            max_speed: speed,
            volume_levels: U16::ZERO,
            buffer: U16::ZERO,
            speed,
            rest: [0; 4],
        });
    }
    let mut reply = match request.form {
        Form::Six => Reply::of(&Header6 {
            mode_data_length: (size_of::<Header6>() - 1 + pages.len()) as u8,
            medium_type: 0,
            device_specific: 0,
            block_descriptor_length: 0,
        }),
        Form::Ten { .. } => Reply::of(&Header10 {
            mode_data_length: U16::new((size_of::<Header10>() - 2 + pages.len()) as u16),
            medium_type: 0,
            device_specific: 0,
            long_lba: 0,
            reserved: 0,
            block_descriptor_length: U16::ZERO,
        }),
    };
    reply.push(pages.as_bytes());
    Ok(reply)
}
