//! The guard's word that a census is to be taken at once, passed on to a thread.
#![allow(unsafe_code, reason = "calls idefilter's exports, and is called back with an address")]

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use guard::abi::{self, Watcher};
use wdm::event::{Event, Kind};

// idefilter's exports.
#[link(name = "idefilter", kind = "static", modifiers = "-bundle")]
unsafe extern "system" {
    fn XenguardWatch(watcher: Option<Watcher>, context: *mut c_void) -> u32;
    fn XenguardUnwatch(number: u32);
}

/// Has an [`Alarm`] raised when the guard wants a census at once. Dropping it ends that.
pub struct Tripwire(u32);

/// What the guard raises: set, and an event that wakes the thread that looks at it.
pub struct Alarm {
    raised: AtomicBool,
    wake: Event,
}

impl Alarm {
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new() -> wdm::Result<Self> {
        let wake = Event::new(Kind::Synchronization)?;
        Ok(Self { raised: AtomicBool::new(false), wake })
    }

    /// What is waited for.
    pub const fn wake(&self) -> &Event {
        &self.wake
    }

    /// Whether it was raised since this was last asked.
    pub fn take(&self) -> bool {
        self.raised.swap(false, Ordering::AcqRel)
    }
}

impl Tripwire {
    /// `None` where the guard has no room for another watcher. ≤ DISPATCH_LEVEL.
    pub fn new(alarm: &'static Alarm) -> Option<Self> {
        // SAFETY: the watcher is called with the alarm, which is never freed while the value lives.
        let number = unsafe { XenguardWatch(Some(raise), ptr::from_ref(alarm).cast_mut().cast()) };
        (number != 0).then_some(Self(number))
    }
}

impl Drop for Tripwire {
    fn drop(&mut self) {
        // SAFETY: the number is this value's.
        unsafe { XenguardUnwatch(self.0) };
    }
}

/// DISPATCH_LEVEL.
unsafe extern "system" fn raise(alarm: *mut c_void, signals: u32) {
    if signals & abi::TAKE_CENSUS != 0 {
        // SAFETY: the alarm that `Tripwire::new` was given.
        let alarm = unsafe { &*alarm.cast::<Alarm>() };
        alarm.raised.store(true, Ordering::Release);
        alarm.wake.set();
    }
}
