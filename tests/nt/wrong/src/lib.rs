//! A WDM driver that breaks one rule of the WDM documentation, and keeps all others, so that a test can see
//! the NT executive's verifier catch exactly that one.
//!
//! It is the function driver of the root-enumerated device `ROOT\WRONG`, in some cases as a Storport
//! miniport. `Services\wrong\Parameters\Case` names the rule ([`Case`]); what each must be stopped for is in
//! `cases.txt`. It is written against the bindings themselves, because the layer that the real drivers use
//! does not allow most of these mistakes.
#![no_std]
#![expect(unsafe_code, reason = "the mistakes that are made here need the raw interface")]

mod case;
mod miniport;
mod mistake;
mod own_irp;

use core::ptr::{addr_of, null_mut};
use core::sync::atomic::{AtomicU8, Ordering};

use case::Case;
use wdk_sys::ntddk::{
    IoAcquireRemoveLockEx, IoAttachDeviceToDeviceStack, IoCreateDevice, IoDeleteDevice, IoDetachDevice,
    IoInitializeRemoveLockEx, IoReleaseRemoveLockAndWaitEx, IoReleaseRemoveLockEx, IofCallDriver,
    IofCompleteRequest, KeInitializeEvent, KeSetEvent, KeWaitForSingleObject, PoCallDriver,
    PoStartNextPowerIrp,
};
use wdk_sys::{
    _EVENT_TYPE, _KWAIT_REASON, DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DRIVER_OBJECT,
    FILE_DEVICE_SECURE_OPEN, FILE_DEVICE_UNKNOWN, IO_REMOVE_LOCK, IO_STACK_LOCATION, IRP,
    IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_PNP, IRP_MJ_POWER, IRP_MN_REMOVE_DEVICE, IRP_MN_START_DEVICE,
    KEVENT, NTSTATUS, PDEVICE_OBJECT, PDRIVER_OBJECT, PIRP, PUNICODE_STRING, PVOID, SL_INVOKE_ON_CANCEL,
    SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS, STATUS_MORE_PROCESSING_REQUIRED, STATUS_NO_SUCH_DEVICE,
    STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL, ULONG,
};
use wdm::registry::{Key, SERVICES};
use wdm::utf16;

/// The case of this boot, as a number of [`Case::ALL`].
static CASE: AtomicU8 = AtomicU8::new(0);

fn case() -> Case {
    Case::ALL[usize::from(CASE.load(Ordering::Relaxed))].0
}

/// The device extension.
struct Extension {
    lower: PDEVICE_OBJECT,
    remove_lock: IO_REMOVE_LOCK,
}

const LOCK_BYTES: ULONG = size_of::<IO_REMOVE_LOCK>() as ULONG;
/// The tag of this driver's pool: `Wrng`.
const TAG: ULONG = u32::from_le_bytes(*b"Wrng");

/// Reads the case and sets the driver's routines. PASSIVE_LEVEL.
///
/// # Safety
/// Called by the I/O manager.
#[unsafe(no_mangle)]
#[unsafe(link_section = "INIT")]
pub unsafe extern "system" fn DriverEntry(driver: PDRIVER_OBJECT, path: PUNICODE_STRING) -> NTSTATUS {
    let named = configured_case();
    CASE.store(named, Ordering::Relaxed);
    wdm::debug_print!("wrong", "case {}", Case::ALL[usize::from(named)].1);
    if case().is_miniport() {
        // SAFETY: these are DriverEntry's arguments.
        return unsafe { miniport::register(driver, path) };
    }
    // SAFETY: the driver object is this driver's to fill in.
    let driver: &mut DRIVER_OBJECT = unsafe { &mut *driver };
    driver.MajorFunction[IRP_MJ_PNP as usize] = Some(dispatch_pnp);
    driver.MajorFunction[IRP_MJ_POWER as usize] = Some(dispatch_power);
    driver.MajorFunction[IRP_MJ_INTERNAL_DEVICE_CONTROL as usize] = Some(own_irp::dispatch);
    driver.DriverUnload = Some(unload);
    // SAFETY: the extension belongs to the driver object.
    unsafe { (*driver.DriverExtension).AddDevice = Some(add_device) };
    STATUS_SUCCESS
}

