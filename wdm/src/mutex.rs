//! A lock that waits, for what is done at PASSIVE_LEVEL under it.
#![expect(unsafe_code, reason = "a lock gives out &mut to what it guards")]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use crate::Result;
use crate::event::{Event, Kind};

/// A value that one thread at a time reaches. It is not recursive: a thread that takes it twice waits for
/// itself.
pub struct Mutex<T> {
    /// Set while nobody holds the lock.
    free: Event,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached under the lock only, by one thread at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// Returns a free lock around `value`. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new(value: T) -> Result<Self> {
        let free = Event::new(Kind::Synchronization)?;
        free.set();
        Ok(Self { free, value: UnsafeCell::new(value) })
    }

    /// Waits for the lock. PASSIVE_LEVEL.
    pub fn lock(&self) -> Guard<'_, T> {
        self.free.wait();
        Guard { owner: self }
    }
}

/// The lock held; dropping it lets the next thread in.
pub struct Guard<'a, T> {
    owner: &'a Mutex<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so nobody else has a reference.
        unsafe { &*self.owner.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, so nobody else has a reference.
        unsafe { &mut *self.owner.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.owner.free.set();
    }
}
