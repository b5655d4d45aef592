//! Events and semaphores.

use super::wait::{self, yield_if_pending};
use crate::nt::*;

/// `KeInitializeEvent`. Any IRQL.
///
/// # Safety
/// `event` is writable and nobody waits on it.
pub(crate) unsafe extern "win64" fn KeInitializeEvent(event: *mut Kevent, kind: u32, state: Boolean) {
    // SAFETY: by this function's contract, `event` is writable and nobody waits on it.
    unsafe {
        *event = Kevent::unsignaled();
        (*event).header.kind = kind as u8;
        (*event).header.signal_state = i32::from(state);
        (*event).init();
    }
}

/// `KeSetEvent`: the state before. IRQL ≤ `DISPATCH_LEVEL`; with `wait` true ≤ `APC_LEVEL`.
///
/// # Safety
/// `event` is initialized.
pub(crate) unsafe extern "win64" fn KeSetEvent(event: *mut Kevent, _increment: i32, _wait: Boolean) -> i32 {
    // SAFETY: by this function's contract, `event` is initialized.
    let old = unsafe { wait::signal(&raw mut (*event).header) };
    yield_if_pending();
    old
}

/// `KeClearEvent`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `event` is initialized.
pub(crate) unsafe extern "win64" fn KeClearEvent(event: *mut Kevent) {
    // SAFETY: by this function's contract, `event` is initialized.
    unsafe {
        KeResetEvent(event);
    }
}

/// `KeResetEvent`: the state before. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `event` is initialized.
pub(crate) unsafe extern "win64" fn KeResetEvent(event: *mut Kevent) -> i32 {
    let _dispatcher = wait::DISPATCHER.lock();
    // SAFETY: by this function's contract, `event` is initialized.
    unsafe { core::mem::replace(&mut (*event).header.signal_state, 0) }
}

/// `KeReadStateEvent`. Any IRQL.
///
/// # Safety
/// `event` is initialized.
pub(crate) unsafe extern "win64" fn KeReadStateEvent(event: *mut Kevent) -> i32 {
    // SAFETY: by this function's contract, `event` is initialized.
    unsafe { (*event).header.signal_state }
}

/// `KeInitializeSemaphore`. Any IRQL.
///
/// # Safety
/// `semaphore` is writable and nobody waits on it.
pub(crate) unsafe extern "win64" fn KeInitializeSemaphore(
    semaphore: *mut Ksemaphore,
    count: i32,
    limit: i32,
) {
    // SAFETY: by this function's contract, `semaphore` is writable and nobody waits on it.
    unsafe {
        (*semaphore).header = Kevent::unsignaled().header;
        (*semaphore).header.kind = SEMAPHORE_OBJECT;
        (*semaphore).header.signal_state = count;
        (*semaphore).limit = limit;
        ListEntry::init(&raw mut (*semaphore).header.wait_list_head);
    }
}

/// `KeReleaseSemaphore`: the count before. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `semaphore` is initialized.
pub(crate) unsafe extern "win64" fn KeReleaseSemaphore(
    semaphore: *mut Ksemaphore,
    _increment: i32,
    adjustment: i32,
    _wait: Boolean,
) -> i32 {
    // SAFETY: by this function's contract, `semaphore` is initialized.
    let old = unsafe { wait::signal_count(&raw mut (*semaphore).header, adjustment) };
    yield_if_pending();
    old
}
