//! How the guard's events and answers cross from one driver's image into another's.
//!
//! `idefilter.sys` exports four functions, `extern "system"`, callable at IRQL ≤ `DISPATCH_LEVEL`:
//!
//! - `XenguardEvent(event: *const RawEvent) -> u64`: an event in, a packed [`Action`] out;
//! - `XenguardStatus(status: *mut Status)`: the state of the boot, for displays;
//! - `XenguardWatch(watcher: Watcher, context: *mut c_void) -> u32`: has the watcher called when the guard
//!   wants something of its driver; a number, or 0 where there is no room;
//! - `XenguardUnwatch(number: u32)`: ends that; when it returns the watcher is not running and will not be
//!   called.
//!
//! Both sides are built from this file; [`ABI_VERSION`] travels with each event, and a mismatch is answered
//! with [`Reason::InterfaceVersion`]. Only what xenpci and xenvbd may say is accepted: the decision and the
//! filter's findings never cross the boundary.

use crate::{
    census::Counts,
    controllers::Present,
    machine::{Action, BugCheck, Event, Guard, Phase, Unplug},
    policy::HidePolicy,
    reason::Reason,
};

/// The version of this file's layouts and meanings.
pub const ABI_VERSION: u32 = 5;

/// What is called for [`ASK_AGAIN`], [`TAKE_CENSUS`] and [`CHANGED`], at `DISPATCH_LEVEL` with a lock of the guard's held:
/// it may only pass the word on, to a thread or a work queue. Bits that it does not know mean nothing to it.
pub type Watcher = unsafe extern "system" fn(context: *mut core::ffi::c_void, signals: u32);

/// A request for exposure came too early and would be granted now: for xenpci.
pub const ASK_AGAIN: u32 = 1;
/// A census is to be taken at once: for xenvbd.
pub const TAKE_CENSUS: u32 = 2;
/// The status has changed: for whoever shows it.
pub const CHANGED: u32 = 4;

const EXPOSURE_REQUESTED: u32 = 1;
const EXPOSED: u32 = 2;
const CENSUS: u32 = 3;
const CENSUS_FAILED: u32 = 4;
const RESUMED: u32 = 5;

const SETTLED: u32 = 1;
const STRICT: u32 = 2;

/// An event as it crosses. All fields are plain numbers, so that any bit pattern is a valid value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RawEvent {
    /// [`ABI_VERSION`] of the sender.
    pub abi: u32,
    /// Which event.
    pub kind: u32,
    /// Census only: bit 0 settled, bit 1 strict.
    pub flags: u32,
    /// Census only: own list.
    pub own_list: u32,
    /// Census only: ours.
    pub ours: u32,
    /// Census only: alias.
    pub alias: u32,
    /// Census only: foreign.
    pub foreign: u32,
    /// Census only: clones.
    pub clones: u32,
    /// Census only: shared.
    pub shared: u32,
}

const _: () = assert!(size_of::<RawEvent>() == 36);

impl RawEvent {
    /// Packs an event; `None` for one that may not cross.
    #[must_use]
    pub fn pack(event: Event) -> Option<RawEvent> {
        let plain = |kind| RawEvent {
            abi: ABI_VERSION,
            kind,
            flags: 0,
            own_list: 0,
            ours: 0,
            alias: 0,
            foreign: 0,
            clones: 0,
            shared: 0,
        };
        match event {
            Event::ExposureRequested => Some(plain(EXPOSURE_REQUESTED)),
            Event::Exposed => Some(plain(EXPOSED)),
            Event::CensusFailed => Some(plain(CENSUS_FAILED)),
            Event::Resumed => Some(plain(RESUMED)),
            Event::Census { counts, settled, strict } => {
                let Counts { own_list, ours, alias, foreign, clones, shared } = counts;
                let flags = (u32::from(settled) * SETTLED) | (u32::from(strict) * STRICT);
                Some(RawEvent { flags, own_list, ours, alias, foreign, clones, shared, ..plain(CENSUS) })
            }
            Event::Decided(_)
            | Event::BusAttached { .. }
            | Event::Unplugged(_)
            | Event::ControllersCounted(_)
            | Event::Relations { .. }
            | Event::StorageAttached { .. }
            | Event::StorageDetached { .. }
            | Event::StorageRelations { .. }
            | Event::StartRequested { .. }
            | Event::DriverLoaded => None,
        }
    }

