//! `StorPortNotification` and the routines by which a miniport steers its queues.

use core::sync::atomic::Ordering;

use super::adapter::Adapter;
use super::ddi::*;
use super::{interrupt, request, timer};
use crate::ke;
use crate::mm::MM_NON_CACHED;
use crate::nt::*;
use crate::storage::srb::Srb;

/// `SCSI_NOTIFICATION_TYPE`.
mod kind {
    pub(super) const REQUEST_COMPLETE: u32 = 0;
    pub(super) const RESET_DETECTED: u32 = 3;
    pub(super) const REQUEST_TIMER_CALL: u32 = 6;
    pub(super) const BUS_CHANGE_DETECTED: u32 = 7;
    pub(super) const QUERY_TICK_COUNT: u32 = 12;
    pub(super) const BUFFER_OVERRUN_DETECTED: u32 = 13;
    pub(super) const ENABLE_PASSIVE_INITIALIZATION: u32 = 0x1000;
    pub(super) const INITIALIZE_DPC: u32 = 0x1001;
    pub(super) const ISSUE_DPC: u32 = 0x1002;
    pub(super) const ACQUIRE_SPIN_LOCK: u32 = 0x1003;
    pub(super) const RELEASE_SPIN_LOCK: u32 = 0x1004;
}

/// The bugcheck for what a miniport reports as beyond repair (`STORAGE_MINIPORT_ERROR`).
const STORAGE_MINIPORT_ERROR: u32 = 0xF0;

/// `StorPortNotification`. The arguments after the extension depend on the type; in the x64 calling
/// convention those that a caller does not pass are whatever lies in their place, and are not looked at. IRQL
/// ≤ DIRQL, lower for some types.
///
/// # Safety
/// `extension` must be the miniport's, and the arguments what the type asks for.
pub(super) unsafe extern "win64" fn StorPortNotification(
    kind: u32,
    extension: Pvoid,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
) {
    // SAFETY: by this function's contract, `extension` is the miniport's, and the arguments what the type
    // asks for.
    unsafe {
        let adapter: *mut Adapter = Adapter::of(extension);
        match kind {
            kind::REQUEST_COMPLETE => request::completed(adapter, a as *mut Srb),
            kind::RESET_DETECTED => crate::log!("storport: bus {} was reset", a as u8),
            kind::REQUEST_TIMER_CALL => {
                timer::request_call(adapter, core::mem::transmute::<usize, Option<HwTimer>>(a), b as u32)
            }
            kind::BUS_CHANGE_DETECTED => request::bus_changed(adapter),
            kind::QUERY_TICK_COUNT => {
                let mut frequency = 0;
                (a as *mut i64).write(ke::KeQueryPerformanceCounter(&raw mut frequency));
            }
            kind::BUFFER_OVERRUN_DETECTED => ke::bugcheck(STORAGE_MINIPORT_ERROR, a, b, 0, 0),
            kind::ENABLE_PASSIVE_INITIALIZATION => {
                (*adapter).passive_initialize.store(a as *mut (), Ordering::Release);
                (b as *mut i32).write(1);
            }
            kind::INITIALIZE_DPC => {
                let dpc = a as *mut StorDpc;
                (*dpc).lock = 0;
                let routine = core::mem::transmute::<usize, Option<DeferredRoutine>>(b);
                ke::KeInitializeDpc(&raw mut (*dpc).dpc, routine, extension);
            }
            kind::ISSUE_DPC => {
                let dpc = a as *mut StorDpc;
                let queued = ke::KeInsertQueueDpc(&raw mut (*dpc).dpc, b as Pvoid, c as Pvoid);
                (d as *mut i32).write(queued.into());
            }
            kind::ACQUIRE_SPIN_LOCK => acquire(adapter, a as u32, b as Pvoid, c as *mut StorLockHandle),
            kind::RELEASE_SPIN_LOCK => release(adapter, a as *mut StorLockHandle),
            other => crate::log!("storport: notification {other:#x} has no effect"),
        }
    }
}

/// `StorPortAcquireSpinLock`.
unsafe fn acquire(adapter: *mut Adapter, lock: u32, context: Pvoid, handle: *mut StorLockHandle) {
    // SAFETY: the caller keeps `adapter`, `context` and `handle` valid for this call.
    unsafe {
        let (place, old) = match lock {
            DPC_LOCK => {
                let place = &raw mut (*context.cast::<StorDpc>()).lock;
                (place, ke::KeAcquireSpinLockRaiseToDpc(place))
            }
            START_IO_LOCK => {
                let place = &raw mut (*adapter).start_lock;
                (place, ke::KeAcquireSpinLockRaiseToDpc(place))
            }
            INTERRUPT_LOCK => (&raw mut (*adapter).interrupt_lock, interrupt::acquire(adapter)),
            other => {
                crate::log!("storport: there is no lock {other}");
                return;
            }
        };
        handle.write(StorLockHandle {
            lock,
            queue_next: core::ptr::null_mut(),
            queue_lock: place.cast(),
            old_irql: old,
        });
    }
}

