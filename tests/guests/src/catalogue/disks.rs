//! Disks that are there, come, grow and go.

use protocol::{CACHED_FILE, Exercise, Fault, Line, Ready, Version, Word};
use rig::report::Line as Reported;
use volume::Verdict;

use crate::{
    check::{Check, Differences, Seen},
    scenario::{BASE, Backend, Expect, PV, PV_BOOT, Runs, Scenario, When},
};

/// A second disk comes and goes.
pub(super) const HOTPLUG: Scenario = Scenario {
    exercise: Some(Exercise::Hotplug),
    dom0: &[
        (When::Ready(Ready::Attach), "bash attach-1.sh"),
        // Before 4.15 xl has no such option, and uses force where the guest has not let go after 10 seconds.
        (When::Ready(Ready::Force), "xl block-detach --force $DOMID xvdb || xl block-detach $DOMID xvdb"),
    ],
    expect: Expect { pv: 2, ..PV },
    checks: &[CAME_AND_WENT],
    ..PV_BOOT
};

/// A second disk comes, and dom0 asks for it again.
const DETACH: Scenario = Scenario {
    exercise: Some(Exercise::Detach),
    late_disks: &[Backend::Blkback],
    dom0: &[
        (When::Ready(Ready::Attach), "bash attach-1.sh"),
        (When::Ready(Ready::Detach), "xl block-detach $DOMID xvdb"),
    ],
    expect: Expect { pv: 2, ..PV },
    checks: &[LEFT],
    ..PV_BOOT
};

/// The same while the guest uses it: the toolstack is told no, then takes it.
const DETACH_IN_USE: Scenario = Scenario {
    exercise: Some(Exercise::DetachInUse),
    dom0: &[
        (When::Ready(Ready::Attach), "bash attach-1.sh"),
        (
            When::Ready(Ready::Detach),
            "xl block-detach $DOMID xvdb && exit 1; \
             xenstore-read /local/domain/$DOMID/error/device/vbd/51728/error",
        ),
        (When::Ready(Ready::Force), "xl block-detach --force $DOMID xvdb"),
    ],
    checks: &[STAYED],
    ..DETACH
};

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "two-disks",
        title: "two disks, one through blkback and one through qdisk: Windows Server's SAN policy leaves both online",
        words: &[Word::Nt(Version::Nt100)],
        disks: &[Backend::Blkback, Backend::Qdisk],
        expect: Expect { pv: 2, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "hotplug-blkback",
        title: "a disk of blkback's is attached, used, and taken by `xl block-detach --force` with requests on their way",
        late_disks: &[Backend::Blkback],
        ..HOTPLUG
    },
    Scenario {
        name: "hotplug-qdisk",
        title: "the same with a disk of qemu's",
        late_disks: &[Backend::Qdisk],
        runs: Runs::InTurn,
        ..HOTPLUG
    },
    Scenario {
        name: "detach",
        title: "Windows 10: `xl block-detach` of a disk that nobody uses, with a file in the cache: NT is asked, and agrees",
        words: &[Word::Nt(Version::Nt100)],
        ..DETACH
    },
    Scenario {
        name: "detach-6.1",
        title: "the same on Windows 7, which tells a driver nothing of the outcome, with a disk of qemu's",
        words: &[Word::Nt(Version::Nt61)],
        late_disks: &[Backend::Qdisk],
        runs: Runs::InTurn,
        ..DETACH
    },
    Scenario {
        name: "detach-in-use",
        title: "Windows 10: `xl block-detach` of a disk that is in use is vetoed, the disk goes on, then it is taken by force",
        words: &[Word::Nt(Version::Nt100)],
        runs: Runs::InTurn,
        ..DETACH_IN_USE
    },
    Scenario {
        name: "detach-in-use-5.2",
        title: "the same on Server 2003, which tells a driver nothing of the outcome",
        words: &[Word::Nt(Version::Nt52)],
        runs: Runs::InTurn,
        ..DETACH_IN_USE
    },
    Scenario {
        name: "resize",
        title: "a disk grows while it is mounted: its backend's nodes change as blkback changes them",
        exercise: Some(Exercise::Resize),
        dom0: &[(
            When::Ready(Ready::Resize),
            "b=$(xenstore-read /local/domain/$DOMID/device/vbd/768/backend); \
             xenstore-write $b/sectors 32768 $b/state 4",
        )],
        checks: &[GREW],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "platform-lost",
        title: "the platform device goes without a word in an emulated boot",
        fault: Some(Fault::PlatformLost),
        checks: &[UNLOADED],
        runs: Runs::InTurn,
        ..BASE
    },
    Scenario {
        name: "many-disks",
        title: "64 vbds in one guest",
        blanks: 63,
        expect: Expect { pv: 64, ..PV },
        runs: Runs::ByName,
        ..PV_BOOT
    },
];

