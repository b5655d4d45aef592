//! The state of the modelled machine: what is physically there, what the drivers have done, and the guard
//! itself.

use guard::backing::Backing;
use guard::census::{self, Counts, Disk, Identity, Origin, Own, Pair, Signature};
use guard::machine::{Event, Phase};
use guard::policy::HidePolicy;
use guard::{Guard, Reason};

use crate::setup::{Faults, Second};

/// Progress of an emulated way to the disk. The order is that of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// The controller has not been reported by any bus.
    Absent,
    /// The filter took the controller out of its bus's relations.
    Hidden,
    /// The controller was reported.
    Reported,
    /// The controller was refused its start.
    Refused,
    /// The controller runs.
    Started,
    /// Its channel was reported.
    ChannelReported,
    /// Its channel runs.
    ChannelStarted,
    /// The filter took the disk out of the channel's relations, or there is none.
    DiskHidden,
    /// The disk was reported.
    DiskReported,
    /// The disk was refused its start.
    DiskRefused,
    /// The disk has an interface; those who wait for disks have not been told yet.
    Arrived,
    /// A volume of the disk may be mounted.
    Ready,
    /// It is.
    Mounted,
}

/// Progress of xenvbd's adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Adapter {
    /// Not started, or without xenpci's services: no vbd can be reached.
    Absent,
    /// It has xenpci's services, and is told of arrivals from now on.
    Open,
    /// The disks have been counted, and the guard has not been told yet.
    Counted(Counts),
    /// The guard had no objection.
    Clear,
    /// Units are reported.
    Shown,
    /// The guard has ordered to withhold.
    Withheld,
}

/// The PV way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PvDisk {
    /// Not reported.
    Absent,
    /// It has an interface; those who wait for disks have not been told yet.
    Arrived,
    /// A volume of it may be mounted.
    Ready,
    /// It is.
    Mounted,
}

/// Events that can be held up: those whose answer their sender does not wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The filter is on a bus.
    BusAttached,
    /// The controllers were counted.
    Counted,
    /// A bus has reported.
    Relations,
    /// A controller or a channel has reported.
    StorageRelations,
    /// A driver was loaded.
    DriverLoaded,
    /// The machine has resumed.
    Resumed,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [
        Kind::BusAttached,
        Kind::Counted,
        Kind::Relations,
        Kind::StorageRelations,
        Kind::DriverLoaded,
        Kind::Resumed,
    ];

    /// Returns the kind of an event.
    pub fn of(event: Event) -> Option<Kind> {
        match event {
            Event::BusAttached { .. } => Some(Kind::BusAttached),
            Event::ControllersCounted(_) => Some(Kind::Counted),
            Event::Relations { .. } => Some(Kind::Relations),
            Event::StorageRelations { .. } => Some(Kind::StorageRelations),
            Event::DriverLoaded => Some(Kind::DriverLoaded),
            Event::Resumed => Some(Kind::Resumed),
            _ => None,
        }
    }
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The guard, the very one that idefilter.sys holds.
    pub guard: Guard,
    /// `Parameters\HidePolicy`.
    pub policy: HidePolicy,
    /// `Parameters\Unplug`.
    pub unplug: bool,
    /// Boots so far, this one included; 0 before the first.
    pub boots: u8,
    /// The boot entry has been chosen, and DriverEntry has run.
    pub decided: bool,
    /// The filter has been attached to the root bus, or missed it.
    pub attached: bool,
    /// The root bus has been enumerated, so that xenpci runs.
    pub enumerated: bool,
    /// qemu's disk is there, behind whichever controller.
    pub disk_emulated: bool,
    /// The emulated ways: through the root bus that the filter is on, and past it.
    pub paths: [Path; 2],
    /// xenpci has something to ask: at its first enumeration, and when it is told to ask again.
    pub may_ask: bool,
    /// xenpci has asked, so that its bus has reported the adapter's device.
    pub asked: bool,
    /// xenpci gives out its services.
    pub services: bool,
    /// The device of xenvbd's adapter has been started, as it is in every boot.
    pub started: bool,
    /// xenvbd's adapter.
    pub adapter: Adapter,
    /// The PV disk.
    pub pv: PvDisk,
    /// A disk that is attached to the running machine, and has no emulated way.
    pub plugged: PvDisk,
    /// xenvbd has refused it.
    pub refused: bool,
    /// Its backend has been restarted over the disk's backing.
    pub restarted: bool,
    /// A second root bus, which is found after the first: AddDevice has run, its children have been
    /// reported.
    pub second_root: [bool; 2],
    /// The census that expects every own disk has been taken.
    pub settled: bool,
    /// The machine has resumed, and the drivers have not been told yet.
    pub resume_pending: bool,
    /// A bugcheck ended the boot.
    pub stopped: bool,
    /// Resumes that may still happen.
    pub resumes_left: u8,
    /// Events that may still be lost on their way to the guard.
    pub losses_left: u8,
    /// The next event of this kind will be held up.
    pub hold: Option<Kind>,
    /// Events on their way to the guard.
    pub late: Vec<Event>,
    /// Events that may still be held up.
    pub delays_left: u8,
    /// xenvbd has read the content of the disk at the end of each way.
    pub read: [bool; 2],
    /// The guard wants a census, and xenvbd's thread has not run yet.
    pub census_due: bool,
    /// The guard wants a new unplug after a resume, and idefilter has not run it yet.
    pub unplug_due: bool,
    /// The boot count: on the disk, and in memory.
    pub count_on_disk: u32,
    /// In memory: what this boot's drivers see.
    pub count: u32,
    /// The session manager has opened the hives.
    pub hives_open: bool,
    /// The boot has come up.
    pub up: bool,
    /// PV boots in a row that opened the hives and did not come up: told by an observer, not by the drivers.
    pub failed_in_a_row: u32,
}

