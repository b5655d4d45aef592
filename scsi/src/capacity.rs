//! READ CAPACITY (SBC-2 5.10, 5.11).

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::lun::Lun;
use crate::reply::Reply;

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Capacity10 {
    last_block: U32,
    block_size: U32,
}
const _: () = assert!(size_of::<Capacity10>() == 8);

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Capacity16 {
    last_block: U64,
    block_size: U32,
    protection: u8,
    /// Low four bits: logical blocks per physical block as a power of two (SBC-3 5.16.2).
    physical_exponent: u8,
    /// Lowest aligned address in the low 14 bits; LBPME, provisioned thinly, is 0x8000 (SBC-3 5.16.2).
    lowest_aligned: U16,
    reserved: [u8; 16],
}
const _: () = assert!(size_of::<Capacity16>() == 32);

pub(crate) fn ten(lun: &Lun) -> Reply {
    // All ones sends the initiator to READ CAPACITY(16).
    let last = u32::try_from(lun.last_block()).unwrap_or(u32::MAX);
    Reply::of(&Capacity10 { last_block: U32::new(last), block_size: U32::new(lun.block_size.bytes()) })
}

pub(crate) fn sixteen(lun: &Lun) -> Reply {
    Reply::of(&Capacity16 {
        last_block: U64::new(lun.last_block()),
        block_size: U32::new(lun.block_size.bytes()),
        protection: 0,
        physical_exponent: lun.physical_exponent(),
        lowest_aligned: U16::new(if lun.discard.is_some() { 0x8000 } else { 0 }),
        reserved: [0; 16],
    })
}
