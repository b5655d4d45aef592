//! The record of the boot that outlives it, in the registry (`guard::last_boot` has its layout), and the entry
//! in the event log that says how the guard stopped the last boot.
//!
//! Nothing of the system depends on it, and nothing waits for it. It is written by threads of this driver and
//! in the shutdown, never on the way of a request to a disk; a write that fails is passed over.
//!
//! A stop leaves no time to write anything. Its bugcheck is in NT's crash dump, which NT copies out of the page
//! file in the next boot, by a program of its own. A thread looks for that file's head for some minutes, where
//! the last boot did not end in order.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use alloc::vec::Vec;

use guard::crash_dump::{self, Stopped};
use guard::last_boot::{self, End, LastBoot};
use guard::{Reason, message, units};
use wdm::debug::Line;
use wdm::event_log::{self, Source};
use wdm::file::File;
use wdm::registry::{self, Key};
use wdm::thread::Thread;
use wdm::{DriverObject, NtStatus, Result, pool, time, utf16};

use crate::{boot_count, log, parameters, state};

/// REG_BINARY.
const BINARY: u32 = 3;
/// Time between two looks for the crash dump.
const INTERVAL: Duration = Duration::from_secs(2);
/// Number of those looks: NT's program may have gigabytes to copy before.
const LOOKS: u32 = 900;

/// The record of the boot before has been put aside, so that this boot's may be written.
static BEGUN: AtomicBool = AtomicBool::new(false);
/// The system is being shut down in order.
static IN_ORDER: AtomicBool = AtomicBool::new(false);

/// Begins, in every boot that has been decided on. PASSIVE_LEVEL, in DriverEntry.
pub(crate) fn begin(driver: DriverObject) {
    if let Err(status) = Thread::spawn(move || run(driver)) {
        log!("the boot leaves no record: {status}");
    }
}

/// Writes the record again: the guard's status has changed. PASSIVE_LEVEL.
pub(crate) fn changed() {
    if BEGUN.load(Ordering::Acquire) {
        // The registry may be full or read-only; nothing depends on it.
        let _ = write();
    }
}

/// Writes the record of a boot that ends in order. PASSIVE_LEVEL.
pub(crate) fn at_shutdown() {
    IN_ORDER.store(true, Ordering::Release);
    changed();
}

/// Returns the record of this boot.
fn this() -> LastBoot {
    let end = if IN_ORDER.load(Ordering::Acquire) { End::InOrder } else { End::Unknown };
    LastBoot::of_running(time::system_time(), time::interrupt_time(), end, state::status())
}

fn write() -> Result {
    parameters::open_for_write()?.set(utf16!(last_boot::THIS), BINARY, &this().to_bytes())
}

/// Runs the thread: puts the record of the boot before aside once the hives can be written, writes this one's,
/// and says how the last boot was stopped.
fn run(driver: DriverObject) {
    boot_count::wait_for_hives();
    let before = put_aside();
    BEGUN.store(true, Ordering::Release);
    // Without the flush a boot that dies early would look like the one before.
    let _ = write().and_then(|()| parameters::open_for_write()?.flush());
    if let Some(before) = before.filter(|before| before.is_pv() && before.end == End::Unknown)
        && let Some(stopped) = wait_for_dump(&before)
    {
        tell(driver, &LastBoot { end: End::Stopped(stopped.stop), ..before });
    }
}

/// Moves the record that is there to where the last boot's is. Returns it, if it is one of this version's.
fn put_aside() -> Option<LastBoot> {
    let key = parameters::open_for_write().ok()?;
    match key.value(utf16!(last_boot::THIS)) {
        Ok(value) => {
            let _ = key.set(utf16!(last_boot::LAST), BINARY, &value.data);
            LastBoot::parse(&value.data)
        }
        Err(_) => None,
    }
}

/// Looks for the crash dump of a boot that the guard stopped, until it is there.
fn wait_for_dump(before: &LastBoot) -> Option<Stopped> {
    let path = dump_file().ok()?;
    // Resident and aligned: the disk's driver reads into it.
    let mut head = pool::try_vec::<u8>(HEAD).ok()?;
    for _ in 0..LOOKS {
        let read = File::open(&path).and_then(|file| file.read_head(&mut head));
        if let Ok(bytes) = read
            && let Some(stopped) =
                Stopped::parse(&head[..bytes]).filter(|stopped| stopped.ends(before.started))
        {
            return Some(stopped);
        }
        time::sleep(INTERVAL);
    }
    None
}

/// Bytes read of a dump: whole sectors.
const HEAD: usize = 4096;
const _: () = assert!(HEAD >= crash_dump::SIZE);

/// Returns the path of the file that NT copies a crash dump to.
fn dump_file() -> Result<Vec<u16>> {
    let named = Key::open(registry::CONTROL)?
        .open_below(utf16!("CrashControl"))
        .and_then(|key| key.string(utf16!("DumpFile")));
    let mut path = Vec::new();
    let (root, rest): (&[u16], &[u16]) = match &named {
        Ok(named) if units::starts_with(named, crash_dump::SYSTEM_ROOT) => {
            (utf16!("\\SystemRoot"), &named[crash_dump::SYSTEM_ROOT.len()..])
        }
        Ok(named) => (utf16!("\\??\\"), named),
        Err(_) => (utf16!("\\SystemRoot\\"), utf16!(crash_dump::FILE)),
    };
    path.try_reserve_exact(root.len() + rest.len()).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    path.extend_from_slice(root);
    path.extend_from_slice(rest);
    Ok(path)
}

/// Says how the guard stopped the last boot: in the event log, and in that boot's record.
fn tell(driver: DriverObject, before: &LastBoot) {
    if let Ok(key) = parameters::open_for_write() {
        let _ = key.set(utf16!(last_boot::LAST), BINARY, &before.to_bytes());
    }
    let End::Stopped(stop) = before.end else { return };
    let mut text = Line::new();
    // Writing to a Line does not fail.
    let _ = write!(text, "{}", last_boot::Stop(stop));
    // The log may be full; the record has it too.
    let _ = event_log::write(
        Source::Driver(driver),
        message::code(Reason::LastBootStopped),
        NtStatus::SUCCESS,
        &[stop.reason.code(), stop.own, stop.enumerated],
        text.as_str(),
    );
}