    /// Unpacks an event.
    ///
    /// # Errors
    /// [`Reason::InterfaceVersion`] if the sender is of another version, [`Reason::EventRefused`] if the
    /// kind or the flags are unknown.
    pub fn unpack(self) -> Result<Event, Reason> {
        if self.abi != ABI_VERSION {
            return Err(Reason::InterfaceVersion);
        }
        match self.kind {
            EXPOSURE_REQUESTED => Ok(Event::ExposureRequested),
            EXPOSED => Ok(Event::Exposed),
            CENSUS_FAILED => Ok(Event::CensusFailed),
            RESUMED => Ok(Event::Resumed),
            CENSUS if self.flags & !(SETTLED | STRICT) == 0 => Ok(Event::Census {
                counts: Counts {
                    own_list: self.own_list,
                    ours: self.ours,
                    alias: self.alias,
                    foreign: self.foreign,
                    clones: self.clones,
                    shared: self.shared,
                },
                settled: self.flags & SETTLED != 0,
                strict: self.flags & STRICT != 0,
            }),
            _ => Err(Reason::EventRefused),
        }
    }
}

/// The guard's side of `XenguardEvent`: unpacks the event, has `step` take it, packs the answer. No event and
/// one that is refused are answered with a withhold.
#[must_use]
pub fn answer(event: Option<RawEvent>, step: impl FnOnce(Event) -> Action) -> u64 {
    pack_action(match event.map_or(Err(Reason::EventRefused), RawEvent::unpack) {
        Ok(event) => step(event),
        Err(reason) => Action::Withhold(reason),
    })
}

/// Packs an action: bits 0–7 the kind, 8–15 the reason, 16–39 P2 and 40–63 P3 of a stop (saturated).
#[must_use]
pub fn pack_action(action: Action) -> u64 {
    let with = |kind: u64, reason: Reason| kind | u64::from(reason.code()) << 8;
    let count = |n: u32| u64::from(n.min(0xFF_FFFF));
    match action {
        Action::Nothing => 0,
        Action::Unplug => 1,
        Action::Expose => 2,
        Action::Withhold(reason) => with(3, reason),
        Action::Note(reason) => with(4, reason),
        Action::Stop(b) => with(5, b.reason) | count(b.own) << 16 | count(b.enumerated) << 40,
        Action::Deny(reason) => with(6, reason),
        Action::CensusNow => 7,
        Action::AskAgain => 8,
    }
}

/// Unpacks an action. What cannot be understood is a withhold: a doubt never exposes.
#[must_use]
pub fn unpack_action(packed: u64) -> Action {
    let [kind, reason, ..] = packed.to_le_bytes();
    let reason = Reason::from_code(u32::from(reason)).unwrap_or(Reason::EventRefused);
    let count = |shift: u32| u32::try_from(packed >> shift & 0xFF_FFFF).unwrap_or(0);
    match kind {
        0 => Action::Nothing,
        1 => Action::Unplug,
        2 => Action::Expose,
        4 => Action::Note(reason),
        5 => Action::Stop(BugCheck { reason, own: count(16), enumerated: count(40) }),
        6 => Action::Deny(reason),
        7 => Action::CensusNow,
        8 => Action::AskAgain,
        _ => Action::Withhold(reason),
    }
}

