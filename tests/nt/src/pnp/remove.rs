//! Removing devices: asked for, or found gone.

use alloc::vec::Vec;

use super::node::{self, State};
use super::{interface, stack, start};
use crate::io::{device, driver};
use crate::nt::*;
use crate::ob;
use crate::verifier::{Violation, violation};

/// A device is gone: its children first, surprise removal, then removal.
///
/// # Safety
/// `pdo` has a node. IRQL `PASSIVE_LEVEL`, serialized.
pub unsafe fn surprise(pdo: *mut DeviceObject) {
    for child in node::children(pdo) {
        surprise(child);
    }
    if node::of(pdo).is_some_and(|node| node.state == State::Started) {
        interface::disable_all(pdo);
        stack::send(pdo, IRP_MN_SURPRISE_REMOVAL, None);
    }
    forget(pdo);
}

/// Removes a device in order; whether its drivers agreed.
///
/// # Safety
/// As [`surprise`].
pub unsafe fn orderly(pdo: *mut DeviceObject) -> bool {
    for child in node::children(pdo) {
        if !orderly(child) {
            return false;
        }
    }
    if node::of(pdo).is_some_and(|node| node.state == State::Started) {
        if !status::success(stack::send(pdo, IRP_MN_QUERY_REMOVE_DEVICE, None).status) {
            stack::send(pdo, IRP_MN_CANCEL_REMOVE_DEVICE, None);
            return false;
        }
        interface::disable_all(pdo);
    }
    forget(pdo);
    true
}

unsafe fn forget(pdo: *mut DeviceObject) {
    remove_stack(pdo);
    node::take(pdo);
    ob::dereference(pdo.cast());
}

/// Sends the removal and sees that every driver detached. The PDO stays its bus driver's.
///
/// # Safety
/// `pdo` is a PDO that is referenced.
pub unsafe fn remove_stack(pdo: *mut DeviceObject) {
    let drivers = drivers_above(pdo);
    let devices = devices_above(pdo);
    stack::send(pdo, IRP_MN_REMOVE_DEVICE, None);
    for device in devices {
        device::check_deleted(device);
        ob::dereference(device.cast());
    }
    if !(*pdo).attached_device.is_null() {
        let stack = start::describe(pdo);
        violation(Violation::NoDetachAtRemoval, format_args!("stack={stack}"));
    }
    for gone in drivers {
        // A driver without devices is unloaded, as NT does with drivers that PnP loaded.
        if driver::loaded().iter().any(|(_, loaded)| *loaded == gone) && (*gone).device_object.is_null() {
            driver::unload(gone);
        }
    }
}

/// The devices attached to a PDO, each referenced.
unsafe fn devices_above(pdo: *mut DeviceObject) -> Vec<*mut DeviceObject> {
    let mut all = Vec::new();
    let mut device = (*pdo).attached_device;
    while !device.is_null() {
        ob::reference(device.cast());
        all.push(device);
        device = (*device).attached_device;
    }
    all
}

unsafe fn drivers_above(pdo: *mut DeviceObject) -> Vec<*mut DriverObject> {
    let mut all = Vec::new();
    let mut device = (*pdo).attached_device;
    while !device.is_null() {
        if !all.contains(&(*device).driver_object) {
            all.push((*device).driver_object);
        }
        device = (*device).attached_device;
    }
    all
}
