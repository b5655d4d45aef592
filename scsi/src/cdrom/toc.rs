//! READ TOC/PMA/ATIP (MMC-5 6.26): one session of one data track.

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::refuse_if;
use crate::reply::Reply;
use crate::sense::Sense;

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    /// Bytes behind this field.
    length: U16,
    /// First and last track, or session.
    first: u8,
    last: u8,
}
const _: () = assert!(size_of::<Header>() == 4);

/// A track's descriptor (MMC-5 tables 480 and 486).
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Track {
    reserved: u8,
    /// ADR 1, the position; CONTROL 4, a data track.
    adr_control: u8,
    number: u8,
    reserved2: u8,
    address: [u8; 4],
}
const _: () = assert!(size_of::<Track>() == 8);

const DATA_TRACK: u8 = 0x14;
const LEAD_OUT: u8 = 0xAA;

/// Frames of a second, and of the two seconds before the first block.
const FRAMES: u32 = 75;
const PREGAP: u32 = 2 * FRAMES;

/// Returns the table that `cdb` asks for, of a medium of so many blocks.
pub(super) fn read(cdb: &[u8; 10], blocks: u32) -> Result<Reply, Sense> {
    let msf = cdb[1] & 0x02 != 0;
    // Before MMC the format stood in the control byte.
    let format = if cdb[2] & 0x0F == 0 { cdb[9] >> 6 } else { cdb[2] & 0x0F };
    let track = |number, block| Track {
        reserved: 0,
        adr_control: DATA_TRACK,
        number,
        reserved2: 0,
        address: address(block, msf),
    };
    let header = |tracks: usize| Header {
        length: U16::new((2 + tracks * size_of::<Track>()) as u16),
        first: 1,
        last: 1,
    };
    match format {
        // The tracks from a number on, and the lead-out.
        0 => {
            let first = cdb[6];
            refuse_if(first > 1 && first != LEAD_OUT, 6)?;
            let data = first <= 1;
            let mut reply = Reply::of(&header(if data { 2 } else { 1 }));
            if data {
                reply.push(&track(1, 0));
            }
            reply.push(&track(LEAD_OUT, blocks));
            Ok(reply)
        }
        // The first track of the last session.
        1 => {
            let mut reply = Reply::of(&header(1));
            reply.push(&track(1, 0));
            Ok(reply)
        }
        _ => Err(Sense::invalid_field(2)),
    }
}

/// Returns a block's address: its number, or minutes, seconds and frames.
fn address(block: u32, msf: bool) -> [u8; 4] {
    if !msf {
        return block.to_be_bytes();
    }
    let frames = block.saturating_add(PREGAP);
    let minutes = frames / (60 * FRAMES);
    // A DVD's blocks may be more than the form has minutes for: then its largest address.
    match u8::try_from(minutes) {
        Ok(minutes) => [0, minutes, (frames / FRAMES % 60) as u8, (frames % FRAMES) as u8],
        Err(_) => [0, 0xFF, 59, 74],
    }
}
