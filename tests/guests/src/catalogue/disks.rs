//! Disks that are there, come, grow and go.

use protocol::{Exercise, Fault, Line, Ready, Version, Word};
use rig::report::Line as Reported;

use crate::{
    check::{Check, Differences, Seen},
    scenario::{BASE, Backend, Expect, PV, PV_BOOT, Runs, Scenario, When},
};

/// A second disk comes and goes.
pub(super) const HOTPLUG: Scenario = Scenario {
    exercise: Some(Exercise::Hotplug),
    dom0: &[
        (When::Ready(Ready::Attach), "bash attach-1.sh"),
        (When::Ready(Ready::Detach), "xl block-detach $DOMID xvdb"),
    ],
    expect: Expect { pv: 2, ..PV },
    checks: &[CAME_AND_WENT],
    ..PV_BOOT
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
        title: "a disk of blkback's is attached, used, and detached with requests on their way",
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
const CAME_AND_WENT: Check = Check {
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
    found.same("dismount", seen.text(Line::Dismount), "disk=1".to_owned());
    found.same("removal", seen.text(Line::Gone), "disk=1 left=0".to_owned());
}

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
const UNLOADED: Check = Check {
    what: "xenpci is removed and unloaded",
    run: |seen, found| {
        found.same("removal", seen.text(Line::Removed), "service=xenpci devices=1 loaded=0".to_owned());
    },
};
