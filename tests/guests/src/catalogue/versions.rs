//! The central boots on each version of NT, and the ways in which the versions differ.

use guard::Reason;
use protocol::{Fault, Version, Word};

use super::absence::{INACCESSIBLE_BOOT_DEVICE, NO_SERVICE, WITHOUT_FILTER};
use super::{demo, polled, suspend};
use crate::{
    checks::{load::IN_USE, upcalls::LINE},
    scenario::{BASE, Ending, Expect, PV, PV_BOOT, Runs, Scenario, Sequence, emulated},
};

/// NT 6.2 or later, with nothing of the suite installed by an earlier boot but what this machine's own boots
/// have left in its registry.
const WINDOWS_10: &[Word<'static>] = &[Word::Nt(Version::Nt100), Word::Devnodes];

const PV_10: Scenario = Scenario { name: "pv", words: WINDOWS_10, ..PV_BOOT };

const EMULATED_10: Scenario = Scenario { name: "emulated", words: WINDOWS_10, ..BASE };

/// Machines that are booted several times.
pub(super) const SEQUENCES: &[Sequence] = &[
    Sequence {
        name: "first-pv-boot",
        title: "a new Windows 10: the PV entry before Windows has seen the storage adapter, and then each entry; no \
                boot has the loader leave out the other's drivers",
        boots: &[
            Scenario { name: "too-early", expect: emulated(Reason::AdapterNotInstalled), ..PV_10 },
            PV_10,
            EMULATED_10,
        ],
        runs: Runs::Always,
    },
    Sequence {
        name: "many-boots",
        title: "Windows 10: each entry is booted several times in a row, and then the other one, with a crash between",
        boots: &[
            EMULATED_10,
            EMULATED_10,
            EMULATED_10,
            PV_10,
            PV_10,
            Scenario {
                name: "pv-crash",
                fault: Some(Fault::LateCrash),
                expect: Expect { ending: Ending::Crash(0xE2), ..PV },
                ..PV_10
            },
            EMULATED_10,
            PV_10,
        ],
        runs: Runs::ByName,
    },
];

/// The boot ends before a disk is reached.
const NO_BUS: Expect =
    Expect { ide: 0, ending: Ending::CrashEarly(INACCESSIBLE_BOOT_DEVICE), ..WITHOUT_FILTER };

const NT_52: &[Word<'static>] = &[Word::Nt(Version::Nt52)];
const NT_61: &[Word<'static>] = &[Word::Nt(Version::Nt61)];
const NT_63: &[Word<'static>] = &[Word::Nt(Version::Nt63)];
const NT_100: &[Word<'static>] = &[Word::Nt(Version::Nt100)];

/// Returns the scenario of a name in a list.
const fn alone(list: &[Scenario], name: &str) -> Scenario {
    let mut n = 0;
    while n < list.len() {
        if same(list[n].name.as_bytes(), name.as_bytes()) {
            return list[n];
        }
        n += 1;
    }
    panic!("no scenario has this name")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut n = 0;
    while n < a.len() && n < b.len() && a[n] == b[n] {
        n += 1;
    }
    n == a.len() && n == b.len()
}

/// A scenario on a version.
macro_rules! on {
    ($list:expr, $name:literal, $version:literal, $words:expr) => {
        Scenario {
            name: concat!($name, "-", $version),
            words: $words,
            runs: Runs::ByName,
            ..alone($list, $name)
        }
    };
}

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    on!(demo::BOOTS, "emulated", "5.2", NT_52),
    on!(demo::BOOTS, "emulated", "6.1", NT_61),
    on!(demo::BOOTS, "emulated", "6.3", NT_63),
    on!(demo::BOOTS, "emulated", "10.0", NT_100),
    on!(demo::BOOTS, "pv", "5.2", NT_52),
    on!(demo::BOOTS, "pv", "6.1", NT_61),
    on!(demo::BOOTS, "pv", "6.3", NT_63),
    on!(demo::BOOTS, "pv", "10.0", NT_100),
    on!(demo::BOOTS, "alias-returns", "5.2", NT_52),
    on!(demo::BOOTS, "alias-returns", "6.1", NT_61),
    on!(demo::BOOTS, "alias-returns", "6.3", NT_63),
    on!(demo::BOOTS, "alias-returns", "10.0", NT_100),
    on!(demo::BOOTS, "filter-detached", "5.2", NT_52),
    on!(demo::BOOTS, "filter-detached", "6.1", NT_61),
    on!(demo::BOOTS, "filter-detached", "6.3", NT_63),
    on!(demo::BOOTS, "filter-detached", "10.0", NT_100),
    Scenario {
        // NT before 6.0 has no interrupt messages.
        checks: &[IN_USE, LINE, suspend::RESUMED],
        ..on!(suspend::BOOTS, "save-restore", "5.2", NT_52)
    },
    on!(suspend::BOOTS, "save-restore", "6.3", NT_63),
    on!(suspend::BOOTS, "save-restore", "10.0", NT_100),
    on!(polled::BOOTS, "crash-dump", "5.2", NT_52),
    on!(polled::BOOTS, "crash-dump", "6.1", NT_61),
    on!(polled::BOOTS, "crash-dump", "6.3", NT_63),
    on!(polled::BOOTS, "crash-dump", "10.0", NT_100),
    Scenario {
        name: "idefilter-file-missing-10.0",
        title: "a filter's file that is missing is looked for again when idefallback has taken the filter out",
        without: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        words: NT_100,
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "idefilter-disabled-10.0",
        title: "a filter that is disabled is tried once, before System Reserved",
        registry: disabled!("idefilter"),
        expect: NO_BUS,
        words: NT_100,
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "idefilter-service-missing-10.0",
        title: "a filter whose service is missing is a problem that the device keeps",
        registry: NO_SERVICE,
        expect: NO_BUS,
        words: NT_100,
        runs: Runs::ByName,
        ..PV_BOOT
    },
];
