//! Events, and waiting for them.
#![expect(unsafe_code, reason = "calls the dispatcher on a KEVENT")]

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::time::Duration;

use wdk_sys::{
    _EVENT_TYPE, _KWAIT_REASON, _MODE, KEVENT, LARGE_INTEGER, PVOID, STATUS_TIMEOUT,
    ntddk::{KeClearEvent, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject},
};

use crate::{Result, pool};

/// The behaviour of an event when a wait is satisfied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Stays set until cleared; releases every waiter.
    Notification,
    /// Releases one waiter and clears itself.
    Synchronization,
}

/// An event in non-paged pool, so that it can be moved and shared freely.
pub struct Event(Box<UnsafeCell<KEVENT>>);

// SAFETY: the dispatcher serializes every access to a KEVENT.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Returns an event that is not set. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new(kind: Kind) -> Result<Self> {
        let event = pool::try_box(UnsafeCell::new(KEVENT::default()))?;
        let kind = match kind {
            Kind::Notification => _EVENT_TYPE::NotificationEvent,
            Kind::Synchronization => _EVENT_TYPE::SynchronizationEvent,
        };
        // SAFETY: the KEVENT is at its final address in non-paged pool.
        unsafe { KeInitializeEvent(event.get(), kind, 0) };
        Ok(Self(event))
    }

    /// Sets it. IRQL ≤ DISPATCH_LEVEL.
    pub fn set(&self) {
        // SAFETY: initialized, resident; Wait is FALSE, so any IRQL up to DISPATCH_LEVEL.
        unsafe { KeSetEvent(self.0.get(), 0, 0) };
    }

    /// Clears it. IRQL ≤ DISPATCH_LEVEL.
    pub fn clear(&self) {
        // SAFETY: initialized and resident.
        unsafe { KeClearEvent(self.0.get()) };
    }

    /// Waits until it is set. PASSIVE_LEVEL or APC_LEVEL.
    pub fn wait(&self) {
        // SAFETY: initialized and resident; a kernel-mode wait without timeout.
        unsafe { wait_for(self.0.get().cast(), None) };
    }

    /// Waits at most `timeout`; whether the event was set. IRQL ≤ APC_LEVEL, or DISPATCH_LEVEL with
    /// a zero timeout.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        // SAFETY: initialized and resident.
        unsafe { wait_for(self.0.get().cast(), Some(timeout)) }
    }
}

/// Returns a `Duration` as the negative count of 100 ns units that NT takes for a relative time.
pub(crate) fn relative(time: Duration) -> LARGE_INTEGER {
    let units = i64::try_from(time.as_nanos() / 100).unwrap_or(i64::MAX);
    LARGE_INTEGER { QuadPart: -units }
}

/// Waits in kernel mode for a dispatcher object; `false` at a timeout.
///
/// # Safety
/// `object` is an initialized dispatcher object that outlives the wait; the IRQL permits it.
pub(crate) unsafe fn wait_for(object: PVOID, timeout: Option<Duration>) -> bool {
    let mut due = timeout.map(relative);
    let due = due.as_mut().map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: the object by contract; the timeout lives across the call.
    let status =
        unsafe { KeWaitForSingleObject(object, _KWAIT_REASON::Executive, _MODE::KernelMode as i8, 0, due) };
    status != STATUS_TIMEOUT
}
