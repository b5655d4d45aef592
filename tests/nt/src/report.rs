//! Lines on port 0xE9, which Xen prints on its own console and qemu on its debug console.
//!
//! Every line begins with `@xg ` and a word that says what it reports, then `key=value` pairs. Values hold no
//! spaces: [`Escaped`] writes them as `%xx`.

use core::fmt::{self, Display, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::string::String;

use crate::hal::{disable_interrupts, port, restore_interrupts};

const PORT: u16 = 0xE9;

/// A processor prints.
static PRINTING: AtomicBool = AtomicBool::new(false);
/// Number of times that a processor looks whether another has printed its line.
const PATIENCE: u32 = 100_000_000;

/// Prints one line beginning with `@xg `. A kind that [`protocol::Line`] does not have does not compile; that
/// of a format beginning with `{` comes from its first argument.
#[macro_export]
macro_rules! report {
    ($format:literal $($rest:tt)*) => {{
        const { assert!(protocol::Line::begins($format), "not a kind of report line") };
        $crate::report::line(format_args!($format $($rest)*))
    }};
}

/// Prints one line of the executive's own remarks.
#[macro_export]
macro_rules! log {
    ($($arg:tt)*) => { $crate::report::line(format_args!("dbg nt: {}", format_args!($($arg)*))) };
}

/// A line being collected without the heap, so that a bugcheck can print at any time.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // The last byte is kept for the newline; what does not fit is cut off.
            if self.length < self.bytes.len() - 1 {
                self.bytes[self.length] = if byte == b'\n' || byte == b'\r' { b' ' } else { byte };
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// Prints `@xg ` and the text as one line. Any IRQL; used through [`report!`].
pub(crate) fn line(text: fmt::Arguments) {
    let mut line = Line { bytes: [0; 512], length: 0 };
    // Line's write_str cannot fail; a Display that fails leaves a shorter line.
    let _ = write!(line, "@xg {text}");
    line.bytes[line.length] = b'\n';
    let interrupts = disable_interrupts();
    // Lines of several processors must not mix; one that has stopped in the middle of a line does not hold
    // others up.
    for _ in 0..PATIENCE {
        if !PRINTING.swap(true, Ordering::Acquire) {
            break;
        }
        core::hint::spin_loop();
    }
    // SAFETY: 0xE9 is the debug console of Xen and qemu; without one the bytes go nowhere.
    unsafe { port::outsb(PORT, &line.bytes[..=line.length]) };
    PRINTING.store(false, Ordering::Release);
    restore_interrupts(interrupts);
}

/// Writes a value so that it holds no spaces.
pub(crate) struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b' ' | b'%' | b'=' | 0..=31 | 127.. => write!(f, "%{byte:02x}")?,
                _ => f.write_char(byte as char)?,
            }
        }
        Ok(())
    }
}

/// Returns a counted string of UTF-16 units as a report value.
pub(crate) fn escaped_utf16(units: &[u16]) -> String {
    alloc::format!("{}", Escaped(&String::from_utf16_lossy(units)))
}

/// Numbers as the value of one field.
pub(crate) fn numbers(numbers: impl Iterator<Item = u32>) -> alloc::string::String {
    numbers.map(|number| alloc::format!("{number}")).collect::<alloc::vec::Vec<_>>().join(",")
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
