//! Security descriptors, ACLs and SIDs ([MS-DTYP] 2.4), and `SeExports`.

use alloc::vec::Vec;
use core::mem::size_of;
use core::ptr::{null_mut, slice_from_raw_parts};

use super::{handle, object};
use crate::layout;
use crate::nt::*;

const SD_REVISION: u8 = 1;
const ACL_REVISION: u8 = 2;

/// A SID of up to two subauthorities, as the well-known ones are.
#[repr(C)]
struct Sid {
    revision: u8,
    count: u8,
    authority: [u8; 6],
    sub: [u32; 2],
}

const fn sid(authority: u8, sub: &[u32]) -> Sid {
    let mut sid =
        Sid { revision: 1, count: sub.len() as u8, authority: [0, 0, 0, 0, 0, authority], sub: [0; 2] };
    sid.sub[0] = sub[0];
    if sub.len() > 1 {
        sid.sub[1] = sub[1];
    }
    sid
}

const WORLD: u8 = 1;
const LOCAL: u8 = 2;
const CREATOR: u8 = 3;
const NT: u8 = 5;
const BUILTIN: u32 = 32;

/// `SE_EXPORTS` (ntifs.h): privileges as LUIDs, then well-known SIDs.
#[repr(C)]
pub(crate) struct SeExportsTable {
    privileges: [i64; 23],
    sids: [&'static Sid; 22],
    more_privileges: [i64; 3],
    service_sids: [&'static Sid; 2],
    last_privileges: [i64; 3],
}
layout!(SeExportsTable, 424, sids @ 184, service_sids @ 384);

/// The variable drivers import.
#[repr(transparent)]
pub(crate) struct SeExportsPointer(*const SeExportsTable);

// SAFETY: the table it points to is constant.
unsafe impl Sync for SeExportsPointer {}

static TABLE: SeExportsTable = SeExportsTable {
    // SE_CREATE_TOKEN_PRIVILEGE (2) to SE_REMOTE_SHUTDOWN_PRIVILEGE (24).
    privileges: {
        let mut luids = [0; 23];
        let mut i = 0;
        while i < luids.len() {
            luids[i] = i as i64 + 2;
            i += 1;
        }
        luids
    },
    sids: [
        &sid(0, &[0]),             // SeNullSid
        &sid(WORLD, &[0]),         // SeWorldSid
        &sid(LOCAL, &[0]),         // SeLocalSid
        &sid(CREATOR, &[0]),       // SeCreatorOwnerSid
        &sid(CREATOR, &[1]),       // SeCreatorGroupSid
        &sid(NT, &[0]),            // SeNtAuthoritySid
        &sid(NT, &[1]),            // SeDialupSid
        &sid(NT, &[2]),            // SeNetworkSid
        &sid(NT, &[3]),            // SeBatchSid
        &sid(NT, &[4]),            // SeInteractiveSid
        &sid(NT, &[18]),           // SeLocalSystemSid
        &sid(NT, &[BUILTIN, 544]), // SeAliasAdminsSid
        &sid(NT, &[BUILTIN, 545]), // SeAliasUsersSid
        &sid(NT, &[BUILTIN, 546]), // SeAliasGuestsSid
        &sid(NT, &[BUILTIN, 547]), // SeAliasPowerUsersSid
        &sid(NT, &[BUILTIN, 548]), // SeAliasAccountOpsSid
        &sid(NT, &[BUILTIN, 549]), // SeAliasSystemOpsSid
        &sid(NT, &[BUILTIN, 550]), // SeAliasPrintOpsSid
        &sid(NT, &[BUILTIN, 551]), // SeAliasBackupOpsSid
        &sid(NT, &[11]),           // SeAuthenticatedUsersSid
        &sid(NT, &[12]),           // SeRestrictedSid
        &sid(NT, &[7]),            // SeAnonymousLogonSid
    ],
    more_privileges: [25, 26, 27],
    service_sids: [&sid(NT, &[19]), &sid(NT, &[20])],
    last_privileges: [28, 29, 30],
};

/// `SeExports`.
#[expect(non_upper_case_globals, reason = "the name drivers import")]
pub(crate) static SeExports: SeExportsPointer = SeExportsPointer(&TABLE);

/// Returns the length of a SID in bytes. Any IRQL.
///
/// # Safety
/// `sid` is a valid SID.
pub(crate) unsafe extern "win64" fn RtlLengthSid(sid: Pvoid) -> u32 {
    // SAFETY: by this function's contract, `sid` is a valid SID.
    unsafe { 8 + 4 * u32::from(*sid.cast::<u8>().add(1)) }
}

/// `RtlCreateSecurityDescriptor`: an empty absolute descriptor. IRQL < `DISPATCH_LEVEL`.
///
/// # Safety
/// `descriptor` is writable.
pub(crate) unsafe extern "win64" fn RtlCreateSecurityDescriptor(
    descriptor: *mut SecurityDescriptor,
    revision: u32,
) -> NtStatus {
    if revision != u32::from(SD_REVISION) {
        return status::REVISION_MISMATCH;
    }
    // SAFETY: by this function's contract, `descriptor` is writable.
    unsafe {
        *descriptor = SecurityDescriptor {
            revision: SD_REVISION,
            sbz1: 0,
            control: 0,
            owner: null_mut(),
            group: null_mut(),
            sacl: null_mut(),
            dacl: null_mut(),
        };
    }
    status::SUCCESS
}

/// `RtlSetDaclSecurityDescriptor`. IRQL < `DISPATCH_LEVEL`.
///
/// # Safety
/// `descriptor` is an absolute descriptor; `dacl` lives as long as it.
pub(crate) unsafe extern "win64" fn RtlSetDaclSecurityDescriptor(
    descriptor: *mut SecurityDescriptor,
    present: Boolean,
    dacl: *mut Acl,
    defaulted: Boolean,
) -> NtStatus {
    // SAFETY: by this function's contract, `descriptor` is an absolute descriptor; `dacl` lives as long as
    // it.
    unsafe {
        if (*descriptor).revision != SD_REVISION {
            return status::REVISION_MISMATCH;
        }
        if (*descriptor).control & SE_SELF_RELATIVE != 0 {
            return status::INVALID_SECURITY_DESCR;
        }
        (*descriptor).control &= !(SE_DACL_PRESENT | SE_DACL_DEFAULTED);
        (*descriptor).dacl = null_mut();
        if present != FALSE {
            (*descriptor).control |= SE_DACL_PRESENT;
            (*descriptor).dacl = dacl;
            if defaulted != FALSE {
                (*descriptor).control |= SE_DACL_DEFAULTED;
            }
        }
    }
    status::SUCCESS
}

/// `RtlCreateAcl`. IRQL < `DISPATCH_LEVEL`.
///
/// # Safety
/// `acl` has `length` writable bytes.
pub(crate) unsafe extern "win64" fn RtlCreateAcl(acl: *mut Acl, length: u32, revision: u32) -> NtStatus {
    if (length as usize) < size_of::<Acl>() {
        return status::BUFFER_TOO_SMALL;
    }
    if length > 0xFFFF || !(2..=4).contains(&revision) {
        return status::INVALID_PARAMETER;
    }
    // SAFETY: by this function's contract, `acl` has `length` writable bytes.
    unsafe {
        *acl = Acl { revision: revision as u8, sbz1: 0, size: (length & !3) as u16, ace_count: 0, sbz2: 0 };
    }
    status::SUCCESS
}

/// Returns the number of bytes of an ACL taken by its header and ACEs, or `None` if it is not valid.
unsafe fn used(acl: *const Acl) -> Option<usize> {
    // SAFETY: the caller keeps `acl` valid for this call.
    unsafe {
        if acl.is_null() || !(2..=4).contains(&(*acl).revision) {
            return None;
        }
        let mut at = size_of::<Acl>();
        for _ in 0..(*acl).ace_count {
            let ace: *const AccessAllowedAce = acl.byte_add(at).cast();
            if at + size_of::<AccessAllowedAce>() > usize::from((*acl).size) {
                return None;
            }
            at += usize::from((*ace).ace_size);
        }
        (at <= usize::from((*acl).size)).then_some(at)
    }
}

/// `RtlAddAccessAllowedAce`. IRQL < `DISPATCH_LEVEL`.
///
/// # Safety
/// `acl` is an ACL with as many bytes as its header says; `sid` is valid.
pub(crate) unsafe extern "win64" fn RtlAddAccessAllowedAce(
    acl: *mut Acl,
    revision: u32,
    mask: u32,
    sid: Pvoid,
) -> NtStatus {
    // SAFETY: by this function's contract, `acl` is an ACL with as many bytes as its header says; `sid` is
    // valid.
    unsafe {
        let Some(at) = used(acl) else { return status::INVALID_ACL };
        if revision > u32::from((*acl).revision) {
            return status::REVISION_MISMATCH;
        }
        if *sid.cast::<u8>() != 1 {
            return status::INVALID_SID;
        }
        let length = RtlLengthSid(sid) as usize;
        let size = size_of::<AccessAllowedAce>() + length;
        if at + size > usize::from((*acl).size) {
            return status::ALLOTTED_SPACE_EXCEEDED;
        }
        let ace: *mut AccessAllowedAce = acl.byte_add(at).cast();
        *ace = AccessAllowedAce { ace_type: 0, ace_flags: 0, ace_size: size as u16, mask };
        core::ptr::copy_nonoverlapping(sid.cast::<u8>(), ace.add(1).cast(), length);
        (*acl).ace_count += 1;
        status::SUCCESS
    }
}

/// Returns a self-relative copy of a descriptor's DACL: header, then the ACL.
unsafe fn self_relative(descriptor: *const SecurityDescriptor) -> Result<Vec<u8>, NtStatus> {
    // SAFETY: the caller keeps `descriptor` valid for this call.
    unsafe {
        if descriptor.is_null() || (*descriptor).revision != SD_REVISION {
            return Err(status::INVALID_SECURITY_DESCR);
        }
        if (*descriptor).control & SE_SELF_RELATIVE != 0 {
            // Already flat: offsets in place of pointers. Only its DACL is kept.
            let offset = *descriptor.byte_add(16).cast::<u32>() as usize;
            let dacl: *const Acl = descriptor.byte_add(offset).cast();
            return Ok(flat((*descriptor).control, (offset != 0).then_some(dacl)));
        }
        let dacl = (*descriptor).dacl;
        if !dacl.is_null() && used(dacl).is_none() {
            return Err(status::INVALID_ACL);
        }
        Ok(flat((*descriptor).control, (!dacl.is_null()).then_some(dacl.cast_const())))
    }
}

unsafe fn flat(control: u16, dacl: Option<*const Acl>) -> Vec<u8> {
    let mut bytes = Vec::from([SD_REVISION, 0]);
    bytes.extend_from_slice(
        &(control & (SE_DACL_PRESENT | SE_DACL_DEFAULTED) | SE_SELF_RELATIVE).to_le_bytes(),
    );
    // Owner, group, SACL: none. The DACL follows the 20-byte header.
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&if dacl.is_some() { 20u32 } else { 0 }.to_le_bytes());
    // SAFETY: the ACL, if there is one, has as many bytes as its header says.
    unsafe {
        if let Some(dacl) = dacl {
            bytes.extend_from_slice(&*slice_from_raw_parts(dacl.cast::<u8>(), usize::from((*dacl).size)));
        }
    }
    bytes
}

/// `ZwSetSecurityObject`: keeps the descriptor's DACL with the object. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `descriptor` is a valid descriptor.
pub(crate) unsafe extern "win64" fn ZwSetSecurityObject(
    handle: Handle,
    information: u32,
    descriptor: *const SecurityDescriptor,
) -> NtStatus {
    let Some(body) = handle::body(handle) else { return status::INVALID_HANDLE };
    if information & DACL_SECURITY_INFORMATION == 0 {
        return status::INVALID_PARAMETER;
    }
    // SAFETY: by this function's contract, `descriptor` is a valid descriptor.
    unsafe {
        match self_relative(descriptor) {
            Ok(bytes) => {
                object::set_security(body, bytes);
                status::SUCCESS
            }
            Err(error) => error,
        }
    }
}

/// Returns the SIDs and access masks that a self-relative descriptor's DACL allows, or `None` if it has no
/// DACL and so allows everyone everything.
pub(crate) fn allowed(descriptor: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
    let offset = u32::from_le_bytes(descriptor.get(16..20)?.try_into().ok()?) as usize;
    if offset == 0 {
        return None;
    }
    let acl = descriptor.get(offset..)?;
    debug_assert!(acl[0] >= ACL_REVISION);
    let count = u16::from_le_bytes([acl[4], acl[5]]);
    let (mut at, mut entries) = (size_of::<Acl>(), Vec::new());
    for _ in 0..count {
        let size = usize::from(u16::from_le_bytes([acl[at + 2], acl[at + 3]]));
        let ace = acl.get(at..at + size)?;
        entries.push((u32::from_le_bytes([ace[4], ace[5], ace[6], ace[7]]), ace[8..].to_vec()));
        at += size;
    }
    Some(entries)
}
