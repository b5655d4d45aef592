//! Events that are said twice, too late, or of what is not there.

use super::*;
use crate::machine::storage::{Children, Device, Devices};

const REFUSED: Action = Action::Note(Reason::EventRefused);
const ASK: Event = Event::ExposureRequested;

/// A second word of the filter's does not undo what the bus has reported.
#[test]
fn a_bus_is_attached_once() {
    let mut guard = after(PROOF);
    assert_eq!(guard.step(ATTACHED), REFUSED);
    assert_eq!(guard.hidden(), 1);
    assert_eq!(guard.step(ASK), Action::Expose);
}

#[test]
fn relations_of_a_bus_too_many_are_a_doubt() {
    let beyond = Event::Relations { bus: MAX_BUSES as u32, seen: 0, hidden: 0 };
    let mut guard = after(PROOF.into_iter().chain([beyond]));
    assert_eq!(guard.step(ASK), Action::Withhold(Reason::TooManyBuses));
}

/// xenpci is asked for its relations again and again: the adapter stays among them.
#[test]
fn a_grant_is_not_taken_back_by_a_question() {
    let mut guard = after(PROOF);
    for _ in 0..2 {
        assert_eq!(guard.step(ASK), Action::Expose);
    }
    for _ in 0..2 {
        assert_eq!(guard.step(Event::Exposed), Action::Nothing);
    }
    assert_eq!(guard.step(ASK), Action::Expose);
    assert_eq!(guard.phase(), Phase::Exposed);
}

/// A resume between the grant and the exposure brings the emulated disks back, too.
#[test]
fn a_resume_after_the_grant_unplugs_anew() {
    let mut guard = after(PROOF.into_iter().chain([ASK]));
    assert_eq!(guard.step(Event::Resumed), Action::Unplug);
    assert_eq!(guard.step(UNPLUGGED), Action::Nothing, "nothing is exposed that a census could find");
    assert_eq!(guard.step(Event::Exposed), Action::Nothing);
}

/// Only controllers count: a disk that was refused shows nothing of the controller that it hangs on.
#[test]
fn a_refused_disk_is_no_refused_controller() {
    let mut guard = after(NOTHING_PROOF.into_iter().take(5));
    let _ = guard.step(attached(0, Emulated::Disk));
    assert_eq!(guard.step(Event::StartRequested { device: 0 }), Action::Deny(Reason::StartRefused));
    assert_eq!(guard.denied(), 0);
    assert_eq!(guard.step(ASK), Action::Withhold(Reason::StartNotRefused));
}

/// Of a refused controller that NT has removed, the refusal is remembered and nothing else.
#[test]
fn a_device_that_is_gone_says_nothing() {
    let mut guard = after(PROOF.into_iter().chain([ASK, attached(0, IDE), children(0, 0, 1, 1)]));
    let _ = guard.step(Event::StartRequested { device: 0 });
    assert_eq!((guard.hidden_disks(), guard.denied()), (1, 1));
    let _ = guard.step(Event::StorageDetached { device: 0 });
    assert_eq!((guard.hidden_disks(), guard.denied()), (0, 1));
    assert_eq!(guard.step(children(0, 0, 1, 1)), REFUSED);
    assert_eq!(guard.step(Event::StorageDetached { device: 0 }), REFUSED);
}

/// With `disks`, a controller that can only have disks is hidden; that it had a filter does not make it one
/// that stays.
#[test]
fn a_disks_only_controller_is_none_that_stays() {
    let seen =
        [counted(1, 1), HIDDEN, attached(3, Emulated::Controller(Controller::Nvme)), children(3, 0, 0, 0)];
    assert_eq!(after(DISKS_PROOF.into_iter().chain(seen)).step(ASK), Action::Expose);
    let instead = DISKS_PROOF.map(|event| match event {
        Event::StorageAttached { device: 0, .. } => attached(0, Emulated::Controller(Controller::Nvme)),
        other => other,
    });
    assert_eq!(after(instead).step(ASK), Action::Withhold(Reason::StorageNotFiltered));
}

/// A controller that was refused comes back under its number with nothing of its past.
#[test]
fn a_device_that_comes_again_is_new() {
    let mut devices = Devices::new();
    let device = Device { kind: IDE, denied: true, gone: false, children: Some(Children::default()) };
    *devices.place(4).expect("in the table") = Some(device);
    assert!(devices.remove(4) && !devices.remove(4) && devices.get(4).is_none());
    assert_eq!((devices.denied_controllers(), devices.filtered_controllers()), (1, 0));

    let mut guard = after(NOTHING_PROOF);
    let _ = guard.step(Event::StorageDetached { device: 0 });
    let _ = guard.step(attached(0, IDE));
    assert_eq!(guard.denied(), 0, "it has not been refused this time");
    assert_eq!(guard.step(ASK), Action::Withhold(Reason::StartNotRefused));
}

/// Nobody is told to ask again before asking would help.
#[test]
fn the_question_is_put_again_when_the_proof_is_whole() {
    let [decided, between @ .., last] = PROOF;
    let mut guard = after([decided, ASK]);
    for event in between {
        assert_ne!(guard.step(event), Action::AskAgain, "{event:?}");
    }
    assert_eq!(guard.step(last), Action::AskAgain);
}
