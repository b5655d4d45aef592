//! Hive bins: the file behind the base block is cut into them, and no cell crosses their bounds.

use alloc::vec::Vec;
use core::ops::Range;
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

use crate::{Error, base_block};

/// The header of a bin.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    offset: U32,
    size: U32,
    reserved: U64,
    time: U64,
    spare: U32,
}

const _: () = assert!(size_of::<Header>() == 32);

/// Bins have sizes of multiples of this.
const UNIT: u32 = 4096;

/// Returns the time in the first bin's header, which is that of the hive's last write.
pub(crate) fn first_time(file: &[u8]) -> Option<u64> {
    let (header, _) = Header::ref_from_prefix(file.get(base_block::SIZE..)?).ok()?;
    Some(header.time.get())
}

/// The bounds of every bin's cells, as offsets in the file, in order.
#[derive(Debug)]
pub(crate) struct Bins(Vec<Range<usize>>);

impl Bins {
    pub(crate) fn read(file: &[u8], size: u32) -> Result<Bins, Error> {
        let end = base_block::SIZE + size as usize;
        if !size.is_multiple_of(UNIT) || size == 0 {
            return Err(Error::number(40, "a size of all bins that is a multiple of 4096", size.into()));
        }
        if file.len() < end {
            return Err(Error::end(file.len(), "as many bytes of bins as the base block says"));
        }
        let mut bins = Vec::new();
        let mut at = base_block::SIZE;
        while at < end {
            let (header, _) =
                Header::ref_from_prefix(&file[at..end]).map_err(|_| Error::end(at, "a hive bin"))?;
            if &header.signature != b"hbin" {
                return Err(Error::signature(at, "\"hbin\"", header.signature));
            }
            if header.offset.get() as usize != at - base_block::SIZE {
                return Err(Error::number(at + 4, "the bin's own offset", header.offset.get().into()));
            }
            let size = header.size.get();
            if size == 0 || !size.is_multiple_of(UNIT) || size as usize > end - at {
                let expected = "a bin's size: a multiple of 4096 that ends inside the hive";
                return Err(Error::number(at + 8, expected, size.into()));
            }
            bins.push(at + size_of::<Header>()..at + size as usize);
            at += size as usize;
        }
        Ok(Bins(bins))
    }

    /// Returns the bin around an offset in the file.
    pub(crate) fn around(&self, offset: usize) -> Option<&Range<usize>> {
        let next = self.0.partition_point(|bin| bin.start <= offset);
        self.0.get(next.checked_sub(1)?).filter(|bin| bin.contains(&offset))
    }
}
