//! Boots that show a decision's inputs: what makes a boot emulated although its entry asks for PV, and what
//! does not.
//!
//! [`TESTED`] is part of `cargo xtask test`; the others are run by name.

use guard::Reason;

use crate::scenario::{BASE, Backend, Ending, Entry, Expect, PV, Scenario, Sequence, emulated};

/// What every boot here has in common.
const ASKED: Scenario = Scenario { entry: Entry::Pv, ..BASE };

/// Puts the backend of hda into a state in which it cannot be connected.
const BACKEND_STUCK: &str = "xenstore-write /local/domain/0/backend/vbd/$DOMID/768/state 1";
/// Puts it back, some seconds after the guest's drivers began to look.
const BACKEND_BACK: &str = "sleep 5; xenstore-write /local/domain/0/backend/vbd/$DOMID/768/state 2";

/// Boots of the test suite.
pub const TESTED: [Scenario; 3] = [
    Scenario {
        name: "viridian",
        title: "Hyper-V's leaves come first: Xen is found at the next base",
        config: &["viridian = 1"],
        expect: PV,
        ..ASKED
    },
    Scenario {
        name: "boot-disk-without-vbd",
        title: "hda is emulated only, hdb has a vbd",
        disks: &[Backend::None, Backend::Blkback],
        expect: Expect { ide: 2, ..emulated(Reason::BootDiskWithoutVbd) },
        ..ASKED
    },
    Scenario {
        name: "backend-late",
        title: "the backend becomes ready while the decision waits",
        created: BACKEND_STUCK,
        dom0: &[("@xg boot", BACKEND_BACK)],
        expect: PV,
        ..ASKED
    },
];

/// Further boots.
pub const MORE: [Scenario; 6] = [
    Scenario {
        name: "no-vbd",
        title: "the only disk is emulated only",
        disks: &[Backend::None],
        expect: emulated(Reason::NoVbd),
        ..ASKED
    },
    Scenario {
        name: "backend-stuck",
        title: "the backend does not become ready in time",
        created: BACKEND_STUCK,
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\idefilter\\Parameters]\n\
                   \"BackendWait\"=dword:00000002\n",
        expect: emulated(Reason::BackendMissing),
        ..ASKED
    },
    Scenario {
        name: "other-suite",
        title: "the Xen Project's bus filter is installed and enabled",
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenfilt]\n\
                   \"Start\"=dword:00000003\n\"Type\"=dword:00000001\n",
        expect: emulated(Reason::OtherSuite),
        ..ASKED
    },
    Scenario {
        name: "other-suites-xenvbd",
        title: "the service xenvbd is another vendor's: it lacks this suite's mark",
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenvbd\\Parameters]\n\
                   \"XenguardInterface\"=-\n",
        expect: emulated(Reason::OtherSuite),
        ..ASKED
    },
    Scenario {
        name: "driver-version",
        title: "xenpci belongs to another version of the suite",
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenpci\\Parameters]\n\
                   \"XenguardInterface\"=dword:00000001\n",
        expect: emulated(Reason::DriverVersion),
        ..ASKED
    },
    Scenario {
        name: "fast-startup",
        title: "fast startup is on",
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Power]\n\
                   \"HiberbootEnabled\"=dword:00000001\n",
        expect: emulated(Reason::FastStartup),
        ..ASKED
    },
];

/// A PV boot that crashes with the system up.
const CRASH: Scenario = Scenario {
    name: "pv-crash",
    fault: Some("late-crash"),
    expect: Expect { ending: Ending::Crash(0xE2), ..PV },
    ..ASKED
};

/// Two PV boots in a row crash: the third is emulated, comes up, and so lets the fourth be PV again. A crash
/// before the hives are open leaves no count.
pub const FAILED_BOOTS: Sequence = Sequence {
    name: "failed-boots",
    title: "two PV boots crash, the third is emulated, the fourth PV again",
    boots: &[
        Scenario {
            name: "pv-crash-early",
            fault: Some("early-crash"),
            registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\idefilter\\Parameters]\n\
                       \"UpAfter\"=dword:00000001\n",
            expect: Expect { ending: Ending::CrashEarly(0x7B), ..PV },
            ..ASKED
        },
        CRASH,
        CRASH,
        Scenario { name: "emulated", expect: emulated(Reason::FailedBoots), ..ASKED },
        Scenario { name: "pv", expect: PV, ..ASKED },
    ],
};
