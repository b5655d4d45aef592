//! One SRB on its way.
#![allow(unsafe_code, reason = "requests live in SRB extensions and copy through SRBs' buffers")]

use core::ptr::{self, NonNull};
use core::slice;

use scsi::{Action, BlockSize, Extent, unmap};
use xen::blkif::{self, Arrived, Failure, Memory, Operation, Progress, ScatterList, Source, Transfer};
use xen::{Hal, SharedMemory};

use crate::{Answer, Srb};

/// What a request does on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Read,
    Write {
        flush_after: bool,
    },
    Verify,
    Flush,
    /// The parameter list's first bytes, of this number, are in the SRB's buffer.
    Unmap {
        bytes: usize,
        block_size: BlockSize,
    },
}

/// One SRB on its way, in the SRB's extension.
pub struct Request<S: Srb> {
    /// `Some` until the SRB is completed.
    pub(crate) srb: Option<S>,
    pub(crate) next: Option<NonNull<Request<S>>>,
    /// Its place in the order of what the queue was given.
    pub(crate) number: u64,
    work: Work,
    /// Nothing for a flush; of an unmap the part that is on its way.
    extent: Extent,
    list: Option<S::List>,
    /// Data goes through the frontend's pages.
    copied: bool,
    /// What is on its way: the data, or the flush behind it.
    pub(crate) transfer: Transfer,
    flushing: bool,
    /// Parts of an unmap that are done.
    unmapped: usize,
    /// Some part of it was given to the frontend.
    pub(crate) begun: bool,
    /// The backend holds pages of its buffer: it never ends.
    pub(crate) kept: bool,
    /// How it ended, from then until the lock is released.
    pub(crate) answer: Answer,
}

impl<S: Srb> Request<S> {
    /// The request for `action`, with the SRB's buffer checked against it. `copy_all`: none of the buffer's
    /// pages may be granted.
    ///
    /// # Errors
    /// The SRB, and how it ends at once: its buffer is shorter than the command's data, or has no system
    /// address to copy at.
    pub fn new(srb: S, action: Action, copy_all: bool) -> Result<Self, (S, Answer)> {
        let none = Extent { sector: 0, sectors: 0 };
        let (work, extent) = match action {
            Action::Read { extent } => (Work::Read, extent),
            Action::Write { extent, flush_after } => (Work::Write { flush_after }, extent),
            Action::Verify { extent } => (Work::Verify, extent),
            Action::Flush => (Work::Flush, none),
            Action::Unmap { bytes, block_size } => (Work::Unmap { bytes: bytes.into(), block_size }, none),
        };
        let needed = match work {
            Work::Read | Work::Write { .. } => extent.bytes(),
            Work::Unmap { bytes, .. } => bytes as u64,
            Work::Verify | Work::Flush => 0,
        };
        let (Some(place), true) = (srb.extension(), needed <= srb.data_length().into()) else {
            return Err((srb, Answer::InvalidRequest));
        };
        let moves = matches!(work, Work::Read | Work::Write { .. });
        let list = if moves { srb.scatter_list() } else { None };
        let (copied, transfer) = match start(tag(place), work, extent, list.as_ref(), copy_all) {
            // Copied at its system address.
            Ok((true, _)) | Err(blkif::Error::Unaligned { .. }) if moves && srb.data().is_none() => {
                return Err((srb, Answer::InvalidRequest));
            }
            Ok(started) => started,
            Err(blkif::Error::Unaligned { .. }) => (true, copied_transfer(tag(place), work, extent)),
            Err(_) => return Err((srb, Answer::InvalidRequest)),
        };
        let mut request = Self {
            srb: Some(srb),
            next: None,
            number: 0,
            work,
            extent,
            list,
            copied,
            transfer,
            flushing: work == Work::Flush,
            unmapped: 0,
            begun: false,
            kept: false,
            answer: Answer::NoDevice,
        };
        if let Work::Unmap { bytes, .. } = work
            && !request.next_unmap()
            && let Some(srb) = request.srb.take()
        {
            return Err((srb, Answer::Done { transferred: bytes as u32 }));
        }
        Ok(request)
    }

    /// Puts the request into its SRB's extension, where it stays until the SRB is completed.
    pub fn settle(self) -> Option<NonNull<Self>> {
        let place = self.srb.as_ref().and_then(S::extension)?;
        // SAFETY: by the trait's contract the extension is the SRB's holder's, and has a request's size and
        // alignment.
        unsafe { place.write(self) };
        Some(place)
    }

    /// Begins it anew, as if nothing of it had been done. Nothing of it is in flight.
    pub(crate) fn restart(&mut self) {
        let Some(place) = self.srb.as_ref().and_then(S::extension) else { return };
        self.begun = false;
        self.flushing = self.work == Work::Flush;
        self.unmapped = 0;
        if let Work::Unmap { .. } = self.work {
            self.next_unmap();
        } else if self.copied {
            self.transfer = copied_transfer(tag(place), self.work, self.extent);
        } else if let Ok((_, transfer)) = start(tag(place), self.work, self.extent, self.list.as_ref(), false)
        {
            self.transfer = transfer;
        }
    }

    /// Goes the other way: through the frontend's pages; whether that can be done. Nothing of it is in
    /// flight.
    pub(crate) fn copy(&mut self) -> bool {
        let Some(srb) = &self.srb else { return false };
        let (Some(place), Some(_), false) = (srb.extension(), srb.data(), self.copied) else { return false };
        self.copied = true;
        self.transfer = copied_transfer(tag(place), self.work, self.extent);
        true
    }

    /// Whether the backend is to be given pages of its buffer.
    pub(crate) fn grants(&self) -> bool {
        matches!(self.work, Work::Read | Work::Write { .. }) && !self.copied
    }

