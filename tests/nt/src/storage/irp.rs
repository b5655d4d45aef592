//! Handling IRPs: completing, passing down, waiting, sending device controls.

use core::ptr::null_mut;

use crate::nt::*;
use crate::{io, ke, mm};

/// Completes an IRP; returns the status, for the dispatch routine to return.
///
/// # Safety
/// The caller owns the IRP.
pub(crate) unsafe fn complete(irp: *mut Irp, status: NtStatus, information: usize) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP.
    unsafe {
        (*irp).io_status = IoStatusBlock::new(status, information);
        io::IofCompleteRequest(irp, 0);
    }
    status
}

/// Completes an IRP with the status it has.
///
/// # Safety
/// As [`complete`].
pub(crate) unsafe fn complete_unchanged(irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps the contract of [`complete`].
    unsafe {
        let status = (*irp).io_status.status;
        io::IofCompleteRequest(irp, 0);
        status
    }
}

/// Passes an IRP down as it is.
///
/// # Safety
/// The caller owns the IRP and is attached to `lower`.
pub(crate) unsafe fn pass_down(lower: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, the caller owns the IRP and is attached to `lower`.
    unsafe {
        skip_current_stack_location(irp);
        io::IofCallDriver(lower, irp)
    }
}

/// Sends an IRP down and waits until the lower drivers are done with it. The caller owns it again then and
/// must complete it. PASSIVE_LEVEL.
///
/// # Safety
/// As [`pass_down`].
pub(crate) unsafe fn forward_and_wait(lower: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: the caller keeps the contract of [`pass_down`].
    unsafe {
        with_event(|event| {
            copy_current_stack_location_to_next(irp);
            set_completion_routine(irp, signal, event.cast());
            if io::IofCallDriver(lower, irp) == status::PENDING {
                wait(event);
            }
            (*irp).io_status.status
        })
    }
}

/// Keeps the IRP of [`forward_and_wait`] from completing further, as its completion routine.
unsafe extern "win64" fn signal(_: *mut DeviceObject, irp: *mut Irp, event: Pvoid) -> NtStatus {
    // SAFETY: the caller keeps `irp` and `event` valid for this call.
    unsafe {
        if (*irp).pending_returned != FALSE {
            ke::KeSetEvent(event.cast(), 0, FALSE);
        }
    }
    status::MORE_PROCESSING_REQUIRED
}

/// Calls `use_it` with a notification event that is not signalled and lies still.
pub(crate) fn with_event<R>(use_it: impl FnOnce(*mut Kevent) -> R) -> R {
    let mut event = core::mem::MaybeUninit::<Kevent>::uninit();
    // SAFETY: initializes the event where it stays until it goes out of scope.
    unsafe { ke::KeInitializeEvent(event.as_mut_ptr(), NOTIFICATION_EVENT.into(), FALSE) };
    use_it(event.as_mut_ptr())
}

/// Waits for an event without a time limit. PASSIVE_LEVEL.
///
/// # Safety
/// `event` must be initialized.
pub(crate) unsafe fn wait(event: *mut Kevent) {
    // SAFETY: by this function's contract, `event` is initialized.
    unsafe {
        ke::KeWaitForSingleObject(event.cast(), EXECUTIVE, KERNEL_MODE, FALSE, null_mut());
    }
}

/// `MmGetSystemAddressForMdlSafe`. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// The MDL must describe locked pages or non-paged pool.
pub(crate) unsafe fn system_address(mdl: *mut Mdl) -> *mut u8 {
    // SAFETY: by this function's contract, the MDL must describe locked pages or non-paged pool.
    unsafe {
        if (*mdl).mdl_flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
            return (*mdl).mapped_system_va.cast();
        }
        /// `MmCached`.
        const CACHED: u32 = 1;
        /// `NormalPagePriority`.
        const PRIORITY: u32 = 16;
        mm::MmMapLockedPagesSpecifyCache(mdl, KERNEL_MODE, CACHED, null_mut(), 0, PRIORITY).cast()
    }
}

/// Sends a device control to the top of `device`'s stack and waits. Returns status and bytes returned.
/// PASSIVE_LEVEL.
///
/// # Safety
/// `device` must be referenced; the buffers must be as long as said.
pub(crate) unsafe fn device_control(
    device: *mut DeviceObject,
    code: u32,
    input: &[u8],
    output: &mut [u8],
) -> (NtStatus, usize) {
    // SAFETY: by this function's contract, `device` is referenced; the buffers is as long as said.
    unsafe {
        with_event(|event| {
            let mut result = IoStatusBlock::new(status::SUCCESS, 0);
            let irp = io::IoBuildDeviceIoControlRequest(
                code,
                device,
                input.as_ptr().cast_mut().cast(),
                input.len() as u32,
                output.as_mut_ptr().cast(),
                output.len() as u32,
                FALSE,
                event,
                &raw mut result,
            );
            if irp.is_null() {
                return (status::INSUFFICIENT_RESOURCES, 0);
            }
            let mut found = io::IofCallDriver(device, irp);
            if found == status::PENDING {
                wait(event);
                found = result.status;
            }
            (found, result.information)
        })
    }
}
