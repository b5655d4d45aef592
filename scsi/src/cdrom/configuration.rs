//! GET CONFIGURATION (MMC-5 6.5): the features that the drive has (MMC-5 5).

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::{BLOCK, LONGEST_CD, refuse_if};
use crate::reply::Reply;
use crate::sense::Sense;

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    /// Bytes behind this field.
    length: U32,
    reserved: U16,
    /// Of the medium that is in; 0 for none.
    profile: U16,
}
const _: () = assert!(size_of::<Header>() == 8);

/// A feature descriptor's head (MMC-5 table 89).
#[derive(Clone, Copy, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Feature {
    code: U16,
    /// Version in bits 2 to 5, persistent 2, current 1.
    flags: u8,
    /// Bytes behind this field.
    length: u8,
}
const _: () = assert!(size_of::<Feature>() == 4);

/// MMC-5 table 94.
const CD_ROM: u16 = 0x0008;
const DVD_ROM: u16 = 0x0010;

const PERSISTENT: u8 = 0x02;
const CURRENT: u8 = 0x01;

/// Returns the features that `cdb` asks for, with a medium of so many blocks in the drive; 0 for none.
pub(super) fn read(cdb: &[u8; 10], blocks: u32) -> Result<Reply, Sense> {
    let (wanted, first) = (cdb[1] & 0x03, u16::from_be_bytes([cdb[2], cdb[3]]));
    refuse_if(wanted == 3, 1)?;
    let (cd, dvd) = (blocks > 0 && blocks <= LONGEST_CD, blocks > LONGEST_CD);
    let current = |is: bool| if is { CURRENT } else { 0 };
    let always = PERSISTENT | CURRENT;
    let version = |n: u8| n << 2;
    let [dvd_high, dvd_low] = DVD_ROM.to_be_bytes();
    let [cd_high, cd_low] = CD_ROM.to_be_bytes();
    let [_, _, size_high, size_low] = BLOCK.bytes().to_be_bytes();
    let features: [(u16, u8, &[u8]); 7] = [
        // The list of profiles.
        (0x0000, always, &[dvd_high, dvd_low, current(dvd), 0, cd_high, cd_low, current(cd), 0]),
        // Core: the interface is SCSI; INQUIRY as in version 2.
        (0x0001, always | version(2), &[0, 0, 0, 1, 0x02, 0, 0, 0]),
        // Morphing: its events are polled.
        (0x0002, always | version(1), &[0, 0, 0, 0]),
        // Removable medium: a tray, which can be ejected and locked.
        (0x0003, always | version(1), &[0x29, 0, 0, 0]),
        // Random readable: the block's size, one block at a time, no error recovery page.
        (0x0010, current(cd || dvd), &[0, 0, size_high, size_low, 0, 1, 0, 0]),
        // CD read, without C2 pointers and CD text.
        (0x001E, version(2) | current(cd), &[0, 0, 0, 0]),
        // DVD read.
        (0x001F, current(dvd), &[]),
    ];
    let asked = |code: u16, flags: u8| match wanted {
        0 => code >= first,
        1 => code >= first && flags & CURRENT != 0,
        _ => code == first,
    };
    let given = || features.iter().filter(|(code, flags, _)| asked(*code, *flags));
    let length: usize = given().map(|(.., data)| size_of::<Feature>() + data.len()).sum();
    let profile = match (cd, dvd) {
        (true, _) => CD_ROM,
        (_, true) => DVD_ROM,
        _ => 0,
    };
    let mut reply = Reply::of(&Header {
        length: U32::new((size_of::<Header>() - 4 + length) as u32),
        reserved: U16::ZERO,
        profile: U16::new(profile),
    });
    for (code, flags, data) in given() {
        reply.push(&Feature { code: U16::new(*code), flags: *flags, length: data.len() as u8 });
        reply.push(*data);
    }
    Ok(reply)
}
