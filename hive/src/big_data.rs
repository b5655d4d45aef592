//! Large data (`db`): data of more than 16344 bytes lies in segments.

use alloc::vec::Vec;
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::{Error, Hive, cell::Cell};

/// Bytes of data in each segment but the last.
pub(crate) const SEGMENT: usize = 16344;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    signature: [u8; 2],
    segments: U16,
    list: U32,
}

const _: () = assert!(size_of::<Layout>() == 8);

/// Returns the `size` bytes that the segments of `cell` hold.
pub(crate) fn read(hive: &Hive<'_>, cell: &Cell<'_>, size: usize) -> Result<Vec<u8>, Error> {
    let (layout, _) = cell.split::<Layout>("large data")?;
    let count = usize::from(layout.segments.get());
    let list = Cell::read(hive, layout.list.get())?;
    let segments = Cell::list::<U32>(list.content, list.at, count, "as many segments as the data says")?;
    let mut data = Vec::new();
    for segment in segments {
        let rest = size - data.len();
        if rest == 0 {
            break;
        }
        let segment = Cell::read(hive, segment.get())?;
        data.extend_from_slice(segment.first(rest.min(SEGMENT), "a whole segment of large data")?);
    }
    if data.len() != size {
        return Err(Error::number(cell.at, "segments for all of the data", data.len() as u64));
    }
    Ok(data)
}
