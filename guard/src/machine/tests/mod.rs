use super::*;
use crate::controllers::Controller;
use proptest::prelude::*;
use std::{vec, vec::Vec};

const PV: Event = Event::Decided(Decision::Pv(HidePolicy::Controllers));
const EMULATED: Event = Event::Decided(Decision::Emulated(Reason::NotSelected));
const ATTACHED: Event = Event::BusAttached { bus: 0 };
const UNPLUGGED: Event = Event::Unplugged(Unplug::Acknowledged);
const COUNTED: Event = counted(1, 0);
const HIDDEN: Event = Event::Relations { bus: 0, seen: 1, hidden: 1 };

/// Everything that precedes a request in a PV boot without faults.
const PROOF: [Event; 5] = [PV, ATTACHED, UNPLUGGED, COUNTED, HIDDEN];

const fn counted(with_cdrom: u32, disks_only: u32) -> Event {
    Event::ControllersCounted(Present { with_cdrom, disks_only })
}

const fn decided(policy: HidePolicy) -> Event {
    Event::Decided(Decision::Pv(policy))
}

const DISKS: Event = decided(HidePolicy::Disks);
const NOTHING: Event = decided(HidePolicy::Nothing);
const IDE: Emulated = Emulated::Controller(Controller::Ide);

const fn attached(device: u32, kind: Emulated) -> Event {
    Event::StorageAttached { device, kind }
}

const fn children(device: u32, channels: u32, disks: u32, hidden: u32) -> Event {
    Event::StorageRelations { device, channels, disks, hidden }
}

/// Everything that precedes a request with the policy `disks`: one IDE controller stays, with two channels.
const DISKS_PROOF: [Event; 11] = [
    DISKS,
    ATTACHED,
    Event::Unplugged(Unplug::NotAsked),
    COUNTED,
    Event::Relations { bus: 0, seen: 0, hidden: 0 },
    attached(0, IDE),
    children(0, 2, 0, 0),
    attached(1, Emulated::Channel),
    attached(2, Emulated::Channel),
    children(1, 0, 1, 1),
    children(2, 0, 0, 0),
];

/// Everything that precedes a request with the policy `none`: the one controller was refused its start.
const NOTHING_PROOF: [Event; 7] = [
    NOTHING,
    ATTACHED,
    UNPLUGGED,
    COUNTED,
    Event::Relations { bus: 0, seen: 0, hidden: 0 },
    attached(0, IDE),
    Event::StartRequested { device: 0 },
];

fn census(own_list: u32, ours: u32, alias: u32, foreign: u32) -> Event {
    Event::Census {
        counts: Counts { own_list, ours, alias, foreign, clones: 0, shared: 0 },
        settled: false,
        strict: false,
    }
}

fn settled(own_list: u32, ours: u32, strict: bool) -> Event {
    Event::Census {
        counts: Counts { own_list, ours, alias: 0, foreign: 0, clones: 0, shared: 0 },
        settled: true,
        strict,
    }
}

fn after(events: impl IntoIterator<Item = Event>) -> Guard {
    let mut guard = Guard::new();
    for event in events {
        let _ = guard.step(event);
    }
    guard
}

fn exposed() -> Guard {
    after(PROOF.into_iter().chain([Event::ExposureRequested, Event::Exposed]))
}

#[test]
fn a_boot_without_faults_exposes() {
    let mut guard = Guard::new();
    assert_eq!(guard.step(PV), Action::Nothing);
    assert_eq!(guard.step(ATTACHED), Action::Unplug);
    assert_eq!(guard.step(UNPLUGGED), Action::Nothing);
    assert_eq!(guard.step(COUNTED), Action::Nothing);
    assert_eq!(guard.step(HIDDEN), Action::Nothing);
    assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
    assert_eq!(guard.step(census(2, 0, 0, 1)), Action::Nothing);
    assert_eq!(guard.step(Event::Exposed), Action::Nothing);
    assert_eq!(guard.step(census(2, 1, 0, 1)), Action::Nothing);
    assert_eq!(guard.step(settled(2, 2, true)), Action::Nothing);
    assert_eq!(guard.phase(), Phase::Exposed);
}

/// Hiding is enough where unplug is switched off or refused.
#[test]
fn unplug_may_be_off_or_refused() {
    for unplug in [Unplug::NotAsked, Unplug::Refused] {
        let mut guard = after([PV, ATTACHED, Event::Unplugged(unplug), COUNTED, HIDDEN]);
        assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
    }
}

