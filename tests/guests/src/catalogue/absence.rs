//! Boots without one of the drivers, its file gone or damaged, its service gone or disabled, from either
//! entry: the machine boots emulated, and the disk is mounted once.

use guard::Reason;

use crate::scenario::{BASE, Ending, Entry, Expect, PV, Scenario, Sequence, emulated};

/// The file of idefilter is gone, or damaged: neither xenpci nor xenvbd loads, which import from it.
const WITHOUT_FILTER: Expect = emulated(Reason::Unsealed);
/// Only its service is not there to be started: xenpci loads with the file, and asks a guard that has not
/// decided.
const FILTER_NOT_STARTED: Expect = Expect { withheld: Some(Reason::Unsealed), ..WITHOUT_FILTER };

const DISABLED: &str =
    "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\idefilter]\n\"Start\"=dword:00000004\n";
const NO_SERVICE: &str = "[-HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\idefilter]\n";

/// The rows of `cargo xtask test`.
pub const TESTED: [Scenario; 2] = [
    Scenario {
        name: "idefilter-file-missing",
        title: "idefilter.sys is gone and in the class filters: idefallback takes it out of them",
        entry: Entry::Pv,
        without: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        ..BASE
    },
    Scenario {
        name: "idefilter-disabled",
        title: "idefilter is disabled and in the class filters; its file comes with xenpci, which imports from it",
        entry: Entry::Pv,
        registry: DISABLED,
        expect: FILTER_NOT_STARTED,
        ..BASE
    },
];

/// Further rows: `cargo xtask scenario <name>`, and the matrix.
pub const MORE: [Scenario; 12] = [
    Scenario {
        name: "idefilter-corrupt",
        title: "idefilter.sys is damaged: the boot loader leaves it out",
        entry: Entry::Pv,
        damaged: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        ..BASE
    },
    Scenario {
        name: "idefilter-service-missing",
        title: "idefilter's service is gone, its file and its place in the class filters are not",
        entry: Entry::Pv,
        registry: NO_SERVICE,
        expect: FILTER_NOT_STARTED,
        ..BASE
    },
    Scenario {
        name: "idefilter-file-missing-emulated",
        title: "the same from the emulated entry: idefilter.sys is gone",
        without: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        ..BASE
    },
    Scenario {
        name: "idefilter-disabled-emulated",
        title: "the same from the emulated entry: idefilter is disabled",
        registry: DISABLED,
        expect: FILTER_NOT_STARTED,
        ..BASE
    },
    Scenario {
        name: "idefilter-corrupt-emulated",
        title: "the same from the emulated entry: idefilter.sys is damaged",
        damaged: &["idefilter.sys"],
        expect: WITHOUT_FILTER,
        ..BASE
    },
    Scenario {
        name: "idefilter-service-missing-emulated",
        title: "the same from the emulated entry: idefilter's service is gone",
        registry: NO_SERVICE,
        expect: FILTER_NOT_STARTED,
        ..BASE
    },
    Scenario {
        name: "idefallback-file-missing",
        title: "idefallback.sys is gone: nothing needs it as long as idefilter is there",
        entry: Entry::Pv,
        without: &["idefallback.sys"],
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "both-files-missing",
        title: "idefilter.sys and idefallback.sys are gone: NT does not start the PCI bus, and nothing is mounted",
        entry: Entry::Pv,
        without: &["idefilter.sys", "idefallback.sys"],
        expect: Expect { ide: 0, ending: Ending::CrashEarly(INACCESSIBLE_BOOT_DEVICE), ..WITHOUT_FILTER },
        ..BASE
    },
    Scenario {
        name: "xenpci-file-missing",
        title: "xenpci.sys is gone: the loader has not brought it, and the boot is emulated",
        entry: Entry::Pv,
        without: &["xenpci.sys"],
        expect: emulated(Reason::XenpciDisabled),
        ..BASE
    },
    Scenario {
        name: "xenpci-corrupt",
        title: "xenpci.sys is damaged",
        entry: Entry::Pv,
        damaged: &["xenpci.sys"],
        expect: emulated(Reason::XenpciDisabled),
        ..BASE
    },
    Scenario {
        name: "xenvbd-file-missing",
        title: "xenvbd.sys is gone: the loader has not brought it, and the boot is emulated",
        entry: Entry::Pv,
        without: &["xenvbd.sys"],
        expect: emulated(Reason::XenvbdDisabled),
        ..BASE
    },
    Scenario {
        name: "xenvbd-corrupt",
        title: "xenvbd.sys is damaged",
        entry: Entry::Pv,
        damaged: &["xenvbd.sys"],
        expect: emulated(Reason::XenvbdDisabled),
        ..BASE
    },
];

/// What idefallback wrote outlives the boot: a file that is put back is in no list.
pub const PUT_BACK: Sequence = Sequence {
    name: "idefilter-put-back",
    title: "idefilter.sys is gone for one boot and put back by hand: the PV entry says that the filter is in no list",
    boots: &[
        Scenario {
            name: "gone",
            entry: Entry::Pv,
            without: &["idefilter.sys"],
            expect: WITHOUT_FILTER,
            ..BASE
        },
        Scenario {
            name: "back",
            entry: Entry::Pv,
            expect: Expect { withheld: Some(Reason::FilterNotAttached), ..emulated(Reason::PvSelected) },
            ..BASE
        },
    ],
};

/// NT's stop code for a boot disk that is not there.
const INACCESSIBLE_BOOT_DEVICE: u32 = 0x7B;
