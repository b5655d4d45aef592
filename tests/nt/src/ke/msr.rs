//! Model-specific registers.

use core::arch::asm;

/// IA32_APIC_BASE.
pub(crate) const APIC_BASE: u32 = 0x1B;
/// IA32_GS_BASE.
pub(crate) const GS_BASE: u32 = 0xC000_0101;

/// Reads a register.
///
/// # Safety
/// The processor has the register.
pub(crate) unsafe fn read(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: by this function's contract, the processor has the register.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a register.
///
/// # Safety
/// The value is legal for the register and its effects are wanted.
pub(crate) unsafe fn write(register: u32, value: u64) {
    // SAFETY: by this function's contract, the value is legal for the register and its effects are wanted.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
         options(nostack, preserves_flags));
    }
}
