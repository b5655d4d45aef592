//! Per-processor data, reachable through the GS base as NT's KPCR is.

use core::cell::Cell;
use core::ptr::null_mut;

use super::thread::Thread;
use crate::layout;
use crate::nt::PASSIVE_LEVEL;

/// What a processor is doing. The part up to `current_thread` has the KPCR's layout as far as compiled
/// drivers read it (`KeGetCurrentThread` is `gs:[188h]` on x64).
#[repr(C)]
pub struct Processor {
    reserved: [usize; 3],
    itself: Cell<*const Processor>,
    current_prcb: Cell<usize>,
    reserved2: [usize; 44],
    /// The running thread.
    pub current_thread: Cell<*mut Thread>,
    /// The current IRQL.
    pub irql: Cell<u8>,
    /// Interrupts that arrived while the IRQL held them back: vector by IRQL, 0 if none.
    pub held: [Cell<u8>; 16],
    /// DPCs are queued.
    pub dpc_pending: Cell<bool>,
    /// DPCs are being run.
    pub in_dpc: Cell<bool>,
    /// Another thread should run: a better one became ready or the quantum ended.
    pub switch_pending: Cell<bool>,
    /// The driver that called the executive last, see [`crate::ldr::gate`].
    pub caller: Cell<usize>,
}
layout!(Processor, 0x1B0, itself @ 0x18, current_prcb @ 0x20, current_thread @ 0x188);

// SAFETY: there is one processor; interrupt handlers change cells only in the ways irql.rs describes.
unsafe impl Sync for Processor {}

static BOOT_PROCESSOR: Processor = Processor {
    reserved: [0; 3],
    itself: Cell::new(null_mut()),
    current_prcb: Cell::new(0),
    reserved2: [0; 44],
    current_thread: Cell::new(null_mut()),
    irql: Cell::new(PASSIVE_LEVEL),
    held: [const { Cell::new(0) }; 16],
    dpc_pending: Cell::new(false),
    in_dpc: Cell::new(false),
    switch_pending: Cell::new(false),
    caller: Cell::new(0),
};

/// `KeQueryActiveProcessors`: a bit for each processor. Any IRQL.
///
/// # Safety
/// None.
pub unsafe extern "win64" fn KeQueryActiveProcessors() -> usize {
    1
}

/// The processor this runs on.
pub fn processor() -> &'static Processor {
    &BOOT_PROCESSOR
}

/// Loads the GS base.
pub fn init() {
    let processor = processor();
    let address = core::ptr::from_ref(processor) as usize;
    processor.itself.set(processor);
    processor.current_prcb.set(address + 0x180);
    // SAFETY: IA32_GS_BASE with the address of a static.
    unsafe { super::msr::write(super::msr::GS_BASE, address as u64) };
}
