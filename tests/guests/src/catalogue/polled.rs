//! Crash dumps and hibernation: what the polled copy of the miniport writes; and S3.

use guard::Reason;
use protocol::{Exercise, Fault, Line, Ready, Version, Word};

use super::suspend::{RESUMED, connected_again};
use crate::{
    check::Check,
    checks::{
        left_behind::{TOLD, TOLD_ONCE},
        load::{IN_USE, IN_USE_TWICE},
        upcalls::{LINE, VECTORS},
    },
    dump::file::{MEMORY_WRITTEN, NO_ANSWER, REFUSED, WHOLE},
    scenario::{BASE, Ending, Expect, PV, PV_BOOT, Runs, Scenario, Sequence, When, emulated},
};

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "crash-dump",
        title: "a bugcheck with requests of two processors in flight: the copy of the miniport takes the disk over, \
                from a backend that is not trusted, and writes a dump",
        vcpus: 2,
        exercise: Some(Exercise::Crash),
        created: "xenstore-write /local/domain/$DOMID/device/vbd/768/trusted 0",
        registry: dump!(),
        expect: Expect { ending: Ending::Crash(0xE2), ..PV },
        checks: &[WHOLE],
        ..PV_BOOT
    },
    Scenario {
        name: "hibernate-restored",
        title: "memory is written to the disk at S4 and comes back in another domain",
        // Every page is copied twice.
        memory_mib: 64,
        vcpus: 2,
        words: &[Word::Nt(Version::Nt61)],
        exercise: Some(Exercise::HibernateElsewhere),
        dom0: &[(When::Ready(Ready::Hibernated), "bash save.sh")],
        checks: &[MEMORY_WRITTEN, IN_USE_TWICE, VECTORS, RESUMED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "crash-dump-dead",
        title: "a bugcheck after the disk's backend has gone: the copy gives up, and the system ends without a dump",
        exercise: Some(Exercise::CrashDead),
        dom0: &[(When::Ready(Ready::Outage), "echo vbd-$DOMID-768 >/sys/bus/xen-backend/drivers/vbd/unbind")],
        registry: dump!(),
        expect: Expect { ending: Ending::Crash(0xE2), ..PV },
        checks: &[NO_ANSWER],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "hibernate",
        title: "memory is written to the disk at S4, the machine stays on, and the system takes its disk back",
        words: &[Word::Nt(Version::Nt52)],
        exercise: Some(Exercise::Hibernate),
        checks: &[MEMORY_WRITTEN, IN_USE_TWICE, AWAKE],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "hibernate-kept",
        title: "sabotage: a backend does not let go of a page by which memory was written: the system stops",
        words: &[Word::Nt(Version::Nt61)],
        exercise: Some(Exercise::HibernateKept),
        expect: Expect { ending: Ending::Kept, ..PV },
        checks: &[MEMORY_WRITTEN, LET_GO_OF],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "hibernate-refused",
        title: "a copy of the miniport that is started while the disk is in use refuses, and the system goes on with it",
        words: &[Word::Nt(Version::Nt61)],
        exercise: Some(Exercise::HibernateUnprepared),
        checks: &[REFUSED, IN_USE],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "hibernate-unserved",
        title: "sabotage: xenpci has no thread that serves S4, and the system goes there all the same: the disk stays in \
                use, and nobody writes beside it",
        words: &[Word::Nt(Version::Nt61), Word::Fault(Fault::NoSecondThread)],
        exercise: Some(Exercise::HibernateUnserved),
        checks: &[REFUSED, IN_USE_TWICE, OBJECTED],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "hibernate-10.0",
        title: "Windows 10 is refused hibernation, whose file the copy could not read when it comes back",
        words: &[Word::Nt(Version::Nt100)],
        exercise: Some(Exercise::Hibernate),
        checks: &[REFUSED, IN_USE_TWICE, EVERY_MODE_REFUSED],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "sleep",
        title: "the machine goes to S3 with its disk in use and an event on its way, is woken, and goes on",
        words: &[Word::Nt(Version::Nt61)],
        exercise: Some(Exercise::Sleep),
        dom0: &[(When::Ready(Ready::Sleep), "bash sleep.sh")],
        checks: &[IN_USE, VECTORS, SLEPT],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "sleep-5.2",
        title: "the same as NT 5.2, where the events come by the line and each power request waits for the one before",
        words: &[Word::Nt(Version::Nt52)],
        exercise: Some(Exercise::Sleep),
        dom0: &[(When::Ready(Ready::Sleep), "bash sleep.sh")],
        checks: &[IN_USE, LINE, SLEPT],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "crash-dump-refused",
        title: "sabotage: in an emulated boot xenvbd is to write the dump: it does not touch the disk",
        fault: Some(Fault::LateCrash),
        words: &[Word::DumpDriver("xenvbd")],
        registry: dump!(),
        expect: Expect { ending: Ending::Crash(0xE2), ..emulated(Reason::NotSelected) },
        checks: &[REFUSED],
        runs: Runs::ByName,
        ..BASE
    },
    Scenario {
        name: "crash-dump-stop",
        title: "the guard's own stop leaves a dump with its records: the IDE controller comes back past the bus filter",
        registry: concat!(census_alone!(), dump!()),
        fault: Some(Fault::IdeReturn),
        expect: Expect { ide: 1, stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        checks: &[WHOLE],
        runs: Runs::ByName,
        ..PV_BOOT
    },
];

/// The machines that are booted several times.
pub(super) const SEQUENCES: &[Sequence] = &[Sequence {
    name: "stopped-told",
    title: "a boot that the guard stopped: the next one says so in the event log, and `xenguard status` offline; the one \
            after it says nothing",
    boots: &[
        Scenario {
            name: "stopped",
            registry: concat!(census_alone!(), dump!()),
            fault: Some(Fault::IdeReturn),
            expect: Expect { ide: 1, stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
            ..PV_BOOT
        },
        Scenario { name: "told", logged: &[Reason::LastBootStopped], checks: &[TOLD], ..BASE },
        Scenario { name: "told-once", checks: &[TOLD_ONCE], ..BASE },
    ],
    runs: Runs::InTurn,
}];

/// Every device was set to S3 and back, the disk was flushed and stopped before and started after, and no read ended
/// in between.
const SLEPT: Check = Check {
    what: "every device goes to D3 and comes back to D0; the disk is flushed and stopped before; no read ends meanwhile",
    run: |seen, found| {
        let states: Vec<_> = seen.lines(Line::Power).filter_map(|line| line.number("system")).collect();
        found.same("system power states", states, vec![4, 1, 6]);
        let steps: Vec<_> = seen
            .lines(Line::DiskPower)
            .map(|line| (line.number("state"), line.get("flush"), line.get("stop")))
            .collect();
        let down = (Some(3), Some("0x0"), Some("0x0"));
        found.same("the disk's steps", steps, vec![down, (Some(0), None, None), down]);
        let slept: Vec<_> = seen.lines(Line::Slept).filter_map(|line| line.number("meanwhile")).collect();
        found.same("reads in S3", slept, vec![0]);
    },
};

/// A device objected to S4.
const OBJECTED: Check = Check {
    what: "the platform device objects to S4",
    run: |seen, found| {
        let asked = seen.lines(Line::Power).filter(|line| line.number("query") == Some(5));
        let agreed: Vec<_> = asked.filter_map(|line| line.number("agreed")).collect();
        found.same("answers to the query for S4", agreed, vec![0]);
    },
};

/// The copy was started for every purpose that NT names from 6.2 on, and refused each.
const EVERY_MODE_REFUSED: Check = Check {
    what: "the copy is started to mark memory, to write and to read, and finds no adapter for any of them",
    run: |seen, found| {
        let begun: Vec<_> = seen
            .lines(Line::Dump)
            .filter_map(|line| Some((line.get("begun")?, line.text.ends_with("refused=find answer=0"))))
            .collect();
        found.same("starts", begun, vec![("mark-memory", true), ("resume", true)]);
    },
};

/// The guest hibernated and went on where it was, and a backend has not let go of the copy that wrote.
const LET_GO_OF: Check = Check {
    what: "the disk is taken back from the copy; one of its pages is granted still after 30 seconds",
    run: |seen, found| {
        found.same("awakenings", seen.said("xenpci: awake in the domain that fell asleep"), 1);
        connected_again(seen, found);
        found.same("pages that are kept", seen.said("a backend has 1 pages mapped"), 1);
    },
};

/// The guest hibernated and went on where it was: it has taken its disks back from the copy that wrote.
const AWAKE: Check = Check {
    what: "the disks are taken back from the copy that wrote, which was started twice; none of its pages is granted still",
    run: |seen, found| {
        found.same(
            "starts before",
            seen.lines(Line::Dump).filter(|line| line.get("begun").is_some()).count(),
            1,
        );
        let granted: Vec<_> = seen.lines(Line::Dump).filter_map(|line| line.number("granted")).collect();
        found.same("pages of the copy's that are granted", granted, vec![0]);
        found.same("awakenings", seen.said("xenpci: awake in the domain that fell asleep"), 1);
        connected_again(seen, found);
        found.same("resumes", seen.said("xenpci: resumed, "), 0);
    },
};