/// Leaving out any one station of the proof withholds, each with its own reason, and the station repairs it.
#[test]
fn each_part_of_the_proof_is_needed() {
    for (missing, reason) in [
        (0, Reason::Unsealed),
        (1, Reason::FilterNotAttached),
        (2, Reason::UnplugUnknown),
        (3, Reason::ControllersNotCounted),
        (4, Reason::RelationsNotFiltered),
    ] {
        let mut guard = after(PROOF.into_iter().enumerate().filter(|&(i, _)| i != missing).map(|(_, e)| e));
        assert_eq!(
            guard.step(Event::ExposureRequested),
            Action::Withhold(reason),
            "without station {missing}"
        );
        if missing >= 2 {
            let _ = guard.step(PROOF[missing]);
            assert_eq!(guard.step(Event::ExposureRequested), Action::Expose, "station {missing} came late");
        }
    }
}

#[test]
fn hidden_must_equal_counted() {
    for (counted, hidden, reason) in
        [(2, 1, Reason::HiddenMismatch), (1, 2, Reason::HiddenMismatch), (0, 0, Reason::NothingToHide)]
    {
        let relations = Event::Relations { bus: 0, seen: hidden, hidden };
        let mut guard = after([PV, ATTACHED, UNPLUGGED, self::counted(counted, 0), relations]);
        assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(reason));
    }
}

/// With two root buses both must have been filtered, and their hidden controllers add up.
#[test]
fn two_root_buses() {
    let second = Event::BusAttached { bus: 1 };
    let mut guard = after([PV, ATTACHED, UNPLUGGED, second, counted(2, 0), HIDDEN]);
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::RelationsNotFiltered));
    let _ = guard.step(Event::Relations { bus: 1, seen: 1, hidden: 1 });
    assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
    assert_eq!(guard.hidden(), 2);
}

/// A re-query replaces the bus's last report instead of adding to it.
#[test]
fn re_queried_relations_are_counted_once() {
    let mut guard = after(PROOF.into_iter().chain([HIDDEN, HIDDEN]));
    assert_eq!(guard.hidden(), 1);
    assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
}

#[test]
fn a_bus_too_many_is_a_doubt() {
    let mut guard = after(PROOF.into_iter().chain([Event::BusAttached { bus: MAX_BUSES as u32 }]));
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::TooManyBuses));
}

#[test]
fn relations_of_a_bus_without_filter_are_refused() {
    let mut guard = after([PV, UNPLUGGED, COUNTED]);
    assert_eq!(guard.step(HIDDEN), Action::Note(Reason::EventRefused));
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::FilterNotAttached));
}

#[test]
fn an_alias_that_slips_before_exposure_withholds_for_good() {
    for granted in [false, true] {
        let mut guard = after(PROOF);
        if granted {
            let _ = guard.step(Event::ExposureRequested);
        }
        let slipped = Event::Relations { bus: 0, seen: 2, hidden: 1 };
        assert_eq!(guard.step(slipped), Action::Withhold(Reason::AliasSlipped));
        let _ = guard.step(HIDDEN);
        assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::AliasSlipped));
    }
}

#[test]
fn a_controller_that_returns_after_exposure_stops() {
    let mut guard = exposed();
    let returned = Event::Relations { bus: 0, seen: 1, hidden: 0 };
    assert!(matches!(
        guard.step(returned),
        Action::Stop(BugCheck { reason: Reason::ControllerReturned, .. })
    ));
}

#[test]
fn the_first_census_withholds() {
    let mut guard = after(PROOF.into_iter().chain([Event::ExposureRequested]));
    assert_eq!(guard.step(census(1, 0, 1, 0)), Action::Withhold(Reason::AliasBeforeExposure));
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::AliasBeforeExposure));
    assert_eq!(
        guard.step(Event::Exposed),
        Action::Withhold(Reason::AliasBeforeExposure),
        "nothing was reported"
    );
    assert!(
        matches!(guard.step(census(1, 1, 1, 0)), Action::Stop(_)),
        "a PV disk in spite of it is a breach"
    );
}

#[test]
fn exposure_without_a_grant_stops() {
    let stop = BugCheck { reason: Reason::ExposedWithoutProof, own: 0, enumerated: 0 };
    for mut guard in [Guard::new(), after([EMULATED]), after(PROOF)] {
        assert_eq!(guard.step(Event::Exposed), Action::Stop(stop));
    }
}

