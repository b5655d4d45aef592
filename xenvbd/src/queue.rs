//! The I/O path of one disk: SRBs to ring requests and back.
//!
//! An SRB becomes a [`Request`] in Storport's SRB extension, so nothing is allocated here once the disk is
//! connected. What the ring has no room for waits in the queue, in order, and goes on when responses come in.
//!
//! A request takes one of two ways:
//! - *direct*: the buffer's own pages are granted, 11 of them in a ring request ([`xen::blkif::Transfer`]);
//! - *bounced*: a buffer that is not made of whole sectors, every buffer where the toolstack asks to distrust the
//!   backend, and a VERIFY, which has none. Data goes through a page of the driver's own for each ring request;
//!   there is one such page for each ring slot, allocated when the disk is connected.
//!
//! # When memory may be used again
//! A request ends when every ring request of it has come back and its grants have ended. A backend that does not
//! answer keeps its requests pending, through any reset, since it might still write to their pages. A page whose
//! grant cannot be ended is never given back: a bounce page is left allocated, a direct request is never
//! completed.
#![allow(unsafe_code, reason = "requests live in Storport's SRB extensions and are linked through them")]

use alloc::vec::Vec;
use core::ptr::{self, NonNull};
use core::slice;
use core::time::Duration;

use scsi::{Action, Extent, Sense};
use xen::blkif::{self, Completion, Disk, Failure, Operation, Progress, SLOTS, Segment, Transfer};
use xen::{Hal, PAGE_SIZE, Port as EventPort, SharedPage};

use crate::hal::{Error, Platform};
use crate::storport::{Answer, Port, ScatterList, Srb};

/// Most bytes of one SRB: what fills half of the ring with full direct requests.
pub const MAXIMUM_TRANSFER: u32 = (SLOTS / 2 * blkif::MAX_SEGMENTS * PAGE_SIZE) as u32;

/// Bytes in a sector.
const SECTOR: usize = scsi::SECTOR as usize;

/// How long a read of [`Queue::read_now`] may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const READ_STEP: Duration = Duration::from_millis(1);

/// Tag of the ring request of [`Queue::read_now`]. Other tags are a request's address, which is even, or twice a
/// bounce slot's index and one.
const READ_NOW: usize = usize::MAX;

/// What a request does on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Read,
    Write { flush_after: bool },
    Verify,
    Flush,
}

/// Where a request stands.
#[derive(Clone, Copy)]
enum Stage {
    /// Data moves between the buffer's own pages and the disk.
    Direct(Transfer),
    /// Data moves through bounce pages.
    Bounce(Bounce),
    /// The flush, alone or after the data of a write.
    Flush(Transfer),
}

/// How far a bounced request has come.
#[derive(Clone, Copy)]
struct Bounce {
    /// System address of the buffer; `None` for data that nobody looks at.
    data: Option<NonNull<u8>>,
    /// Bytes submitted.
    submitted: usize,
    in_flight: u32,
    result: Result<(), Failure>,
}

/// One SRB on its way, in the SRB's extension.
pub struct Request {
    /// `Some` until the SRB is completed.
    srb: Option<Srb>,
    port: Port,
    next: Option<NonNull<Request>>,
    work: Work,
    /// Nothing for a flush.
    extent: Extent,
    list: ScatterList,
    stage: Stage,
    /// Some part of it was given to the frontend.
    begun: bool,
    /// How it ended, from then until the lock is released.
    answer: Answer,
}

