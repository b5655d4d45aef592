//! The guest tests: what is booted, what is broken, and what must be seen.
//!
//! A [`Scenario`] is one boot on fresh images. A [`Sequence`] is several boots in a row of one machine: each
//! is a `Scenario` (its entry, fault and expectation; its disks must be those of the first), the disks go
//! from one boot to the next as they are, and so does the registry, as far as NT would have written it by the
//! end of the boot before (`tests/nt/src/cm/hive.rs` says when that is: nothing of a boot that stops before
//! the session manager). A later boot's `registry` is a change made by hand between the two. `cargo xtask
//! scenario <sequence>` runs the whole list; each boot's console, images and module are in
//! `target/guests/<sequence>/<number>`.

mod absence;
mod decisions;
mod layers;

use guard::Reason;

use crate::{
    boot,
    exercises::Upcalls,
    scenario::{BASE, Backend, Ending, Entry, Expect, Machine, PV, Raw, Scenario, Sequence, emulated},
};

/// The demo's boots, in its order.
pub const DEMO: [Scenario; 4] = [
    Scenario { name: "emulated", title: "the emulated entry: the suite stays out of the way", ..BASE },
    Scenario {
        name: "pv",
        title: "the PV entry: IDE hidden, the disk is mounted once, through xenvbd",
        entry: Entry::Pv,
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "alias-returns",
        title: "sabotage: no unplug, no filter on storage, and the IDE controller comes back behind the bus filter",
        entry: Entry::Pv,
        registry: layers::CENSUS_ALONE,
        fault: Some("ide-return"),
        expect: Expect { ide: 1, stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        ..BASE
    },
    Scenario {
        name: "filter-detached",
        title: "sabotage: the filter is not on the PCI bus: the controller starts, and nothing PV is exposed",
        entry: Entry::Pv,
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}]\n\
                   \"UpperFilters\"=-\n",
        expect: Expect { withheld: Some(Reason::AliasStarted), ..emulated(Reason::PvSelected) },
        ..BASE
    },
];

