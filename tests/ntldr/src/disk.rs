//! The loader of a machine that its BIOS starts from its own disk: the files come from the active partition, by INT 13h.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;

use osloader::elf::LINKED;
use osloader::fat::{Fat, SECTOR, Sectors};
use osloader::handover::Handover;
use osloader::load::{Files, Firmware, load};
use osloader::multiboot::MapEntry;

use crate::low::{Registers, bios};
use crate::{Executive, fail, place, say};

/// Memory for what the loader reads: behind itself, and before the executive.
const HEAP: core::ops::Range<usize> = 2 << 20..LINKED;

/// Memory that is given out from the lowest address on and never taken back. A machine that is started by multiboot has
/// something else there, and allocates nothing.
struct Bump(UnsafeCell<usize>);

// SAFETY: the loader runs on one processor, with interrupts off.
unsafe impl Sync for Bump {}

// SAFETY: each block is a part of `HEAP` of its own.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: nobody else holds a reference to the one number.
        let next = unsafe { &mut *self.0.get() };
        let start = next.next_multiple_of(layout.align());
        if start + layout.size() > HEAP.end {
            return core::ptr::null_mut();
        }
        *next = start + layout.size();
        start as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static BUMP: Bump = Bump(UnsafeCell::new(HEAP.start));

/// The buffer for what the BIOS reads: 32 KiB below what it keeps for itself.
const BUFFER: usize = 0x8_0000;
const BUFFER_SECTORS: usize = 64;
/// Function 42h's packet (Enhanced Disk Drive Specification 3.0, 3.2), behind the buffer.
const PACKET: usize = BUFFER + BUFFER_SECTORS * SECTOR;

#[repr(C)]
struct Packet {
    size: u16,
    count: u16,
    offset: u16,
    segment: u16,
    first: u64,
}

/// A range of the disk's sectors.
struct Disk {
    drive: u8,
    first: u32,
}

impl Sectors for Disk {
    fn read(&mut self, first: u32, buffer: &mut [u8]) -> Result<(), String> {
        let mut at = u64::from(self.first) + u64::from(first);
        for piece in buffer.chunks_mut(BUFFER_SECTORS * SECTOR) {
            let count = piece.len().div_ceil(SECTOR);
            let packet =
                Packet { size: 16, count: count as u16, offset: 0, segment: (BUFFER / 16) as u16, first: at };
            let mut registers = Registers {
                eax: 0x4200,
                edx: u32::from(self.drive),
                ds: (PACKET / 16) as u16,
                ..Registers::default()
            };
            // SAFETY: buffer and packet are memory of the BIOS's area that only the loader uses.
            unsafe {
                (PACKET as *mut Packet).write(packet);
                bios(0x13, &mut registers);
            }
            if registers.flags & 1 != 0 {
                return Err(format!("INT 13h: sector {at}: status {:#x}", registers.eax >> 8 & 0xFF));
            }
            // SAFETY: the BIOS has just written there.
            piece.copy_from_slice(unsafe { core::slice::from_raw_parts(BUFFER as *const u8, piece.len()) });
            at += count as u64;
        }
        Ok(())
    }
}

struct System(Fat<Disk>);

impl Files for System {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.file(path)
    }
}

/// Returns the volume of the active partition.
fn system(drive: u8) -> Result<Fat<Disk>, String> {
    let mut disk = Disk { drive, first: 0 };
    let mut sector = [0; SECTOR];
    disk.read(0, &mut sector)?;
    // Legacy MBR (UEFI specification 5.2.1): four entries of 16 bytes.
    let entry = sector[446..510].chunks_exact(16).find(|entry| entry[0] == 0x80);
    let entry = entry.ok_or("no partition is active")?;
    disk.first = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]);
    Fat::new(disk)
}

/// Returns the memory that the BIOS lists (ACPI specification 6.5, 15.1: INT 15h, E820h).
fn memory() -> Result<Vec<MapEntry>, String> {
    let mut entries = Vec::new();
    let mut next = 0;
    loop {
        let mut registers = Registers {
            eax: 0xE820,
            ebx: next,
            ecx: 20,
            edx: u32::from_be_bytes(*b"SMAP"),
            es: (BUFFER / 16) as u16,
            ..Registers::default()
        };
        // SAFETY: the buffer is memory that only the loader uses.
        unsafe { bios(0x15, &mut registers) };
        if registers.flags & 1 != 0 || registers.eax != u32::from_be_bytes(*b"SMAP") {
            return Err("INT 15h, E820h: the BIOS lists no memory".to_string());
        }
        // SAFETY: the BIOS has just written these 20 bytes.
        let (base, length, kind) = unsafe {
            let at = BUFFER as *const u8;
            (at.cast::<u64>().read(), at.add(8).cast::<u64>().read(), at.add(16).cast::<u32>().read())
        };
        entries.push(MapEntry::new(base, length, kind));
        next = registers.ebx;
        if next == 0 {
            return Ok(entries);
        }
    }
}

/// Reads all that the chosen entry needs, and puts the executive in place.
pub(crate) fn start(drive: u8) -> Executive {
    start_from(drive).unwrap_or_else(|why| fail(&why))
}

fn start_from(drive: u8) -> Result<Executive, String> {
    // Within the loader's image, and so below 2 MiB.
    static mut HANDOVER: Handover = Handover::EMPTY;
    let volume = system(drive)?;
    let loaded = load(&mut System(volume), Firmware::Bios, |line| say(&format!("INT 13h: {line}")))?;
    let handover = &raw mut HANDOVER;
    // SAFETY: this function is called once.
    let handover = unsafe { &mut *handover };
    for range in memory()? {
        handover.add_memory(range)?;
    }
    handover.describe(&loaded.words, page_aligned(&loaded.archive))?;
    Ok(Executive { entry: place(&loaded.executive), information: handover.finish() })
}

/// Copies bytes to the start of a page; where they are.
fn page_aligned(bytes: &[u8]) -> core::ops::Range<usize> {
    const PAGE: usize = 4096;
    // The executive counts the archive's last page as taken to its end.
    let room = vec![0; bytes.len() + 2 * PAGE].leak();
    let start = (room.as_ptr() as usize).next_multiple_of(PAGE);
    let within = start - room.as_ptr() as usize;
    room[within..within + bytes.len()].copy_from_slice(bytes);
    start..start + bytes.len()
}
