//! A place in a scatter list, and the segments from there on.

use super::super::frontend::{Sectors, SegmentSource};
use super::super::{Error, SECTOR_SIZE};
use super::{Element, ScatterList};
use crate::{Frame, PAGE_SIZE, grant};

const PAGE: u64 = PAGE_SIZE as u64;
const UNIT: u64 = SECTOR_SIZE as u64;
/// Bits of an address that does not begin a page, or has no frame that a grant can name.
const NO_WHOLE_PAGE: u64 = !((u32::MAX as u64) * PAGE);

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
    /// The place behind it.
    pub end: Cursor,
}

impl Cursor {
    pub(super) const START: Self = Self { element: 0, offset: 0 };

    /// Returns the segments of the next `bytes`.
    #[inline]
    pub(super) fn segments<L: ScatterList + ?Sized>(self, list: &L, bytes: u64) -> Segments<'_, L> {
        let Self { element, offset } = self;
        let mut segments = Segments { list, next: element, address: 0, here: 0, left: bytes };
        if offset > 0 {
            segments.enter(offset);
        }
        segments
    }

    /// Returns the most of the next `bytes` that `limit` segments reach in whole blocks.
    #[inline(never)]
    pub(super) fn cut<L: ScatterList + ?Sized>(self, list: &L, bytes: u64, block: u32, limit: usize) -> Cut {
        let block = u64::from(block);
        let mut rest = self.segments(list, bytes);
        let (mut reached, mut whole) = (0, Cut { segments: 0, bytes: 0, end: self });
        for segments in 1..=limit {
            let Some((_, length)) = rest.piece() else { break };
            rest.pass(length);
            reached += length;
            // The last block that is whole ends in this segment.
            let over = reached % block;
            if over < length {
                whole = Cut { segments, bytes: reached - over, end: rest.before(over) };
            }
        }
        whole
    }

    /// Returns true if the next byte of the list lies in the page of the one before it.
    pub(super) fn inside_page(self, list: &(impl ScatterList + ?Sized)) -> bool {
        let Some(Element { address, length }) = list.element(self.element) else { return false };
        self.offset > 0 && self.offset < length && !(address + u64::from(self.offset)).is_multiple_of(PAGE)
    }
}

/// Segments from a place in a list on.
pub(super) struct Segments<'a, L: ?Sized> {
    list: &'a L,
    /// Number of the element behind the one at hand.
    next: usize,
    /// The place in the element at hand, and the bytes of it that are left to go.
    address: u64,
    here: u64,
    /// Bytes that are left to go behind it.
    left: u64,
}

impl<L: ?Sized> Clone for Segments<'_, L> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<L: ScatterList + ?Sized> Segments<'_, L> {
    /// Returns the next piece of a page, address and bytes.
    #[inline]
    fn piece(&mut self) -> Option<(u64, u64)> {
        while self.here == 0 {
            if self.left == 0 || !self.enter(0) {
                return None;
            }
        }
        Some((self.address, (PAGE - self.address % PAGE).min(self.here)))
    }

    /// Goes past a piece of so many bytes.
    #[inline]
    fn pass(&mut self, length: u64) {
        self.address += length;
        self.here -= length;
    }

    /// Returns the place so many bytes before this one, in the element at hand.
    fn before(&self, bytes: u64) -> Cursor {
        let element = self.next.saturating_sub(1);
        let start = self.list.element(element).map_or(self.address, |element| element.address);
        Cursor { element, offset: (self.address - bytes).wrapping_sub(start) as u32 }
    }

    /// Enters the next element, at an offset, if there is one.
    #[inline]
    fn enter(&mut self, offset: u32) -> bool {
        let Some(Element { address, length }) = self.list.element(self.next) else { return false };
        self.next += 1;
        self.address = address + u64::from(offset);
        self.here = u64::from(length.saturating_sub(offset)).min(self.left);
        self.left -= self.here;
        true
    }
}

impl<L: ScatterList + ?Sized> SegmentSource for Segments<'_, L> {
    #[inline]
    fn hand_out(&mut self) -> Option<(u32, Sectors)> {
        // Elements of one whole page, which most are, are not entered.
        if self.here == 0
            && self.left >= PAGE
            && let Some(Element { address, length }) = self.list.element(self.next)
            && u64::from(length) == PAGE
            && address & NO_WHOLE_PAGE == 0
        {
            self.next += 1;
            self.left -= PAGE;
            return Some(((address / PAGE) as u32, Sectors::WHOLE));
        }
        let (address, length) = self.piece()?;
        let frame = u32::try_from(address / PAGE).ok()?;
        self.pass(length);
        // Of whole sectors, as the elements are.
        let (first, last) = (address % PAGE / UNIT, (address % PAGE + length - 1) / UNIT);
        Some((frame, Sectors::new(first as u8, last as u8)))
    }

    fn refusal(&self) -> Option<Error> {
        let frame = Frame(self.address / PAGE);
        (self.here > 0).then_some(Error::Grant(grant::Error::FrameTooLarge { frame }))
    }
}
