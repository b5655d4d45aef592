//! Backends that go away and come back.

use guard::Reason;
use protocol::{Exercise, Ready, Version, Word};

use crate::{
    check::Check,
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
    BACKEND_STOPS,
    Scenario {
        name: "backend-stops-10.0",
        title: "the same on Windows 10, where the time-out is the miniport's own",
        words: &[Word::Outage { disk: 1, seconds: 45 }, Word::Nt(Version::Nt100)],
        ..BACKEND_STOPS
    },
];

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
    checks: &[REPORTED],
    runs: Runs::ByName,
    ..PV_BOOT
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

/// A backend did not answer, and nothing was lost.
const REPORTED: Check = Check {
    what: "a backend that is stuck is in the event log once, no reset, every request ended well",
    run: |seen, found| {
        ended_well(seen, found);
        found.same("reports of a backend that does not answer", seen.logged(Reason::BackendStuck), 1);
        found.same("resets", seen.said("resetting bus"), 0);
    },
};
