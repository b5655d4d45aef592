//! Building a device's stack and starting it.

use alloc::string::String;
use alloc::vec::Vec;

use super::configure::filters;
use super::node::{self, Node, State};
use super::{resources, stack};
use crate::io::driver;
use crate::nt::*;
use crate::verifier::{Violation, balanced, violation};
use crate::{builtin, cm};

/// `SERVICE_DISABLED`.
const DISABLED: u32 = 4;

/// Builds the stack of a device and starts it; whether it is started.
///
/// # Safety
/// `pdo` has a node that was configured and has no stack. IRQL `PASSIVE_LEVEL`, serialized.
pub unsafe fn start(pdo: *mut DeviceObject) -> bool {
    let Some(node) = node::of(pdo) else { return false };
    let started = build(pdo, &node) && start_stack(pdo, &node);
    node::change(pdo, |node| node.state = if started { State::Started } else { State::Failed });
    started
}

/// The drivers of a device's stack as the registry has them now: lower filters, function driver, upper
/// filters, as NT orders them.
pub fn drivers(node: &Node) -> Vec<String> {
    let mut services = filters(node, "LowerFilters");
    services.extend(node.service.clone());
    services.extend(filters(node, "UpperFilters"));
    services
}

/// Calls AddDevice of every driver.
unsafe fn build(pdo: *mut DeviceObject, node: &Node) -> bool {
    let raw = node.capabilities.bits & CAP_RAW_DEVICE_OK != 0;
    if node.service.is_none() && !raw {
        return false;
    }
    for service in node.drivers.clone().unwrap_or_else(|| drivers(node)) {
        // One driver that cannot be had keeps its device from starting: a filter's absence is not passed
        // over.
        let Some(added) = driver_of(&service) else {
            crate::log!("{}: no driver {service}", node.instance);
            return false;
        };
        let Some(add_device) = (*(*added).driver_extension).add_device else {
            crate::log!("{}: {service} has no AddDevice", node.instance);
            return false;
        };
        let result = balanced("AddDevice", add_device as usize, || add_device(added, pdo));
        check_initialized(pdo, &service);
        if !status::success(result) {
            crate::log!("{}: AddDevice of {service} failed with {result:#x}", node.instance);
            return false;
        }
    }
    true
}

/// The driver of a service: loaded already, or loaded now unless it is disabled or failed before.
unsafe fn driver_of(service: &str) -> Option<*mut DriverObject> {
    if let Some(loaded) = driver::find(service) {
        return Some(loaded);
    }
    if let Some(driver) = builtin::load(service) {
        return Some(driver);
    }
    let start = cm::get(&alloc::format!("{}\\{service}", cm::SERVICES), "Start")
        .and_then(|value| value.as_dword())?;
    if start == DISABLED {
        return None;
    }
    driver::load(service).ok()
}

unsafe fn check_initialized(pdo: *mut DeviceObject, service: &str) {
    let mut device = pdo;
    while !device.is_null() {
        if (*device).flags & DO_DEVICE_INITIALIZING != 0 {
            violation(
                Violation::DeviceInitializingLeftSet,
                format_args!("driver={service} device={device:p}"),
            );
        }
        device = (*device).attached_device;
    }
}

/// Assigns the device its resources and starts the stack with them.
unsafe fn start_stack(pdo: *mut DeviceObject, node: &Node) -> bool {
    let Some(mut resources) = resources::assign(pdo) else {
        // Device Manager's code 12.
        crate::log!("{}: its resources cannot be had", node.instance);
        super::remove::remove_stack(pdo);
        return false;
    };
    let list = |bytes: &mut Vec<u8>| -> *mut CmResourceList {
        if bytes.is_empty() { core::ptr::null_mut() } else { bytes.as_mut_ptr().cast() }
    };
    let start_device = StartDevice {
        allocated_resources: list(&mut resources.raw),
        allocated_resources_translated: list(&mut resources.translated),
    };
    let result = stack::send(pdo, IRP_MN_START_DEVICE, Some(Parameters { start_device })).status;
    if !status::success(result) {
        crate::log!("{}: not started, {result:#x}", node.instance);
        super::remove::remove_stack(pdo);
        return false;
    }
    let capabilities = stack::capabilities(pdo);
    node::change(pdo, |node| node.capabilities = capabilities);
    stack::send(pdo, IRP_MN_QUERY_PNP_DEVICE_STATE, None);
    true
}

/// The drivers of a stack, bottom first, for reports.
///
/// # Safety
/// `pdo` is a device object.
pub unsafe fn describe(pdo: *mut DeviceObject) -> String {
    let mut text = String::new();
    let mut device = pdo;
    while !device.is_null() {
        if !text.is_empty() {
            text.push('+');
        }
        text.push_str(&driver::name_of((*device).driver_object));
        device = (*device).attached_device;
    }
    text
}
