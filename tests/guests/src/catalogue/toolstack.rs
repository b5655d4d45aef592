//! Guests that their host steers: the toolstack's requests by the real `xl`, the guard's state in xenstore, the tool for
//! admins of dom0, and the channel to programs.

use guard::Reason;
use protocol::{Exercise, Fault, Line, Ready, Word};

use super::{disks::UNLOADED, machines::FEW_NODES_LEFT};
use crate::{
    check::{Check, Differences, Seen},
    checks::activity::{HELD_UP, OVERFLOWN},
    dump::secondary::SHOW_LOG,
    scenario::{BASE, Backend, Ending, Expect, PV, PV_BOOT, Runs, Scenario, When, emulated},
};

/// Asks at the moment that the guest is ready.
const REQUEST: When = When::Ready(Ready::Request);

/// The adapter is withheld when xenpci has started: no filter is on the bus or on the controller, and xenpci serves
/// xenstore all the same.
const WITHHELD: Scenario = Scenario {
    registry: concat!(no_bus_filter!(), no_storage_filters!()),
    expect: Expect { withheld: Some(Reason::FilterNotAttached), ..emulated(Reason::PvSelected) },
    ..PV_BOOT
};

/// Asks for a reboot behind what is given first, and ends the guest by ACPI's power button when it is acknowledged.
macro_rules! followed_reboot {
    ($first:literal) => {
        concat!(
            $first,
            "xl reboot $DOMID && f=/local/domain/$DOMID/control/shutdown; \
             for n in $(seq 50); do [ \"$(xenstore-read $f)\" = '' ] && break; sleep 0.2; done; \
             [ \"$(xenstore-read $f)\" = '' ] && xl trigger $DOMID power"
        )
    };
}

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "xl-shutdown",
        title: "`xl shutdown -w` of a PV boot, which fails where nobody acknowledges",
        exercise: Some(Exercise::Asked),
        dom0: &[(
            REQUEST,
            "touch waiting; bash features.sh 1 1 1 && xl shutdown -w $DOMID; s=$?; rm waiting; exit $s",
        )],
        checks: &[ASKED],
        ..PV_BOOT
    },
    Scenario {
        name: "failed-boots-from-dom0",
        title: "before the guest runs, another's boots die before its hives are open, twice: xenguard-dom0 has the third emulated",
        late_disks: &[Backend::Blkback],
        neighbour_mounts: 3,
        created: "expect() { grep -q \"$1\" $2 || { echo \"$1 is not in:\"; cat $2; exit 1; }; }; \
                  ./xenguard-dom0 watch --emulate-after 2 >events & watch=$!; \
                  for n in 1 2; do bash neighbour.sh second 1 fault=early-crash && xl destroy second || exit; done; \
                  for n in $(seq 50); do [ $(grep -c ' second: gone' events) = 2 ] && break; sleep 0.2; done; \
                  bash neighbour.sh second 1 || exit; \
                  expect ' second: its boot is emulated, since 2 boots in a row' events; \
                  xenstore-read /local/domain/$(xl domid second)/data/xenguard/last >last; \
                  expect '^end=in-order mode=emulated reason=0x28 ' last; \
                  kill $watch; xl destroy second",
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "xl-reboot-withheld",
        title: "`xl reboot` where the adapter is withheld: NT powers off, and Xen tells the toolstack of a reboot",
        exercise: Some(Exercise::Asked),
        dom0: &[(REQUEST, "bash features.sh 1 1 1 && xl reboot $DOMID")],
        expect: Expect { ending: Ending::Reboot, ..WITHHELD.expect },
        checks: &[ASKED],
        runs: Runs::InTurn,
        ..WITHHELD
    },
    Scenario {
        name: "reader",
        title: "programs read version, status, record, events and lines; some die with a request under way, and one comes \
                late",
        exercise: Some(Exercise::Reader),
        dom0: &[(REQUEST, "bash features.sh 1 1 1 && xl shutdown $DOMID")],
        checks: &[READ, ASKED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "service",
        title: "programs follow the toolstack: one hangs, and the button is pressed; one carries `xl reboot` out",
        exercise: Some(Exercise::Service),
        dom0: &[
            (
                When::Ready(Ready::Heartbeat),
                "p=/local/domain/$DOMID; f=$p/data/xenguard/service; \
                 for n in $(seq 50); do xenstore-exists $f && break; sleep 0.2; done; \
                 xenstore-read $f | grep -E '^[0-9]{9,}$' && ./xenguard-dom0 show $DOMID | grep '^service: .*heartbeat' && \
                 xenstore-write $p/control/shutdown poweroff",
            ),
            (
                When::Ready(Ready::NoHeartbeat),
                "f=/local/domain/$DOMID/data/xenguard/service; \
                 for n in $(seq 50); do xenstore-exists $f || break; sleep 0.2; done; \
                 ! xenstore-exists $f && xl trigger $DOMID power",
            ),
            (REQUEST, followed_reboot!("")),
        ],
        expect: Expect { ending: Ending::Reboot, ..PV },
        checks: &[FOLLOWED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "service-full-store",
        title: "the same where the guest may make no node of xenstore: requests are followed without a heartbeat's node, which \
                comes when there is room",
        exercise: Some(Exercise::Service),
        created: FEW_NODES_LEFT,
        dom0: &[
            (
                When::Ready(Ready::Heartbeat),
                "p=/local/domain/$DOMID; sleep 2; ! xenstore-exists $p/data/xenguard/service && \
                 xenstore-write $p/control/shutdown poweroff",
            ),
            (
                When::Ready(Ready::NoHeartbeat),
                "xenstore-rm /local/domain/$DOMID/data/fill && xl trigger $DOMID power",
            ),
            (
                REQUEST,
                followed_reboot!(
                    "f=/local/domain/$DOMID/data/xenguard/service; \
                     for n in $(seq 50); do xenstore-exists $f && break; sleep 0.2; done; xenstore-exists $f && "
                ),
            ),
        ],
        expect: Expect { ending: Ending::Reboot, ..PV },
        checks: &[FOLLOWED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "seen-from-dom0",
        title: "xenguard-dom0 shows two guests at once, the second stopped by the guard, and steers the first",
        late_disks: &[Backend::Blkback],
        neighbour_mounts: 1,
        registry: census_alone!(),
        // The device model's log is where a stop is told.
        config: &[SHOW_LOG],
        exercise: Some(Exercise::Asked),
        dom0: &[(
            REQUEST,
            "touch waiting; \
             t() { ./xenguard-dom0 \"$@\"; } && \
             expect() { echo \"$2\" | grep -q \"$1\" || { echo \"$1 is not in:\"; echo \"$2\"; rm waiting; exit 1; }; } && \
             { t watch --timeout 60 >events & } && \
             bash neighbour.sh second 1 fault=ide-return && \
             list=$(t list) && echo \"$list\" && \
             expect '^DOMAIN  NAME' \"$list\" && \
             expect '^1  *guest  *pv  *1 PV  .*everything PV needs is there' \"$list\" && \
             expect '^2  *second  *stopped  .*an emulated disk and its PV counterpart are both present' \"$list\" && \
             expect '\"state\": \"stopped\"' \"$(t list --json)\" && \
             expect 'unplug:  *not-asked' \"$(t show guest)\" && \
             expect 'xenguard_guest_state{domain=\"2\",name=\"second\",state=\"stopped\"} 1' \"$(t metrics)\" && \
             { t list --check >out/check; [ $? = 2 ] || { echo 'exit code of list --check'; rm waiting; exit 1; }; } && \
             t boot guest emulated >out/boot && \
             expect 'its next boot is emulated' \"$(t list)\" && \
             t boot guest clear >out/boot && \
             { t show nobody; [ $? = 3 ] || { echo 'exit code of show nobody'; rm waiting; exit 1; }; } && \
             expect 'domain 2 second: [a-z]*, the boot entry selects PV' \"$(cat events)\" && \
             xl destroy second && xl shutdown -w $DOMID; s=$?; rm waiting; exit $s",
        )],
        checks: &[ASKED],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "xl-shutdown-withheld",
        title: "`xl shutdown -F` where the adapter is withheld is acknowledged, and does not fall back",
        exercise: Some(Exercise::Asked),
        dom0: &[(REQUEST, "bash features.sh 1 1 1 && xl shutdown -F $DOMID")],
        checks: &[ASKED],
        runs: Runs::InTurn,
        ..WITHHELD
    },
    Scenario {
        name: "xl-shutdown-fallback",
        title: "`xl shutdown -F` of a PV boot is acknowledged, and does not fall back",
        exercise: Some(Exercise::Asked),
        dom0: &[(REQUEST, "bash features.sh 1 1 1 && xl shutdown -F $DOMID")],
        checks: &[ASKED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "xl-reboot",
        title: "`xl reboot` of a PV boot: NT powers off, and Xen tells the toolstack of a reboot",
        exercise: Some(Exercise::Asked),
        dom0: &[(REQUEST, "bash features.sh 1 1 1 && xl reboot $DOMID")],
        expect: Expect { ending: Ending::Reboot, ..PV },
        checks: &[ASKED],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "store-full",
        title: "the guest may make no node any more: its last word is refused, and it is shut down all the same",
        exercise: Some(Exercise::Asked),
        dom0: &[(
            REQUEST,
            "touch waiting; p=/local/domain/$DOMID/data/fill; w=; for n in $(seq 1000); do w=\"$w $p/$n x\"; done; \
             bash features.sh 1 1 1 && xenstore-write $w && xenstore-chmod -r $p n$DOMID && \
             xl shutdown -w $DOMID; s=$?; rm waiting; exit $s",
        )],
        last_word: false,
        checks: &[ASKED, NO_LAST_WORD],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "store-stopped",
        title: "xenstored stands still when the guest is shut down: the guest does not wait for it",
        exercise: Some(Exercise::Asked),
        dom0: &[(
            REQUEST,
            "bash features.sh 1 1 1 && xl shutdown $DOMID && p=$(cat /run/xen/xenstored.pid) && kill -STOP $p && \
             sleep 20; kill -CONT $p",
        )],
        last_word: false,
        checks: &[ASKED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "activity",
        title: "more lines for the activity log than its ring keeps, at HIGH_LEVEL, while the volume is full",
        words: &[Word::Fault(Fault::VolumeFull)],
        exercise: Some(Exercise::Activity),
        checks: &[OVERFLOWN],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "volume-full",
        title: "the volume is full until the shutdown: the activity log's lines, held up until then, are in the file",
        words: &[Word::Fault(Fault::VolumeFull)],
        checks: &[HELD_UP],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "registry-full",
        title: "the registry takes nothing that a driver writes: the boot is PV, is guarded, and leaves no record",
        words: &[Word::Fault(Fault::RegistryFull)],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "xl-shutdown-withheld-early",
        title: "`xl shutdown -F` where PV was withheld before xenpci started, which leaves Xen alone then: ACPI's button",
        registry: no_bus_filter!(),
        exercise: Some(Exercise::AskedByAcpi),
        dom0: &[(REQUEST, "xl shutdown -F $DOMID")],
        expect: Expect { withheld: Some(Reason::AliasStarted), ..emulated(Reason::PvSelected) },
        checks: &[ASKED_BY_ACPI],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "xl-shutdown-emulated",
        title: "`xl shutdown -F` of an emulated boot falls back to ACPI's power button, as without the suite",
        exercise: Some(Exercise::AskedByAcpi),
        dom0: &[(REQUEST, "xl shutdown -F $DOMID")],
        checks: &[ASKED_BY_ACPI],
        runs: Runs::ByName,
        ..BASE
    },
    Scenario {
        name: "xl-shutdown-unwatched",
        title: "nobody watches the power button for a while: what is served is taken back, and a request waits",
        exercise: Some(Exercise::AskedAgain),
        dom0: &[
            (
                When::Ready(Ready::Unheard),
                "bash features.sh 0 0 1 && xenstore-write /local/domain/$DOMID/control/shutdown poweroff && sleep 1 && \
                 [ \"$(xenstore-read /local/domain/$DOMID/control/shutdown)\" = poweroff ] && xl trigger $DOMID power",
            ),
            (REQUEST, "bash features.sh 1 1 1"),
        ],
        checks: &[ASKED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "platform-lost-withheld",
        title: "the platform device goes without a word while NT has a request for its power button's events there",
        fault: Some(Fault::PlatformLost),
        checks: &[BUTTON_CLOSED, UNLOADED],
        runs: Runs::InTurn,
        ..WITHHELD
    },
];

/// Checks that the guest was asked to end, once, in this way.
fn asked(seen: &Seen<'_>, found: &mut Differences, how: &str) {
    let asked: Vec<_> = seen.lines(Line::Asked).map(|line| line.text.clone()).collect();
    found.same("requests", asked, vec![format!("by={how}")]);
}

/// See `what`.
const ASKED: Check = Check {
    what: "xl's request is acknowledged, and the power button is pressed once",
    run: |seen, found| asked(seen, found, "control"),
};

/// See `what`.
const FOLLOWED: Check = Check {
    what: "its node in xenstore comes and goes with the program; a request that it carries out is acknowledged, and presses \
           no button",
    run: |seen, found| {
        asked(seen, found, "service");
        let of = |what: &str| -> Vec<String> {
            let lines = seen.lines(Line::Reader).filter(|line| line.is("what", what));
            lines.map(|line| line.text.replace(&format!("what={what} "), "")).collect()
        };
        // STATUS_INVALID_PARAMETER.
        found.same("a heartbeat without a number", of("short-beat"), vec!["status=0xc000000d".to_owned()]);
        let answered = of("beat")
            .iter()
            .filter(|text| text.starts_with("status=0x0 ") && text.ends_with("bytes=8"))
            .count();
        found.same("heartbeats that were answered", answered, 3);
        // From the event on; the button would be pressed at once if nobody followed.
        let waited =
            seen.lines(Line::Reader).find(|line| line.is("what", "hung")).and_then(|line| line.number("ms"));
        found.holds(
            &format!("the program that hangs has 5 s, and had {waited:?} ms"),
            waited.is_some_and(|ms| ms >= 4900),
        );
        let given = of("given").last().cloned();
        found.same("the request", given.as_deref(), Some("status=0x0 kind=5 presses=1"));
        found.same("presses when it was acknowledged", of("carried"), vec!["presses=1".to_owned()]);
        // STATUS_CANCELLED.
        found.same(
            "an event behind the request",
            of("behind"),
            vec!["pending=1 status=0xc0000120".to_owned()],
        );
    },
};

/// See `what`.
const NO_LAST_WORD: Check = Check {
    what: "the store refuses the last word",
    run: |seen, found| {
        let store = seen.boot.outcome.store_end.as_ref();
        let of = |name| store.is_some_and(|store| store.named(name).next().is_some());
        found.same("the filled store, and the last word in it", [of("1000"), of("last")], [true, false]);
    },
};

/// See `what`.
const ASKED_BY_ACPI: Check =
    Check { what: "ACPI's power button is pressed once", run: |seen, found| asked(seen, found, "acpi") };

/// See `what`.
const BUTTON_CLOSED: Check = Check {
    what: "the power manager's request has come back, and it has closed the button",
    run: |seen, found| {
        let closed = seen.lines(Line::Button).filter(|line| line.text.starts_with("closed ")).count();
        found.same("buttons that were closed", closed, 1);
    },
};

/// See `what`.
const READ: Check = Check { what: "each request is answered once, and no event is missing", run: read };

fn read(seen: &Seen<'_>, found: &mut Differences) {
    let expected = [
        ("version", "status=0x0 channel=1 bytes=8"),
        ("status", "status=0x0 phase=4 reason=0x1"),
        // STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_INVALID_DEVICE_REQUEST.
        ("short", "status=0xc0000023"),
        ("no-number", "status=0xc000000d"),
        ("unknown", "status=0xc0000010"),
        ("record", "status=0x0 bytes=2576 signature=XGREC002 events=1"),
        ("short-record", "status=0xc0000023"),
        ("no-line", "status=0xc000000d"),
        ("short-line", "status=0xc0000023"),
        ("lines", "wrong=0 of-each=1"),
        ("from-high-level", "status=0x0 next=0 text=nt: line 1"),
        ("overrun", "status=0x0 counted=1 lost=1"),
        // STATUS_CANCELLED.
        ("died-with-line", "status=0xc0000120"),
        ("died", "status=0xc0000120"),
        ("of-another-boot", "status=0x0"),
        ("waiting", "first=1 second=1"),
        ("cancelled", "had-routine=1 status=0xc0000120"),
        // Asked to power off.
        ("first", "status=0x0 news=1 kind=4"),
        ("second", "status=0x0 news=1 kind=4"),
    ];
    for (what, expected) in expected {
        let line = seen.lines(Line::Reader).find(|line| line.is("what", what));
        let text = line.map(|line| line.text.replace(&format!("what={what} "), ""));
        found.same(&format!("reader, {what}"), text.as_deref(), Some(expected));
    }
    let events = seen.lines(Line::Reader).filter(|line| line.is("what", "event"));
    let events: Vec<u64> = events.filter_map(|line| line.number("sequence")).collect();
    let in_order = !events.is_empty() && events.iter().copied().eq(1..=events.len() as u64);
    found.holds(&format!("events {events:?} from the first on"), in_order);
}
