//! Boots that show each layer of the guard stop the disaster with the others out of the way. A layer is
//! switched off through the registry, or got around by what the executive does; the drivers are always the
//! shipped ones.

use guard::Reason;
use protocol::{Controller, Exercise, Fault, Ready, Word};

use crate::{
    check::Check,
    scenario::{BASE, Backend, Expect, PV, PV_BOOT, Raw, Runs, Scenario, When, emulated},
};

/// See `what`.
const NONE_REFUSED: Check = Check {
    what: "no event is refused, of a device that the guard does not follow either",
    run: |seen, found| {
        found.same("entries of refused events", seen.logged(Reason::EventRefused), 0);
        found.holds("starts that were refused", seen.said("idefilter: start of an emulated controller") > 32);
    },
};

/// Eight AHCI controllers in one place of the bus.
macro_rules! eight {
    ($place:literal) => {
        concat!(
            "\"-device\", \"ich9-ahci,multifunction=on,addr=",
            $place,
            ".0\", ",
            "\"-device\", \"ich9-ahci,addr=",
            $place,
            ".1\", ",
            "\"-device\", \"ich9-ahci,addr=",
            $place,
            ".2\", ",
            "\"-device\", \"ich9-ahci,addr=",
            $place,
            ".3\", ",
            "\"-device\", \"ich9-ahci,addr=",
            $place,
            ".4\", ",
            "\"-device\", \"ich9-ahci,addr=",
            $place,
            ".5\", ",
            "\"-device\", \"ich9-ahci,addr=",
            $place,
            ".6\", ",
            "\"-device\", \"ich9-ahci,addr=",
            $place,
            ".7\", "
        )
    };
}

/// LSI SCSI, NVMe and AHCI beside IDE.
const CONTROLLERS: &str = "device_model_args_hvm = [ \
    \"-drive\", \"if=none,id=null0,driver=null-co,size=1M\", \
    \"-device\", \"lsi53c895a,id=lsi0\", \"-device\", \"scsi-hd,bus=lsi0.0,drive=null0\", \
    \"-drive\", \"if=none,id=null1,driver=null-co,size=1M\", \
    \"-device\", \"nvme,serial=1,drive=null1\", \
    \"-device\", \"ich9-ahci\" ]";

/// 32 AHCI controllers beside IDE, eight in each place of the bus.
const MANY_CONTROLLERS: &str =
    concat!("device_model_args_hvm = [ ", eight!("10"), eight!("11"), eight!("12"), eight!("13"), "]");

