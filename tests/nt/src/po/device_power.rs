//! Device power requests, which the owner of a device's power policy asks for.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::sync::atomic::{AtomicU32, Ordering};

use super::state::{beginning, check_started};
use crate::boot;
use crate::ex::worker::{self, Work};
use crate::io;
use crate::ke::{Lock, irql};
use crate::nt::*;

/// `POWER_ACTION` of the state that the system is going to, which every power request carries.
static ACTION: AtomicU32 = AtomicU32::new(0);

/// Notes the action that the power requests of now are part of.
pub(crate) fn set_action(action: u32) {
    ACTION.store(action, Ordering::Release);
}

/// Returns the action that the power requests of now are part of.
pub(crate) fn action() -> u32 {
    ACTION.load(Ordering::Acquire)
}

/// The requests that a device's drivers have asked for to set its state.
#[derive(Clone, Copy, Default)]
pub(crate) struct Requests {
    /// Number of requests.
    pub asked: u32,
    /// Number of those that are completed.
    pub done: u32,
    /// The state of the last one.
    pub state: u32,
}

/// By the address of the PDO.
static REQUESTS: Lock<BTreeMap<usize, Requests>> = Lock::new(BTreeMap::new());

/// Returns the requests for a device, by its PDO.
pub(crate) fn requests(pdo: *mut DeviceObject) -> Requests {
    REQUESTS.lock().get(&(pdo as usize)).copied().unwrap_or_default()
}

/// `REQUEST_POWER_COMPLETE`.
type Completed = unsafe extern "win64" fn(
    device: *mut DeviceObject,
    minor: u8,
    state: u32,
    context: Pvoid,
    result: *mut IoStatusBlock,
);

/// A request on its way.
struct Asked {
    irp: *mut Irp,
    device: *mut DeviceObject,
    minor: u8,
    state: u32,
    completed: Option<Completed>,
    context: Pvoid,
}

/// `PoRequestPowerIrp`: sends a device power request to the top of a device's stack. Before NT 6.0 it is sent, and
/// may be completed, before this returns; later versions have a worker send it. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `device` is a device object; `completed` may be called with `context`.
pub(crate) unsafe extern "win64" fn PoRequestPowerIrp(
    device: *mut DeviceObject,
    minor: u8,
    state: u32,
    completed: Option<Completed>,
    context: Pvoid,
    irp: *mut *mut Irp,
) -> NtStatus {
    if !matches!(minor, IRP_MN_SET_POWER | IRP_MN_QUERY_POWER) || !irp.is_null() {
        return status::INVALID_PARAMETER;
    }
    // SAFETY: by this function's contract, `device` is a device object.
    unsafe {
        let top = io::top_of(device);
        let packet = io::irp::allocate((*top).stack_size, 0);
        if packet.is_null() {
            return status::INSUFFICIENT_RESOURCES;
        }
        let asked = Box::into_raw(Box::new(Asked { irp: packet, device, minor, state, completed, context }));
        (*packet).io_status = IoStatusBlock::new(status::NOT_SUPPORTED, 0);
        let location = next_stack_location(packet);
        (*location).major_function = IRP_MJ_POWER;
        (*location).minor_function = minor;
        (*location).parameters.power = PowerParameters {
            kind: DEVICE_POWER_STATE,
            state,
            shutdown_type: action(),
            ..core::mem::zeroed()
        };
        set_completion_routine(packet, done, asked.cast());
        if minor == IRP_MN_SET_POWER {
            let pdo = io::bottom_of(device) as usize;
            let mut all = REQUESTS.lock();
            let requests = all.entry(pdo).or_default();
            (requests.asked, requests.state) = (requests.asked + 1, state);
        }
        let level = irql::current();
        let pagable = (*top).flags & DO_POWER_PAGABLE != 0;
        if boot::options().nt == boot::Profile::Nt52 && (level == PASSIVE_LEVEL || !pagable) {
            send(asked.cast());
        } else {
            worker::queue(Work { routine: send, context: asked.cast() });
        }
    }
    status::PENDING
}

/// Sends the request, at `DISPATCH_LEVEL` where the device's flags do not say that it must not be.
unsafe extern "win64" fn send(asked: Pvoid) {
    // SAFETY: the request is on its way, and its completion routine frees what belongs to it.
    unsafe {
        let Asked { irp, device, .. } = *asked.cast::<Asked>();
        let top = io::top_of(device);
        beginning(top, DEVICE_POWER_STATE);
        let raise = (*top).flags & DO_POWER_PAGABLE == 0 && irql::current() < DISPATCH_LEVEL;
        let before = raise.then(|| irql::raise(DISPATCH_LEVEL));
        io::IofCallDriver(top, irp);
        if let Some(before) = before {
            irql::lower(before);
        }
    }
}

/// Completes the request: the one that asked for it is told.
unsafe extern "win64" fn done(_: *mut DeviceObject, irp: *mut Irp, asked: Pvoid) -> NtStatus {
    // SAFETY: the box of `PoRequestPowerIrp`, handed over once.
    unsafe {
        let asked = Box::from_raw(asked.cast::<Asked>());
        let Asked { device, minor, state, completed, context, .. } = *asked;
        check_started(device, DEVICE_POWER_STATE);
        if minor == IRP_MN_SET_POWER {
            let pdo = io::bottom_of(device) as usize;
            REQUESTS.lock().entry(pdo).or_default().done += 1;
        }
        if let Some(completed) = completed {
            let mut result = (*irp).io_status;
            completed(device, minor, state, context, &raw mut result);
        }
        io::IoFreeIrp(irp);
    }
    status::MORE_PROCESSING_REQUIRED
}