impl Request {
    /// The request for `action`, with the SRB's buffer checked against it. `bounce_all`: none of the buffer's
    /// pages may be granted.
    ///
    /// # Errors
    /// The SRB, and how it ends at once: its buffer is shorter than the command's data, or has no system address
    /// to copy at.
    pub fn new(srb: Srb, port: Port, action: Action, bounce_all: bool) -> Result<Self, (Srb, Answer)> {
        let (work, extent) = match action {
            Action::Read { extent } => (Work::Read, extent),
            Action::Write { extent, flush_after } => (Work::Write { flush_after }, extent),
            Action::Verify { extent } => (Work::Verify, extent),
            Action::Flush => (Work::Flush, Extent { sector: 0, sectors: 0 }),
        };
        let bounce = |data| Stage::Bounce(Bounce { data, submitted: 0, in_flight: 0, result: Ok(()) });
        let Some(place) = srb.extension() else { return Err((srb, Answer::InvalidRequest)) };
        let (list, stage) = match work {
            Work::Flush => (ScatterList::NONE, Stage::Flush(Transfer::flush(tag(place)))),
            Work::Verify => (ScatterList::NONE, bounce(None)),
            Work::Read | Work::Write { .. } => {
                if extent.bytes() > srb.data_length().into() {
                    return Err((srb, Answer::InvalidRequest));
                }
                let list = srb.scatter_list(port);
                let operation = if work == Work::Read { Operation::Read } else { Operation::Write };
                let direct = Transfer::new(tag(place), operation, extent.sector, extent.bytes(), &list);
                match (direct, srb.data()) {
                    (Ok(transfer), _) if !bounce_all => (list, Stage::Direct(transfer)),
                    (Ok(_) | Err(blkif::Error::Unaligned { .. }), data @ Some(_)) => (list, bounce(data)),
                    _ => return Err((srb, Answer::InvalidRequest)),
                }
            }
        };
        Ok(Self {
            srb: Some(srb),
            port,
            next: None,
            work,
            extent,
            list,
            stage,
            begun: false,
            answer: Answer::NoDevice,
        })
    }

    /// Puts the request into its SRB's extension, where it stays until the SRB is completed.
    pub fn settle(self) -> Option<NonNull<Self>> {
        let place = self.srb.as_ref().and_then(Srb::extension)?;
        // SAFETY: the extension is this driver's while the SRB is pending, of `size_of::<Request>()` bytes (the
        // `SrbExtensionSize` that Storport was given), and pool memory, so aligned to 16.
        unsafe { place.write(self) };
        Some(place)
    }

    fn operation(&self) -> Operation {
        match self.work {
            Work::Read | Work::Verify => Operation::Read,
            Work::Write { .. } => Operation::Write,
            Work::Flush => Operation::Flush,
        }
    }

    /// How the SRB ends.
    fn answer(&self, result: Result<(), Failure>, block_size: u32) -> Answer {
        let block = self.extent.sector / u64::from(block_size / scsi::SECTOR);
        match (result, self.work) {
            (Ok(()), Work::Read | Work::Write { .. }) => {
                // No more than the SRB's own length, which has 32 bits.
                Answer::Done { transferred: self.extent.bytes() as u32 }
            }
            (Ok(()), Work::Verify | Work::Flush) => Answer::Done { transferred: 0 },
            (Err(Failure::Backend), Work::Read | Work::Verify) => {
                Answer::Sense(Sense::READ_ERROR.at_block(block))
            }
            (Err(Failure::Backend), Work::Write { .. } | Work::Flush) => {
                Answer::Sense(Sense::WRITE_ERROR.at_block(block))
            }
            (Err(Failure::NotSupported), Work::Flush) => Answer::Sense(Sense::INVALID_OPCODE),
            (Err(Failure::NotSupported | Failure::Unsent(_)), _) => Answer::Sense(Sense::TARGET_FAILURE),
            (Err(Failure::Broken(_) | Failure::Disconnected), _) => Answer::NoDevice,
        }
    }
}

/// Requests linked through their `next`, first in, first out. A request is in one list at most.
#[derive(Default)]
struct List {
    ends: Option<(NonNull<Request>, NonNull<Request>)>,
}

impl List {
    fn push(&mut self, request: NonNull<Request>) {
        self.ends = Some(match self.ends {
            None => (request, request),
            Some((first, mut last)) => {
                // SAFETY: a request in a list is pending, and the list's holder has it to itself.
                unsafe { last.as_mut() }.next = Some(request);
                (first, request)
            }
        });
    }

    fn first(&self) -> Option<NonNull<Request>> {
        self.ends.map(|(first, _)| first)
    }

