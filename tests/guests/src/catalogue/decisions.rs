//! Inputs of the decision: what makes a boot emulated although its entry asks for PV, and what does not.

use guard::Reason;
use protocol::{Fault, Version, Word};

use crate::scenario::{BASE, Backend, Ending, Expect, PV, PV_BOOT, Runs, Scenario, Sequence, When, emulated};

/// Puts the backend of hda into a state in which it cannot be connected.
const BACKEND_STUCK: &str = "xenstore-write /local/domain/0/backend/vbd/$DOMID/768/state 1";
/// Puts it back, some seconds after the guest's drivers began to look.
const BACKEND_BACK: &str = "sleep 5; xenstore-write /local/domain/0/backend/vbd/$DOMID/768/state 2";

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "options-unreadable",
        title: "the kernel's boot options cannot be read",
        words: &[Word::Unreadable("SystemStartOptions")],
        expect: emulated(Reason::OptionsUnreadable),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "xenvbd-disabled",
        title: "xenvbd is disabled",
        registry: disabled!("xenvbd"),
        expect: emulated(Reason::XenvbdDisabled),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "xenpci-disabled",
        title: "xenpci is disabled",
        registry: disabled!("xenpci"),
        expect: emulated(Reason::XenpciDisabled),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "adapter-disabled",
        title: "the PV storage adapter is disabled in Device Manager",
        registry: concat!(key!("Enum\\XENGUARD\\VBD\\0"), "\"ConfigFlags\"=dword:00000001\n"),
        expect: emulated(Reason::AdapterDisabled),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "platform-disabled",
        title: "the Xen platform device is disabled in Device Manager",
        registry: concat!(platform_device!("10"), "\"ConfigFlags\"=dword:00000001\n"),
        expect: emulated(Reason::PlatformDisabled),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "profile-disabled",
        title: "the Xen platform device is disabled in the current hardware profile, as devcon does",
        registry: concat!(
            platform_device!("10"),
            "\"ConfigFlags\"=dword:00000000\n",
            key!(
                "Hardware Profiles\\Current\\System\\CurrentControlSet\\Enum\\",
                "PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01\\4&45d1129a&0&10"
            ),
            "\"CSConfigFlags\"=dword:00000001\n"
        ),
        expect: emulated(Reason::PlatformDisabled),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "platform-moved",
        title: "the Xen platform device was disabled in the slot that it had before",
        registry: concat!(platform_device!("28"), "\"ConfigFlags\"=dword:00000001\n"),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "platform-not-installed",
        title: "Windows 10 has set up the storage adapter, and the Xen platform device in no slot",
        words: &[Word::Nt(Version::Nt100), Word::Devnodes],
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Enum\\XENGUARD\\VBD\\0]\n\
            \"Service\"=\"xenvbd\"\n",
        expect: emulated(Reason::PlatformNotInstalled),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "viridian",
        title: "Hyper-V's leaves come first: Xen is found at the next base",
        config: &["viridian = 1"],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "boot-disk-without-vbd",
        title: "hda is emulated only, hdb has a vbd",
        disks: &[Backend::None, Backend::Blkback],
        expect: Expect { ide: 2, ..emulated(Reason::BootDiskWithoutVbd) },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "block-size-differs",
        title: "hda's vbd has blocks of 4096 bytes, its emulated disk of 512",
        created: "xenstore-write /local/domain/0/backend/vbd/$DOMID/768/sector-size 4096",
        expect: emulated(Reason::BlockSizeDiffers),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "block-size-unreadable",
        title: "what the backend of hda's vbd says of its blocks is no number",
        created: "xenstore-write /local/domain/0/backend/vbd/$DOMID/768/sector-size none",
        expect: emulated(Reason::StoreUnreadable),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "store-unreadable",
        title: "a vbd's node in xenstore is not what it must be",
        created: "xenstore-write /local/domain/$DOMID/device/vbd/768/backend-id none",
        expect: emulated(Reason::StoreUnreadable),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "unplug-refused",
        title: "a platform device of another make: the machine has no unplug protocol",
        config: &[
            "xen_platform_pci = 0",
            "device_model_args_hvm = [ \"-device\", \"xen-pvdevice,vendor-id=0x5853,device-id=0x0001\" ]",
        ],
        expect: emulated(Reason::UnplugRefused),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "backend-late",
        title: "the backend becomes ready while the decision waits",
        created: BACKEND_STUCK,
        dom0: &[(When::Booted, BACKEND_BACK)],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "host-veto",
        title: "the host asks for an emulated boot: the PV entry boots emulated",
        created: "xenstore-write /local/domain/$DOMID/vm-data/xenguard/boot emulated",
        expect: emulated(Reason::HostVetoed),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "host-choice",
        title: "the host asks for PV, which leaves the choice to the entry: the emulated one boots emulated",
        created: "xenstore-write /local/domain/$DOMID/vm-data/xenguard/boot pv",
        runs: Runs::InTurn,
        ..BASE
    },
    Scenario {
        name: "no-vbd",
        title: "the only disk is emulated only",
        disks: &[Backend::None],
        expect: emulated(Reason::NoVbd),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "backend-stuck",
        title: "the backend does not become ready in time",
        created: BACKEND_STUCK,
        registry: concat!(key!("Services\\idefilter\\Parameters"), "\"BackendWait\"=dword:00000002\n"),
        expect: emulated(Reason::BackendMissing),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "other-suite",
        title: "the Xen Project's bus filter is installed and enabled",
        registry: concat!(key!("Services\\xenfilt"), "\"Start\"=dword:00000003\n\"Type\"=dword:00000001\n"),
        expect: emulated(Reason::OtherSuite),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "other-suites-xenvbd",
        title: "the service xenvbd is another vendor's: it lacks this suite's mark",
        registry: concat!(key!("Services\\xenvbd\\Parameters"), "\"XenguardInterface\"=-\n"),
        expect: emulated(Reason::OtherSuite),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "driver-version",
        title: "xenpci belongs to another version of the suite",
        registry: concat!(key!("Services\\xenpci\\Parameters"), "\"XenguardInterface\"=dword:00000001\n"),
        expect: emulated(Reason::DriverVersion),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "fast-startup",
        title: "fast startup is on",
        registry: concat!(key!("Control\\Session Manager\\Power"), "\"HiberbootEnabled\"=dword:00000001\n"),
        expect: emulated(Reason::FastStartup),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "fast-startup-unreadable",
        title: "the value that says whether fast startup is on is no number",
        registry: concat!(key!("Control\\Session Manager\\Power"), "\"HiberbootEnabled\"=\"1\"\n"),
        expect: emulated(Reason::ParametersUnreadable),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "hide-policy-unknown",
        title: "a hide policy that this version does not know",
        registry: hide_policy!("everything"),
        expect: emulated(Reason::HidePolicyUnknown),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "no-platform-device",
        title: "the machine has no Xen platform device",
        config: &["xen_platform_pci = 0"],
        expect: emulated(Reason::NoPlatformDevice),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "xenpci-among-filters",
        title: "another suite's xenpci was left among the filters of a class",
        // A REG_MULTI_SZ: xenpci, idefilter.
        registry: concat!(
            key!("Control\\Class\\{4D36E97B-E325-11CE-BFC1-08002BE10318}"),
            "\"UpperFilters\"=hex(7):78,00,65,00,6e,00,70,00,63,00,69,00,00,00,",
            "69,00,64,00,65,00,66,00,69,00,6c,00,74,00,65,00,72,00,00,00,00,00\n"
        ),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "class-unregistered",
        title: "nobody has registered a disk interface yet, and the kernel answers an error for that",
        words: &[Word::UnregisteredClass],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "nvme-unplug",
        title: "an emulated NVMe disk, whose unplug qemu does not survive: it is hidden",
        config: &["device_model_args_hvm = [ \"-drive\", \"if=none,id=n,driver=null-co,size=1M\", \
                   \"-device\", \"nvme,serial=1,drive=n\" ]"],
        expect: Expect { hidden: 2, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "firmware-closed",
        title: "the firmware has had both vbds, and left them closed",
        disks: &[Backend::Blkback, Backend::Qdisk],
        created: "for v in 768 832; do xenstore-write /local/domain/$DOMID/device/vbd/$v/state 5; sleep 2; \
                  xenstore-write /local/domain/$DOMID/device/vbd/$v/state 6; sleep 2; done",
        expect: Expect { pv: 2, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "stale-folder",
        title: "a vbd's folder that has no backend was left in xenstore",
        created: "d=/local/domain/$DOMID/device/vbd && xenstore-chmod $d n$DOMID r0 && \
                  xenstore-write $d/51744/state 6 $d/51744/virtual-device 51744",
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "boot-disk-hdb",
        title: "the only disk is hdb",
        first_place: 1,
        runs: Runs::InTurn,
        ..PV_BOOT
    },
];

/// A PV boot that crashes with the system up.
const CRASH: Scenario = Scenario {
    name: "pv-crash",
    fault: Some(Fault::LateCrash),
    expect: Expect { ending: Ending::Crash(0xE2), ..PV },
    ..PV_BOOT
};

/// Machines that are booted several times.
pub(super) const SEQUENCES: &[Sequence] = &[
    Sequence {
        name: "emulated-crash-pv",
        title: "one machine, booted emulated, crashed early, cut off, and crashed in a PV boot: registry and disks are carried over",
        boots: &[
            Scenario { name: "emulated", registry: no_unplug!(), ..BASE },
            Scenario {
                name: "early-crash",
                fault: Some(Fault::EarlyCrash),
                expect: Expect { ending: Ending::CrashEarly(0x7B), ..emulated(Reason::NotSelected) },
                ..BASE
            },
            Scenario {
                name: "power-cut",
                fault: Some(Fault::PowerCut),
                expect: Expect { ending: Ending::PowerCut, ..emulated(Reason::NotSelected) },
                ..BASE
            },
            Scenario {
                name: "pv",
                fault: Some(Fault::LateCrash),
                expect: Expect { ending: Ending::Crash(0xE2), ..PV },
                ..PV_BOOT
            },
        ],
        runs: Runs::InTurn,
    },
    // Two PV boots in a row crash: the third is emulated, comes up, and so lets the fourth be PV again. A
    // crash before the hives are open leaves no count.
    Sequence {
        name: "failed-boots",
        title: "two PV boots crash, the third is emulated, the fourth PV again",
        boots: &[
            Scenario {
                name: "pv-crash-early",
                fault: Some(Fault::EarlyCrash),
                registry: concat!(key!("Services\\idefilter\\Parameters"), "\"UpAfter\"=dword:00000001\n"),
                expect: Expect { ending: Ending::CrashEarly(0x7B), ..PV },
                ..PV_BOOT
            },
            CRASH,
            CRASH,
            Scenario { name: "emulated", expect: emulated(Reason::FailedBoots), ..PV_BOOT },
            Scenario { name: "pv", expect: PV, ..PV_BOOT },
        ],
        runs: Runs::ByName,
    },
    Sequence {
        name: "quick-restarts",
        title: "three PV boots in a row, each shut down in order at once",
        boots: &[QUICK, QUICK, QUICK],
        runs: Runs::ByName,
    },
];

/// A PV boot that is shut down in order, before the system has stayed up.
const QUICK: Scenario = Scenario { name: "pv", ..PV_BOOT };
