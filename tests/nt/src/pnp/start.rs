//! Building a device's stack and starting it.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use super::configure::{self, filters};
use super::node::{self, Node, State};
use super::{resources, stack, start_override};
use crate::io::driver;
use crate::nt::*;
use crate::verifier::{Violation, balanced, violation};
use crate::{boot, builtin, cm};

/// `SERVICE_BOOT_START`.
const BOOT: u32 = 0;
/// `SERVICE_DISABLED`.
const DISABLED: u32 = 4;

/// Builds the stack of a device and starts it; whether it is started.
///
/// # Safety
/// `pdo` has a node that was configured and has no stack. IRQL `PASSIVE_LEVEL`, serialized.
pub(super) unsafe fn start(pdo: *mut DeviceObject) -> bool {
    let Some(node) = node::of(pdo) else { return false };
    // SAFETY: by this function's contract, `pdo` has a node that was configured and has no stack. IRQL
    // `PASSIVE_LEVEL`, serialized.
    let state = unsafe {
        match build(pdo, &node) {
            Built::Whole if start_stack(pdo, &node) => State::Started,
            Built::Whole | Built::Never => State::Failed,
            Built::Later => State::Enumerated,
        }
    };
    node::change(pdo, |node| node.state = state);
    state == State::Started
}

/// Tries again the devices whose drivers have been started meanwhile.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn try_waiting() {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`.
    unsafe {
        super::serialized(|| {
            for pdo in node::waiting() {
                if start(pdo) {
                    let node = node::of(pdo).expect("the node was just started");
                    crate::log!("started {} stack={}", node.instance, describe(pdo));
                    super::enumerate::enumerate(pdo);
                }
            }
        });
    }
}

/// The boot starts its drivers: a device waits for its function driver, and nothing is loaded from a disk.
static BOOTING: AtomicBool = AtomicBool::new(true);

/// Notes that every boot-start driver has been started.
pub(crate) fn boot_drivers_started() {
    BOOTING.store(false, Ordering::Relaxed);
}

/// Result of building a stack.
enum Built {
    /// Every driver's AddDevice was called.
    Whole,
    /// The boot tries again: the function driver is yet to start, or a filter's file could not be had.
    Later,
    /// The boot does not try again.
    Never,
}

/// Returns the drivers of a device's stack as the registry has them now: lower filters, function driver,
/// upper filters, as NT orders them.
pub(super) fn drivers(node: &Node) -> Vec<String> {
    let mut services = filters(node, "LowerFilters");
    services.extend(node.service.clone());
    services.extend(filters(node, "UpperFilters"));
    services
}

/// Has every driver of a device, loaded now where it is a filter of a later group; or why there is one missing.
/// A filter's absence is not passed over: one driver that cannot be had keeps its device from starting.
unsafe fn drivers_of(node: &Node) -> Result<Vec<(String, *mut DriverObject)>, Built> {
    let booting = BOOTING.load(Ordering::Relaxed);
    let mut all = Vec::new();
    // SAFETY: the caller is the thread that starts devices, at PASSIVE_LEVEL.
    unsafe {
        for service in drivers(node) {
            let is_function = node.service.as_ref() == Some(&service);
            if is_function && booting && is_to_come(&service) {
                return Err(Built::Later);
            }
            let Some(driver) = driver_of(&service) else {
                crate::log!("{}: no driver {service}", node.instance);
                // From NT 6.2 on a missing service is a problem that the device keeps, and of a disabled one it is
                // noted that it was tried; only a file that could not be had is looked for again.
                let start = start_of(&service);
                let gone = boot::options().nt.is_nt62() && (start.is_none() || start == Some(DISABLED));
                return Err(if booting && !is_function && !gone { Built::Later } else { Built::Never });
            };
            all.push((service, driver));
        }
    }
    Ok(all)
}

/// Returns true if a boot-start driver is still to be started.
fn is_to_come(service: &str) -> bool {
    if driver::find(service).is_some() || start_override::is_left_out(service) {
        return false;
    }
    builtin::is_to_come(service, &boot::options().late)
        || (start_of(service) == Some(BOOT) && crate::ldr::is_in_memory(&cm::service_file(service)))
}

fn start_of(service: &str) -> Option<u32> {
    cm::get(&alloc::format!("{}\\{service}", cm::SERVICES), "Start").and_then(|value| value.as_dword())
}

/// Calls AddDevice of every driver.
unsafe fn build(pdo: *mut DeviceObject, node: &Node) -> Built {
    if configure::is_disabled(node) {
        crate::log!("{}: disabled", node.instance);
        return Built::Never;
    }
    let raw = node.capabilities.bits & CAP_RAW_DEVICE_OK != 0;
    if node.service.is_none() && !raw {
        return Built::Never;
    }
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        let all = match drivers_of(node) {
            Ok(all) => all,
            Err(missing) => return missing,
        };
        for (service, added) in all {
            let Some(add_device) = (*(*added).driver_extension).add_device else {
                crate::log!("{}: {service} has no AddDevice", node.instance);
                return Built::Never;
            };
            let result = balanced("AddDevice", add_device as usize, || add_device(added, pdo));
            check_initialized(pdo, &service);
            if !status::success(result) {
                crate::log!("{}: AddDevice of {service} failed with {result:#x}", node.instance);
                // NT drops a filter's status, and builds the stack without it; only the function driver's ends it
                // (EVT_WDF_DRIVER_DEVICE_ADD, "Remarks").
                if node.service.as_deref() == Some(service.as_str()) {
                    return Built::Never;
                }
            }
        }
        Built::Whole
    }
}

/// Returns the driver of a service: loaded already, or loaded now unless it is disabled or failed before.
unsafe fn driver_of(service: &str) -> Option<*mut DriverObject> {
    if let Some(loaded) = driver::find(service) {
        return Some(loaded);
    }
    if start_override::is_left_out(service) {
        return None;
    }
    // SAFETY: the caller is the thread that starts devices, at PASSIVE_LEVEL.
    unsafe {
        if let Some(driver) = builtin::load(service) {
            return Some(driver);
        }
        if start_of(service)? == DISABLED {
            return None;
        }
        driver::load(service).ok()
    }
}

unsafe fn check_initialized(pdo: *mut DeviceObject, service: &str) {
    let mut device = pdo;
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
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
}

/// Assigns the device its resources and starts the stack with them.
unsafe fn start_stack(pdo: *mut DeviceObject, node: &Node) -> bool {
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
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
        super::device_state::query(pdo);
        true
    }
}

/// Returns the drivers of a stack, bottom first, for reports.
///
/// # Safety
/// `pdo` is a device object.
pub(super) unsafe fn describe(pdo: *mut DeviceObject) -> String {
    let mut text = String::new();
    let mut device = pdo;
    // SAFETY: by this function's contract, `pdo` is a device object.
    unsafe {
        while !device.is_null() {
            if !text.is_empty() {
                text.push('+');
            }
            text.push_str(&driver::name_of((*device).driver_object));
            device = (*device).attached_device;
        }
    }
    text
}