/// The further boots of the test suite.
pub const MORE: [Scenario; 12] = [
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
        ..BASE
    },
    Scenario {
        name: "option-xgplpv",
        title: "a token that ends in GPLPV is not it",
        entry: Entry::Switches("/fastdetect /XGPLPV"),
        ..BASE
    },
    Scenario {
        name: "option-gplpvx",
        title: "a token that begins with GPLPV is not it",
        entry: Entry::Switches("/fastdetect /GPLPVX"),
        ..BASE
    },
    Scenario {
        name: "option-veto",
        title: "NOGPLPV wins over GPLPV",
        entry: Entry::Switches("/fastdetect /NOGPLPV /GPLPV"),
        expect: emulated(Reason::Vetoed),
        ..BASE
    },
    Scenario {
        name: "safe-mode",
        title: "safe mode boots from emulated disks",
        entry: Entry::Switches("/fastdetect /safeboot:minimal /GPLPV"),
        expect: emulated(Reason::SafeMode),
        ..BASE
    },
    Scenario {
        name: "two-disks",
        title: "two data disks, one through blkback and one through qdisk",
        entry: Entry::Pv,
        disks: &[Backend::Blkback, Backend::Qdisk],
        expect: Expect { pv: 2, ..PV },
        ..BASE
    },
    Scenario {
        name: "hide-alone",
        title: "hiding holds without unplug; the bus answers for its children late, on another thread at DISPATCH_LEVEL",
        entry: Entry::Pv,
        words: "late-relations",
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\idefilter\\Parameters]\n\
                   \"Unplug\"=dword:00000000\n",
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "xenvbd-disabled",
        title: "xenvbd is disabled",
        entry: Entry::Pv,
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenvbd]\n\"Start\"=dword:00000004\n",
        expect: emulated(Reason::XenvbdDisabled),
        ..BASE
    },
    Scenario {
        name: "xenpci-disabled",
        title: "xenpci is disabled",
        entry: Entry::Pv,
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenpci]\n\"Start\"=dword:00000004\n",
        expect: emulated(Reason::XenpciDisabled),
        ..BASE
    },
    Scenario {
        name: "platform-lost",
        title: "the platform device goes without a word in an emulated boot",
        fault: Some("platform-lost"),
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

/// `Unplug` as an earlier boot of the same machine could have left it.
const NO_UNPLUG: &str = "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\idefilter\\Parameters]\n\
                         \"Unplug\"=dword:00000000\n";

/// The machines that are booted several times.
pub const SEQUENCES: [Sequence; 1] = [Sequence {
    name: "emulated-crash-pv",
    title: "one machine, booted emulated, crashed early, cut off, and crashed in a PV boot: registry and disks are carried over",
    boots: &[
        Scenario { name: "emulated", registry: NO_UNPLUG, ..BASE },
        Scenario {
            name: "early-crash",
            fault: Some("early-crash"),
            expect: Expect { ending: Ending::CrashEarly(0x7B), ..emulated(Reason::NotSelected) },
            ..BASE
        },
        Scenario {
            name: "power-cut",
            fault: Some("power-cut"),
            expect: Expect { ending: Ending::PowerCut, ..emulated(Reason::NotSelected) },
            ..BASE
        },
        Scenario {
            name: "pv",
            entry: Entry::Pv,
            fault: Some("late-crash"),
            expect: Expect { ending: Ending::Crash(0xE2), ..PV },
            ..BASE
        },
    ],
}];
/// Disks and the whole guest come and go while the system runs.
pub const RUNNING: [Scenario; 8] = [
    Scenario {
        name: "hotplug-blkback",
        title: "a disk of blkback's is attached, used, and detached with requests on their way",
        late_disks: &[Backend::Blkback],
        ..HOTPLUG
    },
    Scenario {
        name: "hotplug-qdisk",
        title: "the same with a disk of qemu's",
        late_disks: &[Backend::Qdisk],
        ..HOTPLUG
    },
    Scenario {
        name: "two-processors",
        title: "two processors use PV disks at once, each with an interrupt vector of its own",
        vcpus: 2,
        words: "nt=6.1",
        upcalls: Some(Upcalls::Vectors),
        disks: &[Backend::Blkback, Backend::Qdisk],
        exercise: Some("traffic"),
        entry: Entry::Pv,
        expect: Expect { pv: 2, ..PV },
        ..BASE
    },
    Scenario {
        name: "resize",
        title: "a disk grows while it is mounted: its backend's nodes change as blkback changes them",
        exercise: Some("resize"),
        dom0: &[(
            "ready for=resize",
            "b=$(xenstore-read /local/domain/$DOMID/device/vbd/768/backend); \
             xenstore-write $b/sectors 32768 $b/state 4",
        )],
        entry: Entry::Pv,
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "cdrom-pv",
        title: "the emulated CD-ROM drive is hidden with its controller; its vbd is read, ejected and loaded",
        cdrom: true,
        exercise: Some("cdrom"),
        dom0: &[
            (
                "ready for=eject",
                "for i in $(seq 200); do \
                 [ \"$(xenstore-read /local/domain/$DOMID/device/vbd/5632/ejected)\" = 1 ] && \
                 exec xl cd-eject $DOMID hdc; sleep 0.1; done; exit 1",
            ),
            ("ready for=insert", "xl cd-insert $DOMID hdc /dev/guest-disk1"),
        ],
        entry: Entry::Pv,
        expect: Expect { pv_cdroms: 1, ..PV },
        ..BASE
    },
    DISKS_OF_KINDS,
    Scenario {
        name: "backend-returns",
        title: "with persistent grants: a disk's backend is restarted, and unbound and bound, with requests on their way",
        registry: PERSISTENT,
        words: "outage=0,14",
        exercise: Some("outage"),
        dom0: &[(
            "ready for=outage",
            "xenstore-write /local/domain/0/backend/vbd/$DOMID/768/state 5; sleep 3; \
             cd /sys/bus/xen-backend/drivers/vbd && echo vbd-$DOMID-768 >unbind && sleep 1 && \
             echo vbd-$DOMID-768 >bind",
        )],
        entry: Entry::Pv,
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "save-restore",
        title: "a guest with two processors and their vectors is saved and restored with requests on their way",
        // Every page is copied twice.
        memory_mib: 64,
        vcpus: 2,
        words: "nt=6.1",
        upcalls: Some(Upcalls::Vectors),
        exercise: Some("suspend"),
        dom0: &[("ready for=suspend", "bash save.sh")],
        entry: Entry::Pv,
        expect: PV,
        ..BASE
    },
];

/// A disk of every kind that a backend may have, in one guest.
const DISKS_OF_KINDS: Scenario = Scenario {
    name: "kinds",
    title: "disks of a backend that is not trusted, of 4 KiB blocks, that can give up blocks, and read-only",
    raw: &KINDS,
    exercise: Some("kinds"),
    // For this xl has no word.
    created: "xenstore-write /local/domain/$DOMID/device/vbd/51728/trusted 0",
    dom0: &[("ready for=look", boot::LOOK_AT_HOLE)],
    entry: Entry::Pv,
    expect: Expect { pv: 6, ..PV },
    ..BASE
};

/// Disks of every kind.
const KINDS: [Raw; 5] = [Raw::Untrusted, Raw::Blocks4096, Raw::Discard, Raw::ReadOnly, Raw::QdiskDiscard];

/// xenvbd copies data through pages that stay granted, where the backend offers that.
const PERSISTENT: &str = "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenvbd\\Parameters]\n\
                          \"PersistentGrants\"=dword:00000001\n";

/// By name only.
pub const MANY: [Scenario; 6] = [
    Scenario {
        name: "vectors-refused",
        title: "no interrupt message can be had: the line serves both processors",
        words: "nt=6.1 no-messages",
        ..BY_LINE
    },
    Scenario {
        name: "vectors-off",
        title: "vectors are switched off: the line serves both processors",
        words: "nt=6.1",
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenpci\\Parameters]\n\
                   \"UpcallVectors\"=dword:00000000\n",
        ..BY_LINE
    },
    Scenario {
        name: "copy",
        title: "a save that fails and a copy of the running guest: it goes on with its disks as they are",
        memory_mib: 64,
        vcpus: 2,
        exercise: Some("copy"),
        dom0: &[("ready for=copy", "bash copy.sh 32768")],
        entry: Entry::Pv,
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "many-disks",
        title: "64 vbds in one guest",
        blanks: 63,
        entry: Entry::Pv,
        expect: Expect { pv: 64, ..PV },
        ..BASE
    },
    Scenario {
        name: "kinds-persistent",
        title: "the same disks as in kinds, with persistent grants",
        registry: PERSISTENT,
        ..DISKS_OF_KINDS
    },
    Scenario {
        name: "backend-stops",
        title: "a backend answers nothing for 40 seconds: reported, and nothing is lost",
        disks: &[Backend::Blkback, Backend::Qdisk],
        // As many installations have it: less, and Storport resets the bus meanwhile.
        registry: "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\disk]\n\"TimeOutValue\"=dword:0000003c\n",
        words: "outage=1,45",
        exercise: Some("outage"),
        dom0: &[(
            "ready for=outage",
            "pid=$(xenstore-read /local/domain/$DOMID/image/device-model-pid) && \
             kill -STOP $pid && sleep 40 && kill -CONT $pid",
        )],
        entry: Entry::Pv,
        expect: Expect { pv: 2, ..PV },
        ..BASE
    },
];

