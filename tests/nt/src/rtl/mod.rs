//! Run-time library: version, strings, memory, debug output.

mod print;

pub(crate) use print::DbgPrint;

use core::sync::atomic::AtomicU32;

use crate::nt::*;

/// `InitSafeBootMode`: 0 is a normal boot.
#[expect(non_upper_case_globals, reason = "the name that drivers import")]
pub(crate) static InitSafeBootMode: AtomicU32 = AtomicU32::new(0);

/// `RTL_OSVERSIONINFOW`, up to the service-pack string.
#[repr(C)]
pub(crate) struct OsVersionInfo {
    size: u32,
    major: u32,
    minor: u32,
    build: u32,
    platform: u32,
    service_pack: [u16; 128],
}

/// `VER_PLATFORM_WIN32_NT`.
const PLATFORM_NT: u32 = 2;

/// `RtlGetVersion`: the version of the profile. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// `version` is writable.
pub(crate) unsafe extern "win64" fn RtlGetVersion(version: *mut OsVersionInfo) -> NtStatus {
    // SAFETY: by this function's contract, `version` is writable.
    let version = unsafe { &mut *version };
    (version.major, version.minor, version.build) = crate::boot::options().nt.numbers();
    version.platform = PLATFORM_NT;
    version.service_pack = [0; 128];
    status::SUCCESS
}

/// `RtlInitUnicodeString`. Any IRQL.
///
/// # Safety
/// `source` is null or ends with a zero.
pub(crate) unsafe extern "win64" fn RtlInitUnicodeString(target: *mut UnicodeString, source: *const u16) {
    // SAFETY: by this function's contract, `source` is null or ends with a zero.
    unsafe {
        *target = UnicodeString::EMPTY;
        if !source.is_null() {
            let units = (0..).take_while(|&i| *source.add(i) != 0).count();
            let length = (units * 2) as u16;
            *target = UnicodeString { length, maximum_length: length + 2, buffer: source.cast_mut() };
        }
    }
}

/// `memcpy`. Any IRQL.
///
/// # Safety
/// As C's.
pub(crate) unsafe extern "win64" fn memcpy(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller keeps the contract of C's function of this name.
    unsafe {
        core::ptr::copy_nonoverlapping(source, target, count);
    }
    target
}

/// `memmove`. Any IRQL.
///
/// # Safety
/// As C's.
pub(crate) unsafe extern "win64" fn memmove(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller keeps the contract of C's function of this name.
    unsafe {
        core::ptr::copy(source, target, count);
    }
    target
}

/// `memset`. Any IRQL.
///
/// # Safety
/// As C's.
pub(crate) unsafe extern "win64" fn memset(target: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller keeps the contract of C's function of this name.
    unsafe {
        core::ptr::write_bytes(target, value as u8, count);
    }
    target
}

/// `memcmp`. Any IRQL.
///
/// # Safety
/// As C's.
pub(crate) unsafe extern "win64" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller keeps the contract of C's function of this name.
    unsafe {
        let differing = (0..count).find(|&i| *one.add(i) != *other.add(i));
        differing.map_or(0, |i| i32::from(*one.add(i)) - i32::from(*other.add(i)))
    }
}
