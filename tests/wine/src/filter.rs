//! The part of NT's PnP manager for a bus with an upper filter that Wine lacks.
#![expect(
    unsafe_code,
    reason = "calls a driver object's AddDevice and routines that the wdm crate has no use for"
)]

use core::ptr::null_mut;

use wdk_sys::ntddk::{IoInvalidateDeviceRelations, ObfDereferenceObject, ZwLoadDriver};
use wdk_sys::{_DEVICE_RELATION_TYPE, DRIVER_OBJECT, NTSTATUS, PVOID, ULONG, UNICODE_STRING};
use wdm::{DeviceObject, utf16};

use crate::log;

// Exported by every NT, and in no header of the WDK.
unsafe extern "system" {
    fn ObReferenceObjectByName(
        name: *mut UNICODE_STRING,
        attributes: ULONG,
        access_state: PVOID,
        access: ULONG,
        kind: PVOID,
        mode: i8,
        context: PVOID,
        object: *mut PVOID,
    ) -> NTSTATUS;
}

/// OBJ_CASE_INSENSITIVE.
const CASE_INSENSITIVE: ULONG = 0x40;

/// Loads idefilter, looks at its driver object and calls its AddDevice for the bus whose PDO is `pdo`.
/// PASSIVE_LEVEL.
pub(crate) fn offer(pdo: DeviceObject) {
    let before = pdo.top();
    let mut service =
        counted(utf16!("\\Registry\\Machine\\System\\CurrentControlSet\\Services\\idefilter\0"));
    let mut name = counted(utf16!("\\Driver\\idefilter\0"));
    let mut object: PVOID = null_mut();
    // SAFETY: counted strings of static text, and a place for the object.
    let (loaded, found) = unsafe {
        (
            ZwLoadDriver(&raw mut service),
            ObReferenceObjectByName(
                &raw mut name,
                CASE_INSENSITIVE,
                null_mut(),
                0,
                // Any type: the name is that of a driver object.
                null_mut(),
                0,
                null_mut(),
                &raw mut object,
            ),
        )
    };
    if found != 0 {
        log!("filter: loaded={loaded:#x} found={found:#x}");
        return;
    }
    // SAFETY: a referenced driver object, whose AddDevice takes it and a PDO.
    unsafe {
        let driver: *mut DRIVER_OBJECT = object.cast();
        let added = (*(*driver).DriverExtension).AddDevice.map(|add| add(driver, pdo.as_ptr()));
        let unload = (*driver).DriverUnload.is_some();
        log!("filter: loaded={loaded:#x} add-device={added:?} unloads={unload}");
        ObfDereferenceObject(object);
    }
    let attached = before.as_ptr() != pdo.top().as_ptr();
    log!("filter: attached={attached}");
}

/// Does the work of IoInvalidateDeviceRelations for the bus's children.
pub(crate) fn invalidate(pdo: DeviceObject) {
    // SAFETY: a PDO.
    unsafe { IoInvalidateDeviceRelations(pdo.as_ptr(), _DEVICE_RELATION_TYPE::BusRelations) };
}

/// Returns a counted string of static text that ends with a NUL, which is not counted: Wine takes names for
/// terminated.
fn counted(text: &'static [u16]) -> UNICODE_STRING {
    let bytes = size_of_val(text) as u16;
    UNICODE_STRING { Length: bytes - 2, MaximumLength: bytes, Buffer: text.as_ptr().cast_mut() }
}
