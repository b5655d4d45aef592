//! Timers.
#![expect(unsafe_code, reason = "hands a KTIMER in place to the kernel")]

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::time::Duration;

use wdk_sys::{
    _TIMER_TYPE, KTIMER,
    ntddk::{KeCancelTimer, KeInitializeTimerEx, KeSetTimerEx},
};

use crate::{Result, dpc::Dpc, event::relative, irql::AtDispatch, pool};

/// A timer that runs a routine at DISPATCH_LEVEL. Dropping it (PASSIVE_LEVEL) cancels it and waits until
/// a running routine has returned.
pub struct Timer<F: Fn(&AtDispatch) + Send + Sync + 'static> {
    // Declared first, so dropped first: the DPC goes while the timer is cancelled already.
    dpc: Dpc<F>,
    timer: Box<UnsafeCell<KTIMER>>,
}

// SAFETY: the kernel serializes access to the KTIMER.
unsafe impl<F: Fn(&AtDispatch) + Send + Sync + 'static> Send for Timer<F> {}
// SAFETY: as above.
unsafe impl<F: Fn(&AtDispatch) + Send + Sync + 'static> Sync for Timer<F> {}

impl<F: Fn(&AtDispatch) + Send + Sync + 'static> Timer<F> {
    /// Returns a timer that is not set. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new(routine: F) -> Result<Self> {
        let timer = pool::try_box(UnsafeCell::new(KTIMER::default()))?;
        // SAFETY: the KTIMER is at its final address in non-paged pool.
        unsafe { KeInitializeTimerEx(timer.get(), _TIMER_TYPE::NotificationTimer) };
        Ok(Self { dpc: Dpc::new(routine)?, timer })
    }

    /// Sets it to fire once after `due`, instead of whatever it was set to. IRQL ≤ DISPATCH_LEVEL.
    pub fn set(&self, due: Duration) {
        // SAFETY: timer and DPC are initialized and live until the timer is cancelled.
        unsafe { KeSetTimerEx(self.timer.get(), relative(due), 0, self.dpc.as_ptr()) };
    }

    /// Cancels it; `false` where it was not set. Its routine may still be running. IRQL ≤ DISPATCH_LEVEL.
    pub fn cancel(&self) -> bool {
        // SAFETY: an initialized timer.
        unsafe { KeCancelTimer(self.timer.get()) != 0 }
    }
}

impl<F: Fn(&AtDispatch) + Send + Sync + 'static> Drop for Timer<F> {
    fn drop(&mut self) {
        self.cancel();
    }
}
