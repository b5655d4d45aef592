//! The multiboot information structure: memory map, command line, the one module.

use core::slice;

use alloc::string::String;

use osloader::multiboot::{COMMAND_LINE, Information, MEMORY_MAP, MODULES, MapEntry, Module};

use crate::mm;

/// A range of physical addresses, end exclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub start: u64,
    pub end: u64,
}

/// The multiboot information of the loader, read in place.
pub(crate) struct Multiboot {
    info: &'static Information,
}

impl Multiboot {
    /// Takes the structure at a physical address below 1 GiB.
    ///
    /// # Safety
    /// `info` is what the loader left, and the boot mapping is still in place.
    pub(crate) unsafe fn new(info: u32) -> Self {
        // SAFETY: by this function's contract, `info` is what the loader left, and the boot mapping is
        // still in place.
        unsafe { Self { info: &*(mm::direct(u64::from(info)) as *const Information) } }
    }

    /// Returns the usable memory (type 1), as far as the boot mapping reaches.
    pub(crate) fn memory(&self) -> impl Iterator<Item = Range> + Clone + use<> {
        assert!(self.info.flags & MEMORY_MAP != 0, "the loader gave no memory map");
        let (mut at, end) = (self.info.mmap_addr, self.info.mmap_addr + self.info.mmap_length);
        core::iter::from_fn(move || {
            while at < end {
                // SAFETY: the loader's map lies in mapped low memory, entry by entry up to its length.
                let entry = unsafe { (mm::direct(u64::from(at)) as *const MapEntry).read_unaligned() };
                at += entry.size + 4;
                if entry.kind == 1 {
                    return Some(Range { start: entry.base, end: entry.base + entry.length });
                }
            }
            None
        })
    }

    /// Returns the first module: the boot archive.
    pub(crate) fn archive(&self) -> Option<Range> {
        if self.info.flags & MODULES == 0 || self.info.mods_count == 0 {
            return None;
        }
        // SAFETY: the loader's module list lies in mapped low memory.
        let module = unsafe { &*(mm::direct(u64::from(self.info.mods_addr)) as *const Module) };
        Some(Range { start: u64::from(module.start), end: u64::from(module.end) })
    }

    /// Returns the command line; its first word may be the kernel's file name.
    pub(crate) fn command_line(&self) -> String {
        if self.info.flags & COMMAND_LINE == 0 {
            return String::new();
        }
        let start = mm::direct(u64::from(self.info.cmdline)) as *const u8;
        // SAFETY: the loader ends its command line with a zero byte in mapped low memory.
        let bytes = unsafe {
            let length = (0..4096).find(|&i| *start.add(i) == 0).unwrap_or(0);
            slice::from_raw_parts(start, length)
        };
        String::from_utf8_lossy(bytes).into_owned()
    }
}
