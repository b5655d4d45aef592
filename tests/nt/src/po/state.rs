//! The device power state that each driver has told of its device object, and the power requests that it has not
//! let go of.
//!
//! Before NT 6.0 the power manager holds the next power request of a kind back from a device object until its
//! driver has called `PoStartNextPowerIrp` for the one before (WDK, "Calling PoStartNextPowerIrp").

use core::sync::atomic::{AtomicU32, Ordering};

use crate::boot::{self, Profile};
use crate::io::{self, IofCallDriver};
use crate::ke::irql;
use crate::nt::*;
use crate::verifier::{Violation, violation};

/// In `power_flags`: the device state (`POPF_DEVICE_STATE`), 0 for none that was told.
const STATE: u32 = 0xF0;
const STATE_SHIFT: u32 = 4;
/// A system power request is with the device's driver (`POPF_SYSTEM_ACTIVE`).
const SYSTEM_ACTIVE: u32 = 0x100;
/// A device power request is (`POPF_DEVICE_ACTIVE`).
const DEVICE_ACTIVE: u32 = 0x400;

unsafe fn flags<'a>(device: *mut DeviceObject) -> &'a AtomicU32 {
    // SAFETY: the caller keeps `device` valid, whose extension is used by this module alone.
    unsafe { AtomicU32::from_ptr(&raw mut (*(*device).device_object_extension).power_flags) }
}

const fn active(kind: u32) -> u32 {
    if kind == SYSTEM_POWER_STATE { SYSTEM_ACTIVE } else { DEVICE_ACTIVE }
}

/// Notes that a power request is sent to a device.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe fn beginning(device: *mut DeviceObject, kind: u32) {
    // SAFETY: by this function's contract, `device` is a device object.
    unsafe { flags(device).fetch_or(active(kind), Ordering::AcqRel) };
}

/// Checks that every driver of a stack has let go of a power request that is completed.
///
/// # Safety
/// `device` is a device object of the stack.
pub(crate) unsafe fn check_started(device: *mut DeviceObject, kind: u32) {
    // SAFETY: by this function's contract, `device` is a device object of the stack.
    unsafe {
        let mut device = io::bottom_of(device);
        while !device.is_null() {
            let was_active = flags(device).fetch_and(!active(kind), Ordering::AcqRel) & active(kind) != 0;
            if was_active && boot::options().nt == Profile::Nt52 {
                let driver = io::driver::name_of((*device).driver_object);
                violation(Violation::NextPowerIrpNotStarted, format_args!("driver={driver} kind={kind}"));
            }
            device = (*device).attached_device;
        }
    }
}

/// `PoCallDriver`: as `IoCallDriver`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// As [`IofCallDriver`].
pub(crate) unsafe extern "win64" fn PoCallDriver(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps the contract of [`IofCallDriver`].
    unsafe {
        beginning(device, (*next_stack_location(irp)).parameters.power.kind);
        IofCallDriver(device, irp)
    }
}

/// `PoStartNextPowerIrp`: the device's driver is ready for the next power request. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `irp` is a power request that the caller's device has.
pub(crate) unsafe extern "win64" fn PoStartNextPowerIrp(irp: *mut Irp) {
    // SAFETY: by this function's contract, the current location is the caller's device's.
    unsafe {
        let location = current_stack_location(irp);
        let kind = (*location).parameters.power.kind;
        flags((*location).device_object).fetch_and(!active(kind), Ordering::AcqRel);
    }
}

/// `PoSetPowerState`: a driver tells of its device object's state; the answer is the state before. IRQL ≤
/// `APC_LEVEL`, or ≤ `DISPATCH_LEVEL` for D0.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe extern "win64" fn PoSetPowerState(device: *mut DeviceObject, kind: u32, new: u32) -> u32 {
    // SAFETY: by this function's contract, `device` is a device object.
    unsafe {
        let level = irql::current();
        if kind != DEVICE_POWER_STATE || (new != POWER_DEVICE_D0 && level > APC_LEVEL) {
            let driver = io::driver::name_of((*device).driver_object);
            violation(
                Violation::WrongIrql,
                format_args!("routine=PoSetPowerState driver={driver} kind={kind} state={new} irql={level}"),
            );
        }
        tell(device, new)
    }
}

/// Does the same for a driver of the executive's own, at any IRQL.
///
/// # Safety
/// As [`PoSetPowerState`].
pub(crate) unsafe fn tell(device: *mut DeviceObject, new: u32) -> u32 {
    // SAFETY: the caller keeps the contract of [`PoSetPowerState`].
    let before = unsafe { flags(device) };
    let change = |flags| Some(flags & !STATE | new << STATE_SHIFT);
    let before = before.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    (before.unwrap_or_else(|flags| flags) & STATE) >> STATE_SHIFT
}

/// Returns the state that a driver has told of its device object; 0 before the first.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe fn state(device: *mut DeviceObject) -> u32 {
    // SAFETY: by this function's contract, `device` is a device object.
    unsafe { (flags(device).load(Ordering::Acquire) & STATE) >> STATE_SHIFT }
}
