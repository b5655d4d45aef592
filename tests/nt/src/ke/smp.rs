//! Other processors: starting them, interrupting them, running a routine on all of them.

use core::arch::{asm, global_asm};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{apic, bugcheck, clock, descriptor, interrupt, irql, processor, thread, trap};
use crate::ldr::Place;
use crate::mm::space::STACKS;
use crate::mm::{PAGE_SIZE, direct, map};
use crate::nt::*;
use crate::verifier::{self, Violation};
use crate::{boot, xen};

/// The vector that interrupts another processor; its level is NT x64's IPI_LEVEL.
pub(crate) const VECTOR: u8 = 0xE1;
const IPI_LEVEL: Kirql = VECTOR >> 4;

/// The page on which a processor starts in real mode: below 1 MiB, used by nothing else.
const START_PAGE: u64 = 0x8000;
/// Pages of the idle thread's stack.
const STACK_PAGES: usize = 8;
/// Time that a processor may take to start, in milliseconds.
const START_LIMIT: u64 = 2000;

// A started processor begins in real mode at the copy of `ap_start`, enters long mode with the loader's page
// tables, and goes on in the image, which lies at the same addresses in both.
global_asm!(
    r#"
    .section .rodata.ap, "a"
    .globl ap_start, ap_end
    .code16
ap_start:
    cli
    cld
    mov eax, cr4
    or eax, 0x620
    mov cr4, eax
    .byte 0x2E, 0x66, 0xA1
    .word ap_root - ap_start
    mov cr3, eax
    mov ecx, 0xC0000080
    rdmsr
    or eax, 0x900
    wrmsr
    .byte 0x2E, 0x66, 0x0F, 0x01, 0x16
    .word ap_gdt_pointer - ap_start
    mov eax, cr0
    and eax, 0x9FFFFFFB
    or eax, 0x80010023
    mov cr0, eax
    .byte 0x66, 0xEA
    .long ap_long
    .word 8
ap_gdt_pointer:
    .word 23
    .long ap_gdt
    .globl ap_root
ap_root:
    .long 0
ap_end:
    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00AF9A000000FFFF
    .quad 0x00CF92000000FFFF

    .section .text.ap, "ax"
    .code64
ap_long:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rax, [{root}]
    mov cr3, rax
    mov rsp, [{stack}]
    xor ebp, ebp
    mov rdi, [{number}]
    call [{entry}]
    ud2
    "#,
    root = sym ROOT,
    stack = sym STACK,
    number = sym NUMBER,
    entry = sym ENTRY,
);

unsafe extern "C" {
    static ap_start: u8;
    static ap_root: u8;
    static ap_end: u8;
}

/// The loader's page tables, which lie below 2 MiB, where nothing is ever given out.
static BOOT_ROOT: AtomicUsize = AtomicUsize::new(0);

/// Keeps the page tables that are in use, for the other processors to start with.
pub(crate) fn keep_boot_root() {
    let root: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) };
    BOOT_ROOT.store(root, Ordering::Relaxed);
}

/// For the processor that is being started.
static ROOT: AtomicUsize = AtomicUsize::new(0);
static STACK: AtomicUsize = AtomicUsize::new(0);
static NUMBER: AtomicUsize = AtomicUsize::new(0);
/// The routine that goes on in long mode, with the number.
static ENTRY: AtomicUsize = AtomicUsize::new(0);

/// Local APIC ids by processor.
static APIC_IDS: [AtomicUsize; processor::MAXIMUM] = [const { AtomicUsize::new(0) }; processor::MAXIMUM];

/// Starts every other processor that the firmware lists.
///
/// # Safety
/// Called once on the first processor, when the clock runs.
pub(crate) unsafe fn start_others() {
    let own = apic::id();
    APIC_IDS[0].store(own.into(), Ordering::Relaxed);
    let entry: unsafe extern "sysv64" fn(usize) -> ! = started;
    // SAFETY: by this function's contract, it is called once on the first processor, when the clock runs.
    unsafe {
        prepare_start(entry as usize);
        let others = boot::mp_table::processors().into_iter().filter(|&id| id != own);
        for (number, id) in (1..processor::MAXIMUM).zip(others) {
            let stack = STACKS.allocate(STACK_PAGES, map::READ_WRITE).expect("a stack for a processor");
            set_start_stack(stack + STACK_PAGES * PAGE_SIZE);
            NUMBER.store(number, Ordering::Release);
            APIC_IDS[number].store(id.into(), Ordering::Release);
            apic::start(id, (START_PAGE >> 12) as u8);
            let runs = (0..START_LIMIT).any(|_| {
                clock::KeStallExecutionProcessor(1000);
                processor::count() > number
            });
            if !runs {
                bugcheck::panicked(format_args!("processor {number} does not start"));
            }
        }
        crate::report!("processors count={}", processor::count());
    }
}

