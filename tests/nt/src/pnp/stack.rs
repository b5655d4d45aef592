//! Requests to a device's stack, and what they answer.

use alloc::string::String;
use alloc::vec::Vec;

use crate::ex::ExFreePoolWithTag;
use crate::io::irp::Request;
use crate::nt::*;
use crate::verifier::{Violation, violation};

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

/// Tells a device's stack of a system power state: IRP_MN_SET_POWER, which must reach the bus driver and may
/// not be failed.
///
/// # Safety
/// As [`send`].
pub(super) unsafe fn set_power(device: *mut DeviceObject, state: u32) {
    /// `PowerActionHibernate` and `PowerActionShutdownOff`.
    const HIBERNATE: u32 = 3;
    const SHUTDOWN_OFF: u32 = 6;
    let mut request = Request::new(IRP_MJ_POWER, IRP_MN_SET_POWER);
    // SAFETY: the caller keeps the contract of [`send`].
    unsafe {
        request.parameters.power = PowerParameters {
            kind: SYSTEM_POWER_STATE,
            state,
            shutdown_type: if state == POWER_SYSTEM_SHUTDOWN { SHUTDOWN_OFF } else { HIBERNATE },
            ..core::mem::zeroed()
        };
        let (answer, reached_bottom) = request.send(device);
        if !status::success(answer.status) || !reached_bottom {
            let (stack, status) = (super::start::describe(device), answer.status);
            violation(
                Violation::IrpNotForwarded,
                format_args!("major=0x16 minor=0x2 status={status:#x} stack={stack}"),
            );
        }
    }
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
