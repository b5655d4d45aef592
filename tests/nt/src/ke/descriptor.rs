//! GDT and TSS: one code and one data segment, and a stack of its own for double faults.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::size_of;

use super::processor::MAXIMUM;

#[repr(C, packed)]
struct Tss {
    reserved: u32,
    rsp: [u64; 3],
    reserved2: u64,
    ist: [u64; 7],
    reserved3: [u16; 5],
    io_map_base: u16,
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

const DOUBLE_FAULT_STACK: usize = 8192;

#[repr(C, align(16))]
struct Tables {
    gdt: [u64; 5],
    tss: Tss,
    stack: [u8; DOUBLE_FAULT_STACK],
}

struct Shared(UnsafeCell<Tables>);

// SAFETY: written once by its processor, read by that only.
unsafe impl Sync for Shared {}

static TABLES: [Shared; MAXIMUM] = [const {
    Shared(UnsafeCell::new(Tables {
        gdt: [0, 0x00AF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF, 0, 0],
        tss: Tss {
            reserved: 0,
            rsp: [0; 3],
            reserved2: 0,
            ist: [0; 7],
            reserved3: [0; 5],
            io_map_base: size_of::<Tss>() as u16,
        },
        stack: [0; DOUBLE_FAULT_STACK],
    }))
}; MAXIMUM];

/// The kernel's code selector.
pub(crate) const CODE: u16 = 0x08;

/// Loads the tables of processor `number`.
///
/// # Safety
/// Called once on each processor with interrupts disabled.
pub(crate) unsafe fn init(number: usize) {
    // SAFETY: by this function's contract, it is called once on each processor with interrupts disabled.
    unsafe {
        let tables = &mut *TABLES[number].0.get();
        tables.tss.ist[0] = (&raw const tables.stack) as u64 + DOUBLE_FAULT_STACK as u64;
        let base = (&raw const tables.tss) as u64;
        let limit = size_of::<Tss>() as u64 - 1;
        // An available 64-bit TSS, present (Intel SDM volume 3, 8.2.3).
        tables.gdt[3] = limit | (base & 0xFF_FFFF) << 16 | 0x89 << 40 | (base >> 24 & 0xFF) << 56;
        tables.gdt[4] = base >> 32;
        let pointer =
            Pointer { limit: size_of::<[u64; 5]>() as u16 - 1, base: (&raw const tables.gdt) as u64 };
        asm!("lgdt [{}]", "ltr {:x}", in(reg) &pointer, in(reg) 0x18u16, options(nostack, preserves_flags));
    }
}
