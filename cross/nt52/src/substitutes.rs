//! The routines that NT 5.2 does not export. Contracts: Microsoft's reference of each; the `Nt` routines and
//! their information classes are in the WDK's reference.

#![expect(unsafe_code, reason = "C interfaces on both sides")]

use core::{ffi::c_void, ptr, slice};

type Handle = *mut c_void;
type Bool = i32;

const FALSE: Bool = 0;
const TRUE: Bool = 1;
const ERROR_INVALID_PARAMETER: u32 = 87;
const ERROR_TIMEOUT: u32 = 1460;
const INFINITE: u32 = u32::MAX;

/// `IO_STATUS_BLOCK`
#[repr(C)]
struct IoStatus {
    status: usize,
    information: usize,
}

#[link(name = "ntdll", kind = "raw-dylib")]
unsafe extern "system" {
    fn NtQueryInformationFile(
        file: Handle,
        io: *mut IoStatus,
        data: *mut c_void,
        length: u32,
        class: u32,
    ) -> i32;
    fn NtSetInformationFile(
        file: Handle,
        io: *mut IoStatus,
        data: *const c_void,
        length: u32,
        class: u32,
    ) -> i32;
    fn NtQueryDirectoryFile(
        file: Handle,
        event: Handle,
        routine: *const c_void,
        context: *const c_void,
        io: *mut IoStatus,
        data: *mut c_void,
        length: u32,
        class: u32,
        single: u8,
        name: *const c_void,
        restart: u8,
    ) -> i32;
    fn RtlUpcaseUnicodeChar(unit: u16) -> u16;
    fn RtlNtStatusToDosError(status: i32) -> u32;
}

#[link(name = "advapi32", kind = "raw-dylib")]
unsafe extern "system" {
    /// Does the work of `RtlGenRandom`.
    fn SystemFunction036(buffer: *mut u8, length: u32) -> u8;
}

#[link(name = "kernel32", kind = "raw-dylib")]
unsafe extern "system" {
    fn SetLastError(code: u32);
    fn SleepEx(milliseconds: u32, alertable: Bool) -> u32;
}

/// Fills a buffer with random bytes; the standard library seeds its hash maps with them.
///
/// # Safety
/// `buffer` has `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "system" fn ProcessPrng(buffer: *mut u8, length: usize) -> Bool {
    let Ok(length) = u32::try_from(length) else { return FALSE };
    // SAFETY: the caller's.
    Bool::from(unsafe { SystemFunction036(buffer, length) } != 0)
}

/// Waits until what is at `address` is no longer what is at `compare`. The program has one thread that
/// matters, so that this is hardly ever called; looking again each millisecond is good enough, and a wake-up
/// need not do anything.
///
/// # Safety
/// Both have `size` bytes, and `address` is written by atomic stores only.
#[unsafe(no_mangle)]
unsafe extern "system" fn WaitOnAddress(
    address: *const c_void,
    compare: *const c_void,
    size: usize,
    milliseconds: u32,
) -> Bool {
    let mut waited = 0;
    // SAFETY: the caller's.
    while unsafe { same(address.cast(), compare.cast(), size) } {
        if milliseconds != INFINITE && waited >= milliseconds {
            fail(ERROR_TIMEOUT);
            return FALSE;
        }
        // SAFETY: nothing is asked of the caller.
        unsafe { SleepEx(1, FALSE) };
        waited = waited.saturating_add(1);
    }
    TRUE
}

/// Compares byte by byte, each read anew.
///
/// # Safety
/// Both have `size` bytes.
unsafe fn same(one: *const u8, other: *const u8, size: usize) -> bool {
    (0..size).all(|at| {
        // SAFETY: inside the `size` bytes.
        unsafe { one.add(at).read_volatile() == other.add(at).read_volatile() }
    })
}

/// Wakes one thread; see [`WaitOnAddress`].
#[unsafe(no_mangle)]
extern "system" fn WakeByAddressSingle(_address: *const c_void) {}

/// Wakes all threads; see [`WaitOnAddress`].
#[unsafe(no_mangle)]
extern "system" fn WakeByAddressAll(_address: *const c_void) {}

