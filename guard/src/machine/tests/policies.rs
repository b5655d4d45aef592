//! The hide policies `disks` and `none`, refused starts, the tripwire and resumes.

use super::*;

const DENIED: Action = Action::Deny(Reason::StartRefused);

fn start(device: u32) -> Event {
    Event::StartRequested { device }
}

#[test]
fn disks_leaves_the_controller_and_exposes() {
    let mut guard = after(DISKS_PROOF);
    assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
    assert_eq!((guard.hidden(), guard.hidden_disks(), guard.denied()), (0, 1, 0));
}

/// Each station of the proof under `disks` is needed, and tells what is missing.
#[test]
fn each_part_of_the_proof_under_disks_is_needed() {
    for (missing, reason) in [
        (1, Reason::FilterNotAttached),
        (2, Reason::UnplugUnknown),
        (3, Reason::ControllersNotCounted),
        (4, Reason::RelationsNotFiltered),
        (5, Reason::StorageNotFiltered),
        (6, Reason::StorageNotFiltered),
        (7, Reason::StorageNotFiltered),
        (8, Reason::StorageNotFiltered),
        (9, Reason::StorageNotFiltered),
        (10, Reason::StorageNotFiltered),
    ] {
        let events = DISKS_PROOF.into_iter().enumerate().filter(|&(i, _)| i != missing).map(|(_, e)| e);
        let mut guard = after(events);
        assert_eq!(
            guard.step(Event::ExposureRequested),
            Action::Withhold(reason),
            "without station {missing}"
        );
    }
}

/// Whoever completes a proof that was asked for too early is told to have the question put again, once.
#[test]
fn the_question_is_put_again() {
    for proof in [&PROOF[..], &DISKS_PROOF[..], &NOTHING_PROOF[..]] {
        let (last, first) = proof.split_last().expect("not empty");
        let mut guard = after(first.iter().copied());
        assert!(matches!(guard.step(Event::ExposureRequested), Action::Withhold(_)));
        let answer = guard.step(*last);
        if *last == start(0) {
            // The order to refuse comes first; the next event carries the other.
            assert_eq!(answer, DENIED);
            assert_eq!(guard.step(Event::StorageDetached { device: 0 }), Action::AskAgain);
        } else {
            assert_eq!(answer, Action::AskAgain);
        }
        assert_eq!(guard.step(COUNTED), Action::Nothing, "only once");
        assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
    }
    let mut whole = after(PROOF);
    assert_eq!(whole.step(COUNTED), Action::Nothing, "nobody has asked");
}

/// Without an unplug, and with no disk seen, nothing shows that hiding works; an unplug explains it.
#[test]
fn disks_needs_evidence() {
    let no_disk = |unplug| {
        after(DISKS_PROOF.into_iter().map(move |event| match event {
            Event::Unplugged(_) => Event::Unplugged(unplug),
            Event::StorageRelations { device: 1, .. } => children(1, 0, 0, 0),
            other => other,
        }))
    };
    let ask = Event::ExposureRequested;
    assert_eq!(no_disk(Unplug::Acknowledged).step(ask), Action::Expose);
    for unplug in [Unplug::NotAsked, Unplug::Refused] {
        assert_eq!(no_disk(unplug).step(ask), Action::Withhold(Reason::NothingToHide));
    }
    let mut guard = no_disk(Unplug::NotAsked);
    let _ = guard.step(counted(1, 1));
    let _ = guard.step(HIDDEN);
    assert_eq!(guard.step(ask), Action::Expose, "a disks-only controller that was hidden is evidence, too");
}

#[test]
fn disks_only_controllers_are_still_hidden() {
    let mut guard = after(DISKS_PROOF);
    let _ = guard.step(counted(1, 1));
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::HiddenMismatch));
    assert_eq!(guard.step(HIDDEN), Action::AskAgain);
}

