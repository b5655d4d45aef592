//! Debug output: one line a call, through DbgPrint and to a log of the suite's.
#![expect(unsafe_code, reason = "calls DbgPrint, and the log by its address")]

use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_sys::ntddk::DbgPrint;

/// Prints one line `xenguard: <driver>: <text>`: `debug_print!("xenpci", "{} ports", n)`.
/// Any IRQL up to DIRQL. Floats must not be printed (a driver does not own the FPU). What is longer
/// than [`LINE`](crate::debug::LINE) bytes is cut.
#[macro_export]
macro_rules! debug_print {
    ($driver:expr, $($text:tt)+) => {
        $crate::debug::print($driver, ::core::format_args!($($text)+))
    };
}

/// Bytes of one line, the terminator included (DbgPrint passes on at most 512).
pub const LINE: usize = 400;

/// Text in a fixed buffer: what does not fit is dropped.
pub struct Line {
    bytes: [u8; LINE],
    used: usize,
}

impl Line {
    /// Returns an empty line.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; LINE], used: 0 }
    }

    /// Returns the line as written so far, as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole pieces of text are cut, at a byte that may be inside a character.
        let valid = |bytes| core::str::from_utf8(bytes).ok();
        (0..4).find_map(|cut| valid(&self.as_bytes()[..self.used.saturating_sub(cut)])).unwrap_or_default()
    }

    /// Returns the line as written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The last byte stays zero: the terminator.
        let room = LINE - 1 - self.used;
        let taken = text.len().min(room);
        self.bytes[self.used..self.used + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.used += taken;
        Ok(())
    }
}

/// Beginning of every line that is printed.
const SUITE: &str = "xenguard: ";

/// A log that takes lines `<driver>: <text>`, at any IRQL.
pub type Log = fn(&[u8]);

/// The log as an address; null while there is none.
static LOG: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Has a log take every line that this driver prints from now on. Any IRQL.
pub fn log_to(log: Log) {
    LOG.store(log as *mut (), Ordering::Release);
}

/// Prints one line and gives it to the log; [`debug_print!`] is the way to call it.
pub fn print(driver: &str, text: fmt::Arguments<'_>) {
    let line = line(driver, text);
    // SAFETY: the format takes one NUL-terminated string, and Line keeps its last byte zero.
    unsafe { DbgPrint(c"%s\n".as_ptr().cast(), line.bytes.as_ptr()) };
    give(&line);
}

/// Gives one line to the log without printing it. Any IRQL.
pub fn note(driver: &str, text: fmt::Arguments<'_>) {
    give(&line(driver, text));
}

fn line(driver: &str, text: fmt::Arguments<'_>) -> Line {
    let mut line = Line::new();
    // Writing to a Line cannot fail; a Display that fails leaves a shorter line.
    let _ = write!(line, "{SUITE}{driver}: {text}");
    line
}

fn give(line: &Line) {
    let log = LOG.load(Ordering::Acquire);
    if log.is_null() {
        return;
    }
    // SAFETY: the address is that of a `Log`, stored by `log_to`.
    let log = unsafe { core::mem::transmute::<*mut (), Log>(log) };
    log(&line.as_bytes()[SUITE.len()..]);
}
