//! The executive's own lock: interrupts are held off while it is held.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicUsize, Ordering};

use super::{bugcheck, processor};

pub(crate) use crate::hal::{disable_interrupts, restore_interrupts};

/// Protects the executive's own data by holding interrupts off and other processors out. Taking it twice on
/// one processor is a bug of the executive and panics. Never wait or call a driver while holding it.
pub(crate) struct Lock<T> {
    /// Number of the processor that holds it, plus one.
    holder: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by its holder only, while it holds the lock.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// Returns a lock around a value.
    pub(crate) const fn new(value: T) -> Self {
        Self { holder: AtomicUsize::new(0), value: UnsafeCell::new(value) }
    }

    /// Takes the lock.
    #[track_caller]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let interrupts = disable_interrupts();
        let own = processor::number() + 1;
        while let Err(holder) =
            self.holder.compare_exchange_weak(0, own, Ordering::Acquire, Ordering::Relaxed)
        {
            assert!(holder != own, "an executive lock was taken twice");
            bugcheck::stop_here_if_stopping();
            core::hint::spin_loop();
        }
        Guard { lock: self, interrupts }
    }
}

/// Releases its lock when dropped.
pub(crate) struct Guard<'a, T> {
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
        self.lock.holder.store(0, Ordering::Release);
        restore_interrupts(self.interrupts);
    }
}
