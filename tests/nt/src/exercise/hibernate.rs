//! The system hibernates, and goes on where it was or in another domain; or it is refused the writer of its
//! file.

use protocol::Ready;

use super::load::Load;
use super::suspend::domain;
use super::{ask, wait_until};
use crate::mm::{PAGE_SIZE, iospace};
use crate::nt::{POWER_ACTION_HIBERNATE, POWER_SYSTEM_HIBERNATE, POWER_SYSTEM_WORKING};
use crate::{diskdump, ke, mountmgr, pci, pnp, report, xen};

const DISK: u32 = 0;
/// Threads that read.
const READERS: usize = 4;
/// Reads before and after.
const READS: u32 = 64;

/// Bytes of the platform device's memory that xenpci uses: shared info, and 32 frames of grant table.
const WINDOW: u64 = 33 * PAGE_SIZE as u64;
/// Milliseconds before the devices are set to D0, in which a miniport's timer runs out.
const HIDDEN: u64 = 1200;

/// `__HYPERVISOR_sched_op`, `SCHEDOP_yield`.
const SCHED_OP: u64 = 29;
const YIELD: u64 = 0;

/// Runs the exercise where writing the file is all: the machine is not turned off, as where it has a battery.
/// Files are written before and after.
pub(super) fn here() {
    hibernate(|| ());
    diskdump::unload_after_hibernation();
}

/// Runs the exercise where a backend does not let go of a page by which the file was written. The system stops meanwhile.
pub(super) fn kept() {
    /// Milliseconds that are more than a backend has.
    const PATIENCE: u64 = 45_000;
    hibernate(xen::keep_a_page_of_the_copy);
    ke::delay(PATIENCE);
}

/// Runs the exercise where nobody in xenpci serves S4: it objects, and the system is set to S4 all the same, as where a
/// battery is nearly empty. The copy of the miniport must find the disk in use.
pub(super) fn unserved() {
    use_disk(|| ());
    diskdump::load_for_hibernation();
    // SAFETY: nobody uses a device: the readers have ended, and nothing else runs.
    unsafe {
        let agreed = pnp::try_power(POWER_SYSTEM_HIBERNATE, POWER_ACTION_HIBERNATE);
        report!("power query={POWER_SYSTEM_HIBERNATE} agreed={}", u8::from(agreed));
        if !agreed {
            pnp::set_power(POWER_SYSTEM_HIBERNATE, POWER_ACTION_HIBERNATE);
        }
        diskdump::hibernate(|| ());
        pnp::set_power(POWER_SYSTEM_WORKING, POWER_ACTION_HIBERNATE);
    }
    use_disk(|| ());
}

/// Runs the exercise with the power gone: at `ready for=hibernated` dom0 saves the guest and restores it.
///
/// That stands for a loader that reads the file into a new machine's memory, since Xen has as little for a
/// domain that was restored behind its back as for one that booted. Xen's toolstack asks a guest to suspend
/// itself if it has a callback for events, so that is taken away; a new machine has none.
pub(super) fn elsewhere() {
    hibernate(|| {
        let before = domain();
        assert!(xen::set_parameter(xen::CALLBACK_IRQ, 0), "the callback for events stays");
        ask(Ready::Hibernated);
        while domain() == before {
            // SAFETY: nothing is read or written.
            unsafe { xen::hypercall(SCHED_OP, [YIELD, 0, 0]) };
        }
    });
}

fn hibernate(off: impl FnOnce()) {
    use_disk(|| ());
    diskdump::load_for_hibernation();
    // SAFETY: nobody uses a device: the readers have ended, and nothing else runs.
    let agreed = unsafe { pnp::try_power(POWER_SYSTEM_HIBERNATE, POWER_ACTION_HIBERNATE) };
    assert!(agreed, "a device objects to hibernation");
    diskdump::hibernate(off);
    // Another machine has nothing behind the device's memory before its driver has set it up.
    let memory = pci::platform_memory().expect("the platform device's memory");
    iospace::hidden(memory..memory + WINDOW, || {
        ke::storm();
        ke::delay(HIDDEN);
    });
    // SAFETY: as above.
    unsafe { pnp::set_power(POWER_SYSTEM_WORKING, POWER_ACTION_HIBERNATE) };
    use_disk(|| ());
}

/// Runs the exercise where a copy of the miniport is started without a device having been told: the disk is
/// in use, and stays as usable.
pub(super) fn unprepared() {
    diskdump::load_for_hibernation();
    use_disk(|| diskdump::hibernate(|| ()));
}

/// Reads, does something, writes files while it reads on, and says how it went.
fn use_disk(meanwhile: impl FnOnce()) {
    let load = Load::start(DISK, READERS);
    wait_until("reading", || load.done() >= READS);
    meanwhile();
    let before = load.done();
    let written = mountmgr::write_while(DISK, || load.done() < before + READS);
    load.end();
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
}
