//! Requests to a device's stack, and what they answer.

use alloc::string::String;
use alloc::vec::Vec;

use crate::ex::ExFreePoolWithTag;
use crate::io::irp::Request;
use crate::nt::*;
use crate::verifier::{Violation, violation};
use crate::{io, ke, po};

/// Requests that every driver must pass down to its bus unless it fails them (WDK, "Rules for Handling PnP
/// IRPs").
const PASSED_DOWN: [u8; 8] = [
    IRP_MN_START_DEVICE,
    IRP_MN_QUERY_STOP_DEVICE,
    IRP_MN_STOP_DEVICE,
    IRP_MN_CANCEL_STOP_DEVICE,
    IRP_MN_QUERY_REMOVE_DEVICE,
    IRP_MN_REMOVE_DEVICE,
    IRP_MN_CANCEL_REMOVE_DEVICE,
    IRP_MN_SURPRISE_REMOVAL,
];

/// Sends a PnP request and returns status and information. One that must reach the bus driver and was
/// completed with success above it is a violation.
///
/// # Safety
/// `device` is a device object; the parameters are valid for the request. IRQL `PASSIVE_LEVEL`.
pub(super) unsafe fn send(
    device: *mut DeviceObject,
    minor: u8,
    parameters: Option<Parameters>,
) -> IoStatusBlock {
    let mut request = Request::new(IRP_MJ_PNP, minor);
    if let Some(parameters) = parameters {
        request.parameters = parameters;
    }
    // SAFETY: by this function's contract, `device` is a device object; the parameters are valid for the
    // request. IRQL `PASSIVE_LEVEL`.
    unsafe {
        let (answer, reached_bottom) = request.send(device);
        if status::success(answer.status) && !reached_bottom && PASSED_DOWN.contains(&minor) {
            let stack = super::start::describe(device);
            violation(Violation::IrpNotForwarded, format_args!("minor={minor:#x} stack={stack}"));
        }
        answer
    }
}

/// Has a device's drivers change what it requires: `list` in pool, or another in its place. As NT 5.2 the
/// request begins as a success with the list as its answer; as a later one it begins unanswered, with the list
/// among its parameters alone. Which of the two NT does is not documented.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn filter_requirements(device: *mut DeviceObject, list: usize) -> usize {
    let mut request = Request::new(IRP_MJ_PNP, IRP_MN_FILTER_RESOURCE_REQUIREMENTS);
    request.parameters.filter_resource_requirements = OneArgument { argument: list as Pvoid };
    let answered = crate::boot::options().nt == crate::boot::Profile::Nt52;
    if answered {
        (request.status, request.information) = (status::SUCCESS, list);
    }
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        let (answer, _) = request.send(device);
        if !status::success(answer.status) || answer.information == 0 {
            return list;
        }
        if !answered && answer.information != list {
            ExFreePoolWithTag(list as Pvoid, 0);
        }
        answer.information
    }
}

/// Time that a device may take to its working state after its system request is completed, in milliseconds.
const WAKING: u64 = 20_000;

/// Sends IRP_MN_SET_POWER or IRP_MN_QUERY_POWER with a system power state. Returns its status, and true if it
/// reached the bus driver.
unsafe fn system_power(device: *mut DeviceObject, minor: u8, state: u32) -> (NtStatus, bool) {
    let mut request = Request::new(IRP_MJ_POWER, minor);
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        request.parameters.power = PowerParameters {
            kind: SYSTEM_POWER_STATE,
            state,
            shutdown_type: po::action(),
            ..core::mem::zeroed()
        };
        po::beginning(io::top_of(device), SYSTEM_POWER_STATE);
        let (answer, reached_bottom) = request.send(device);
        po::check_started(device, SYSTEM_POWER_STATE);
        (answer.status, reached_bottom)
    }
}

/// Asks a device's stack whether the system may go to a state. Returns false if a driver objects.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn query_power(device: *mut DeviceObject, state: u32) -> bool {
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        let (status, reached_bottom) = system_power(device, IRP_MN_QUERY_POWER, state);
        if status::success(status) && !reached_bottom {
            let stack = super::start::describe(device);
            violation(Violation::IrpNotForwarded, format_args!("major=0x16 minor=0x3 stack={stack}"));
        }
        status::success(status)
    }
}

/// Tells a device's stack of a system power state: IRP_MN_SET_POWER, which must reach the bus driver and may
/// not be failed. The owner of the device's power policy, which its function driver is, answers it with a request
/// for the device's state that belongs to it; a device that sleeps does so before the system's request is
/// completed (WDK, "Sending a Device Set-Power IRP in Response to a System Set-Power IRP").
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn set_power(device: *mut DeviceObject, state: u32) {
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        let before = po::requests(device);
        let (status, reached_bottom) = system_power(device, IRP_MN_SET_POWER, state);
        if !status::success(status) || !reached_bottom {
            let stack = super::start::describe(device);
            violation(
                Violation::IrpNotForwarded,
                format_args!("major=0x16 minor=0x2 status={status:#x} stack={stack}"),
            );
        }
        let Some((_, wanted)) = owner(device, state) else { return };
        let after = po::requests(device);
        let asked = after.asked != before.asked && after.state == wanted;
        if !asked || (state != POWER_SYSTEM_WORKING && after.done != after.asked) {
            let (stack, done) = (super::start::describe(device), after.done);
            violation(
                Violation::DevicePowerNotRequested,
                format_args!(
                    "system={state} device={wanted} asked={} done={done} stack={stack}",
                    after.asked - before.asked
                ),
            );
        }
    }
}

