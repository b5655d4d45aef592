//! One SRB on its way.
#![expect(unsafe_code, reason = "requests live in SRB extensions and copy through SRBs' buffers")]

use core::cell::RefCell;
use core::ptr::{self, NonNull};
use core::slice;

use scsi::{Action, BlockSize, Extent, unmap};
use xen::blkif::{self, Arrived, Failure, Memory, Operation, Progress, ScatterList, Source, Transfer};
use xen::{Hal, SharedMemory};

use crate::memory::Copier;
use crate::{Answer, Srb, answer};

/// Conditions for a disk's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// None of the system's pages may be granted.
    pub copy_all: bool,
    /// Bytes of the disk's logical block, of which each granted piece has to be a multiple.
    pub block_size: u32,
}

/// A request's work on the medium.
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
    pub(crate) terms: Terms,
    /// Data goes through the frontend's pages.
    copied: bool,
    /// The transfer on its way: of the data, or of the flush behind it.
    pub(crate) transfer: Transfer,
    flushing: bool,
    /// Parts of an unmap that are done.
    unmapped: usize,
    /// Some part of it was given to the frontend.
    pub(crate) begun: bool,
    /// The backend holds pages of its buffer: it never ends.
    pub(crate) kept: bool,
    /// The answer, from the request's end until the lock is released.
    pub(crate) answer: Answer,
}

