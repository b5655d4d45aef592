//! Takes away the marks by which Windows leaves out boot drivers (see `guard::start_override`), in every boot:
//! by a thread, from the moment the session manager has opened the hives, and at shutdown.

use core::time::Duration;

use guard::start_override;
use wdm::registry::Key;
use wdm::thread::Thread;
use wdm::version::{self, Version};
use wdm::{registry, time, utf16};

use crate::decision::Name;
use crate::{boot_count, log};

/// Time between two looks of the thread. Windows may write a mark at any time. A mark that is written between
/// the last look and the end stays only if the end is no shutdown.
const INTERVAL: Duration = Duration::from_secs(5);

/// Begins, on an NT that writes marks. The guard does not need it: a failure is said and passed over.
/// PASSIVE_LEVEL, in DriverEntry.
pub(crate) fn begin() {
    if version::running() < Version::NT_6_2 {
        return;
    }
    if let Err(status) = Thread::spawn(run) {
        log!("StartOverride is cleared at shutdown only: {status}");
    }
}

/// Takes the last marks away. PASSIVE_LEVEL.
pub(crate) fn at_shutdown() {
    if version::running() >= Version::NT_6_2 {
        clear();
    }
}

fn run() {
    boot_count::wait_for_hives();
    loop {
        clear();
        time::sleep(INTERVAL);
    }
}

/// Takes the marks away. PASSIVE_LEVEL.
fn clear() {
    let Ok(services) = Key::open(registry::SERVICES) else { return };
    let mut cleared = false;
    for name in start_override::services() {
        // Most systems lack most of the services, and have no mark.
        if let Ok(service) = services.open_below(Name::of(name).as_units()) {
            cleared |= service.delete_below(utf16!("StartOverride")).is_ok();
        }
    }
    if cleared {
        // Without it NT writes within some seconds by itself.
        let _ = services.flush();
    }
}
