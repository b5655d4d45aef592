//! One queue of a disk with what wakes it: an event channel, and a timer for what the backend need not
//! announce.
#![allow(unsafe_code, reason = "lends the queue to an event channel's callback and to a timer")]

use alloc::boxed::Box;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use vbd::Counters;
use wdm::irql::AtDispatch;
use wdm::timer::Timer;
use wdm::{SpinLock, pool};
use xen::blkif::{Disk, Frontend};
use xen::{DomainId, Port};

use crate::hal::{Error, Platform};
use crate::srb::{Ended, Request, Srb};

/// The queue of a disk of this driver's.
pub type Queue = vbd::Queue<Platform, Srb>;

/// With many requests in flight the backend announces a part of the answers only when others join them
/// ([`xen::blkif::Frontend::rearm`]). How long they may wait for that: about a tick of the system's clock.
const LOOK_AGAIN: Duration = Duration::from_millis(16);

type Routine = Box<dyn Fn(&AtDispatch) + Send + Sync>;

/// A queue at an address of its own. It is closed by [`Channel::close`] before it is dropped.
///
/// Its one lock, the queue's, is taken from `HwStartIo` (with Storport's StartIo lock held, where Storport
/// takes one), from `HwResetBus`, from `HwTimer`, from xenpci's DPC and from the timer's. Under it only
/// xenpci's table is called, whose locks are therefore behind it in the order. Two queues' locks are never
/// held together. SRBs are completed after it is released.
pub struct Channel {
    /// `None` before the disk is connected and after it was disconnected.
    queue: SpinLock<Option<Queue>>,
    platform: Platform,
    /// The processor that submits to it, and takes its events where it has an interrupt of its own.
    processor: usize,
    /// 0 for none: Xen never gives that port out.
    port: AtomicU32,
    timer: Option<Timer<Routine>>,
    /// The timer is set.
    looks_again: AtomicBool,
}

impl Channel {
    /// A channel of a processor, without a queue. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// No memory.
    pub fn new(platform: Platform, processor: usize) -> Result<Box<Self>, Error> {
        let mut channel = pool::try_box(Self {
            queue: SpinLock::new(None),
            platform,
            processor,
            port: AtomicU32::new(0),
            timer: None,
            looks_again: AtomicBool::new(false),
        })?;
        let place = ptr::from_ref(&*channel).expose_provenance();
        let routine: Routine = Box::new(move |_| {
            // SAFETY: the channel is in a box and owns the timer, whose drop waits for this routine.
            let channel = unsafe { &*ptr::with_exposed_provenance::<Self>(place) };
            channel.looks_again.store(false, Ordering::Release);
            channel.service();
        });
        channel.timer = Some(Timer::new(routine)?);
        Ok(channel)
    }

    /// Makes the port that is offered to `domain`; its events do not come through yet. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`Error::EventChannel`].
    pub fn open(&self, domain: DomainId) -> Result<Port, Error> {
        // SAFETY: the channel is in a box, and closes the port before it is dropped.
        let port = unsafe {
            let context = ptr::from_ref(self).cast_mut().cast();
            self.platform.allocate_port(domain, on_event, context, self.processor)
        }?;
        self.port.store(port.0, Ordering::Release);
        Ok(port)
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<Port> {
        Some(Port(self.port.load(Ordering::Acquire))).filter(|port| port.0 != 0)
    }

    /// Closes the port: no event comes any more. PASSIVE_LEVEL. `gone`: the guest has been resumed, and the
    /// port with it is gone.
    pub fn close(&self, gone: bool) {
        let port = self.port.swap(0, Ordering::AcqRel);
        if port != 0 && !gone {
            self.platform.close(Port(port));
        }
    }

    /// Puts the queue of a connected disk in. PASSIVE_LEVEL.
    pub fn fill(&self, queue: Queue) {
        *self.queue.lock() = Some(queue);
    }

    /// Lets events through, and looks at once. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// [`Error::EventChannel`].
    pub fn listen(&self) -> Result<(), Error> {
        if let Some(port) = self.port() {
            self.platform.unmask(port)?;
        }
        self.service();
        Ok(())
    }

    /// Takes the queue out, to be dropped at PASSIVE_LEVEL.
    pub fn empty(&self) -> Option<Queue> {
        self.queue.lock().take()
    }

    /// Calls `work` with the queue under its lock, and completes what ended. ≤ DISPATCH_LEVEL.
    pub fn with(&self, work: impl FnOnce(&mut Queue) -> Ended) {
        let ended = self.queue.lock().as_mut().map(work);
        ended.unwrap_or_default().complete();
    }

    /// Starts a request. ≤ DISPATCH_LEVEL.
    pub fn start(&self, request: NonNull<Request>) {
        let started = self.queue.lock().as_mut().map(|queue| queue.start(request));
        let (ended, again) = started.unwrap_or_else(|| (Ended::unserved(request), false));
        ended.complete();
        if again {
            self.service();
        }
    }

    /// Takes in what the backend has answered, until nothing is left. ≤ DISPATCH_LEVEL.
    pub fn service(&self) {
        loop {
            let Some(ended) = self.queue.lock().as_mut().map(Queue::drain) else { return };
            ended.complete();
            let (more, several) = match self.queue.lock().as_mut() {
                Some(queue) => (queue.settle(), queue.waits_for_several()),
                None => return,
            };
            if more {
                continue;
            }
            if several
                && !self.looks_again.swap(true, Ordering::AcqRel)
                && let Some(timer) = &self.timer
            {
                timer.set(LOOK_AGAIN);
            }
            return;
        }
    }

    /// As [`Queue::detach`]; what is left of the frontend is dropped here. PASSIVE_LEVEL.
    pub fn detach(&self, resumed: bool) {
        let detached = self.queue.lock().as_mut().map(|queue| queue.detach(resumed));
        if let Some((frontend, ended)) = detached {
            ended.complete();
            drop(frontend);
        }
    }

    /// As [`Queue::attach`]. PASSIVE_LEVEL.
    pub fn attach(&self, frontend: Frontend<Platform>, port: Port, disk: Disk) {
        let mut frontend = Some(frontend);
        self.with(|queue| match frontend.take() {
            Some(frontend) => queue.attach(frontend, port, disk),
            None => Ended::default(),
        });
    }

    /// What the queue has done. ≤ DISPATCH_LEVEL.
    pub fn counters(&self) -> Counters {
        self.queue.lock().as_ref().map(Queue::counters).unwrap_or_default()
    }

    /// Whether no request is here. ≤ DISPATCH_LEVEL.
    pub fn is_idle(&self) -> bool {
        self.queue.lock().as_ref().is_none_or(Queue::is_idle)
    }

    /// As [`Queue::is_newly_broken`]. ≤ DISPATCH_LEVEL.
    pub fn is_newly_broken(&self) -> bool {
        self.queue.lock().as_mut().is_some_and(Queue::is_newly_broken)
    }

    /// As [`Queue::tick`]. ≤ DISPATCH_LEVEL.
    pub fn tick(&self) -> u32 {
        self.queue.lock().as_mut().map_or(0, Queue::tick)
    }
}

/// The event channel's callback. DISPATCH_LEVEL, one call at a time.
unsafe extern "system" fn on_event(context: *mut c_void) {
    // SAFETY: the context is a channel, which outlives its port.
    unsafe { &*context.cast::<Channel>() }.service();
}