const BY_LINE: Scenario = Scenario {
    vcpus: 2,
    upcalls: Some(Upcalls::Line),
    exercise: Some("traffic"),
    entry: Entry::Pv,
    expect: PV,
    ..BASE
};

/// A crash dump is configured.
const DUMP: &str = "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\CrashControl]\n\
                    \"CrashDumpEnabled\"=dword:00000001\n";

/// What the polled copy of the miniport writes.
pub const POLLED: [Scenario; 2] = [
    Scenario {
        name: "crash-dump",
        title: "a bugcheck with requests of two processors in flight: the copy of the miniport takes the disk over, \
                from a backend that is not trusted, and writes a dump",
        vcpus: 2,
        exercise: Some("crash"),
        created: "xenstore-write /local/domain/$DOMID/device/vbd/768/trusted 0",
        registry: DUMP,
        entry: Entry::Pv,
        expect: Expect { ending: Ending::Crash(0xE2), ..PV },
        ..BASE
    },
    Scenario {
        name: "hibernate-restored",
        title: "memory is written to the disk at S4 and comes back in another domain",
        // Every page is copied twice.
        memory_mib: 64,
        vcpus: 2,
        words: "nt=6.1",
        upcalls: Some(Upcalls::Vectors),
        exercise: Some("hibernate-elsewhere"),
        dom0: &[("ready for=hibernated", "bash save.sh")],
        entry: Entry::Pv,
        expect: PV,
        ..BASE
    },
];

