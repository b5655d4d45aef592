//! The guard's one state machine: every driver feeds it events, and it answers with actions.
//!
//! ```text
//!             Decided(Emulated)
//!  Unsealed ────────────────────► Emulated ── no PV disk appears, whatever is asked
//!     │ Decided(Pv)
//!     ▼
//!   Hiding ── BusAttached → Unplug; ControllersCounted, Relations, Storage…: the proof grows (see `proof`)
//!     │ ExposureRequested, and the proof is whole                  a doubt ──► Withheld (no PV disk)
//!     ▼                                                                           ▲
//!   Granted ── an alias slips, or the first census finds one ─────────────────────┘
//!     │ Exposed
//!     ▼
//!   Exposed ── a census or a bus shows a breach ──► Stopped (bugcheck)
//!       └───── an emulated device asks to start ──► Deny
//! ```
//!
//! A stop is final: every later event is answered with the same stop. So is a withholding for cause; a
//! request that only came before its proof was whole is answered with a withhold that leaves the phase as it
//! is, and once the proof is whole, with [`Action::AskAgain`] to whoever completed it.

use crate::{
    census::Counts,
    controllers::Present,
    decision::Decision,
    policy::{Emulated, HidePolicy},
    reason::Reason,
};
use storage::{Children, Device, Devices};

mod proof;
mod storage;

pub use storage::MAX_DEVICES;

/// The bugcheck code: `XEN` in ASCII, used by this family of drivers since 2008.
pub const BUGCHECK_CODE: u32 = 0x0058_454E;

/// Number of PCI root buses that the guard tells apart. More than this is a doubt.
pub const MAX_BUSES: usize = 8;

/// The end of the unplug protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unplug {
    /// `Parameters\Unplug` is 0: not asked. Hiding alone must hold.
    NotAsked,
    /// qemu answered as it should and took the request.
    Acknowledged,
    /// qemu does not support it, or refused this driver. Hiding alone must hold.
    Refused,
}

/// A driver's message to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// idefilter, `DriverEntry`: the decision. Only the first one counts.
    Decided(Decision),
    /// idefilter: the filter is on a PCI root bus; `bus` numbers the buses from 0.
    BusAttached {
        /// Number of the bus.
        bus: u32,
    },
    /// idefilter: the filter cannot be put on a device that is or may be a PCI root bus. NT starts the bus without it.
    BusUnfiltered,
    /// idefilter: how the unplug ended.
    Unplugged(Unplug),
    /// idefilter: so many emulated controllers stand in configuration space, counted after the unplug and
    /// without the bus driver's help.
    ControllersCounted(Present),
    /// idefilter: a bus reported its children.
    Relations {
        /// Number of the bus.
        bus: u32,
        /// Emulated controllers among the children that the policy hides ([`HidePolicy::hides`]).
        seen: u32,
        /// Controllers among them that were taken out.
        hidden: u32,
    },
    /// idefilter: the filter is on an emulated storage device, before its start.
    StorageAttached {
        /// Number of the device, below [`MAX_DEVICES`]; a larger one is a doubt. A controller that comes
        /// again gets the number it had.
        device: u32,
        /// Kind of the device.
        kind: Emulated,
    },
    /// idefilter: the device was removed; its number is free.
    StorageDetached {
        /// Number of the device.
        device: u32,
    },
    /// idefilter: the filter cannot be put on a storage device that is or may be emulated. NT starts the device
    /// without it.
    StorageUnfiltered,
    /// idefilter: an emulated controller or channel reported its children.
    StorageRelations {
        /// Number of the device.
        device: u32,
        /// Channels among the children.
        channels: u32,
        /// Hard disks among the children.
        disks: u32,
        /// Disks among them that were taken out.
        hidden: u32,
    },
    /// idefilter: an emulated storage device is about to start. [`Action::Deny`] is the order to fail the
    /// start; every other answer lets it start.
    StartRequested {
        /// Number of the device.
        device: u32,
    },
    /// idefilter: the image of a driver of [`crate::tripwire`] was loaded.
    DriverLoaded,
    /// xenpci: the system has come back from suspend, migration or hibernation. The machine may have its emulated disks
    /// again.
    Resumed,
    /// xenpci: it is about to give its block services to the storage adapter's driver.
    ExposureRequested,
    /// xenvbd: it is about to report its first unit.
    Exposed,
    /// xenvbd: a census.
    Census {
        /// The census's counts.
        counts: Counts,
        /// Enumeration has come to rest, so that a missing disk is a finding.
        settled: bool,
        /// `Parameters\Strict` is 1.
        strict: bool,
    },
    /// xenvbd: a census could not be taken. Not knowing is a doubt before exposure and a breach afterwards.
    CensusFailed,
}

