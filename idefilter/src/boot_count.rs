//! The count of PV boots that did not come up, kept in `Parameters\PvBoots` (see `guard::boot_count` for the
//! rule and for what it cannot count).
//!
//! NT writes hives to the disk from the moment the session manager has opened them; before, what DriverEntry
//! writes is in memory only. That moment is told by the key `\Registry\Machine\SOFTWARE`, whose hive is
//! loaded then. A thread waits for it, has the count written, and takes it back once the system has stayed
//! up, or is shut down in order.

use core::time::Duration;

use guard::boot_count;
use guard::decision::Decision;
use wdm::registry::Key;
use wdm::thread::Thread;
use wdm::{Result, time, utf16};

use crate::{log, parameters};

/// Time between two looks of the thread.
const INTERVAL: Duration = Duration::from_millis(100);
/// Time that a boot must stay up, in seconds, unless `Parameters\UpAfter` says otherwise.
const UP_AFTER: u32 = 60;
/// The key whose hive the session manager loads.
const SOFTWARE: &[u16] = utf16!("\\Registry\\Machine\\SOFTWARE");

/// Begins a boot that has been decided on. Counts it if it is a PV boot, and has a thread clear the count
/// once the system is up, or is shut down in order. An emulated boot without a count leaves the registry
/// alone. PASSIVE_LEVEL.
pub(crate) fn begin(decision: Decision) {
    let failed = read().unwrap_or(0);
    match decision {
        Decision::Emulated(_) if failed == 0 => return,
        Decision::Emulated(_) => {}
        Decision::Pv(_) => {
            let begun = boot_count::begun(failed);
            if let Err(status) = write(begun) {
                log!("boot not counted: {status}");
                return;
            }
            log!("boot count={begun}");
        }
    }
    if let Err(status) = Thread::spawn(run) {
        log!("boot count left as it is: {status}");
    }
}

/// Clears the count: a system that is shut down in order has come up, however early that is. PASSIVE_LEVEL.
pub(crate) fn at_shutdown() {
    if read().is_ok_and(|count| count != 0)
        && let Err(status) = write(0)
    {
        log!("boot count not cleared: {status}");
    }
}

/// Returns the number of PV boots begun since a boot last came up.
///
/// # Errors
/// What the registry answers.
pub(crate) fn read() -> Result<u32> {
    parameters::open()?.dword(utf16!("PvBoots"))
}

fn write(count: u32) -> Result {
    parameters::open_for_write()?.set_dword(utf16!("PvBoots"), count)
}

/// Waits until the session manager has opened the hives. PASSIVE_LEVEL.
pub(crate) fn wait_for_hives() {
    while Key::open(SOFTWARE).is_err() {
        time::sleep(INTERVAL);
    }
}

/// Runs the thread: waits for the hives, writes the count to the disk, waits until the system has stayed up,
/// clears it.
fn run() {
    wait_for_hives();
    // Without the flush NT writes within some seconds by itself, which a boot that dies early would not see.
    if let Err(status) = parameters::open_for_write().and_then(|key| key.flush()) {
        log!("boot count not written: {status}");
    }
    let up_after = parameters::open().and_then(|key| key.dword(utf16!("UpAfter"))).unwrap_or(UP_AFTER);
    time::sleep(Duration::from_secs(up_after.into()));
    let cleared = write(0).and_then(|()| parameters::open_for_write()?.flush());
    if let Err(status) = cleared {
        log!("boot count not cleared: {status}");
    }
}
