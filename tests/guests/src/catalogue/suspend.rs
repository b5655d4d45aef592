//! Guests that are saved, restored and copied.

use guard::Reason;
use protocol::{Exercise, Line, Ready, Version, Word};

use crate::{
    check::{Check, Differences, Seen},
    checks::{
        load::{ALL_IN_USE, IN_USE, ended_well},
        upcalls::VECTORS,
    },
    scenario::{Backend, Expect, PV, PV_BOOT, Runs, Scenario, When},
};

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "save-restore",
        title: "a guest with two processors and their vectors is saved and restored with requests on their way",
        // Every page is copied twice.
        memory_mib: 64,
        vcpus: 2,
        words: &[Word::Nt(Version::Nt61)],
        exercise: Some(Exercise::Suspend),
        dom0: &[
            (When::Ready(Ready::Suspend), "bash save.sh"),
            // In the new domain, whose nodes say nothing of what the guest serves.
            (When::Resumed, "bash features.sh 1 1 1"),
        ],
        checks: &[IN_USE, VECTORS, RESUMED],
        ..PV_BOOT
    },
    Scenario {
        name: "save-restore-disks",
        title: "a guest with three disks, all in use, is saved and restored: one is connected again after the other",
        memory_mib: 64,
        vcpus: 2,
        disks: &[Backend::Blkback; 3],
        words: &[Word::Nt(Version::Nt61)],
        exercise: Some(Exercise::Suspend),
        dom0: &[(When::Ready(Ready::Suspend), SLOWLY)],
        expect: Expect { pv: 3, ..PV },
        checks: &[ALL_IN_USE, RESUMED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "saved-at-start",
        title: "a guest is to be saved while its disks are being connected: that waits until all are, and are shown",
        memory_mib: 64,
        disks: &[Backend::Blkback; 2],
        dom0: &[(When::Decided, AT_START)],
        expect: Expect { pv: 2, ..PV },
        checks: &[AFTER_THE_START, RESUMED],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "suspend-taken-back",
        title: "the toolstack gives a suspend up which a backend that is stopped delays: the guest is not suspended",
        disks: &[Backend::Blkback, Backend::Qdisk],
        words: &[Word::Outage { disk: 1, seconds: 14 }],
        exercise: Some(Exercise::Outage),
        dom0: &[(When::Ready(Ready::Outage), GIVEN_UP)],
        expect: Expect { pv: 2, ..PV },
        checks: &[TAKEN_BACK],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "suspend-refused",
        title: "a backend that is stopped has writes when the guest is to be suspended: it is not, and nothing is lost",
        disks: &[Backend::Blkback, Backend::Qdisk],
        words: &[Word::Outage { disk: 1, seconds: 45 }],
        exercise: Some(Exercise::Outage),
        dom0: &[(When::Ready(Ready::Outage), UNANSWERED)],
        expect: Expect { pv: 2, ..PV },
        logged: &[Reason::BackendStuck],
        checks: &[REFUSED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "moved-to-qdisk",
        title: "a guest of blkback's is saved with requests on their way, and restored before qdisk, which serves less",
        registry: persistent_grants!(),
        dom0: &[(When::Ready(Ready::Suspend), "bash save.sh qdisk")],
        checks: &[IN_USE, RESUMED, LESS],
        ..MOVED
    },
    Scenario {
        name: "moved-to-blkback",
        title: "a guest of qdisk's is saved with requests on their way, and restored before blkback, which serves more",
        registry: persistent_grants!(),
        disks: &[Backend::Qdisk],
        dom0: &[(When::Ready(Ready::Suspend), "bash save.sh phy")],
        checks: &[IN_USE, RESUMED, MORE],
        ..MOVED
    },
    Scenario {
        name: "clock-ahead",
        title: "a guest is saved under load, and the host's clock is three days on when it is restored: NT takes that over",
        dom0: &[(When::Ready(Ready::Suspend), "BETWEEN='date -s \"3 days\"' bash save.sh")],
        checks: &[IN_USE, RESUMED, AHEAD],
        ..ANOTHER_CLOCK
    },
    Scenario {
        name: "clock-back",
        title: "the same with a clock that is set back by two days",
        dom0: &[(When::Ready(Ready::Suspend), "BETWEEN='date -s \"2 days ago\"' bash save.sh")],
        checks: &[IN_USE, RESUMED, BACK],
        ..ANOTHER_CLOCK
    },
    Scenario {
        name: "copy",
        title: "a save that fails and a copy of the running guest: it goes on with its disks as they are",
        memory_mib: 64,
        vcpus: 2,
        exercise: Some(Exercise::Copy),
        dom0: &[(When::Ready(Ready::Copy), "bash copy.sh 32768")],
        checks: &[IN_USE, CANCELLED],
        runs: Runs::ByName,
        ..PV_BOOT
    },
];

/// Saves the guest and restores it while xenstored is stopped four fifths of the time: the handshakes with the backends take
/// seconds.
const SLOWLY: &str = "x=$(cat /run/xen/xenstored.pid); BETWEEN='(for n in $(seq 40); do kill -STOP $x; sleep 1; \
                      kill -CONT $x; sleep 0.25; done) >/dev/null 2>&1 &' && export x BETWEEN && bash save.sh";

/// Keeps the second disk's backend from being ready until the toolstack has asked for the suspend. The first is connected by
/// then, so that xenpci is there to be asked.
const AT_START: &str = "d=/local/domain/$DOMID; b=$(xenstore-read $d/device/vbd/832/backend)/state; \
                        xenstore-write $b 1; until [ \"$(xenstore-read $d/device/vbd/768/state)\" = 4 ]; \
                        do sleep 0.1; done; (until [ \"$(xenstore-read $d/control/shutdown)\" = suspend ]; \
                        do sleep 0.1; done; sleep 1; xenstore-write $b 2) >/dev/null 2>&1 & bash save.sh";

/// Asks for a suspend as libxl does, and takes that back before the drivers have given up waiting for the device model's
/// disk.
const GIVEN_UP: &str = "p=$(xenstore-read /local/domain/$DOMID/image/device-model-pid); \
                        n=/local/domain/$DOMID/control/shutdown; kill -STOP $p && xenstore-write $n suspend && sleep 2 && \
                        xenstore-write $n '' && sleep 7; kill -CONT $p";

/// Asks for a suspend that the guest refuses after half a minute, while qemu answers nothing.
const UNANSWERED: &str = "p=$(xenstore-read /local/domain/$DOMID/image/device-model-pid); \
                          n=/local/domain/$DOMID/control/shutdown; kill -STOP $p && xenstore-write $n suspend && sleep 40; \
                          xenstore-write $n ''; kill -CONT $p";

/// A guest that is saved, and restored before another backend.
const MOVED: Scenario =
    Scenario { memory_mib: 64, exercise: Some(Exercise::Suspend), runs: Runs::InTurn, ..PV_BOOT };

/// A guest that is restored at another time, and takes that over while its drivers resume.
const ANOTHER_CLOCK: Scenario =
    Scenario { memory_mib: 64, exercise: Some(Exercise::Clock), runs: Runs::InTurn, ..PV_BOOT };

/// See `what`.
const AHEAD: Check = Check {
    what: "the clock goes three days ahead, no request takes too long, and the activity log has both dates",
    run: |seen, found| clock_set(seen, found, 3, "2026-01-04T"),
};

/// See `what`.
const BACK: Check = Check {
    what: "the clock goes two days back, no request takes too long, and the activity log has both dates",
    run: |seen, found| clock_set(seen, found, -2, "2025-12-30T"),
};

/// Adds what differs where the clock was set by so many days at the resume: the step but for what the restore took, the
/// requests that were out of time, and the dates in the activity log. The system starts on 2026-01-01.
fn clock_set(seen: &Seen<'_>, found: &mut Differences, days: i64, date: &str) {
    /// Seconds of a day, and by how much the step may be longer: a save and a restore.
    const DAY: i64 = 86_400;
    const RESTORE: i64 = 300;
    let line = seen.lines(Line::Clock).next();
    let step: Option<i64> = line.and_then(|line| line.get("step")?.parse().ok());
    let expected = step.is_some_and(|step| (days * DAY - 5..days * DAY + RESTORE).contains(&step));
    found.holds(&format!("a clock set by {days} days: {step:?}"), expected);
    found.same("resets", seen.lines(Line::Reset).count(), 0);
    let lines = |date: &str| seen.boot.activity.lines().filter(|line| line.starts_with(date)).count();
    found.holds("lines of the activity log before it", lines("2026-01-01T") > 0);
    found.holds("lines of the activity log after it", lines(date) > 0);
    found.same(
        "lines of another date",
        seen.boot.activity.lines().count(),
        lines("2026-01-01T") + lines(date),
    );
}

/// See `what`.
const AFTER_THE_START: Check = Check {
    what: "suspended when every disk was shown",
    run: |seen, found| {
        let lines = || seen.report.debug("").enumerate();
        let at = |text: &str| lines().find(|(_, line)| line.contains(text)).map(|(at, _)| at);
        let (shown, resumed) = (at("xenvbd: census own=2"), at("xenpci: resumed, "));
        found.holds("a census before the suspend", shown.is_some() && shown < resumed);
    },
};

/// See `what`.
const TAKEN_BACK: Check = Check {
    what: "the request is found gone, every disk goes on, and every request ended well",
    run: |seen, found| {
        found.same(
            "requests taken back",
            seen.said("not suspended: the toolstack has taken its request back"),
            1,
        );
        found.same("disks go on", seen.said("xenvbd: 2 disks go on after a suspend that was cancelled"), 1);
        ended_well(seen, found);
    },
};

/// See `what`.
const REFUSED: Check = Check {
    what: "the suspend is refused, and every request ended well",
    run: |seen, found| {
        let refused = "not suspended: a disk does not let go of its requests";
        found.same("suspends that were refused", seen.said(refused), 1);
        ended_well(seen, found);
    },
};

/// The first disk is qdisk's in the end.
const LESS: Check =
    Check { what: "the disk is connected to qdisk", run: |seen, found| served_by(seen, found, "qdisk") };

/// The first disk is blkback's in the end.
const MORE: Check =
    Check { what: "the disk is connected to blkback", run: |seen, found| served_by(seen, found, "vbd") };

/// The domain of a guest that was restored once.
const RESTORED: u32 = 2;

/// Adds what differs where the first disk's backend is not of this kind in the end.
fn served_by(seen: &Seen<'_>, found: &mut Differences, kind: &str) {
    let vbds = seen.boot.outcome.store_end.as_ref().map(|store| store.vbds(RESTORED)).unwrap_or_default();
    let backend = vbds.into_iter().find(|vbd| vbd.device == 768).map(|vbd| vbd.backend);
    let expected = format!("/local/domain/0/backend/{kind}/{RESTORED}/768");
    found.same("the disk's backend", backend, Some(expected));
}

/// The guest was suspended once, and its disks were connected again before the census.
pub(super) const RESUMED: Check = Check {
    what: "resumed in another domain, the disks connected again, unplugged again and counted",
    run: |seen, found| {
        found.same("resumes", seen.said("xenpci: resumed, "), 1);
        found.same(
            "references that nobody has",
            seen.said("grant references are given back that nobody has"),
            0,
        );
        connected_again(seen, found);
        for line in seen.lines(Line::Resumed) {
            let censuses = line.number("censuses").unwrap_or_default();
            found.holds("a census at the resume", censuses >= 1);
        }
        found.same("unplugs", seen.said("idefilter: unplug=acknowledged"), 2);
    },
};

/// Adds what differs where every disk was connected again, once, and then counted.
pub(super) fn connected_again(seen: &Seen<'_>, found: &mut Differences) {
    let disks = seen.scenario.expect.pv;
    let again = format!("xenvbd: {disks} disks connected again after a suspend, census taken");
    found.same("disks connected again", seen.said(&again), 1);
}

/// The guest was to be suspended twice, and went on each time with the backends that it had.
const CANCELLED: Check = Check {
    what: "the suspend is cancelled twice, and the disk goes on with its backend",
    run: |seen, found| {
        found.same("cancelled suspends", seen.said("xenpci: the suspend was cancelled"), 2);
        let goes_on =
            format!("xenvbd: {} disks go on after a suspend that was cancelled", seen.scenario.expect.pv);
        found.same("disks go on", seen.said(&goes_on), 2);
        found.same("disks connected again", seen.said("connected again"), 0);
        found.same("resumes", seen.said("xenpci: resumed, "), 0);
    },
};
