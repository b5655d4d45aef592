//! Per-processor data, reachable through the GS base as NT's KPCR is.

use core::arch::asm;
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI8, AtomicUsize, Ordering};

use super::thread::Thread;
use crate::layout;
use crate::nt::{Kirql, PASSIVE_LEVEL};

/// Most processors that are used.
pub(crate) const MAXIMUM: usize = 8;

/// State of a processor. The part up to `current_thread` has the KPCR's layout as far as compiled drivers
/// read it (`KeGetCurrentThread` is `gs:[188h]` on x64, `KeGetCurrentProcessorNumber` `gs:[184h]`).
///
/// A thread runs on one processor until it says otherwise, so what a processor's own code reads of it does
/// not change under it. Cells are the processor's own; others set the flags, and interrupt it.
#[repr(C)]
pub(crate) struct Processor {
    reserved: [usize; 3],
    itself: Cell<*const Processor>,
    current_prcb: Cell<usize>,
    reserved2: [usize; 43],
    mxcsr: u32,
    number: Cell<u8>,
    reserved3: [u8; 3],
    /// The running thread.
    pub current_thread: Cell<*mut Thread>,
    /// The current IRQL.
    pub irql: Cell<u8>,
    /// Interrupts that arrived while the IRQL held them back: vector by IRQL, 0 if none.
    pub held: [Cell<u8>; 16],
    /// DPCs are queued.
    pub dpc_pending: AtomicBool,
    /// DPCs are being run.
    pub in_dpc: AtomicBool,
    /// Another thread should run: a better one became ready or the quantum ended.
    pub switch_pending: AtomicBool,
    /// The driver that called the executive last, see [`crate::ldr::gate`].
    pub caller: Cell<usize>,
}
layout!(Processor, 0x1B0, itself @ 0x18, current_prcb @ 0x20, number @ 0x184, current_thread @ 0x188);

// SAFETY: cells are reached by their own processor only, and its interrupt handlers change them only in the
// ways irql.rs describes.
unsafe impl Sync for Processor {}

static PROCESSORS: [Processor; MAXIMUM] = [const {
    Processor {
        reserved: [0; 3],
        itself: Cell::new(null_mut()),
        current_prcb: Cell::new(0),
        reserved2: [0; 43],
        mxcsr: 0,
        number: Cell::new(0),
        reserved3: [0; 3],
        current_thread: Cell::new(null_mut()),
        irql: Cell::new(PASSIVE_LEVEL),
        held: [const { Cell::new(0) }; 16],
        dpc_pending: AtomicBool::new(false),
        in_dpc: AtomicBool::new(false),
        switch_pending: AtomicBool::new(false),
        caller: Cell::new(0),
    }
}; MAXIMUM];

/// `KeNumberProcessors`: a variable on NT 5.2 x64.
#[expect(non_upper_case_globals, reason = "variables have NT's names")]
pub(crate) static KeNumberProcessors: AtomicI8 = AtomicI8::new(1);
/// Affinity of the processors that run, which are numbered from 0 on.
static ACTIVE: AtomicUsize = AtomicUsize::new(1);

/// Returns the processor this runs on.
pub(crate) fn processor() -> &'static Processor {
    let itself: *const Processor;
    // SAFETY: the GS base is that of this processor's data since `init`, and the data is static.
    unsafe {
        asm!("mov {}, gs:[{at}]", out(reg) itself, at = const offset_of!(Processor, itself),
             options(nostack, preserves_flags, readonly));
        &*itself
    }
}

/// Returns the processor of a number.
pub(crate) fn numbered(number: usize) -> &'static Processor {
    &PROCESSORS[number]
}

/// Returns the number of the processor this runs on.
pub(crate) fn number() -> usize {
    processor().number.get().into()
}

/// Returns the number of running processors.
pub(crate) fn count() -> usize {
    ACTIVE.load(Ordering::Acquire).count_ones() as usize
}

/// Returns the current IRQL, in one instruction: a thread below `DISPATCH_LEVEL` may be interrupted at any.
pub(crate) fn level() -> Kirql {
    let level: u8;
    // SAFETY: as in `processor`.
    unsafe {
        asm!("mov {}, gs:[{at}]", out(reg_byte) level, at = const offset_of!(Processor, irql),
             options(nostack, preserves_flags, readonly));
    }
    level
}

/// Loads the GS base of processor `number`, before anything else is done on it.
///
/// # Safety
/// Called once for each number, on its processor, interrupts disabled.
pub(crate) unsafe fn init(number: usize) {
    let processor = numbered(number);
    let address = core::ptr::from_ref(processor) as usize;
    processor.itself.set(processor);
    processor.current_prcb.set(address + 0x180);
    processor.number.set(number as u8);
    // SAFETY: IA32_GS_BASE with the address of a static.
    unsafe { super::msr::write(super::msr::GS_BASE, address as u64) };
}

/// Loads the GS base again on a processor that was reset.
///
/// # Safety
/// On processor `number`, interrupts disabled.
pub(crate) unsafe fn reload(number: usize) {
    // SAFETY: IA32_GS_BASE with the address of a static.
    unsafe { super::msr::write(super::msr::GS_BASE, core::ptr::from_ref(numbered(number)) as u64) };
}

/// Counts a processor that runs from now on.
pub(crate) fn activate(number: usize) {
    ACTIVE.fetch_or(1 << number, Ordering::AcqRel);
    KeNumberProcessors.fetch_add(i8::from(number != 0), Ordering::AcqRel);
}

/// `KeQueryActiveProcessors`: the affinity of the processors that run. Any IRQL.
pub(crate) extern "win64" fn KeQueryActiveProcessors() -> usize {
    ACTIVE.load(Ordering::Acquire)
}
