//! Cells: what offsets in a hive refer to.

use core::fmt;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::{Error, Hive, base_block};

/// Stands for "no cell".
pub(crate) const NONE: u32 = u32::MAX;

/// The content of an allocated cell.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'a> {
    /// Offset of the content in the file.
    pub at: usize,
    /// The content, which may be longer than what was stored.
    pub content: &'a [u8],
}

impl fmt::Debug for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cell({:#x}, {} bytes)", self.at, self.content.len())
    }
}

impl<'a> Cell<'a> {
    /// Returns the cell at `offset` from the end of the base block.
    pub(crate) fn read(hive: &'a Hive<'a>, offset: u32) -> Result<Cell<'a>, Error> {
        let start = base_block::SIZE + offset as usize;
        let expected = "an offset of a cell: a multiple of 8 inside a bin";
        let Some(bin) = hive.bins.around(start).filter(|_| start.is_multiple_of(8)) else {
            return Err(Error::number(start, expected, offset.into()));
        };
        let Some(Ok(size)) =
            hive.file[start..bin.end].first_chunk().map(|b| Ok::<_, ()>(i32::from_le_bytes(*b)))
        else {
            return Err(Error::end(start, "a cell's size"));
        };
        // The size of an allocated cell is stored negative, and counts itself.
        let allocated = size.checked_neg().and_then(|size| usize::try_from(size).ok());
        match allocated {
            Some(size) if size >= 8 && size.is_multiple_of(8) && size <= bin.end - start => {
                Ok(Cell { at: start + 4, content: &hive.file[start + 4..start + size] })
            }
            _ => Err(Error::number(
                start,
                "an allocated cell's size: negative, a multiple of 8, inside its bin",
                u64::from(size.cast_unsigned()),
            )),
        }
    }

    /// Returns the structure that the content begins with, and what is behind it.
    pub(crate) fn split<T>(&self, expected: &'static str) -> Result<(&'a T, &'a [u8]), Error>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        T::ref_from_prefix(self.content).map_err(|_| Error::end(self.at + self.content.len(), expected))
    }

    /// Returns the first `length` bytes.
    pub(crate) fn first(&self, length: usize, expected: &'static str) -> Result<&'a [u8], Error> {
        self.content.get(..length).ok_or(Error::end(self.at + self.content.len(), expected))
    }

    /// Returns the first `count` elements of a list of `T`.
    pub(crate) fn list<T>(
        content: &'a [u8],
        at: usize,
        count: usize,
        expected: &'static str,
    ) -> Result<&'a [T], Error>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        // A size that overflows is longer than any cell.
        let length = count.saturating_mul(size_of::<T>());
        let bytes = content.get(..length).ok_or(Error::end(at + content.len(), expected))?;
        <[T]>::ref_from_bytes(bytes).map_err(|_| Error::end(at, expected))
    }
}
