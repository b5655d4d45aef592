//! I/O port instructions.

use core::arch::asm;

macro_rules! inputs {
    ($($input:ident, $ty:ty, $reg:tt;)*) => {$(
        /// Reads a port.
        ///
        /// # Safety
        /// Reading may have effects on the device behind the port.
        pub(crate) unsafe fn $input(port: u16) -> $ty {
            let value: $ty;
            // SAFETY: the instruction changes no memory, and the caller wants what it does to the device.
            unsafe {
                asm!(concat!("in ", $reg, ", dx"), out($reg) value, in("dx") port,
                     options(nomem, nostack, preserves_flags));
            }
            value
        }
    )*};
}

macro_rules! outputs {
    ($($output:ident, $ty:ty, $reg:tt;)*) => {$(
        /// Writes a port.
        ///
        /// # Safety
        /// The device behind the port must take the value.
        pub(crate) unsafe fn $output(port: u16, value: $ty) {
            // SAFETY: the instruction changes no memory, and the device takes the value, by contract.
            unsafe {
                asm!(concat!("out dx, ", $reg), in("dx") port, in($reg) value,
                     options(nomem, nostack, preserves_flags));
            }
        }
    )*};
}

inputs! {
    inb, u8, "al";
    inw, u16, "ax";
    inl, u32, "eax";
}

outputs! {
    outb, u8, "al";
    outw, u16, "ax";
    outl, u32, "eax";
}

/// Reads `words.len()` words from one port (`rep insw`): one exit to the hypervisor for all of them.
///
/// # Safety
/// As [`inb`].
pub(crate) unsafe fn insw(port: u16, words: &mut [u16]) {
    // SAFETY: the caller keeps the contract of [`inb`].
    unsafe {
        asm!("rep insw", in("dx") port, inout("rdi") words.as_mut_ptr() => _, inout("rcx") words.len() => _,
         options(nostack, preserves_flags));
    }
}

/// Writes words to one port (`rep outsw`).
///
/// # Safety
/// As [`outw`].
pub(crate) unsafe fn outsw(port: u16, words: &[u16]) {
    // SAFETY: the caller keeps the contract of [`outw`].
    unsafe {
        asm!("rep outsw", in("dx") port, inout("rsi") words.as_ptr() => _, inout("rcx") words.len() => _,
         options(nostack, preserves_flags, readonly));
    }
}

/// Writes bytes to one port (`rep outsb`).
///
/// # Safety
/// As [`outb`].
pub(crate) unsafe fn outsb(port: u16, bytes: &[u8]) {
    // SAFETY: the caller keeps the contract of [`outb`].
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
         options(nostack, preserves_flags, readonly));
    }
}
