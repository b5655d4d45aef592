//! File objects: opening a device by name, as `IoGetDeviceObjectPointer` does.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, Ordering};

use super::device;
use super::irp::Request;
use crate::nt::*;
use crate::ob::{self, Kind, namespace};

/// `FO_DIRECT_DEVICE_OPEN` would be set for a direct open; `FO_HANDLE_CREATED` says that cleanup is due.
const FO_HANDLE_CREATED: u32 = 0x0004_0000;
const FO_CLEANUP_COMPLETE: u32 = 0x4000;

/// Returns the number of a device's open files.
unsafe fn references<'a>(device: *mut DeviceObject) -> &'a AtomicI32 {
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe { AtomicI32::from_ptr(&raw mut (*device).reference_count) }
}

/// Opens the device of that name: `IRP_MJ_CREATE` to the top of its stack. The file object has one reference.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`.
pub(crate) unsafe fn open(name: &str) -> Result<*mut FileObject, NtStatus> {
    let (body, rest) = namespace::lookup(name).ok_or(status::OBJECT_NAME_NOT_FOUND)?;
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`.
    unsafe {
        if ob::kind(body) != Kind::Device {
            return Err(status::OBJECT_TYPE_MISMATCH);
        }
        let device: *mut DeviceObject = body.cast();
        if (*device).flags & DO_DEVICE_INITIALIZING != 0 {
            return Err(status::NO_SUCH_DEVICE);
        }
        let file: *mut FileObject = ob::create(Kind::File);
        (*file).kind = IO_TYPE_FILE;
        (*file).size = size_of::<FileObject>() as i16;
        (*file).device_object = device;
        (*file).flags = FO_HANDLE_CREATED;
        crate::ke::KeInitializeEvent(&raw mut (*file).lock, u32::from(SYNCHRONIZATION_EVENT), TRUE);
        crate::ke::KeInitializeEvent(&raw mut (*file).event, u32::from(NOTIFICATION_EVENT), FALSE);
        ob::reference(device.cast());
        references(device).fetch_add(1, Ordering::AcqRel);
        debug_assert!(rest.len() < 0x7FFF);
        let mut request = Request::new(IRP_MJ_CREATE, 0);
        request.status = status::SUCCESS;
        request.file = file;
        let (result, _) = request.send(device);
        if !status::success(result.status) {
            // Not opened: neither cleanup nor close is sent.
            (*file).device_object = null_mut();
            ob::dereference(file.cast());
            references(device).fetch_sub(1, Ordering::AcqRel);
            ob::dereference(device.cast());
            return Err(result.status);
        }
        Ok(file)
    }
}

/// Sends `IRP_MJ_CLEANUP` for a file whose last handle went.
pub(crate) unsafe fn cleanup(file: *mut FileObject) {
    // SAFETY: the caller keeps `file` valid for this call.
    unsafe {
        if (*file).device_object.is_null() || (*file).flags & FO_CLEANUP_COMPLETE != 0 {
            return;
        }
        (*file).flags |= FO_CLEANUP_COMPLETE;
        let mut request = Request::new(IRP_MJ_CLEANUP, 0);
        request.status = status::SUCCESS;
        request.file = file;
        request.send((*file).device_object);
    }
}

/// Sends `IRP_MJ_CLOSE` for a file whose last reference went.
pub(crate) unsafe fn close(file: *mut FileObject) {
    // SAFETY: the caller keeps `file` valid for this call.
    unsafe {
        let device = (*file).device_object;
        if device.is_null() {
            super::named_file::forget(file);
            return;
        }
        let mut request = Request::new(IRP_MJ_CLOSE, 0);
        request.status = status::SUCCESS;
        request.file = file;
        request.send(device);
        references(device).fetch_sub(1, Ordering::AcqRel);
        ob::dereference(device.cast());
    }
}

/// `IoGetDeviceObjectPointer`: the top of the stack and a referenced file object. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `name` is valid, `file` and `device` writable.
pub(crate) unsafe extern "win64" fn IoGetDeviceObjectPointer(
    name: *mut UnicodeString,
    _access: u32,
    file: *mut *mut FileObject,
    device: *mut *mut DeviceObject,
) -> NtStatus {
    // SAFETY: by this function's contract, `name` is valid, `file` and `device` writable.
    unsafe {
        *file = null_mut();
        *device = null_mut();
        crate::work::OPENED.add(1);
        match open(&(*name).text()) {
            Ok(opened) => {
                *file = opened;
                *device = device::top_of((*opened).device_object);
                // The handle it was opened by is closed; the reference stays.
                cleanup(opened);
                status::SUCCESS
            }
            Err(error) => error,
        }
    }
}

/// `IoGetRelatedDeviceObject`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `file` is an open file object.
pub(crate) unsafe extern "win64" fn IoGetRelatedDeviceObject(file: *mut FileObject) -> *mut DeviceObject {
    // SAFETY: by this function's contract, `file` is an open file object.
    unsafe { device::top_of((*file).device_object) }
}
