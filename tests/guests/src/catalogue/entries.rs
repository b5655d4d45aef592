//! Entries of boot.ini: who selects PV, and what takes it back.

use guard::Reason;

use crate::scenario::{BASE, Entry, Machine, PV, Runs, Scenario, emulated};

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "fat-pv",
        title: "boot.ini from a FAT volume that bootcfg edited: its second entry is PV",
        entry: Entry::Fat(2),
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "fat-emulated",
        title: "boot.ini from a FAT volume that bootcfg edited: its first entry is as it was",
        machine: Machine::Plain,
        entry: Entry::Fat(1),
        runs: Runs::InTurn,
        ..BASE
    },
    Scenario {
        name: "option-xgplpv",
        title: "a token that ends in GPLPV is not it",
        entry: Entry::Switches("/fastdetect /XGPLPV"),
        runs: Runs::InTurn,
        ..BASE
    },
    Scenario {
        name: "option-gplpvx",
        title: "a token that begins with GPLPV is not it",
        entry: Entry::Switches("/fastdetect /GPLPVX"),
        runs: Runs::InTurn,
        ..BASE
    },
    Scenario {
        name: "option-veto",
        title: "NOGPLPV wins over GPLPV",
        entry: Entry::Switches("/fastdetect /NOGPLPV /GPLPV"),
        expect: emulated(Reason::Vetoed),
        runs: Runs::InTurn,
        ..BASE
    },
    Scenario {
        name: "safe-mode",
        title: "safe mode boots from emulated disks",
        entry: Entry::Switches("/fastdetect /safeboot:minimal /GPLPV"),
        expect: emulated(Reason::SafeMode),
        runs: Runs::InTurn,
        ..BASE
    },
    Scenario {
        name: "no-xen",
        title: "the PV entry in plain qemu: the suite is inert",
        machine: Machine::Plain,
        entry: Entry::Pv,
        expect: emulated(Reason::NotXen),
        ..BASE
    },
];