    /// Submits as much of it as there is room for.
    pub(crate) fn submit<H: Hal>(
        &mut self,
        frontend: &mut blkif::Frontend<H>,
    ) -> Result<Progress, blkif::Error> {
        let buffer = Buffer(self.srb.as_ref().and_then(S::data));
        let memory = match (self.copied, self.work) {
            (false, _) => self.list.as_ref().map_or(Memory::None, |list| Memory::Pages(list)),
            (true, Work::Write { .. }) => Memory::Copied(&buffer),
            (true, _) => Memory::None,
        };
        self.transfer.submit(frontend, memory)
    }

    /// What was on its way is done: whether there is something to do after it.
    pub(crate) fn advance(&mut self) -> bool {
        let Some(place) = self.srb.as_ref().and_then(S::extension) else { return false };
        match self.work {
            Work::Write { flush_after: true } if !self.flushing => {
                self.flushing = true;
                self.transfer = Transfer::flush(tag(place));
                true
            }
            Work::Unmap { .. } => self.next_unmap(),
            _ => false,
        }
    }

    /// Makes the next part of an unmap what is on its way, if there is one.
    fn next_unmap(&mut self) -> bool {
        let (Work::Unmap { bytes, block_size }, Some(srb)) = (self.work, &self.srb) else { return false };
        let (Some(place), Some(data)) = (srb.extension(), srb.data()) else { return false };
        // SAFETY: `new` has checked that the buffer has so many bytes; it is mapped as long as the SRB is
        // pending.
        let list = unsafe { slice::from_raw_parts(data.as_ptr(), bytes) };
        // The list is read anew for each part, and each part is checked against the disk when it is
        // submitted.
        while let Some(extent) = unmap::extent(list, self.unmapped, block_size) {
            self.unmapped += 1;
            if extent.sectors > 0 {
                self.extent = extent;
                self.transfer = Transfer::discard(tag(place), extent.sector, extent.sectors);
                return true;
            }
        }
        false
    }

    fn operation(&self) -> Operation {
        match self.work {
            _ if self.flushing => Operation::Flush,
            Work::Read | Work::Verify => Operation::Read,
            Work::Write { .. } => Operation::Write,
            Work::Flush => Operation::Flush,
            Work::Unmap { .. } => Operation::Discard,
        }
    }

    /// How the SRB ends.
    pub(crate) fn answer(&self, result: Result<(), Failure>, block_size: u32) -> Answer {
        let block = self.extent.sector / u64::from(block_size / scsi::SECTOR);
        match (result, self.work) {
            (Ok(()), Work::Read | Work::Write { .. }) => {
                // No more than the SRB's own length, which has 32 bits.
                Answer::Done { transferred: self.extent.bytes() as u32 }
            }
            (Ok(()), Work::Verify | Work::Flush) => Answer::Done { transferred: 0 },
            (Ok(()), Work::Unmap { bytes, .. }) => Answer::Done { transferred: bytes as u32 },
            (Err(failure), _) => crate::queue::failure(failure, self.operation(), block),
        }
    }
}

/// The data of a write, at its system address.
struct Buffer(Option<NonNull<u8>>);

impl Source for Buffer {
    fn fill(&self, offset: usize, length: usize, page: &SharedMemory) {
        if let Some(data) = self.0 {
            // SAFETY: the SRB's buffer has the bytes of the extent (checked in `Request::new`), of which the
            // transfer asks for parts; it is mapped and resident as long as the SRB is pending.
            let source = unsafe { slice::from_raw_parts(data.as_ptr().add(offset), length) };
            page.copy_in(0, source);
        }
    }
}

/// Puts what a copied read brought where it belongs.
///
/// # Safety
/// The tag is the address of a pending request with this ring request in flight.
pub(crate) unsafe fn arrived<S: Srb>(data: &Arrived<'_>) {
    // SAFETY: the caller's promise.
    let request = unsafe { &*ptr::with_exposed_provenance::<Request<S>>(data.tag) };
    if let (Work::Read, Some(buffer)) = (request.work, request.srb.as_ref().and_then(S::data)) {
        // SAFETY: as in `Buffer`; the buffer of a read is this driver's to write.
        let target = unsafe { slice::from_raw_parts_mut(buffer.as_ptr().add(data.offset), data.length) };
        data.memory.copy_out(0, target);
    }
}

/// How work begins: whether copied, and the first transfer.
fn start<L: ScatterList>(
    tag: usize,
    work: Work,
    extent: Extent,
    list: Option<&L>,
    copy: bool,
) -> Result<(bool, Transfer), blkif::Error> {
    let operation = match work {
        Work::Flush | Work::Unmap { .. } => return Ok((false, Transfer::flush(tag))),
        Work::Verify => return Ok((true, copied_transfer(tag, work, extent))),
        Work::Read => Operation::Read,
        Work::Write { .. } => Operation::Write,
    };
    // The list has to be long enough either way.
    let list = list.ok_or(blkif::Error::ListTooShort { expected: extent.bytes(), found: 0 })?;
    let direct = Transfer::new(tag, operation, extent.sector, extent.bytes(), list)?;
    Ok(if copy { (true, copied_transfer(tag, work, extent)) } else { (false, direct) })
}

fn copied_transfer(tag: usize, work: Work, extent: Extent) -> Transfer {
    let operation = if let Work::Write { .. } = work { Operation::Write } else { Operation::Read };
    Transfer::copied(tag, operation, extent.sector, extent.bytes())
}

/// A request's tag: its address.
fn tag<S: Srb>(request: NonNull<Request<S>>) -> usize {
    request.as_ptr().expose_provenance()
}
