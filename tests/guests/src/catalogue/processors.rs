//! Guests with two processors.

use protocol::{Exercise, Version, Word};

use crate::{
    checks::{
        load::IN_USE,
        upcalls::{LINE, VECTORS},
    },
    scenario::{Backend, Expect, PV, PV_BOOT, Runs, Scenario},
};

/// The line serves both processors.
const BY_LINE: Scenario =
    Scenario { vcpus: 2, exercise: Some(Exercise::Traffic), checks: &[IN_USE, LINE], ..PV_BOOT };

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "two-processors",
        title: "two processors use PV disks at once, each with an interrupt vector of its own",
        vcpus: 2,
        words: &[Word::Nt(Version::Nt61)],
        disks: &[Backend::Blkback, Backend::Qdisk],
        exercise: Some(Exercise::Traffic),
        expect: Expect { pv: 2, ..PV },
        checks: &[IN_USE, VECTORS],
        ..PV_BOOT
    },
    Scenario {
        name: "vectors-refused",
        title: "no interrupt message can be had: the line serves both processors",
        words: &[Word::Nt(Version::Nt61), Word::NoMessages],
        runs: Runs::ByName,
        ..BY_LINE
    },
    Scenario {
        name: "vectors-off",
        title: "vectors are switched off: the line serves both processors",
        words: &[Word::Nt(Version::Nt61)],
        registry: concat!(key!("Services\\xenpci\\Parameters"), "\"UpcallVectors\"=dword:00000000\n"),
        runs: Runs::ByName,
        ..BY_LINE
    },
];
