//! The worker that tells the system what the guard did, in a PV boot: log entries, and the state in the
//! registry. Events may come at DISPATCH_LEVEL and are only recorded there.

use core::fmt::Write;
use core::time::Duration;

use alloc::boxed::Box;

use guard::abi::{PhaseNumber, Status};
use guard::record::Entry;
use guard::{Action, Reason, message};
use wdm::debug::Line;
use wdm::event::{Event, Kind};
use wdm::event_log::{self, Source};
use wdm::registry::{self, Key};
use wdm::thread::Thread;
use wdm::{DriverObject, NtStatus, Result, pool, utf16};

use crate::{last_boot, log, news, state, tripwire};

/// Time between two attempts to write an entry that the event log has no memory for.
const UNTIL_AGAIN: Duration = Duration::from_secs(1);

/// Starts the worker. PASSIVE_LEVEL.
///
/// # Errors
/// Where there is no memory or no thread.
pub(crate) fn start(driver: DriverObject) -> Result {
    let wake = Box::leak(pool::try_box(Event::new(Kind::Synchronization)?)?);
    let wake: &'static Event = wake;
    // Dropping the handle leaves the thread running.
    drop(Thread::spawn(move || work(driver, wake))?);
    news::wake_from_now_on(wake);
    Ok(())
}

fn work(driver: DriverObject, wake: &Event) {
    let mut next = 0;
    let mut said = None;
    // The entry that the log had no memory for.
    let mut refused = None;
    let mut published = None;
    loop {
        if refused.is_some() {
            wake.wait_timeout(UNTIL_AGAIN);
        } else {
            wake.wait();
        }
        let record = state::record();
        let refused_before = refused.take();
        for (number, entry) in record.entries(next) {
            if let Some(reason) = finding(&entry)
                && said != Some(reason)
            {
                if let Err(status) = write(driver, reason, &entry) {
                    refused = Some(number);
                    if refused != refused_before {
                        log!("no log entry yet ({status}) for {entry}");
                    }
                    break;
                }
                said = Some(reason);
            }
            next = number + 1;
        }
        let status = state::status();
        if published != Some(status) {
            // The registry may be full or read-only; the record and the log have it too.
            let _ = publish(&status);
            last_boot::changed();
            published = Some(status);
        }
        if status.phase == PhaseNumber::EXPOSED {
            tripwire::look_at_loaded();
        }
    }
}

/// Returns the reason to write to the event log, if any. Bugchecks report themselves, and xenvbd logs the
/// results of a census.
fn finding(entry: &Entry) -> Option<Reason> {
    match entry.action() {
        Action::Withhold(reason) | Action::Note(reason) | Action::Deny(reason) if !entry.is_census() => {
            Some(reason)
        }
        _ => None,
    }
}

/// Writes an entry of the record to the event log. IRQL ≤ DISPATCH_LEVEL.
///
/// # Errors
/// The log has no memory for it now.
fn write(driver: DriverObject, reason: Reason, entry: &Entry) -> Result {
    let mut text = Line::new();
    // Writing to a Line does not fail.
    let _ = write!(text, "{entry}");
    event_log::write(Source::Driver(driver), message::code(reason), NtStatus::SUCCESS, &[], text.as_str())
}

/// Writes the state of the boot into the volatile key `Status` below the driver's key. PASSIVE_LEVEL.
///
/// # Errors
/// What the registry answers.
pub(crate) fn publish(status: &Status) -> Result {
    let key = Key::open_for_write(registry::SERVICES)
        .and_then(|services| services.open_below(utf16!("idefilter")))?
        .create_below(utf16!("Status"), true)?;
    for (name, value) in [
        (utf16!("Phase"), status.phase.0),
        (utf16!("Reason"), status.reason),
        (utf16!("Unplug"), status.unplug.0),
        (utf16!("Policy"), status.policy.0),
        (utf16!("Controllers"), status.controllers),
        (utf16!("Hidden"), status.hidden),
        (utf16!("HiddenDisks"), status.hidden_disks),
        (utf16!("Denied"), status.denied),
    ] {
        key.set_dword(name, value)?;
    }
    Ok(())
}