/// The state of the boot as `XenguardStatus` gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Status {
    /// [`ABI_VERSION`] of the guard.
    pub abi: u32,
    /// 0 unsealed, 1 emulated, 2 hiding, 3 granted, 4 exposed, 5 withheld, 6 stopped.
    pub phase: u32,
    /// The code of the reason for the phase; 0 where it has none.
    pub reason: u32,
    /// 0 not tried, 1 not asked, 2 acknowledged, 3 refused.
    pub unplug: u32,
    /// 0 `controller`, 1 `disks`, 2 `none`.
    pub policy: u32,
    /// Emulated controllers counted in configuration space.
    pub controllers: u32,
    /// Emulated controllers hidden.
    pub hidden: u32,
    /// Emulated disks hidden one by one.
    pub hidden_disks: u32,
    /// Emulated controllers whose start was refused.
    pub denied: u32,
    /// 1 where a census was taken; the counts below are the last one's.
    pub counted: u32,
    /// Own list.
    pub own: u32,
    /// Ours.
    pub ours: u32,
    /// Alias.
    pub alias: u32,
    /// Foreign.
    pub foreign: u32,
}

impl Status {
    /// The status of a guard.
    #[must_use]
    pub fn of(guard: &Guard) -> Status {
        let (phase, reason) = match guard.phase() {
            Phase::Unsealed => (0, Reason::Unsealed),
            Phase::Emulated(reason) => (1, reason),
            Phase::Hiding => (2, Reason::PvSelected),
            Phase::Granted => (3, Reason::PvSelected),
            Phase::Exposed => (4, Reason::PvSelected),
            Phase::Withheld(reason) => (5, reason),
            Phase::Stopped(bugcheck) => (6, bugcheck.reason),
        };
        let unplug = match guard.unplug() {
            None => 0,
            Some(Unplug::NotAsked) => 1,
            Some(Unplug::Acknowledged) => 2,
            Some(Unplug::Refused) => 3,
        };
        Status {
            abi: ABI_VERSION,
            phase,
            reason: reason.code(),
            unplug,
            policy: match guard.policy() {
                HidePolicy::Controllers => 0,
                HidePolicy::Disks => 1,
                HidePolicy::Nothing => 2,
            },
            controllers: guard.controllers().map_or(0, Present::total),
            hidden: guard.hidden(),
            hidden_disks: guard.hidden_disks(),
            denied: guard.denied(),
            counted: 0,
            own: 0,
            ours: 0,
            alias: 0,
            foreign: 0,
        }
    }

