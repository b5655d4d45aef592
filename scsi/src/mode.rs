//! MODE SENSE (SPC-3 6.9, 6.10) with the caching and the control mode page (SBC-2 6.3.3, SPC-3 7.4.6).

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::lun::{Cache, Lun};
use crate::reply::Reply;
use crate::sense::Sense;

/// The command's kind, hence that of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// MODE SENSE(6).
    Six,
    /// MODE SENSE(10).
    Ten {
        /// LLBAA: the initiator takes long block descriptors.
        long_lba: bool,
    },
}

/// The request's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Kind of the command.
    pub form: Form,
    /// DBD: leave block descriptors out.
    pub no_descriptors: bool,
    /// PC, the page control: 0 current, 1 changeable, 2 default, 3 saved.
    pub control: u8,
    /// Page code, six bits.
    pub page: u8,
    /// Subpage code.
    pub subpage: u8,
}

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header6 {
    pub mode_data_length: u8,
    pub medium_type: u8,
    pub device_specific: u8,
    pub block_descriptor_length: u8,
}
const _: () = assert!(size_of::<Header6>() == 4);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header10 {
    pub mode_data_length: U16,
    pub medium_type: u8,
    pub device_specific: u8,
    pub long_lba: u8,
    pub reserved: u8,
    pub block_descriptor_length: U16,
}
const _: () = assert!(size_of::<Header10>() == 8);

/// Short LBA block descriptor (SBC-2 6.3.2.2). The block length is the low 24 bits of the last field.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct ShortDescriptor {
    blocks: U32,
    block_size: U32,
}
const _: () = assert!(size_of::<ShortDescriptor>() == 8);

/// Long LBA block descriptor (SBC-2 6.3.2.3).
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct LongDescriptor {
    blocks: U64,
    reserved: U32,
    block_size: U32,
}
const _: () = assert!(size_of::<LongDescriptor>() == 16);

/// Caching mode page.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct CachingPage {
    page: u8,
    length: u8,
    /// WCE is 0x04.
    flags: u8,
    rest: [u8; 17],
}
const _: () = assert!(size_of::<CachingPage>() == 20);

/// Control mode page.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct ControlPage {
    page: u8,
    length: u8,
    flags: u8,
    /// QUEUE ALGORITHM MODIFIER in the high four bits: 1, unrestricted reordering allowed.
    queue: u8,
    rest: [u8; 4],
    /// BUSY TIMEOUT PERIOD in units of 100 ms; all ones is unlimited.
    busy_timeout: U16,
    self_test: U16,
}
const _: () = assert!(size_of::<ControlPage>() == 12);

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0A;
const ALL: u8 = 0x3F;
const ALL_SUBPAGES: u8 = 0xFF;

/// PAGE CONTROL values (SPC-3 table 99).
pub(crate) const CHANGEABLE: u8 = 1;
pub(crate) const SAVED: u8 = 3;

/// Write protected, and DPO and FUA honoured (SBC-2 6.3.1).
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;

/// Returns the mode data asked for, whole.
pub(crate) fn sense(lun: &Lun, request: &Request) -> Result<Reply, Sense> {
    if request.control == SAVED {
        return Err(Sense::SAVING_NOT_SUPPORTED);
    }
    let subpage_ok = request.subpage == 0 || (request.page == ALL && request.subpage == ALL_SUBPAGES);
    if !subpage_ok {
        return Err(Sense::invalid_field(3));
    }
    let (caching, control) = match request.page {
        CACHING => (true, false),
        CONTROL => (false, true),
        ALL => (true, true),
        _ => return Err(Sense::invalid_field(2)),
    };

    // Nothing can be changed: the mask of changeable bits is all zero.
    let mask = request.control == CHANGEABLE;
    let mut pages = Reply::EMPTY;
    if caching {
        let wce = if lun.cache == Cache::Volatile && !mask { 0x04 } else { 0 };
        pages.push(&CachingPage {
            page: CACHING,
            length: (size_of::<CachingPage>() - 2) as u8,
            flags: wce,
            rest: [0; 17],
        });
    }
    if control {
        pages.push(&ControlPage {
            page: CONTROL,
            length: (size_of::<ControlPage>() - 2) as u8,
            flags: 0,
            queue: if mask { 0 } else { 0x10 },
            rest: [0; 4],
            busy_timeout: if mask { U16::ZERO } else { U16::new(0xFFFF) },
            self_test: U16::ZERO,
        });
    }

    let mut descriptors = Reply::EMPTY;
    let long_lba = request.form == Form::Ten { long_lba: true };
    if !request.no_descriptors {
        if long_lba {
            descriptors.push(&LongDescriptor {
                blocks: U64::new(lun.blocks()),
                reserved: U32::ZERO,
                block_size: U32::new(lun.block_size.bytes()),
            });
        } else {
            descriptors.push(&ShortDescriptor {
                blocks: U32::new(u32::try_from(lun.blocks()).unwrap_or(u32::MAX)),
                block_size: U32::new(lun.block_size.bytes()),
            });
        }
    }

    let device_specific =
        if lun.read_only { WP } else { 0 } | if lun.cache == Cache::Volatile { DPOFUA } else { 0 };
    let mut reply = match request.form {
        Form::Six => Reply::of(&Header6 {
            mode_data_length: (size_of::<Header6>() - 1 + descriptors.len() + pages.len()) as u8,
            medium_type: 0,
            device_specific,
            block_descriptor_length: descriptors.len() as u8,
        }),
        Form::Ten { .. } => Reply::of(&Header10 {
            mode_data_length: U16::new((size_of::<Header10>() - 2 + descriptors.len() + pages.len()) as u16),
            medium_type: 0,
            device_specific,
            long_lba: u8::from(long_lba && !request.no_descriptors),
            reserved: 0,
            block_descriptor_length: U16::new(descriptors.len() as u16),
        }),
    };
    reply.push(descriptors.as_bytes());
    reply.push(pages.as_bytes());
    Ok(reply)
}
