//! The list of loaded modules, and the one class of `ZwQuerySystemInformation` that gives it out.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{image, notify};
use crate::ke::Lock;
use crate::layout;
use crate::nt::*;

/// The folder of driver files.
const DRIVERS: &str = "\\SystemRoot\\System32\\DRIVERS\\";

/// `SystemModuleInformation`.
const MODULE_INFORMATION: u32 = 11;

/// `RTL_PROCESS_MODULE_INFORMATION` on x64.
#[repr(C)]
struct Module {
    section: Handle,
    mapped_base: Pvoid,
    image_base: Pvoid,
    image_size: u32,
    flags: u32,
    load_order: u16,
    init_order: u16,
    load_count: u16,
    file_name_offset: u16,
    path: [u8; 256],
}
layout!(Module, 0x128, image_base @ 0x10, file_name_offset @ 0x26, path @ 0x28);

/// `RTL_PROCESS_MODULES` up to its modules.
const HEADER: usize = 8;

/// Drivers that are part of the executive: their file names, as NT's files are called.
static BUILT_IN: Lock<Vec<String>> = Lock::new(Vec::new());

/// Returns the path of a driver file.
pub(crate) fn path(file_name: &str) -> String {
    format!("{DRIVERS}{file_name}")
}

/// Brings a driver that is part of the executive into memory: by the boot loader, which tells nobody, or
/// later.
pub(crate) fn built_in(file_name: &str, at_boot: bool) {
    BUILT_IN.lock().push(file_name.to_string());
    if !at_boot {
        let executive = super::executive();
        notify::loaded(&path(file_name), executive.start, executive.len());
    }
}

/// Returns path, base and size of every module, the kernel first.
fn modules() -> Vec<(String, usize, usize)> {
    let executive = super::executive();
    let mut all: Vec<_> = ["\\WINDOWS\\system32\\ntoskrnl.exe", "\\WINDOWS\\system32\\hal.dll"]
        .map(|name| (name.to_string(), executive.start, executive.len()))
        .into();
    all.extend(BUILT_IN.lock().iter().map(|name| (path(name), executive.start, executive.len())));
    all.extend(image::all().into_iter().map(|(name, base, size)| (path(&name), base, size)));
    all
}

/// `ZwQuerySystemInformation` for the class `SystemModuleInformation`; others are refused. IRQL
/// `PASSIVE_LEVEL`.
///
/// # Safety
/// `buffer` has `length` bytes; `needed` is null or writable.
pub(crate) unsafe extern "win64" fn ZwQuerySystemInformation(
    class: u32,
    buffer: Pvoid,
    length: u32,
    needed: *mut u32,
) -> NtStatus {
    if class != MODULE_INFORMATION {
        return status::INVALID_INFO_CLASS;
    }
    let modules = modules();
    let bytes = HEADER + modules.len() * size_of::<Module>();
    // SAFETY: by this function's contract, `buffer` has `length` bytes; `needed` is null or writable.
    unsafe {
        if !needed.is_null() {
            *needed = bytes as u32;
        }
        if (length as usize) < bytes {
            return status::INFO_LENGTH_MISMATCH;
        }
        buffer.cast::<u64>().write(modules.len() as u64);
        let first: *mut Module = buffer.byte_add(HEADER).cast();
        for (n, (path, base, size)) in modules.iter().enumerate() {
            let mut text = [0; 256];
            let kept = path.len().min(text.len() - 1);
            text[..kept].copy_from_slice(&path.as_bytes()[..kept]);
            first.add(n).write_unaligned(Module {
                section: core::ptr::null_mut(),
                mapped_base: core::ptr::null_mut(),
                image_base: *base as Pvoid,
                image_size: *size as u32,
                flags: 0,
                load_order: n as u16,
                init_order: 0,
                load_count: 1,
                file_name_offset: path.rfind('\\').map_or(0, |at| at + 1) as u16,
                path: text,
            });
        }
        status::SUCCESS
    }
}
