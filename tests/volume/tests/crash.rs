//! A crash at any write, whatever the disk's cache kept, leaves a volume that mounts with all that
//! was promised.

mod machine;

use std::collections::BTreeMap;

use machine::{Action, Disk, content, name};
use proptest::prelude::*;
use volume::{Verdict, Volume, check};

/// Contents that a file may have after a crash: any of these, none meaning that it is not there.
type Possible = BTreeMap<u8, Vec<Option<Vec<u8>>>>;

/// Returns one life of a machine: what it does, and whether it ends in order.
fn life() -> impl Strategy<Value = (Vec<Action>, bool)> {
    let action = prop_oneof![
        6 => (0..4u8, any::<u8>(), 0..20_000u16).prop_map(|(file, seed, size)| Action::Write(file, seed, size)),
        2 => Just(Action::Flush),
        1 => (0..4u8).prop_map(Action::Remove),
        1 => Just(Action::Checkpoint),
    ];
    (prop::collection::vec(action, 0..45), any::<bool>())
}

/// Runs `actions` on `disk`. `possible` is what each file may hold if the crash comes after
/// `crash` sector writes: what was promised by then, or something newer.
fn live(disk: &Disk, actions: &[Action], unmount: bool, crash: usize, possible: &mut Possible) {
    let mut volume = Volume::mount(disk.partition()).unwrap();
    for action in actions {
        if disk.writes() > crash {
            break;
        }
        match *action {
            Action::Write(file, seed, size) => {
                let new = content(seed, size);
                // Out of space is no failure of the crash test; nothing is written then.
                if volume.write_file(&name(file), &new).is_ok() {
                    possible.entry(file).or_insert_with(|| vec![None]).push(Some(new));
                }
            }
            Action::Remove(file) => {
                if volume.remove_file(&name(file)).is_ok() {
                    possible.entry(file).or_insert_with(|| vec![None]).push(None);
                }
            }
            Action::Flush => volume.flush().unwrap(),
            Action::Checkpoint => volume.checkpoint().unwrap(),
        }
        let promised = matches!(action, Action::Flush | Action::Checkpoint) && disk.writes() <= crash;
        if promised {
            possible.values_mut().for_each(|versions| drop(versions.drain(..versions.len() - 1)));
        }
    }
    if unmount {
        volume.unmount().unwrap();
    }
}

/// Checks that the volume on `disk` is sound, mounts, and each file holds one of its possible contents.
fn assert_recovers(disk: &Disk, possible: &Possible) {
    let report = check(disk).unwrap();
    assert_ne!(report.verdict, Verdict::Destroyed, "{report}");
    let volume = Volume::mount(disk.partition()).unwrap();
    for (&file, versions) in possible {
        let found = volume.read_file(&name(file)).ok();
        assert!(versions.contains(&found), "{}: {:?}", name(file), found.map(|f| f.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn recovers_from_a_crash_anywhere(
        first in life(),
        second in life(),
        at in any::<prop::sample::Index>(),
        kept in prop::collection::vec(any::<bool>(), 0..64),
    ) {
        // A first life that ends in any way it likes, then a second that is cut off.
        let disk = Disk::formatted();
        let mut possible = Possible::new();
        live(&disk, &first.0, first.1, usize::MAX, &mut possible);
        for versions in possible.values_mut() {
            versions.drain(..versions.len() - 1);
        }
        let disk = Disk::new(disk.content());
        // How long the second life is shows only by living it.
        let rehearsal = Disk::new(disk.content());
        live(&rehearsal, &second.0, second.1, usize::MAX, &mut Possible::new());
        let crash = at.index(rehearsal.writes() + 1);
        live(&disk, &second.0, second.1, crash, &mut possible);
        assert_recovers(&disk.crashed(crash, &kept), &possible);
    }

    #[test]
    fn an_orderly_end_is_intact(lives in prop::collection::vec(life(), 1..5)) {
        let disk = Disk::formatted();
        let last = lives.len() - 1;
        for (n, (actions, unmount)) in lives.iter().enumerate() {
            live(&disk, actions, *unmount || n == last, usize::MAX, &mut Possible::new());
        }
        let report = check(&disk).unwrap();
        prop_assert_eq!(report.verdict, Verdict::Intact, "{}", report);
        prop_assert_eq!(report.generation, lives.len() as u64);
    }
}

#[test]
fn many_mounts_and_crashed_mounts_stay_sound() {
    let mut disk = Disk::formatted();
    for generation in 1..100 {
        // Cut the mount itself off after its first write, then let it succeed.
        let attempt = Disk::new(disk.content());
        Volume::mount(attempt.partition()).unwrap();
        disk = attempt.crashed(1, &[]);
        let mut volume = Volume::mount(disk.partition()).unwrap();
        assert_eq!(volume.generation(), generation);
        volume.write_file("counter", &generation.to_le_bytes()).unwrap();
        volume.flush().unwrap();
        assert_eq!(check(&disk).unwrap().verdict, Verdict::Replayable);
    }
}