    /// The status as a program gets it: every field, little endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        let Status {
            abi,
            phase,
            reason,
            unplug,
            policy,
            controllers,
            hidden,
            hidden_disks,
            denied,
            counted,
            own,
            ours,
            alias,
            foreign,
        } = *self;
        let fields = [
            abi,
            phase,
            reason,
            unplug,
            policy,
            controllers,
            hidden,
            hidden_disks,
            denied,
            counted,
            own,
            ours,
            alias,
            foreign,
        ];
        let mut bytes = [0; size_of::<Self>()];
        for (place, field) in bytes.chunks_exact_mut(size_of::<u32>()).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// The same with the last census, which the guard itself does not keep.
    #[must_use]
    pub fn with_census(self, census: Option<Counts>) -> Status {
        match census {
            None => self,
            Some(Counts { own_list, ours, alias, foreign, .. }) => {
                Status { counted: 1, own: own_list, ours, alias, foreign, ..self }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decision::{Decision, Mode},
        policy::Emulated,
    };
    use proptest::prelude::*;

    const CROSSING: [Event; 5] = [
        Event::Resumed,
        Event::ExposureRequested,
        Event::Exposed,
        Event::CensusFailed,
        Event::Census {
            counts: Counts { own_list: 2, ours: 1, alias: 7, foreign: 3, clones: 2, shared: 5 },
            settled: true,
            strict: false,
        },
    ];

    #[test]
    fn events_cross_whole() {
        for event in CROSSING {
            assert_eq!(RawEvent::pack(event).expect("may cross").unpack(), Ok(event));
        }
    }

    #[test]
    fn the_filters_findings_do_not_cross() {
        for event in [
            Event::Decided(Decision {
                mode: Mode::Pv,
                reason: Reason::PvSelected,
                policy: HidePolicy::Controllers,
            }),
            Event::BusAttached { bus: 0 },
            Event::Unplugged(Unplug::Acknowledged),
            Event::ControllersCounted(Present { with_cdrom: 1, disks_only: 0 }),
            Event::Relations { bus: 0, seen: 1, hidden: 1 },
            Event::StorageAttached { device: 0, kind: Emulated::Disk },
            Event::StorageDetached { device: 0 },
            Event::StorageRelations { device: 0, channels: 0, disks: 0, hidden: 0 },
            Event::StartRequested { device: 0 },
            Event::DriverLoaded,
        ] {
            assert_eq!(RawEvent::pack(event), None);
        }
    }

    #[test]
    fn another_version_is_refused_and_changes_nothing() {
        let mut guard = Guard::new();
        let raw = RawEvent { abi: ABI_VERSION + 1, ..RawEvent::pack(Event::Exposed).expect("may cross") };
        assert_eq!(
            unpack_action(answer(Some(raw), |event| guard.step(event))),
            Action::Withhold(Reason::InterfaceVersion)
        );
        assert_eq!(guard.phase(), Phase::Unsealed);
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for event in CROSSING {
            let raw = RawEvent::pack(event).expect("may cross");
            if let Event::Census { .. } = event {
                let raw = RawEvent { flags: raw.flags | 4, ..raw };
                assert_eq!(raw.unpack(), Err(Reason::EventRefused));
            }
            assert_eq!(RawEvent { kind: raw.kind + 100, ..raw }.unpack(), Err(Reason::EventRefused));
        }
    }

    #[test]
    fn no_event_is_refused() {
        let never = |_| unreachable!("nothing to step");
        assert_eq!(unpack_action(answer(None, never)), Action::Withhold(Reason::EventRefused));
    }

    #[test]
    fn actions_cross_whole() {
        let stop = BugCheck { reason: Reason::AliasExposed, own: 2, enumerated: 3 };
        for action in [
            Action::Nothing,
            Action::Unplug,
            Action::Expose,
            Action::Withhold(Reason::HiddenMismatch),
            Action::Note(Reason::OwnDiskMissing),
            Action::Deny(Reason::StartRefused),
            Action::CensusNow,
            Action::AskAgain,
            Action::Stop(stop),
        ] {
            assert_eq!(unpack_action(pack_action(action)), action);
        }
        assert!(Reason::ALL.iter().all(|r| r.code() <= 0xFF), "a reason must fit its eight bits");
    }

    proptest! {
        /// Arbitrary events are either refused or survive the round trip; nothing panics, and nothing that
        /// crosses can seal the guard.
        #[test]
        fn arbitrary_events(abi in ABI_VERSION - 1..=ABI_VERSION + 1, kind in 0u32..7, flags in 0u32..6, n in any::<[u32; 5]>()) {
            let raw = RawEvent { abi, kind, flags, own_list: n[0], ours: n[1], alias: n[2], foreign: n[3], clones: n[3], shared: n[4] };
            let mut guard = Guard::new();
            let action = unpack_action(answer(Some(raw), |event| guard.step(event)));
            prop_assert_ne!(action, Action::Expose);
            prop_assert!(matches!(guard.phase(), Phase::Unsealed | Phase::Stopped(_)));
        }

        /// A packed action of unknown kind never exposes.
        #[test]
        fn arbitrary_answers(packed in any::<u64>()) {
            let action = unpack_action(packed);
            prop_assert_eq!(action == Action::Expose, packed & 0xFF == 2);
        }
    }
}
