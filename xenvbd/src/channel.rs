//! One queue of a disk with its event channel.
//!
//! A call takes in answers for some rounds ([`Channel::service`]); a backend that keeps the ring filled has the
//! rest taken in by a DPC, behind those of other devices. A backend that raises events for nothing is heard a
//! few times in a clock tick, as Linux has it with late ends of interrupts (XSA-391).
#![expect(unsafe_code, reason = "lends the queue to an event channel's callback and to a timer")]

use alloc::boxed::Box;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use vbd::{Counters, Terms};
use wdm::dpc::Dpc;
use wdm::irql::AtDispatch;
use wdm::timer::Timer;
use wdm::{SpinLock, pool};
use xen::blkif::{Disk, Frontend};
use xen::{DomainId, Port};

use crate::hal::{Error, Platform};
use crate::srb::{Ended, Request, Srb};

/// The queue of a disk of this driver's.
pub(crate) type Queue = vbd::Queue<Platform, Srb>;

/// Rounds of one call of [`Channel::service`].
const ROUNDS: u32 = 8;
/// Events, one after the other, that found nothing to take in, after which the port is masked for a while. A few
/// are usual: what an event announces is often taken in before it comes.
const STORM: u64 = 32;
/// Time that the port is masked for: about a tick of the system's clock.
const QUIET: Duration = Duration::from_millis(16);

type Routine = Box<dyn Fn(&AtDispatch) + Send + Sync>;

/// A queue at an address of its own. It is closed by [`Channel::close`] before it is dropped.
///
/// Its one lock, the queue's, is taken from `HwBuildIo`, from `HwResetBus` and `HwTimer` (with Storport's
/// StartIo lock held), from xenpci's DPC and from its own DPC and timer. Under it only
/// xenpci's table is called, whose locks are therefore behind it in the order. Two queues' locks are never
/// held together. SRBs are completed after it is released.
pub(crate) struct Channel {
    /// `None` before the disk is connected and after it was disconnected.
    queue: SpinLock<Option<Queue>>,
    platform: Platform,
    /// The processor that submits to it, and takes its events where it has an interrupt of its own.
    processor: usize,
    /// 0 for none: Xen never gives that port out.
    port: AtomicU32,
    /// Ends [`QUIET`].
    timer: Option<Timer<Routine>>,
    /// Goes on with what one call leaves.
    more: Option<Dpc<Routine>>,
    /// The port is masked because of a storm, and the timer set.
    quiet: AtomicBool,
}

