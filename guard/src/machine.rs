//! The guard's one state machine: every driver feeds it events, and it answers with actions.
//!
//! ```text
//!             Decided(Emulated)
//!  Unsealed ────────────────────► Emulated ── no PV disk appears, whatever is asked
//!     │ Decided(Pv)
//!     ▼
//!   Hiding ── BusAttached → Unplug; ControllersCounted, Relations: the proof grows
//!     │ ExposureRequested, and the proof is whole                  a doubt ──► Withheld (no PV disk)
//!     ▼                                                                           ▲
//!   Granted ── first census finds an alias ───────────────────────────────────────┘
//!     │ Exposed
//!     ▼
//!   Exposed ── a census or a bus shows a breach ──► Stopped (bugcheck)
//! ```
//!
//! A stop is final: every later event is answered with the same stop.

use crate::{
    census::Counts,
    decision::{Decision, Mode},
    reason::Reason,
};

/// The bugcheck code: `XEN` in ASCII, used by this family of drivers since 2008.
pub const BUGCHECK_CODE: u32 = 0x0058_454E;

/// How many PCI root buses the guard tells apart. More than this is a doubt.
pub const MAX_BUSES: usize = 8;

/// How the unplug protocol ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplug {
    /// `Parameters\Unplug` is 0: not asked. Hiding alone must hold.
    NotAsked,
    /// qemu answered as it should and took the request.
    Acknowledged,
    /// qemu does not support it, or refused this driver. Hiding alone must hold.
    Refused,
}

/// What a driver tells the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// idefilter, `DriverEntry`: the decision. Only the first one counts.
    Decided(Decision),
    /// idefilter: the filter is on a PCI root bus; `bus` numbers the buses from 0.
    BusAttached {
        /// Number of the bus.
        bus: u32,
    },
    /// idefilter: how the unplug ended.
    Unplugged(Unplug),
    /// idefilter: so many emulated controllers stand in configuration space, counted after the unplug and
    /// without the bus driver's help.
    ControllersCounted(u32),
    /// idefilter: a bus reported its children.
    Relations {
        /// Number of the bus.
        bus: u32,
        /// Emulated controllers among the children.
        seen: u32,
        /// Those of them that were taken out.
        hidden: u32,
    },
    /// xenpci: it is about to enumerate the storage adapter.
    ExposureRequested,
    /// xenvbd: it is about to report its first unit.
    Exposed,
    /// xenvbd: a census.
    Census {
        /// What was counted.
        counts: Counts,
        /// Enumeration has come to rest, so that a missing disk is a finding.
        settled: bool,
        /// `Parameters\Strict` is 1.
        strict: bool,
    },
    /// xenvbd: a census could not be taken. Not knowing is a doubt before exposure and a breach afterwards.
    CensusFailed,
}

/// What the driver must do. All but [`Action::Nothing`] are orders, not hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Nothing,
    /// Run the unplug protocol, if it is switched on, and report its end.
    Unplug,
    /// Enumerate the storage adapter.
    Expose,
    /// Report no PV disk.
    Withhold(Reason),
    /// Go on, and record the finding.
    Note(Reason),
    /// Bugcheck at once.
    Stop(BugCheck),
}

/// The parameters of bugcheck [`BUGCHECK_CODE`]; P4 is the address of the census record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugCheck {
    /// P1.
    pub reason: Reason,
    /// P2: disks on xenvbd's own list.
    pub own: u32,
    /// P3: disks enumerated.
    pub enumerated: u32,
}

/// The state of a boot, for status displays and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was decided.
    Unsealed,
    /// An emulated boot, and why.
    Emulated(Reason),
    /// A PV boot whose proof is not yet asked for.
    Hiding,
    /// The storage adapter may be enumerated.
    Granted,
    /// PV disks are exposed.
    Exposed,
    /// A PV boot in which no PV disk will appear, and why.
    Withheld(Reason),
    /// The system is being stopped.
    Stopped(BugCheck),
}

/// What one bus last reported.
#[derive(Clone, Copy, Debug)]
enum Bus {
    Absent,
    Attached,
    Filtered { seen: u32, hidden: u32 },
}

/// The guard of one boot. There is one instance, owned by idefilter; a fresh one is unsealed, and unsealed
/// means emulated.
#[derive(Debug)]
pub struct Guard {
    phase: Phase,
    buses: [Bus; MAX_BUSES],
    too_many_buses: bool,
    unplug: Option<Unplug>,
    controllers: Option<u32>,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard::new()
    }
}

impl Guard {
    /// An unsealed guard.
    #[must_use]
    pub const fn new() -> Guard {
        Guard {
            phase: Phase::Unsealed,
            buses: [Bus::Absent; MAX_BUSES],
            too_many_buses: false,
            unplug: None,
            controllers: None,
        }
    }

