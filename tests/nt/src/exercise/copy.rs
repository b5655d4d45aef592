//! The guest is saved and goes on, with requests on their way.

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::ob::namespace;
use crate::{disk, mountmgr, report};

/// The disk that is used meanwhile.
const DISK: u32 = 0;
/// Threads that read from it.
const READERS: usize = 4;
/// Reads after which the readers are believed to go on.
const READS_AFTER: u32 = 64;

/// Runs the exercise: dom0 saves the guest at `ready for=copy`, and has the first disk grow when that is
/// over.
pub(super) fn run() {
    let Some((device, _)) = namespace::lookup("\\Device\\Harddisk0\\DR0") else {
        crate::ke::panicked(format_args!("there is no first disk"));
    };
    // SAFETY: the first disk's device object; nobody removes it during this exercise.
    let sectors = || unsafe { disk::probe(device.cast()) }.1;
    let (size, load) = (sectors(), Load::start(DISK, READERS));
    wait_until("reading", || load.done() >= 32);
    ask(Ready::Copy);
    // A size that cannot be read is none. Files, with a flush behind each, before, during and after.
    let over = || ![0, size].contains(&sectors());
    let written = mountmgr::write_while(DISK, || !over());
    let before = load.done();
    report!("copied disk={DISK} written={written} read={before}");
    wait_until("reading after it", || load.done() >= before + READS_AFTER);
    load.end();
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
}