/// Returns `Services\wrong\Parameters\Case` as a number of [`Case::ALL`]; the first, which does nothing
/// wrong, without it.
fn configured_case() -> u8 {
    let read = || Key::open(SERVICES)?.open_below(utf16!("wrong\\Parameters"))?.string(utf16!("Case"));
    let Ok(text) = read() else { return 0 };
    let named = |name: &str| name.encode_utf16().eq(text.iter().copied());
    Case::ALL.iter().position(|(_, name)| named(name)).unwrap_or(0) as u8
}

unsafe extern "C" fn unload(_driver: PDRIVER_OBJECT) {}

unsafe extern "C" fn add_device(driver: PDRIVER_OBJECT, pdo: PDEVICE_OBJECT) -> NTSTATUS {
    let mut device: *mut DEVICE_OBJECT = null_mut();
    // SAFETY: AddDevice runs at PASSIVE_LEVEL with the driver's own object and a PDO to attach to.
    unsafe {
        let created = IoCreateDevice(
            driver,
            size_of::<Extension>() as ULONG,
            null_mut(),
            FILE_DEVICE_UNKNOWN,
            FILE_DEVICE_SECURE_OPEN,
            0,
            &raw mut device,
        );
        if created != STATUS_SUCCESS {
            return created;
        }
        let extension = extension(device);
        IoInitializeRemoveLockEx(&raw mut (*extension).remove_lock, TAG, 0, 0, LOCK_BYTES);
        (*extension).lower = IoAttachDeviceToDeviceStack(device, pdo);
        if (*extension).lower.is_null() {
            IoDeleteDevice(device);
            return STATUS_NO_SUCH_DEVICE;
        }
        if case() != Case::InitializingLeftSet {
            (*device).Flags &= !DO_DEVICE_INITIALIZING;
        }
    }
    STATUS_SUCCESS
}

/// # Safety
/// `device` is one of this driver's.
unsafe fn extension(device: PDEVICE_OBJECT) -> *mut Extension {
    // SAFETY: as the caller says.
    unsafe { (*device).DeviceExtension.cast() }
}

unsafe extern "C" fn dispatch_power(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the power IRP is this driver's until it is passed down.
    unsafe {
        PoStartNextPowerIrp(irp);
        skip(irp);
        PoCallDriver((*extension(device)).lower, irp)
    }
}

unsafe extern "C" fn dispatch_pnp(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: the PnP IRP is this driver's until it is passed down or completed, and the device exists until
    // its own removal.
    unsafe {
        let extension = extension(device);
        let lock = &raw mut (*extension).remove_lock;
        let acquired = IoAcquireRemoveLockEx(lock, irp.cast(), c"".as_ptr().cast(), 0, LOCK_BYTES);
        if acquired != STATUS_SUCCESS {
            return complete(irp, acquired);
        }
        match ULONG::from((*current(irp)).MinorFunction) {
            IRP_MN_START_DEVICE => {
                let status = start(device, irp);
                if case() != Case::RemoveLockLeaked {
                    IoReleaseRemoveLockEx(lock, irp.cast(), LOCK_BYTES);
                }
                status
            }
            IRP_MN_REMOVE_DEVICE => remove(device, irp),
            _ => {
                skip(irp);
                let status = IofCallDriver((*extension).lower, irp);
                IoReleaseRemoveLockEx(lock, irp.cast(), LOCK_BYTES);
                status
            }
        }
    }
}

/// Handles IRP_MN_START_DEVICE: passes it down and waits for it, then makes the mistake, then completes it.
///
/// # Safety
/// The caller owns the IRP.
unsafe fn start(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: as the caller says.
    unsafe {
        let lower = (*extension(device)).lower;
        if case() == Case::StackLocationReused {
            // Neither skipped nor copied: the lower driver's location holds nothing.
            return IofCallDriver(lower, irp);
        }
        if case() == Case::CompletionRoutineOverwritten {
            // Copied with the completion routine, which is the sender's, not this driver's.
            current(irp).sub(1).write(current(irp).read());
            return IofCallDriver(lower, irp);
        }
        if case() == Case::SkippedWithCompletion {
            // After the skip the next location is this driver's own, which holds the sender's routine.
            skip(irp);
            own_irp::on_completion(current(irp).sub(1), own_irp::forget);
            return IofCallDriver(lower, irp);
        }
        let status = forward_and_wait(lower, irp);
        match case() {
            Case::IrpNeverCompleted => return status,
            Case::IrpCompletedTwice => {
                complete(irp, status);
            }
            Case::MissingMarkPending => {
                complete(irp, status);
                return STATUS_PENDING;
            }
            Case::ReturnedStatusDiffers => {
                complete(irp, status);
                return STATUS_UNSUCCESSFUL;
            }
            Case::PnpStatusChanged => own_irp::query_state(device, STATUS_SUCCESS),
            Case::IrpReserved => own_irp::query_state(device, STATUS_NOT_SUPPORTED),
            Case::PendingNotPropagated => own_irp::without_propagation(device),
            other => mistake::make(other, device),
        }
        complete(irp, status)
    }
}