    /// The state of the boot.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// How the unplug ended; `None` before it was tried.
    #[must_use]
    pub const fn unplug(&self) -> Option<Unplug> {
        self.unplug
    }

    /// Emulated controllers counted in configuration space; `None` before they were.
    #[must_use]
    pub const fn controllers(&self) -> Option<u32> {
        self.controllers
    }

    /// Emulated controllers that the filter has taken out of the buses' last reports.
    #[must_use]
    pub fn hidden(&self) -> u32 {
        self.buses.iter().fold(0, |sum, bus| match bus {
            Bus::Filtered { hidden, .. } => sum.saturating_add(*hidden),
            Bus::Absent | Bus::Attached => sum,
        })
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, event: Event) -> Action {
        if let Phase::Stopped(bugcheck) = self.phase {
            return Action::Stop(bugcheck);
        }
        match event {
            Event::Decided(decision) => self.decided(decision),
            Event::BusAttached { bus } => self.bus_attached(bus),
            Event::Unplugged(unplug) => {
                self.unplug = Some(unplug);
                Action::Nothing
            }
            Event::ControllersCounted(count) => {
                self.controllers = Some(count);
                Action::Nothing
            }
            Event::Relations { bus, seen, hidden } => self.relations(bus, seen, hidden),
            Event::ExposureRequested => self.exposure_requested(),
            Event::Exposed => self.exposed(),
            Event::Census { counts, settled, strict } => self.census(counts, settled, strict),
            Event::CensusFailed => self.census_failed(),
        }
    }

    fn decided(&mut self, decision: Decision) -> Action {
        if self.phase != Phase::Unsealed {
            return Action::Note(Reason::EventRefused);
        }
        self.phase = match decision.mode {
            Mode::Emulated => Phase::Emulated(decision.reason),
            Mode::Pv => Phase::Hiding,
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

    fn relations(&mut self, bus: u32, seen: u32, hidden: u32) -> Action {
        match self.bus(bus) {
            Some(Bus::Absent) => return Action::Note(Reason::EventRefused),
            Some(place) => *place = Bus::Filtered { seen, hidden },
            None => self.too_many_buses = true,
        }
        match self.phase {
            Phase::Exposed if hidden < seen => {
                self.stop(BugCheck { reason: Reason::ControllerReturned, own: 0, enumerated: seen })
            }
            Phase::Hiding | Phase::Granted if hidden < seen => self.withhold(Reason::AliasSlipped),
            _ => Action::Nothing,
        }
    }

    fn exposure_requested(&mut self) -> Action {
        match self.phase {
            Phase::Hiding => match self.missing_proof() {
                // A proof may still become whole: the next request is judged anew.
                Some(reason) => Action::Withhold(reason),
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
            _ => self.stop(BugCheck { reason: Reason::ExposedWithoutProof, own: 0, enumerated: 0 }),
        }
    }

    fn census(&mut self, counts: Counts, settled: bool, strict: bool) -> Action {
        let bugcheck = |reason| BugCheck { reason, own: counts.own_list, enumerated: counts.enumerated() };
        match self.phase {
            Phase::Exposed if counts.alias > 0 => self.stop(bugcheck(Reason::AliasExposed)),
            Phase::Exposed if counts.ours > counts.own_list => self.stop(bugcheck(Reason::UnknownOwnDisk)),
            Phase::Exposed if settled && counts.ours < counts.own_list => {
                let reason = Reason::OwnDiskMissing;
                if strict { self.stop(bugcheck(reason)) } else { Action::Note(reason) }
            }
            Phase::Exposed => Action::Nothing,
            _ if counts.ours > 0 => self.stop(bugcheck(Reason::ExposedWithoutProof)),
            Phase::Granted if counts.alias > 0 => self.withhold(Reason::AliasBeforeExposure),
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

    /// What the proof of hiding still lacks.
    fn missing_proof(&self) -> Option<Reason> {
        if self.too_many_buses {
            return Some(Reason::TooManyBuses);
        }
        if self.buses.iter().all(|bus| matches!(bus, Bus::Absent)) {
            return Some(Reason::FilterNotAttached);
        }
        if self.unplug.is_none() {
            return Some(Reason::UnplugUnknown);
        }
        let Some(present) = self.controllers else {
            return Some(Reason::ControllersNotCounted);
        };
        if self.buses.iter().any(|bus| matches!(bus, Bus::Attached)) {
            return Some(Reason::RelationsNotFiltered);
        }
        if self.buses.iter().any(|bus| matches!(bus, Bus::Filtered { seen, hidden } if hidden < seen)) {
            return Some(Reason::AliasSlipped);
        }
        if present == 0 {
            return Some(Reason::NothingToHide);
        }
        (self.hidden() != present).then_some(Reason::HiddenMismatch)
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