impl Channel {
    /// Returns a channel of a processor, without a queue. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(platform: Platform, processor: usize) -> Result<Box<Self>, Error> {
        let mut channel = pool::try_box(Self {
            queue: SpinLock::new(None),
            platform,
            processor,
            port: AtomicU32::new(0),
            timer: None,
            more: None,
            quiet: AtomicBool::new(false),
        })?;
        let place = ptr::from_ref(&*channel).expose_provenance();
        let routine: Routine = pool::try_box(move |_: &_| {
            // SAFETY: the channel is in a box and owns the timer, whose drop waits for this routine.
            let channel = unsafe { &*ptr::with_exposed_provenance::<Self>(place) };
            // In the domain that the guest goes on in, the port may be another's: it is quiet until it is released, or
            // there is a new one.
            if !channel.is_frozen() {
                channel.service();
                channel.end_quiet();
            }
        })?;
        channel.timer = Some(Timer::new(routine)?);
        let routine: Routine = pool::try_box(move |_: &_| {
            // SAFETY: as above, with the DPC.
            unsafe { &*ptr::with_exposed_provenance::<Self>(place) }.service();
        })?;
        channel.more = Some(Dpc::new(routine)?);
        Ok(channel)
    }

    /// Makes the port that is offered to `domain`; its events do not come through yet. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`Error::EventChannel`].
    pub(crate) fn open(&self, domain: DomainId) -> Result<Port, Error> {
        // SAFETY: the channel is in a box, and closes the port before it is dropped.
        let port = unsafe {
            let context = ptr::from_ref(self).cast_mut().cast();
            self.platform.allocate_port(domain, on_event, context, self.processor)
        }?;
        self.port.store(port.0, Ordering::Release);
        Ok(port)
    }

    /// Returns the port, if there is one.
    pub(crate) fn port(&self) -> Option<Port> {
        Some(Port(self.port.load(Ordering::Acquire))).filter(|port| port.0 != 0)
    }

    /// Closes the port: no event comes any more. PASSIVE_LEVEL. `gone`: the guest has been resumed, and the
    /// port with it is gone.
    pub(crate) fn close(&self, gone: bool) {
        let port = self.port.swap(0, Ordering::AcqRel);
        if port != 0 && !gone {
            self.platform.close(Port(port));
        }
    }

    /// Puts the queue of a connected disk in. PASSIVE_LEVEL.
    pub(crate) fn fill(&self, queue: Queue) {
        *self.queue.lock() = Some(queue);
    }

    /// Unmasks the port if it is masked because of a storm. ≤ DISPATCH_LEVEL.
    pub(crate) fn end_quiet(&self) {
        if let (true, Some(port)) = (self.quiet.swap(false, Ordering::AcqRel), self.port()) {
            // A port that is gone stays quiet.
            let _ = self.platform.unmask(port);
        }
    }

    /// Lets events through, and looks at once. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`Error::EventChannel`].
    pub(crate) fn listen(&self) -> Result<(), Error> {
        self.quiet.store(false, Ordering::Release);
        if let Some(port) = self.port() {
            self.platform.unmask(port)?;
        }
        self.service();
        Ok(())
    }

    /// Takes the queue out, to be dropped at PASSIVE_LEVEL.
    pub(crate) fn empty(&self) -> Option<Queue> {
        self.queue.lock().take()
    }

    /// Calls `work` with the queue under its lock, and completes what ended. ≤ DISPATCH_LEVEL.
    pub(crate) fn with(&self, work: impl FnOnce(&mut Queue) -> Ended) {
        let ended = self.queue.lock().as_mut().map(work);
        ended.unwrap_or_default().complete();
    }

    /// Starts a request. ≤ DISPATCH_LEVEL.
    pub(crate) fn start(&self, request: NonNull<Request>) {
        let started = self.queue.lock().as_mut().map(|queue| queue.start(request));
        let (ended, again) = started.unwrap_or_else(|| (Ended::unserved(request), false));
        ended.complete();
        if again {
            self.service();
        }
    }

    /// Takes in what the backend has answered, until nothing is left, or leaves the rest to a DPC. ≤
    /// DISPATCH_LEVEL.
    pub(crate) fn service(&self) {
        for _ in 0..ROUNDS {
            let Some(ended) = self.queue.lock().as_mut().map(Queue::drain) else { return };
            ended.complete();
            let more = self.queue.lock().as_mut().is_some_and(Queue::settle);
            if !more {
                return;
            }
        }
        if let Some(dpc) = &self.more {
            dpc.queue();
        }
    }

    /// Handles an event that has come. DISPATCH_LEVEL.
    fn event(&self) {
        self.service();
        let (Some(port), Some(timer)) = (self.port(), &self.timer) else { return };
        let spurious = self.queue.lock().as_ref().map_or(0, |queue| queue.counters().spurious);
        if spurious >= STORM && !self.quiet.swap(true, Ordering::AcqRel) {
            self.platform.mask(port);
            timer.set(QUIET);
        }
    }

    /// Detaches like [`Queue::detach`]; what is left of the frontend is dropped here. PASSIVE_LEVEL.
    pub(crate) fn detach(&self, resumed: bool) {
        let detached = self.queue.lock().as_mut().map(|queue| queue.detach(resumed));
        if let Some((frontend, ended)) = detached {
            ended.complete();
            drop(frontend);
        }
    }

    /// Attaches like [`Queue::attach`]. PASSIVE_LEVEL.
    pub(crate) fn attach(&self, frontend: Frontend<Platform>, port: Port, disk: Disk, terms: Terms) {
        let mut frontend = Some(frontend);
        self.with(|queue| match frontend.take() {
            Some(frontend) => queue.attach(frontend, port, disk, terms),
            None => Ended::default(),
        });
    }

    /// Returns the answer of [`Queue::is_frozen`]. ≤ DISPATCH_LEVEL.
    fn is_frozen(&self) -> bool {
        self.queue.lock().as_ref().is_some_and(Queue::is_frozen)
    }

    /// Returns the counts of the queue's work. ≤ DISPATCH_LEVEL.
    pub(crate) fn counters(&self) -> Counters {
        self.queue.lock().as_ref().map(Queue::counters).unwrap_or_default()
    }

    /// Returns the number of ring requests without an answer. ≤ DISPATCH_LEVEL.
    pub(crate) fn in_flight(&self) -> usize {
        self.queue.lock().as_ref().map_or(0, Queue::in_flight)
    }

    /// Returns the answer of [`Queue::changes_in_flight`]. ≤ DISPATCH_LEVEL.
    pub(crate) fn changes_in_flight(&self) -> usize {
        self.queue.lock().as_ref().map_or(0, Queue::changes_in_flight)
    }

    /// Returns the answer of [`Queue::may_change_later`]. ≤ DISPATCH_LEVEL.
    pub(crate) fn may_change_later(&self) -> bool {
        self.queue.lock().as_ref().is_some_and(Queue::may_change_later)
    }

    /// Returns the disk as the backend serves it, while connected. ≤ DISPATCH_LEVEL.
    pub(crate) fn disk(&self) -> Option<Disk> {
        self.queue.lock().as_ref().and_then(Queue::disk)
    }

    /// Returns true if no request is here. ≤ DISPATCH_LEVEL.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.lock().as_ref().is_none_or(Queue::is_idle)
    }

    /// Returns the answer of [`Queue::keeps_any`]. ≤ DISPATCH_LEVEL.
    pub(crate) fn keeps_any(&self) -> bool {
        self.queue.lock().as_ref().is_some_and(Queue::keeps_any)
    }

    /// Returns the answer of [`Queue::is_newly_broken`]. ≤ DISPATCH_LEVEL.
    pub(crate) fn is_newly_broken(&self) -> bool {
        self.queue.lock().as_mut().is_some_and(Queue::is_newly_broken)
    }

    /// Calls [`Queue::tick`]. ≤ DISPATCH_LEVEL.
    pub(crate) fn tick(&self) -> u32 {
        self.queue.lock().as_mut().map_or(0, Queue::tick)
    }
}

/// Handles the event channel's events, as its callback. DISPATCH_LEVEL, one call at a time.
unsafe extern "system" fn on_event(context: *mut c_void) {
    // SAFETY: the context is a channel, which outlives its port.
    unsafe { &*context.cast::<Channel>() }.event();
}