/// Has a processor that begins in real mode at the start page go on at `entry`. Returns the page's address.
///
/// # Safety
/// No processor begins there now.
pub(crate) unsafe fn prepare_start(entry: usize) -> u64 {
    let start = &raw const ap_start;
    // SAFETY: the page is used by nothing else, and the code is shorter than it.
    unsafe {
        let length = (&raw const ap_end).offset_from_unsigned(start);
        let copy = direct(START_PAGE) as *mut u8;
        core::ptr::copy_nonoverlapping(start, copy, length);
        let root = copy.add((&raw const ap_root).offset_from_unsigned(start)).cast::<u32>();
        root.write_unaligned(BOOT_ROOT.load(Ordering::Relaxed) as u32);
    }
    ROOT.store(map::root() as usize, Ordering::Release);
    ENTRY.store(entry, Ordering::Release);
    START_PAGE
}

/// Sets the stack that the next processor gets which begins at the start page.
pub(crate) fn set_start_stack(top: usize) {
    STACK.store(top, Ordering::Release);
}

/// Begins on another processor: the first Rust code there.
unsafe extern "sysv64" fn started(number: usize) -> ! {
    // SAFETY: this processor runs its first code, and the tables that it loads are statics.
    unsafe {
        processor::init(number);
        descriptor::init(number);
        trap::load();
        apic::enable_local();
    }
    thread::init();
    processor::activate(number);
    apic::start_timer_again(clock::VECTOR);
    thread::idle()
}

/// Has another processor look at its pending flags. Any IRQL.
pub(crate) fn interrupt(number: usize) {
    raise(number, VECTOR);
}

/// Interrupts a processor, which may be this one. Any IRQL.
pub(super) fn raise(number: usize, vector: u8) {
    apic::interrupt(APIC_IDS[number].load(Ordering::Acquire) as u8, vector);
}

/// `KIPI_BROADCAST_WORKER`.
type BroadcastWorker = unsafe extern "win64" fn(usize) -> usize;

/// A routine that is being run everywhere.
struct Broadcast {
    /// One at a time.
    busy: AtomicBool,
    routine: AtomicUsize,
    context: AtomicUsize,
    /// Affinity of the processors that have not begun.
    asked: AtomicUsize,
    /// Affinity of those that have not ended.
    running: AtomicUsize,
}

static BROADCAST: Broadcast = Broadcast {
    busy: AtomicBool::new(false),
    routine: AtomicUsize::new(0),
    context: AtomicUsize::new(0),
    asked: AtomicUsize::new(0),
    running: AtomicUsize::new(0),
};

/// `KeIpiGenericCall`: a routine on every processor at IPI_LEVEL, at the same time; its answer on this one.
/// IRQL < IPI_LEVEL.
///
/// # Safety
/// The routine may be called with the context on every processor.
pub(crate) unsafe extern "win64" fn KeIpiGenericCall(routine: BroadcastWorker, context: usize) -> usize {
    let had_shared_info = xen::has_shared_info();
    let old = irql::raise(IPI_LEVEL - 1);
    while BROADCAST.busy.swap(true, Ordering::Acquire) {
        spin_loop();
    }
    irql::raise(IPI_LEVEL);
    let own = 1 << processor::number();
    let others = processor::KeQueryActiveProcessors() & !own;
    BROADCAST.routine.store(routine as usize, Ordering::Relaxed);
    BROADCAST.context.store(context, Ordering::Relaxed);
    BROADCAST.running.store(others, Ordering::Relaxed);
    BROADCAST.asked.store(others, Ordering::Release);
    (0..processor::MAXIMUM).filter(|n| others & 1 << n != 0).for_each(interrupt);
    // SAFETY: by this function's contract, the routine may be called with the context on every processor.
    let answer = unsafe { run(routine, context) };
    if had_shared_info && !xen::has_shared_info() {
        verifier::violation(
            Violation::SharedInfoMissing,
            format_args!("routine=ipi:{}", Place(routine as usize)),
        );
    }
    while BROADCAST.running.load(Ordering::Acquire) != 0 {
        bugcheck::stop_here_if_stopping();
        spin_loop();
    }
    BROADCAST.busy.store(false, Ordering::Release);
    interrupt::storm();
    irql::lower(old);
    answer
}

unsafe fn run(routine: BroadcastWorker, context: usize) -> usize {
    // SAFETY: the sender of the broadcast allows the routine on every processor, with this context.
    unsafe { verifier::balanced("ipi", routine as usize, || routine(context)) }
}

/// Handles an interrupt by another processor. This one is at IPI_LEVEL, interrupts disabled. What the other
/// wants is in the pending flags, but for a routine that is to be run everywhere.
pub(crate) fn interrupted() {
    bugcheck::stop_here_if_stopping();
    let own = 1 << processor::number();
    if BROADCAST.asked.fetch_and(!own, Ordering::AcqRel) & own != 0 {
        let routine = BROADCAST.routine.load(Ordering::Relaxed);
        // SAFETY: the routine and context of `KeIpiGenericCall`, which waits for this.
        unsafe {
            let routine: BroadcastWorker = core::mem::transmute(routine);
            run(routine, BROADCAST.context.load(Ordering::Relaxed));
        }
        BROADCAST.running.fetch_and(!own, Ordering::AcqRel);
    }
}

/// Has every other processor stop for good: the system is going down.
pub(crate) fn stop_others() {
    let own = processor::number();
    (0..processor::count()).filter(|&number| number != own).for_each(interrupt);
}
