//! Device interfaces: registering one's own, finding and opening others'. PASSIVE_LEVEL throughout.
#![expect(unsafe_code, reason = "calls the interface routines, which hand over pool and references")]

use alloc::vec::Vec;
use core::ptr;

use wdk_sys::{
    FILE_OBJECT, FILE_READ_ATTRIBUTES, GUID, PDEVICE_OBJECT, PFILE_OBJECT, UNICODE_STRING,
    ntddk::{
        IoGetDeviceInterfaces, IoGetDeviceObjectPointer, IoRegisterDeviceInterface,
        IoSetDeviceInterfaceState, ObfDereferenceObject,
    },
};

use crate::{DeviceObject, NtStatus, Result, driver::counted, guid::guid, pool, status::check, unicode};

/// GUID_DEVINTERFACE_DISK (ntddstor.h): {53F56307-B6BF-11D0-94F2-00A0C91EFB8B}.
pub const DISK: GUID = guid(0x53F5_6307_B6BF_11D0_94F2_00A0_C91E_FB8B);

/// Returns the symbolic links of every enabled interface of a class, each ended by a NUL (walk them with
/// [`unicode::strings`]). A class of which no interface was ever registered has none: the documentation says
/// so, and a kernel that looks for the class's key, and does not find it, may answer an error instead.
///
/// # Errors
/// What IoGetDeviceInterfaces answers.
pub fn list(class: &GUID) -> Result<Vec<u16>> {
    let mut links: *mut u16 = ptr::null_mut();
    // SAFETY: the GUID lives across the call; the result is a pool block that is freed here, which
    // holds strings up to an empty one.
    unsafe {
        match check(IoGetDeviceInterfaces(class, ptr::null_mut(), 0, &raw mut links)) {
            Err(NtStatus::OBJECT_NAME_NOT_FOUND) => return Ok(Vec::new()),
            answer => answer?,
        }
        let mut length = 0;
        while *links.add(length) != 0 || (length > 0 && *links.add(length - 1) != 0) {
            length += 1;
        }
        let copy = pool::try_vec(length).map(|mut copy| {
            copy.copy_from_slice(core::slice::from_raw_parts(links, length));
            copy
        });
        pool::free(links.cast());
        copy
    }
}

/// A device opened by name. Its device object is the top of the stack at the time of opening; dropping
/// it closes the file object.
#[derive(Debug)]
pub struct Open {
    file: *mut FILE_OBJECT,
    device: DeviceObject,
}

// SAFETY: a file object may be used and dereferenced from any thread.
unsafe impl Send for Open {}
// SAFETY: as above.
unsafe impl Sync for Open {}

impl Open {
    /// Opens a device by its name or an interface's symbolic link, to send it requests.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND`, and what the driver answers to the open.
    pub fn new(name: &[u16]) -> Result<Self> {
        let mut name = unicode::counted(name)?;
        let mut file: PFILE_OBJECT = ptr::null_mut();
        let mut device: PDEVICE_OBJECT = ptr::null_mut();
        // SAFETY: name and places live across the call; on success the file object is referenced,
        // and it keeps the device object.
        unsafe {
            check(IoGetDeviceObjectPointer(
                &raw mut name,
                FILE_READ_ATTRIBUTES,
                &raw mut file,
                &raw mut device,
            ))?;
            let device = DeviceObject::from_raw(device).ok_or(NtStatus::NO_SUCH_DEVICE)?;
            Ok(Self { file, device })
        }
    }

    /// Returns the top device of the stack, valid while this value lives.
    #[must_use]
    pub const fn device(&self) -> DeviceObject {
        self.device
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: this value owns the file object's reference.
        unsafe { ObfDereferenceObject(self.file.cast()) };
    }
}

/// An interface that this driver registered on its PDO.
#[derive(Debug)]
pub struct Registered(UNICODE_STRING);

// SAFETY: the link is an immutable pool block.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Registered {
    /// Registers an interface of class `class` on `pdo`; it is disabled at first.
    ///
    /// # Errors
    /// What IoRegisterDeviceInterface answers.
    pub fn new(pdo: DeviceObject, class: &GUID) -> Result<Self> {
        let mut link = UNICODE_STRING::default();
        // SAFETY: a PDO, a GUID and a place for the link, whose buffer becomes this value's.
        check(unsafe { IoRegisterDeviceInterface(pdo.as_ptr(), class, ptr::null_mut(), &raw mut link) })?;
        Ok(Self(link))
    }

    /// Enables or disables it.
    ///
    /// # Errors
    /// What IoSetDeviceInterfaceState answers.
    pub fn enable(&self, enable: bool) -> Result {
        let mut link = self.0;
        // SAFETY: the link that registration gave.
        check(unsafe { IoSetDeviceInterfaceState(&raw mut link, enable.into()) })
    }

    /// Returns its symbolic link.
    #[must_use]
    pub fn link(&self) -> &[u16] {
        // SAFETY: the link that registration gave lives as long as this value.
        unsafe { counted(&raw const self.0) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: IoRegisterDeviceInterface allocated the buffer for its caller to free.
        unsafe { pool::free(self.0.Buffer.cast()) };
    }
}
