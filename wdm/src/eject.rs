//! Asking PnP to remove a device in order: whoever uses it may object, and file systems flush and dismount first.
#![expect(unsafe_code, reason = "calls the routines that ask for an ejection")]

use core::ffi::c_void;
use core::mem::transmute;
use core::ptr::without_provenance_mut;

use wdk_sys::{NTSTATUS, PDEVICE_OBJECT, PDRIVER_OBJECT, ntddk::IoRequestDeviceEject};

use crate::{DeviceObject, DriverObject, NtStatus, Result, routine, status::check, utf16};

/// Hears the outcome of requests for an ejection.
pub trait Outcome {
    /// Takes the outcome of the request with this context. PASSIVE_LEVEL, on a thread of PnP's.
    fn hear(context: usize, outcome: NtStatus);
}

/// IO_DEVICE_EJECT_CALLBACK.
type Callback = unsafe extern "system" fn(NTSTATUS, *mut c_void);
/// IoRequestDeviceEjectEx.
type RequestEx = unsafe extern "system" fn(PDEVICE_OBJECT, Callback, *mut c_void, PDRIVER_OBJECT) -> NTSTATUS;

/// Asks PnP to eject a device (documentation of IoRequestDeviceEject): it asks every driver and program that uses the
/// device, and removes it if none objects. That comes later, on a thread of PnP's. Returns true if `O` hears the
/// outcome, which NT tells from 6.2 on; the driver stays loaded until then. PASSIVE_LEVEL.
///
/// # Errors
/// What IoRequestDeviceEjectEx answers; nothing has been asked then.
pub fn request<O: Outcome>(pdo: DeviceObject, driver: DriverObject, context: usize) -> Result<bool> {
    let Some(extended) = routine::find(utf16!("IoRequestDeviceEjectEx")) else {
        // SAFETY: a PDO, as the caller knows.
        unsafe { IoRequestDeviceEject(pdo.as_ptr()) };
        return Ok(false);
    };
    // SAFETY: the routine of this name, of this type; the driver's own object keeps `heard` in memory.
    let asked = unsafe {
        let extended: RequestEx = transmute(extended.as_ptr());
        extended(pdo.as_ptr(), heard::<O>, without_provenance_mut(context), driver.as_ptr())
    };
    check(asked).map(|()| true)
}

unsafe extern "system" fn heard<O: Outcome>(outcome: NTSTATUS, context: *mut c_void) {
    O::hear(context.addr(), NtStatus(outcome));
}
