//! The part of the registry that reaches the disk, and the time when it does.
//!
//! Until the session manager runs, NT changes its hives in memory only: their files are not open yet, a flush
//! answers success and writes nothing, and a boot that stops before then leaves no trace. From there on
//! changes are written lazily, [`LAZY`] after they were made, at `ZwFlushKey` (the whole hive, whichever key
//! was named), and at shutdown, after which every change is refused; a bugcheck writes nothing. Volatile keys are never written.
//!
//! With `hive=1` on the command line each write is printed as a registration file that makes the registry of
//! the write before into that of now, so that a host can carry it over to the next boot: `@xg flush begin`,
//! lines `@xg reg <line>`, `@xg flush end`. A write without its end did not happen, as NT's hive log makes
//! it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use protocol::Fault;

use super::{Key, ROOT, Value};
use crate::ke::{self, Lock, thread};
use crate::nt::*;
use crate::{boot, ob, report};

/// The registry as it is on the disk; nobody asks for it without `hive=1`.
static WRITTEN: Lock<Option<Key>> = Lock::new(None);
/// The hives' files are open.
static OPEN: AtomicBool = AtomicBool::new(false);
/// File systems are gone: nothing is written any more.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// One write at a time.
static WRITING: AtomicBool = AtomicBool::new(false);

/// Milliseconds between lazy writes (NT 5.2: `CmpLazyFlushIntervalInSeconds`).
const LAZY: u64 = 5000;
const LAZY_PRIORITY: i32 = 8;
/// Bytes of a value on one line.
const BYTES_PER_LINE: usize = 100;
/// The key under which the hives with files are, and its name in registration files.
const MACHINE: (&str, &str) = ("\\Registry\\Machine", "HKEY_LOCAL_MACHINE");

/// Notes that the loader has read the hives: what changes from here on differs from the disk.
pub(crate) fn loaded() {
    if boot::options().hive {
        let now = ROOT.lock().clone();
        *WRITTEN.lock() = Some(now);
    }
}

/// Opens the hives' files, like the session manager; the lazy writer starts.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`, once.
pub(crate) unsafe fn session_manager() {
    OPEN.store(true, Ordering::Relaxed);
    // The hives that the loader does not bring appear now. What is in them is not kept here.
    let _ = super::make_below("\\Registry\\Machine\\SOFTWARE", true);
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`, once.
    unsafe {
        if let Some(writer) = thread::create(lazy_writer, core::ptr::null_mut(), LAZY_PRIORITY, 0) {
            ob::dereference(writer.cast());
        }
    }
}

/// Closes the hives' files, once they have been written for the last time: file systems go.
pub(crate) fn close() {
    CLOSED.store(true, Ordering::Relaxed);
}

/// Returns the status with which a driver's change of the registry is refused, if it is.
pub(super) fn refusal() -> Option<NtStatus> {
    let full = boot::options().faults.contains(&Fault::RegistryFull);
    let closed = CLOSED.load(Ordering::Relaxed);
    closed.then_some(status::TOO_LATE).or(full.then_some(status::REGISTRY_QUOTA_LIMIT))
}

unsafe extern "win64" fn lazy_writer(_context: Pvoid) {
    loop {
        ke::delay(LAZY);
        flush();
    }
}

/// Writes what has changed, if there are files to write to. IRQL `PASSIVE_LEVEL`.
pub(crate) fn flush() {
    if !OPEN.load(Ordering::Relaxed) || CLOSED.load(Ordering::Relaxed) || !boot::options().hive {
        return;
    }
    while WRITING.swap(true, Ordering::Acquire) {
        ke::delay(1);
    }
    let mut lines = Vec::new();
    let now = ROOT.lock().clone();
    if let Some(written) = &*WRITTEN.lock()
        && let (Some(old), Some(new)) = (written.find(MACHINE.0), now.find(MACHINE.0))
    {
        differences(old, new, MACHINE.1, &mut lines);
    }
    if !lines.is_empty() {
        report!("flush begin");
        for line in lines {
            report!("reg {line}");
        }
        report!("flush end");
        *WRITTEN.lock() = Some(now);
    }
    WRITING.store(false, Ordering::Release);
}

/// Adds the lines that make `old` into `new`; both are the key called `path`.
fn differences(old: &Key, new: &Key, path: &str, lines: &mut Vec<String>) {
    let at = lines.len();
    for (name, _) in &old.values {
        if new.value(name).is_none() {
            lines.push(format!("{}=-", quoted(name)));
        }
    }
    for (name, value) in &new.values {
        if old.value(name) != Some(value) {
            assignment(name, value, lines);
        }
    }
    if lines.len() > at {
        lines.insert(at, format!("[{path}]"));
    }
    let stable = |key: &&Key| !key.volatile;
    for key in &old.keys {
        if new.child(&key.name).filter(stable).is_none() {
            lines.push(format!("[-{path}\\{}]", key.name));
        }
    }
    let nothing = Key::default();
    for key in new.keys.iter().filter(stable) {
        let path = format!("{path}\\{}", key.name);
        let old = old.child(&key.name).unwrap_or_else(|| {
            lines.push(format!("[{path}]"));
            &nothing
        });
        differences(old, key, &path, lines);
    }
}

/// Adds a value as registration files write it, in as many lines as it takes.
fn assignment(name: &str, value: &Value, lines: &mut Vec<String>) {
    let name = quoted(name);
    if let Some(number) = value.as_dword() {
        return lines.push(format!("{name}=dword:{number:08x}"));
    }
    if value.data.is_empty() {
        return lines.push(format!("{name}=hex({:x}):", value.kind));
    }
    lines.push(format!("{name}=hex({:x}):\\", value.kind));
    let mut pieces = value.data.chunks(BYTES_PER_LINE).peekable();
    while let Some(piece) = pieces.next() {
        let mut line = String::from("  ");
        for byte in piece {
            // Writing to a string cannot fail.
            let _ = write!(line, "{byte:02x},");
        }
        if pieces.peek().is_some() {
            line.push('\\');
        } else {
            line.pop();
        }
        lines.push(line);
    }
}

/// Returns a name in quotes; the default value's is `@`.
fn quoted(name: &str) -> String {
    if name.is_empty() {
        return String::from("@");
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
