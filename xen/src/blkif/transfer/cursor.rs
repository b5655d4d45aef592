//! A place in a scatter list, and the segments from there on.

use super::super::{SECTOR_SIZE, Segment};
use super::{Element, ScatterList};
use crate::{Frame, PAGE_SIZE};

const PAGE: u64 = PAGE_SIZE as u64;
const UNIT: u64 = SECTOR_SIZE as u64;

/// A place in a scatter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    element: usize,
    offset: u32,
}

/// A part of a list: whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub segments: usize,
    pub bytes: u64,
}

impl Cursor {
    pub(super) const START: Self = Self { element: 0, offset: 0 };

    /// Returns the next segment, of `left` bytes at most; goes past it.
    fn step(&mut self, list: &dyn ScatterList, left: u64) -> Option<(Segment, u64)> {
        loop {
            let Element { address, length } = list.element(self.element)?;
            if self.offset >= length {
                (self.element, self.offset) = (self.element + 1, 0);
                continue;
            }
            let address = address + u64::from(self.offset);
            let bytes = (PAGE - address % PAGE).min(u64::from(length - self.offset)).min(left);
            let first = address % PAGE / UNIT;
            let segment = Segment {
                frame: Frame(address / PAGE),
                first_sector: first as u8,
                last_sector: (first + bytes / UNIT - 1) as u8,
            };
            self.offset += bytes as u32;
            return Some((segment, bytes));
        }
    }

    /// Returns the segments of the next `bytes`; the cursor goes past those taken.
    pub(super) fn segments<'a>(
        &'a mut self,
        list: &'a dyn ScatterList,
        bytes: u64,
    ) -> impl Iterator<Item = Segment> + 'a {
        let mut left = bytes;
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let (segment, bytes) = self.step(list, left)?;
            left -= bytes;
            Some(segment)
        })
    }

    /// Returns the most of the next `bytes` that `limit` segments reach in whole blocks.
    pub(super) fn cut(self, list: &dyn ScatterList, bytes: u64, block: u32, limit: usize) -> Cut {
        let block = u64::from(block);
        let mut at = self;
        let mut reached = 0;
        let mut whole = Cut { segments: 0, bytes: 0 };
        for segments in 1..=limit {
            if reached == bytes {
                break;
            }
            let Some((_, length)) = at.step(list, bytes - reached) else { break };
            reached += length;
            // The last block that is whole ends in this segment.
            let over = reached % block;
            if over < length {
                whole = Cut { segments, bytes: reached - over };
            }
        }
        whole
    }

    /// Returns true if the next byte of the list lies in the page of the one before it.
    pub(super) fn inside_page(self, list: &dyn ScatterList) -> bool {
        let Some(Element { address, length }) = list.element(self.element) else { return false };
        self.offset > 0 && self.offset < length && !(address + u64::from(self.offset)).is_multiple_of(PAGE)
    }
}
