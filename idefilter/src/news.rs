//! The event that is set when the guard's record has something new.
#![expect(unsafe_code, reason = "the event is leaked, so that any processor may set it")]

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdm::event::Event;

/// The reporter's event, once it runs: it never ends, and neither does the driver.
static WAKE: AtomicPtr<Event> = AtomicPtr::new(ptr::null_mut());

/// Sets `wake` now, and whenever there is news from now on. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn wake_from_now_on(wake: &'static Event) {
    WAKE.store(ptr::from_ref(wake).cast_mut(), Ordering::Release);
    wake.set();
}

/// Notes that the record has something new. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn tell() {
    // SAFETY: null, or an event that is never freed.
    if let Some(wake) = unsafe { WAKE.load(Ordering::Acquire).as_ref() } {
        wake.set();
    }
}
