//! Power states: what the owner of a device's power policy does with power IRPs, and what each driver tells of its
//! own device object.
//!
//! The owner, which is the driver of the function device, answers a system power IRP by a device power IRP for the
//! state that belongs to it (WDK, "Sending a Device Set-Power IRP in Response to a System Set-Power IRP", and the
//! same for queries): it passes the system's down, asks for the device's when that comes back, and completes the
//! system's when the device's is completed. Nothing here waits. Up to Windows Server 2003 a driver must call
//! PoStartNextPowerIrp once for each power IRP; later versions take the call for nothing.
#![expect(unsafe_code, reason = "calls the power manager, which calls back by address")]

use wdk_sys::{
    _POWER_STATE_TYPE, IRP_MN_QUERY_POWER, IRP_MN_SET_POWER, NTSTATUS, PDEVICE_OBJECT, PIO_STATUS_BLOCK,
    PIRP, POWER_STATE, PVOID, UCHAR,
    ntddk::{PoCallDriver, PoRequestPowerIrp, PoSetPowerState, PoStartNextPowerIrp},
};

use crate::stack_location::PowerState;
use crate::{Device, DeviceObject, Disposition, Irp, NtStatus};

/// PowerSystemWorking.
const S0: u32 = 1;
/// PowerDeviceD0: the device works.
pub const D0: u32 = 1;

/// The extension of a function device, whose driver owns the device's power policy.
pub trait PolicyOwner: Send + Sync + Sized + 'static {
    /// Returns the device power state (1 is D0, 4 is D3) that belongs to a system power state (1 is working, 6 is
    /// shutdown). ≤ DISPATCH_LEVEL.
    fn device_state(&self, system: u32) -> u32;

    /// Rests: the device is about to leave D0. ≤ DISPATCH_LEVEL.
    fn rest(&self);

    /// Goes on: the device is in D0, or memory ran out for the IRP that would have set it to D0. ≤ DISPATCH_LEVEL.
    fn work(&self);
}

/// Tells the power manager that a device object is in device power state `state` (1 is D0, 4 is D3): before it leaves
/// D0, after it has reached it. IRQL ≤ APC_LEVEL, or ≤ DISPATCH_LEVEL for D0.
pub fn set_device_state(device: DeviceObject, state: u32) {
    // SAFETY: a valid device object; the former state, which is returned, is of no use here.
    let _ = unsafe {
        PoSetPowerState(
            device.as_ptr(),
            _POWER_STATE_TYPE::DevicePowerState,
            POWER_STATE { DeviceState: state },
        )
    };
}

/// Handles IRP_MN_SET_POWER with device power state `state` in the driver of a PDO, for a device that needs nothing
/// done. ≤ DISPATCH_LEVEL.
pub fn set_child<E: Send + Sync + 'static>(device: Device<E>, irp: Irp, state: u32) -> Disposition {
    let work = match device.power_work() {
        Some(work) if state != D0 => work,
        _ => {
            set_device_state(device.object(), state);
            return irp.complete_power(NtStatus::SUCCESS);
        }
    };
    let (irp, pending) = irp.pend();
    // At DISPATCH_LEVEL the power manager cannot be told.
    // SAFETY: the power manager sends a device one such IRP at a time, and the routine takes it.
    unsafe { work.queue(child_told, irp.as_ptr().cast()) };
    pending
}

/// Tells of the state that [`set_child`]'s IRP sets, and completes it. PASSIVE_LEVEL.
unsafe extern "C" fn child_told(device: PDEVICE_OBJECT, irp: PVOID) {
    // SAFETY: the IRP of `set_child`, and its device, which exists as long as it has a request.
    let (device, irp) = unsafe { (DeviceObject::from_raw(device), Irp::from_raw(irp.cast())) };
    if let (Some(device), Some(PowerState::Device(state))) = (device, irp.location().power_state()) {
        set_device_state(device, state);
    }
    let _ = irp.complete_power(NtStatus::SUCCESS);
}

/// A power IRP of a function device that outlives its dispatch routine, with the device's remove lock held.
pub struct Kept<E: PolicyOwner> {
    device: Device<E>,
    lower: DeviceObject,
    irp: Irp,
}

impl<E: PolicyOwner> Kept<E> {
    /// Keeps a power IRP; the dispatch routine returns the disposition. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// The disposition of an IRP that was completed, since the device is being removed.
    pub fn new(device: Device<E>, irp: Irp) -> Result<(Self, Disposition), Disposition> {
        match (device.acquire(), device.attached_to()) {
            (Ok(held), Some(lower)) => {
                held.keep();
                let (irp, pending) = irp.pend();
                Ok((Self { device, lower, irp }, pending))
            }
            _ => Err(irp.complete_power(NtStatus::DELETE_PENDING)),
        }
    }

    /// Goes on with an IRP_MN_SET_POWER or IRP_MN_QUERY_POWER with a system power state: the lower drivers get it, then
    /// the device power IRP is asked for. ≤ DISPATCH_LEVEL.
    pub fn answer_system(self) {
        self.send(system_passed::<E>);
    }

    /// Goes on with an IRP_MN_SET_POWER with device power state `state`. ≤ DISPATCH_LEVEL.
    pub fn set_device(self, state: u32) {
        if state == D0 {
            self.send(powered::<E>);
            return;
        }
        self.device.extension().rest();
        let device = self.device;
        let Some(work) = device.power_work() else { return self.leave_d0(state) };
        // At DISPATCH_LEVEL the power manager cannot be told.
        // SAFETY: the power manager sends a device one such IRP at a time, and the routine takes it.
        unsafe { work.queue(told::<E>, self.irp.as_ptr().cast()) };
    }

