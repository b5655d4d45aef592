//! The way from the firmware's 64-bit mode to the executive's: page tables, segments and processor modes of the one that
//! its entry expects (`tests/nt/src/boot/entry.rs`).

use core::arch::asm;
use core::convert::Infallible;

use osloader::handover::Handover;

/// A page of a page table.
#[repr(C, align(4096))]
struct Table([u64; 512]);

impl Table {
    const EMPTY: Self = Self([0; 512]);
}

/// Bits of a page table's entry: present and writable; for a page of 2 MiB.
const PRESENT: u64 = 3;
const LARGE: u64 = 0x80;
/// The root's entry of the executive's direct map.
const DIRECT_MAP: usize = 256;

/// The memory below 2 MiB that the executive still uses when it runs.
#[repr(C)]
pub(crate) struct Low {
    root: Table,
    pointers: Table,
    directory: Table,
    segments: [u64; 3],
    pub handover: Handover,
}

/// The operand of `lgdt`.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

impl Low {
    /// Makes the page tables, which map the first GiB at its addresses and at the direct map, and an empty handover.
    ///
    /// # Safety
    /// There is room at `at`, which lies in that GiB, and nobody else uses it.
    pub(crate) unsafe fn make(at: *mut Self) -> &'static mut Self {
        // SAFETY: the caller's promise.
        let low = unsafe {
            at.write(Self {
                root: Table::EMPTY,
                pointers: Table::EMPTY,
                directory: Table::EMPTY,
                // 64-bit code, and data (AMD64 Architecture Programmer's Manual, volume 2, 4.8).
                segments: [0, 0x00AF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF],
                handover: Handover::EMPTY,
            });
            &mut *at
        };
        for (entry, address) in low.directory.0.iter_mut().zip((0_u64..).step_by(2 << 20)) {
            *entry = address | PRESENT | LARGE;
        }
        low.pointers.0[0] = &raw const low.directory as u64 | PRESENT;
        for entry in [0, DIRECT_MAP] {
            low.root.0[entry] = &raw const low.pointers as u64 | PRESENT;
        }
        low
    }

    /// Turns interrupts off, and changes from the firmware's page tables to these.
    ///
    /// # Safety
    /// This code, its stack and its data are in the first GiB.
    pub(crate) unsafe fn map(&self) {
        // SAFETY: the caller's promise.
        unsafe { asm!("cli", "mov cr3, {}", in(reg) &raw const self.root, options(nostack)) };
    }

    /// Enters the executive, with interrupts off.
    ///
    /// # Safety
    /// As for [`Self::map`]; the executive is in place, and its handover described.
    pub(crate) unsafe fn enter(&'static mut self, entry: u64) -> Result<Infallible, alloc::string::String> {
        let information = self.handover.finish();
        let segments =
            Pointer { limit: size_of_val(&self.segments) as u16 - 1, base: self.segments.as_ptr() as u64 };
        // SAFETY: the caller's promise. CR0: PE, MP, NE, WP and PG; CR4: PAE, OSFXSR and OSXMMEXCPT; EFER: NX beside what
        // long mode has set.
        unsafe {
            asm!(
                "cli",
                "cld",
                "mov ecx, 0xC0000080",
                "rdmsr",
                "or eax, 0x800",
                "wrmsr",
                "mov cr3, rsi",
                "mov eax, 0x620",
                "mov cr4, rax",
                "mov eax, 0x80010023",
                "mov cr0, rax",
                "lgdt [r9]",
                "push 0x08",
                "lea rax, [rip + 2f]",
                "push rax",
                "retfq",
                "2:",
                "mov eax, 0x10",
                "mov ds, ax",
                "mov es, ax",
                "mov ss, ax",
                "xor eax, eax",
                "mov fs, ax",
                "mov gs, ax",
                "jmp r8",
                in("rsi") &raw const self.root,
                in("r8") entry,
                in("r9") &raw const segments,
                in("rdi") information,
                options(noreturn),
            )
        }
    }
}
