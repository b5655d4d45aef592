//! I/O ports.
#![expect(unsafe_code, reason = "IN and OUT instructions")]

use core::arch::asm;

/// An I/O port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port(u16);

impl Port {
    /// Returns the port with this number.
    ///
    /// # Safety
    /// Reading and writing this port does what the caller wants on this machine: it belongs to a device
    /// that the driver owns or that a platform document assigns.
    #[must_use]
    pub const unsafe fn new(number: u16) -> Self {
        Self(number)
    }

    /// Reads a byte. Any IRQL.
    #[must_use]
    pub fn read_u8(self) -> u8 {
        let value;
        // SAFETY: by `new`'s contract.
        unsafe { asm!("in al, dx", out("al") value, in("dx") self.0, options(nostack, preserves_flags)) };
        value
    }

    /// Reads a word. Any IRQL.
    #[must_use]
    pub fn read_u16(self) -> u16 {
        let value;
        // SAFETY: by `new`'s contract.
        unsafe { asm!("in ax, dx", out("ax") value, in("dx") self.0, options(nostack, preserves_flags)) };
        value
    }

    /// Reads a doubleword. Any IRQL.
    #[must_use]
    pub fn read_u32(self) -> u32 {
        let value;
        // SAFETY: by `new`'s contract.
        unsafe { asm!("in eax, dx", out("eax") value, in("dx") self.0, options(nostack, preserves_flags)) };
        value
    }

    /// Writes a byte. Any IRQL.
    pub fn write_u8(self, value: u8) {
        // SAFETY: by `new`'s contract.
        unsafe { asm!("out dx, al", in("dx") self.0, in("al") value, options(nostack, preserves_flags)) };
    }

    /// Writes a word. Any IRQL.
    pub fn write_u16(self, value: u16) {
        // SAFETY: by `new`'s contract.
        unsafe { asm!("out dx, ax", in("dx") self.0, in("ax") value, options(nostack, preserves_flags)) };
    }

    /// Writes a doubleword. Any IRQL.
    pub fn write_u32(self, value: u32) {
        // SAFETY: by `new`'s contract.
        unsafe { asm!("out dx, eax", in("dx") self.0, in("eax") value, options(nostack, preserves_flags)) };
    }
}