/// A disk came, was used, and went with requests in flight.
pub(super) const CAME_AND_WENT: Check = Check {
    what: "every request ended once, some of them failed by the removal; the volume is dismounted, nothing is left",
    run: came_and_went,
};

fn came_and_went(seen: &Seen<'_>, found: &mut Differences) {
    let number =
        |line: Option<&Reported>, key: &str| line.and_then(|line| line.number(key)).unwrap_or_default();
    let load = seen.lines(Line::Traffic).next();
    let (started, ok, failed) = (number(load, "started"), number(load, "ok"), number(load, "failed"));
    found.same("requests that ended", ok + failed, started);
    found.holds("requests failed by the removal", failed >= 1);
    found.holds("files written before it", number(load, "written") >= 1);
    found.same("dismount", seen.text(Line::Dismount), "disk=1 clean=0 lost=0".to_owned());
    found.same("removal", seen.text(Line::Gone), "disk=1 left=0".to_owned());
}

/// The disk left in order.
const LEFT: Check = Check {
    what: "PnP ejects the disk, the file is on its image, the volume is dismounted and clean, nothing is left",
    run: |seen, found| {
        found.same("ejection", seen.text(Line::Ejected), "status=0x0".to_owned());
        found.same("dismount", seen.text(Line::Dismount), "disk=1 clean=1 lost=0".to_owned());
        found.same("removal", seen.text(Line::Gone), "disk=1 left=0".to_owned());
        let image = seen.boot.images.get(1);
        found.same("image 1", image.map(|image| image.verdict), Some(Verdict::Intact));
        let (name, line) = CACHED_FILE;
        let size = image.and_then(|image| image.files.iter().find(|(file, _)| file == name));
        found.same("size of the cached file", size.map(|&(_, size)| size), Some(line.len() as u64));
    },
};

/// The removal was vetoed, and the disk went on; then it was taken.
const STAYED: Check = Check {
    what: "the ejection is vetoed, the toolstack fails and finds why in xenstore, the disk serves on until it is taken",
    run: |seen, found| {
        found.holds("an ejection that failed", seen.text(Line::Ejected).starts_with("status=0x"));
        found.same(
            "ejections that succeeded",
            seen.lines(Line::Ejected).filter(|l| l.text == "status=0x0").count(),
            0,
        );
        let load = seen.lines(Line::Traffic).next();
        let number = |key: &str| load.and_then(|line| line.number(key));
        found.holds("files written meanwhile", number("written") >= Some(1));
        found.same("mounted after that", number("there"), Some(1));
        let why = seen
            .boot
            .outcome
            .marks
            .iter()
            .find(|mark| mark.mark == 1)
            .map(|mark| mark.output.contains("16 "));
        found.same("the error in xenstore", why, Some(true));
        found.same("dismount", seen.text(Line::Dismount), "disk=1 clean=0 lost=0".to_owned());
        found.same("removal", seen.text(Line::Gone), "disk=1 left=0".to_owned());
    },
};

/// The first disk grew from 16384 to 32768 sectors.
const GREW: Check = Check {
    what: "the new capacity is told once by UNIT ATTENTION 2A/09 and then seen",
    run: |seen, found| {
        found.same("capacity before", seen.text(Line::Capacity), "sense=0x0 sectors=16384".to_owned());
        let after = "told=0x62a09 sense=0x0 sectors=32768";
        found.same("capacity after", seen.text(Line::Resized), after.to_owned());
    },
};

/// The platform device's driver went with it, and left nothing behind, or the verifier had stopped.
pub(super) const UNLOADED: Check = Check {
    what: "xenpci is removed and unloaded",
    run: |seen, found| {
        found.same("removal", seen.text(Line::Removed), "service=xenpci devices=1 loaded=0".to_owned());
    },
};
