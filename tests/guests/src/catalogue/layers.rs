//! Boots that show each layer of the guard stop the disaster with the others out of the way. A layer is
//! switched off through the registry, or got around by what the executive does; the drivers are always the
//! shipped ones.

use guard::Reason;

use crate::scenario::{BASE, Entry, Expect, PV, Scenario, emulated};

/// A line of a .reg file that opens a key of the control set.
macro_rules! key {
    ($path:literal) => {
        concat!("[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\", $path, "]\n")
    };
}

/// L2 off: qemu is not asked to unplug anything.
macro_rules! no_unplug {
    () => {
        concat!(key!("Services\\idefilter\\Parameters"), "\"Unplug\"=dword:00000000\n")
    };
}

/// L4 off: no filter on IDE controllers, channels and disks.
macro_rules! no_storage_filters {
    () => {
        concat!(
            key!("Control\\Class\\{4D36E96A-E325-11CE-BFC1-08002BE10318}"),
            "\"UpperFilters\"=-\n",
            key!("Control\\Class\\{4D36E967-E325-11CE-BFC1-08002BE10318}"),
            "\"UpperFilters\"=-\n"
        )
    };
}

/// L3 off, and with it L2: no filter on root buses.
macro_rules! no_bus_filter {
    () => {
        concat!(key!("Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}"), "\"UpperFilters\"=-\n")
    };
}

/// What is hidden, and how.
macro_rules! hide_policy {
    ($policy:literal) => {
        concat!(key!("Services\\idefilter\\Parameters"), "\"HidePolicy\"=\"", $policy, "\"\n")
    };
}

/// L6 and L7 alone: only the census is left to stop the disaster.
pub const CENSUS_ALONE: &str = concat!(no_unplug!(), no_storage_filters!());
/// The same, with a crash dump configured.
pub const CENSUS_ALONE_AND_DUMP: &str = concat!(
    no_unplug!(),
    no_storage_filters!(),
    "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\CrashControl]\n\"CrashDumpEnabled\"=dword:00000001\n"
);

const BASE_PV: Scenario = Scenario { entry: Entry::Pv, expect: PV, ..BASE };

/// The rows of `cargo xtask test`.
pub const TESTED: [Scenario; 6] = [
    Scenario {
        name: "proof-alone",
        title: "L5: no filter is on the bus or on the controller, and xenpci enumerates nothing without a proof",
        registry: concat!(no_bus_filter!(), no_storage_filters!()),
        expect: Expect { withheld: Some(Reason::FilterNotAttached), ..emulated(Reason::PvSelected) },
        ..BASE_PV
    },
    Scenario {
        name: "start-refused",
        title: "L4: the controller comes back behind the filter of the bus, and may not start",
        registry: no_unplug!(),
        fault: Some("ide-return"),
        expect: Expect { denied: 1, ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "tripwire",
        title: "L7: no arrival is heard of; the driver that serves the disk is loaded, and a census sees it",
        registry: CENSUS_ALONE,
        words: "fault=unheard late=pciide late=atapi",
        fault: Some("ide-return"),
        expect: Expect { ide: 1, stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "disks-hidden",
        title: "policy disks without unplug: the controller stays, its disk is taken out, its CD-ROM is used",
        registry: concat!(no_unplug!(), hide_policy!("disks")),
        cdrom: true,
        expect: Expect { hidden: 0, cdroms: 1, filters: 4, ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "second-root",
        title: "the IDE controller is on a root bus that comes after the platform device; that bus is removed again",
        registry: no_unplug!(),
        words: "second-root",
        fault: Some("root-removed"),
        expect: Expect { withheld: Some(Reason::NothingToHide), ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "ahci",
        title: "the disk is behind AHCI; that controller and the empty IDE controller are hidden",
        registry: no_unplug!(),
        config: &["hdtype = \"ahci\""],
        expect: Expect { hidden: 2, ..PV },
        ..BASE_PV
    },
];

/// LSI SCSI, NVMe and AHCI beside IDE.
const CONTROLLERS: &str = "device_model_args_hvm = [ \
    \"-drive\", \"if=none,id=null0,driver=null-co,size=1M\", \
    \"-device\", \"lsi53c895a,id=lsi0\", \"-device\", \"scsi-hd,bus=lsi0.0,drive=null0\", \
    \"-drive\", \"if=none,id=null1,driver=null-co,size=1M\", \
    \"-device\", \"nvme,serial=1,drive=null1\", \
    \"-device\", \"ich9-ahci\" ]";

/// Further rows: `cargo xtask scenario <name>`, and the matrix.
pub const MORE: [Scenario; 8] = [
    Scenario {
        name: "refuse-alone",
        title: "policy none without unplug: refusing the start holds alone",
        registry: concat!(no_unplug!(), hide_policy!("none")),
        expect: Expect { hidden: 0, denied: 1, ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "disks-unplugged",
        title: "policy disks after unplug: the CD-ROM is used",
        registry: hide_policy!("disks"),
        cdrom: true,
        expect: Expect { hidden: 0, cdroms: 1, filters: 4, ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "cdrom-emulated",
        title: "an emulated boot has its disk and its CD-ROM",
        cdrom: true,
        expect: Expect { cdroms: 1, ..emulated(Reason::NotSelected) },
        ..BASE
    },
    Scenario {
        name: "controllers",
        title: "LSI SCSI and NVMe are hidden with IDE; an AHCI controller of another maker's subsystem stays",
        registry: no_unplug!(),
        words: "look-alike",
        config: &[CONTROLLERS],
        expect: Expect { hidden: 3, ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "controllers-refused",
        title: "policy none without unplug: IDE, AHCI, LSI SCSI and NVMe are there, and none of them may start",
        registry: concat!(no_unplug!(), hide_policy!("none")),
        config: &[CONTROLLERS],
        // The platform device comes before some of them.
        expect: Expect { hidden: 0, denied: 4, withheld: Some(Reason::StartNotRefused), ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "requery",
        title: "the bus is asked again for what is on it",
        registry: no_unplug!(),
        fault: Some("requery"),
        ..BASE_PV
    },
    Scenario {
        name: "disk-refused",
        title: "L4 on the disk alone: its controller has no filter, and it may not start",
        registry: concat!(
            no_unplug!(),
            key!("Control\\Class\\{4D36E96A-E325-11CE-BFC1-08002BE10318}"),
            "\"UpperFilters\"=-\n"
        ),
        fault: Some("ide-return"),
        expect: Expect { denied: 1, ..PV },
        ..BASE_PV
    },
    Scenario {
        name: "store-late",
        title: "xenstore answers only after five seconds: the decision waits for it",
        words: "pause=4000",
        dom0: &[(
            "@xg boot ",
            "pid=$(pidof xenstored || pidof oxenstored) && kill -STOP $pid && sleep 9 && kill -CONT $pid",
        )],
        ..BASE_PV
    },
];