    fn pop(&mut self) -> Option<NonNull<Request>> {
        let (mut first, last) = self.ends?;
        // SAFETY: as in `push`.
        let next = unsafe { first.as_mut() }.next.take();
        self.ends = next.map(|next| (next, last));
        Some(first)
    }
}

/// SRBs that have ended, to be completed with no lock held.
#[must_use = "these SRBs wait to be completed"]
#[derive(Default)]
pub struct Ended(List);

impl Ended {
    fn push(&mut self, mut request: NonNull<Request>, answer: Answer) {
        // SAFETY: the request is pending and in no list.
        unsafe { request.as_mut() }.answer = answer;
        self.0.push(request);
    }

    /// A request that reached no queue.
    pub fn unserved(request: NonNull<Request>) -> Self {
        let mut ended = Self::default();
        ended.push(request, Answer::NoDevice);
        ended
    }

    /// Completes them. ≤ DISPATCH_LEVEL, no queue lock held.
    pub fn complete(mut self) {
        while let Some(mut request) = self.0.pop() {
            let (srb, port, answer) = {
                // SAFETY: the request ended: it is in no list, and no ring request of it is left. The reference ends
                // before the SRB, and with it the request's memory, goes back to Storport.
                let request = unsafe { request.as_mut() };
                (request.srb.take(), request.port, request.answer)
            };
            if let Some(srb) = srb {
                srb.complete(port, answer);
            }
        }
    }
}

/// A page of the driver's own, and the ring request that uses it.
struct BounceSlot {
    /// `None` once the backend would not let go of it: a page is freed by an explicit call only.
    page: Option<SharedPage>,
    user: Option<BounceUse>,
}

/// Which part of which request is in a bounce page.
#[derive(Clone, Copy)]
struct BounceUse {
    request: NonNull<Request>,
    offset: usize,
    length: usize,
}

/// What is in the way of going on with a request.
enum Obstacle {
    /// No free ring slot, bounce page or grant: wait for a completion.
    Full,
    /// It cannot be sent at all, and nothing of it is in flight.
    Refused(blkif::Error),
}

/// One disk's ring and what waits for it. Its owner holds a lock around each call.
pub struct Queue {
    frontend: blkif::Frontend<Platform>,
    platform: Platform,
    bounce: Vec<BounceSlot>,
    /// Requests not wholly submitted; only the first has parts in flight.
    waiting: List,
    block_size: u32,
}

// SAFETY: the queue's lists own the requests in them, and its bounce slots point at requests with ring requests in
// flight; all of these stay where they are until the queue has ended them. SRBs may be handled on any processor.
unsafe impl Send for Queue {}

impl Queue {
    /// The queue of a connected frontend. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// No memory for bounce pages.
    pub fn new(
        mut frontend: blkif::Frontend<Platform>,
        platform: Platform,
        port: EventPort,
        disk: Disk,
    ) -> Result<Self, Error> {
        frontend.connect(port, disk);
        let mut queue = Self {
            frontend,
            platform,
            bounce: Vec::new(),
            waiting: List::default(),
            block_size: disk.sector_size,
        };
        queue.bounce.try_reserve_exact(SLOTS).map_err(|_| Error::NO_MEMORY)?;
        for _ in 0..SLOTS {
            let page = queue.platform.alloc_shared_page().ok_or(Error::NO_MEMORY)?;
            queue.bounce.push(BounceSlot { page: Some(page), user: None });
        }
        Ok(queue)
    }