/// `StorPortReleaseSpinLock`.
unsafe fn release(adapter: *mut Adapter, handle: *mut StorLockHandle) {
    // SAFETY: the caller keeps `adapter` and `handle` valid for this call.
    unsafe {
        match (*handle).lock {
            INTERRUPT_LOCK => interrupt::release(adapter, (*handle).old_irql),
            _ => ke::KeReleaseSpinLock((*handle).queue_lock.cast(), (*handle).old_irql),
        }
    }
}

/// `StorPortCompleteRequest`: completes all requests at an address; 0xFF stands for any. IRQL ≤ DIRQL.
///
/// # Safety
/// `extension` must be the miniport's.
pub(super) unsafe extern "win64" fn StorPortCompleteRequest(
    extension: Pvoid,
    path: u8,
    target: u8,
    lun: u8,
    found: u8,
) {
    // SAFETY: by this function's contract, `extension` is the miniport's.
    unsafe {
        request::complete_all(Adapter::of(extension), path, target, lun, found);
    }
}

/// `StorPortBusy`: no new requests until this many have completed. IRQL ≤ DIRQL.
///
/// # Safety
/// `extension` must be the miniport's.
pub(super) unsafe extern "win64" fn StorPortBusy(extension: Pvoid, requests: u32) -> Boolean {
    // SAFETY: by this function's contract, `extension` is the miniport's.
    unsafe { request::set_busy(Adapter::of(extension), requests).into() }
}

/// `StorPortReady`: ends what `StorPortBusy` began. IRQL ≤ DIRQL.
///
/// # Safety
/// `extension` must be the miniport's.
pub(super) unsafe extern "win64" fn StorPortReady(extension: Pvoid) -> Boolean {
    // SAFETY: by this function's contract, `extension` is the miniport's.
    unsafe { request::set_busy(Adapter::of(extension), 0).into() }
}

/// `StorPortPauseDevice`: no new requests to a unit for `timeout` seconds. IRQL ≤ DIRQL.
///
/// # Safety
/// `extension` must be the miniport's.
pub(super) unsafe extern "win64" fn StorPortPauseDevice(
    extension: Pvoid,
    path: u8,
    target: u8,
    lun: u8,
    timeout: u32,
) -> Boolean {
    // SAFETY: by this function's contract, `extension` is the miniport's.
    unsafe {
        request::set_paused(Adapter::of(extension), [path, target, lun], timeout.max(1));
    }
    TRUE
}

/// `StorPortResumeDevice`: ends what `StorPortPauseDevice` began. IRQL ≤ DIRQL.
///
/// # Safety
/// `extension` must be the miniport's.
pub(super) unsafe extern "win64" fn StorPortResumeDevice(
    extension: Pvoid,
    path: u8,
    target: u8,
    lun: u8,
) -> Boolean {
    // SAFETY: by this function's contract, `extension` is the miniport's.
    unsafe {
        request::set_paused(Adapter::of(extension), [path, target, lun], 0);
    }
    TRUE
}

/// `StorPortDebugPrint`: the message with its format as it is; the miniport's `DbgPrint` formats. Any IRQL.
///
/// # Safety
/// `message` must be a terminated string.
pub(super) unsafe extern "win64" fn StorPortDebugPrint(_level: u32, message: *const u8) {
    // SAFETY: by this function's contract, `message` is a terminated string.
    let text = unsafe { core::ffi::CStr::from_ptr(message.cast()) };
    crate::log!("storport: miniport: {}", text.to_str().unwrap_or("?"));
}

/// `StorPortStallExecution`. Any IRQL.
///
/// # Safety
/// None.
pub(super) unsafe extern "win64" fn StorPortStallExecution(microseconds: u32) {
    ke::KeStallExecutionProcessor(microseconds);
}

/// `StorPortGetDeviceBase`: maps device memory for `HwFindAdapter`; ports are used as they are.
/// PASSIVE_LEVEL.
///
/// # Safety
/// The range is the adapter's.
pub(super) unsafe extern "win64" fn StorPortGetDeviceBase(
    _extension: Pvoid,
    _bus: u32,
    _number: u32,
    address: PhysicalAddress,
    bytes: u32,
    in_io_space: Boolean,
) -> Pvoid {
    if in_io_space != FALSE {
        return address as Pvoid;
    }
    // SAFETY: by this function's contract, the range is the adapter's.
    unsafe { crate::mm::MmMapIoSpace(address, bytes as usize, MM_NON_CACHED) }
}