/// The guard's answer. All but [`Action::Nothing`] are orders, not hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "the guard's orders are to be carried out"]
pub enum Action {
    /// Go on.
    Nothing,
    /// Run the unplug protocol, if it is switched on, and report its end.
    Unplug,
    /// Give out the block services.
    Expose,
    /// Report no PV disk.
    Withhold(Reason),
    /// Go on, and record the finding.
    Note(Reason),
    /// Fail the start that was asked about.
    Deny(Reason),
    /// Have xenvbd take a census, now.
    CensusNow,
    /// A request for exposure came too early and would be granted now: have xenpci's bus relations queried
    /// again.
    AskAgain,
    /// Bugcheck at once.
    Stop(BugCheck),
}

/// The parameters of bugcheck [`BUGCHECK_CODE`]; P4 is the address of the census record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BugCheck {
    /// P1.
    pub reason: Reason,
    /// P2: disks on xenvbd's own list.
    pub own: u32,
    /// P3: disks enumerated.
    pub enumerated: u32,
}

impl BugCheck {
    /// Returns the four parameters; `record` is P4, the address of the record that explains the stop, or 0.
    #[must_use]
    pub const fn parameters(self, record: usize) -> [usize; 4] {
        [self.reason.code() as usize, self.own as usize, self.enumerated as usize, record]
    }
}

/// The state of a boot, for status displays and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing was decided.
    Unsealed,
    /// An emulated boot, and why.
    Emulated(Reason),
    /// A PV boot whose proof is not yet asked for.
    Hiding,
    /// The block services may be given out, and vbds connected.
    Granted,
    /// PV disks are exposed.
    Exposed,
    /// A PV boot in which no PV disk will appear, and why.
    Withheld(Reason),
    /// The system is being stopped.
    Stopped(BugCheck),
}

/// The last report of one bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bus {
    Absent,
    Attached,
    Filtered { seen: u32, hidden: u32 },
}

/// The guard of one boot. There is one instance, owned by idefilter; a fresh one is unsealed, and unsealed
/// means emulated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    phase: Phase,
    policy: HidePolicy,
    buses: [Bus; MAX_BUSES],
    too_many_buses: bool,
    devices: Devices,
    too_many_devices: bool,
    unplug: Option<Unplug>,
    controllers: Option<Present>,
    /// A request was answered with a withhold because the proof was not whole yet.
    asked_early: bool,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard::new()
    }
}

impl Guard {
    /// Returns an unsealed guard.
    #[must_use]
    pub const fn new() -> Guard {
        Guard {
            phase: Phase::Unsealed,
            policy: HidePolicy::Controllers,
            buses: [Bus::Absent; MAX_BUSES],
            too_many_buses: false,
            devices: Devices::new(),
            too_many_devices: false,
            unplug: None,
            controllers: None,
            asked_early: false,
        }
    }

    /// Returns the state of the boot.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the hide policy that was decided on.
    #[must_use]
    pub const fn policy(&self) -> HidePolicy {
        self.policy
    }

    /// Returns the end of the unplug; `None` before it was tried, and while it is to be tried again after a
    /// resume.
    #[must_use]
    pub const fn unplug(&self) -> Option<Unplug> {
        self.unplug
    }

    /// Returns the emulated controllers counted in configuration space; `None` before they were.
    #[must_use]
    pub const fn controllers(&self) -> Option<Present> {
        self.controllers
    }

    /// Returns the number of emulated controllers that the filter has taken out of the buses' last reports.
    #[must_use]
    pub fn hidden(&self) -> u32 {
        self.buses.iter().fold(0, |sum, bus| match bus {
            Bus::Filtered { hidden, .. } => sum.saturating_add(*hidden),
            Bus::Absent | Bus::Attached => sum,
        })
    }

    /// Returns the number of emulated disks that the filter has taken out of the last reports of controllers
    /// and channels.
    #[must_use]
    pub fn hidden_disks(&self) -> u32 {
        self.devices.hidden_disks()
    }

