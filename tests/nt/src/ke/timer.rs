//! Timers. They expire in the clock's DPC phase, at `DISPATCH_LEVEL`.

use core::ptr::null_mut;

use super::clock;
use super::dpc::KeInsertQueueDpc;
use super::lock::Lock;
use super::wait;
use crate::nt::*;

struct Timers {
    /// Inserted timers by due time, linked through `timer_list_entry.flink`; null at the end.
    first: *mut Ktimer,
}

// SAFETY: the pointers are followed only under the lock.
unsafe impl Send for Timers {}

static TIMERS: Lock<Timers> = Lock::new(Timers { first: null_mut() });

unsafe fn next_of(timer: *mut Ktimer) -> *mut Ktimer {
    // SAFETY: the caller keeps `timer` valid for this call.
    unsafe { (*timer).timer_list_entry.flink.cast() }
}

unsafe fn insert(timer: *mut Ktimer) {
    let mut timers = TIMERS.lock();
    let (mut previous, mut at) = (null_mut::<Ktimer>(), timers.first);
    // SAFETY: the caller keeps `timer` valid for this call.
    unsafe {
        while !at.is_null() && (*at).due_time <= (*timer).due_time {
            previous = at;
            at = next_of(at);
        }
        (*timer).timer_list_entry.flink = at.cast();
        if previous.is_null() {
            timers.first = timer;
        } else {
            (*previous).timer_list_entry.flink = timer.cast();
        }
        (*timer).header.inserted = TRUE;
    }
}

unsafe fn remove(timer: *mut Ktimer) -> bool {
    let mut timers = TIMERS.lock();
    // SAFETY: the caller keeps `timer` valid for this call.
    unsafe {
        if (*timer).header.inserted == FALSE {
            return false;
        }
        let (mut previous, mut at) = (null_mut::<Ktimer>(), timers.first);
        while at != timer {
            assert!(!at.is_null(), "a timer marked as inserted is not on the list");
            previous = at;
            at = next_of(at);
        }
        if previous.is_null() {
            timers.first = next_of(timer);
        } else {
            (*previous).timer_list_entry.flink = (*timer).timer_list_entry.flink;
        }
        (*timer).header.inserted = FALSE;
        true
    }
}

/// Returns true if the earliest timer is due.
pub(super) fn is_due(now: u64) -> bool {
    let timers = TIMERS.lock();
    // SAFETY: inserted timers are valid until they expire or are cancelled.
    !timers.first.is_null() && unsafe { (*timers.first).due_time } <= now
}

/// Expires what is due: signals, queues DPCs, starts periods again.
pub(super) fn expire() {
    let now = clock::interrupt_time();
    loop {
        // As one step to whoever waits: a thread that cancels its timer finds it inserted, or finds it
        // signalled.
        let dispatcher = wait::DISPATCHER.lock();
        let timer = {
            let mut timers = TIMERS.lock();
            let timer = timers.first;
            // SAFETY: inserted timers are valid until they expire or are cancelled.
            unsafe {
                if timer.is_null() || (*timer).due_time > now {
                    return;
                }
                timers.first = next_of(timer);
                (*timer).header.inserted = FALSE;
            }
            timer
        };
        // SAFETY: the timer was inserted, so its owner keeps it valid.
        unsafe {
            let (dpc, period) = ((*timer).dpc, (*timer).period);
            if period > 0 {
                (*timer).due_time = now + period as u64 * 10_000;
                insert(timer);
            }
            wait::signal_locked(&raw mut (*timer).header, 1);
            drop(dispatcher);
            if !dpc.is_null() {
                KeInsertQueueDpc(dpc, null_mut(), null_mut());
            }
        }
    }
}

/// Returns true if an inserted timer lies in a range of memory.
pub(crate) fn inserted_within(start: usize, end: usize) -> bool {
    let timers = TIMERS.lock();
    let mut at = timers.first;
    while !at.is_null() {
        if (start..end).contains(&(at as usize)) {
            return true;
        }
        // SAFETY: inserted timers are valid until they expire or are cancelled.
        at = unsafe { next_of(at) };
    }
    false
}

/// `KeInitializeTimer`: a notification timer. Any IRQL.
///
/// # Safety
/// `timer` is writable and not inserted.
pub(crate) unsafe extern "win64" fn KeInitializeTimer(timer: *mut Ktimer) {
    // SAFETY: by this function's contract, `timer` is writable and not inserted.
    unsafe {
        KeInitializeTimerEx(timer, 0);
    }
}

/// `KeInitializeTimerEx`: `kind` 0 notification, 1 synchronization. Any IRQL.
///
/// # Safety
/// `timer` is writable and not inserted.
pub(crate) unsafe extern "win64" fn KeInitializeTimerEx(timer: *mut Ktimer, kind: u32) {
    // SAFETY: by this function's contract, `timer` is writable and not inserted.
    unsafe {
        (*timer).header = DispatcherHeader {
            kind: TIMER_NOTIFICATION_OBJECT + kind as u8,
            absolute: 0,
            size: (size_of::<Ktimer>() / 4) as u8,
            inserted: FALSE,
            signal_state: 0,
            wait_list_head: ListEntry::UNLINKED,
        };
        ListEntry::init(&raw mut (*timer).header.wait_list_head);
        (*timer).due_time = 0;
        (*timer).timer_list_entry = ListEntry::UNLINKED;
        (*timer).dpc = null_mut();
        (*timer).period = 0;
    }
}

/// Returns the interrupt time at which a `LARGE_INTEGER` due time falls: negative is relative, else system
/// time.
pub(super) fn due(due_time: LargeInteger) -> u64 {
    if due_time <= 0 {
        clock::interrupt_time() + due_time.unsigned_abs()
    } else {
        (due_time as u64).saturating_sub(clock::boot_time())
    }
}

/// `KeSetTimerEx`: whether the timer was set already. `period` in milliseconds. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `timer` is initialized and it and `dpc` stay valid until it expired or was cancelled.
pub(crate) unsafe extern "win64" fn KeSetTimerEx(
    timer: *mut Ktimer,
    due_time: LargeInteger,
    period: i32,
    dpc: *mut Kdpc,
) -> Boolean {
    // SAFETY: by this function's contract, `timer` is initialized and it and `dpc` stay valid until it
    // expired or was cancelled.
    unsafe {
        let was_set = remove(timer);
        (*timer).header.signal_state = 0;
        (*timer).dpc = dpc;
        (*timer).period = period;
        (*timer).due_time = due(due_time);
        insert(timer);
        Boolean::from(was_set)
    }
}

/// `KeSetTimer`: as [`KeSetTimerEx`] without a period.
///
/// # Safety
/// As [`KeSetTimerEx`].
pub(crate) unsafe extern "win64" fn KeSetTimer(
    timer: *mut Ktimer,
    due_time: LargeInteger,
    dpc: *mut Kdpc,
) -> Boolean {
    // SAFETY: the caller keeps the contract of [`KeSetTimerEx`].
    unsafe { KeSetTimerEx(timer, due_time, 0, dpc) }
}

/// `KeCancelTimer`: whether it was set. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `timer` is initialized.
pub(crate) unsafe extern "win64" fn KeCancelTimer(timer: *mut Ktimer) -> Boolean {
    // SAFETY: by this function's contract, `timer` is initialized.
    unsafe { Boolean::from(remove(timer)) }
}
