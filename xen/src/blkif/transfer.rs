//! One read, write or flush of any size, cut into ring requests.

use super::{Completion, Error, Failure, Frontend, MAX_SEGMENTS, Operation, Request, SECTOR_SIZE, Segment};
use crate::{Frame, Hal, PAGE_SIZE, grant};

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
    /// The element of a number, `None` beyond the last.
    fn element(&self, index: usize) -> Option<Element>;
}

impl ScatterList for [Element] {
    fn element(&self, index: usize) -> Option<Element> {
        self.get(index).copied()
    }
}

impl<F: Fn(usize) -> Option<Element>> ScatterList for F {
    fn element(&self, index: usize) -> Option<Element> {
        self(index)
    }
}

/// What is left to submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Bytes of a read or write.
    Bytes(u64),
    /// The flush.
    Flush,
    Nothing,
}

/// How far [`Transfer::submit`] came.
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
    /// What became of it: the first failure, if any part failed.
    pub result: Result<(), Failure>,
    /// As [`Completion::pages_held`], of any part.
    pub pages_held: bool,
}

/// One read, write or flush on its way. Plain data: it may live beside the operating system's request.
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
    /// Where in the scatter list it goes on.
    element: usize,
    offset: u32,
    in_flight: u32,
    outcome: Outcome,
}

impl Transfer {
    /// A read or write of `bytes` at `sector` (of 512 bytes), whose completions carry `tag`. The list may be
    /// longer.
    ///
    /// # Errors
    /// [`Error::Unaligned`]: use a bounce buffer. [`Error::ListTooShort`], also for a transfer of no bytes.
    pub fn new(
        tag: usize,
        operation: Operation,
        sector: u64,
        bytes: u64,
        list: &(impl ScatterList + ?Sized),
    ) -> Result<Self, Error> {
        let unit = u64::from(SECTOR_SIZE);
        let mut found = 0;
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
        }
        if found < bytes || bytes == 0 {
            return Err(Error::ListTooShort { expected: bytes.max(1), found });
        }
        Ok(Self::start(tag, operation, sector, Left::Bytes(bytes)))
    }

    /// A flush.
    pub fn flush(tag: usize) -> Self {
        Self::start(tag, Operation::Flush, 0, Left::Flush)
    }

    fn start(tag: usize, operation: Operation, sector: u64, left: Left) -> Self {
        let outcome = Outcome { result: Ok(()), pages_held: false };
        Self { tag, operation, sector, left, element: 0, offset: 0, in_flight: 0, outcome }
    }

    /// Submits as much as the ring takes; the caller pushes. `list` is the one of [`Transfer::new`] (anything
    /// for a flush). *Dispatch*.
    ///
    /// # Errors
    /// See [`Frontend::submit`]: nothing is in flight and nothing will come back. Where a part is in flight
    /// already the error becomes part of the outcome instead.
    pub fn submit<H: Hal>(
        &mut self,
        frontend: &mut Frontend<H>,
        list: &(impl ScatterList + ?Sized),
    ) -> Result<Progress, Error> {
        while self.left != Left::Nothing {
            match self.submit_one(frontend, list) {
                Ok(()) => self.in_flight += 1,
                Err(Error::Full | Error::Grant(grant::Error::Exhausted)) => return Ok(Progress::Partial),
                Err(error) => {
                    self.left = Left::Nothing;
                    if self.in_flight == 0 {
                        return Err(error);
                    }
                    self.failed(Failure::Unsent(error));
                    self.outcome.pages_held |= matches!(error, Error::Grant(grant::Error::InUse { .. }));
                }
            }
        }
        Ok(Progress::Whole)
    }

    /// Takes a completion with this transfer's tag; the outcome with the last one. After a failed part no
    /// further ones are submitted. *Dispatch*.
    pub fn complete(&mut self, completion: &Completion) -> Option<Outcome> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.outcome.pages_held |= completion.pages_held;
        if let Err(failure) = completion.result {
            self.failed(failure);
            self.left = Left::Nothing;
        }
        (self.in_flight == 0 && self.left == Left::Nothing).then_some(self.outcome)
    }

    /// Whether [`Transfer::submit`] has to be called again.
    pub fn is_partial(&self) -> bool {
        self.left != Left::Nothing
    }

    fn failed(&mut self, failure: Failure) {
        self.outcome.result = self.outcome.result.and(Err(failure));
    }

    fn submit_one<H: Hal>(
        &mut self,
        frontend: &mut Frontend<H>,
        list: &(impl ScatterList + ?Sized),
    ) -> Result<(), Error> {
        let Left::Bytes(left) = self.left else {
            frontend.submit(&Request {
                tag: self.tag,
                operation: self.operation,
                sector: 0,
                segments: &[],
            })?;
            self.left = Left::Nothing;
            return Ok(());
        };
        let mut block = SECTOR_SIZE;
        if let Some(disk) = frontend.disk() {
            // All that is left, so that no part is sent of a transfer that cannot be sent as a whole.
            disk.check(self.sector, left / u64::from(SECTOR_SIZE))?;
            block = disk.sector_size;
        }
        let mut cut = *self;
        let mut segments = [Segment { frame: Frame(0), first_sector: 0, last_sector: 0 }; MAX_SEGMENTS];
        let (count, bytes) = cut.cut(list, left, block, &mut segments);
        if bytes == 0 {
            return Err(Error::ListTooShort { expected: left, found: 0 });
        }
        frontend.submit(&Request {
            tag: self.tag,
            operation: self.operation,
            sector: self.sector,
            segments: &segments[..count],
        })?;
        cut.sector += bytes / u64::from(SECTOR_SIZE);
        cut.left = if bytes == left { Left::Nothing } else { Left::Bytes(left - bytes) };
        *self = cut;
        Ok(())
    }

    /// Fills segments from the list, whole blocks in all; answers how many segments and bytes, and leaves the
    /// cursor behind them.
    fn cut(
        &mut self,
        list: &(impl ScatterList + ?Sized),
        left: u64,
        block: u32,
        segments: &mut [Segment; MAX_SEGMENTS],
    ) -> (usize, u64) {
        let page = PAGE_SIZE as u64;
        let unit = u64::from(SECTOR_SIZE);
        let block = u64::from(block);
        let mut bytes = 0;
        let mut count = 0;
        // The last place where a whole number of blocks was reached: segments, bytes, and how many bytes of
        // the last segment are beyond it.
        let mut whole = (0, 0, 0);
        let mut resume = (self.element, self.offset);
        while bytes < left && count < segments.len() {
            let Some(element) = list.element(self.element) else { break };
            if self.offset >= element.length {
                (self.element, self.offset) = (self.element + 1, 0);
                continue;
            }
            let address = element.address + u64::from(self.offset);
            let within = address % page;
            let length = (page - within).min(u64::from(element.length - self.offset)).min(left - bytes);
            let first = within / unit;
            segments[count] = Segment {
                frame: Frame(address / page),
                first_sector: first as u8,
                last_sector: (first + length / unit - 1) as u8,
            };
            count += 1;
            bytes += length;
            self.offset += length as u32;
            let over = bytes % block;
            if over < length {
                whole = (count, bytes - over, over);
                resume = (self.element, self.offset - over as u32);
            }
        }
        let (count, bytes, over) = whole;
        if let Some(last) = count.checked_sub(1) {
            segments[last].last_sector -= (over / unit) as u8;
        }
        (self.element, self.offset) = resume;
        (count, bytes)
    }
}

#[cfg(test)]
mod tests;
