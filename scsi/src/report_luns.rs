//! REPORT LUNS (SPC-3 6.21): one logical unit, number 0.

use zerocopy::byteorder::big_endian::U32;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::reply::Reply;

#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    list_length: U32,
    reserved: [u8; 4],
}
const _: () = assert!(size_of::<Header>() == 8);

/// LUN 0 in every address method (SAM-3 4.9).
const LUN_0: [u8; 8] = [0; 8];

/// Returns the list for SELECT REPORT 0 or 2; for 1 (well known logical units only) it is empty.
pub(crate) fn list(well_known_only: bool) -> Reply {
    let units: &[[u8; 8]] = if well_known_only { &[] } else { &[LUN_0] };
    let mut reply = Reply::of(&Header { list_length: U32::new(size_of_val(units) as u32), reserved: [0; 4] });
    reply.push(units);
    reply
}
