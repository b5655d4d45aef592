//! A driver's request that a device be ejected: it is carried out later, by a worker.

use alloc::boxed::Box;

use super::{IoInvalidateDeviceRelations, node, remove, serialized};
use crate::nt::*;
use crate::{ex, ob, report};

/// `IO_DEVICE_EJECT_CALLBACK`.
type Answered = unsafe extern "win64" fn(status: NtStatus, context: Pvoid);

struct Request {
    pdo: *mut DeviceObject,
    answered: Option<Answered>,
    context: Pvoid,
}

/// `IoRequestDeviceEject`. The driver hears nothing of the outcome. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `pdo` is a PDO.
pub(crate) unsafe extern "win64" fn IoRequestDeviceEject(pdo: *mut DeviceObject) {
    // SAFETY: by this function's contract, `pdo` is a PDO.
    unsafe { queue(Request { pdo, answered: None, context: core::ptr::null_mut() }) };
}

/// `IoRequestDeviceEjectEx` (NT 6.2): the driver is told of the outcome at `PASSIVE_LEVEL`, and stays loaded until
/// then. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `pdo` is a PDO; `answered` is a routine of `driver`'s.
pub(crate) unsafe extern "win64" fn IoRequestDeviceEjectEx(
    pdo: *mut DeviceObject,
    answered: Option<Answered>,
    context: Pvoid,
    driver: *mut DriverObject,
) -> NtStatus {
    if answered.is_some() && driver.is_null() {
        return status::INVALID_PARAMETER;
    }
    // SAFETY: by this function's contract, `pdo` is a PDO.
    unsafe { queue(Request { pdo, answered, context }) };
    status::SUCCESS
}

unsafe fn queue(request: Request) {
    // SAFETY: the caller's, a PDO; the worker takes the box and the reference over.
    unsafe {
        ob::reference(request.pdo.cast());
        let context = Box::into_raw(Box::new(request)).cast();
        ex::worker::queue(ex::worker::Work { routine: eject, context });
    }
}

unsafe extern "win64" fn eject(context: Pvoid) {
    // SAFETY: the context is a request's box, whose PDO is referenced.
    unsafe {
        let Request { pdo, answered, context } = *Box::from_raw(context.cast::<Request>());
        let parent = node::of(pdo).map(|node| node.parent as *mut DeviceObject);
        let found = serialized(|| remove::eject(pdo));
        report!("ejected status={found:#x}");
        if let Some(answered) = answered {
            answered(found, context);
        }
        // The bus is asked whether the device is gone.
        if let Some(parent) = parent.filter(|parent| status::success(found) && !parent.is_null()) {
            IoInvalidateDeviceRelations(parent, BUS_RELATIONS);
        }
        ob::dereference(pdo.cast());
    }
}
