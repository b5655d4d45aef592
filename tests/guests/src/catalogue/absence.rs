//! Boots without one of the drivers, its file gone or damaged, its service gone or disabled, from either
//! entry: the machine boots emulated, and the disk is mounted once.

use guard::Reason;
use protocol::{Fault, OtherBuild, Version, Word};

use crate::scenario::{BASE, Ending, Expect, PV, PV_BOOT, Runs, Scenario, Sequence, emulated};

/// The file of idefilter is gone, or damaged: neither xenpci nor xenvbd loads, which import from it.
pub(super) const WITHOUT_FILTER: Expect = emulated(Reason::Unsealed);
/// Only its service is not there to be started: xenpci loads with the file, and asks a guard that has not
/// decided.
pub(super) const FILTER_NOT_STARTED: Expect = Expect { withheld: Some(Reason::Unsealed), ..WITHOUT_FILTER };

/// The service of idefilter is gone.
pub(super) const NO_SERVICE: &str = "[-HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\idefilter]\n";
/// NT's stop code for a boot disk that is not there.
pub(super) const INACCESSIBLE_BOOT_DEVICE: u32 = 0x7B;

/// From NT 6.2 on these end otherwise (`versions`).
const BEFORE_CORE: &[Word<'static>] = &[Word::Nt(Version::Nt61)];

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "idefilter-file-missing",
        title: "idefilter.sys is gone and in the class filters: idefallback takes it out of them",
        without: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        ..PV_BOOT
    },
    Scenario {
        name: "idefilter-disabled",
        title: "idefilter is disabled and in the class filters; its file comes with xenpci, which imports from it",
        registry: disabled!("idefilter"),
        words: BEFORE_CORE,
        expect: FILTER_NOT_STARTED,
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "idefilter-corrupt",
        title: "idefilter.sys is damaged: the boot loader leaves it out",
        damaged: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "idefilter-service-missing",
        title: "idefilter's service is gone, its file and its place in the class filters are not",
        registry: NO_SERVICE,
        words: BEFORE_CORE,
        expect: FILTER_NOT_STARTED,
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "idefilter-file-missing-emulated",
        title: "the same from the emulated entry: idefilter.sys is gone",
        without: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        runs: Runs::ByName,
        ..BASE
    },
    Scenario {
        name: "idefilter-disabled-emulated",
        title: "the same from the emulated entry: idefilter is disabled",
        registry: disabled!("idefilter"),
        words: BEFORE_CORE,
        expect: FILTER_NOT_STARTED,
        runs: Runs::ByName,
        ..BASE
    },
    Scenario {
        name: "idefilter-corrupt-emulated",
        title: "the same from the emulated entry: idefilter.sys is damaged",
        damaged: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        runs: Runs::ByName,
        ..BASE
    },
    Scenario {
        name: "idefilter-service-missing-emulated",
        title: "the same from the emulated entry: idefilter's service is gone",
        registry: NO_SERVICE,
        words: BEFORE_CORE,
        expect: FILTER_NOT_STARTED,
        runs: Runs::ByName,
        ..BASE
    },
    Scenario {
        name: "idefallback-file-missing",
        title: "idefallback.sys is gone: nothing needs it as long as idefilter is there",
        without: &["idefallback.sys"],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "both-files-missing",
        title: "idefilter.sys and idefallback.sys are gone: NT does not start the PCI bus, and nothing is mounted",
        without: &["idefilter.sys", "idefallback.sys"],
        expect: Expect { ide: 0, ending: Ending::CrashEarly(INACCESSIBLE_BOOT_DEVICE), ..WITHOUT_FILTER },
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "filter-stays",
        title: "idefilter.sys is gone, and the registry takes nothing that a driver writes: NT does not start the PCI bus",
        without: &["idefilter.sys"],
        words: &[Word::Fault(Fault::RegistryFull)],
        expect: Expect { ide: 0, ending: Ending::CrashEarly(INACCESSIBLE_BOOT_DEVICE), ..WITHOUT_FILTER },
        logged: &[Reason::FilterStays],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "other-build-version",
        title: "xenpci.sys is of a build with another version of the guard's interface",
        words: &[Word::OtherBuild(OtherBuild::Version)],
        expect: Expect {
            ide: 0,
            hidden: 1,
            withheld: Some(Reason::InterfaceVersion),
            ..emulated(Reason::PvSelected)
        },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "other-build-kind",
        title: "xenpci.sys is of a build that tells the guard what this one does not know",
        words: &[Word::OtherBuild(OtherBuild::Kind)],
        expect: Expect {
            ide: 0,
            hidden: 1,
            withheld: Some(Reason::EventRefused),
            ..emulated(Reason::PvSelected)
        },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "other-build-unasked",
        title: "xenpci.sys is of a build that has PV disks appear without asking",
        words: &[Word::OtherBuild(OtherBuild::Unasked)],
        expect: Expect { pv: 0, stop: Some((Reason::ExposedWithoutProof, 0, 0)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "xenpci-file-missing",
        title: "xenpci.sys is gone: the loader has not brought it, and the boot is emulated",
        without: &["xenpci.sys"],
        expect: emulated(Reason::XenpciDisabled),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "xenpci-corrupt",
        title: "xenpci.sys is damaged",
        damaged: &["xenpci.sys"],
        expect: emulated(Reason::XenpciDisabled),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "xenvbd-file-missing",
        title: "xenvbd.sys is gone: the loader has not brought it, and the boot is emulated",
        without: &["xenvbd.sys"],
        expect: emulated(Reason::XenvbdDisabled),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "xenvbd-corrupt",
        title: "xenvbd.sys is damaged",
        damaged: &["xenvbd.sys"],
        expect: emulated(Reason::XenvbdDisabled),
        runs: Runs::ByName,
        ..PV_BOOT
    },
];

/// Machines that are booted several times.
pub(super) const SEQUENCES: &[Sequence] = &[
    // What idefallback wrote outlives the boot: a file that is put back is in no list. From NT 6.2 on the boot
    // without the file has marked the service besides (StartOverride), and the loader leaves the driver out.
    Sequence {
        name: "idefilter-put-back",
        title: "idefilter.sys is gone for one boot and put back by hand: the PV entry says that the filter is in no list",
        boots: &[
            Scenario {
                name: "gone",
                without: &["idefilter.sys"],
                words: &[Word::Nt(Version::Nt52)],
                expect: WITHOUT_FILTER,
                ..PV_BOOT
            },
            Scenario {
                name: "back",
                words: &[Word::Nt(Version::Nt52)],
                expect: Expect { withheld: Some(Reason::FilterNotAttached), ..emulated(Reason::PvSelected) },
                ..PV_BOOT
            },
        ],
        runs: Runs::ByName,
    },
];
