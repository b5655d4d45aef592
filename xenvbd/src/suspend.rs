//! Suspend and resume, as the adapter takes part in it.
//!
//! xenpci's suspend thread calls, and the plug's thread, which is the one that talks with backends, does the
//! work: it holds every queue before the guest is suspended, and takes up no other work until it goes on.
//! Afterwards every target connects to its new backend, which gets again, in order, what the old one had not
//! answered; then the census is taken. After a suspend that was cancelled the backends are there as before:
//! the queues are let go, and nothing else is done. After hibernation that ends where it began, a copy of
//! this driver may have been connected to any of the backends: every target ends that session, and begins
//! anew.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;

use wdm::event::{Event, Kind};
use xenpci_interface::{RESUMED, REVIVED, SUSPENDING};

/// How long the plug's thread may take: it may be waiting for a backend's handshake.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is asked of the plug's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Hold every queue, and answer.
    Suspending,
    /// Go on, and answer.
    Resumed,
    /// As [`Phase::Resumed`], where a copy of this driver may have had the disks.
    Revived,
}

/// Nothing is asked.
const NOTHING: u32 = u32::MAX;

/// Where xenpci's thread and the plug's meet.
pub struct Pause {
    asked: AtomicU32,
    done: Event,
    well: AtomicBool,
    /// The plug's.
    wake: Arc<Event>,
}

impl Pause {
    /// Nothing is asked yet. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new(wake: Arc<Event>) -> wdm::Result<Self> {
        let done = Event::new(Kind::Synchronization)?;
        Ok(Self { asked: AtomicU32::new(NOTHING), done, well: AtomicBool::new(false), wake })
    }

    /// xenpci's thread: has the plug's thread do its part; whether it has. PASSIVE_LEVEL.
    pub fn call(&self, phase: u32) -> bool {
        self.done.clear();
        self.well.store(false, Ordering::Relaxed);
        self.asked.store(phase, Ordering::Release);
        self.wake.set();
        self.done.wait_timeout(PATIENCE) && self.well.load(Ordering::Acquire)
    }

    /// The plug's thread: what is asked, once. Any IRQL.
    pub fn asked(&self) -> Option<Phase> {
        match self.asked.swap(NOTHING, Ordering::AcqRel) {
            SUSPENDING => Some(Phase::Suspending),
            RESUMED => Some(Phase::Resumed),
            REVIVED => Some(Phase::Revived),
            _ => None,
        }
    }

    /// The plug's thread: it has done what was asked. ≤ DISPATCH_LEVEL.
    pub fn answer(&self) {
        self.well.store(true, Ordering::Release);
        self.done.set();
    }
}
