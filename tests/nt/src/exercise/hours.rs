//! Hours of verified I/O on the system's disk and on two more, which dom0 attaches and takes again and again.
//!
//! In each cycle a disk comes and is used, and then the one of the cycle before goes, in order or by force. A disk that comes
//! again must have what was written to it. Twice the system rests, with no disk but its own, and nothing asked of that.

use alloc::collections::{BTreeMap, VecDeque};

use protocol::Ready;
use protocol::hours::{CYCLE_SECONDS, WARM_UP, exchanges};
use volume::mbr::Mbr;

use super::random::Random;
use super::verified::{Content, Verified};
use super::{ask_in, asked, cdrom, hotplug, load, wait_until};
use crate::ke::clock;
use crate::mm::pool;
use crate::{boot, ke, mountmgr, pnp, report, storport};

/// The system's disk.
const SYSTEM: u32 = 0;
/// Disks of which one is taken by force.
const FORCED: u64 = 4;
/// Milliseconds of a rest before it is looked what is in use: after them the drivers' timers have found the disk idle.
const REST: u64 = 5000;

/// Runs the exercise for `rounds=<seconds>`, as `seed=<number>` draws it.
pub(super) fn run() {
    let mut hours = Hours {
        random: Random::new(boot::options().seed),
        system: None,
        there: VecDeque::new(),
        away: BTreeMap::new(),
    };
    let end = clock::interrupt_time() + u64::from(boot::options().rounds) * 10_000_000;
    for cycle in 1.. {
        if cycle == WARM_UP + 1 {
            hours.rest(1);
        }
        hours.attach(cycle);
        if exchanges(cycle) {
            cdrom::exchange(cycle);
        }
        let seconds = u64::from(CYCLE_SECONDS);
        ke::delay(1000 * (seconds + hours.random.below(3 * seconds)));
        let last = cycle > WARM_UP && clock::interrupt_time() >= end;
        if hours.there.len() > 1 {
            // What is on each disk in the end is whole, for the host to look at.
            let forced = !last && hours.random.once_in(FORCED);
            hours.take(forced);
        }
        if last {
            break;
        }
    }
    hours.rest(2);
    asked::run();
}

/// A disk in use.
struct Used {
    disk: u32,
    signature: u32,
    load: Verified,
}

struct Hours {
    random: Random,
    system: Option<Used>,
    /// Disks that came, the oldest first.
    there: VecDeque<Used>,
    /// Contents of disks that are not in use, by signature.
    away: BTreeMap<u32, Content>,
}

impl Hours {
    /// Has dom0 attach the disk of a cycle, and uses it, and the system's where that has rested.
    fn attach(&mut self, cycle: u32) {
        ask_in(cycle, Ready::Attach);
        // A disk that comes again has the next number.
        wait_until("the volume of a disk that is attached", || mountmgr::is_mounted(cycle));
        let used = self.use_disk(cycle);
        self.there.push_back(used);
        if self.system.is_none() {
            self.system = Some(self.use_disk(SYSTEM));
        }
    }

    fn use_disk(&mut self, disk: u32) -> Used {
        let table = load::open(disk).and_then(|device| Mbr::read(&device).ok().flatten());
        let Some(table) = table else { ke::panicked(format_args!("disk {disk} has no partition table")) };
        let signature = table.signature.get();
        let content = self.away.remove(&signature).unwrap_or_else(|| Content::new(&mut self.random));
        Used { disk, signature, load: Verified::start(disk, content) }
    }

    /// Has dom0 take the disk that came first, by force or in order. Returns false if there is none.
    fn take(&mut self, forced: bool) -> bool {
        let Some(used) = self.there.pop_front() else { return false };
        let disk = used.disk;
        // A failure before it is not one of the removal.
        if forced && used.load.is_whole() {
            ask_in(disk, Ready::Force);
            wait_until("the end of a load whose disk is taken", || used.load.has_ended());
            self.end(used, true);
        } else {
            self.end(used, false);
            ask_in(disk, Ready::Detach);
        }
        hotplug::gone(disk);
        true
    }

    /// Ends the use of a disk, and keeps what it must have when it is used again.
    fn end(&mut self, used: Used, taken: bool) {
        let Used { signature, load, .. } = used;
        self.away.insert(signature, load.end(signature, taken));
    }

    /// Has all disks taken in order, uses none, and has dom0 look. Whatever follows waits for dom0.
    fn rest(&mut self, number: u32) {
        while self.take(false) {}
        if let Some(used) = self.system.take() {
            self.end(used, false);
        }
        pnp::settle();
        ke::delay(REST);
        let (blocks, bytes) = pool::in_use();
        let granted = storport::granted().expect("the drivers' grant table");
        report!("quiet number={number} blocks={blocks} bytes={bytes} granted={granted}");
        ask_in(number, Ready::Look);
    }
}
