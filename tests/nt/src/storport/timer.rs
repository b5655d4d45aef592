//! The adapter's timers: one that the miniport asks for, and one that watches over its requests.

use super::adapter::Adapter;
use super::ddi::HwTimer;
use super::request;
use crate::ke;
use crate::nt::*;

/// Both timers with their DPCs.
pub(crate) struct Timers {
    watchdog: Ktimer,
    watchdog_dpc: Kdpc,
    miniport: Ktimer,
    miniport_dpc: Kdpc,
    routine: Option<HwTimer>,
}

impl Timers {
    /// Timers that are not set up yet.
    pub(crate) fn new() -> Self {
        // SAFETY: zero is a valid bit pattern for all of them; `init` initializes them in place.
        unsafe { core::mem::zeroed() }
    }
}

/// Time between two looks of the watchdog, in milliseconds.
const WATCH: i32 = 1000;

/// Sets the timers up.
///
/// # Safety
/// `adapter` must stay where it is.
pub(super) unsafe fn init(adapter: *mut Adapter) {
    // SAFETY: by this function's contract, `adapter` must stay where it is.
    unsafe {
        let timers = &raw mut (*adapter).timers;
        ke::KeInitializeTimerEx(&raw mut (*timers).watchdog, 0);
        ke::KeInitializeTimerEx(&raw mut (*timers).miniport, 0);
        ke::KeInitializeDpc(&raw mut (*timers).watchdog_dpc, Some(watch), adapter.cast());
        ke::KeInitializeDpc(&raw mut (*timers).miniport_dpc, Some(call_miniport), adapter.cast());
    }
}

/// Starts watching.
///
/// # Safety
/// As [`init`].
pub(super) unsafe fn start(adapter: *mut Adapter) {
    // SAFETY: the caller keeps the contract of [`init`].
    unsafe {
        let timers = &raw mut (*adapter).timers;
        let first = -i64::from(WATCH) * 10_000;
        ke::KeSetTimerEx(&raw mut (*timers).watchdog, first, WATCH, &raw mut (*timers).watchdog_dpc);
    }
}

/// Stops both timers.
///
/// # Safety
/// As [`init`].
pub(super) unsafe fn stop(adapter: *mut Adapter) {
    // SAFETY: the caller keeps the contract of [`init`].
    unsafe {
        let timers = &raw mut (*adapter).timers;
        for (timer, dpc) in [
            (&raw mut (*timers).watchdog, &raw mut (*timers).watchdog_dpc),
            (&raw mut (*timers).miniport, &raw mut (*timers).miniport_dpc),
        ] {
            ke::KeCancelTimer(timer);
            ke::KeRemoveQueueDpc(dpc);
        }
    }
}

/// `RequestTimerCall`: calls `routine` once in `microseconds`, or not at all with 0.
///
/// # Safety
/// As [`init`]; `routine` must be the miniport's.
pub(super) unsafe fn request_call(adapter: *mut Adapter, routine: Option<HwTimer>, microseconds: u32) {
    // SAFETY: the caller keeps the contract of [`init`]; `routine` must be the miniport's.
    unsafe {
        let timers = &raw mut (*adapter).timers;
        ke::KeCancelTimer(&raw mut (*timers).miniport);
        (*timers).routine = routine;
        if microseconds != 0 {
            let due = -i64::from(microseconds) * 10;
            ke::KeSetTimerEx(&raw mut (*timers).miniport, due, 0, &raw mut (*timers).miniport_dpc);
        }
    }
}

unsafe extern "win64" fn watch(_: *mut Kdpc, context: Pvoid, _: Pvoid, _: Pvoid) {
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        request::watch(context.cast());
    }
}

/// Calls the miniport's timer routine with the StartIo lock held.
unsafe extern "win64" fn call_miniport(_: *mut Kdpc, context: Pvoid, _: Pvoid, _: Pvoid) {
    let adapter = context.cast::<Adapter>();
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        let this = &*adapter;
        if let Some(routine) = this.timers.routine {
            request::with_start_lock(adapter, || this.guarded("HwTimer", || routine(this.extension())));
        }
    }
}
