//! The system begins to hibernate with its disk in use, is refused the writer of its file, and goes on.

use super::load::Load;
use super::wait_until;
use crate::{diskdump, mountmgr, report};

const DISK: u32 = 0;
/// Threads that read.
const READERS: usize = 4;
/// Reads before and after.
const READS: u32 = 64;

/// The exercise: a copy of the miniport is started as for hibernation, and the disk is as usable as before.
pub fn run() {
    let load = Load::start(DISK, READERS);
    wait_until("reading", || load.done() >= READS);
    diskdump::hibernate();
    let before = load.done();
    let written = mountmgr::write_while(DISK, || load.done() < before + READS);
    load.end();
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
}