#[test]
fn a_disk_that_slips_past_its_channel() {
    for reported_before_the_decision in [false, true] {
        let mut events = DISKS_PROOF.to_vec();
        if reported_before_the_decision {
            events.rotate_left(1);
            events[8] = children(1, 0, 2, 1);
            let mut guard = after(events);
            assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::AliasSlipped));
        } else {
            let slip = children(1, 0, 2, 1);
            assert_eq!(after(events.iter().copied()).step(slip), Action::Withhold(Reason::AliasSlipped));
            events.extend([Event::ExposureRequested, Event::Exposed]);
            let stop = BugCheck { reason: Reason::DiskReturned, own: 0, enumerated: 2 };
            assert_eq!(after(events).step(slip), Action::Stop(stop));
        }
    }
}

#[test]
fn a_slip_before_the_decision_is_not_forgotten() {
    let slipped = Event::Relations { bus: 0, seen: 2, hidden: 1 };
    let mut guard = after([ATTACHED, slipped, UNPLUGGED, COUNTED, PV]);
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::AliasSlipped));
}

/// With `disks` the controller and its channels start, and a disk does not.
#[test]
fn starts_under_disks() {
    let mut guard = after(DISKS_PROOF.into_iter().chain([attached(3, Emulated::Disk)]));
    for device in 0..3 {
        assert_eq!(guard.step(start(device)), Action::Nothing);
    }
    assert_eq!(guard.clone().step(start(3)), Action::Withhold(Reason::AliasStarted), "hiding has failed");
    let _ = guard.step(Event::ExposureRequested);
    assert_eq!(guard.step(start(3)), DENIED);
    let _ = guard.step(Event::Exposed);
    for device in 0..3 {
        assert_eq!(guard.step(start(device)), Action::Nothing);
    }
    assert_eq!(guard.step(start(3)), DENIED);
    let _ = guard.step(attached(4, Emulated::Controller(Controller::Nvme)));
    assert_eq!(guard.step(start(4)), DENIED, "a controller that can only have disks");
}

/// A device that should have been hidden and starts before PV disks may appear goes on, and PV does not.
#[test]
fn starts_under_controller() {
    let mut hiding = after(PROOF.into_iter().chain([attached(0, IDE)]));
    assert_eq!(hiding.step(start(0)), Action::Withhold(Reason::AliasStarted));
    assert_eq!(hiding.phase(), Phase::Withheld(Reason::AliasStarted));
    assert_eq!(hiding.step(start(0)), Action::Nothing);
    assert_eq!(hiding.step(Event::ExposureRequested), Action::Withhold(Reason::AliasStarted));

    for events in [&[Event::ExposureRequested][..], &[Event::ExposureRequested, Event::Exposed]] {
        let mut guard = after(PROOF.into_iter().chain(events.iter().copied()));
        for (device, kind) in [(0, IDE), (1, Emulated::Channel), (2, Emulated::Disk)] {
            let _ = guard.step(attached(device, kind));
            assert_eq!(guard.step(start(device)), DENIED);
        }
        assert_eq!(guard.step(start(9)), DENIED, "a device that the guard does not know");
    }
}

/// Only with `disks` are a controller's disks taken out; elsewhere its start is what is judged, and the
/// census.
#[test]
fn disks_that_are_reported_are_a_slip_under_disks_only() {
    for policy in [HidePolicy::Controllers, HidePolicy::Nothing] {
        let mut guard = after([decided(policy), ATTACHED, UNPLUGGED, attached(0, IDE)]);
        assert_eq!(guard.step(children(0, 0, 1, 0)), Action::Nothing, "{policy:?}");
        assert_eq!(guard.phase(), Phase::Hiding);
    }
    let mut guard = after([DISKS, ATTACHED, UNPLUGGED, attached(0, IDE)]);
    assert_eq!(guard.step(children(0, 0, 1, 0)), Action::Withhold(Reason::AliasSlipped));
}

/// In a boot that is not about PV everything starts.
#[test]
fn starts_in_an_emulated_boot() {
    for mut guard in [Guard::new(), after([EMULATED])] {
        let _ = guard.step(attached(0, IDE));
        assert_eq!(guard.step(start(0)), Action::Nothing);
    }
}