    /// Tells the power manager of a state other than D0, and sends the IRP on. ≤ APC_LEVEL.
    fn leave_d0(self, state: u32) {
        set_device_state(self.device.object(), state);
        self.send(device_passed::<E>);
    }

    /// Sends the IRP to the lower drivers. `routine` takes it back.
    fn send(self, routine: unsafe extern "C" fn(PDEVICE_OBJECT, PIRP, PVOID) -> NTSTATUS) {
        self.irp.copy_to_next();
        // SAFETY: the routines below need no context; the IRP is given up to the lower driver.
        unsafe {
            self.irp.set_completion(routine, core::ptr::null_mut());
            // The IRP is pending whatever this answers.
            let _ = PoCallDriver(self.lower.as_ptr(), self.irp.as_ptr());
        }
    }

    /// Takes an IRP back in a completion routine, or in the one of the device power IRP.
    ///
    /// # Safety
    /// `irp` is one that [`Kept::send`] sent, and that this driver has again.
    unsafe fn again(irp: PIRP) -> Option<Self> {
        // SAFETY: the caller's promise. The device exists, as its remove lock is held.
        unsafe {
            let irp = Irp::from_raw(irp);
            let device = Device::from_object(irp.device()?);
            Some(Self { device, lower: device.attached_to()?, irp })
        }
    }

    /// Lets a completion routine's IRP complete further: the routine returns the status.
    fn let_go(self) -> NTSTATUS {
        self.irp.mark_pending();
        // SAFETY: the IRP is this driver's until the routine returns; the hold of `new` is released once.
        unsafe {
            PoStartNextPowerIrp(self.irp.as_ptr());
            self.device.release();
        }
        NtStatus::SUCCESS.0
    }
}

/// Completes [`Kept::answer_system`] in the lower drivers: asks for the device power IRP.
unsafe extern "C" fn system_passed<E: PolicyOwner>(_: PDEVICE_OBJECT, irp: PIRP, _: PVOID) -> NTSTATUS {
    // SAFETY: the IRP of `Kept::send`.
    let Some(kept) = (unsafe { Kept::<E>::again(irp) }) else { return NtStatus::SUCCESS.0 };
    let Some(PowerState::System(system)) = kept.irp.location().power_state() else { return kept.let_go() };
    let (owner, minor) = (kept.device.extension(), kept.irp.minor());
    if kept.irp.status().is_success() {
        let state = POWER_STATE { DeviceState: owner.device_state(system) };
        // SAFETY: a device object of this driver, and the routine below with the IRP that it takes. The IRP is given up
        // where it is called, which it is if the answer is STATUS_PENDING.
        let asked = unsafe {
            PoRequestPowerIrp(
                kept.device.object().as_ptr(),
                minor,
                state,
                Some(device_is_set::<E>),
                irp.cast(),
                core::ptr::null_mut(),
            )
        };
        if asked == NtStatus::PENDING.0 {
            return NtStatus::MORE_PROCESSING_REQUIRED.0;
        }
    }
    if u32::from(minor) == IRP_MN_SET_POWER && system == S0 {
        owner.work();
    }
    kept.let_go()
}

/// Completes the device power IRP that was asked for: the system's is completed. A device may refuse a query.
unsafe extern "C" fn device_is_set<E: PolicyOwner>(
    _: PDEVICE_OBJECT,
    minor: UCHAR,
    _: POWER_STATE,
    irp: PVOID,
    result: PIO_STATUS_BLOCK,
) {
    // SAFETY: the IRP that `system_passed` has kept, and the result of the device's, which is there for this call.
    unsafe {
        let Some(mut kept) = Kept::<E>::again(irp.cast()) else { return };
        if u32::from(minor) == IRP_MN_QUERY_POWER {
            kept.irp.set_status(NtStatus((*result).__bindgen_anon_1.Status));
        }
        let (device, status) = (kept.device, kept.irp.status());
        let _ = kept.irp.complete_power(status);
        device.release();
    }
}

/// Goes on with [`Kept::set_device`]'s IRP. PASSIVE_LEVEL.
unsafe extern "C" fn told<E: PolicyOwner>(_: PDEVICE_OBJECT, irp: PVOID) {
    // SAFETY: the IRP that `Kept::set_device` has kept.
    let Some(kept) = (unsafe { Kept::<E>::again(irp.cast()) }) else { return };
    if let Some(PowerState::Device(state)) = kept.irp.location().power_state() {
        kept.leave_d0(state);
    }
}

/// Completes [`Kept::set_device`] for D0.
unsafe extern "C" fn powered<E: PolicyOwner>(_: PDEVICE_OBJECT, irp: PIRP, _: PVOID) -> NTSTATUS {
    // SAFETY: the IRP of `Kept::send`.
    let Some(kept) = (unsafe { Kept::<E>::again(irp) }) else { return NtStatus::SUCCESS.0 };
    set_device_state(kept.device.object(), D0);
    kept.device.extension().work();
    kept.let_go()
}

/// Completes [`Kept::set_device`] for the other states.
unsafe extern "C" fn device_passed<E: PolicyOwner>(_: PDEVICE_OBJECT, irp: PIRP, _: PVOID) -> NTSTATUS {
    // SAFETY: the IRP of `Kept::send`.
    unsafe { Kept::<E>::again(irp) }.map_or(NtStatus::SUCCESS.0, Kept::let_go)
}
