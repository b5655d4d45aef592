//! Drivers of the storage controllers other than IDE (`storahci`, `lsi_scsi` and `stornvme` on NT): each
//! starts, and finds no disk. So a start that is refused shows, and one that should have been.

use core::ptr::null_mut;

use alloc::boxed::Box;

use super::{fdo, irp as request_packet, policy};
use crate::nt::*;

/// A controller: the device below it.
struct Controller(*mut DeviceObject);

/// Starts one of these drivers: their DriverEntry.
///
/// # Safety
/// Called by the I/O manager with the driver object.
pub(crate) unsafe extern "win64" fn driver_entry(
    driver: *mut DriverObject,
    _: *mut UnicodeString,
) -> NtStatus {
    // SAFETY: by this function's contract, it is called by the I/O manager with the driver object.
    unsafe {
        fdo::describe(driver, add_device, dispatch_pnp, dispatch_power);
    }
    status::SUCCESS
}

unsafe extern "win64" fn add_device(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus {
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        let (device, lower) = match fdo::attach(driver, pdo, FILE_DEVICE_CONTROLLER, null_mut()) {
            Ok(attached) => attached,
            Err(status) => return status,
        };
        fdo::initialized(device, lower, Box::into_raw(Box::new(Controller(lower))), 0)
    }
}

unsafe fn lower(device: *mut DeviceObject) -> *mut DeviceObject {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { (**(*device).device_extension.cast::<*mut Controller>()).0 }
}

unsafe extern "win64" fn dispatch_power(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe { policy::power(device, lower(device), irp, policy::NOTHING) }
}

unsafe extern "win64" fn dispatch_pnp(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let lower = lower(device);
        match (*current_stack_location(irp)).minor_function {
            IRP_MN_START_DEVICE => {
                let found = request_packet::forward_and_wait(lower, irp);
                request_packet::complete(irp, found, 0)
            }
            _ if fdo::asks_for_children(irp) => fdo::children(lower, irp, &[]),
            IRP_MN_REMOVE_DEVICE => fdo::remove::<Controller>(device, lower, irp),
            _ => fdo::pnp(lower, irp),
        }
    }
}