    /// Reads from the disk and waits, by polling the ring. PASSIVE_LEVEL, before any request; at most a page.
    ///
    /// # Errors
    /// The request is not valid, or failed, or took longer than ten seconds.
    pub fn read_now(&mut self, sector: u64, into: &mut [u8]) -> Result<(), Error> {
        let Some(page) = self.bounce.first().and_then(|slot| slot.page.as_ref()) else {
            return Err(Error::NO_MEMORY);
        };
        let segments = [segment(page, into.len().min(PAGE_SIZE))];
        let request =
            blkif::Request { tag: READ_NOW, operation: Operation::Read, sector, segments: &segments };
        self.frontend.submit(&request)?;
        self.frontend.push();
        let mut left = READ_TIMEOUT.as_millis() / READ_STEP.as_millis();
        let completion = loop {
            if let Some(completion) = self.frontend.poll() {
                break completion;
            }
            if left == 0 {
                // Whatever comes back later comes back as failed, with the page's grant ended or held.
                self.frontend.disconnect();
            }
            left = left.saturating_sub(1);
            self.platform.pause(READ_STEP);
        };
        if completion.pages_held {
            self.leak_bounce_page(0);
        }
        completion.result.map_err(Error::Request)?;
        if let Some(page) = self.bounce.first().and_then(|slot| slot.page.as_ref()) {
            page.memory().copy_out(0, into);
        }
        Ok(())
    }

    /// Takes a request, which its SRB's extension holds. ≤ DISPATCH_LEVEL.
    pub fn start(&mut self, request: NonNull<Request>) -> Ended {
        let mut ended = Ended::default();
        self.waiting.push(request);
        self.submit(&mut ended);
        if !self.is_connected() {
            // The frontend has just broken with its backend: what is in flight comes back without an event.
            self.take_in(&mut ended);
        }
        ended
    }

    /// Takes in what the backend has answered, and goes on with what waited. ≤ DISPATCH_LEVEL.
    pub fn drain(&mut self) -> Ended {
        let mut ended = Ended::default();
        self.take_in(&mut ended);
        ended
    }

    fn take_in(&mut self, ended: &mut Ended) {
        loop {
            while let Some(completion) = self.frontend.poll() {
                self.completed(&completion, ended);
            }
            self.submit(ended);
            // Submitting, too, may end in a break with the backend, after which everything comes back.
            if self.is_connected() || self.frontend.in_flight() == 0 {
                return;
            }
        }
    }

    /// Gives up what has not been begun, after a look at the ring. ≤ DISPATCH_LEVEL.
    ///
    /// What the backend has been told stays pending until it answers: its pages are not the driver's to give
    /// back, and blkif has no way to take a request back.
    pub fn reset(&mut self) -> Ended {
        let mut ended = self.drain();
        let mut begun = List::default();
        while let Some(request) = self.waiting.pop() {
            // SAFETY: a request in the queue's list is pending and the queue's own.
            if unsafe { request.as_ref() }.begun {
                begun.push(request);
            } else {
                ended.push(request, Answer::Reset);
            }
        }
        self.waiting = begun;
        ended
    }

    /// Whether no request is here.
    pub fn is_idle(&self) -> bool {
        self.waiting.first().is_none() && self.frontend.in_flight() == 0
    }

    /// Ends every request without the backend, which is gone. ≤ DISPATCH_LEVEL.
    pub fn abandon(&mut self) -> Ended {
        let mut ended = Ended::default();
        self.frontend.disconnect();
        self.take_in(&mut ended);
        ended
    }

    /// Whether the backend can be used.
    pub fn is_connected(&self) -> bool {
        self.frontend.disk().is_some()
    }

    /// Submits what waits, until it is all submitted or the ring is full. Without a backend it all ends, once nothing
    /// is in flight any more.
    fn submit(&mut self, ended: &mut Ended) {
        while let Some(request) = self.waiting.first() {
            let submitted = match (self.is_connected(), self.frontend.in_flight()) {
                (true, _) => self.submit_one(request),
                (false, 0) => Err(Obstacle::Refused(blkif::Error::NotConnected)),
                (false, _) => Err(Obstacle::Full),
            };
            match submitted {
                Ok(()) => {
                    self.waiting.pop();
                }
                // Nothing is in flight that could wake the queue again: grants or pages are used up elsewhere.
                Err(Obstacle::Full) if self.frontend.in_flight() == 0 => {
                    self.waiting.pop();
                    ended.push(request, Answer::Busy);
                }
                Err(Obstacle::Full) => break,
                Err(Obstacle::Refused(error)) => {
                    self.waiting.pop();
                    ended.push(request, refusal(&error));
                }
            }
        }
        self.frontend.push();
    }

