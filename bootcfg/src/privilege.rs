//! Privileges of this process.
#![expect(unsafe_code, reason = "calls of the Windows API, which std does not have")]

use anyhow::{Context, Result};
use std::{io, ptr};
use windows_sys::Win32::{
    Foundation::{CloseHandle, ERROR_NOT_ALL_ASSIGNED, GetLastError, HANDLE, LUID},
    Security::{
        AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_ENABLED,
        TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
    },
    System::Threading::{GetCurrentProcess, OpenProcessToken},
};

use crate::bail_as;

/// Enables a privilege of this process.
///
/// # Errors
/// The process has not got it, or Windows refuses.
pub fn enable(privilege: &str) -> Result<()> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: the pseudo handle of this process needs no closing, and the result has its place.
    let opened = unsafe {
        OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &raw mut token)
    };
    if opened == 0 {
        return Err(io::Error::last_os_error()).context("this process's privileges cannot be changed");
    }
    let name: Vec<u16> = privilege.encode_utf16().chain([0]).collect();
    let mut id = LUID { LowPart: 0, HighPart: 0 };
    // SAFETY: the name ends with a NUL, and the result has its place.
    let found = unsafe { LookupPrivilegeValueW(ptr::null(), name.as_ptr(), &raw mut id) };
    let wanted = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES { Luid: id, Attributes: SE_PRIVILEGE_ENABLED }],
    };
    // SAFETY: the token is open for it, and the structure lives until the call returns; no old state is
    // asked for.
    let adjusted = found != 0
        && unsafe { AdjustTokenPrivileges(token, 0, &raw const wanted, 0, ptr::null_mut(), ptr::null_mut()) }
            != 0;
    // SAFETY: takes nothing. The call above succeeds also where the token lacks the privilege, and says so
    // here.
    let code = unsafe { GetLastError() };
    // SAFETY: the token is open, and not used after this.
    unsafe { CloseHandle(token) };
    if !adjusted || code == ERROR_NOT_ALL_ASSIGNED {
        bail_as!(NotPermitted, "{privilege} is missing: run this as an administrator, or in WinPE or WinRE");
    }
    Ok(())
}
