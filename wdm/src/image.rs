//! Driver images: being told as they are loaded, and the list of those that are.
#![expect(unsafe_code, reason = "registers a notify routine and reads a list from a buffer")]

use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_sys::{
    HANDLE, NTSTATUS, PIMAGE_INFO, PUNICODE_STRING, PVOID, ULONG, ntddk::PsSetLoadImageNotifyRoutine,
};

use crate::{NtStatus, Result, driver::counted, pool, status::check};

// Not in the bindings; documented with SYSTEM_INFORMATION_CLASS, exported since NT 3.
unsafe extern "C" {
    fn ZwQuerySystemInformation(class: i32, buffer: PVOID, length: ULONG, needed: *mut ULONG) -> NTSTATUS;
}

/// The routine that is called for each image, with its path.
pub type Routine = fn(path: &[u16]);

static ROUTINE: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Has `routine` called for every driver image that is loaded from now on, when it is in memory and nothing
/// of it has run: PASSIVE_LEVEL, in the thread that loads it and inside a critical region, so that it must
/// not wait for long. Once for each driver that uses this crate, and not undone: the driver does not unload.
/// PASSIVE_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES` where the system has no more room for such routines.
pub fn notify_on_load(routine: Routine) -> Result {
    ROUTINE.store(routine as *mut (), Ordering::Release);
    // SAFETY: the routine has the documented type and stays.
    check(unsafe { PsSetLoadImageNotifyRoutine(Some(loaded)) })
}

unsafe extern "C" fn loaded(path: PUNICODE_STRING, process: HANDLE, _: PIMAGE_INFO) {
    let routine = ROUTINE.load(Ordering::Acquire);
    // A process's images have the process's id; the path may be missing.
    if !process.is_null() || path.is_null() || routine.is_null() {
        return;
    }
    // SAFETY: `notify_on_load` stored a function of this type; the path is a counted string during the call.
    unsafe { core::mem::transmute::<*mut (), Routine>(routine)(counted(path)) };
}

/// SystemModuleInformation.
const MODULES: i32 = 11;

/// RTL_PROCESS_MODULE_INFORMATION on x64; the same for every NT.
#[repr(C)]
struct Module {
    section: u64,
    mapped_base: u64,
    image_base: u64,
    image_size: u32,
    flags: u32,
    order: [u16; 3],
    file_name_offset: u16,
    path: [u8; 256],
}
const _: () = assert!(size_of::<Module>() == 0x128 && offset_of!(Module, path) == 0x28);

/// RTL_PROCESS_MODULES up to its modules: their number, padded.
const HEADER: usize = 8;

/// Returns true if the image `<name>.sys` is loaded, in whichever folder and case. PASSIVE_LEVEL.
///
/// # Errors
/// As [`modules`].
pub fn is_loaded(name: &str) -> Result<bool> {
    let mut found = false;
    modules(|path| {
        let file = path.rsplit(|&byte| byte == b'\\').next().unwrap_or_default();
        let (stem, extension) = file.split_at(name.len().min(file.len()));
        found |= stem.eq_ignore_ascii_case(name.as_bytes()) && extension.eq_ignore_ascii_case(b".sys");
    })?;
    Ok(found)
}

/// Calls `each` with the path of every loaded kernel module, in the system's code page. PASSIVE_LEVEL.
///
/// # Errors
/// What ZwQuerySystemInformation answers, `INSUFFICIENT_RESOURCES`.
pub fn modules(mut each: impl FnMut(&[u8])) -> Result {
    let mut length = 64 * 1024;
    loop {
        let mut buffer = pool::try_vec::<u64>(length / 8)?;
        let room = (buffer.len() * 8) as ULONG;
        let mut needed: ULONG = 0;
        // SAFETY: a buffer of the length given and a place for the needed one.
        let status = NtStatus(unsafe {
            ZwQuerySystemInformation(MODULES, buffer.as_mut_ptr().cast(), room, &raw mut needed)
        });
        if status == NtStatus::INFO_LENGTH_MISMATCH && needed > room {
            // Drivers may be loaded between two queries.
            length = (needed as usize + 16 * size_of::<Module>()).next_multiple_of(8);
            continue;
        }
        status.to_result()?;
        let count = (buffer[0] as u32 as usize).min((buffer.len() * 8 - HEADER) / size_of::<Module>());
        // SAFETY: the answer holds that many modules behind its header, plain numbers, inside the buffer.
        let modules =
            unsafe { core::slice::from_raw_parts(buffer.as_ptr().byte_add(HEADER).cast::<Module>(), count) };
        for module in modules {
            let end = module.path.iter().position(|&byte| byte == 0).unwrap_or(module.path.len());
            each(&module.path[..end]);
        }
        return Ok(());
    }
}
