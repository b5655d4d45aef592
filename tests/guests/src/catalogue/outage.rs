//! Backends that go away and come back.

use guard::Reason;
use protocol::{Exercise, Line, Ready, Version, Word};

use crate::{
    catalogue::disks::{CAME_AND_WENT, HOTPLUG},
    check::{Check, Differences, Seen},
    checks::load::ended_well,
    scenario::{Backend, Expect, PV, PV_BOOT, Runs, Scenario, When},
};

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "backend-returns",
        title: "with persistent grants: a disk's backend is restarted, and unbound and bound, with requests on their way",
        registry: persistent_grants!(),
        words: &[Word::Outage { disk: 0, seconds: 14 }],
        exercise: Some(Exercise::Outage),
        dom0: &[(
            When::Ready(Ready::Outage),
            "xenstore-write /local/domain/0/backend/vbd/$DOMID/768/state 5; sleep 3; \
             cd /sys/bus/xen-backend/drivers/vbd && echo vbd-$DOMID-768 >unbind && sleep 1 && \
             echo vbd-$DOMID-768 >bind",
        )],
        checks: &[RESTARTED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "backend-renumbered",
        title: "a disk's backend is unbound without closing, and bound under another number, with requests on their way",
        late_disks: &[Backend::Blkback],
        dom0: &[(When::Ready(Ready::Attach), "bash attach-1.sh"), (When::Ready(Ready::Force), RENUMBERED)],
        runs: Runs::InTurn,
        ..HOTPLUG
    },
    Scenario {
        name: "backend-broken",
        title: "somebody writes into a disk's ring what no backend may write, and the disk is detached",
        late_disks: &[Backend::Qdisk],
        dom0: &[(When::Ready(Ready::Attach), "bash attach-1.sh"), (When::Ready(Ready::Force), BROKEN)],
        logged: &[Reason::BackendBroken],
        runs: Runs::InTurn,
        ..HOTPLUG
    },
    BACKEND_STOPS,
    Scenario {
        name: "backend-stops-10.0",
        title: "the same on Windows 10, where the time-out is the miniport's own",
        words: &[Word::Outage { disk: 1, seconds: 45 }, Word::Nt(Version::Nt100)],
        ..BACKEND_STOPS
    },
    Scenario {
        name: "backend-stops-reset",
        title: "the same with NT's own time-out of 10 seconds: Storport resets unit, target and bus meanwhile",
        registry: TEN_SECONDS,
        checks: &[RESET],
        runs: Runs::InTurn,
        ..BACKEND_STOPS
    },
    Scenario {
        name: "hostile-rings",
        title: "a backend of our own in dom0 serves one disk after the other, and breaks each ring in another way",
        visitors: 13,
        dom0: &[(When::Ready(Ready::Attach), "./dom0 hostile rings $DOMID")],
        expect: Expect { pv: 14, ..PV },
        checks: &[UNHARMED, BROKEN_RINGS],
        ..HOSTILE
    },
    Scenario {
        name: "hostile-nodes",
        title: "the same backend writes into its nodes what none may write, and takes them away",
        visitors: 8,
        dom0: &[(When::Ready(Ready::Attach), "./dom0 hostile nodes $DOMID")],
        expect: Expect { pv: 9, ..PV },
        ..HOSTILE
    },
    Scenario {
        name: "hostile-pages",
        title: "the same backend has pages of requests mapped when its disk is taken by force, and lets go a second later",
        visitors: 2,
        dom0: &[(When::Ready(Ready::Attach), "./dom0 hostile pages $DOMID")],
        expect: Expect { pv: 3, ..PV },
        ..HOSTILE
    },
    Scenario {
        name: "hostile-times",
        title: "the guest is paused for longer than a backend may take; the same backend answers late, and goes behind its answers",
        visitors: 4,
        dom0: &[(When::Ready(Ready::Attach), "./dom0 hostile times $DOMID")],
        expect: Expect { pv: 5, ..PV },
        ..HOSTILE
    },
    Scenario {
        name: "backend-never-back",
        title: "with the same time-out: a backend stops, and dom0 takes its disk after 35 seconds",
        registry: TEN_SECONDS,
        words: &[Word::Nt(Version::Nt52)],
        late_disks: &[Backend::Qdisk],
        dom0: &[
            (When::Ready(Ready::Attach), "bash attach-1.sh"),
            // xl fails when it has taken the vbd away: the backend does not answer it either.
            (
                When::Ready(Ready::Force),
                "pid=$(xenstore-read /local/domain/$DOMID/image/device-model-pid) && kill -STOP $pid && \
                 sleep 35 || exit 1; xl block-detach --force $DOMID xvdb; kill -CONT $pid",
            ),
        ],
        checks: &[TAKEN],
        runs: Runs::InTurn,
        ..HOTPLUG
    },
];

/// NT's own time-out of a disk's requests.
const TEN_SECONDS: &str = "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\Disk]\n\
     \"TimeOutValue\"=dword:0000000a\n";

