//! The NT executive's loader, as ntldr and winload are NT's: puts the executive where it is linked, and enters it, with
//! the boot archive, a tar file, as the one module of the multiboot information.
//!
//! There are two ways here. A boot sector loads it from the system volume of the machine's own disk, and it reads there
//! what the system needs ([`disk`]). Or it is started by multiboot, with an archive that the host has made, whose first
//! file is the executive.
//!
//! That way exists for speed. Under Xen, qemu gives a kernel and its module to the guest byte by byte, in emulated
//! port accesses: 6 s for a MiB. So the archive is put into memory with the firmware's tables
//! (`rig::Job::preloaded`), where it is looked for. Without Xen it comes as the multiboot module.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "moves memory, and calls the BIOS")]

extern crate alloc;

mod disk;
mod entry;
mod low;
mod sectors;

use core::slice;

use osloader::elf::{Executable, LINKED};
use osloader::multiboot::{Information, MODULES, Module};

/// Addresses that may hold what is put into memory: between this image and the executive, at a page.
const PRELOADED: core::ops::Range<usize> = 1 << 20..LINKED;
const PAGE: usize = 4096;
/// The bytes at offset 8 of the page before the archive (`rig::PRELOADED_MARK`).
const MARK: &[u8] = b"preloaded file: ";
/// The executive's name in the archive.
const EXECUTIVE: &[u8] = b"nt.elf\0";

/// The value that a multiboot loader leaves in eax.
const MAGIC: u32 = 0x2BAD_B002;

/// The executive in place.
#[repr(C)]
pub(crate) struct Executive {
    /// Its entry.
    entry: u64,
    /// The address of the multiboot information for it.
    information: u64,
}

/// Finds the files and puts the executive in place.
///
/// # Safety
/// Called once by the entry code, with what the multiboot loader left, or [`low::FROM_DISK`] and the disk's number.
unsafe extern "C" fn load(magic: u32, info: u32) -> Executive {
    if magic == low::FROM_DISK {
        return disk::start(info as u8);
    }
    require(magic == MAGIC, "not started by a multiboot loader");
    static mut MODULE: Module = Module { start: 0, end: 0, string: 0, reserved: 0 };
    // SAFETY: the loader's structures are in memory below 1 GiB, which is mapped, and the one static is used
    // here alone.
    let archive = unsafe {
        let info = &mut *(info as usize as *mut Information);
        if info.flags & MODULES == 0 || info.mods_count == 0 {
            let Some(archive) = preloaded() else { fail("there is no archive in memory") };
            MODULE = Module { start: archive.start as u32, end: archive.end as u32, string: 0, reserved: 0 };
            (info.flags, info.mods_count) = (info.flags | MODULES, 1);
            info.mods_addr = &raw const MODULE as usize as u32;
        }
        let module = &*(info.mods_addr as usize as *const Module);
        slice::from_raw_parts(module.start as usize as *const u8, (module.end - module.start) as usize)
    };
    Executive { entry: place(first_file(archive)), information: u64::from(info) }
}

/// Returns the archive that was put into memory.
///
/// # Safety
/// Memory up to the executive is there, and mapped.
unsafe fn preloaded() -> Option<core::ops::Range<usize>> {
    PRELOADED.step_by(PAGE).find_map(|page| {
        // SAFETY: the caller's promise; all of the memory is initialized by the firmware or Xen.
        let (length, mark) = unsafe {
            ((page as *const u32).read() as usize, slice::from_raw_parts((page + 8) as *const u8, MARK.len()))
        };
        (mark == MARK).then(|| page + PAGE..page + size_of::<u32>() + length)
    })
}

/// Returns the archive's first file (ustar: name at 0, octal size at 124, content behind 512 bytes).
fn first_file(archive: &[u8]) -> &[u8] {
    require(archive.len() > 512 && archive.starts_with(EXECUTIVE), "the first file is not the executive");
    let digits = archive[124..136].iter().take_while(|byte| (b'0'..=b'7').contains(byte));
    let size = digits.fold(0, |size, byte| size * 8 + usize::from(byte - b'0'));
    require(size <= archive.len() - 512, "the executive is cut off");
    &archive[512..512 + size]
}

/// Puts the executive's segments where they are linked; answers the entry.
fn place(file: &[u8]) -> u64 {
    let executable = Executable::new(file).unwrap_or_else(|why| fail(why));
    for segment in executable.segments() {
        let segment = segment.unwrap_or_else(|why| fail(why));
        // SAFETY: nothing else is there: the firmware is below, and at the end of memory.
        let memory = unsafe { slice::from_raw_parts_mut(segment.address as *mut u8, segment.size) };
        let (content, rest) = memory.split_at_mut(segment.content.len());
        content.copy_from_slice(segment.content);
        rest.fill(0);
    }
    executable.entry()
}

fn require(well: bool, what: &str) {
    if !well {
        fail(what);
    }
}

/// Says something on the port that the executive reports on.
fn say(what: &str) {
    for byte in b"@xg dbg ntldr: ".iter().chain(what.as_bytes()).chain(b"\n") {
        // SAFETY: the debug console, which is nothing else's.
        unsafe { core::arch::asm!("out 0xE9, al", in("al") *byte, options(nomem, nostack)) };
    }
}

/// Says why there is no executive, and stops.
fn fail(what: &str) -> ! {
    say(what);
    loop {
        // SAFETY: interrupts are off: the machine stands still until the rig's time limit.
        unsafe { core::arch::asm!("hlt", options(nomem, nostack)) };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panicked")
}
