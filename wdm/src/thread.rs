//! System threads.
#![expect(unsafe_code, reason = "creates threads and waits for their objects")]

use alloc::boxed::Box;
use core::ptr;
use core::time::Duration;

use wdk_sys::{
    _MODE, HANDLE, PVOID,
    ntddk::{
        ObReferenceObjectByHandle, ObfDereferenceObject, PsCreateSystemThread, PsGetCurrentThreadId,
        PsTerminateSystemThread, ZwClose,
    },
};

use crate::{Result, event, pool, status::check};

/// THREAD_ALL_ACCESS before NT 6.0, which later ones take too.
const THREAD_ALL_ACCESS: u32 = 0x001F_03FF;

/// A system thread of this driver. Dropping it does not stop the thread: tell it to end, then
/// [`join`](Self::join), before the driver is unloaded.
pub struct Thread(PVOID);

// SAFETY: a thread object may be waited for from any thread.
unsafe impl Send for Thread {}
// SAFETY: as above.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts a thread that runs `routine` at PASSIVE_LEVEL in the system process. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// What PsCreateSystemThread answers, or `INSUFFICIENT_RESOURCES`.
    pub fn spawn<F: FnOnce() + Send + 'static>(routine: F) -> Result<Self> {
        // One pointer more, so that a routine that captures nothing can be boxed too.
        let context = Box::into_raw(pool::try_box((routine, 0_usize))?);
        let mut handle: HANDLE = ptr::null_mut();
        // SAFETY: the new thread takes the box over.
        let created = check(unsafe {
            PsCreateSystemThread(
                &raw mut handle,
                THREAD_ALL_ACCESS,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                Some(start::<F>),
                context.cast(),
            )
        });
        if let Err(status) = created {
            // SAFETY: no thread was made, so the box is still this function's.
            drop(unsafe { Box::from_raw(context) });
            return Err(status);
        }
        let mut thread: PVOID = ptr::null_mut();
        // SAFETY: a handle to the new thread, closed here; the object's reference is the Thread's.
        let referenced = unsafe {
            let status = ObReferenceObjectByHandle(
                handle,
                THREAD_ALL_ACCESS,
                ptr::null_mut(),
                _MODE::KernelMode as i8,
                &raw mut thread,
                ptr::null_mut(),
            );
            let _ = ZwClose(handle);
            check(status)
        };
        referenced.map(|()| Self(thread))
    }

    /// Waits until the thread has ended. PASSIVE_LEVEL.
    pub fn join(self) {
        // SAFETY: a thread object is a dispatcher object; this value holds a reference.
        unsafe { event::wait_for(self.0, None) };
    }

    /// Waits at most `timeout`; whether the thread has ended. IRQL ≤ APC_LEVEL.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        // SAFETY: as above.
        unsafe { event::wait_for(self.0, Some(timeout)) }
    }
}

/// Returns the id of the current thread, unique while it lives: to tell re-entry from contention. Any IRQL.
#[must_use]
pub fn current_id() -> usize {
    // SAFETY: reads the current thread's object.
    unsafe { PsGetCurrentThreadId() }.addr()
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: this value owns one reference of the thread object.
        unsafe { ObfDereferenceObject(self.0) };
    }
}

unsafe extern "C" fn start<F: FnOnce() + Send + 'static>(context: PVOID) {
    // SAFETY: `spawn` handed the box over to this thread.
    let (routine, _) = *unsafe { Box::from_raw(context.cast::<(F, usize)>()) };
    routine();
    // SAFETY: ends this very thread, whose stack holds nothing that needs dropping.
    let _ = unsafe { PsTerminateSystemThread(0) };
}