/// Moves the nodes of xvdb's backend to another number. blkback serves the rings that it finds, and asks nobody.
const RENUMBERED: &str = "f=/local/domain/$DOMID/device/vbd/51728; d=/local/domain/0/backend/vbd/$DOMID; \
     o=$d/51728; b=$d/151728; n=; for k in frontend frontend-id params physical-device mode online dev type; do \
     n=\"$n $b/$k $(xenstore-read $o/$k)\" || exit; done; xenstore-chmod $d n0 r$DOMID && \
     echo vbd-$DOMID-51728 >/sys/bus/xen-backend/drivers/vbd/unbind && xenstore-write $n $b/state 1 && \
     xenstore-write $f/backend $b && xenstore-rm $o";

/// Writes into xvdb's ring, which is mapped by its grant as by a second backend, and detaches the disk. The first backend is
/// stopped meanwhile: it would write the truth over the lie before the guest looks.
const BROKEN: &str = "f=/local/domain/$DOMID/device/vbd/51728; \
     r=$(xenstore-read $f/ring-ref0 || xenstore-read $f/ring-ref); \
     pid=$(xenstore-read /local/domain/$DOMID/image/device-model-pid) && kill -STOP $pid && sleep 1; \
     ./dom0 spoil-ring $DOMID $r; s=$?; kill -CONT $pid; xl block-detach --force $DOMID xvdb; exit $s";

/// A backend that is stopped for longer than NT's own time-out.
const BACKEND_STOPS: Scenario = Scenario {
    name: "backend-stops",
    title: "Server 2003: a backend answers nothing for 40 seconds: reported, and nothing is lost",
    disks: &[Backend::Blkback, Backend::Qdisk],
    // By the time-out of the INF file: with NT's own Storport resets the bus meanwhile.
    words: &[Word::Outage { disk: 1, seconds: 45 }, Word::Nt(Version::Nt52)],
    exercise: Some(Exercise::Outage),
    dom0: &[(
        When::Ready(Ready::Outage),
        "pid=$(xenstore-read /local/domain/$DOMID/image/device-model-pid) && \
         kill -STOP $pid && sleep 40 && kill -CONT $pid",
    )],
    expect: Expect { pv: 2, ..PV },
    logged: &[Reason::BackendStuck],
    checks: &[REPORTED],
    runs: Runs::ByName,
    ..PV_BOOT
};

/// Disks of a hostile backend come and go beside the first one.
const HOSTILE: Scenario =
    Scenario { exercise: Some(Exercise::Hostile), checks: &[UNHARMED], runs: Runs::InTurn, ..PV_BOOT };

/// The first disk did not suffer from the others, and each of those was read from until it went.
const UNHARMED: Check = Check {
    what: "every read of the first disk ends well; each disk of the hostile backend is read from; every read ends",
    run: |seen, found| {
        let load: Vec<_> = seen.lines(Line::Traffic).collect();
        found.same("disks that were read from", load.len(), seen.scenario.visitors + 1);
        for line in load {
            let number = |key: &str| line.number(key).unwrap_or_default();
            let (disk, started, ok, failed) =
                (number("disk"), number("started"), number("ok"), number("failed"));
            found.same(&format!("reads of disk {disk} that ended"), ok + failed, started);
            found.holds(&format!("reads of disk {disk}"), ok >= 32);
            if disk == 0 {
                found.same("failed reads of the first disk", failed, 0);
            }
        }
    },
};

/// Each ring that lies was noticed.
const BROKEN_RINGS: Check = Check {
    what: "the event log names each disk whose ring lies",
    run: |seen, found| {
        // All but those that are overwritten, stormy, deaf, and well.
        let lies = seen.scenario.visitors - 4;
        found.same("entries of BackendBroken in the event log", seen.logged(Reason::BackendBroken), lies);
    },
};

/// The backend was restarted once, and is connected with persistent grants.
const RESTARTED: Check = Check {
    what: "connected again with persistent grants, every request ended well",
    run: |seen, found| {
        ended_well(seen, found);
        found.same("restarts of the backend", seen.said("xenvbd: disk 768: its backend is restarted"), 1);
        found.holds("connections with persistent grants", seen.said(" persistent grants") >= 1);
    },
};

/// A backend did not answer, Storport reset what it could, and nothing was lost.
const RESET: Check = Check {
    what: "no reset is said to be done while the backend has requests, every request ended well",
    run: |seen, found| {
        ended_well(seen, found);
        resets(seen, found);
    },
};

/// A backend never answered again, and its disk was taken.
const TAKEN: Check = Check {
    what: "no reset is said to be done while the backend has requests; every request ends with the disk",
    run: |seen, found| {
        (CAME_AND_WENT.run)(seen, found);
        resets(seen, found);
    },
};

/// Adds what differs where Storport reset unit, target and bus, and nothing was done.
fn resets(seen: &Seen<'_>, found: &mut Differences) {
    for reach in ["unit", "target", "bus"] {
        let of = |done: &str| {
            let text = format!("reach={reach} done={done}");
            seen.lines(Line::Reset).filter(|line| line.text == text).count()
        };
        found.holds(&format!("a reset of the {reach} that fails"), of("0") >= 1);
    }
}

/// A backend did not answer, and nothing was lost.
const REPORTED: Check = Check {
    what: "no reset, every request ended well",
    run: |seen, found| {
        ended_well(seen, found);
        found.same("reports of a backend that does not answer", seen.logged(Reason::BackendStuck), 1);
        found.same("resets", seen.lines(Line::Reset).count(), 0);

        found.same("resets", seen.said("resetting bus"), 0);
    },
};
