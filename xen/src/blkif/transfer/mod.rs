//! One read, write, flush or discard of any size, cut into ring requests.

mod cursor;

use cursor::Cursor;

use super::{Completion, Copied, Error, Failure, Frontend, MAX_SEGMENTS, Operation, SECTOR_SIZE};
use crate::{Hal, PAGE_SIZE, SharedMemory, grant};

/// A piece of guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Guest-physical address, a multiple of 512.
    pub address: u64,
    /// Bytes, a multiple of 512; may span pages that follow each other.
    pub length: u32,
}

/// The memory of a transfer, piece after piece. It stays the same as long as the transfer lives.
pub trait ScatterList {
    /// Returns the element of a number, `None` beyond the last.
    fn element(&self, index: usize) -> Option<Element>;
}

impl ScatterList for [Element] {
    fn element(&self, index: usize) -> Option<Element> {
        self.get(index).copied()
    }
}

impl ScatterList for &[Element] {
    fn element(&self, index: usize) -> Option<Element> {
        self.get(index).copied()
    }
}

impl<F: Fn(usize) -> Option<Element>> ScatterList for F {
    fn element(&self, index: usize) -> Option<Element> {
        self(index)
    }
}

/// Data to be written that is copied.
pub trait Source {
    /// Copies `length` bytes of the data from `offset` on to the start of `page`.
    fn fill(&self, offset: usize, length: usize, page: &SharedMemory);
}

/// A transfer's memory.
pub enum Memory<'a, L: ?Sized = [Element]> {
    /// For a flush, a discard, or a copied read.
    None,
    /// Pages that are granted: the list of [`Transfer::new`].
    Pages(&'a L),
    /// The source of a copied write.
    Copied(&'a dyn Source),
}

impl<L: ?Sized> Clone for Memory<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: ?Sized> Copy for Memory<'_, L> {}

/// The part that is left to submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Bytes of a read or write over granted pages, and how many pages they touch.
    Pages(u64, u64),
    /// The same of one that was cut: from the cursor on.
    Rest(u64, u64),
    /// Bytes of a read or write that is copied.
    Copied(u64),
    /// The flush.
    Flush,
    /// Sectors of a discard.
    Discard(u64),
    Nothing,
}

/// Progress of [`Transfer::submit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All is submitted.
    Whole,
    /// The ring is full or grants are used up: go on after a completion (of any transfer, if this one has
    /// none in flight).
    Partial,
}

/// A transfer that has come back as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The transfer's result: the first failure, if any part failed.
    pub result: Result<(), Failure>,
    /// True if [`Completion::pages_held`] is, for any part.
    pub pages_held: bool,
}

/// One read, write, flush or discard on its way. Plain data: it may live beside the operating system's
/// request.
///
/// ```text
/// new ─▶ submit ─▶ push ─▶ for each completion with this tag: complete ─▶ Some(outcome)
///           ▲────── Partial: after a completion ──┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    tag: usize,
    operation: Operation,
    /// Next sector on the disk.
    sector: u64,
    left: Left,
    /// The place in the scatter list at which it goes on.
    cursor: Cursor,
    /// Bytes submitted of a copied transfer.
    copied: u64,
    in_flight: u32,
    outcome: Outcome,
}

impl Transfer {
    /// Returns a read or write of `bytes` at `sector` (of 512 bytes), whose completions carry `tag`, over
    /// pages that are granted. The list may be longer. `block`: bytes of the disk's logical block, of which
    /// each segment has to be a multiple (blkback refuses others).
    ///
    /// # Errors
    /// [`Error::Unaligned`]: copy. [`Error::ListTooShort`], also for a transfer of no bytes.
    pub fn new(
        tag: usize,
        operation: Operation,
        sector: u64,
        bytes: u64,
        block: u32,
        list: &(impl ScatterList + ?Sized),
    ) -> Result<Self, Error> {
        let (unit, page) = (u64::from(block.max(SECTOR_SIZE)), PAGE_SIZE as u64);
        let (mut found, mut pages) = (0, 0);
        for element in (0..).map_while(|index| list.element(index)) {
            if found >= bytes {
                break;
            }
            let Element { address, length } = element;
            let used = u64::from(length).min(bytes - found);
            if !address.is_multiple_of(unit) || !used.is_multiple_of(unit) {
                return Err(Error::Unaligned { address, length });
            }
            found += used;
            pages += if used == 0 { 0 } else { (address % page + used).div_ceil(page) };
        }
        if found < bytes || bytes == 0 {
            return Err(Error::ListTooShort { expected: bytes.max(1), found });
        }
        Ok(Self::start(tag, operation, sector, Left::Pages(bytes, pages)))
    }

