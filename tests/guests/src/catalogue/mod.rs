//! The guest tests: what is booted, what is broken, and what must be seen.
//!
//! A [`Scenario`] is one boot on fresh images. A [`Sequence`] is several boots in a row of one machine: each
//! is a `Scenario` (its entry, fault and expectation; its disks must be those of the first), the disks go
//! from one boot to the next as they are, and so does the registry, as far as NT would have written it by the
//! end of the boot before (`tests/nt/src/cm/hive.rs` says when that is: nothing of a boot that stops before
//! the session manager). A later boot's `registry` is a change made by hand between the two. `cargo xtask
//! scenario <sequence>` runs the whole list; each boot's console, images and module are in
//! `target/guests/<sequence>/<number>`.
//!
//! A new guest is one element of the list `BOOTS` or `SEQUENCES` in one of these files, with its checks
//! beside it; `cargo xtask guests` then writes it into the table of docs/testing.md.

#[macro_use]
mod registry;

mod absence;
mod backings;
pub(crate) mod cdrom;
mod decisions;
pub mod demo;
mod disks;
mod entries;
mod firmware;
mod kinds;
mod layers;
mod machines;
mod outage;
mod polled;
mod processors;
mod suspend;
mod toolstack;
mod versions;

use crate::scenario::{Scenario, Sequence};

/// The files of the catalogue: the subject of each, and its boots.
pub const SUBJECTS: &[(&str, &[Scenario])] = &[
    ("The main job", demo::BOOTS),
    ("Entries of boot.ini", entries::BOOTS),
    ("Started by the firmware from its own disk", firmware::BOOTS),
    ("Started by UEFI firmware that has used the vbd", firmware::UEFI_BOOTS),
    ("Layers, each alone", layers::BOOTS),
    ("Inputs of the decision", decisions::BOOTS),
    ("Files and services that are missing", absence::BOOTS),
    ("Disks that come, grow and go", disks::BOOTS),
    ("Two vbds and one backing", backings::BOOTS),
    ("Disks of every kind", kinds::BOOTS),
    ("The CD-ROM drive", cdrom::BOOTS),
    ("Several processors", processors::BOOTS),
    ("Machines of other kinds", machines::BOOTS),
    ("Backends that go and come back", outage::BOOTS),
    ("Save, restore and copy", suspend::BOOTS),
    ("The host: requests, state, the tool for dom0", toolstack::BOOTS),
    ("Crash dumps and hibernation", polled::BOOTS),
    ("Versions of NT", versions::BOOTS),
];

/// The machines that are booted several times, by file.
const SEQUENCES: &[&[Sequence]] =
    &[decisions::SEQUENCES, firmware::SEQUENCES, absence::SEQUENCES, polled::SEQUENCES, versions::SEQUENCES];

/// Returns every boot of one, those of the demo first.
pub fn boots() -> impl Iterator<Item = &'static Scenario> {
    SUBJECTS.iter().flat_map(|(_, boots)| *boots)
}

/// Returns every machine that is booted several times.
pub fn sequences() -> impl Iterator<Item = &'static Sequence> {
    SEQUENCES.iter().flat_map(|sequences| *sequences)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use guard::Reason;

    use super::*;
    use crate::layout::Layout;

    /// Reasons that no guest can reach: the cause, and a host test that reaches it (file, function).
    const UNREACHED: &[(Reason, &str, &str, &str)] = &[
        (
            Reason::XenUnusable,
            "takes a hypervisor that has Xen's signature alone: Xen gives a guest at least three leaves, and qemu \
             without KVM none",
            "guard/src/decision.rs",
            "each_objection_alone",
        ),
        (
            Reason::ControllersNotCounted,
            "idefilter counts before anybody below the bus can ask",
            "guard/src/machine/tests/mod.rs",
            "each_part_of_the_proof_is_needed",
        ),
        (
            Reason::UnplugUnknown,
            "idefilter carries an unplug out before it answers whoever caused it",
            "guard/src/machine/tests/policies.rs",
            "a_resume_unplugs_anew_and_counts",
        ),
        (
            Reason::SharedBeforeExposure,
            "xenvbd refuses the second vbd by the same comparison before a census lists it",
            "guard/src/machine/tests/mod.rs",
            "a_backing_twice_is_judged",
        ),
        (
            Reason::DiskReturned,
            "a child that does not say what it is counts as a disk, so that only one that takes it back slips",
            "guard/src/machine/tests/policies.rs",
            "a_disk_that_slips_past_its_channel",
        ),
    ];

    /// Returns the reasons that a boot must show.
    fn shown(boot: &Scenario) -> Vec<Reason> {
        let expect = &boot.expect;
        let mut shown = vec![expect.decision];
        shown.extend(expect.withheld);
        shown.extend(expect.stop.map(|(reason, ..)| reason));
        shown.extend((expect.denied > 0).then_some(Reason::StartRefused));
        let without_filter = expect.decision == Reason::Unsealed && expect.ending_early().is_none();
        shown.extend(without_filter.then_some(Reason::FilterTakenOut));
        // xenpci says it in every one in which it runs.
        let emulated = !matches!(expect.decision, Reason::PvSelected | Reason::Unsealed);
        shown.extend(emulated.then_some(Reason::EmulatedBoot));
        shown.extend(boot.logged);
        shown
    }

    /// Every reason is reached by a guest, or it is said why none can, and by which test it is reached then.
    #[test]
    fn every_reason_is_reached() {
        let sequences = sequences().flat_map(|sequence| sequence.boots);
        let shown: Vec<Reason> = boots().chain(sequences).flat_map(shown).collect();
        for reason in Reason::ALL {
            let listed = UNREACHED.iter().any(|(unreached, ..)| unreached == reason);
            assert_ne!(shown.contains(reason), listed, "{reason:?}: reached by a guest, and listed");
        }
        for (reason, cause, file, test) in UNREACHED {
            assert!(!cause.is_empty());
            let text = fs::read_to_string(Layout::here().root().join(file)).expect(file);
            let start = text.find(&format!("fn {test}(")).expect(test);
            let body = text[start..].split("\n}\n").next().unwrap_or_default();
            assert!(body.contains(&format!("Reason::{reason:?}")), "{test} does not reach {reason:?}");
        }
    }

    #[test]
    fn every_guest_has_its_name() {
        let mut names = BTreeSet::new();
        for name in boots().map(|boot| boot.name).chain(sequences().map(|sequence| sequence.name)) {
            assert!(names.insert(name), "{name} is there twice");
        }
    }

    /// An exercise, a fault or a word whose effect nothing looks at would test nothing.
    #[test]
    fn every_exercise_has_a_check() {
        for boot in boots() {
            let looked_at = !boot.checks.is_empty() || !boot.logged.is_empty();
            assert!(boot.exercise.is_none() || looked_at, "{}", boot.name);
        }
    }
}
