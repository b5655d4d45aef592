//! Security descriptors on device objects.
#![expect(unsafe_code, reason = "builds a security descriptor in place and sets it through a handle")]

use core::ptr;

use wdk_sys::{
    _MODE, ACL_REVISION, DACL_SECURITY_INFORMATION, GENERIC_ALL, HANDLE, OBJ_KERNEL_HANDLE, PACL, PSID,
    SECURITY_DESCRIPTOR, SECURITY_DESCRIPTOR_REVISION, WRITE_DAC,
    ntddk::{
        ObOpenObjectByPointer, RtlAddAccessAllowedAce, RtlCreateAcl, RtlCreateSecurityDescriptor,
        RtlSetDaclSecurityDescriptor, ZwClose, ZwSetSecurityObject,
    },
};

use crate::{DeviceObject, Result, status::check};

/// A SID with up to two subauthorities, as it lies in memory ([MS-DTYP] 2.4.2.2).
#[repr(C)]
struct Sid {
    revision: u8,
    subauthorities: u8,
    authority: [u8; 6],
    subauthority: [u32; 2],
}

const _: () = assert!(size_of::<Sid>() == 16);

/// SECURITY_NT_AUTHORITY.
const NT_AUTHORITY: [u8; 6] = [0, 0, 0, 0, 0, 5];
/// S-1-5-18, LocalSystem.
static SYSTEM: Sid = Sid { revision: 1, subauthorities: 1, authority: NT_AUTHORITY, subauthority: [18, 0] };
/// S-1-5-32-544, the local group of administrators.
static ADMINISTRATORS: Sid =
    Sid { revision: 1, subauthorities: 2, authority: NT_AUTHORITY, subauthority: [32, 544] };

/// Bytes of a DACL with two ACEs of the largest SIDs (8 + 2 × (8 + 68)), rounded up.
const DACL_BYTES: usize = 160;

/// Gives a device object a DACL under which only SYSTEM and Administrators have access (the SDDL
/// `D:P(A;;GA;;;SY)(A;;GA;;;BA)`), what IoCreateDeviceSecure would set. For every device of a stack,
/// as each can be opened by name or through the stack. PASSIVE_LEVEL.
///
/// # Errors
/// What the security routines answer; the device then still has its default descriptor, and should be
/// deleted.
pub fn restrict_to_administrators(device: DeviceObject) -> Result {
    let mut acl = [0_u64; DACL_BYTES / 8];
    let dacl: PACL = acl.as_mut_ptr().cast();
    let mut descriptor = SECURITY_DESCRIPTOR::default();
    let descriptor: wdk_sys::PSECURITY_DESCRIPTOR = (&raw mut descriptor).cast();
    // SAFETY: the buffers have the sizes given, are aligned and live until the handle is closed;
    // the SIDs are static, and only read.
    unsafe {
        let [system, administrators]: [PSID; 2] =
            [&SYSTEM, &ADMINISTRATORS].map(|sid| ptr::from_ref(sid).cast_mut().cast());
        check(RtlCreateAcl(dacl, DACL_BYTES as u32, ACL_REVISION))?;
        check(RtlAddAccessAllowedAce(dacl, ACL_REVISION, GENERIC_ALL, system))?;
        check(RtlAddAccessAllowedAce(dacl, ACL_REVISION, GENERIC_ALL, administrators))?;
        check(RtlCreateSecurityDescriptor(descriptor, SECURITY_DESCRIPTOR_REVISION))?;
        check(RtlSetDaclSecurityDescriptor(descriptor, 1, dacl, 0))?;

        let mut handle: HANDLE = ptr::null_mut();
        check(ObOpenObjectByPointer(
            device.as_ptr().cast(),
            OBJ_KERNEL_HANDLE,
            ptr::null_mut(),
            WRITE_DAC,
            ptr::null_mut(),
            _MODE::KernelMode as i8,
            &raw mut handle,
        ))?;
        let set = check(ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, descriptor));
        let _ = ZwClose(handle);
        set
    }
}