    /// Submits as much of a request as there is room for.
    fn submit_one(&mut self, mut request: NonNull<Request>) -> Result<(), Obstacle> {
        // SAFETY: a request in the queue's list is pending and the queue's own.
        let this = unsafe { request.as_mut() };
        this.begun = true;
        match &mut this.stage {
            Stage::Direct(transfer) | Stage::Flush(transfer) => {
                match transfer.submit(&mut self.frontend, &this.list) {
                    Ok(Progress::Whole) => Ok(()),
                    Ok(Progress::Partial) => Err(Obstacle::Full),
                    Err(error) => Err(Obstacle::Refused(error)),
                }
            }
            Stage::Bounce(_) => self.submit_bounced(request),
        }
    }

    fn submit_bounced(&mut self, mut request: NonNull<Request>) -> Result<(), Obstacle> {
        // SAFETY: as in `submit_one`.
        let this = unsafe { request.as_mut() };
        let (operation, extent) = (this.operation(), this.extent);
        let Stage::Bounce(bounce) = &mut this.stage else { return Ok(()) };
        loop {
            // At most MAXIMUM_TRANSFER for data; a VERIFY may be longer, and a usize holds its 2^41 bytes.
            let left = extent.bytes() as usize - bounce.submitted;
            if left == 0 || bounce.result.is_err() {
                return Ok(());
            }
            let free = |slot: &BounceSlot| slot.page.is_some() && slot.user.is_none();
            let index = self.bounce.iter().position(free).ok_or(Obstacle::Full)?;
            let slot = &mut self.bounce[index];
            let Some(page) = &slot.page else { return Err(Obstacle::Full) };
            let length = left.min(PAGE_SIZE);
            if let (Operation::Write, Some(data)) = (operation, bounce.data) {
                // SAFETY: the SRB's buffer has `extent.bytes()` bytes (checked in `Request::new`), mapped and
                // resident as long as the SRB is pending.
                let source = unsafe { slice::from_raw_parts(data.as_ptr().add(bounce.submitted), length) };
                page.memory().copy_in(0, source);
            }
            let result = self.frontend.submit(&blkif::Request {
                tag: index * 2 + 1,
                operation,
                sector: extent.sector + (bounce.submitted / SECTOR) as u64,
                segments: &[segment(page, length)],
            });
            match result {
                Ok(()) => {
                    slot.user = Some(BounceUse { request, offset: bounce.submitted, length });
                    bounce.submitted += length;
                    bounce.in_flight += 1;
                }
                Err(blkif::Error::Full | blkif::Error::Grant(xen::grant::Error::Exhausted)) => {
                    return Err(Obstacle::Full);
                }
                Err(error) => {
                    if let blkif::Error::Grant(xen::grant::Error::InUse { .. }) = error {
                        slot.page = None;
                    }
                    if bounce.in_flight == 0 {
                        return Err(Obstacle::Refused(error));
                    }
                    bounce.result = Err(Failure::Unsent(error));
                    return Ok(());
                }
            }
        }
    }

