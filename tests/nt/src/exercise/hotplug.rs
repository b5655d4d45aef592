//! A disk is attached, used, and detached: with requests on their way, with a file in the cache, or in use while dom0
//! asks for it.

use protocol::{CACHED_FILE, Ready};

use super::load::Load;
use super::{ask, is_seen, wait_until};
use crate::ob::namespace;
use crate::{ke, mountmgr, report};

/// The disk that comes and goes: the second that the system sees.
const DISK: u32 = 1;
/// Threads that read from it.
const READERS: usize = 4;
/// Time for which the disk is in use while dom0 asks for it: longer than the toolstack waits. In 100 ns.
const IN_USE: u64 = 25 * 10_000_000;
/// Time in milliseconds that the removal of a disk may take behind that of its volume.
const REMOVAL: u64 = 30_000;

/// Runs the exercise: dom0 attaches a disk with a volume at `ready for=attach`, and takes it at `ready for=force`.
pub(super) fn run() {
    attach();
    let load = Load::start(DISK, READERS);
    wait_until("reading", || load.done() >= 32);
    ask(Ready::Force);
    // Writes until the disk is gone.
    let written = mountmgr::write_until_failure(DISK);
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
    gone(DISK);
}

/// Runs the exercise: nobody has anything open on the disk when dom0 asks for it at `ready for=detach`, and a file has
/// been written that is in the cache only.
pub(super) fn detach() {
    attach();
    let (name, line) = CACHED_FILE;
    mountmgr::write_cached(DISK, name, line.as_bytes());
    ask(Ready::Detach);
    gone(DISK);
}

/// Runs the exercise: a file is open on the disk, and written to, when dom0 asks for it at `ready for=detach`, and
/// long enough afterwards; then dom0 takes it at `ready for=force`.
pub(super) fn detach_in_use() {
    attach();
    ask(Ready::Detach);
    let end = ke::clock::interrupt_time() + IN_USE;
    let written = mountmgr::write_while(DISK, || ke::clock::interrupt_time() < end);
    let there = u8::from(mountmgr::is_mounted(DISK));
    report!("traffic disk={DISK} written={written} there={there}");
    ask(Ready::Force);
    gone(DISK);
}

/// Has dom0 attach the disk, and writes the test's file to it.
fn attach() {
    ask(Ready::Attach);
    wait_until("a second volume", || mountmgr::is_mounted(DISK));
    mountmgr::file_test();
}

/// Waits until a disk is gone, and looks whether anything is left of it.
pub(super) fn gone(disk: u32) {
    wait_until("the volume's removal", || !mountmgr::is_there(disk));
    crate::pnp::settle();
    let name = alloc::format!("\\Device\\Harddisk{disk}\\DR{disk}");
    // An ejection removes the disk behind its volume, on a thread of its own.
    let left = !is_seen(REMOVAL, || namespace::lookup(&name).is_none());
    report!("gone disk={disk} left={}", u8::from(left));
}