    /// Returns the number of emulated controllers whose start was refused.
    #[must_use]
    pub fn denied(&self) -> u32 {
        self.devices.denied_controllers()
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, event: Event) -> Action {
        if let Phase::Stopped(bugcheck) = self.phase {
            return Action::Stop(bugcheck);
        }
        let action = match event {
            Event::Decided(decision) => self.decided(decision),
            Event::BusAttached { bus } => self.bus_attached(bus),
            Event::BusUnfiltered => self.bus_unfiltered(),
            Event::Unplugged(unplug) => self.unplugged(unplug),
            Event::ControllersCounted(present) => {
                self.controllers = Some(present);
                Action::Nothing
            }
            Event::Relations { bus, seen, hidden } => self.relations(bus, seen, hidden),
            Event::StorageAttached { device, kind } => self.storage_attached(device, kind),
            Event::StorageDetached { device } => self.storage_detached(device),
            Event::StorageUnfiltered => self.storage_unfiltered(),
            Event::StorageRelations { device, channels, disks, hidden } => {
                self.storage_relations(device, Children { channels, disks, hidden })
            }
            Event::StartRequested { device } => self.start_requested(device),
            Event::DriverLoaded => self.census_if_exposed(),
            Event::Resumed => self.resumed(),
            Event::ExposureRequested => return self.exposure_requested(),
            Event::Exposed => self.exposed(),
            Event::Census { counts, settled, strict } => self.census(counts, settled, strict),
            Event::CensusFailed => self.census_failed(),
        };
        if action == Action::Nothing && self.may_ask_again() {
            self.asked_early = false;
            return Action::AskAgain;
        }
        action
    }

    fn decided(&mut self, decision: Decision) -> Action {
        if self.phase != Phase::Unsealed {
            return Action::Note(Reason::EventRefused);
        }
        self.phase = match decision {
            Decision::Emulated(reason) => Phase::Emulated(reason),
            Decision::Pv(policy) => {
                self.policy = policy;
                Phase::Hiding
            }
        };
        Action::Nothing
    }

    fn bus_attached(&mut self, bus: u32) -> Action {
        match self.bus(bus) {
            Some(place @ Bus::Absent) => *place = Bus::Attached,
            Some(_) => return Action::Note(Reason::EventRefused),
            None => self.too_many_buses = true,
        }
        if self.phase == Phase::Hiding && self.unplug.is_none() { Action::Unplug } else { Action::Nothing }
    }

    /// Handles a bus without a filter: its controllers are neither hidden nor counted, so that the proof would be whole
    /// without them. After exposure each of them is still refused its start, and a census counts its disks.
    fn bus_unfiltered(&mut self) -> Action {
        let reason = Reason::FilterNotAttached;
        match self.phase {
            Phase::Hiding | Phase::Granted => self.withhold(reason),
            Phase::Exposed => Action::Note(reason),
            _ => Action::Nothing,
        }
    }

    fn unplugged(&mut self, unplug: Unplug) -> Action {
        self.unplug = Some(unplug);
        self.census_if_exposed()
    }

    fn relations(&mut self, bus: u32, seen: u32, hidden: u32) -> Action {
        match self.bus(bus) {
            Some(Bus::Absent) => return Action::Note(Reason::EventRefused),
            Some(place) => *place = Bus::Filtered { seen, hidden },
            None => self.too_many_buses = true,
        }
        if hidden < seen { self.slipped(Reason::ControllerReturned, seen) } else { Action::Nothing }
    }

    fn storage_attached(&mut self, device: u32, kind: Emulated) -> Action {
        match self.devices.place(device) {
            Some(Some(known)) if !known.gone => return Action::Note(Reason::EventRefused),
            Some(place) => *place = Some(Device { kind, denied: false, gone: false, children: None }),
            None => self.too_many_devices = true,
        }
        Action::Nothing
    }

    fn storage_detached(&mut self, device: u32) -> Action {
        if self.devices.remove(device) { Action::Nothing } else { Action::Note(Reason::EventRefused) }
    }

    /// Handles a device without a filter. Nothing can refuse the device's start any more: no PV disk appears,
    /// or the system stops.
    fn storage_unfiltered(&mut self) -> Action {
        let reason = Reason::UnfilteredStart;
        match self.phase {
            Phase::Exposed => self.stop(BugCheck { reason, own: 0, enumerated: 1 }),
            Phase::Hiding | Phase::Granted => self.withhold(reason),
            _ => Action::Nothing,
        }
    }

    fn storage_relations(&mut self, device: u32, children: Children) -> Action {
        match self.devices.get(device) {
            Some(known) => known.children = Some(children),
            None => return Action::Note(Reason::EventRefused),
        }
        // Under another policy the disks of a controller that got past are judged by its start and by the
        // census.
        if self.policy == HidePolicy::Disks && children.slipped() {
            self.slipped(Reason::DiskReturned, children.disks)
        } else {
            Action::Nothing
        }
    }

    /// Handles something emulated that was reported to the system and not taken out.
    fn slipped(&mut self, breach: Reason, seen: u32) -> Action {
        match self.phase {
            Phase::Exposed => self.stop(BugCheck { reason: breach, own: 0, enumerated: seen }),
            Phase::Hiding | Phase::Granted => self.withhold(Reason::AliasSlipped),
            _ => Action::Nothing,
        }
    }