/// Attaches a disk that cannot be read at first.
const READ_LATE: &str = "./dom0 hostile read-late $DOMID >hostile.txt 2>&1 &";

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "hide-alone",
        title: "hiding holds without unplug; the bus answers for its children late, on another thread at DISPATCH_LEVEL",
        words: &[Word::LateRelations],
        registry: no_unplug!(),
        checks: &[ANSWERED_LATE],
        ..PV_BOOT
    },
    Scenario {
        name: "proof-alone",
        title: "L5: no filter is on the bus or on the controller, and xenpci opens no services without a proof",
        registry: concat!(no_bus_filter!(), no_storage_filters!()),
        expect: Expect { withheld: Some(Reason::FilterNotAttached), ..emulated(Reason::PvSelected) },
        ..PV_BOOT
    },
    Scenario {
        name: "start-refused",
        title: "L4: the controller comes back past the bus filter, and may not start",
        registry: no_unplug!(),
        fault: Some(Fault::IdeReturn),
        expect: Expect { denied: 1, ..PV },
        ..PV_BOOT
    },
    Scenario {
        name: "refused-without-memory",
        title: "the same when idefilter gets no memory any more: a filter in reserve refuses",
        registry: no_unplug!(),
        words: &[Word::Fault(Fault::StarveIdefilter)],
        fault: Some(Fault::IdeReturn),
        // One of the reserve has gone with the device, and another cannot be had.
        expect: Expect { denied: 1, filters: 0, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "tripwire",
        title: "L7: no arrival is heard of; the driver that serves the disk is loaded, and a census sees it",
        registry: census_alone!(),
        words: &[Word::Fault(Fault::Unheard), Word::Late("pciide"), Word::Late("atapi")],
        fault: Some(Fault::IdeReturn),
        expect: Expect { ide: 1, stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "foreign-dead",
        title: "L6: a disk arrives that never answers a read, and then the controller comes back",
        registry: census_alone!(),
        words: &[Word::Fault(Fault::DeadDisk)],
        fault: Some(Fault::IdeReturn),
        expect: Expect { ide: 1, stop: Some((Reason::AliasExposed, 1, 3)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "alias-of-signed",
        title: "a blank PV disk gets a partition table, and then a second path to it arrives on a controller that nobody knows",
        raw: &[Raw::Plain],
        fault: Some(Fault::Signed),
        expect: Expect { pv: 2, stop: Some((Reason::AliasExposed, 2, 3)), ..PV },
        checks: &[NOT_USED],
        ..PV_BOOT
    },
    Scenario {
        name: "alias-behind-another",
        title: "the same; it answers after a second, and behind another disk that arrives with it",
        raw: &[Raw::Plain],
        fault: Some(Fault::SignedBehind),
        expect: Expect { pv: 2, stop: Some((Reason::AliasExposed, 2, 4)), ..PV },
        checks: &[NOT_USED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "alias-late",
        title: "the same; it answers after seven seconds, when nobody waits for it any more",
        raw: &[Raw::Plain],
        fault: Some(Fault::SignedLate),
        expect: Expect { pv: 2, stop: Some((Reason::AliasExposed, 2, 3)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "alias-of-blank",
        title: "a second path to a blank PV disk arrives on a controller that nobody knows, and then the disk gets a partition table",
        raw: &[Raw::Plain],
        fault: Some(Fault::SignedAfter),
        expect: Expect { pv: 2, stop: Some((Reason::AliasExposed, 2, 3)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "foreign-copied",
        title: "a disk arrives on a controller that nobody knows, and then it is copied onto a blank PV disk, which makes no second path",
        raw: &[Raw::Plain],
        fault: Some(Fault::Copied),
        expect: Expect { pv: 2, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "alias-read-late",
        title: "a PV disk that cannot be read is attached, a disk arrives on a controller that nobody knows, and then both have one signature",
        fault: Some(Fault::ReadLate),
        dom0: &[(When::Ready(Ready::Attach), READ_LATE)],
        visitors: 1,
        expect: Expect { pv: 2, stop: Some((Reason::AliasExposed, 2, 3)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "alias-odd",
        title: "a second path to the boot disk arrives on a controller that nobody knows: its first reads fail, and it has grown since",
        fault: Some(Fault::OddAlias),
        expect: Expect { stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        checks: &[NOT_USED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "alias-unread",
        title: "a second path to the boot disk arrives while every thread that reads disks waits for one that never answers",
        fault: Some(Fault::SilentUnits),
        expect: Expect { stop: Some((Reason::CensusFailed, 0, 0)), ..PV },
        checks: &[NOT_USED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "foreign-slow",
        title: "a PV disk is attached beside two disks on controllers that nobody knows, of which one answers after a second",
        fault: Some(Fault::SlowUnit),
        late_disks: &[Backend::Blkback],
        dom0: &[(When::Ready(Ready::Attach), "bash attach-1.sh")],
        expect: Expect { pv: 2, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "alias-on-usb",
        title: "a second path to the boot disk arrives on USB, as qemu emulates it",
        fault: Some(Fault::UsbAlias),
        expect: Expect { stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        checks: &[NOT_USED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "foreign-many",
        title: "40 disks without a signature arrive on controllers that nobody knows, and are read all at once",
        fault: Some(Fault::ManyForeign),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "alias-exchanged",
        title: "a disk on a controller that nobody knows goes, and a second path to the boot disk comes in its place",
        fault: Some(Fault::Exchanged),
        expect: Expect { stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        checks: &[NOT_USED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "disks-hidden",
        title: "policy disks without unplug: the controller stays, its disk is taken out, its CD-ROM is used",
        registry: concat!(no_unplug!(), hide_policy!("disks")),
        cdrom: true,
        // xenpci starts before the channels have been asked for their disks, and asks again afterwards.
        expect: Expect { withheld: Some(Reason::StorageNotFiltered), hidden: 0, cdroms: 1, filters: 4, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "second-root",
        title: "the IDE controller is on a root bus that comes after the platform device; that bus is removed again",
        registry: no_unplug!(),
        words: &[Word::SecondRoot],
        fault: Some(Fault::RootRemoved),
        expect: Expect { withheld: Some(Reason::NothingToHide), ..PV },
        checks: &[ROOT_REMOVED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "ahci",
        title: "the disk is behind AHCI; that controller and the empty IDE controller are hidden",
        registry: no_unplug!(),
        config: &["hdtype = \"ahci\""],
        expect: Expect { hidden: 2, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "refuse-alone",
        title: "policy none without unplug: refusing the start holds alone",
        registry: concat!(no_unplug!(), hide_policy!("none")),
        expect: Expect { hidden: 0, denied: 1, ..PV },
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "disks-unplugged",
        title: "policy disks after unplug: the CD-ROM is used",
        registry: hide_policy!("disks"),
        cdrom: true,
        // As above.
        expect: Expect { withheld: Some(Reason::StorageNotFiltered), hidden: 0, cdroms: 1, filters: 4, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "cdrom-emulated",
        title: "an emulated boot has its disk and its CD-ROM",
        cdrom: true,
        expect: Expect { cdroms: 1, ..emulated(Reason::NotSelected) },
        runs: Runs::ByName,
        ..BASE
    },
    Scenario {
        name: "controllers",
        title: "LSI SCSI and NVMe are hidden with IDE; an AHCI controller of another maker's subsystem stays",
        registry: no_unplug!(),
        words: &[Word::LookAlike],
        config: &[CONTROLLERS],
        expect: Expect { hidden: 3, ..PV },
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "controllers-refused",
        title: "policy none without unplug: IDE, AHCI, LSI SCSI and NVMe are there, and none of them may start",
        registry: concat!(no_unplug!(), hide_policy!("none")),
        config: &[CONTROLLERS],
        expect: Expect { hidden: 0, denied: 4, ..PV },
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "controller-disabled",
        title: "policy none without unplug: the IDE controller is disabled in Windows, so that nothing refuses its start",
        registry: concat!(
            no_unplug!(),
            hide_policy!("none"),
            key!("Enum\\PCI\\VEN_8086&DEV_7010&SUBSYS_11001AF4&REV_00\\4&45d1129a&0&09"),
            "\"ConfigFlags\"=dword:00000001\n"
        ),
        expect: Expect { ide: 0, withheld: Some(Reason::StartNotRefused), ..emulated(Reason::PvSelected) },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "controller-unreported",
        title: "the bus does not report the IDE controller, which stands in configuration space",
        registry: no_unplug!(),
        words: &[Word::Unreported],
        expect: Expect { ide: 0, withheld: Some(Reason::HiddenMismatch), ..emulated(Reason::PvSelected) },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "many-roots",
        title: "there are more PCI root buses than the guard can follow",
        registry: no_unplug!(),
        words: &[Word::EmptyRoots(8)],
        expect: Expect {
            ide: 0,
            hidden: 1,
            withheld: Some(Reason::TooManyBuses),
            ..emulated(Reason::PvSelected)
        },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "silent-root",
        title: "a second PCI root bus does not answer for its children",
        registry: no_unplug!(),
        words: &[Word::EmptyRoots(1), Word::SilentRoots],
        expect: Expect {
            ide: 0,
            hidden: 1,
            withheld: Some(Reason::RelationsNotFiltered),
            ..emulated(Reason::PvSelected)
        },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "root-without-memory",
        title: "idefilter gets no memory when a second PCI root bus is found",
        registry: no_unplug!(),
        words: &[Word::StarvedRoot],
        expect: Expect {
            ide: 0,
            hidden: 1,
            withheld: Some(Reason::FilterNotAttached),
            ..emulated(Reason::PvSelected)
        },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "root-nameless",
        title: "the ids of a second PCI root bus cannot be read, and its class can",
        registry: no_unplug!(),
        words: &[Word::NamelessRoot],
        expect: Expect {
            ide: 0,
            hidden: 1,
            withheld: Some(Reason::FilterNotAttached),
            ..emulated(Reason::PvSelected)
        },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "many-controllers",
        title: "policy none without unplug: there are more emulated controllers than the guard can follow",
        registry: concat!(no_unplug!(), hide_policy!("none")),
        config: &[MANY_CONTROLLERS],
        expect: Expect {
            ide: 0,
            denied: 33,
            withheld: Some(Reason::TooManyDevices),
            ..emulated(Reason::PvSelected)
        },
        checks: &[NONE_REFUSED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "legacy-ide",
        title: "sabotage: no unplug, no filter on storage: somebody reports the IDE controller beside the PCI bus; PV disks come late",
        registry: census_alone!(),
        words: &[Word::LegacyIde, Word::SecondRoot],
        // It is asked before the second bus is there, and has its first census when it is.
        expect: Expect { hidden: 1, withheld: Some(Reason::NothingToHide), ..emulated(Reason::PvSelected) },
        logged: &[Reason::AliasBeforeExposure],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "second-interface",
        title: "a filter of the PV disk's enables a second disk interface for it",
        fault: Some(Fault::SecondInterface),
        expect: Expect { stop: Some((Reason::UnknownOwnDisk, 1, 2)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "filter-without-memory",
        title: "idefilter gets no memory, its reserve is used up, and one controller more comes back",
        registry: no_unplug!(),
        words: &[
            Word::Fault(Fault::StarveIdefilter),
            Word::Fault(Fault::IdeReturn),
            Word::Fault(Fault::IdeReturn),
            Word::Fault(Fault::IdeReturn),
            Word::Fault(Fault::IdeReturn),
            // The last one is stopped on a thread that others overtake.
            Word::Fault(Fault::HeldUp),
        ],
        fault: Some(Fault::IdeReturn),
        expect: Expect { denied: 4, stop: Some((Reason::UnfilteredStart, 0, 1)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "own-disk-missing",
        title: "the second PV disk is disabled in Windows, and a disk that is missing is to stop the system",
        disks: &[Backend::Blkback, Backend::Blkback],
        registry: concat!(
            key!("Services\\idefilter\\Parameters"),
            "\"Strict\"=dword:00000001\n",
            key!("Enum\\SCSI\\Disk&Ven_XENGUARD&Prod_PVDISK&Rev_0001\\4&358a0566&0&000100"),
            "\"ConfigFlags\"=dword:00000001\n"
        ),
        // It waits until the system has settled.
        fault: Some(Fault::Unheard),
        expect: Expect { stop: Some((Reason::OwnDiskMissing, 2, 1)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "census-failed",
        title: "a disk arrives, and which disks there are cannot be listed any more",
        fault: Some(Fault::Unlisted),
        expect: Expect { stop: Some((Reason::CensusFailed, 0, 0)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "requery",
        title: "the bus is asked again for what is on it",
        registry: no_unplug!(),
        fault: Some(Fault::Requery),
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "requery-withheld",
        title: "the controller does not say what it is at first, and starts; asked again, the bus leaves it there",
        registry: no_unplug!(),
        words: &[Word::Unidentified(Controller::Ide)],
        fault: Some(Fault::Requery),
        expect: Expect { withheld: Some(Reason::AliasSlipped), ..emulated(Reason::PvSelected) },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "controller-plugged",
        title: "dom0 plugs a SCSI controller while PV disks are in use: it is hidden",
        fault: Some(Fault::Plugged),
        dom0: &[(When::Ready(Ready::Attach), PLUG)],
        expect: Expect { hidden: 2, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "controller-returned",
        title: "the same, and it does not say what it is while the filter hides: what is left is looked at again",
        words: &[Word::Unidentified(Controller::Scsi)],
        fault: Some(Fault::Plugged),
        dom0: &[(When::Ready(Ready::Attach), PLUG)],
        expect: Expect { stop: Some((Reason::ControllerReturned, 0, 1)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "no-read-config",
        title: "the bus does not answer READ_CONFIG for its children: their device ids tell the controller",
        registry: no_unplug!(),
        words: &[Word::NoReadConfig],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "usage",
        title: "a paging, a hibernation and a dump file keep the adapter and its bus from being stopped, removed, disabled",
        exercise: Some(Exercise::Usage),
        checks: &[HELD],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "disk-refused",
        title: "L4 on the disk alone: its controller has no filter, and it may not start",
        registry: concat!(
            no_unplug!(),
            key!("Control\\Class\\{4D36E96A-E325-11CE-BFC1-08002BE10318}"),
            "\"UpperFilters\"=-\n"
        ),
        fault: Some(Fault::IdeReturn),
        expect: Expect { denied: 1, ..PV },
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "store-late",
        title: "xenstore answers only after five seconds: the decision waits for it",
        words: &[Word::Pause(4000)],
        dom0: &[(
            When::Booted,
            "pid=$(cat /run/xen/xenstored.pid) && kill -STOP $pid && sleep 9 && kill -CONT $pid",
        )],
        runs: Runs::ByName,
        ..PV_BOOT
    },
];

/// Plugs a SCSI controller without disks.
const PLUG: &str = "xl qemu-monitor-command $DOMID 'device_add lsi53c895a,id=late'";

/// The bus answered as the word `late-relations` has it.
const ANSWERED_LATE: Check = Check {
    what: "the PCI bus answered for its children late",
    run: |seen, found| {
        found.holds("a late answer", seen.said("the PCI bus answered for its children late") > 0)
    },
};

/// The system was stopped while drivers heard of the second path.
const NOT_USED: Check = Check {
    what: "stopped before a second path could be used",
    run: |seen, found| {
        found.holds("stopped", seen.observed.bugcheck.is_some());
        found.holds("no second path in use", seen.said("a second path to a disk may be used") == 0);
    },
};

/// Each kind of file held the adapter and its bus; the exercise itself stops the guest where one does not.
const HELD: Check = Check {
    what: "held by each of three kinds of file, and free again",
    run: |seen, found| {
        let kinds: Vec<_> = seen.lines(protocol::Line::Usage).map(|line| line.text.clone()).collect();
        found.same("files that held", kinds, [1, 2, 3].map(|kind| format!("kind={kind} held=1")).to_vec());
    },
};

/// The second root bus was removed in order.
const ROOT_REMOVED: Check = Check {
    what: "the filter leaves with its bus",
    run: |seen, found| found.same("removal", seen.text(protocol::Line::Removed), "root=1".to_owned()),
};
