//! The functions that xenpci.sys and xenvbd.sys import. Layouts and meanings: `guard::abi`.
#![expect(unsafe_code, reason = "exported functions that take pointers from other drivers")]

use core::ffi::c_void;
use core::{ptr, slice};

use guard::abi::{self, RawEvent, Status, Watcher};
use guard::channel::LogLine;

use crate::{activity, signals, state};

/// Takes one event and answers with a packed action, which the caller must obey. IRQL ≤ DISPATCH_LEVEL. A
/// null pointer, another version of the interface and an event that may not cross are answered with a
/// withhold.
///
/// # Safety
/// `event` is null or points at a `RawEvent` that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn XenguardEvent(event: *const RawEvent) -> u64 {
    // SAFETY: by contract.
    abi::answer(unsafe { event.as_ref() }.copied(), state::step)
}

/// Writes the state of the boot, of which a caller that was built for another version gets as much as it has
/// room for. Returns how many bytes were written. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// `status` is null or points at room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn XenguardStatus(status: *mut Status, size: u32) -> u32 {
    if status.is_null() {
        return 0;
    }
    let answer = state::status();
    let bytes = answer.bytes_for(size);
    // SAFETY: by contract there is room for `size` bytes, and no more are written; the answer is this
    // function's own.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), status.cast(), bytes.len()) };
    bytes.len() as u32
}

/// Has `watcher` called when the guard wants something; a number for [`XenguardUnwatch`], or 0. IRQL ≤
/// DISPATCH_LEVEL.
///
/// # Safety
/// `watcher` is null, or stays callable with `context` until it is taken out.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn XenguardWatch(watcher: Option<Watcher>, context: *mut c_void) -> u32 {
    watcher.map_or(0, |watcher| signals::add(watcher, context))
}

/// Takes a watcher out. IRQL ≤ DISPATCH_LEVEL, not from inside of it.
#[unsafe(no_mangle)]
pub extern "system" fn XenguardUnwatch(number: u32) {
    signals::remove(number);
}

/// Adds a line to the activity log. Any IRQL, HIGH_LEVEL and the writing of a crash dump included.
///
/// # Safety
/// `text` is null or points at `length` bytes that do not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn XenguardNote(text: *const u8, length: u32) {
    if text.is_null() {
        return;
    }
    // SAFETY: by contract.
    activity::add(unsafe { slice::from_raw_parts(text, length as usize) });
}

/// Writes the first line of the activity log from number `from` on, and returns 1, or 0 where it is still to come. IRQL ≤
/// DISPATCH_LEVEL.
///
/// # Safety
/// `line` points at room for [`LogLine::BYTES`] bytes.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn XenguardLine(from: u64, line: *mut u8) -> u32 {
    let Some((found, lost)) = activity::line(from) else { return 0 };
    let bytes = LogLine { line: found, lost }.to_bytes();
    // SAFETY: by contract there is room, and the answer is this function's own.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), line, bytes.len()) };
    1
}

/// Writes the guard's record. IRQL ≤ DISPATCH_LEVEL.
///
/// # Safety
/// `record` points at room for [`guard::record::SIZE`] bytes, which nobody else has.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn XenguardRecord(record: *mut u8) {
    // SAFETY: by contract, and any bytes may be there before.
    state::copy_record(unsafe { &mut *record.cast() });
}