#[test]
fn an_alias_after_exposure_stops_with_the_counts() {
    let stop = BugCheck { reason: Reason::AliasExposed, own: 2, enumerated: 4 };
    let mut guard = exposed();
    assert_eq!(guard.step(census(2, 2, 1, 1)), Action::Stop(stop));
    for event in PROOF.into_iter().chain([Event::ExposureRequested, Event::Exposed, census(2, 2, 0, 0)]) {
        assert_eq!(guard.step(event), Action::Stop(stop), "a stop is final");
    }
}

/// Not knowing withholds before exposure, stops after it, and says nothing to a boot without PV disks.
#[test]
fn a_census_that_fails() {
    let mut granted = after(PROOF.into_iter().chain([Event::ExposureRequested]));
    assert_eq!(granted.step(Event::CensusFailed), Action::Withhold(Reason::CensusFailed));
    assert_eq!(granted.phase(), Phase::Withheld(Reason::CensusFailed));
    let stop = BugCheck { reason: Reason::CensusFailed, own: 0, enumerated: 0 };
    assert_eq!(exposed().step(Event::CensusFailed), Action::Stop(stop));
    assert_eq!(after([EMULATED]).step(Event::CensusFailed), Action::Nothing);
}

#[test]
fn more_of_ours_than_the_list_stops() {
    let stop = BugCheck { reason: Reason::UnknownOwnDisk, own: 1, enumerated: 2 };
    assert_eq!(exposed().step(census(1, 2, 0, 0)), Action::Stop(stop));
}

#[test]
fn a_missing_disk_is_noted_once_settled_and_stops_where_strict() {
    assert_eq!(exposed().step(census(2, 1, 0, 0)), Action::Nothing);
    assert_eq!(exposed().step(settled(2, 1, false)), Action::Note(Reason::OwnDiskMissing));
    let stop = BugCheck { reason: Reason::OwnDiskMissing, own: 2, enumerated: 1 };
    assert_eq!(exposed().step(settled(2, 1, true)), Action::Stop(stop));
}

#[test]
fn foreign_disks_never_stop() {
    assert_eq!(exposed().step(census(1, 1, 0, 200)), Action::Nothing);
}

/// A clone on another bus is told of, and never stops; what stops comes first.
#[test]
fn clones_are_noted() {
    let seen = |ours, alias| Event::Census {
        counts: Counts { own_list: 1, ours, alias, foreign: 1, clones: 1, shared: 0 },
        settled: true,
        strict: true,
    };
    assert_eq!(exposed().step(seen(1, 0)), Action::Note(Reason::CloneSeen));
    assert!(matches!(exposed().step(seen(1, 1)), Action::Stop(_)));
    assert_eq!(after(PROOF).step(seen(0, 0)), Action::Nothing, "nothing is exposed");
}

/// Two disks of ours on one backing: withheld before they are shown, a stop afterwards.
#[test]
fn a_backing_twice_is_judged() {
    let shared = |ours| Event::Census {
        counts: Counts { own_list: 2, ours, alias: 0, foreign: 0, clones: 0, shared: 1 },
        settled: false,
        strict: false,
    };
    let stop = BugCheck { reason: Reason::SharedExposed, own: 2, enumerated: 2 };
    assert_eq!(exposed().step(shared(2)), Action::Stop(stop));
    assert!(matches!(exposed().step(shared(1)), Action::Stop(_)), "the second has yet to arrive");
    let mut granted = after(PROOF);
    assert_eq!(granted.step(Event::ExposureRequested), Action::Expose);
    assert_eq!(granted.step(shared(0)), Action::Withhold(Reason::SharedBeforeExposure));
    assert_eq!(granted.step(Event::Exposed), Action::Withhold(Reason::SharedBeforeExposure));
}

#[test]
fn the_seal_holds() {
    let mut guard = after([EMULATED]);
    assert_eq!(guard.step(PV), Action::Note(Reason::EventRefused));
    assert_eq!(guard.phase(), Phase::Emulated(Reason::NotSelected));
    for event in [ATTACHED, UNPLUGGED, COUNTED, HIDDEN] {
        assert_eq!(guard.step(event), Action::Nothing);
    }
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::EmulatedBoot));
    assert_eq!(guard.step(census(0, 0, 3, 0)), Action::Nothing, "emulated disks are what this boot is about");
    assert!(matches!(guard.step(census(0, 1, 3, 0)), Action::Stop(_)), "a PV disk is not");
}

