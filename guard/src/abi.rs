//! The form in which the guard's events and answers cross from one driver's image into another's.
//!
//! `idefilter.sys` exports seven functions, `extern "system"`, callable at IRQL ≤ `DISPATCH_LEVEL` but for
//! `XenguardNote`, which any IRQL may call. Crate `guard-client` calls them for the other drivers.
//!
//! - `XenguardEvent(event: *const RawEvent) -> u64`: an event in, a packed [`Action`] out;
//! - `XenguardStatus(status: *mut Status, size: u32) -> u32`: the state of the boot; at most `size` bytes are
//!   written, and the answer is how many were ([`Status::bytes_for`]);
//! - `XenguardWatch(watcher: Watcher, context: *mut c_void) -> u32`: has the watcher called when the guard
//!   wants something of its driver; a number, or 0 where there is no room;
//! - `XenguardUnwatch(number: u32)`: ends that; when it returns the watcher is not running and will not be
//!   called;
//! - `XenguardNote(text: *const u8, length: u32)`: adds a line to the activity log ([`crate::activity`]);
//! - `XenguardLine(from: u64, line: *mut u8) -> u32`: the first line of the activity log from a number on, as
//!   [`crate::channel::LogLine`] has it; the answer is 1, or 0 where it is still to come;
//! - `XenguardRecord(record: *mut u8)`: the guard's record, as [`crate::record`] has it.
//!
//! Both sides are built from this file; [`ABI_VERSION`] travels with each event, and a mismatch is answered
//! with [`Reason::InterfaceVersion`]. Only what xenpci and xenvbd may say is accepted: the decision and the
//! filter's findings never cross the boundary.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::abi_version::ABI_VERSION;
use crate::{
    census::Counts,
    controllers::Present,
    machine::{Action, BugCheck, Event, Guard, Phase, Unplug},
    policy::HidePolicy,
    reason::Reason,
};

/// The routine that the guard calls to pass signals on, at `DISPATCH_LEVEL` with the guard's lock held: it may
/// only set an event or queue work. Bits that it does not know mean nothing to it.
pub type Watcher = unsafe extern "system" fn(context: *mut core::ffi::c_void, signals: Signals);

/// A set of signals from the guard to other drivers, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Signals(pub u32);

impl Signals {
    /// A request for exposure came too early and would be granted now: for xenpci.
    pub const ASK_AGAIN: Signals = Signals(1);
    /// A census is to be taken at once: for xenvbd.
    pub const TAKE_CENSUS: Signals = Signals(2);
    /// The status has changed: for whoever shows it.
    pub const CHANGED: Signals = Signals(4);
    /// The activity log has new lines: for whoever passes them on.
    pub const LINES: Signals = Signals(8);

    /// Returns true if every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Signals) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Defines a number that crosses between drivers. Any bit pattern is a value; the known ones have names.
macro_rules! numbers {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $one:literal])+ $constant:ident = $value:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            $($(#[doc = $one])+ pub const $constant: $name = $name($value);)+
        }
    };
}

numbers! {
    /// The number of a [`Phase`], in [`Status`] and in the registry's value `Status\Phase`.
    PhaseNumber {
        /// [`Phase::Unsealed`].
        UNSEALED = 0,
        /// [`Phase::Emulated`].
        EMULATED = 1,
        /// [`Phase::Hiding`].
        HIDING = 2,
        /// [`Phase::Granted`].
        GRANTED = 3,
        /// [`Phase::Exposed`].
        EXPOSED = 4,
        /// [`Phase::Withheld`].
        WITHHELD = 5,
        /// [`Phase::Stopped`].
        STOPPED = 6,
    }
}

numbers! {
    /// The number of an end of the unplug protocol ([`Unplug`]).
    UnplugNumber {
        /// It was not tried, or is to be tried again after a resume.
        NOT_TRIED = 0,
        /// [`Unplug::NotAsked`].
        NOT_ASKED = 1,
        /// [`Unplug::Acknowledged`].
        ACKNOWLEDGED = 2,
        /// [`Unplug::Refused`].
        REFUSED = 3,
    }
}

numbers! {
    /// The number of a [`HidePolicy`].
    PolicyNumber {
        /// [`HidePolicy::Controllers`].
        CONTROLLERS = 0,
        /// [`HidePolicy::Disks`].
        DISKS = 1,
        /// [`HidePolicy::Nothing`].
        NOTHING = 2,
    }
}

impl PhaseNumber {
    /// Returns true if PV disks may still appear in this boot, or have appeared.
    #[must_use]
    pub fn may_expose(self) -> bool {
        matches!(self, PhaseNumber::HIDING | PhaseNumber::GRANTED | PhaseNumber::EXPOSED)
    }
}

impl From<Phase> for PhaseNumber {
    fn from(phase: Phase) -> PhaseNumber {
        match phase {
            Phase::Unsealed => PhaseNumber::UNSEALED,
            Phase::Emulated(_) => PhaseNumber::EMULATED,
            Phase::Hiding => PhaseNumber::HIDING,
            Phase::Granted => PhaseNumber::GRANTED,
            Phase::Exposed => PhaseNumber::EXPOSED,
            Phase::Withheld(_) => PhaseNumber::WITHHELD,
            Phase::Stopped(_) => PhaseNumber::STOPPED,
        }
    }
}

