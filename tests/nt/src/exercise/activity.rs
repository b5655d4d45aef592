//! Lines for the activity log from HIGH_LEVEL, more than its ring keeps, while the volume takes none, and behind a
//! file that has no room for them.

use alloc::format;
use alloc::vec::Vec;

use super::wait_until;
use crate::io::named_file;
use crate::ke::irql;
use crate::nt::HIGH_LEVEL;
use crate::{ldr, report};

/// The driver that has the log, and the routine that takes a line.
const DRIVER: &str = "idefilter.sys";
const ROUTINE: &str = "XenguardNote";
/// The file on the system's volume.
const FILE: &str = "Xenguard\\activity.log";
/// The file that it becomes.
const OLD: &str = "Xenguard\\activity.old.log";
/// Lines that are there from earlier boots, of 20 bytes: 131,000 of 131,072.
const BEFORE: usize = 6550;
/// Lines to add.
const LINES: u32 = 101;

/// Adds the lines of these numbers at HIGH_LEVEL.
pub(super) fn add(from: u32, to: u32) {
    let routine = ldr::routine(DRIVER, ROUTINE).expect("the driver exports it");
    // SAFETY: the type is that of the driver's routine, and the driver does not unload.
    let note = unsafe { core::mem::transmute::<usize, unsafe extern "win64" fn(*const u8, u32)>(routine) };
    let lines: Vec<_> = (from..=to).map(|number| format!("nt: line {number}")).collect();
    let old = irql::raise(HIGH_LEVEL);
    for line in &lines {
        // SAFETY: the text lives across the call.
        unsafe { note(line.as_ptr(), line.len() as u32) };
    }
    irql::lower(old);
}

/// Runs the exercise.
pub(super) fn run() {
    wait_until("a refused write", || named_file::refused() > 0);
    let wait_for_line = |number: u32| {
        let line = format!("nt: line {number}\r\n");
        wait_until("the last line in the file", || named_file::text(FILE).contains(&line));
    };
    add(1, LINES - 1);
    let before = "of an earlier boot\r\n".repeat(BEFORE);
    named_file::put(FILE, before.as_bytes());
    named_file::fill(false);
    wait_for_line(LINES - 1);
    // Nothing waits for this one: it has to be passed on by itself.
    add(LINES, LINES);
    wait_for_line(LINES);
    let kept = named_file::text(OLD) == before;
    report!("activity refused={} kept={kept}", named_file::refused());
}
