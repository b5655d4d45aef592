//! A spin lock that owns what it guards.
#![expect(unsafe_code, reason = "a lock gives out &mut to what it guards")]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use wdk_sys::{
    KIRQL, KSPIN_LOCK,
    ntddk::{
        KeAcquireSpinLockAtDpcLevel, KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock,
        KeReleaseSpinLockFromDpcLevel,
    },
};

use crate::irql::AtDispatch;

/// A value behind a KSPIN_LOCK. It must lie in resident memory (a static, non-paged pool, a device
/// extension). Never take it twice on one processor, and never call out to other drivers under it.
pub struct SpinLock<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only under the lock, by one processor at a time.
unsafe impl<T: Send> Sync for SpinLock<T> {}
// SAFETY: an owner that moves the lock has it to itself, and the lock's word is plain data.
unsafe impl<T: Send> Send for SpinLock<T> {}

impl<T: Default> Default for SpinLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> SpinLock<T> {
    /// Returns a free lock around `value`. A zero word is a free lock (what KeInitializeSpinLock writes).
    pub const fn new(value: T) -> Self {
        Self { lock: UnsafeCell::new(0), value: UnsafeCell::new(value) }
    }

    /// Takes the lock and raises to DISPATCH_LEVEL. IRQL ≤ DISPATCH_LEVEL.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: the word is a spin lock in resident memory; the guard releases it.
        let old = unsafe { KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        // SAFETY: the processor is at DISPATCH_LEVEL until the guard lowers it.
        Guard { owner: self, old, at: unsafe { AtDispatch::assume() } }
    }

    /// Takes the lock at DISPATCH_LEVEL, without touching the IRQL.
    pub fn lock_at_dispatch<'a>(&'a self, _at: &'a AtDispatch) -> DispatchGuard<'a, T> {
        // SAFETY: the word is a spin lock in resident memory and the caller proves the level.
        unsafe { KeAcquireSpinLockAtDpcLevel(self.lock.get()) };
        DispatchGuard { owner: self }
    }

    /// Returns the value, to an owner that has it to itself.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Returns the address of the value, without the lock: for a routine that runs while the system stops,
    /// when every other processor is halted (and may have been halted inside the lock).
    pub const fn as_ptr(&self) -> *mut T {
        self.value.get()
    }
}

/// The lock held, from [`SpinLock::lock`]; dropping it releases and lowers the IRQL.
pub struct Guard<'a, T> {
    owner: &'a SpinLock<T>,
    old: KIRQL,
    at: AtDispatch,
}

impl<T> Guard<'_, T> {
    /// Returns the proof that the processor is at DISPATCH_LEVEL while the lock is held.
    pub const fn at_dispatch(&self) -> &AtDispatch {
        &self.at
    }
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
        // SAFETY: this guard took the lock and saved the level.
        unsafe { KeReleaseSpinLock(self.owner.lock.get(), self.old) };
    }
}

/// The lock held at DISPATCH_LEVEL, from [`SpinLock::lock_at_dispatch`].
pub struct DispatchGuard<'a, T> {
    owner: &'a SpinLock<T>,
}

impl<T> Deref for DispatchGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so nobody else has a reference.
        unsafe { &*self.owner.value.get() }
    }
}

impl<T> DerefMut for DispatchGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, so nobody else has a reference.
        unsafe { &mut *self.owner.value.get() }
    }
}

impl<T> Drop for DispatchGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard took the lock at DISPATCH_LEVEL, which still holds.
        unsafe { KeReleaseSpinLockFromDpcLevel(self.owner.lock.get()) };
    }
}
