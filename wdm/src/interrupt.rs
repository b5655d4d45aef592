//! Line-based interrupts.
#![allow(unsafe_code, reason = "connects a service routine")]

use alloc::boxed::Box;
use core::ptr;

use wdk_sys::{
    _KINTERRUPT_MODE, BOOLEAN, PKINTERRUPT, PVOID,
    ntddk::{IoConnectInterrupt, IoDisconnectInterrupt, KeSynchronizeExecution},
};

use crate::{Result, pool, resources::InterruptResource, status::check};

struct Inner<F>(F, #[allow(dead_code, reason = "gives a routine without captures a size")] usize);

/// A connected interrupt; dropping it disconnects (PASSIVE_LEVEL) and waits for a running routine.
pub struct Interrupt<F: Fn() -> bool + Send + Sync + 'static> {
    object: PKINTERRUPT,
    // Dropped after `Drop::drop` has disconnected.
    _routine: Box<Inner<F>>,
}

// SAFETY: the interrupt object is the kernel's, and F is Send and Sync.
unsafe impl<F: Fn() -> bool + Send + Sync + 'static> Send for Interrupt<F> {}
// SAFETY: as above.
unsafe impl<F: Fn() -> bool + Send + Sync + 'static> Sync for Interrupt<F> {}

impl<F: Fn() -> bool + Send + Sync + 'static> Interrupt<F> {
    /// Connects `routine` to a translated interrupt resource. It is called at the interrupt's IRQL on
    /// any processor, one at a time, and answers whether the interrupt was its device's. It may be
    /// called before this function returns. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What IoConnectInterrupt answers.
    pub fn connect(resource: InterruptResource, routine: F) -> Result<Self> {
        let routine = pool::try_box(Inner(routine, 0))?;
        let mode =
            if resource.latched { _KINTERRUPT_MODE::Latched } else { _KINTERRUPT_MODE::LevelSensitive };
        let mut object: PKINTERRUPT = ptr::null_mut();
        // SAFETY: the context is the box's content, which lives until the interrupt is disconnected;
        // the kernel makes the spin lock itself where none is given.
        check(unsafe {
            IoConnectInterrupt(
                &raw mut object,
                Some(service::<F>),
                ptr::from_ref(&*routine).cast_mut().cast(),
                ptr::null_mut(),
                resource.vector,
                resource.level as u8,
                resource.level as u8,
                mode,
                resource.shared.into(),
                resource.affinity,
                0,
            )
        })?;
        Ok(Self { object, _routine: routine })
    }

    /// Runs `work` at the interrupt's IRQL, while the service routine runs nowhere. IRQL ≤ the
    /// interrupt's.
    pub fn synchronize<W: FnOnce()>(&self, work: W) {
        let mut work = Some(work);
        // SAFETY: a connected interrupt; the closure lives across the call.
        unsafe { KeSynchronizeExecution(self.object, Some(synchronized::<W>), (&raw mut work).cast()) };
    }
}

impl<F: Fn() -> bool + Send + Sync + 'static> Drop for Interrupt<F> {
    fn drop(&mut self) {
        // SAFETY: a connected interrupt, this value's own.
        unsafe { IoDisconnectInterrupt(self.object) };
    }
}

unsafe extern "C" fn service<F: Fn() -> bool + Send + Sync + 'static>(
    _: PKINTERRUPT,
    context: PVOID,
) -> BOOLEAN {
    // SAFETY: the context is the box of `connect`, alive until the interrupt is disconnected.
    let routine = unsafe { &*context.cast::<Inner<F>>() };
    (routine.0)().into()
}

unsafe extern "C" fn synchronized<W: FnOnce()>(context: PVOID) -> BOOLEAN {
    // SAFETY: the context is the Option on `synchronize`'s stack.
    if let Some(work) = unsafe { (*context.cast::<Option<W>>()).take() } {
        work();
    }
    1
}