    /// Returns a read or write of `bytes`, whole sectors, whose data is copied through the frontend's own
    /// pages.
    pub fn copied(tag: usize, operation: Operation, sector: u64, bytes: u64) -> Self {
        Self::start(tag, operation, sector, Left::Copied(bytes))
    }

    /// Returns a flush.
    pub fn flush(tag: usize) -> Self {
        Self::start(tag, Operation::Flush, 0, Left::Flush)
    }

    /// Returns a discard.
    pub fn discard(tag: usize, sector: u64, sectors: u64) -> Self {
        Self::start(tag, Operation::Discard, sector, Left::Discard(sectors))
    }

    fn start(tag: usize, operation: Operation, sector: u64, left: Left) -> Self {
        let outcome = Outcome { result: Ok(()), pages_held: false };
        Self { tag, operation, sector, left, cursor: Cursor::START, copied: 0, in_flight: 0, outcome }
    }

    /// Submits as much as the ring takes; the caller pushes. *Dispatch*.
    ///
    /// # Errors
    /// See [`Frontend::submit`]: nothing is in flight and nothing will come back. Where a part is in flight
    /// already the error becomes part of the outcome instead.
    pub fn submit<H: Hal, L: ScatterList + ?Sized>(
        &mut self,
        frontend: &mut Frontend<H>,
        memory: Memory<'_, L>,
    ) -> Result<Progress, Error> {
        // Most transfers are one request whose segments are in the ring's slot.
        let sent = match self.left {
            Left::Pages(bytes, pages)
                if pages <= MAX_SEGMENTS as u64
                    && let Memory::Pages(list) = memory =>
            {
                let segments = Cursor::START.segments(list, bytes);
                let (sector, sectors) = (self.sector, bytes / u64::from(SECTOR_SIZE));
                frontend.submit_pages(self.tag, self.operation, sector, sectors, pages as usize, segments)
            }
            Left::Copied(bytes)
                if (1..=MAX_SEGMENTS as u64).contains(&pages(bytes))
                    && pages(bytes) <= frontend.free_pages() as u64 =>
            {
                let (request, sectors) = (self.copied_part(bytes), bytes / u64::from(SECTOR_SIZE));
                frontend.submit_copied_pages(request, pages(bytes) as usize, sectors, filler(memory))
            }
            _ => return self.submit_parts(frontend, memory),
        };
        match sent {
            Ok(()) => {
                self.left = Left::Nothing;
                self.in_flight += 1;
                Ok(Progress::Whole)
            }
            // Some pages of the frontend's own are granted for good, for this.
            Err(Error::Grant(grant::Error::Exhausted)) => self.submit_parts(frontend, memory),
            Err(error) => self.unsent(error),
        }
    }

    /// Submits as [`Transfer::submit`], part by part.
    #[inline(never)]
    fn submit_parts<H: Hal, L: ScatterList + ?Sized>(
        &mut self,
        frontend: &mut Frontend<H>,
        memory: Memory<'_, L>,
    ) -> Result<Progress, Error> {
        while self.is_partial() {
            let sent = match self.left {
                Left::Pages(bytes, pages) | Left::Rest(bytes, pages) => match memory {
                    Memory::Pages(list) => self.submit_pages(frontend, list, bytes, pages),
                    _ => Err(Error::ListTooShort { expected: bytes, found: 0 }),
                },
                Left::Copied(bytes) => self.submit_copied(frontend, memory, bytes),
                _ => self.submit_without_data(frontend),
            };
            match sent {
                Ok(()) => self.in_flight += 1,
                Err(error) => return self.unsent(error),
            }
        }
        Ok(Progress::Whole)
    }

    /// Takes a completion with this transfer's tag; the outcome with the last one. After a failed part no
    /// further ones are submitted. *Dispatch*.
    #[inline]
    pub fn complete(&mut self, completion: &Completion) -> Option<Outcome> {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Err(failure) = completion.result {
            self.failed(failure);
            self.outcome.pages_held |= completion.pages_held;
            self.left = Left::Nothing;
        }
        (self.in_flight == 0 && !self.is_partial()).then_some(self.outcome)
    }

    /// Returns true if [`Transfer::submit`] has to be called again.
    #[inline]
    pub fn is_partial(&self) -> bool {
        !matches!(self.left, Left::Nothing)
    }

    #[cold]
    fn failed(&mut self, failure: Failure) {
        self.outcome.result = self.outcome.result.and(Err(failure));
    }

    /// Submits nothing more for now, or for good where that has failed. Where a part is in flight, the error becomes part
    /// of the outcome.
    #[cold]
    #[inline(never)]
    fn unsent(&mut self, error: Error) -> Result<Progress, Error> {
        if let Error::Full | Error::Grant(grant::Error::Exhausted) = error {
            return Ok(Progress::Partial);
        }
        self.left = Left::Nothing;
        if self.in_flight == 0 {
            return Err(error);
        }
        self.failed(Failure::Unsent);
        self.outcome.pages_held |= matches!(error, Error::Grant(grant::Error::InUse { .. }));
        Ok(Progress::Whole)
    }