/// With `none` the refusals are the proof; NT removes a device whose start failed, and the refusal still
/// counts.
#[test]
fn refusing_alone_is_proof_under_none() {
    let mut guard = after(NOTHING_PROOF.into_iter().take(6));
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::StartNotRefused));
    assert_eq!(guard.step(start(0)), DENIED);
    assert_eq!(guard.denied(), 1);
    assert_eq!(guard.step(Event::StorageDetached { device: 0 }), Action::AskAgain);
    assert_eq!(guard.denied(), 1);
    assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
    assert_eq!(guard.step(Event::StorageDetached { device: 0 }), Action::Note(Reason::EventRefused));
    assert_eq!(guard.step(attached(0, IDE)), Action::Nothing, "it comes again under its number");
    assert_eq!(guard.step(start(0)), DENIED);
    assert_eq!(guard.denied(), 1);
}

#[test]
fn devices_come_and_go() {
    let mut guard = after([PV]);
    assert_eq!(guard.step(children(0, 0, 0, 0)), Action::Note(Reason::EventRefused));
    assert_eq!(guard.step(attached(0, Emulated::Disk)), Action::Nothing);
    assert_eq!(guard.step(attached(0, Emulated::Disk)), Action::Note(Reason::EventRefused));
    assert_eq!(guard.step(Event::StorageDetached { device: 0 }), Action::Nothing);
    assert_eq!(guard.step(Event::StorageDetached { device: 0 }), Action::Note(Reason::EventRefused));
    assert_eq!(guard.step(attached(0, Emulated::Channel)), Action::Nothing);
    assert_eq!(
        guard.step(Event::StorageDetached { device: MAX_DEVICES as u32 }),
        Action::Note(Reason::EventRefused)
    );
}

/// A channel that goes takes its share of the proof with it, and the controller must report anew.
#[test]
fn a_channel_that_goes_leaves_a_doubt() {
    let mut guard = after(DISKS_PROOF);
    let _ = guard.step(Event::StorageDetached { device: 2 });
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::StorageNotFiltered));
    assert_eq!(guard.step(children(0, 1, 0, 0)), Action::AskAgain);
}

#[test]
fn a_device_too_many_is_a_doubt() {
    let last = MAX_DEVICES as u32 - 1;
    let mut guard = after(PROOF.into_iter().chain([attached(last, Emulated::Disk)]));
    assert_eq!(guard.clone().step(Event::ExposureRequested), Action::Expose);
    let _ = guard.step(attached(last + 1, Emulated::Disk));
    assert_eq!(guard.step(Event::ExposureRequested), Action::Withhold(Reason::TooManyDevices));
}

#[test]
fn the_tripwire_asks_for_a_census_once_pv_disks_are_there() {
    assert_eq!(exposed().step(Event::DriverLoaded), Action::CensusNow);
    for mut guard in [Guard::new(), after([EMULATED]), after(PROOF)] {
        assert_eq!(guard.step(Event::DriverLoaded), Action::Nothing);
    }
}

/// The machine that comes back has its emulated disks again: they are unplugged anew, then counted.
#[test]
fn a_resume_unplugs_anew_and_counts() {
    let mut guard = exposed();
    assert_eq!(guard.step(Event::Resumed), Action::Unplug);
    assert_eq!(guard.unplug(), None);
    assert_eq!(guard.step(UNPLUGGED), Action::CensusNow);

    let not_asked = [PV, ATTACHED, Event::Unplugged(Unplug::NotAsked), COUNTED, HIDDEN];
    let mut guard = after(not_asked.into_iter().chain([Event::ExposureRequested, Event::Exposed]));
    assert_eq!(guard.step(Event::Resumed), Action::CensusNow);

    for mut guard in [Guard::new(), after([EMULATED]), after([PV])] {
        assert_eq!(guard.step(Event::Resumed), Action::Nothing);
    }
    let mut hiding = after(PROOF);
    assert_eq!(hiding.step(Event::Resumed), Action::Unplug);
    assert_eq!(hiding.step(Event::ExposureRequested), Action::Withhold(Reason::UnplugUnknown));
    assert_eq!(hiding.step(UNPLUGGED), Action::AskAgain);
}