impl From<Option<Unplug>> for UnplugNumber {
    fn from(end: Option<Unplug>) -> UnplugNumber {
        match end {
            None => UnplugNumber::NOT_TRIED,
            Some(Unplug::NotAsked) => UnplugNumber::NOT_ASKED,
            Some(Unplug::Acknowledged) => UnplugNumber::ACKNOWLEDGED,
            Some(Unplug::Refused) => UnplugNumber::REFUSED,
        }
    }
}

impl From<HidePolicy> for PolicyNumber {
    fn from(policy: HidePolicy) -> PolicyNumber {
        match policy {
            HidePolicy::Controllers => PolicyNumber::CONTROLLERS,
            HidePolicy::Disks => PolicyNumber::DISKS,
            HidePolicy::Nothing => PolicyNumber::NOTHING,
        }
    }
}

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
    /// Kind of the event.
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
            | Event::BusUnfiltered
            | Event::ControllersCounted(_)
            | Event::Relations { .. }
            | Event::StorageAttached { .. }
            | Event::StorageDetached { .. }
            | Event::StorageUnfiltered
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

/// Carries out `XenguardEvent` on the guard's side: unpacks the event, has `step` take it, packs the answer.
/// No event and one that is refused are answered with a withhold.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Status {
    /// [`ABI_VERSION`] of the guard.
    pub abi: u32,
    /// The phase.
    pub phase: PhaseNumber,
    /// The code of the reason for the phase; 0 where it has none.
    pub reason: u32,
    /// The end of the unplug protocol.
    pub unplug: UnplugNumber,
    /// The hide policy.
    pub policy: PolicyNumber,
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
    /// Bytes of the structure.
    pub const SIZE: usize = size_of::<Status>();

    /// Returns the status of a guard.
    #[must_use]
    pub fn of(guard: &Guard) -> Status {
        let reason = match guard.phase() {
            Phase::Unsealed => Reason::Unsealed,
            Phase::Hiding | Phase::Granted | Phase::Exposed => Reason::PvSelected,
            Phase::Emulated(reason) | Phase::Withheld(reason) => reason,
            Phase::Stopped(bugcheck) => bugcheck.reason,
        };
        Status {
            abi: ABI_VERSION,
            phase: guard.phase().into(),
            reason: reason.code(),
            unplug: guard.unplug().into(),
            policy: guard.policy().into(),
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

    /// Returns the same with the last census, which the guard itself does not keep.
    #[must_use]
    pub fn with_census(self, census: Option<Counts>) -> Status {
        match census {
            None => self,
            Some(Counts { own_list, ours, alias, foreign, .. }) => {
                Status { counted: 1, own: own_list, ours, alias, foreign, ..self }
            }
        }
    }

    /// Returns the bytes that a caller with room for `size` bytes gets: no more than there is room for, also
    /// where the caller was built for a smaller structure.
    #[must_use]
    pub fn bytes_for(&self, size: u32) -> &[u8] {
        let bytes = self.as_bytes();
        &bytes[..bytes.len().min(size as usize)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decision::Decision, policy::Emulated};
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
            Event::Decided(Decision::Pv(HidePolicy::Controllers)),
            Event::BusAttached { bus: 0 },
            Event::BusUnfiltered,
            Event::Unplugged(Unplug::Acknowledged),
            Event::ControllersCounted(Present { with_cdrom: 1, disks_only: 0 }),
            Event::Relations { bus: 0, seen: 1, hidden: 1 },
            Event::StorageAttached { device: 0, kind: Emulated::Disk },
            Event::StorageDetached { device: 0 },
            Event::StorageUnfiltered,
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

    /// A caller that was built for a smaller structure gets its beginning, and not a byte more.
    #[test]
    fn a_status_fits_the_callers_room() {
        let status = Status::of(&Guard::new());
        for size in 0..2 * Status::SIZE {
            let bytes = status.bytes_for(size as u32);
            assert_eq!(bytes, &status.as_bytes()[..size.min(Status::SIZE)]);
        }
        assert_eq!(status.bytes_for(u32::MAX).len(), Status::SIZE);
    }

    /// The registry and crash dumps have these numbers, and an admin's tools read them.
    #[test]
    fn numbers_do_not_change() {
        let stop = BugCheck { reason: Reason::AliasExposed, own: 0, enumerated: 0 };
        let phases = [
            Phase::Unsealed,
            Phase::Emulated(Reason::NotSelected),
            Phase::Hiding,
            Phase::Granted,
            Phase::Exposed,
            Phase::Withheld(Reason::AliasSlipped),
            Phase::Stopped(stop),
        ];
        for (number, phase) in (0..).zip(phases) {
            let phase = PhaseNumber::from(phase);
            assert_eq!(phase, PhaseNumber(number));
            assert_eq!(phase.may_expose(), (2..=4).contains(&number));
        }
        let ends = [None, Some(Unplug::NotAsked), Some(Unplug::Acknowledged), Some(Unplug::Refused)];
        let policies = [HidePolicy::Controllers, HidePolicy::Disks, HidePolicy::Nothing];
        assert!((0..).zip(ends).all(|(number, end)| UnplugNumber::from(end) == UnplugNumber(number)));
        assert!(
            (0..).zip(policies).all(|(number, policy)| PolicyNumber::from(policy) == PolicyNumber(number))
        );
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
