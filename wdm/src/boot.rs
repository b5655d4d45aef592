//! The way in which this boot was started.
#![expect(unsafe_code, reason = "reads a variable that the kernel exports")]

use alloc::vec::Vec;

use crate::{Result, registry, utf16};

// The import library has the variable as data, so its name in the image is a pointer to it.
unsafe extern "C" {
    #[link_name = "__imp_InitSafeBootMode"]
    static INIT_SAFE_BOOT_MODE: *const u32;
}

/// Returns true if this is a safe-mode boot (InitSafeBootMode is not 0). Any IRQL.
#[must_use]
pub fn is_safe_mode() -> bool {
    // SAFETY: the loader stored the address of the kernel's ULONG in the import table.
    unsafe { INIT_SAFE_BOOT_MODE.read_volatile() != 0 }
}

/// Returns the selected boot entry's options (`Control\SystemStartOptions`), as the kernel wrote them:
/// separated by spaces, slashes removed, upper case, any length. PASSIVE_LEVEL.
///
/// # Errors
/// What the registry answers.
pub fn start_options() -> Result<Vec<u16>> {
    registry::Key::open(registry::CONTROL)?.string(utf16!("SystemStartOptions"))
}