/// By name only.
pub const POLLED_MORE: [Scenario; 5] = [
    Scenario {
        name: "crash-dump-dead",
        title: "a bugcheck after the disk's backend has gone: the copy gives up, and the system ends without a dump",
        exercise: Some("crash-dead"),
        dom0: &[("ready for=outage", "echo vbd-$DOMID-768 >/sys/bus/xen-backend/drivers/vbd/unbind")],
        registry: DUMP,
        entry: Entry::Pv,
        expect: Expect { ending: Ending::Crash(0xE2), ..PV },
        ..BASE
    },
    Scenario {
        name: "hibernate",
        title: "memory is written to the disk at S4, the machine stays on, and the system takes its disk back",
        exercise: Some("hibernate"),
        entry: Entry::Pv,
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "hibernate-refused",
        title: "a copy of the miniport that is started while the disk is in use refuses, and the system goes on with it",
        exercise: Some("hibernate-unprepared"),
        entry: Entry::Pv,
        expect: PV,
        ..BASE
    },
    Scenario {
        name: "crash-dump-refused",
        title: "sabotage: in an emulated boot xenvbd is to write the dump: it does not touch the disk",
        fault: Some("late-crash"),
        words: "dump-driver=xenvbd",
        registry: DUMP,
        expect: Expect { ending: Ending::Crash(0xE2), ..emulated(Reason::NotSelected) },
        ..BASE
    },
    Scenario {
        name: "crash-dump-stop",
        title: "the guard's own stop leaves a dump with its records: the IDE controller comes back behind the bus filter",
        entry: Entry::Pv,
        registry: layers::CENSUS_ALONE_AND_DUMP,
        fault: Some("ide-return"),
        expect: Expect { ide: 1, stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        ..BASE
    },
];

const HOTPLUG: Scenario = Scenario {
    entry: Entry::Pv,
    exercise: Some("hotplug"),
    dom0: &[("ready for=attach", "bash attach-1.sh"), ("ready for=detach", "xl block-detach $DOMID xvdb")],
    expect: Expect { pv: 2, ..PV },
    ..BASE
};

/// Every scenario, the demo's first.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    DEMO.iter()
        .chain(&MORE)
        .chain(&RUNNING)
        .chain(&POLLED)
        .chain(&layers::TESTED)
        .chain(&decisions::TESTED)
        .chain(&absence::TESTED)
}

/// Scenarios that are not part of `cargo xtask test`, and are run by name.
pub fn by_name_only() -> impl Iterator<Item = &'static Scenario> {
    layers::MORE.iter().chain(&decisions::MORE).chain(&POLLED_MORE).chain(&absence::MORE).chain(&MANY)
}

/// Sequences that are not part of `cargo xtask test`.
pub const SEQUENCES_BY_NAME: [Sequence; 2] = [decisions::FAILED_BOOTS, absence::PUT_BACK];
