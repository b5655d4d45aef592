//! One SRB on its way.

use core::ptr::{self, NonNull};
use core::slice;

use scsi::{Action, BlockSize, Extent, unmap};
use xen::SharedMemory;
use xen::blkif::{self, Arrived, Failure, Memory, Operation, Progress, Source, Transfer};

use crate::hal::Platform;
use crate::storport::{Answer, Port, ScatterList, Srb};

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
pub struct Request {
    /// `Some` until the SRB is completed.
    pub(super) srb: Option<Srb>,
    pub(super) port: Port,
    pub(super) next: Option<NonNull<Request>>,
    /// Its place in the order of what the queue was given.
    pub(super) number: u64,
    work: Work,
    /// Nothing for a flush; of an unmap the part that is on its way.
    extent: Extent,
    list: ScatterList,
    /// Data goes through the frontend's pages.
    copied: bool,
    /// What is on its way: the data, or the flush behind it.
    pub(super) transfer: Transfer,
    flushing: bool,
    /// Parts of an unmap that are done.
    unmapped: usize,
    /// Some part of it was given to the frontend.
    pub(super) begun: bool,
    /// The backend holds pages of its buffer: it never ends.
    pub(super) kept: bool,
    /// How it ended, from then until the lock is released.
    pub(super) answer: Answer,
}

impl Request {
    /// The request for `action`, with the SRB's buffer checked against it. `copy_all`: none of the buffer's
    /// pages may be granted.
    ///
    /// # Errors
    /// The SRB, and how it ends at once: its buffer is shorter than the command's data, or has no system
    /// address to copy at.
    pub fn new(srb: Srb, port: Port, action: Action, copy_all: bool) -> Result<Self, (Srb, Answer)> {
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
        let list = if moves { srb.scatter_list(port) } else { ScatterList::NONE };
        let (copied, transfer) = match start(tag(place), work, extent, &list, copy_all) {
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
            port,
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
        let place = self.srb.as_ref().and_then(Srb::extension)?;
        // SAFETY: the extension is this driver's while the SRB is pending, of `size_of::<Request>()` bytes
        // (the `SrbExtensionSize` that Storport was given), and pool memory, so aligned to 16.
        unsafe { place.write(self) };
        Some(place)
    }

    /// Begins it anew, as if nothing of it had been done. Nothing of it is in flight.
    pub(super) fn restart(&mut self) {
        let Some(place) = self.srb.as_ref().and_then(Srb::extension) else { return };
        self.begun = false;
        self.flushing = self.work == Work::Flush;
        self.unmapped = 0;
        if let Work::Unmap { .. } = self.work {
            self.next_unmap();
        } else if self.copied {
            self.transfer = copied_transfer(tag(place), self.work, self.extent);
        } else if let Ok((_, transfer)) = start(tag(place), self.work, self.extent, &self.list, false) {
            self.transfer = transfer;
        }
    }

    /// Goes the other way: through the frontend's pages; whether that can be done. Nothing of it is in
    /// flight.
    pub(super) fn copy(&mut self) -> bool {
        let Some(srb) = &self.srb else { return false };
        let (Some(place), Some(_), false) = (srb.extension(), srb.data(), self.copied) else { return false };
        self.copied = true;
        self.transfer = copied_transfer(tag(place), self.work, self.extent);
        true
    }

    /// Whether the backend is to be given pages of its buffer.
    pub(super) fn grants(&self) -> bool {
        matches!(self.work, Work::Read | Work::Write { .. }) && !self.copied
    }

    /// Submits as much of it as there is room for.
    pub(super) fn submit(
        &mut self,
        frontend: &mut blkif::Frontend<Platform>,
    ) -> Result<Progress, blkif::Error> {
        let buffer = Buffer(self.srb.as_ref().and_then(Srb::data));
        let memory = match (self.copied, self.work) {
            (false, _) => Memory::Pages(&self.list),
            (true, Work::Write { .. }) => Memory::Copied(&buffer),
            (true, _) => Memory::None,
        };
        self.transfer.submit(frontend, memory)
    }

    /// What was on its way is done: whether there is something to do after it.
    pub(super) fn advance(&mut self) -> bool {
        let Some(place) = self.srb.as_ref().and_then(Srb::extension) else { return false };
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
    pub(super) fn answer(&self, result: Result<(), Failure>, block_size: u32) -> Answer {
        let block = self.extent.sector / u64::from(block_size / scsi::SECTOR);
        match (result, self.work) {
            (Ok(()), Work::Read | Work::Write { .. }) => {
                // No more than the SRB's own length, which has 32 bits.
                Answer::Done { transferred: self.extent.bytes() as u32 }
            }
            (Ok(()), Work::Verify | Work::Flush) => Answer::Done { transferred: 0 },
            (Ok(()), Work::Unmap { bytes, .. }) => Answer::Done { transferred: bytes as u32 },
            (Err(failure), _) => super::failure(failure, self.operation(), block),
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
pub(super) unsafe fn arrived(data: &Arrived<'_>) {
    // SAFETY: the caller's promise.
    let request = unsafe { &*ptr::with_exposed_provenance::<Request>(data.tag) };
    if let (Work::Read, Some(buffer)) = (request.work, request.srb.as_ref().and_then(Srb::data)) {
        // SAFETY: as in `Buffer`; the buffer of a read is this driver's to write.
        let target = unsafe { slice::from_raw_parts_mut(buffer.as_ptr().add(data.offset), data.length) };
        data.memory.copy_out(0, target);
    }
}

/// How work begins: whether copied, and the first transfer.
fn start(
    tag: usize,
    work: Work,
    extent: Extent,
    list: &ScatterList,
    copy: bool,
) -> Result<(bool, Transfer), blkif::Error> {
    let operation = match work {
        Work::Flush | Work::Unmap { .. } => return Ok((false, Transfer::flush(tag))),
        Work::Verify => return Ok((true, copied_transfer(tag, work, extent))),
        Work::Read => Operation::Read,
        Work::Write { .. } => Operation::Write,
    };
    // The list has to be long enough either way.
    let direct = Transfer::new(tag, operation, extent.sector, extent.bytes(), list)?;
    Ok(if copy { (true, copied_transfer(tag, work, extent)) } else { (false, direct) })
}

fn copied_transfer(tag: usize, work: Work, extent: Extent) -> Transfer {
    let operation = if let Work::Write { .. } = work { Operation::Write } else { Operation::Read };
    Transfer::copied(tag, operation, extent.sector, extent.bytes())
}

/// A request's tag: its address.
fn tag(request: NonNull<Request>) -> usize {
    request.as_ptr().expose_provenance()
}
