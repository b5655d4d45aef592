//! System threads.

use crate::ke::{self, thread};
use crate::ldr::gate;
use crate::nt::*;
use crate::ob;

/// `PsCreateSystemThread`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `handle` is writable; `start` may be called with `context` in a thread of its own.
pub(crate) unsafe extern "win64" fn PsCreateSystemThread(
    handle: *mut Handle,
    _access: u32,
    _attributes: *mut ObjectAttributes,
    _process: Handle,
    _client_id: Pvoid,
    start: StartRoutine,
    context: Pvoid,
) -> NtStatus {
    let driver = gate::caller();
    // SAFETY: by this function's contract, `handle` is writable; `start` may be called with `context` in a
    // thread of its own.
    unsafe {
        let Some(thread) = thread::create(start, context, thread::NORMAL_PRIORITY, driver) else {
            return status::INSUFFICIENT_RESOURCES;
        };
        *handle = ob::open(thread.cast());
        ob::dereference(thread.cast());
        ke::yield_if_pending();
        status::SUCCESS
    }
}

/// `PsTerminateSystemThread`: ends the calling thread. IRQL `PASSIVE_LEVEL`.
pub(crate) extern "win64" fn PsTerminateSystemThread(exit_status: NtStatus) -> NtStatus {
    thread::terminate(exit_status)
}

/// `PsGetCurrentThreadId`. Any IRQL.
pub(crate) extern "win64" fn PsGetCurrentThreadId() -> Handle {
    thread::current().cast()
}