/// Compares texts by their units, upper-cased one by one if `ignore_case`. Returns 1 for less, 2 for equal, 3
/// for greater.
///
/// # Safety
/// Each text has as many units as is said, or ends with a NUL where -1 is said.
#[unsafe(no_mangle)]
unsafe extern "system" fn CompareStringOrdinal(
    one: *const u16,
    one_length: i32,
    other: *const u16,
    other_length: i32,
    ignore_case: Bool,
) -> i32 {
    // SAFETY: the caller's.
    let (one, other) = unsafe { (units(one, one_length), units(other, other_length)) };
    // SAFETY: nothing is asked of the caller.
    let fold = |&unit: &u16| if ignore_case == FALSE { unit } else { unsafe { RtlUpcaseUnicodeChar(unit) } };
    2 + one.iter().map(fold).cmp(other.iter().map(fold)) as i32
}

/// # Safety
/// As for the caller; the text lives as long as the result is used.
unsafe fn units<'a>(text: *const u16, length: i32) -> &'a [u16] {
    let length = usize::try_from(length).unwrap_or_else(|_| {
        // SAFETY: the text ends with a NUL.
        (0..).take_while(|&at| unsafe { text.add(at).read() } != 0).count()
    });
    // SAFETY: it has as many units.
    unsafe { slice::from_raw_parts(text, length) }
}

/// Returns the information classes of NT that hold the same structures as those of the Windows API
/// (`FILE_INFO_BY_HANDLE_CLASS`).
const fn file_class(class: u32) -> Option<u32> {
    Some(match class {
        // FileBasicInfo: FileBasicInformation
        0 => 4,
        // FileStandardInfo: FileStandardInformation
        1 => 5,
        // FileNameInfo: FileNameInformation
        2 => 9,
        // FileDispositionInfo: FileDispositionInformation
        4 => 13,
        // FileAllocationInfo: FileAllocationInformation
        5 => 19,
        // FileEndOfFileInfo: FileEndOfFileInformation
        6 => 20,
        // FileAttributeTagInfo: FileAttributeTagInformation
        9 => 35,
        _ => return None,
    })
}

/// `FileIdBothDirectoryInformation`
const ID_BOTH_DIRECTORY: u32 = 37;

/// Asks for a file's properties, or for a folder's entries.
///
/// # Safety
/// `data` has `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "system" fn GetFileInformationByHandleEx(
    file: Handle,
    class: u32,
    data: *mut c_void,
    length: u32,
) -> Bool {
    let mut io = IoStatus { status: 0, information: 0 };
    let status = match class {
        // FileIdBothDirectoryInfo and FileIdBothDirectoryRestartInfo
        // SAFETY: the handle is synchronous, as are all of the standard library's; the data has its length.
        10 | 11 => unsafe {
            NtQueryDirectoryFile(
                file,
                ptr::null_mut(),
                ptr::null(),
                ptr::null(),
                &raw mut io,
                data,
                length,
                ID_BOTH_DIRECTORY,
                0,
                ptr::null(),
                u8::from(class == 11),
            )
        },
        _ => match file_class(class) {
            // SAFETY: the data has its length.
            Some(class) => unsafe { NtQueryInformationFile(file, &raw mut io, data, length, class) },
            None => return refused(),
        },
    };
    done(status)
}

/// Sets a file's properties. Renaming is left out: its structure holds a path of the Windows API.
///
/// # Safety
/// `data` has `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "system" fn SetFileInformationByHandle(
    file: Handle,
    class: u32,
    data: *const c_void,
    length: u32,
) -> Bool {
    let Some(class) = file_class(class) else { return refused() };
    let mut io = IoStatus { status: 0, information: 0 };
    // SAFETY: the data has its length.
    done(unsafe { NtSetInformationFile(file, &raw mut io, data, length, class) })
}

fn done(status: i32) -> Bool {
    if status >= 0 {
        return TRUE;
    }
    // SAFETY: nothing is asked of the caller.
    fail(unsafe { RtlNtStatusToDosError(status) });
    FALSE
}

/// Refuses a class like a Windows that does not know it; the standard library then does without.
fn refused() -> Bool {
    fail(ERROR_INVALID_PARAMETER);
    FALSE
}

fn fail(code: u32) {
    // SAFETY: nothing is asked of the caller.
    unsafe { SetLastError(code) }
}
