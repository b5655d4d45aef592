//! Processor instructions.
#![allow(unsafe_code, reason = "CPUID and WRMSR")]

use core::arch::{asm, x86_64::__cpuid};

/// Returns CPUID of `leaf`: eax, ebx, ecx, edx. Any IRQL.
#[must_use]
pub fn cpuid(leaf: u32) -> [u32; 4] {
    let result = __cpuid(leaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// Writes a model-specific register. Any IRQL.
///
/// # Safety
/// The processor has this register, and the value does not break memory safety.
pub unsafe fn write_msr(msr: u32, value: u64) {
    // SAFETY: by contract.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}
