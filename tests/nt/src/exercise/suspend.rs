//! The guest is saved and restored, with requests on their way.

use alloc::vec::Vec;
use core::arch::x86_64::__cpuid;
use core::cell::Cell;
use core::ptr::null_mut;

use protocol::Ready;

use super::load::Load;
use super::{ask, wait_until};
use crate::ke::{self, clock, thread};
use crate::mm::pool;
use crate::nt::*;
use crate::work::LISTED;
use crate::{boot, mountmgr, report};

/// Threads that read from each disk.
const READERS: usize = 4;
/// Reads after which the readers are believed to go on.
const READS_AFTER: u32 = 64;
/// Threads that read from a disk which is used by itself, how many reads they do, and the milliseconds after it in which the
/// drivers' timers find the disk idle.
const BUSY: usize = 24;
const READS_IN_TURN: u32 = 256;
const IDLE: u64 = 2500;
/// Files that are written to a disk before the next one has its turn.
const TURN: u32 = 4;
/// Milliseconds between two looks whether the guest runs in another domain.
const LOOK: u64 = 5;

/// Runs the exercise: dom0 saves and restores the guest at `ready for=suspend`, and again at each `resumed` but the last
/// where it is to be saved more than once.
pub(super) fn run() {
    let disks = mountmgr::disks();
    if disks.len() > 1 {
        use_in_turn(&disks);
    }
    let mut disks: Vec<_> = disks.into_iter().map(Used::start).collect();
    disks.iter().for_each(|disk| wait_until("reading", || disk.load.done() >= 32));
    let mut domain = domain();
    let mut listed = LISTED.get();
    ask(Ready::Suspend);
    for save in 1..=boot::options().rounds.max(1) {
        // Files, with a flush behind each, before, during and after.
        while self::domain() == domain {
            disks.iter_mut().for_each(|disk| disk.write(|| self::domain() == domain));
        }
        let before: Vec<_> = disks.iter().map(|disk| disk.load.done()).collect();
        domain = self::domain();
        for (disk, before) in disks.iter().zip(&before) {
            wait_until("reading after it", || disk.load.done() >= before + READS_AFTER);
        }
        let (blocks, bytes) = pool::in_use();
        let censuses = LISTED.get() - listed;
        listed += censuses;
        let (written, read): (u32, u32) =
            (disks.iter().map(|disk| disk.written).sum(), before.into_iter().sum());
        report!(
            "resumed disks={} written={written} read={read} save={save} censuses={censuses} blocks={blocks} \
             bytes={bytes}",
            disks.len()
        );
    }
    for Used { disk, load, written } in disks {
        load.end();
        let counts = load.join();
        report!("traffic disk={disk} written={written} {counts}");
    }
}

/// Uses each disk by itself, so that grant references go from one to the next: a disk that is idle gives back what the next
/// one takes.
fn use_in_turn(disks: &[u32]) {
    for disk in disks {
        let load = Load::start(*disk, BUSY);
        wait_until("reading in turn", || load.done() >= READS_IN_TURN);
        load.end();
        load.join();
        ke::delay(IDLE);
    }
}

/// A disk in use.
struct Used {
    disk: u32,
    load: Load,
    /// Files written to it.
    written: u32,
}

impl Used {
    fn start(disk: u32) -> Self {
        Self { disk, load: Load::start(disk, READERS), written: 0 }
    }

    /// Writes some files as long as `wanted`.
    fn write(&mut self, wanted: impl Fn() -> bool) {
        let left = Cell::new(TURN);
        self.written += mountmgr::write_while(self.disk, || {
            let goes_on = left.get() > 0 && wanted();
            left.set(left.get().saturating_sub(1));
            goes_on
        });
    }
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
