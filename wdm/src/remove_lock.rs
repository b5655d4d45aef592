//! The remove lock: I/O holds it, removal waits until nobody does.
#![expect(unsafe_code, reason = "calls the remove lock routines on an IO_REMOVE_LOCK in place")]

use core::cell::UnsafeCell;

use wdk_sys::{
    IO_REMOVE_LOCK, ULONG,
    ntddk::{
        IoAcquireRemoveLockEx, IoInitializeRemoveLockEx, IoReleaseRemoveLockAndWaitEx, IoReleaseRemoveLockEx,
    },
};

use crate::{Result, pool, status::check};

const SIZE: ULONG = size_of::<IO_REMOVE_LOCK>() as ULONG;

/// An IO_REMOVE_LOCK; every [`Device`](crate::Device) has one in its extension.
pub struct RemoveLock(UnsafeCell<IO_REMOVE_LOCK>);

// SAFETY: the I/O manager's routines serialize every access.
unsafe impl Sync for RemoveLock {}
// SAFETY: as above.
unsafe impl Send for RemoveLock {}

impl RemoveLock {
    /// Initializes a lock in place.
    ///
    /// # Safety
    /// `place` is resident memory where the lock stays. PASSIVE_LEVEL.
    pub(crate) unsafe fn initialize(place: *mut Self) {
        // SAFETY: by contract; the size tells the kernel which layout this is.
        unsafe { IoInitializeRemoveLockEx(UnsafeCell::raw_get(place.cast()), pool::TAG, 0, 0, SIZE) };
    }

    /// Takes the lock. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `DELETE_PENDING` once removal has begun: complete the IRP with it.
    pub fn acquire(&self) -> Result<RemoveGuard<'_>> {
        // SAFETY: an initialized lock; the tag is only compared in checked builds.
        check(unsafe { IoAcquireRemoveLockEx(self.0.get(), core::ptr::null_mut(), c"".as_ptr(), 0, SIZE) })?;
        Ok(RemoveGuard(self))
    }
}

impl RemoveLock {
    /// Releases a hold that was kept ([`RemoveGuard::keep`]). IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The caller releases each such hold once.
    pub(crate) unsafe fn release(&self) {
        // SAFETY: by contract, the lock is held.
        unsafe { IoReleaseRemoveLockEx(self.0.get(), core::ptr::null_mut(), SIZE) };
    }
}

/// The remove lock held; dropping it releases.
pub struct RemoveGuard<'a>(&'a RemoveLock);

impl RemoveGuard<'_> {
    /// Keeps the hold beyond this value, until [`RemoveLock::release`].
    pub(crate) const fn keep(self) {
        core::mem::forget(self);
    }

    /// Releases this hold, closes the lock and waits until every other hold is released: the step of
    /// IRP_MN_REMOVE_DEVICE before the device is detached. PASSIVE_LEVEL.
    pub fn release_and_wait(self) {
        let lock = self.0;
        core::mem::forget(self);
        // SAFETY: the hold that was forgotten above is released here.
        unsafe { IoReleaseRemoveLockAndWaitEx(lock.0.get(), core::ptr::null_mut(), SIZE) };
    }
}

impl Drop for RemoveGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: this guard holds the lock.
        unsafe { IoReleaseRemoveLockEx(self.0.0.get(), core::ptr::null_mut(), SIZE) };
    }
}