#[test]
fn unplug_is_ordered_once_and_only_in_a_pv_boot() {
    let mut guard = after([PV, ATTACHED, UNPLUGGED]);
    assert_eq!(guard.step(Event::BusAttached { bus: 1 }), Action::Nothing);
    assert_eq!(after([EMULATED]).step(ATTACHED), Action::Nothing);
    assert_eq!(Guard::new().step(ATTACHED), Action::Nothing);
}

fn any_event() -> impl Strategy<Value = Event> {
    let small = 0u32..3;
    prop_oneof![
        Just(PV),
        Just(EMULATED),
        Just(DISKS),
        Just(NOTHING),
        (0u32..10).prop_map(|bus| Event::BusAttached { bus }),
        prop_oneof![Just(Unplug::NotAsked), Just(Unplug::Acknowledged), Just(Unplug::Refused)]
            .prop_map(Event::Unplugged),
        small.clone().prop_map(|n| counted(n, 0)),
        (0u32..2, small.clone(), small.clone()).prop_map(|(bus, seen, hidden)| Event::Relations {
            bus,
            seen,
            hidden: hidden.min(seen)
        }),
        Just(Event::ExposureRequested),
        Just(Event::Exposed),
        Just(Event::CensusFailed),
        (small.clone(), small.clone(), small.clone(), any::<bool>(), any::<bool>()).prop_map(
            |(own_list, ours, alias, settled, strict)| Event::Census {
                counts: Counts { own_list, ours, alias, foreign: 1, clones: 0, shared: 0 },
                settled,
                strict
            }
        ),
        (0u32..34, any_kind()).prop_map(|(device, kind)| Event::StorageAttached { device, kind }),
        (0u32..3).prop_map(|device| Event::StorageDetached { device }),
        (0u32..3, small.clone(), small.clone(), small.clone()).prop_map(
            |(device, channels, disks, hidden)| {
                Event::StorageRelations { device, channels, disks, hidden: hidden.min(disks) }
            }
        ),
        (0u32..3).prop_map(|device| Event::StartRequested { device }),
        Just(Event::DriverLoaded),
        Just(Event::Resumed),
    ]
}

fn any_kind() -> impl Strategy<Value = Emulated> {
    prop_oneof![
        Just(Emulated::Controller(Controller::Ide)),
        Just(Emulated::Controller(Controller::Nvme)),
        Just(Emulated::Channel),
        Just(Emulated::Disk)
    ]
}

/// Returns a boot that tends towards exposure, so that the deep phases are reached.
fn any_boot() -> impl Strategy<Value = Vec<Event>> {
    let prefix = prop_oneof![
        Just(vec![]),
        Just(PROOF.to_vec()),
        Just([&PROOF[..], &[Event::ExposureRequested, Event::Exposed]].concat()),
        Just(DISKS_PROOF.to_vec()),
        Just([&DISKS_PROOF[..], &[Event::ExposureRequested, Event::Exposed]].concat()),
        Just(NOTHING_PROOF.to_vec()),
    ];
    (prefix, proptest::collection::vec(any_event(), 0..24)).prop_map(|(mut prefix, rest)| {
        prefix.extend(rest);
        prefix
    })
}

