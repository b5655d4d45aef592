//! Processors: how many there are, and which one this is.
#![expect(unsafe_code, reason = "reads the KPCR, asks for processors and changes a thread's")]

use wdk_sys::ntddk::{KeQueryActiveProcessors, KeRevertToUserAffinityThread, KeSetSystemAffinityThread};

/// Returns the number of active processors of this one's group, 1 at least. IRQL ≤ DISPATCH_LEVEL.
#[must_use]
pub fn count() -> usize {
    // SAFETY: no conditions.
    let active = unsafe { KeQueryActiveProcessors() };
    (active.count_ones() as usize).max(1)
}

/// Returns the number of this processor in its group (`KeGetCurrentProcessorNumber`, which is inline on x64:
/// the byte `Number`, in later headers `LegacyNumber`, at 0x184 of the KPCR). Any IRQL; below DISPATCH_LEVEL
/// it may be another one by the time it is used.
#[must_use]
pub fn current() -> usize {
    let number: u8;
    // SAFETY: in kernel mode GS is the processor's KPCR, which is larger than this; reading has no effect.
    unsafe {
        core::arch::asm!("mov {}, byte ptr gs:[0x184]", out(reg_byte) number, options(nostack, preserves_flags, readonly));
    }
    number.into()
}

/// Runs `work` on an active processor of this one's group. IRQL < DISPATCH_LEVEL.
pub fn on<R>(processor: usize, work: impl FnOnce() -> R) -> R {
    // SAFETY: below DISPATCH_LEVEL the thread is moved before the routine returns, and moved back by the
    // other.
    unsafe { KeSetSystemAffinityThread(1 << processor) };
    let result = work();
    // SAFETY: as above.
    unsafe { KeRevertToUserAffinityThread() };
    result
}
