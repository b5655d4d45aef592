//! A channel's FDO, whose children are its drives (`atapi` on NT).

use core::ptr::null_mut;

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::channel::Channel;
use super::controller;
use super::drive::{self, Drive};
use crate::nt::*;
use crate::storage::{child, fdo, irp as request_packet, policy};

/// The structure behind the device extension of one of this driver's devices.
enum Extension {
    Port(Port),
    Drive(*mut Drive),
}

struct Port {
    device: *mut DeviceObject,
    lower: *mut DeviceObject,
    pdo: *mut DeviceObject,
    /// From START on; its thread holds its address.
    channel: Option<Box<Channel>>,
    #[expect(clippy::vec_box, reason = "the drive's PDO holds its address")]
    drives: Vec<Box<Drive>>,
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
        functions[usize::from(IRP_MJ_SCSI)] = Some(dispatch_scsi);
        functions[usize::from(IRP_MJ_DEVICE_CONTROL)] = Some(dispatch_device_control);
        status::SUCCESS
    }
}

unsafe fn extension_of<'a>(device: *mut DeviceObject) -> &'a mut Extension {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { &mut **(*device).device_extension.cast::<*mut Extension>() }
}

unsafe extern "win64" fn add_device(driver: *mut DriverObject, pdo: *mut DeviceObject) -> NtStatus {
    // SAFETY: the caller keeps `driver` and `pdo` valid for this call.
    unsafe {
        let (device, lower) = match fdo::attach(driver, pdo, FILE_DEVICE_CONTROLLER, null_mut()) {
            Ok(attached) => attached,
            Err(status) => return status,
        };
        let port = Port { device, lower, pdo, channel: None, drives: Vec::new() };
        let extension = Box::into_raw(Box::new(Extension::Port(port)));
        fdo::initialized(device, lower, extension, 0)
    }
}

unsafe extern "win64" fn dispatch_scsi(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Drive(drive) => drive::scsi(*drive, irp),
            Extension::Port(_) => request_packet::complete(irp, status::INVALID_DEVICE_REQUEST, 0),
        }
    }
}

unsafe extern "win64" fn dispatch_device_control(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Drive(drive) => drive::device_control(*drive, irp),
            Extension::Port(port) => request_packet::pass_down(port.lower, irp),
        }
    }
}

unsafe extern "win64" fn dispatch_power(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        match extension_of(device) {
            Extension::Drive(_) => child::power(device, irp),
            Extension::Port(port) => policy::power(device, port.lower, irp, policy::NOTHING),
        }
    }
}

unsafe extern "win64" fn dispatch_pnp(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps `device` and `irp` valid for this call.
    unsafe {
        let port = match extension_of(device) {
            Extension::Drive(drive) => return drive::pnp(*drive, irp),
            Extension::Port(port) => port,
        };
        let location = current_stack_location(irp);
        let lower = port.lower;
        match (*location).minor_function {
            IRP_MN_START_DEVICE => {
                let mut found = request_packet::forward_and_wait(lower, irp);
                if status::success(found) && port.channel.is_none() {
                    found = start(port);
                }
                request_packet::complete(irp, found, 0)
            }
            _ if fdo::asks_for_children(irp) => {
                let devices: Vec<_> = port.drives.iter().map(|drive| drive.device).collect();
                fdo::children(lower, irp, &devices)
            }
            IRP_MN_REMOVE_DEVICE => {
                remove(port);
                fdo::remove::<Extension>(device, lower, irp)
            }
            _ => fdo::pnp(lower, irp),
        }
    }
}

/// Looks for drives, makes their PDOs and starts the channel. PASSIVE_LEVEL.
unsafe fn start(port: &mut Port) -> NtStatus {
    // SAFETY: the port's PDO stays until it is removed.
    unsafe {
        let Some(place) = controller::place_of(port.pdo) else { return status::NO_SUCH_DEVICE };
        let mut channel = Channel::new(place.number, place.bus_master);
        let found = channel.identify();
        let started = channel.start();
        if !status::success(started) {
            return started;
        }
        let at = &raw mut *channel;
        for (drive, identify) in (0..2).zip(found) {
            let Some(identify) = identify else { continue };
            let extension = |drive| Box::into_raw(Box::new(Extension::Drive(drive))) as usize;
            port.drives.extend(Drive::create((*port.device).driver_object, at, drive, identify, extension));
        }
        port.channel = Some(channel);
        status::SUCCESS
    }
}

/// Ends the channel and deletes the drives' PDOs, which PnP has removed.
unsafe fn remove(port: &mut Port) {
    // SAFETY: PnP has removed the drives: nothing refers to their PDOs any more.
    unsafe {
        if let Some(channel) = &mut port.channel {
            channel.end();
        }
        for drive in port.drives.drain(..) {
            let extension = (*drive.device).device_extension.cast::<*mut Extension>().read();
            drive::delete(drive);
            drop(Box::from_raw(extension));
        }
    }
}