/// Checks, when the whole system has been set to a state, that a device is in the one that belongs to it, and that
/// its function driver and its bus driver have told so. PASSIVE_LEVEL.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn check_power(device: *mut DeviceObject, state: u32) {
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        let Some((fdo, wanted)) = owner(device, state) else { return };
        let done = || po::requests(device).done == po::requests(device).asked;
        for _ in 0..WAKING / 10 {
            if done() {
                break;
            }
            ke::delay(10);
        }
        for of in [fdo, device] {
            let told = po::state(of);
            if told != wanted || !done() {
                let (stack, driver) =
                    (super::start::describe(device), io::driver::name_of((*of).driver_object));
                violation(
                    Violation::PowerStateNotTold,
                    format_args!("system={state} device={wanted} told={told} driver={driver} stack={stack}"),
                );
            }
        }
    }
}

/// Returns the device object of the function driver, which owns the device's power policy, and the device state
/// that belongs to a system state. `None` for a device that works without a function driver.
unsafe fn owner(pdo: *mut DeviceObject, state: u32) -> Option<(*mut DeviceObject, u32)> {
    let node = super::node::of(pdo)?;
    let driver = io::driver::find(node.service.as_deref()?)?;
    let mut fdo = pdo;
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        while !fdo.is_null() && ((*fdo).driver_object != driver || fdo == pdo) {
            fdo = (*fdo).attached_device;
        }
    }
    (!fdo.is_null()).then_some((fdo, node.capabilities.device_state[state as usize]))
}

unsafe fn freed<T>(answer: IoStatusBlock, read: impl FnOnce(*const u16) -> T) -> Option<T> {
    if !status::success(answer.status) || answer.information == 0 {
        return None;
    }
    let value = read(answer.information as *const u16);
    // SAFETY: the answer holds paged pool that the driver hands over, or nothing.
    unsafe {
        ExFreePoolWithTag(answer.information as Pvoid, 0);
    }
    Some(value)
}

unsafe fn units<'a>(text: *const u16) -> &'a [u16] {
    // SAFETY: the caller keeps `text` valid for this call.
    unsafe {
        let length = (0..).take_while(|&i| *text.add(i) != 0).count();
        core::slice::from_raw_parts(text, length)
    }
}

unsafe fn one(text: *const u16) -> String {
    // SAFETY: the caller keeps `text` valid for this call.
    unsafe { String::from_utf16_lossy(units(text)) }
}

unsafe fn many(mut text: *const u16) -> Vec<String> {
    let mut all = Vec::new();
    // SAFETY: the caller keeps `text` valid for this call.
    unsafe {
        while *text != 0 {
            let string = units(text);
            text = text.add(string.len() + 1);
            all.push(String::from_utf16_lossy(string));
        }
    }
    all
}

fn id_type(id_type: u32) -> Option<Parameters> {
    Some(Parameters { query_id: QueryId { id_type } })
}

/// Returns an id that is one string.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn id(device: *mut DeviceObject, kind: u32) -> Option<String> {
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe { freed(send(device, IRP_MN_QUERY_ID, id_type(kind)), |text| one(text)) }
}

/// Ids that are a list.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn ids(device: *mut DeviceObject, kind: u32) -> Vec<String> {
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe { freed(send(device, IRP_MN_QUERY_ID, id_type(kind)), |text| many(text)).unwrap_or_default() }
}

/// Returns a text about the device.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn text(device: *mut DeviceObject, text_type: u32) -> String {
    let query_device_text = QueryDeviceText { text_type, pad: 0, locale_id: 0x409 };
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        let answer = send(device, IRP_MN_QUERY_DEVICE_TEXT, Some(Parameters { query_device_text }));
        freed(answer, |text| one(text)).unwrap_or_default()
    }
}

/// Returns the device's capabilities, as the WDK says to ask for them.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn capabilities(device: *mut DeviceObject) -> DeviceCapabilities {
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        let mut capabilities: DeviceCapabilities = core::mem::zeroed();
        capabilities.size = size_of::<DeviceCapabilities>() as u16;
        capabilities.version = 1;
        capabilities.address = u32::MAX;
        capabilities.ui_number = u32::MAX;
        let device_capabilities = QueryCapabilities { capabilities: &raw mut capabilities };
        send(device, IRP_MN_QUERY_CAPABILITIES, Some(Parameters { device_capabilities }));
        capabilities
    }
}

/// Returns the bus the device is on.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn bus(device: *mut DeviceObject) -> Option<(Guid, i32, u32)> {
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        freed(send(device, IRP_MN_QUERY_BUS_INFORMATION, None), |answer| {
            let bus = &*answer.cast::<PnpBusInformation>();
            (bus.bus_type_guid, bus.legacy_bus_type, bus.bus_number)
        })
    }
}

/// Returns the devices of a relation, each with a reference that is the caller's; `None` where the stack does
/// not answer.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn relations(device: *mut DeviceObject, kind: u32) -> Option<Vec<*mut DeviceObject>> {
    let query_device_relations = QueryDeviceRelations { kind };
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        let answer = send(device, IRP_MN_QUERY_DEVICE_RELATIONS, Some(Parameters { query_device_relations }));
        freed(answer, |relations| {
            let relations = relations.cast::<DeviceRelations>();
            let first: *const *mut DeviceObject = (&raw const (*relations).objects).cast();
            core::slice::from_raw_parts(first, (*relations).count as usize).to_vec()
        })
    }
}
