//! The states of devices: whether Device Manager may disable one (IRP_MN_QUERY_PNP_DEVICE_STATE), and the
//! special files that keep it from being stopped or removed (IRP_MN_DEVICE_USAGE_NOTIFICATION).

use alloc::vec::Vec;

use super::{node, serialized, stack};
use crate::ke::Lock;
use crate::nt::*;
use crate::{ex, ob};

/// `PNP_DEVICE_NOT_DISABLEABLE`.
const NOT_DISABLEABLE: usize = 0x20;

/// The state of each device that was asked again because its driver said so.
static STATES: Lock<Vec<(usize, usize)>> = Lock::new(Vec::new());

/// Asks a device for its state.
///
/// # Safety
/// `pdo` is a PDO with a started stack. IRQL `PASSIVE_LEVEL`, serialized.
pub(crate) unsafe fn query(pdo: *mut DeviceObject) {
    // SAFETY: by this function's contract, `pdo` is a PDO with a started stack. IRQL `PASSIVE_LEVEL`,
    // serialized.
    let answer = unsafe { stack::send(pdo, IRP_MN_QUERY_PNP_DEVICE_STATE, None) };
    let state = if status::success(answer.status) { answer.information } else { 0 };
    let mut states = STATES.lock();
    states.retain(|(known, _)| *known != pdo as usize);
    states.push((pdo as usize, state));
}

/// Returns true if Device Manager offers to disable the device.
pub(crate) fn may_be_disabled(pdo: *mut DeviceObject) -> bool {
    let states = STATES.lock();
    states
        .iter()
        .find(|(known, _)| *known == pdo as usize)
        .is_none_or(|(_, state)| state & NOT_DISABLEABLE == 0)
}

/// Tells a device that a special file comes to it, or goes from it. Returns its drivers' answer.
///
/// # Safety
/// `pdo` is a PDO with a started stack. IRQL `PASSIVE_LEVEL`, serialized.
pub(crate) unsafe fn use_for(pdo: *mut DeviceObject, kind: u32, comes: bool) -> NtStatus {
    let usage_notification = UsageNotification { in_path: comes.into(), reserved: [FALSE; 3], pad: 0, kind };
    // SAFETY: by this function's contract, `pdo` is a PDO with a started stack. IRQL `PASSIVE_LEVEL`,
    // serialized.
    unsafe {
        stack::send(pdo, IRP_MN_DEVICE_USAGE_NOTIFICATION, Some(Parameters { usage_notification })).status
    }
}

/// Asks a device's drivers to agree that it is stopped, or removed (`minor`), and cancels that. Returns true
/// if they agree.
///
/// # Safety
/// `pdo` is a PDO with a started stack. IRQL `PASSIVE_LEVEL`, serialized.
pub(crate) unsafe fn agree(pdo: *mut DeviceObject, minor: u8) -> bool {
    // SAFETY: by this function's contract, `pdo` is a PDO with a started stack. IRQL `PASSIVE_LEVEL`,
    // serialized.
    unsafe {
        let agreed = status::success(stack::send(pdo, minor, None).status);
        let cancel = match minor {
            IRP_MN_QUERY_STOP_DEVICE => IRP_MN_CANCEL_STOP_DEVICE,
            _ => IRP_MN_CANCEL_REMOVE_DEVICE,
        };
        stack::send(pdo, cancel, None);
        agreed
    }
}

unsafe extern "win64" fn ask_again(context: Pvoid) {
    let pdo: *mut DeviceObject = context.cast();
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        serialized(|| {
            if node::of(pdo).is_some_and(|node| node.state == node::State::Started) {
                query(pdo);
            }
        });
        ob::dereference(context);
    }
}

/// `IoInvalidateDeviceState`: the device is asked for its state, later, by a worker. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `pdo` is a PDO.
pub(crate) unsafe extern "win64" fn IoInvalidateDeviceState(pdo: *mut DeviceObject) {
    // SAFETY: by this function's contract, `pdo` is a PDO.
    unsafe {
        ob::reference(pdo.cast());
    }
    ex::worker::queue(ex::worker::Work { routine: ask_again, context: pdo.cast() });
}
