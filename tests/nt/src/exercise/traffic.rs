//! Every processor uses a disk at once.

use super::load::Load;
use super::wait_until;
use crate::{mountmgr, report};

const DISK: u32 = 0;
/// Threads that read: two for each of two processors.
const READERS: usize = 4;
/// Reads after which it is enough.
const READS: u32 = 400;

/// Runs the exercise: readers on every processor, and one thread that writes files.
pub(super) fn run() {
    let load = Load::start(DISK, READERS);
    let written = mountmgr::write_while(DISK, || load.done() < READS);
    wait_until("reading", || load.done() >= READS);
    load.end();
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
}
