//! Deferred procedure calls.
#![expect(unsafe_code, reason = "hands a KDPC in place to the kernel")]

use alloc::boxed::Box;
use core::cell::UnsafeCell;

use wdk_sys::{
    KDPC, PVOID,
    ntddk::{KeFlushQueuedDpcs, KeInitializeDpc, KeInsertQueueDpc},
};

use crate::{Result, irql::AtDispatch, pool};

struct Inner<F> {
    dpc: UnsafeCell<KDPC>,
    routine: F,
}

/// A DPC in non-paged pool. Dropping it (PASSIVE_LEVEL) waits until one that is queued or running has returned;
/// whoever queues it must have stopped before.
pub struct Dpc<F: Fn(&AtDispatch) + Send + Sync + 'static>(Box<Inner<F>>);

// SAFETY: the kernel serializes access to the KDPC, and F is Send and Sync.
unsafe impl<F: Fn(&AtDispatch) + Send + Sync + 'static> Send for Dpc<F> {}
// SAFETY: as above.
unsafe impl<F: Fn(&AtDispatch) + Send + Sync + 'static> Sync for Dpc<F> {}

impl<F: Fn(&AtDispatch) + Send + Sync + 'static> Dpc<F> {
    /// Returns a DPC that runs `routine` at DISPATCH_LEVEL. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new(routine: F) -> Result<Self> {
        let inner = pool::try_box(Inner { dpc: UnsafeCell::new(KDPC::default()), routine })?;
        // SAFETY: the KDPC is at its final address in non-paged pool, and the context is the box's
        // content, which lives until the DPC is off every queue (see Drop).
        unsafe {
            KeInitializeDpc(inner.dpc.get(), Some(run::<F>), core::ptr::from_ref(&*inner).cast_mut().cast());
        }
        Ok(Self(inner))
    }

    /// Queues it to the current processor; `false` where it is queued already. Any IRQL.
    pub fn queue(&self) -> bool {
        // SAFETY: an initialized DPC.
        unsafe { KeInsertQueueDpc(self.0.dpc.get(), core::ptr::null_mut(), core::ptr::null_mut()) != 0 }
    }

    /// Returns the KDPC, for a timer.
    pub(crate) fn as_ptr(&self) -> *mut KDPC {
        self.0.dpc.get()
    }
}

impl<F: Fn(&AtDispatch) + Send + Sync + 'static> Drop for Dpc<F> {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits until every DPC that was queued before has run on every processor. PASSIVE_LEVEL.
pub fn flush() {
    // SAFETY: callable at PASSIVE_LEVEL.
    unsafe { KeFlushQueuedDpcs() };
}

unsafe extern "C" fn run<F: Fn(&AtDispatch) + Send + Sync + 'static>(
    _: *mut KDPC,
    context: PVOID,
    _: PVOID,
    _: PVOID,
) {
    // SAFETY: the context is the DPC's own box, alive until the DPC is off every queue and has
    // returned; a DPC runs at DISPATCH_LEVEL.
    let (inner, at) = unsafe { (&*context.cast::<Inner<F>>(), AtDispatch::assume()) };
    (inner.routine)(&at);
}
