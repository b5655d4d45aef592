//! A disk that never answers a read: one on USB whose cable is loose, or an iSCSI unit whose host is gone. It has an
//! interface, a size, and nothing else.

use core::ptr::null_mut;

use alloc::boxed::Box;

use crate::nt::*;
use crate::storage::{fdo, irp as request_packet, policy, property};
use crate::{io, pnp};

struct Dead {
    lower: *mut DeviceObject,
    pdo: *mut DeviceObject,
}

/// Its size in bytes.
const BYTES: u64 = 1 << 30;

/// Has the disk arrive.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn arrive() {
    // A bus that qemu's disk emulation does not use.
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`.
    unsafe {
        pnp::add_root_device("USBSTOR", &["USBSTOR\\DiskDead", "DeadDisk"], &[], alloc::vec::Vec::new());
    }
}

/// Starts the driver: its DriverEntry.
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
        let functions = &mut (*driver).major_function;
        functions[usize::from(IRP_MJ_READ)] = Some(dispatch_read);
        functions[usize::from(IRP_MJ_DEVICE_CONTROL)] = Some(dispatch_device_control);
        status::SUCCESS
    }
}

unsafe fn extension_of<'a>(device: *mut DeviceObject) -> &'a mut Dead {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { &mut **(*device).device_extension.cast::<*mut Dead>() }
}

unsafe extern "win64" fn add_device(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus {
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        match fdo::attach(driver, pdo, FILE_DEVICE_DISK, null_mut()) {
            Ok((device, lower)) => {
                let extension = Box::into_raw(Box::new(Dead { lower, pdo }));
                fdo::initialized(device, lower, extension, DO_DIRECT_IO)
            }
            Err(status) => status,
        }
    }
}

unsafe extern "win64" fn dispatch_power(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe { policy::power(device, extension_of(device).lower, irp, policy::NOTHING) }
}

/// Takes a read, and that is the last that is heard of it.
unsafe extern "win64" fn dispatch_read(_: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    crate::report!("dead-disk read");
    // SAFETY: the caller keeps `irp` valid for this call.
    unsafe {
        mark_irp_pending(irp);
    }
    status::PENDING
}

unsafe extern "win64" fn dispatch_device_control(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    const FIXED_MEDIA: u32 = 12;
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let control = (*current_stack_location(irp)).parameters.device_io_control;
        let length = control.output_buffer_length as usize;
        let (found, information) = match control.io_control_code {
            property::IOCTL_DISK_GET_LENGTH_INFO => property::give(irp, &BYTES.to_le_bytes(), length, 8),
            property::IOCTL_DISK_GET_DRIVE_GEOMETRY => {
                let mut geometry = [0; 24];
                let rest = [FIXED_MEDIA, 255, 63, 512].map(u32::to_le_bytes);
                geometry[8..].copy_from_slice(rest.as_flattened());
                property::give(irp, &geometry, length, 24)
            }
            _ => return request_packet::pass_down(extension_of(device).lower, irp),
        };
        request_packet::complete(irp, found, information)
    }
}

unsafe extern "win64" fn dispatch_pnp(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let dead = extension_of(device);
        match (*current_stack_location(irp)).minor_function {
            IRP_MN_START_DEVICE => {
                let mut found = request_packet::forward_and_wait(dead.lower, irp);
                if status::success(found) {
                    let mut link = UnicodeString::EMPTY;
                    found = io::IoRegisterDeviceInterface(
                        dead.pdo,
                        &GUID_DEVINTERFACE_DISK,
                        null_mut(),
                        &raw mut link,
                    );
                    if status::success(found) {
                        found = io::IoSetDeviceInterfaceState(&raw mut link, TRUE);
                    }
                }
                request_packet::complete(irp, found, 0)
            }
            IRP_MN_REMOVE_DEVICE => {
                let lower = dead.lower;
                fdo::remove::<Dead>(device, lower, irp)
            }
            _ => fdo::pnp(dead.lower, irp),
        }
    }
}
