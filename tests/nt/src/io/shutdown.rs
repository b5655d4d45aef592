//! Shutdown notification.

use alloc::vec::Vec;

use super::irp::Request;
use crate::ke::Lock;
use crate::nt::*;
use crate::ob;

static REGISTERED: Lock<Vec<usize>> = Lock::new(Vec::new());

/// `IoRegisterShutdownNotification`: the device gets `IRP_MJ_SHUTDOWN`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe extern "win64" fn IoRegisterShutdownNotification(device: *mut DeviceObject) -> NtStatus {
    // SAFETY: by this function's contract, `device` is a device object.
    unsafe {
        ob::reference(device.cast());
    }
    REGISTERED.lock().push(device as usize);
    status::SUCCESS
}

/// `IoUnregisterShutdownNotification`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `device` is a device object.
pub(crate) unsafe extern "win64" fn IoUnregisterShutdownNotification(device: *mut DeviceObject) {
    let found = {
        let mut registered = REGISTERED.lock();
        let at = registered.iter().position(|&other| other == device as usize);
        at.map(|at| registered.remove(at)).is_some()
    };
    // SAFETY: by this function's contract, `device` is a device object.
    unsafe {
        if found {
            ob::dereference(device.cast());
        }
    }
}

/// Sends the notifications, newest registration first.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`, once, when the system goes down.
pub(crate) unsafe fn notify() {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`, once, when the system goes down.
    unsafe {
        loop {
            let device = REGISTERED.lock().pop();
            let Some(device) = device.map(|device| device as *mut DeviceObject) else { break };
            let mut request = Request::new(IRP_MJ_SHUTDOWN, 0);
            request.status = status::SUCCESS;
            request.send(device);
            ob::dereference(device.cast());
        }
    }
}
