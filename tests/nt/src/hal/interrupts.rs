//! The interrupt flag of this processor.

use core::arch::asm;

/// Disables interrupts. Returns true if they were enabled.
pub(crate) fn disable_interrupts() -> bool {
    let flags: u64;
    // SAFETY: reading flags and clearing IF touches no memory but the pushed word.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    flags & 1 << 9 != 0
}

/// Enables interrupts if `enabled`.
pub(crate) fn restore_interrupts(enabled: bool) {
    if enabled {
        // SAFETY: setting IF is what the matching `disable_interrupts` found.
        unsafe { asm!("sti") };
    }
}
