//! One ring of a disk, with the requests that wait for it.
//!
//! An SRB becomes a [`Request`] in the SRB's own extension, so nothing is allocated here once the disk is
//! connected. What the ring has no room for waits in the queue, in order, and goes on when responses come in.
//!
//! A request takes one of two ways ([`xen::blkif::Transfer`]):
//! - *direct*: the buffer's own pages are granted;
//! - *copied*: data goes through the frontend's pages. This is for a buffer that is not made of whole
//!   logical blocks, for every buffer where the toolstack asks to distrust the backend or grants are
//!   persistent, for what finds no grant while nothing else of the queue is in flight, and for a VERIFY, which
//!   has no buffer.
//!
//! # Waking each other
//! The owner takes in responses in rounds: [`Queue::drain`], complete what ended with no lock held,
//! [`Queue::settle`]. What is started in between, often by those who were waiting for the completions, is
//! published by `settle` as a whole: one notification for all of it.
//!
//! While nothing is in flight no answer is asked to be announced. The first request to an idle backend asks
//! for it after the backend has been told: one that was quicker than the notification's return has answered
//! without an interrupt, and [`Queue::start`] says that there is something to take in.
//!
//! # When memory may be used again
//! A request ends when every ring request of it has come back and its grants have ended. A backend that does
//! not answer keeps its requests pending, through any reset, since it might still write to their pages. A
//! page whose grant cannot be ended is never given back: the frontend keeps its own, a direct request is
//! never completed.
//!
//! # A backend that goes away
//! [`Queue::detach`] takes the requests in flight back into the queue, in the order in which they were
//! started, each from its beginning; [`Queue::attach`] sends them again. A request that has been completed is
//! never sent again, and one with a flush behind its data sends the data again, too: the cache that held it
//! may be gone.
#![expect(unsafe_code, reason = "requests live in SRB extensions and are linked through them")]

use core::fmt;
use core::ptr::{self, NonNull};
use core::time::Duration;

use xen::blkif::{self, Arrived, Completion, Copied, Disk, Failure, Operation, Progress};
use xen::{Hal, Port, grant};

use crate::list::{Ended, List};
use crate::memory::Copier;
use crate::request::{self, Request};
use crate::{Answer, Srb, Terms};

/// Most bytes of one SRB.
pub const MAXIMUM_TRANSFER: u32 = 4 << 20;

/// Most ring requests that one round takes in: what more there is, is another round's, so that a processor can
/// do something else between them.
const ROUND: usize = 64;

/// Time that a read of [`Queue::read_now`] may take: a disk that spins up, or another path to it, takes more than ten
/// seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const READ_STEP: Duration = Duration::from_millis(1);
/// Time after which the backend is notified again, and each time again: a notification may have been lost.
const READ_NUDGE: Duration = Duration::from_secs(1);

/// Tag of the ring request of [`Queue::read_now`]. Other tags are a request's address, which is even.
const READ_NOW: usize = usize::MAX;

/// A reason why a request cannot go on.
enum Obstacle {
    /// No free ring slot, page or grant: wait for a completion.
    Full,
    /// It cannot be sent at all, and nothing of it is in flight.
    Refused(blkif::Error),
}

/// The ring, or why there is none.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each queue, and it is the ring nearly always"
)]
enum Backend<H: Hal> {
    Ring(blkif::Frontend<H>),
    /// Gone, and expected back: requests wait.
    Awaited,
    /// Other queues have taken over.
    Moved,
    /// Gone for good.
    Gone,
}

/// Counts of a queue's work, for those who measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// SRBs started.
    pub started: u64,
    /// Started SRBs whose own pages the backend is to be given.
    pub granted: u64,
    /// Ring requests that came back.
    pub completed: u64,
    /// Notifications sent to the backend.
    pub notified: u64,
    /// Rounds of taking in responses.
    pub rounds: u64,
    /// The last rounds, one after the other, that found nothing.
    pub spurious: u64,
}

/// Error of [`Queue::read_now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The read was not sent.
    Unsent(blkif::Error),
    /// It was sent and failed.
    Failed(Failure),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsent(error) => write!(f, "{error}"),
            Self::Failed(failure) => write!(f, "{failure}"),
        }
    }
}

