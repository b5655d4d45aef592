//! Interrupt request levels: reading the current one, and a proof of DISPATCH_LEVEL as a type.
#![allow(unsafe_code, reason = "reads CR8, which holds the IRQL on x64")]

use core::marker::PhantomData;

/// Threads run here; paging and waiting are allowed.
pub const PASSIVE_LEVEL: u8 = 0;
/// Asynchronous procedure calls are held off.
pub const APC_LEVEL: u8 = 1;
/// The dispatcher and DPCs: no waiting, no paged memory.
pub const DISPATCH_LEVEL: u8 = 2;
/// Everything is masked.
pub const HIGH_LEVEL: u8 = 15;

/// The current processor's IRQL (what `KeGetCurrentIrql` is on x64). Any IRQL.
#[must_use]
pub fn current() -> u8 {
    let level: u64;
    // SAFETY: CR8 is readable in ring 0, where every driver runs; reading has no side effect.
    unsafe { core::arch::asm!("mov {}, cr8", out(reg) level, options(nomem, nostack, preserves_flags)) };
    level as u8
}

/// Proof that the code runs at DISPATCH_LEVEL for as long as this value is borrowed. DPC routines
/// get one; it can neither be kept nor sent to another processor.
pub struct AtDispatch(PhantomData<*mut ()>);

impl AtDispatch {
    /// States that the processor is at DISPATCH_LEVEL now and stays there while the value lives.
    ///
    /// # Safety
    /// The caller runs at DISPATCH_LEVEL (a DPC, a Storport routine at that level, under a spin
    /// lock) and does not lower the IRQL while the value exists.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}
