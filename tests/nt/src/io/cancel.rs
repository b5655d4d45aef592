//! Cancelling IRPs, under the system's cancel spin lock.

use core::sync::atomic::{AtomicPtr, Ordering};

use crate::ke;
use crate::nt::*;
use crate::verifier::balanced;

/// The cancel spin lock.
static mut LOCK: KspinLock = 0;

/// A driver's cancel routine: called with the lock held, which it must release.
type CancelRoutine = unsafe extern "win64" fn(device: *mut DeviceObject, irp: *mut Irp);

/// `IoAcquireCancelSpinLock`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `level` is writable.
pub(crate) unsafe extern "win64" fn IoAcquireCancelSpinLock(level: *mut Kirql) {
    // SAFETY: by this function's contract, `level` is writable.
    unsafe {
        *level = ke::KeAcquireSpinLockRaiseToDpc(&raw mut LOCK);
    }
}

/// `IoReleaseCancelSpinLock`. IRQL `DISPATCH_LEVEL`.
///
/// # Safety
/// The caller holds the lock.
pub(crate) unsafe extern "win64" fn IoReleaseCancelSpinLock(level: Kirql) {
    // SAFETY: by this function's contract, the caller holds the lock.
    unsafe {
        ke::KeReleaseSpinLock(&raw mut LOCK, level);
    }
}

/// `IoCancelIrp`: whether the IRP had a cancel routine, which was called. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `irp` was sent by the caller and not freed.
pub(crate) unsafe extern "win64" fn IoCancelIrp(irp: *mut Irp) -> Boolean {
    // SAFETY: by this function's contract, `irp` was sent by the caller and not freed.
    unsafe {
        let routine = (*irp).cancel_routine as usize;
        // The routine releases the lock, and thereby lowers to the level of before.
        balanced("cancel", routine, || {
            let mut level = 0;
            IoAcquireCancelSpinLock(&raw mut level);
            (*irp).cancel = TRUE;
            let routine = AtomicPtr::from_ptr(&raw mut (*irp).cancel_routine)
                .swap(core::ptr::null_mut(), Ordering::SeqCst);
            if routine.is_null() {
                IoReleaseCancelSpinLock(level);
                return FALSE;
            }
            let device = (*current_stack_location(irp)).device_object;
            (*irp).cancel_irql = level;
            core::mem::transmute::<Pvoid, CancelRoutine>(routine)(device, irp);
            TRUE
        })
    }
}