    /// Refuses once PV disks may appear, or where refusing is the policy. Before that, a device that should
    /// have been hidden and asks to start tells that hiding has failed: the boot goes on with it, and
    /// without PV disks.
    fn start_requested(&mut self, device: u32) -> Action {
        let policy = self.policy;
        let known = self.devices.get(device);
        if known.as_ref().is_some_and(|known| policy.lets_start(known.kind)) {
            return Action::Nothing;
        }
        match self.phase {
            Phase::Hiding if policy != HidePolicy::Nothing => self.withhold(Reason::AliasStarted),
            Phase::Hiding | Phase::Granted | Phase::Exposed => {
                if let Some(known) = known {
                    known.denied = true;
                }
                Action::Deny(Reason::StartRefused)
            }
            _ => Action::Nothing,
        }
    }

    /// Handles a resume: the machine that comes back has the disks that were unplugged from it. Linux unplugs
    /// anew, too (arch/x86/xen/suspend_hvm.c, `xen_hvm_post_suspend`).
    fn resumed(&mut self) -> Action {
        match self.phase {
            Phase::Hiding | Phase::Granted | Phase::Exposed if self.unplug == Some(Unplug::Acknowledged) => {
                self.unplug = None;
                Action::Unplug
            }
            _ => self.census_if_exposed(),
        }
    }

    fn census_if_exposed(&self) -> Action {
        if self.phase == Phase::Exposed { Action::CensusNow } else { Action::Nothing }
    }

    fn exposure_requested(&mut self) -> Action {
        match self.phase {
            Phase::Hiding => match self.missing_proof() {
                // A proof may still become whole: the next request is judged anew.
                Some(reason) => {
                    self.asked_early = true;
                    Action::Withhold(reason)
                }
                None => {
                    self.phase = Phase::Granted;
                    Action::Expose
                }
            },
            Phase::Granted | Phase::Exposed => Action::Expose,
            Phase::Unsealed => Action::Withhold(Reason::Unsealed),
            Phase::Emulated(_) => Action::Withhold(Reason::EmulatedBoot),
            Phase::Withheld(reason) => Action::Withhold(reason),
            Phase::Stopped(bugcheck) => Action::Stop(bugcheck),
        }
    }

    fn exposed(&mut self) -> Action {
        match self.phase {
            Phase::Granted | Phase::Exposed => {
                self.phase = Phase::Exposed;
                Action::Nothing
            }
            // The grant was taken back between xenvbd's census and this: nothing has been reported yet.
            Phase::Withheld(reason) => Action::Withhold(reason),
            _ => self.stop(BugCheck { reason: Reason::ExposedWithoutProof, own: 0, enumerated: 0 }),
        }
    }

    fn census(&mut self, counts: Counts, settled: bool, strict: bool) -> Action {
        let bugcheck = |reason| BugCheck { reason, own: counts.own_list, enumerated: counts.enumerated() };
        match self.phase {
            Phase::Exposed if counts.alias > 0 => self.stop(bugcheck(Reason::AliasExposed)),
            Phase::Exposed if counts.shared > 0 => self.stop(bugcheck(Reason::SharedExposed)),
            Phase::Exposed if counts.ours > counts.own_list => self.stop(bugcheck(Reason::UnknownOwnDisk)),
            Phase::Exposed if settled && counts.ours < counts.own_list => {
                let reason = Reason::OwnDiskMissing;
                if strict { self.stop(bugcheck(reason)) } else { Action::Note(reason) }
            }
            Phase::Exposed if counts.clones > 0 => Action::Note(Reason::CloneSeen),
            Phase::Exposed => Action::Nothing,
            _ if counts.ours > 0 => self.stop(bugcheck(Reason::ExposedWithoutProof)),
            Phase::Granted if counts.alias > 0 => self.withhold(Reason::AliasBeforeExposure),
            Phase::Granted if counts.shared > 0 => self.withhold(Reason::SharedBeforeExposure),
            _ => Action::Nothing,
        }
    }

    fn census_failed(&mut self) -> Action {
        let reason = Reason::CensusFailed;
        match self.phase {
            Phase::Exposed => self.stop(BugCheck { reason, own: 0, enumerated: 0 }),
            Phase::Granted => self.withhold(reason),
            _ => Action::Nothing,
        }
    }

    fn bus(&mut self, bus: u32) -> Option<&mut Bus> {
        usize::try_from(bus).ok().and_then(|bus| self.buses.get_mut(bus))
    }

    fn withhold(&mut self, reason: Reason) -> Action {
        self.phase = Phase::Withheld(reason);
        Action::Withhold(reason)
    }

    fn stop(&mut self, bugcheck: BugCheck) -> Action {
        self.phase = Phase::Stopped(bugcheck);
        Action::Stop(bugcheck)
    }
}

#[cfg(test)]
mod tests;