/// The disk's identity, whichever way it is reached.
const IDENTITY: Identity = Identity { sectors: 16384, signature: Signature::Mbr(0xD15C_0001) };

impl World {
    /// Returns a machine that is off.
    pub fn new(policy: HidePolicy, unplug: bool) -> World {
        World {
            guard: Guard::new(),
            policy,
            unplug,
            boots: 0,
            decided: false,
            attached: false,
            enumerated: false,
            disk_emulated: true,
            paths: [Path::Absent; 2],
            may_ask: true,
            asked: false,
            services: false,
            started: false,
            adapter: Adapter::Absent,
            pv: PvDisk::Absent,
            plugged: PvDisk::Absent,
            refused: false,
            restarted: false,
            second_root: [false; 2],
            settled: false,
            resume_pending: false,
            stopped: false,
            resumes_left: 0,
            losses_left: 0,
            hold: None,
            late: Vec::new(),
            delays_left: 0,
            read: [false; 2],
            census_due: false,
            unplug_due: false,
            count_on_disk: 0,
            count: 0,
            hives_open: false,
            up: false,
            failed_in_a_row: 0,
        }
    }

    /// Turns the power on: all that does not last is as new.
    pub fn boot(&self, faults: &Faults) -> World {
        let pv = !matches!(self.guard.phase(), Phase::Unsealed | Phase::Emulated(_));
        let failed = pv && self.hives_open && !self.up;
        World {
            boots: self.boots + 1,
            resumes_left: faults.resumes,
            losses_left: faults.losses,
            delays_left: faults.delays,
            count_on_disk: self.count_on_disk,
            count: self.count_on_disk,
            failed_in_a_row: if failed {
                self.failed_in_a_row + 1
            } else if self.up {
                0
            } else {
                self.failed_in_a_row
            },
            ..World::new(self.policy, self.unplug)
        }
    }

    /// Ways through which the disk is mounted. A twin is mounted wherever the disk that it is emulated beside is; an entry
    /// that asks for emulated disks has asked for both.
    pub fn mounts(&self, faults: &Faults) -> usize {
        let asked = self.guard.phase() == Phase::Emulated(Reason::NotSelected);
        let twins = if faults.second == Some(Second::Twin) && !asked { 2 } else { 1 };
        twins * self.paths.iter().filter(|&&path| path == Path::Mounted).count()
            + usize::from(self.pv == PvDisk::Mounted)
            + usize::from(self.plugged == PvDisk::Mounted && self.is_second_way(faults))
    }

    /// Returns true if the second vbd is over the disk's backing.
    fn is_second_way(&self, faults: &Faults) -> bool {
        match faults.second {
            Some(Second::FromStart | Second::Twin | Second::Attached) => true,
            Some(Second::Restarted) => self.restarted,
            Some(Second::Clone) | None => false,
        }
    }

    /// Returns the second vbd as the guard compares it. `read`: xenvbd has read its content, too.
    pub fn second(&self, faults: &Faults, read: bool) -> Own {
        let (same, clone) = (self.is_second_way(faults), faults.second == Some(Second::Clone));
        let (domain, path) = match (faults.untold, same) {
            (true, _) => (3, "aio:/some.img"),
            (false, true) => (0, "raw:/vm//disk.img"),
            (false, false) => (0, "aio:/vm/other.img"),
        };
        own(domain, path, (read && (same || clone)).then_some(IDENTITY))
    }

    /// Returns true if the guard takes the second vbd for another way to the disk.
    pub fn shares(&self, faults: &Faults, read: bool) -> bool {
        let disk = own(0, "aio:/vm/disk.img", read.then_some(IDENTITY));
        census::compare(&disk, &self.second(faults, read)) == Pair::Shared
    }

    /// Returns the census that xenvbd takes: every disk with an interface, by the guard's own rules. `known`
    /// tells whether an emulated disk is known by its ids; otherwise its content decides, where it was
    /// `read`.
    pub fn census(&self, known: [bool; 2], read: [bool; 2], faults: &Faults) -> Counts {
        let ways = (0..2).filter(|&way| self.paths[way] >= Path::Arrived);
        let emulated = ways.map(|way| {
            if known[way] {
                Disk { origin: Origin::EmulatedController, identity: None }
            } else {
                Disk { origin: Origin::Unknown, identity: read[way].then_some(IDENTITY) }
            }
        });
        let own = [self.pv, self.plugged].into_iter().filter(|&disk| disk >= PvDisk::Arrived);
        // xenvbd lists a disk before it reports it.
        let second = self.plugged >= PvDisk::Arrived
            || faults.second_from_start() && self.adapter != Adapter::Absent && !self.refused;
        let shared = u32::from(second && self.shares(faults, true));
        let own = own.map(|_| Disk { origin: Origin::Ours, identity: None });
        census::take(1 + u32::from(second), &[IDENTITY], shared, emulated.chain(own))
    }
}

/// Returns a vbd of qemu's.
fn own(domain: u16, params: &str, identity: Option<Identity>) -> Own {
    let mut backing = Backing::new(domain, "/local/domain/0/backend/qdisk/1/768");
    backing.learn("params", params.as_bytes());
    backing.learn("mode", b"w");
    Own { identity, backing }
}
