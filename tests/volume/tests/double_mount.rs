//! Two mounts of one disk destroy it, and the check says so.

#[expect(dead_code, reason = "shared with the other tests; each uses a part")]
mod machine;

use machine::{Action, Disk, content, name};
use proptest::prelude::*;
use volume::block::Partition;
use volume::{Damage, Verdict, Volume, check};

/// Does `action`; an error is the volume noticing, which a second mount may well cause.
fn act(volume: &mut Volume<Partition<Disk>>, action: Action) {
    let _ = match action {
        Action::Write(file, seed, size) => volume.write_file(&name(file), &content(seed, size)),
        Action::Remove(file) => volume.remove_file(&name(file)),
        Action::Flush => volume.flush(),
        Action::Checkpoint => volume.checkpoint(),
    };
}

fn write() -> impl Strategy<Value = Action> {
    (0..6u8, any::<u8>(), 0..20_000u16).prop_map(|(file, seed, size)| Action::Write(file, seed, size))
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![4 => write(), 2 => Just(Action::Flush), 1 => Just(Action::Checkpoint)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn a_write_of_the_first_mount_after_the_second_destroys(
        before in prop::collection::vec(action(), 0..40),
        between in prop::collection::vec((any::<bool>(), action()), 0..40),
        decisive in write(),
        after in prop::collection::vec((any::<bool>(), action()), 0..40),
        ends in any::<[bool; 2]>(),
    ) {
        let disk = Disk::formatted();
        let mut first = Volume::mount(disk.partition()).unwrap();
        before.into_iter().for_each(|a| act(&mut first, a));
        let mut second = Volume::mount(disk.partition()).unwrap();
        for (which, a) in between.into_iter().chain([(true, decisive)]).chain(after) {
            act(if which { &mut first } else { &mut second }, a);
        }
        if ends[0] {
            let _ = first.unmount();
        }
        if ends[1] {
            let _ = second.unmount();
        }
        let report = check(&disk).unwrap();
        prop_assert_eq!(report.verdict, Verdict::Destroyed);
        // And nobody mounts it again, so the evidence stays.
        prop_assert!(Volume::mount(disk.partition()).is_err());
    }

    #[test]
    fn a_second_mount_after_the_first_is_gone_harms_nothing(
        before in prop::collection::vec(action(), 0..40),
        after in prop::collection::vec(action(), 0..40),
    ) {
        let disk = Disk::formatted();
        let mut first = Volume::mount(disk.partition()).unwrap();
        before.into_iter().for_each(|a| act(&mut first, a));
        drop(first);
        let mut second = Volume::mount(disk.partition()).unwrap();
        after.into_iter().for_each(|a| act(&mut second, a));
        let report = check(&disk).unwrap();
        prop_assert_eq!(report.verdict, Verdict::Replayable, "{}", report);
    }
}

/// The everyday case, without the bookkeeping: two mounts, a file each, and files are gone.
#[test]
fn data_is_lost_for_real() {
    let disk = Disk::formatted();
    let mut first = Volume::mount(disk.partition()).unwrap();
    first.write_file("kept.txt", &content(1, 9000)).unwrap();
    first.flush().unwrap();
    let mut second = Volume::mount(disk.partition()).unwrap();
    first.write_file("first.txt", &content(2, 9000)).unwrap();
    first.flush().unwrap();
    second.write_file("second.txt", &content(3, 9000)).unwrap();
    second.flush().unwrap();
    // Both took the same blocks for their own: the first cannot read what it flushed.
    assert!(matches!(first.read_file("first.txt"), Err(volume::Error::Corrupt(Damage::Data { .. }))));
    second.unmount().unwrap();
    // The first's metadata, cached from before the second's write, goes over the second's.
    first.unmount().unwrap();
    let report = check(&disk).unwrap();
    assert_eq!(report.verdict, Verdict::Destroyed);
    assert!(!report.files.iter().any(|(name, _)| name == "second.txt"), "the second's flushed file is gone");
    assert!(
        report.damage.iter().any(|d| matches!(d, Damage::Data { .. })),
        "the first's is garbage: {report}"
    );
}

/// A boot that stops before it mounts leaves the image as it was.
#[test]
fn reading_is_harmless() {
    let disk = Disk::formatted();
    check(&disk).unwrap();
    assert_eq!(disk.writes(), 0);
    assert_eq!(check(&disk).unwrap().verdict, Verdict::Intact);
}
