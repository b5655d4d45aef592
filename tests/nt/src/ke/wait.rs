//! Dispatcher objects: signalling and waiting.

use core::ptr::null_mut;

use super::irql;
use core::sync::atomic::Ordering;

use super::lock::{Lock, disable_interrupts, restore_interrupts};
use super::processor::processor;
use super::thread::{self, Thread};
use super::timer::{KeCancelTimer, KeSetTimer};
use crate::nt::*;
use crate::verifier::{Violation, violation};

/// Kind of a thread's own timer, whose list links wait blocks by `timer_link`. No object of NT has it.
pub(super) const WAIT_TIMER: u8 = 0x7F;

/// A thread's place on the wait lists of an object and of its own timer.
#[repr(C)]
pub(crate) struct WaitBlock {
    object_link: ListEntry,
    timer_link: ListEntry,
    thread: *mut Thread,
    status: NtStatus,
    waiting: bool,
}

/// Takes what a satisfied wait takes: a synchronization object's signal, one of a semaphore's counts.
unsafe fn satisfy(object: *mut DispatcherHeader) {
    // SAFETY: the caller keeps `object` valid for this call.
    unsafe {
        match (*object).kind {
            SYNCHRONIZATION_EVENT | TIMER_SYNCHRONIZATION_OBJECT => (*object).signal_state = 0,
            SEMAPHORE_OBJECT => (*object).signal_state -= 1,
            _ => {}
        }
    }
}

unsafe fn wake(block: *mut WaitBlock, status: NtStatus) {
    // SAFETY: the caller keeps `block` valid for this call.
    unsafe {
        ListEntry::remove(&raw mut (*block).object_link);
        if !(*block).timer_link.flink.is_null() {
            ListEntry::remove(&raw mut (*block).timer_link);
        }
        (*block).status = status;
        (*block).waiting = false;
        thread::ready((*block).thread);
    }
}

/// The dispatcher lock: held while an object's state or a wait list is looked at or changed.
pub(super) static DISPATCHER: Lock<()> = Lock::new(());

/// Signals an object and ends the waits that satisfies; the state before. IRQL ≤ `DISPATCH_LEVEL`; the caller
/// gives the processor up afterwards (see [`crate::ke::yield_if_pending`]).
pub(crate) unsafe fn signal(object: *mut DispatcherHeader) -> i32 {
    // SAFETY: the caller keeps `object` valid for this call.
    unsafe { signal_count(object, 1) }
}

/// Does the same as [`signal`]; a semaphore gets `count`.
pub(crate) unsafe fn signal_count(object: *mut DispatcherHeader, count: i32) -> i32 {
    let _dispatcher = DISPATCHER.lock();
    // SAFETY: the caller keeps `object` valid for this call.
    unsafe { signal_locked(object, count) }
}

/// Does the same as [`signal_count`], with the dispatcher lock held.
pub(super) unsafe fn signal_locked(object: *mut DispatcherHeader, count: i32) -> i32 {
    // SAFETY: the caller keeps `object` valid for this call.
    unsafe {
        let before = (*object).signal_state;
        if (*object).kind == SEMAPHORE_OBJECT {
            (*object).signal_state += count;
        } else {
            (*object).signal_state = 1;
        }
        let head = &raw mut (*object).wait_list_head;
        while (*object).signal_state > 0 && !ListEntry::is_empty(head) {
            let link = (*head).flink;
            if (*object).kind == WAIT_TIMER {
                wake(link.byte_sub(core::mem::offset_of!(WaitBlock, timer_link)).cast(), status::TIMEOUT);
            } else {
                satisfy(object);
                wake(link.byte_sub(core::mem::offset_of!(WaitBlock, object_link)).cast(), status::SUCCESS);
            }
        }
        before
    }
}

