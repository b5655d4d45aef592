//! Shutdown notification.

use alloc::vec::Vec;

use super::irp::Request;
use crate::ke::Lock;
use crate::nt::*;
use crate::ob;

static REGISTERED: Lock<Vec<usize>> = Lock::new(Vec::new());
/// The devices that are told when file systems are gone.
static LAST_CHANCE: Lock<Vec<usize>> = Lock::new(Vec::new());

/// `IoRegisterShutdownNotification`: the device gets `IRP_MJ_SHUTDOWN`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe extern "win64" fn IoRegisterShutdownNotification(device: *mut DeviceObject) -> NtStatus {
    // SAFETY: by this function's contract, `device` is a device object.
    unsafe { register(&REGISTERED, device) }
}

/// `IoRegisterLastChanceShutdownNotification`: the device gets `IRP_MJ_SHUTDOWN` when file systems are gone. IRQL
/// `PASSIVE_LEVEL`.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe extern "win64" fn IoRegisterLastChanceShutdownNotification(
    device: *mut DeviceObject,
) -> NtStatus {
    // SAFETY: by this function's contract, `device` is a device object.
    unsafe { register(&LAST_CHANCE, device) }
}

unsafe fn register(list: &Lock<Vec<usize>>, device: *mut DeviceObject) -> NtStatus {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe {
        ob::reference(device.cast());
    }
    list.lock().push(device as usize);
    status::SUCCESS
}

/// `IoUnregisterShutdownNotification`: of either kind. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe extern "win64" fn IoUnregisterShutdownNotification(device: *mut DeviceObject) {
    for list in [&REGISTERED, &LAST_CHANCE] {
        let found = {
            let mut registered = list.lock();
            let at = registered.iter().position(|&other| other == device as usize);
            at.map(|at| registered.remove(at)).is_some()
        };
        if found {
            // SAFETY: by this function's contract, `device` is a device object.
            unsafe { ob::dereference(device.cast()) };
        }
    }
}

/// Sends the notifications, newest registration first, while registry and file systems are there.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`, once, when the system goes down.
pub(crate) unsafe fn notify() {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`, once, when the system goes down.
    unsafe { send_to(&REGISTERED) }
}

/// Sends the last notifications, newest registration first, when registry and file systems are gone.
///
/// # Safety
/// As [`notify`].
pub(crate) unsafe fn last_chance() {
    // SAFETY: by this function's contract, as for the other ones.
    unsafe { send_to(&LAST_CHANCE) }
}

unsafe fn send_to(list: &Lock<Vec<usize>>) {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`, once, when the system goes down.
    unsafe {
        loop {
            let device = list.lock().pop();
            let Some(device) = device.map(|device| device as *mut DeviceObject) else { break };
            let mut request = Request::new(IRP_MJ_SHUTDOWN, 0);
            request.status = status::SUCCESS;
            request.send(device);
            ob::dereference(device.cast());
        }
    }
}
