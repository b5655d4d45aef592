//! Processor instructions.
#![expect(unsafe_code, reason = "CPUID and RDTSC")]

use core::arch::x86_64::{__cpuid, _rdtsc};

/// Returns CPUID of `leaf`: eax, ebx, ecx, edx. Any IRQL.
#[must_use]
pub fn cpuid(leaf: u32) -> [u32; 4] {
    let result = __cpuid(leaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// Returns the time stamp counter of this processor. It counts at a rate of its own. Any IRQL.
#[must_use]
pub fn time_stamp() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and NT leaves CR4.TSD clear.
    unsafe { _rdtsc() }
}
