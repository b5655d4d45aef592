//! The power policy of the executive's own function drivers: a system power request is answered by a request for
//! the device's state that belongs to it, in the order that the WDK describes ("Sending a Device Set-Power IRP in
//! Response to a System Set-Power IRP"). A device power request is carried out by a worker.

use alloc::boxed::Box;
use core::ptr::null_mut;

use super::irp as request_packet;
use crate::ex::worker::{self, Work};
use crate::nt::*;
use crate::{ke, po};

/// Steps of a driver's before its device leaves D0, and when it has reached it. `PASSIVE_LEVEL`.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    pub down: unsafe fn(*mut DeviceObject),
    pub up: unsafe fn(*mut DeviceObject),
}

/// A driver that does nothing at either.
pub(crate) const NOTHING: Steps = Steps { down: |_| (), up: |_| () };

/// A device power request that waits for its worker.
struct Waiting {
    device: *mut DeviceObject,
    lower: *mut DeviceObject,
    irp: *mut Irp,
    steps: Steps,
}

/// Handles a power IRP of the FDO `device`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// The caller owns the IRP and is attached to `lower`.
pub(crate) unsafe fn power(
    device: *mut DeviceObject,
    lower: *mut DeviceObject,
    irp: *mut Irp,
    steps: Steps,
) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP and is attached to `lower`.
    unsafe {
        let location = current_stack_location(irp);
        let (minor, kind) = ((*location).minor_function, (*location).parameters.power.kind);
        match (minor, kind) {
            (IRP_MN_SET_POWER | IRP_MN_QUERY_POWER, SYSTEM_POWER_STATE) => {
                mark_irp_pending(irp);
                copy_current_stack_location_to_next(irp);
                set_completion_routine(irp, system_passed, null_mut());
                po::PoCallDriver(lower, irp);
                status::PENDING
            }
            (IRP_MN_SET_POWER, DEVICE_POWER_STATE) => {
                mark_irp_pending(irp);
                let waiting = Box::into_raw(Box::new(Waiting { device, lower, irp, steps }));
                worker::queue(Work { routine: set_device, context: waiting.cast() });
                status::PENDING
            }
            _ => {
                po::PoStartNextPowerIrp(irp);
                skip_current_stack_location(irp);
                po::PoCallDriver(lower, irp)
            }
        }
    }
}

/// Asks for the device's request, when the lower drivers are done with the system's.
unsafe extern "win64" fn system_passed(device: *mut DeviceObject, irp: *mut Irp, _: Pvoid) -> NtStatus {
    // SAFETY: the IRP of `power`, which is this driver's again.
    unsafe {
        let location = current_stack_location(irp);
        let (minor, state) = ((*location).minor_function, (*location).parameters.power.state);
        let state = if state == POWER_SYSTEM_WORKING { POWER_DEVICE_D0 } else { POWER_DEVICE_D3 };
        let passed = status::success((*irp).io_status.status);
        if passed
            && po::PoRequestPowerIrp(device, minor, state, Some(device_is_set), irp.cast(), null_mut())
                == status::PENDING
        {
            return status::MORE_PROCESSING_REQUIRED;
        }
        mark_irp_pending(irp);
        po::PoStartNextPowerIrp(irp);
    }
    status::SUCCESS
}

/// Completes the system's request after the device's.
unsafe extern "win64" fn device_is_set(
    _: *mut DeviceObject,
    minor: u8,
    _: u32,
    irp: Pvoid,
    result: *mut IoStatusBlock,
) {
    // SAFETY: the IRP of `system_passed`, which kept it for this.
    unsafe {
        let irp: *mut Irp = irp.cast();
        po::PoStartNextPowerIrp(irp);
        let status = if minor == IRP_MN_QUERY_POWER { (*result).status } else { status::SUCCESS };
        request_packet::complete(irp, status, 0);
    }
}

/// Carries a device request out.
unsafe extern "win64" fn set_device(waiting: Pvoid) {
    // SAFETY: the box of `power`, and its IRP, which is this driver's until it is passed on or completed.
    unsafe {
        let Waiting { device, lower, irp, steps } = *Box::from_raw(waiting.cast::<Waiting>());
        let state = (*current_stack_location(irp)).parameters.power.state;
        let sleeps = state != POWER_DEVICE_D0;
        if sleeps {
            (steps.down)(device);
            po::PoSetPowerState(device, DEVICE_POWER_STATE, state);
        }
        request_packet::with_event(|event| {
            copy_current_stack_location_to_next(irp);
            set_completion_routine(irp, passed, event.cast());
            po::PoCallDriver(lower, irp);
            request_packet::wait(event);
        });
        if !sleeps {
            (steps.up)(device);
            po::PoSetPowerState(device, DEVICE_POWER_STATE, state);
        }
        po::PoStartNextPowerIrp(irp);
        request_packet::complete_unchanged(irp);
    }
}

unsafe extern "win64" fn passed(_: *mut DeviceObject, _: *mut Irp, event: Pvoid) -> NtStatus {
    // SAFETY: the event of `set_device`, which waits for it.
    unsafe { ke::KeSetEvent(event.cast(), 0, FALSE) };
    status::MORE_PROCESSING_REQUIRED
}