    /// Submits a flush or a discard.
    #[inline(never)]
    fn submit_without_data<H: Hal>(&mut self, frontend: &mut Frontend<H>) -> Result<(), Error> {
        match self.left {
            Left::Discard(sectors) => frontend.discard(self.tag, self.sector, sectors)?,
            _ => frontend.flush(self.tag)?,
        }
        self.left = Left::Nothing;
        Ok(())
    }

    #[inline]
    fn submit_pages<H: Hal>(
        &mut self,
        frontend: &mut Frontend<H>,
        list: &(impl ScatterList + ?Sized),
        bytes: u64,
        pages: u64,
    ) -> Result<(), Error> {
        if pages > frontend.segments() as u64 {
            return self.submit_part(frontend, list, bytes, pages);
        }
        let segments = self.cursor.segments(list, bytes);
        let (sector, sectors) = (self.sector, bytes / u64::from(SECTOR_SIZE));
        frontend.submit_pages(self.tag, self.operation, sector, sectors, pages as usize, segments)?;
        self.left = Left::Nothing;
        Ok(())
    }

    /// Submits as many whole blocks of the rest as the segments of a request reach.
    #[inline(never)]
    fn submit_part<H: Hal>(
        &mut self,
        frontend: &mut Frontend<H>,
        list: &(impl ScatterList + ?Sized),
        bytes: u64,
        pages: u64,
    ) -> Result<(), Error> {
        let block = frontend.disk().map_or(SECTOR_SIZE, |disk| disk.sector_size);
        let cut = self.cursor.cut(list, bytes, block, frontend.segments());
        if cut.bytes == 0 {
            return Err(Error::ListTooShort { expected: bytes, found: 0 });
        }
        let segments = self.cursor.segments(list, cut.bytes);
        // No part is sent of a transfer that cannot be sent as a whole.
        let (sector, sectors) = (self.sector, bytes / u64::from(SECTOR_SIZE));
        frontend.submit_pages(self.tag, self.operation, sector, sectors, cut.segments, segments)?;
        self.sector += cut.bytes / u64::from(SECTOR_SIZE);
        self.cursor = cut.end;
        self.left = match bytes - cut.bytes {
            0 => Left::Nothing,
            // A page that is cut in two counts twice.
            left => Left::Rest(left, pages - cut.segments as u64 + u64::from(cut.end.inside_page(list))),
        };
        Ok(())
    }

    #[inline]
    fn submit_copied<H: Hal, L: ?Sized>(
        &mut self,
        frontend: &mut Frontend<H>,
        memory: Memory<'_, L>,
        left: u64,
    ) -> Result<(), Error> {
        // Whole pages, hence whole blocks, but for the last.
        let mut bytes = left.min(frontend.copy_room() as u64);
        loop {
            if bytes == 0 {
                return Err(Error::Full);
            }
            // No part is sent of a transfer that cannot be sent as a whole.
            let (request, sectors) = (self.copied_part(bytes), left / u64::from(SECTOR_SIZE));
            match frontend.submit_copied_pages(request, pages(bytes) as usize, sectors, filler(memory)) {
                Ok(()) => break,
                // Some pages are granted for good, for this.
                Err(Error::Grant(grant::Error::Exhausted))
                    if frontend.in_flight() == 0 && bytes > frontend.reserve() as u64 =>
                {
                    bytes = frontend.reserve() as u64;
                }
                Err(error) => return Err(error),
            }
        }
        if bytes == left {
            self.left = Left::Nothing;
        } else {
            self.left = Left::Copied(left - bytes);
            self.copied += bytes;
            self.sector += bytes / u64::from(SECTOR_SIZE);
        }
        Ok(())
    }

    /// Returns the request for so many more bytes of a copied transfer.
    #[inline]
    fn copied_part(&self, bytes: u64) -> Copied {
        let Self { tag, operation, sector, copied, .. } = *self;
        Copied { tag, operation, sector, bytes: bytes as usize, offset: copied as usize }
    }
}

/// Returns the number of pages that hold so many bytes.
#[inline]
const fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE as u64)
}

/// Returns the way to fill the frontend's pages.
#[inline]
fn filler<L: ?Sized>(memory: Memory<'_, L>) -> impl Fn(usize, usize, &SharedMemory) + Copy {
    move |offset, length, page| {
        if let Memory::Copied(source) = memory {
            source.fill(offset, length, page);
        }
    }
}

#[cfg(test)]
mod tests;
