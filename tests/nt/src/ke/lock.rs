//! The executive's own lock: interrupts are held off while it is held.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// Disables interrupts; whether they were enabled.
pub fn disable_interrupts() -> bool {
    let flags: u64;
    // SAFETY: reading flags and clearing IF touches no memory but the pushed word.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    flags & 1 << 9 != 0
}

/// Enables interrupts if `enabled`.
pub fn restore_interrupts(enabled: bool) {
    if enabled {
        // SAFETY: setting IF is what the matching `disable_interrupts` found.
        unsafe { asm!("sti") };
    }
}

/// Protects the executive's own data on its one processor by holding interrupts off. Taking it twice is a bug
/// of the executive and panics. Never wait or call a driver while holding it.
pub struct Lock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only while `held`, by one holder.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A lock around a value.
    pub const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the lock.
    #[track_caller]
    pub fn lock(&self) -> Guard<'_, T> {
        let interrupts = disable_interrupts();
        assert!(!self.held.swap(true, Ordering::Acquire), "an executive lock was taken twice");
        Guard { lock: self, interrupts }
    }
}

/// Releases its lock when dropped.
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
    interrupts: bool,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its lock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and the guard is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.held.store(false, Ordering::Release);
        restore_interrupts(self.interrupts);
    }
}