/// Handles IRP_MN_REMOVE_DEVICE.
///
/// # Safety
/// The caller owns the IRP.
unsafe fn remove(device: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    // SAFETY: as the caller says; the device is not used after it is deleted.
    unsafe {
        let extension = extension(device);
        let lower = (*extension).lower;
        if case() != Case::RemoveLockLeaked {
            IoReleaseRemoveLockAndWaitEx(&raw mut (*extension).remove_lock, irp.cast(), LOCK_BYTES);
        }
        let status = if case() == Case::IrpNotForwarded {
            complete(irp, STATUS_SUCCESS)
        } else {
            (*irp).IoStatus.__bindgen_anon_1.Status = STATUS_SUCCESS;
            skip(irp);
            IofCallDriver(lower, irp)
        };
        if case() != Case::NoDetach {
            IoDetachDevice(lower);
        }
        if case() == Case::DeletedWhileAttached {
            let mut above: *mut DEVICE_OBJECT = null_mut();
            let driver = (*device).DriverObject;
            if IoCreateDevice(driver, 0, null_mut(), FILE_DEVICE_UNKNOWN, 0, 0, &raw mut above)
                == STATUS_SUCCESS
            {
                IoAttachDeviceToDeviceStack(above, device);
            }
        }
        IoDeleteDevice(device);
        status
    }
}

/// # Safety
/// The caller owns the IRP.
unsafe fn current(irp: PIRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: an owned IRP has a current stack location.
    unsafe { (*irp).Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation }
}

/// Does the work of IoSkipCurrentIrpStackLocation.
///
/// # Safety
/// The caller owns the IRP and passes it down next.
unsafe fn skip(irp: PIRP) {
    // SAFETY: as the caller says; the location above the current one exists, as the IRP came through it.
    unsafe {
        (*irp).CurrentLocation += 1;
        (*irp).Tail.Overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation = current(irp).add(1);
    }
}

/// # Safety
/// The caller owns the IRP.
unsafe fn complete(irp: PIRP, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: as the caller says.
    unsafe {
        (*irp).IoStatus.__bindgen_anon_1.Status = status;
        IofCompleteRequest(irp, 0);
    }
    status
}

/// Passes an IRP down and waits for it. PASSIVE_LEVEL.
///
/// # Safety
/// The caller owns the IRP, and owns it again afterwards.
unsafe fn forward_and_wait(lower: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS {
    let mut event = KEVENT::default();
    // SAFETY: as the caller says; the event stays until it is signalled, or the IRP is done.
    unsafe {
        KeInitializeEvent(&raw mut event, _EVENT_TYPE::NotificationEvent, 0);
        let next = current(irp).sub(1);
        next.write(current(irp).read());
        (*next).CompletionRoutine = Some(signal);
        (*next).Context = (&raw mut event).cast();
        (*next).Control = (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL) as u8;
        if IofCallDriver(lower, irp) == STATUS_PENDING {
            let reason = _KWAIT_REASON::Executive;
            let _ = KeWaitForSingleObject((&raw mut event).cast(), reason, 0, 0, null_mut());
        }
        addr_of!((*irp).IoStatus.__bindgen_anon_1.Status).read()
    }
}

unsafe extern "C" fn signal(_: PDEVICE_OBJECT, irp: *mut IRP, event: PVOID) -> NTSTATUS {
    // SAFETY: the event is `forward_and_wait`'s, which waits if the IRP is pending.
    unsafe {
        if (*irp).PendingReturned != 0 {
            KeSetEvent(event.cast(), 0, 0);
        }
    }
    STATUS_MORE_PROCESSING_REQUIRED
}
