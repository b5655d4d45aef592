//! A disk's backend goes and comes back, as often as dom0 makes it, with requests on their way.

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::{boot, ke, mountmgr, report};

/// Threads that read from it.
const READERS: usize = 4;
/// Reads after which the readers are believed to go on.
const READS_AFTER: u32 = 64;

/// Runs the exercise: at `ready for=outage` dom0 does something to the backend of the last disk, which has reads and a
/// write on their way. Files are written and flushed for `outage=<seconds>` from then on; afterwards the readers must go
/// on.
pub(super) fn run() {
    let (disk, seconds) = boot::options().outage;
    let mut load = Load::start(disk, READERS);
    load.write(disk);
    wait_until("reading", || load.done() >= 32);
    ask(Ready::Outage);
    let start = ke::clock::interrupt_time();
    let end = start + u64::from(seconds) * 10_000_000;
    let written = mountmgr::write_while(disk, || ke::clock::interrupt_time() < end);
    let before = load.done();
    wait_until("reading after it", || load.done() >= before + READS_AFTER);
    load.end();
    let counts = load.join();
    report!("traffic disk={disk} written={written} {counts}");
}