    /// One ring request has come back.
    fn completed(&mut self, completion: &Completion, ended: &mut Ended) {
        if completion.tag & 1 == 0 {
            // SAFETY: an even tag is the address of a request with a ring request in flight, which is pending.
            let request = unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(completion.tag)) };
            self.completed_direct(request, completion, ended);
        } else if let Some(user) = self.bounce.get_mut(completion.tag / 2).and_then(|slot| slot.user.take()) {
            self.completed_bounced(user, completion, ended);
        }
    }

    fn completed_direct(
        &mut self,
        mut request: NonNull<Request>,
        completion: &Completion,
        ended: &mut Ended,
    ) {
        // SAFETY: the caller's: pending, and the queue's own.
        let this = unsafe { request.as_mut() };
        let (Stage::Direct(transfer) | Stage::Flush(transfer)) = &mut this.stage else { return };
        let Some(outcome) = transfer.complete(completion) else { return };
        if outcome.pages_held {
            // Storport will never see this SRB again: its buffer must not be used for anything else.
            self.forget(request);
            self.platform
                .log(format_args!("a request is kept for good: the backend holds pages of its buffer"));
            return;
        }
        self.data_moved(request, outcome.result, ended);
    }

    fn completed_bounced(&mut self, user: BounceUse, completion: &Completion, ended: &mut Ended) {
        let BounceUse { mut request, offset, length } = user;
        let index = completion.tag / 2;
        // SAFETY: a bounce slot's user is pending until its last ring request has come back, and the queue's own.
        let this = unsafe { request.as_mut() };
        let bytes = this.extent.bytes() as usize;
        let Stage::Bounce(bounce) = &mut this.stage else { return };
        if let (Ok(()), Work::Read, Some(data), Some(page)) =
            (completion.result, this.work, bounce.data, &self.bounce[index].page)
        {
            // SAFETY: as in `submit_bounced`; `offset` and `length` were inside the buffer at submission.
            let target = unsafe { slice::from_raw_parts_mut(data.as_ptr().add(offset), length) };
            page.memory().copy_out(0, target);
        }
        if completion.pages_held {
            self.leak_bounce_page(index);
        }
        bounce.in_flight -= 1;
        bounce.result = bounce.result.and(completion.result);
        if bounce.in_flight == 0 && (bounce.submitted == bytes || bounce.result.is_err()) {
            let result = bounce.result;
            self.data_moved(request, result, ended);
        }
    }

    /// The last ring request of a request's stage has come back: flush, or end.
    fn data_moved(&mut self, mut request: NonNull<Request>, result: Result<(), Failure>, ended: &mut Ended) {
        self.forget(request);
        // SAFETY: the caller's: pending, and the queue's own.
        let this = unsafe { request.as_mut() };
        let flushed = matches!(this.stage, Stage::Flush(_));
        if result.is_ok() && !flushed && this.work == (Work::Write { flush_after: true }) {
            this.stage = Stage::Flush(Transfer::flush(tag(request)));
            self.waiting.push(request);
        } else {
            let answer = this.answer(result, self.block_size);
            ended.push(request, answer);
        }
    }

    /// Takes a request that failed before it was wholly submitted out of the waiting list, where it is the first.
    fn forget(&mut self, request: NonNull<Request>) {
        if self.waiting.first() == Some(request) {
            self.waiting.pop();
        }
    }

    /// Gives up a bounce page that the backend will not let go of.
    fn leak_bounce_page(&mut self, index: usize) {
        if let Some(slot) = self.bounce.get_mut(index) {
            slot.page = None;
        }
    }
}

impl Drop for Queue {
    /// PASSIVE_LEVEL, with no request left. The frontend, dropped after this, takes back its ring.
    fn drop(&mut self) {
        for slot in &mut self.bounce {
            if let (Some(page), None) = (slot.page.take(), slot.user) {
                // SAFETY: the page came from this platform; no ring request uses it, so every grant of it has ended
                // (one that could not be ended takes the page out of its slot).
                unsafe { self.platform.free_shared_page(page) };
            }
        }
    }
}

/// The first `length` bytes of a page.
fn segment(page: &SharedPage, length: usize) -> Segment {
    // Whole sectors, at least one and at most eight.
    Segment { frame: page.frame(), first_sector: 0, last_sector: (length / SECTOR - 1) as u8 }
}

/// A request's tag: its address.
fn tag(request: NonNull<Request>) -> usize {
    request.as_ptr().expose_provenance()
}

/// How an SRB ends of which nothing could be sent.
fn refusal(error: &blkif::Error) -> Answer {
    match error {
        blkif::Error::NotConnected | blkif::Error::Broken(_) => Answer::NoDevice,
        blkif::Error::FlushUnsupported => Answer::Sense(Sense::INVALID_OPCODE),
        blkif::Error::ReadOnly => Answer::Sense(Sense::WRITE_PROTECTED),
        blkif::Error::Range { .. } | blkif::Error::Block { .. } => Answer::Sense(Sense::OUT_OF_RANGE),
        _ => Answer::Sense(Sense::TARGET_FAILURE),
    }
}