impl<S: Srb> Request<S> {
    /// Returns the request for `action`, with the SRB's buffer checked against it.
    ///
    /// # Errors
    /// The SRB, and how it ends at once: its buffer or its scatter-gather list is shorter than the command's
    /// data.
    pub fn new(srb: S, action: Action, terms: Terms) -> Result<Self, (S, Answer)> {
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
        let Ok((copied, transfer)) = start(tag(place), work, extent, list.as_ref(), terms) else {
            return Err((srb, Answer::InvalidRequest));
        };
        let mut request = Self {
            srb: Some(srb),
            next: None,
            number: 0,
            work,
            extent,
            list,
            terms,
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

    /// Begins it anew under these terms, as if nothing of it had been done. Nothing of it is in flight.
    pub(crate) fn restart(&mut self, terms: Terms) {
        let Some(place) = self.srb.as_ref().and_then(S::extension) else { return };
        self.terms = terms;
        self.begun = false;
        self.flushing = self.work == Work::Flush;
        self.unmapped = 0;
        if let Work::Unmap { .. } = self.work {
            self.next_unmap();
        } else if self.copied {
            self.transfer = copied_transfer(tag(place), self.work, self.extent);
        } else if let Ok((copied, transfer)) =
            start(tag(place), self.work, self.extent, self.list.as_ref(), terms)
        {
            (self.copied, self.transfer) = (copied, transfer);
        }
    }

    /// Goes the other way from its beginning: through the frontend's pages; whether that is another way. Nothing of it is
    /// in flight.
    pub(crate) fn copy(&mut self) -> bool {
        let Some(place) = self.srb.as_ref().and_then(S::extension).filter(|_| self.grants()) else {
            return false;
        };
        self.copied = true;
        self.transfer = copied_transfer(tag(place), self.work, self.extent);
        true
    }

    /// Returns true if the backend is to be given pages of its buffer.
    pub(crate) fn grants(&self) -> bool {
        matches!(self.work, Work::Read | Work::Write { .. }) && !self.copied
    }

    /// Submits as much of it as there is room for.
    pub(crate) fn submit<H: Hal>(
        &mut self,
        frontend: &mut blkif::Frontend<H>,
        copier: &mut Copier<S::Window>,
    ) -> Result<Progress, blkif::Error> {
        let place = self.srb.as_ref().and_then(S::extension).map_or(0, |place| tag(place));
        let (copied, work) = (self.copied, self.work);
        let Self { list, transfer, .. } = self;
        match (list, copied, work) {
            (Some(list), false, _) => transfer.submit(frontend, Memory::Pages(list)),
            (Some(list), true, Work::Write { .. }) => {
                let buffer: Buffer<'_, '_, S> = Buffer { tag: place, list, copier: RefCell::new(copier) };
                transfer.submit(frontend, Memory::<S::List>::Copied(&buffer))
            }
            _ => transfer.submit(frontend, Memory::<S::List>::None),
        }
    }

    /// Goes on when the transfer on its way is done. Returns true if there is something to do after it.
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
        let (Some(place), Some(data)) = (srb.extension(), srb.parameters()) else { return false };
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

    /// Returns the operation on its way, or the last one.
    pub(crate) fn operation(&self) -> Operation {
        match self.work {
            _ if self.flushing => Operation::Flush,
            Work::Read | Work::Verify => Operation::Read,
            Work::Write { .. } => Operation::Write,
            Work::Flush => Operation::Flush,
            Work::Unmap { .. } => Operation::Discard,
        }
    }

    /// Returns the answer to an SRB of which a step could not be sent, with nothing in flight.
    pub(crate) fn refused(&self, error: &blkif::Error) -> Answer {
        match (error, self.work) {
            // This backend has no cache that would have to be flushed, or has said so.
            (blkif::Error::FlushUnsupported, Work::Write { .. } | Work::Flush) => self.answer(Ok(())),
            _ => answer::refusal(error),
        }
    }

    /// Returns the answer to the SRB.
    pub(crate) fn answer(&self, result: Result<(), Failure>) -> Answer {
        match (result, self.work) {
            (Ok(()), Work::Read | Work::Write { .. }) => {
                // No more than the SRB's own length, which has 32 bits.
                Answer::Done { transferred: self.extent.bytes() as u32 }
            }
            (Ok(()), Work::Verify | Work::Flush) => Answer::Done { transferred: 0 },
            (Ok(()), Work::Unmap { bytes, .. }) => Answer::Done { transferred: bytes as u32 },
            (Err(Failure::Backend), Work::Flush) => answer::FLUSH_FAILED,
            (Err(failure), _) => answer::failure(failure, self.operation()),
        }
    }
}

/// The data of a write that is copied.
struct Buffer<'a, 'c, S: Srb> {
    tag: usize,
    list: &'a S::List,
    copier: RefCell<&'c mut Copier<S::Window>>,
}

impl<S: Srb> Source for Buffer<'_, '_, S> {
    fn fill(&self, offset: usize, length: usize, page: &SharedMemory) {
        self.copier.borrow_mut().read(self.tag, self.list, offset as u64, length, page);
    }
}

/// Puts what a copied read brought where it belongs.
///
/// # Safety
/// The tag is the address of a pending request with this ring request in flight.
pub(crate) unsafe fn arrived<S: Srb>(data: &Arrived<'_>, copier: &mut Copier<S::Window>) {
    // SAFETY: the caller's promise.
    let request = unsafe { &*ptr::with_exposed_provenance::<Request<S>>(data.tag) };
    if let (Work::Read, Some(list)) = (request.work, &request.list) {
        copier.write(data.tag, list, data.offset as u64, data.length, data.memory);
    }
}

/// Returns how work begins: true if the data is copied, and the first transfer.
fn start<L: ScatterList>(
    tag: usize,
    work: Work,
    extent: Extent,
    list: Option<&L>,
    terms: Terms,
) -> Result<(bool, Transfer), blkif::Error> {
    let operation = match work {
        Work::Flush | Work::Unmap { .. } => return Ok((false, Transfer::flush(tag))),
        Work::Verify => return Ok((true, copied_transfer(tag, work, extent))),
        Work::Read => Operation::Read,
        Work::Write { .. } => Operation::Write,
    };
    let bytes = extent.bytes();
    let too_short = |found| blkif::Error::ListTooShort { expected: bytes, found };
    let list = list.ok_or(too_short(0))?;
    if !terms.copy_all {
        match Transfer::new(tag, operation, extent.sector, bytes, terms.block_size, list) {
            Err(blkif::Error::Unaligned { .. }) => {}
            other => return other.map(|transfer| (false, transfer)),
        }
    }
    // The list has to be long enough either way.
    let mut found = 0;
    for element in (0..).map_while(|index| list.element(index)) {
        if found >= bytes {
            break;
        }
        found += u64::from(element.length);
    }
    if found < bytes { Err(too_short(found)) } else { Ok((true, copied_transfer(tag, work, extent))) }
}

fn copied_transfer(tag: usize, work: Work, extent: Extent) -> Transfer {
    let operation = if let Work::Write { .. } = work { Operation::Write } else { Operation::Read };
    Transfer::copied(tag, operation, extent.sector, extent.bytes())
}

/// Returns a request's tag: its address.
fn tag<S: Srb>(request: NonNull<Request<S>>) -> usize {
    request.as_ptr().expose_provenance()
}