/// Waits for one object. `timeout` null: for ever; zero: not at all.
unsafe fn wait(object: *mut DispatcherHeader, timeout: *const i64) -> NtStatus {
    let level = irql::current();
    // SAFETY: the caller keeps `object` and `timeout` valid for this call.
    unsafe {
        if level >= DISPATCH_LEVEL && (timeout.is_null() || *timeout != 0) {
            violation(Violation::WaitAtDispatchLevel, format_args!("irql={level} object={object:p}"));
        }
        let dispatcher = DISPATCHER.lock();
        if (*object).signal_state > 0 {
            satisfy(object);
            return status::SUCCESS;
        }
        if !timeout.is_null() && *timeout == 0 {
            return status::TIMEOUT;
        }
        let level = irql::current();
        irql::set(DISPATCH_LEVEL);
        let thread = thread::current();
        let block = &raw mut (*thread).wait;
        *block = WaitBlock {
            object_link: ListEntry::UNLINKED,
            timer_link: ListEntry::UNLINKED,
            thread,
            status: status::PENDING,
            waiting: true,
        };
        ListEntry::insert_tail(&raw mut (*object).wait_list_head, &raw mut (*block).object_link);
        if !timeout.is_null() {
            let timer = &raw mut (*thread).timer;
            KeSetTimer(timer, *timeout, null_mut());
            ListEntry::insert_tail(&raw mut (*timer).header.wait_list_head, &raw mut (*block).timer_link);
        }
        // Whoever ends the wait from here on makes the thread ready on this very processor, which takes it up
        // when it has been given up.
        drop(dispatcher);
        let interrupts = disable_interrupts();
        thread::block();
        restore_interrupts(interrupts);
        // Another processor may still be looking at the object that it has signaled, which may be on this very
        // stack.
        drop(DISPATCHER.lock());
        debug_assert!(!(*block).waiting);
        if !timeout.is_null() {
            KeCancelTimer(&raw mut (*thread).timer);
        }
        irql::lower(level);
        (*block).status
    }
}

/// `KeWaitForSingleObject`. IRQL ≤ `APC_LEVEL`, or `DISPATCH_LEVEL` with a timeout of zero.
///
/// # Safety
/// `object` is a dispatcher object that stays valid until the wait ends; `timeout` is null or readable.
pub(crate) unsafe extern "win64" fn KeWaitForSingleObject(
    object: Pvoid,
    _reason: u32,
    _mode: i8,
    _alertable: Boolean,
    timeout: *const LargeInteger,
) -> NtStatus {
    // SAFETY: by this function's contract, `object` is a dispatcher object that stays valid until the wait
    // ends; `timeout` is null or readable.
    unsafe { wait(object.cast(), timeout) }
}

/// `KeDelayExecutionThread`. IRQL ≤ `APC_LEVEL`.
///
/// # Safety
/// `interval` is readable.
pub(crate) unsafe extern "win64" fn KeDelayExecutionThread(
    _mode: i8,
    _alertable: Boolean,
    interval: *const LargeInteger,
) -> NtStatus {
    let mut never = Kevent::unsignaled();
    never.init();
    // SAFETY: by this function's contract, `interval` is readable.
    unsafe {
        match wait(&raw mut never.header, interval) {
            status::TIMEOUT => status::SUCCESS,
            other => other,
        }
    }
}

/// Waits that many milliseconds. IRQL `PASSIVE_LEVEL`.
pub(crate) fn delay(milliseconds: u64) {
    let interval = -(milliseconds as i64) * 10_000;
    // SAFETY: the interval is a local.
    unsafe { KeDelayExecutionThread(KERNEL_MODE, FALSE, &interval) };
}

impl Kevent {
    /// Returns a notification event in no list yet: [`Self::init`] it where it stays.
    pub(crate) const fn unsignaled() -> Self {
        Self {
            header: DispatcherHeader {
                kind: NOTIFICATION_EVENT,
                absolute: 0,
                size: 6,
                inserted: 0,
                signal_state: 0,
                wait_list_head: ListEntry::UNLINKED,
            },
        }
    }

    /// Links the wait list's head to itself.
    pub(crate) fn init(&mut self) {
        // SAFETY: the event is borrowed mutably and waits are made only after this.
        unsafe { ListEntry::init(&raw mut self.header.wait_list_head) };
    }
}

/// Lets a better thread run, if one became ready. Does nothing at `DISPATCH_LEVEL` or above.
pub(crate) fn yield_if_pending() {
    let level = irql::current();
    if level < DISPATCH_LEVEL
        && (processor().switch_pending.load(Ordering::Acquire)
            || processor().dpc_pending.load(Ordering::Acquire))
    {
        irql::lower(level);
    }
}