impl core::error::Error for ReadError {}

/// One ring and the requests that wait for it. Its owner holds a lock around each call.
pub struct Queue<H: Hal, S: Srb> {
    backend: Backend<H>,
    hal: H,
    copier: Copier<S::Window>,
    /// Requests not wholly submitted; only the first has parts in flight.
    waiting: List<S>,
    /// Rounds between their [`Queue::drain`] and their [`Queue::settle`].
    rounds: u32,
    /// Number of the next request.
    next: u64,
    counters: Counters,
    /// Ring requests that had come back at the last [`Queue::tick`], and how many ticks ago that changed.
    seen: u64,
    owed: u32,
    known_broken: bool,
    /// Nothing is submitted: see [`Queue::hold`].
    held: bool,
    /// Ring and grants are left alone: see [`Queue::freeze`].
    frozen: bool,
    /// Number of requests that are kept for good.
    kept: usize,
    /// The terms of a backend that has taken the place of the first.
    terms: Option<Terms>,
}

// SAFETY: the queue's lists own the requests in them, and tags in the ring point at requests with ring
// requests in flight; all of these stay where they are until the queue has ended them. SRBs may be handled on
// any processor.
unsafe impl<H: Hal + Send, S: Srb> Send for Queue<H, S> {}

impl<H: Hal, S: Srb> Queue<H, S> {
    /// Returns the queue of a connected frontend.
    pub fn new(mut frontend: blkif::Frontend<H>, hal: H, window: S::Window, port: Port, disk: Disk) -> Self {
        frontend.connect(port, disk);
        Self {
            backend: Backend::Ring(frontend),
            hal,
            copier: Copier::new(window),
            waiting: List::default(),
            rounds: 0,
            next: 0,
            counters: Counters::default(),
            seen: 0,
            owed: 0,
            known_broken: false,
            held: false,
            frozen: false,
            kept: 0,
            terms: None,
        }
    }

    /// Reads from the disk and waits, by polling the ring; `pause` lets so much time pass. PASSIVE_LEVEL,
    /// before any request; at most a page.
    ///
    /// # Errors
    /// The read is not valid, or failed, or took longer than 30 seconds.
    pub fn read_now(
        &mut self,
        sector: u64,
        into: &mut [u8],
        mut pause: impl FnMut(Duration) -> Duration,
    ) -> Result<(), ReadError> {
        let Backend::Ring(frontend) = &mut self.backend else {
            return Err(ReadError::Unsent(blkif::Error::NotConnected));
        };
        read_now(frontend, sector, into, &mut pause)
    }

    /// Takes a request, which its SRB's extension holds. Whether there is something to take in already, that
    /// may not be announced: begin a round. ≤ DISPATCH_LEVEL.
    pub fn start(&mut self, mut request: NonNull<Request<S>>) -> (Ended<S>, bool) {
        let mut ended = Ended::default();
        let idle = self.in_flight() == 0;
        self.counters.started += 1;
        // SAFETY: the port driver has just handed the request over: it is pending and in no list.
        let this = unsafe { request.as_mut() };
        this.number = self.next;
        // Its terms may be those of the backend before.
        if let Some(terms) = self.terms.filter(|terms| *terms != this.terms) {
            this.restart(terms);
        }
        self.counters.granted += u64::from(this.grants());
        self.next += 1;
        self.waiting.push(request);
        self.submit(&mut ended);
        if self.is_broken() {
            // The frontend has just broken with its backend: what is in flight comes back without an event.
            self.take_in(&mut ended);
        }
        self.publish();
        // With requests in flight the backend has been asked already.
        let again = idle && self.ask();
        (ended, again)
    }

    /// Takes in what the backend has answered, as far as one round goes, and goes on with what waited; begins a
    /// round. ≤ DISPATCH_LEVEL.
    pub fn drain(&mut self) -> Ended<S> {
        self.rounds += 1;
        self.counters.rounds += 1;
        let before = self.counters.completed;
        let mut ended = Ended::default();
        self.take_some(&mut ended, ROUND);
        self.counters.spurious =
            if self.counters.completed == before { self.counters.spurious + 1 } else { 0 };
        ended
    }

