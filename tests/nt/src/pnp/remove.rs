//! Removing devices: asked for, or found gone.

use alloc::vec::Vec;

use super::node::{self, State};
use super::{interface, stack, start};
use crate::io::{device, driver};
use crate::ke;
use crate::mountmgr;
use crate::nt::*;
use crate::ob;
use crate::verifier::{Violation, violation};

/// Time that handles of a device that is gone may stay open, in milliseconds: whoever has them sees every
/// request fail, and is told of the removal.
const HANDLE_LIMIT: u64 = 30_000;
const HANDLE_LOOK: u64 = 20;

/// Removes a device that is gone. It and its descendants are told by a surprise removal, children first; the
/// removal itself waits until every handle has been closed (WDK, "Handling an IRP_MN_SURPRISE_REMOVAL
/// Request": the PnP manager sends IRP_MN_REMOVE_DEVICE when there are no open handles left).
///
/// # Safety
/// `pdo` has a node. IRQL `PASSIVE_LEVEL`, serialized.
pub(super) unsafe fn surprise(pdo: *mut DeviceObject) {
    // SAFETY: by this function's contract, `pdo` has a node. IRQL `PASSIVE_LEVEL`, serialized.
    unsafe {
        tell(pdo);
        remove(pdo);
    }
}

unsafe fn tell(pdo: *mut DeviceObject) {
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        for child in node::children(pdo) {
            tell(child);
        }
        if node::of(pdo).is_some_and(|node| node.state == State::Started) {
            interface::disable_all(pdo);
            stack::send(pdo, IRP_MN_SURPRISE_REMOVAL, None);
        }
    }
}

unsafe fn remove(pdo: *mut DeviceObject) {
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        for child in node::children(pdo) {
            remove(child);
        }
        for _ in 0..HANDLE_LIMIT / HANDLE_LOOK {
            if !is_open(pdo) {
                return forget(pdo);
            }
            ke::delay(HANDLE_LOOK);
        }
        ke::panicked(format_args!("handles of {} stay open", start::describe(pdo)));
    }
}

/// Returns true if a device of the stack is open.
unsafe fn is_open(pdo: *mut DeviceObject) -> bool {
    let mut device = pdo;
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        while !device.is_null() {
            if (*device).reference_count != 0 {
                return true;
            }
            device = (*device).attached_device;
        }
    }
    false
}

/// Removes a device in order; whether everybody agreed.
///
/// # Safety
/// As [`surprise`].
pub(super) unsafe fn orderly(pdo: *mut DeviceObject) -> bool {
    // SAFETY: the caller keeps the contract of [`surprise`].
    unsafe {
        let agreed = query(pdo);
        if agreed {
            leave(pdo);
        }
        agreed
    }
}

/// Ejects a device (documentation of IoRequestDeviceEject): asks everybody, removes it and its descendants in
/// order, and has its bus eject it where that can. It is held from then on: it is not started again before its bus
/// has reported it missing.
///
/// # Safety
/// As [`surprise`].
pub(super) unsafe fn eject(pdo: *mut DeviceObject) -> NtStatus {
    let Some(node) = node::of(pdo).filter(|node| node.state == State::Started) else {
        return status::NO_SUCH_DEVICE;
    };
    // What NT does with a device of neither kind is not documented.
    if node.capabilities.bits & (CAP_REMOVABLE | CAP_EJECT_SUPPORTED) == 0 {
        return status::INVALID_DEVICE_REQUEST;
    }
    // SAFETY: the caller keeps the contract of [`surprise`].
    unsafe {
        if !query(pdo) {
            return status::PLUGPLAY_QUERY_VETOED;
        }
        node::children(pdo).into_iter().for_each(|child| leave(child));
        interface::disable_all(pdo);
        remove_stack(pdo);
        node::change(pdo, |node| node.state = State::Failed);
        if node.capabilities.bits & CAP_EJECT_SUPPORTED != 0 {
            stack::send(pdo, IRP_MN_EJECT, None);
        }
    }
    status::SUCCESS
}

/// Asks a device and its descendants whether they may be removed, children first: the file system that is mounted on
/// one, then its drivers. An open handle forbids it, too. Where somebody does, all who were asked are told
/// that it is cancelled.
unsafe fn query(pdo: *mut DeviceObject) -> bool {
    let mut order = Vec::new();
    started_below(pdo, &mut order);
    // SAFETY: the devices have nodes, and nothing changes the tree meanwhile.
    unsafe {
        for (at, &device) in order.iter().enumerate() {
            let agreed = mountmgr::query_removal(device)
                && status::success(stack::send(device, IRP_MN_QUERY_REMOVE_DEVICE, None).status)
                && !is_open(device);
            if !agreed {
                crate::log!("removal vetoed at {}", start::describe(device));
                for &asked in order[..=at].iter().rev() {
                    stack::send(asked, IRP_MN_CANCEL_REMOVE_DEVICE, None);
                    mountmgr::cancel_removal(asked);
                }
                return false;
            }
        }
    }
    true
}

/// Adds a device and its descendants, as far as they are started, children first.
fn started_below(pdo: *mut DeviceObject, order: &mut Vec<*mut DeviceObject>) {
    node::children(pdo).into_iter().for_each(|child| started_below(child, order));
    if node::of(pdo).is_some_and(|node| node.state == State::Started) {
        order.push(pdo);
    }
}

/// Removes a device that everybody agreed to remove, after its descendants.
unsafe fn leave(pdo: *mut DeviceObject) {
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        node::children(pdo).into_iter().for_each(|child| leave(child));
        if node::of(pdo).is_some_and(|node| node.state == State::Started) {
            interface::disable_all(pdo);
        }
        forget(pdo);
    }
}

unsafe fn forget(pdo: *mut DeviceObject) {
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        remove_stack(pdo);
        node::take(pdo);
        ob::dereference(pdo.cast());
    }
}

/// Sends the removal and sees that every driver detached. The PDO stays its bus driver's.
///
/// # Safety
/// `pdo` is a PDO that is referenced.
pub(super) unsafe fn remove_stack(pdo: *mut DeviceObject) {
    // SAFETY: by this function's contract, `pdo` is a PDO that is referenced.
    unsafe {
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
}

/// Returns the devices attached to a PDO, each referenced.
unsafe fn devices_above(pdo: *mut DeviceObject) -> Vec<*mut DeviceObject> {
    let mut all = Vec::new();
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        let mut device = (*pdo).attached_device;
        while !device.is_null() {
            ob::reference(device.cast());
            all.push(device);
            device = (*device).attached_device;
        }
        all
    }
}

unsafe fn drivers_above(pdo: *mut DeviceObject) -> Vec<*mut DriverObject> {
    let mut all = Vec::new();
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        let mut device = (*pdo).attached_device;
        while !device.is_null() {
            if !all.contains(&(*device).driver_object) {
                all.push((*device).driver_object);
            }
            device = (*device).attached_device;
        }
        all
    }
}
