//! Routines that not every NT has, looked up by name.
#![expect(unsafe_code, reason = "calls MmGetSystemRoutineAddress")]

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_sys::ntddk::MmGetSystemRoutineAddress;

use crate::unicode;

/// Returns the address of a routine that the kernel or the HAL exports; `None` where this NT has none of that
/// name. PASSIVE_LEVEL. To call it, transmute to its documented type: `let f: unsafe extern "system" fn(u16)
/// -> u32 = unsafe { core::mem::transmute(address.as_ptr()) };`
#[must_use]
pub fn find(name: &[u16]) -> Option<NonNull<c_void>> {
    let mut name = unicode::counted(name).ok()?;
    // SAFETY: a counted string that lives across the call.
    NonNull::new(unsafe { MmGetSystemRoutineAddress(&raw mut name) })
}