    /// Ends a round: tells the backend what was started meanwhile, and asks to be notified of what is in
    /// flight. Whether there is something to take in already, that may not be announced: begin another
    /// round. ≤ DISPATCH_LEVEL.
    #[must_use]
    pub fn settle(&mut self) -> bool {
        self.rounds = self.rounds.saturating_sub(1);
        self.publish();
        self.ask()
    }

    /// Asks to be notified of what is in flight, unless a round is going on, whose end does it; whether there
    /// is something to take in already.
    fn ask(&mut self) -> bool {
        match &mut self.backend {
            Backend::Ring(frontend) if self.rounds == 0 && !self.frozen && frontend.in_flight() > 0 => {
                frontend.rearm()
            }
            _ => false,
        }
    }

    fn take_in(&mut self, ended: &mut Ended<S>) {
        self.take_some(ended, usize::MAX);
    }

    /// Takes in at most so many ring requests, but all of those of a broken backend.
    fn take_some(&mut self, ended: &mut Ended<S>, most: usize) {
        if self.frozen {
            return;
        }
        let mut left = most;
        loop {
            while let Backend::Ring(frontend) = &mut self.backend
                && (left > 0 || frontend.disk().is_none())
            {
                let copier = &mut self.copier;
                // SAFETY: a tag that is not READ_NOW's is the address of a request with a ring request in
                // flight.
                let taken = frontend.take(&mut |data| unsafe { request::arrived::<S>(&data, copier) });
                let Some(completion) = taken else { break };
                left = left.saturating_sub(1);
                self.counters.completed += 1;
                self.completed(&completion, ended);
            }
            self.copier.release();
            self.submit(ended);
            // Submitting, too, may end in a break with the backend, after which everything comes back.
            if !self.is_broken() || self.in_flight() == 0 {
                return;
            }
        }
    }

