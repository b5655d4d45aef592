//! The guard's signal that a census is to be taken at once, passed on to a thread.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use guard::abi::Signals;
use guard_client::{Receiver, Subscription};
use wdm::event::{Event, Kind};
use wdm::pool;

/// Raises an [`Alarm`] when the guard wants a census at once. Dropping it ends that.
pub struct Tripwire {
    _subscription: Subscription<Raise>,
}

/// A flag that the guard sets, and the event that wakes the thread which looks at it.
pub struct Alarm {
    raised: AtomicBool,
    wake: Event,
}

impl Alarm {
    /// Makes an alarm that is not raised. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new() -> wdm::Result<Self> {
        let wake = Event::new(Kind::Synchronization)?;
        Ok(Self { raised: AtomicBool::new(false), wake })
    }

    /// Returns the event that the thread waits for.
    pub const fn wake(&self) -> &Event {
        &self.wake
    }

    /// Returns true if it was raised since the last call.
    pub fn take(&self) -> bool {
        self.raised.swap(false, Ordering::AcqRel)
    }
}

impl Tripwire {
    /// Registers a watcher that raises `alarm`. Returns `None` if there is no memory, or the guard has no
    /// room for another watcher. ≤ DISPATCH_LEVEL.
    pub fn new(alarm: &'static Alarm) -> Option<Self> {
        let raise: Box<Raise> = pool::try_box(Raise(alarm)).ok()?;
        Subscription::new(raise).ok().map(|subscription| Self { _subscription: subscription })
    }
}

/// The alarm to raise.
struct Raise(&'static Alarm);

impl Receiver for Raise {
    fn signalled(&self, signals: Signals) {
        if signals.contains(Signals::TAKE_CENSUS) {
            self.0.raised.store(true, Ordering::Release);
            self.0.wake.set();
        }
    }
}
