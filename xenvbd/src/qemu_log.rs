//! One line to qemu's log, through the port that the unplug protocol gives guests for it.
#![allow(unsafe_code, reason = "claims an I/O port")]

use core::fmt::{self, Write};

use wdm::port::Port;

/// The log port (docs/misc/hvm-emulated-unplug.pandoc: a byte written to 0x12 is logged; a newline ends the line).
const LOG_PORT: u16 = 0x12;

struct Log(Port);

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.0.write_u8(byte));
        Ok(())
    }
}

/// Writes a line. Any IRQL; about a millisecond per character, so only for a system that is being stopped.
pub fn line(text: fmt::Arguments<'_>) {
    // SAFETY: the platform document gives this port to guests for logging; this driver runs on that platform only,
    // as it has xenpci's interface.
    let mut log = Log(unsafe { Port::new(LOG_PORT) });
    // `Log` never fails.
    let _ = writeln!(log, "{text}");
}
