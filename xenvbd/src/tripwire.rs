//! The guard's signal that a census is to be taken at once, passed on to a thread.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use guard::abi::Signals;
use guard_client::{Receiver, Subscription};
use wdm::event::{Event, Kind};
use wdm::pool;

/// Raises a [`CensusEvent`] when the guard wants a census at once. Dropping it ends that.
pub(crate) struct Tripwire {
    _subscription: Subscription<Raise>,
}

/// A flag that the guard sets, and the event that wakes the thread which looks at it.
pub(crate) struct CensusEvent {
    raised: AtomicBool,
    event: Event,
}

impl CensusEvent {
    /// Makes an event that is not raised. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn new() -> wdm::Result<Self> {
        let event = Event::new(Kind::Synchronization)?;
        Ok(Self { raised: AtomicBool::new(false), event })
    }

    /// Returns the event that the thread waits for.
    pub(crate) const fn event(&self) -> &Event {
        &self.event
    }

    /// Returns true if it was raised since the last call.
    pub(crate) fn take(&self) -> bool {
        self.raised.swap(false, Ordering::AcqRel)
    }
}

impl Tripwire {
    /// Registers a watcher that raises `event`. Returns `None` if there is no memory, or the guard has no
    /// room for another watcher. ≤ DISPATCH_LEVEL.
    pub(crate) fn new(event: &'static CensusEvent) -> Option<Self> {
        let raise: Box<Raise> = pool::try_box(Raise(event)).ok()?;
        Subscription::new(raise).ok().map(|subscription| Self { _subscription: subscription })
    }
}

/// The event to raise.
struct Raise(&'static CensusEvent);

impl Receiver for Raise {
    fn signalled(&self, signals: Signals) {
        if signals.contains(Signals::TAKE_CENSUS) {
            self.0.raised.store(true, Ordering::Release);
            self.0.event.set();
        }
    }
}
