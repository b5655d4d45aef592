//! The system goes to S3 with a disk in use, and dom0 wakes it.

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::nt::{POWER_ACTION_SLEEP, POWER_SYSTEM_SLEEPING3, POWER_SYSTEM_WORKING};
use crate::{ke, mountmgr, pnp, po, report, xen};

const DISK: u32 = 0;
/// Threads that read.
const READERS: usize = 4;
/// Reads before and after.
const READS: u32 = 64;
/// Time between the last instruction that an interrupt can come at and the machine's end, in microseconds: dom0
/// raises an event meanwhile, whose interrupt the reset forgets.
const DEAF: u32 = 5_000_000;

/// Runs the exercise. At `ready for=sleep` dom0 writes to a node that the guest watches, waits until the guest is
/// paused, and wakes it.
pub(super) fn run() {
    let lose_upcall = xen::lost_upcall();
    let load = Load::start(DISK, READERS);
    wait_until("reading", || load.done() >= READS);
    let before = load.done();
    // SAFETY: the readers' requests wait until the system works.
    unsafe {
        // One that no processor has taken when the ports are masked.
        lose_upcall();
        let agreed = pnp::try_power(POWER_SYSTEM_SLEEPING3, POWER_ACTION_SLEEP);
        assert!(agreed, "a device objects to S3");
        let asleep = load.done();
        po::sleep(|| {
            ask(Ready::Sleep);
            ke::clock::KeStallExecutionProcessor(DEAF);
        });
        // One that is raised on the way back.
        lose_upcall();
        report!("slept reads={} meanwhile={}", asleep - before, load.done() - asleep);
        pnp::set_power(POWER_SYSTEM_WORKING, POWER_ACTION_SLEEP);
    }
    let before = load.done();
    let written = mountmgr::write_while(DISK, || load.done() < before + READS);
    load.end();
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
}
