//! S3: the machine is turned off but for its memory, and comes back through the firmware to a real-mode address
//! that the system has left in ACPI's FACS.
//!
//! Sources: ACPI 6.5, 5.2.5 to 5.2.10, 16.1 and 16.3; Xen's `tools/libacpi` for the sleep type; Xen's
//! `hvm_s3_suspend`, by which processors, local APICs, I/O APIC, timers and the TSC are reset.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::hal::port;
use crate::ke::{self, apic, clock, descriptor, irql, processor, smp, trap};
use crate::mm::{self, direct};
use crate::nt::*;
use crate::pci;

/// Range in which the RSDP is looked for (ACPI, 5.2.5.1).
const RSDP: core::ops::Range<u64> = 0xE_0000..0x10_0000;
/// PM1a's control register as hvmloader places it; SLP_TYP of `\\_S3` and SLP_EN.
const PM1_CONTROL: u16 = 0xB004;
const SLEEP: u16 = 1 << 10 | 1 << 13;
/// SCI_EN.
const SCI: u16 = 1;

// Leaves the registers that a caller relies on and the stack's pointer for the way back, and calls the routine that
// turns the machine off. Comes back through the start page with nothing but the stack.
global_asm!(
    r#"
    .section .text.sleep, "ax"
    .globl sleep_until_woken
sleep_until_woken:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rbx
    mov [{stack}], rsp
    call rdi
    xor eax, eax
    jmp 2f
    .globl sleep_woken
sleep_woken:
    add rsp, 8
    fninit
    mov eax, 1
2:
    pop rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    "#,
    stack = sym RETURN,
);

static RETURN: AtomicUsize = AtomicUsize::new(0);

unsafe extern "sysv64" {
    fn sleep_until_woken(off: unsafe extern "sysv64" fn()) -> u32;
    fn sleep_woken();
}

/// Puts the machine to S3 with its one processor; returns when it is woken. `before` is called with interrupts off.
/// PASSIVE_LEVEL.
pub(crate) fn sleep(before: impl FnOnce()) {
    assert!(processor::count() == 1, "S3 with one processor");
    let vector = waking_vector();
    let old = irql::raise(HIGH_LEVEL);
    let enabled = crate::hal::disable_interrupts();
    before();
    let configuration = pci::save_chipset();
    let pins = apic::save_pins();
    let (control, time) = (control_registers(), clock::tsc());
    // SAFETY: nothing else runs: one processor, interrupts off. What the reset loses is set up again below before
    // anything else uses it.
    unsafe {
        let page = smp::prepare_start(sleep_woken as *const () as usize);
        vector.write_volatile(page as u32);
        if sleep_until_woken(off) == 0 {
            ke::panicked(format_args!("S3: the machine stayed on"));
        }
        set_control_registers(control);
        processor::reload(0);
        descriptor::init(0);
        trap::load();
    }
    clock::go_on_from(time);
    apic::restore(&pins);
    pci::restore_chipset(&configuration);
    crate::hal::restore_interrupts(enabled);
    irql::lower(old);
}

/// Turns the machine off. Returns where it is still on after a while.
unsafe extern "sysv64" fn off() {
    smp::set_start_stack(RETURN.load(Ordering::Relaxed));
    // SAFETY: the caches are written back, as ACPI asks for; then ACPI's control register.
    unsafe {
        asm!("wbinvd", options(nostack, preserves_flags));
        let sci = port::inw(PM1_CONTROL) & SCI;
        port::outw(PM1_CONTROL, sci | SLEEP);
    }
    clock::KeStallExecutionProcessor(20_000_000);
}

/// CR0 and CR4.
fn control_registers() -> [u64; 2] {
    let (cr0, cr4): (u64, u64);
    // SAFETY: reads registers.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4, options(nomem, nostack, preserves_flags));
    }
    [cr0, cr4]
}

/// # Safety
/// The values are what this processor had.
unsafe fn set_control_registers([cr0, cr4]: [u64; 2]) {
    let mxcsr = 0x1F80_u32;
    // SAFETY: by this function's contract; MXCSR's value at reset.
    unsafe {
        asm!("mov cr4, {}", "mov cr0, {}", "ldmxcsr [{}]", in(reg) cr4, in(reg) cr0, in(reg) &raw const mxcsr,
            options(nostack, preserves_flags));
    }
}

/// Returns the place of the firmware's waking vector.
fn waking_vector() -> *mut u32 {
    /// Offset of FIRMWARE_CTRL in the FADT, of the waking vector in the FACS, of the extended one.
    const FACS: usize = 36;
    const VECTOR: usize = 12;
    const EXTENDED: usize = 24;
    let at = RSDP.step_by(16).find(|&at| {
        // SAFETY: the BIOS's memory is mapped.
        unsafe { *(direct(at) as *const [u8; 8]) == *b"RSD PTR " }
    });
    let at = at.expect("the firmware has ACPI tables");
    // SAFETY: the tables are memory that the firmware left and nobody changes.
    unsafe {
        let root = map(((direct(at) + 16) as *const u32).read_unaligned().into());
        let entries = (table_length(root) - 36) / 4;
        let tables = (0..entries).map(|n| map(((root + 36 + n * 4) as *const u32).read_unaligned().into()));
        let fadt = tables.into_iter().find(|&table| *(table as *const [u8; 4]) == *b"FACP");
        let fadt = fadt.expect("a FADT");
        let facs = map(((fadt + FACS) as *const u32).read_unaligned().into());
        assert!(*(facs as *const [u8; 4]) == *b"FACS", "a FACS");
        if table_length(facs) >= EXTENDED + 8 {
            ((facs + EXTENDED) as *mut u64).write_unaligned(0);
        }
        (facs + VECTOR) as *mut u32
    }
}

/// Maps an ACPI table and what follows it in two pages, cached; it stays mapped.
fn map(address: u64) -> usize {
    // SAFETY: memory of the firmware's.
    unsafe { mm::MmMapIoSpace(address as i64, 2 * PAGE_SIZE, 1) as usize }
}

/// # Safety
/// `table` is a mapped table.
unsafe fn table_length(table: usize) -> usize {
    // SAFETY: by this function's contract.
    unsafe { ((table + 4) as *const u32).read_unaligned() as usize }
}
