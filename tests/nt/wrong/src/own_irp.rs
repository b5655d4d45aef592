//! Mistakes with an IRP of the driver's own, sent to its own device or to the one below.

use core::ptr::null_mut;

use wdk_sys::ntddk::{IoAllocateIrp, IoFreeIrp, IofCallDriver, IofCompleteRequest};
use wdk_sys::{
    IO_STACK_LOCATION, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_PNP, IRP_MN_QUERY_PNP_DEVICE_STATE, NTSTATUS,
    PDEVICE_OBJECT, PIRP, PVOID, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS,
    SL_PENDING_RETURNED, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::{current, extension};

/// Minor functions by which the driver's own IRP finds its way through the driver's own device twice.
const UPPER: u8 = 1;
const LOWER: u8 = 2;

/// Sends IRP_MN_QUERY_PNP_DEVICE_STATE down, which is the system's to send. It starts out with `status`, which is
/// to be STATUS_NOT_SUPPORTED. PASSIVE_LEVEL.
///
/// # Safety
/// `device` is this driver's and started.
pub(crate) unsafe fn query_state(device: PDEVICE_OBJECT, status: NTSTATUS) {
    // SAFETY: the IRP is this function's, with a location for each device below and one for its completion
    // routine.
    unsafe {
        let lower = (*extension(device)).lower;
        let irp = IoAllocateIrp((*lower).StackSize, 0);
        if irp.is_null() {
            return;
        }
        (*irp).IoStatus.__bindgen_anon_1.Status = status;
        let next = current(irp).sub(1);
        (*next).MajorFunction = IRP_MJ_PNP as u8;
        (*next).MinorFunction = IRP_MN_QUERY_PNP_DEVICE_STATE as u8;
        on_completion(next, keep);
        let _ = IofCallDriver(lower, irp);
        IoFreeIrp(irp);
    }
}

/// Sends an IRP through this driver's own device twice: the lower time it is marked pending, and the upper
/// time's completion routine does not carry the mark on. PASSIVE_LEVEL.
///
/// # Safety
/// `device` is this driver's and started.
pub(crate) unsafe fn without_propagation(device: PDEVICE_OBJECT) {
    // SAFETY: the IRP is this function's, with a location for each of the two times.
    unsafe {
        let irp = IoAllocateIrp(2, 0);
        if irp.is_null() {
            return;
        }
        let next = current(irp).sub(1);
        (*next).MajorFunction = IRP_MJ_INTERNAL_DEVICE_CONTROL as u8;
        (*next).MinorFunction = UPPER;
        on_completion(next, keep);
        let _ = IofCallDriver(device, irp);
        IoFreeIrp(irp);
    }
}

/// Handles IRP_MJ_INTERNAL_DEVICE_CONTROL: the IRP of [`without_propagation`].
pub(crate) unsafe extern "C" fn dispatch(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the IRP is this driver's own, on its way through this device.
    unsafe {
        let location = current(irp);
        if (*location).MinorFunction == UPPER {
            let next = location.sub(1);
            next.write(location.read());
            (*next).MinorFunction = LOWER;
            on_completion(next, forget);
            return IofCallDriver(device, irp);
        }
        (*location).Control |= SL_PENDING_RETURNED as u8;
        (*irp).IoStatus.__bindgen_anon_1.Status = STATUS_SUCCESS;
        IofCompleteRequest(irp, 0);
    }
    STATUS_PENDING
}

/// Does the work of IoSetCompletionRoutine.
///
/// # Safety
/// `next` is the next location of an IRP that the caller owns.
pub(crate) unsafe fn on_completion(
    next: *mut IO_STACK_LOCATION,
    routine: unsafe extern "C" fn(PDEVICE_OBJECT, PIRP, PVOID) -> NTSTATUS,
) {
    // SAFETY: as the caller says.
    unsafe {
        (*next).CompletionRoutine = Some(routine);
        (*next).Context = null_mut();
        (*next).Control = (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL) as u8;
    }
}

/// Keeps the IRP for its sender.
unsafe extern "C" fn keep(_: PDEVICE_OBJECT, _: PIRP, _: PVOID) -> NTSTATUS {
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Lets the completion go on without `if (Irp->PendingReturned) IoMarkIrpPending(Irp)`.
pub(crate) unsafe extern "C" fn forget(_: PDEVICE_OBJECT, _: PIRP, _: PVOID) -> NTSTATUS {
    STATUS_SUCCESS
}