    /// Gives up what has not been begun, after a look at the ring. ≤ DISPATCH_LEVEL.
    ///
    /// What the backend has been told stays pending until it answers: its pages are not the driver's to give
    /// back, and blkif has no way to take a request back.
    pub fn reset(&mut self) -> Ended<S> {
        let mut ended = Ended::default();
        self.take_in(&mut ended);
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

    /// Returns true if no request is here that will end.
    pub fn is_idle(&self) -> bool {
        self.waiting.first().is_none() && self.in_flight() == 0
    }

    /// Returns true if a request is here that never ends: the backend holds pages of its buffer.
    pub fn keeps_any(&self) -> bool {
        self.kept > 0
    }

    /// Returns true if the backend can be used.
    pub fn is_connected(&self) -> bool {
        matches!(&self.backend, Backend::Ring(frontend) if frontend.disk().is_some())
    }

    /// Returns true if there is a ring, and its backend cannot be used.
    fn is_broken(&self) -> bool {
        matches!(&self.backend, Backend::Ring(frontend) if frontend.disk().is_none())
    }

    /// Returns the number of ring requests without an answer. ≤ DISPATCH_LEVEL.
    pub fn in_flight(&self) -> usize {
        match &self.backend {
            Backend::Ring(frontend) => frontend.in_flight(),
            Backend::Awaited | Backend::Moved | Backend::Gone => 0,
        }
    }

    /// Returns the number of writes and discards without an answer. ≤ DISPATCH_LEVEL.
    pub fn changes_in_flight(&self) -> usize {
        match &self.backend {
            Backend::Ring(frontend) => frontend.changes_in_flight(),
            Backend::Awaited | Backend::Moved | Backend::Gone => 0,
        }
    }

    /// Returns true if the backend may still carry out a write or a discard that would be sent again after
    /// [`Queue::detach`]. ≤ DISPATCH_LEVEL.
    pub fn may_change_later(&self) -> bool {
        matches!(&self.backend, Backend::Ring(frontend) if frontend.may_change_later())
    }

    /// Returns true if data has to be copied whatever the buffer.
    pub fn copies_all(&self) -> bool {
        matches!(&self.backend, Backend::Ring(frontend) if frontend.config().persistent)
    }

    /// Returns the counts of its work. ≤ DISPATCH_LEVEL.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Notifies the backend of what it has been told long ago. ≤ DISPATCH_LEVEL.
    pub fn nudge(&mut self) {
        if let (false, Backend::Ring(frontend)) = (self.frozen, &mut self.backend) {
            frontend.nudge();
        }
    }

    /// Takes over a new size of the disk, in sectors of 512 bytes. ≤ DISPATCH_LEVEL.
    pub fn resize(&mut self, sectors: u64) {
        if let Backend::Ring(frontend) = &mut self.backend {
            frontend.resize(sectors);
        }
    }

    /// Returns the disk as the backend serves it, without what it has refused. ≤ DISPATCH_LEVEL.
    pub fn disk(&self) -> Option<Disk> {
        match &self.backend {
            Backend::Ring(frontend) => frontend.disk().copied(),
            Backend::Awaited | Backend::Moved | Backend::Gone => None,
        }
    }

    /// Submits nothing any more until [`Queue::attach`]: requests wait, and those in flight come back. Before
    /// the guest is suspended. ≤ DISPATCH_LEVEL.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Leaves the ring and the grants of a queue that is held alone, until [`Queue::release`] or [`Queue::detach`]: the
    /// guest may be suspended, and come back with another grant table, in which the references of this one are
    /// others'. What is answered meanwhile is not taken in. ≤ DISPATCH_LEVEL.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Ends [`Queue::freeze`] where the guest was not suspended: what is answered is taken in. The queue stays held.
    /// ≤ DISPATCH_LEVEL.
    pub fn thaw(&mut self) {
        self.frozen = false;
    }

    /// Returns true between [`Queue::freeze`] and what ends it. ≤ DISPATCH_LEVEL.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Ends [`Queue::hold`], with the backend that there was: sends what waits. ≤ DISPATCH_LEVEL.
    pub fn release(&mut self) -> Ended<S> {
        (self.held, self.frozen) = (false, false);
        let mut ended = Ended::default();
        self.take_in(&mut ended);
        self.publish();
        ended
    }

    /// Takes back what is in flight: the backend is gone and expected back. From here on requests wait.
    /// `resumed`: the guest has been resumed, so that no grant of before is left. The frontend is to be
    /// dropped at PASSIVE_LEVEL, and what ended completed. ≤ DISPATCH_LEVEL.
    pub fn detach(&mut self, resumed: bool) -> (Option<blkif::Frontend<H>>, Ended<S>) {
        let mut ended = Ended::default();
        self.frozen = false;
        let Backend::Ring(mut frontend) = core::mem::replace(&mut self.backend, Backend::Awaited) else {
            return (None, ended);
        };
        if resumed {
            frontend.forget();
        } else {
            // What the backend has answered is done, and need not be done again.
            loop {
                let copier = &mut self.copier;
                // SAFETY: as in `take_some`.
                let taken = frontend.take(&mut |data| unsafe { request::arrived::<S>(&data, copier) });
                let Some(completion) = taken else { break };
                self.completed(&completion, &mut ended);
            }
            self.copier.release();
            frontend.disconnect();
        }
        // Requests to be sent again, in order; those with pages that the backend still holds are kept for
        // good.
        let mut again = List::default();
        while let Some(completion) = frontend.take(&mut |_| ()) {
            let request = request_of::<S>(&completion);
            if completion.pages_held {
                self.waiting.remove(request);
                again.remove(request);
                // Other parts of it may be in flight.
                self.keep(request);
            // SAFETY: the request is pending and in no list.
            } else if !unsafe { request.as_ref() }.kept {
                again.insert(request);
            }
        }
        while let Some(request) = self.waiting.pop() {
            again.insert(request);
        }
        again.for_each(|request| request.restart(request.terms));
        self.waiting = again;
        (Some(frontend), ended)
    }

    /// Takes a new backend, and sends what waits, under this backend's terms. The frontend is connected by this.
    /// ≤ DISPATCH_LEVEL.
    pub fn attach(
        &mut self,
        mut frontend: blkif::Frontend<H>,
        port: Port,
        disk: Disk,
        terms: Terms,
    ) -> Ended<S> {
        frontend.connect(port, disk);
        self.terms = Some(terms);
        self.waiting.for_each(|request| request.restart(terms));
        self.backend = Backend::Ring(frontend);
        self.held = false;
        let mut ended = Ended::default();
        self.take_in(&mut ended);
        self.publish();
        ended
    }

    /// Gives the backend up for good: whatever is here, and whatever comes, has no device. ≤ DISPATCH_LEVEL.
    pub fn abandon(&mut self) -> Ended<S> {
        self.held = false;
        let mut ended = Ended::default();
        match &mut self.backend {
            Backend::Ring(frontend) => frontend.disconnect(),
            Backend::Awaited | Backend::Moved | Backend::Gone => self.backend = Backend::Gone,
        }
        self.take_in(&mut ended);
        ended
    }

    /// Returns true if the backend has broken the protocol since the last call. ≤ DISPATCH_LEVEL.
    pub fn is_newly_broken(&mut self) -> bool {
        let broken = matches!(&self.backend, Backend::Ring(frontend) if frontend.fault().is_some());
        core::mem::replace(&mut self.known_broken, broken) != broken && broken
    }

    /// Returns the time for which the backend has owed an answer, in calls of this routine, which comes at
    /// regular times. It is 0 if the backend owes none or has given one since the last call, and while the queue is frozen.
    /// Grant references that the queue does not need are left to others. ≤ DISPATCH_LEVEL.
    pub fn tick(&mut self) -> u32 {
        if self.frozen {
            self.owed = 0;
            return 0;
        }
        let stuck = self.in_flight() > 0 && self.counters.completed == self.seen;
        self.seen = self.counters.completed;
        self.owed = if stuck { self.owed.saturating_add(1) } else { 0 };
        if let Backend::Ring(frontend) = &mut self.backend {
            frontend.trim();
        }
        self.owed
    }

    /// Ends a queue for which a new backend has no ring. What waits, and what still comes, is the port
    /// driver's to bring again, to another queue. ≤ DISPATCH_LEVEL.
    pub fn retire(&mut self) -> Ended<S> {
        self.held = false;
        self.backend = Backend::Moved;
        let mut ended = Ended::default();
        self.submit(&mut ended);
        ended
    }

    /// Lets the backend see what was submitted, unless a round is going on, whose end does it.
    fn publish(&mut self) {
        if let (0, false, Backend::Ring(frontend)) = (self.rounds, self.frozen, &mut self.backend) {
            self.counters.notified += u64::from(frontend.push());
        }
    }

    /// Submits what waits, until it is all submitted or the ring is full. Without a backend it all ends, once
    /// nothing is in flight any more.
    fn submit(&mut self, ended: &mut Ended<S>) {
        if self.held {
            return;
        }
        while let Some(request) = self.waiting.first() {
            let in_flight = self.in_flight();
            let submitted = match &mut self.backend {
                Backend::Ring(frontend) if frontend.disk().is_some() => {
                    let submitted = submit_one(frontend, &mut self.copier, request);
                    self.copier.release();
                    submitted
                }
                Backend::Ring(_) if in_flight > 0 => Err(Obstacle::Full),
                Backend::Awaited => return,
                Backend::Moved => Err(Obstacle::Full),
                Backend::Ring(_) | Backend::Gone => Err(Obstacle::Refused(blkif::Error::NotConnected)),
            };
            match submitted {
                Ok(()) => {
                    self.waiting.pop();
                }
                // Nothing is in flight that could wake the queue again: it is another queue's now, or the
                // backend holds the pages that are kept for this.
                Err(Obstacle::Full) if self.in_flight() == 0 => {
                    self.waiting.pop();
                    ended.push(request, Answer::Busy);
                }
                Err(Obstacle::Full) => break,
                Err(Obstacle::Refused(blkif::Error::Grant(grant::Error::InUse { .. }))) => {
                    self.waiting.pop();
                    self.keep(request);
                }
                Err(Obstacle::Refused(error)) => {
                    self.waiting.pop();
                    // SAFETY: a request in the queue's list is pending and the queue's own.
                    let answer = unsafe { request.as_ref() }.refused(&error);
                    ended.push(request, answer);
                }
            }
        }
    }

    /// Keeps a request that is in no list for good: the port driver never sees its SRB again, whose buffer must not be used
    /// for anything else.
    fn keep(&mut self, mut request: NonNull<Request<S>>) {
        // SAFETY: the request is pending, and the queue's own.
        if !core::mem::replace(&mut unsafe { request.as_mut() }.kept, true) {
            self.kept += 1;
            self.hal.log(format_args!("a request is kept for good: the backend holds pages of its buffer"));
        }
    }

    /// Handles one ring request that has come back.
    fn completed(&mut self, completion: &Completion, ended: &mut Ended<S>) {
        let mut request = request_of::<S>(completion);
        // SAFETY: a request with a ring request in flight is pending, and the queue's own.
        let this = unsafe { request.as_mut() };
        let Some(outcome) = this.transfer.complete(completion) else { return };
        // A request that failed before it was wholly submitted is the first that waits.
        if self.waiting.first() == Some(request) {
            self.waiting.pop();
        }
        if outcome.pages_held {
            self.keep(request);
            return;
        }
        // The frontend has learnt from it, and asks no more. There is no other way to flush.
        let unneeded = outcome.result == Err(Failure::NotSupported) && this.operation() == Operation::Flush;
        let result = if unneeded { Ok(()) } else { outcome.result };
        if result.is_ok() && this.advance() {
            self.waiting.push(request);
        } else {
            ended.push(request, this.answer(result));
        }
    }
}

/// Reads by a connected ring and waits, by polling it; `pause` lets so much time pass. PASSIVE_LEVEL, while nothing is in
/// flight; at most a page.
///
/// # Errors
/// The read is not valid, or failed, or took longer than 30 seconds.
pub fn read_now<H: Hal>(
    frontend: &mut blkif::Frontend<H>,
    sector: u64,
    into: &mut [u8],
    pause: &mut impl FnMut(Duration) -> Duration,
) -> Result<(), ReadError> {
    let (operation, bytes) = (Operation::Read, into.len());
    let request = Copied { tag: READ_NOW, operation, sector, bytes, offset: 0 };
    frontend.submit_copied(&request, |_, _, _| ()).map_err(ReadError::Unsent)?;
    frontend.push();
    let (mut waited, mut nudge) = (Duration::ZERO, READ_NUDGE);
    let mut arrived = |data: Arrived<'_>| {
        data.memory.copy_out(0, &mut into[data.offset..data.offset + data.length]);
    };
    let completion = loop {
        if let Some(completion) = frontend.take(&mut arrived) {
            break completion;
        }
        if waited >= READ_TIMEOUT {
            // Whatever comes back later comes back as failed, with the page's grant ended or held.
            frontend.disconnect();
        } else if waited >= nudge {
            frontend.nudge();
            nudge = waited + READ_NUDGE;
        }
        waited += pause(READ_STEP);
    };
    completion.result.map_err(ReadError::Failed)
}

/// Returns the request that a ring request belongs to.
fn request_of<S: Srb>(completion: &Completion) -> NonNull<Request<S>> {
    // SAFETY: every ring request but that of `read_now`, which takes its own completion, has the address of a
    // request as its tag.
    unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(completion.tag)) }
}

/// Submits as much of a request as there is room for.
fn submit_one<H: Hal, S: Srb>(
    frontend: &mut blkif::Frontend<H>,
    copier: &mut Copier<S::Window>,
    mut request: NonNull<Request<S>>,
) -> Result<(), Obstacle> {
    // SAFETY: the caller's: a request in the queue's list, pending and the queue's own.
    let this = unsafe { request.as_mut() };
    this.begun = true;
    loop {
        return match this.submit(frontend, copier) {
            Ok(Progress::Whole) => Ok(()),
            // Grants are used up elsewhere. The frontend has some of its own, for pages of its own.
            Ok(Progress::Partial) if frontend.in_flight() == 0 && this.copy() => continue,
            Ok(Progress::Partial) => Err(Obstacle::Full),
            // A backend that came back with persistent grants.
            Err(blkif::Error::CopyOnly) if this.copy() => continue,
            Err(error) => Err(Obstacle::Refused(error)),
        };
    }
}
