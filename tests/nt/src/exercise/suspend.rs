//! The guest is saved and restored, with requests on their way.

use core::arch::x86_64::__cpuid;
use core::ptr::null_mut;

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::ke::{self, clock, thread};
use crate::mm::pool;
use crate::nt::*;
use crate::work::LISTED;
use crate::{boot, mountmgr, report};

/// The disk that is used meanwhile.
const DISK: u32 = 0;
/// Threads that read from it.
const READERS: usize = 4;
/// Reads after which the readers are believed to go on.
const READS_AFTER: u32 = 64;
/// Milliseconds between two looks whether the guest runs in another domain.
const LOOK: u64 = 5;

/// Runs the exercise: dom0 saves and restores the guest at `ready for=suspend`, and again at each `resumed` but the last
/// where it is to be saved more than once.
pub(super) fn run() {
    let load = Load::start(DISK, READERS);
    wait_until("reading", || load.done() >= 32);
    let mut domain = domain();
    let mut listed = LISTED.get();
    ask(Ready::Suspend);
    let (mut written, saves) = (0, boot::options().rounds.max(1));
    for save in 1..=saves {
        // Files, with a flush behind each, before, during and after.
        written += mountmgr::write_while(DISK, || self::domain() == domain);
        let before = load.done();
        domain = self::domain();
        wait_until("reading after it", || load.done() >= before + READS_AFTER);
        let (blocks, bytes) = pool::in_use();
        let censuses = LISTED.get() - listed;
        listed += censuses;
        report!(
            "resumed disk={DISK} written={written} read={before} save={save} censuses={censuses} blocks={blocks} \
             bytes={bytes}"
        );
    }
    load.end();
    let counts = load.join();
    report!("traffic disk={DISK} written={written} {counts}");
}

/// Runs the exercise with a clock that is set by the machine's as soon as the guest runs in another domain, as a time
/// service does: while the drivers resume.
pub(super) fn with_another_clock() {
    // SAFETY: the routine takes no context.
    let follower = unsafe { thread::create(follow_the_clock, null_mut(), thread::NORMAL_PRIORITY, 0) };
    follower.expect("a thread that sets the clock");
    run();
}

/// Waits until the guest runs in another domain, and sets the system's clock by as much as the machine's has gone ahead of
/// it or back. PASSIVE_LEVEL.
unsafe extern "win64" fn follow_the_clock(_: Pvoid) {
    const SECOND: u64 = 10_000_000;
    let domain = domain();
    let (machine, own) = (clock::machine_time(), clock::interrupt_time());
    while self::domain() == domain {
        ke::delay(LOOK);
    }
    let passed = ((clock::interrupt_time() - own) / SECOND) as i64;
    let step = clock::machine_time() - machine - passed;
    clock::step(step);
    report!("clock step={step} passed={passed}");
}

/// Returns the number of the domain this runs in, which is another one after a restore (Xen:
/// arch-x86/cpuid.h, leaf 4, ecx).
pub(super) fn domain() -> u32 {
    /// `XEN_HVM_CPUID_DOMID_PRESENT`.
    const PRESENT: u32 = 1 << 4;
    let leaf = __cpuid(0x4000_0004);
    if leaf.eax & PRESENT == 0 { u32::MAX } else { leaf.ecx }
}