/// Reads the proof off the history in the plainest way: an independent statement of the rule.
fn proven(history: &[Event]) -> bool {
    let too_many = history
        .iter()
        .any(|e| matches!(e, Event::StorageAttached { device, .. } if *device as usize >= MAX_DEVICES));
    if too_many {
        return false;
    }
    let pv = history.iter().find_map(|e| if let Event::Decided(d) = e { Some(d.is_pv()) } else { None });
    let counted = history
        .iter()
        .rev()
        .find_map(|e| if let Event::ControllersCounted(n) = e { Some(n.total()) } else { None });
    let tried = history.iter().any(|e| matches!(e, Event::Unplugged(_)));
    let attached: Vec<u32> = history
        .iter()
        .filter_map(|e| if let Event::BusAttached { bus } = e { Some(*bus) } else { None })
        .collect();
    let mut hidden = 0;
    for bus in 0..MAX_BUSES as u32 {
        let Some(at) = history.iter().position(|e| *e == Event::BusAttached { bus }) else { continue };
        let last = history[at..].iter().rev().find_map(|e| match e {
            Event::Relations { bus: b, seen, hidden } if *b == bus => Some((*seen, *hidden)),
            _ => None,
        });
        let Some((seen, taken)) = last else { return false };
        if taken != seen {
            return false;
        }
        hidden += taken;
    }
    pv == Some(true)
        && tried
        && !attached.is_empty()
        && attached.iter().all(|b| (*b as usize) < MAX_BUSES)
        && hidden > 0
        && counted == Some(hidden)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// The invariant, over arbitrary histories: the first exposure needs the whole proof; nothing is exposed in
    /// an unsealed or emulated boot; an alias census after exposure always stops; a stop is final.
    #[test]
    fn the_invariant(history in any_boot()) {
        let mut guard = Guard::new();
        for (i, event) in history.iter().enumerate() {
            let before = guard.phase();
            let action = guard.step(*event);
            match before {
                Phase::Stopped(b) => prop_assert_eq!(action, Action::Stop(b)),
                Phase::Exposed => {
                    if let Event::Census { counts, .. } = event && counts.alias > 0 {
                        prop_assert!(matches!(action, Action::Stop(_)));
                    }
                    if matches!(event, Event::StartRequested { .. }) && guard.policy() != HidePolicy::Disks {
                        prop_assert_eq!(action, Action::Deny(Reason::StartRefused));
                    }
                    prop_assert!(matches!(guard.phase(), Phase::Exposed | Phase::Stopped(_)));
                }
                Phase::Withheld(_) | Phase::Emulated(_) | Phase::Unsealed => prop_assert_ne!(action, Action::Expose),
                Phase::Hiding | Phase::Granted => {}
            }
            if before == Phase::Hiding && action == Action::Expose && guard.policy() == HidePolicy::Controllers {
                prop_assert!(proven(&history[..i]), "exposed without proof");
            }
            if guard.phase() == Phase::Exposed && before != Phase::Exposed {
                prop_assert_eq!(before, Phase::Granted, "exposed without a grant");
            }
            if let (Phase::Emulated(a), now) = (before, guard.phase()) {
                prop_assert!(now == Phase::Emulated(a) || matches!(now, Phase::Stopped(_)), "the mode changed");
            }
        }
    }
}

/// Returns a guard that has been told so many events of the proof. With the whole proof it has granted the exposure.
fn told(proof: usize) -> Guard {
    let mut guard = after(PROOF[..proof].iter().copied());
    if proof == PROOF.len() {
        assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
    }
    guard
}

/// NT starts a device whose filter fails: the guard then exposes nothing, or stops what it has exposed.
#[test]
fn a_start_without_the_filter_withholds_or_stops() {
    let unfiltered = Event::StorageUnfiltered;
    for proof in 1..=PROOF.len() {
        let mut guard = told(proof);
        assert_eq!(guard.step(unfiltered), Action::Withhold(Reason::UnfilteredStart));
        assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::UnfilteredStart));
    }
    let mut guard = exposed();
    let stop = BugCheck { reason: Reason::UnfilteredStart, own: 0, enumerated: 1 };
    assert_eq!(guard.step(unfiltered), Action::Stop(stop));
    let mut emulated = after([EMULATED]);
    assert_eq!(emulated.step(unfiltered), Action::Nothing);
}

/// A root bus without the filter has controllers that nobody hides or counts: the proof is not whole without it.
#[test]
fn a_bus_without_the_filter_withholds_and_is_noted_afterwards() {
    let unfiltered = Event::BusUnfiltered;
    for proof in 1..=PROOF.len() {
        let mut guard = told(proof);
        assert_eq!(guard.step(unfiltered), Action::Withhold(Reason::FilterNotAttached));
        for event in &PROOF[proof..] {
            assert!(!matches!(guard.step(*event), Action::Unplug | Action::AskAgain), "{event:?}");
        }
        assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::FilterNotAttached));
    }
    let mut guard = exposed();
    assert_eq!(guard.step(unfiltered), Action::Note(Reason::FilterNotAttached));
    assert_eq!(guard.phase(), Phase::Exposed);
    let mut emulated = after([EMULATED]);
    assert_eq!(emulated.step(unfiltered), Action::Nothing);
}

mod policies;
mod repeated;
