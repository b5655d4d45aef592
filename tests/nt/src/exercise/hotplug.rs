//! A disk is attached, used, and detached while requests are on their way.

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::ob::namespace;
use crate::{mountmgr, report};

/// The disk that comes and goes: the second that the system sees.
const DISK: u32 = 1;
/// Threads that read from it.
const READERS: usize = 4;

/// Runs the exercise: dom0 attaches a disk with a volume at `ready for=attach`, and detaches it at `ready
/// for=detach`.
pub(super) fn run() {
    ask(Ready::Attach);
    wait_until("a second volume", || mountmgr::is_mounted(DISK));
    mountmgr::file_test();
    let load = Load::start(DISK, READERS);
    wait_until("reading", || load.done() >= 32);
    ask(Ready::Detach);
    // Writes until the disk is gone.
    let written = mountmgr::write_until_failure(DISK);
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
    wait_until("the volume's removal", || !mountmgr::is_mounted(DISK));
    crate::pnp::settle();
    let there = namespace::lookup(&alloc::format!("\\Device\\Harddisk{DISK}\\DR{DISK}")).is_some();
    report!("gone disk={DISK} left={}", u8::from(there));
}
