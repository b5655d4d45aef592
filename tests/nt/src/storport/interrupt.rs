//! The adapter's interrupt, and the lock that goes with it.
//!
//! An adapter without an interrupt resource has no DIRQL; DISPATCH_LEVEL takes its place.

use core::ptr::null_mut;

use super::adapter::Adapter;
use crate::ke;
use crate::nt::*;

/// An interrupt to connect to, from the adapter's translated resources.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub vector: u32,
    pub irql: u8,
    pub affinity: u64,
    pub latched: bool,
    pub shared: bool,
}

/// Connects the miniport's `HwInterrupt`, if it has one. PASSIVE_LEVEL.
///
/// # Safety
/// `adapter` must stay where it is until [`disconnect`].
pub(super) unsafe fn connect(adapter: *mut Adapter, line: Line) -> NtStatus {
    // SAFETY: by this function's contract, `adapter` must stay where it is until [`disconnect`].
    unsafe {
        if (*adapter).miniport.hw.hw_interrupt.is_none() {
            return status::SUCCESS;
        }
        (*adapter).dirql = line.irql;
        ke::IoConnectInterrupt(
            &raw mut (*adapter).interrupt,
            service,
            adapter.cast(),
            &raw mut (*adapter).interrupt_lock,
            line.vector,
            line.irql,
            line.irql,
            u32::from(line.latched),
            line.shared.into(),
            line.affinity as usize,
            FALSE,
        )
    }
}

/// Disconnects it again. PASSIVE_LEVEL.
///
/// # Safety
/// `adapter` must be valid.
pub(super) unsafe fn disconnect(adapter: *mut Adapter) {
    // SAFETY: by this function's contract, `adapter` is valid.
    unsafe {
        let interrupt = core::mem::replace(&mut (*adapter).interrupt, null_mut());
        if !interrupt.is_null() {
            ke::IoDisconnectInterrupt(interrupt);
            (*adapter).dirql = DISPATCH_LEVEL;
        }
    }
}

/// Returns the interrupt service routine: the miniport's.
unsafe extern "win64" fn service(_: Pvoid, context: Pvoid) -> Boolean {
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        let adapter = &*context.cast::<Adapter>();
        match adapter.miniport.hw.hw_interrupt {
            Some(routine) => adapter.guarded("HwInterrupt", || routine(adapter.extension())),
            None => FALSE,
        }
    }
}

/// Calls `routine` with the interrupt lock held, at DIRQL. IRQL ≤ DIRQL.
///
/// # Safety
/// `adapter` must be valid and the lock not held.
pub(super) unsafe fn synchronized<R>(adapter: *mut Adapter, routine: impl FnOnce() -> R) -> R {
    // SAFETY: by this function's contract, `adapter` is valid and the lock not held.
    unsafe {
        let old = acquire(adapter);
        let result = routine();
        release(adapter, old);
        result
    }
}

/// Raises to DIRQL and takes the interrupt lock; the IRQL before.
///
/// # Safety
/// As [`synchronized`].
pub(super) unsafe fn acquire(adapter: *mut Adapter) -> Kirql {
    // SAFETY: the caller keeps the contract of [`synchronized`].
    unsafe {
        let old = ke::KfRaiseIrql((*adapter).dirql);
        ke::KeAcquireSpinLockAtDpcLevel(&raw mut (*adapter).interrupt_lock);
        old
    }
}

/// Releases the interrupt lock and lowers to `old`.
///
/// # Safety
/// The caller holds the lock, taken at `old`.
pub(super) unsafe fn release(adapter: *mut Adapter, old: Kirql) {
    // SAFETY: by this function's contract, the caller holds the lock, taken at `old`.
    unsafe {
        ke::KeReleaseSpinLockFromDpcLevel(&raw mut (*adapter).interrupt_lock);
    }
    ke::KeLowerIrql(old);
}
