//! Disks of a backend that breaks the protocol come and go, each with readers until it is gone.

use alloc::format;

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::ob::namespace;
use crate::{boot, pnp, report};

/// Threads that read from a disk.
const READERS: usize = 4;

/// Runs the exercise: from `ready for=attach` on dom0 attaches `rounds=<number>` disks that are shown, one after the
/// other, and takes each away. The first disk is read from all the time.
pub(super) fn run() {
    let sound = Load::start(0, READERS);
    wait_until("reading", || sound.done() >= 32);
    ask(Ready::Attach);
    // A disk that comes again has the next number.
    for disk in 1..=boot::options().rounds {
        let there = || namespace::lookup(&format!("\\Device\\Harddisk{disk}\\DR{disk}")).is_some();
        wait_until("a disk", there);
        pnp::settle();
        let load = Load::start(disk, READERS);
        wait_until("its removal", || !there());
        load.end();
        report!("traffic disk={disk} {}", load.join());
    }
    sound.end();
    report!("traffic disk=0 {}", sound.join());
}
