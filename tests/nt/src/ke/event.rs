//! Events and semaphores.

use super::lock::{disable_interrupts, restore_interrupts};
use super::wait::{self, yield_if_pending};
use crate::nt::*;

/// `KeInitializeEvent`. Any IRQL.
///
/// # Safety
/// `event` is writable and nobody waits on it.
pub unsafe extern "win64" fn KeInitializeEvent(event: *mut Kevent, kind: u32, state: Boolean) {
    *event = Kevent::unsignaled();
    (*event).header.kind = kind as u8;
    (*event).header.signal_state = i32::from(state);
    (*event).init();
}

/// `KeSetEvent`: the state before. IRQL ≤ `DISPATCH_LEVEL`; with `wait` true ≤ `APC_LEVEL`.
///
/// # Safety
/// `event` is initialized.
pub unsafe extern "win64" fn KeSetEvent(event: *mut Kevent, _increment: i32, _wait: Boolean) -> i32 {
    let interrupts = disable_interrupts();
    let old = (*event).header.signal_state;
    wait::signal(&raw mut (*event).header);
    restore_interrupts(interrupts);
    yield_if_pending();
    old
}

/// `KeClearEvent`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `event` is initialized.
pub unsafe extern "win64" fn KeClearEvent(event: *mut Kevent) {
    (*event).header.signal_state = 0;
}

/// `KeResetEvent`: the state before. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `event` is initialized.
pub unsafe extern "win64" fn KeResetEvent(event: *mut Kevent) -> i32 {
    core::mem::replace(&mut (*event).header.signal_state, 0)
}

/// `KeReadStateEvent`. Any IRQL.
///
/// # Safety
/// `event` is initialized.
pub unsafe extern "win64" fn KeReadStateEvent(event: *mut Kevent) -> i32 {
    (*event).header.signal_state
}

/// `KeInitializeSemaphore`. Any IRQL.
///
/// # Safety
/// `semaphore` is writable and nobody waits on it.
pub unsafe extern "win64" fn KeInitializeSemaphore(semaphore: *mut Ksemaphore, count: i32, limit: i32) {
    (*semaphore).header = Kevent::unsignaled().header;
    (*semaphore).header.kind = SEMAPHORE_OBJECT;
    (*semaphore).header.signal_state = count;
    (*semaphore).limit = limit;
    ListEntry::init(&raw mut (*semaphore).header.wait_list_head);
}

/// `KeReleaseSemaphore`: the count before. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `semaphore` is initialized.
pub unsafe extern "win64" fn KeReleaseSemaphore(
    semaphore: *mut Ksemaphore,
    _increment: i32,
    adjustment: i32,
    _wait: Boolean,
) -> i32 {
    let interrupts = disable_interrupts();
    let old = (*semaphore).header.signal_state;
    wait::signal_count(&raw mut (*semaphore).header, adjustment);
    restore_interrupts(interrupts);
    yield_if_pending();
    old
}
