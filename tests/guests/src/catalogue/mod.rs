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
mod cdrom;
mod decisions;
pub mod demo;
mod disks;
mod entries;
mod firmware;
mod kinds;
mod layers;
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
    use std::collections::BTreeSet;

    use super::*;

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
            assert!(boot.exercise.is_none() || !boot.checks.is_empty(), "{}", boot.name);
        }
    }
}
