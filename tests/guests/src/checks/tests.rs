//! Each check that every boot has can fail: a boot that is right in all is made wrong in one respect at a time.

use std::time::Duration;

use protocol::Version;
use rig::{End, MarkResult, Outcome, Store};
use volume::{Report, Verdict};

use crate::{
    boot::Boot,
    catalogue,
    check::{Check, Differences, Seen},
    scenario::{PV_BOOT, Scenario, When},
    verdict::differences,
};

/// The console of a boot from the PV entry.
const CONSOLE: &str = "\
@xg boot entry=2 options=%20NOEXECUTE%3dOPTOUT%20FASTDETECT%20GPLPV safe=0
@xg dbg xenguard: idefilter: mode=pv reason=0x1 the boot entry selects PV
@xg event driver=idefilter code=0x60000001 unique=0x0 strings=
@xg pci bdf=00:01.1 ids=8086:7010 seen=1 hidden=1
@xg dbg xenguard: idefilter: emulated-disk drivers in memory: 2
@xg disk n=0 bus=scsi driver=xenvbd sectors=16384
@xg dbg xenguard: xenvbd: census own=1 ours=1 alias=0 foreign=0 verdict=nothing
@xg mount disk=0 label=DATA0 generation=2 status=ok
@xg file disk=0 wrote=ok flushed=ok readback=ok
@xg device driver=idefilter name= access=restricted
@xg device driver=idefilter name= access=restricted
@xg device driver=idefilter name= access=restricted
@xg device driver=idefilter name= access=restricted
@xg device driver=idefilter name= access=restricted
@xg device driver=idefilter name= access=restricted
@xg device driver=xenpci name=x access=restricted
@xg device driver=xenpci name= access=restricted
@xg device driver=xenvbd name=y access=everyone
@xg status phase=4 reason=0x1
@xg rest ms=1500 waits=6
@xg record shutdown-ms=9 last-chance-ms=3 hex=5847424f4f54303100d2496b000000000c0000000100000000000000000000000000000004000000010000000200000000000000010000000100000001000000010000000000000000000000
@xg end verdict=clean
";

/// The guest's nodes after it has ended.
const STORE_END: &str = "\
/local/domain/1/attr/PVAddons/Installed = 1
/local/domain/1/data/xenguard/last = end=in-order%20mode=pv%20reason=0x1%20phase=exposed%20own=1
/local/domain/1/data/xenguard/mode = pv
/local/domain/1/data/xenguard/phase = exposed
/local/domain/1/data/xenguard/reason = 0x1
/local/domain/1/drivers/0 = Xenguard%20XENPCI%200.1.0.0
/local/domain/1/drivers/1 = Xenguard%20XENVBD%200.1.0.0
/local/domain/1/feature/hotplug/vbd = 1
";

const SCENARIO: Scenario = Scenario { dom0: &[(When::Booted, "true")], ..PV_BOOT };

fn boot(console: &str) -> Boot {
    let store = "/local/domain/1/device/vbd/768/backend = b\n/local/domain/1/device/vbd/768/state = 4\n";
    let outcome = Outcome {
        end: End::PoweredOff,
        domain: 1,
        console: console.lines().map(str::to_owned).collect(),
        com1: String::new(),
        xen_log: String::new(),
        dom0_log: String::new(),
        device_model: String::new(),
        before: String::new(),
        created: String::new(),
        after: String::new(),
        batch: String::new(),
        store_running: Some(Store::parse(store)),
        store_end: Some(Store::parse(STORE_END)),
        marks: vec![MarkResult { mark: 0, status: Some(0), output: String::new() }],
        guest_time: Duration::ZERO,
        total_time: Duration::ZERO,
        retried_after: None,
    };
    let image = Report {
        verdict: Verdict::Intact,
        signature: 1,
        label: "DATA0".to_owned(),
        generation: 2,
        files: vec![("boot-2.txt".to_owned(), 30_000)],
        damage: Vec::new(),
    };
    Boot {
        activity: activity(console),
        outcome,
        version: Version::Nt52,
        images: vec![image],
        generations: vec![1],
        raw: Vec::new(),
        dump: None,
        registry: String::new(),
    }
}

/// Returns the file of the activity log of a boot with this console.
fn activity(console: &str) -> String {
    let printed = console.lines().filter_map(|line| line.split_once("@xg dbg xenguard: "));
    let lines =
        printed.zip(1..).map(|((_, text), number)| format!("2026-01-01T00:00:00.000Z {number} {text}\r\n"));
    lines.collect()
}

#[test]
fn a_boot_that_is_right_has_no_difference() {
    assert_eq!(differences(&SCENARIO, &boot(CONSOLE)), [""; 0]);
}

#[test]
fn what_is_wrong_on_the_console_is_named() {
    for (from, to, what) in [
        ("mode=pv reason=0x1 ", "mode=emulated reason=0x11 ", "decision"),
        ("code=0x60000001", "code=0x60000002", "idefilter's first event"),
        ("emulated-disk drivers in memory", "nothing", "a look at the loaded modules"),
        ("census", "\n@xg dbg xenpci: block services withheld reason=0x30 \n@xg dbg ", "services withheld"),
        ("@xg pci", "@xg dbg idefallback: reason=0x72 \n@xg pci", "idefallback"),
        ("@xg disk n=0 bus=scsi driver=xenvbd", "@xg disk n=0 bus=ide driver=ide", "IDE disks"),
        ("@xg disk", "@xg disk n=1 bus=scsi driver=lsi\n@xg disk", "other disks"),
        ("hidden=1", "hidden=0", "hidden controllers"),
        ("@xg disk", "@xg dbg idefilter: start of an emulated controller\n@xg disk", "starts refused"),
        ("@xg mount", "@xg mount disk=0 status=ok\n@xg mount", "mounts"),
        ("flushed=ok", "flushed=no", "file tests passed"),
        ("@xg end verdict=clean", "@xg bugcheck code=0x58454e p1=0x50 p2=1 p3=2 p4=0", "bugcheck"),
        ("@xg status", "@xg violation name=pool-leaked\n@xg status", "violations"),
        ("verdict=clean", "verdict=cut", "end"),
        ("name=x access=restricted", "name=x access=everyone", "devices that others may open"),
        ("@xg device driver=idefilter name= access=restricted\n", "", "device objects"),
        ("phase=4", "phase=3", "status in the registry"),
        ("@xg record", "@xg dbg", "a record of the boot in the registry"),
        ("last-chance-ms=3", "last-chance-ms=4000", "the last chance of the shutdown is soon over"),
        ("shutdown-ms=9", "shutdown-ms=4000", "the shutdown is soon over"),
        ("waits=6", "waits=465", "drivers' threads rest"),
        ("0c00000001000000", "0c00000000000000", "the record's end"),
    ] {
        let console = CONSOLE.replacen(from, to, 1);
        assert_ne!(console, CONSOLE, "{what}");
        let found = differences(&SCENARIO, &boot(&console));
        assert!(found.iter().any(|line| line.starts_with(what)), "{what}: {found:?}");
    }
}

#[test]
fn what_is_wrong_beside_the_console_is_named() {
    type Harm = fn(&mut Boot);
    fn end(from: &str, to: &str) -> Option<Store> {
        let text = STORE_END.replacen(from, to, 1);
        assert_ne!(text, STORE_END);
        Some(Store::parse(&text))
    }
    let wrong: [(&str, Harm); 15] = [
        ("the file of the activity log has", |boot| {
            boot.activity = boot.activity.lines().skip(1).map(|line| format!("{line}\r\n")).collect();
        }),
        ("\"xenvbd: of nobody\" of the activity log was printed", |boot| {
            boot.activity += "2026-01-01T00:00:00.000Z 90 xenvbd: of nobody\r\n";
        }),
        ("lines of the activity log that are lost", |boot| boot.activity += "7 lines are lost\r\n"),
        ("the host's last word", |boot| boot.outcome.store_end = end("end=in-order", "end=stopped")),
        ("data/xenguard/phase", |boot| boot.outcome.store_end = end("= exposed", "= granted")),
        ("/feature/hotplug/vbd", |boot| boot.outcome.store_end = end("vbd = 1", "vbd = 0")),
        ("/attr/PVAddons/Installed", |boot| boot.outcome.store_end = end("PVAddons", "Other")),
        ("/drivers/1", |boot| boot.outcome.store_end = end("XENVBD", "OTHER")),
        ("guest", |boot| boot.outcome.end = End::TimedOut),
        ("vbds in xenstore", |boot| boot.outcome.store_running = Some(Store::parse(""))),
        ("dom0: true", |boot| boot.outcome.marks[0].status = Some(1)),
        ("commands of dom0", |boot| boot.outcome.marks.clear()),
        ("image 0", |boot| boot.images[0].verdict = Verdict::Replayable),
        ("mounts of image 0", |boot| boot.images[0].generation = 3),
        ("size of boot-2.txt", |boot| boot.images[0].files.clear()),
    ];
    for (what, change) in wrong {
        let mut boot = boot(CONSOLE);
        change(&mut boot);
        let found = differences(&SCENARIO, &boot);
        assert!(found.iter().any(|line| line.starts_with(what)), "{what}: {found:?}");
    }
}

/// A scenario's own checks are run: on a boot that did nothing each finds something.
#[test]
fn no_check_of_a_scenario_passes_a_boot_that_did_nothing() {
    for scenario in catalogue::boots() {
        for Check { what, run } in scenario.checks {
            let mut boot = boot("@xg end verdict=clean");
            boot.raw = scenario.raw.iter().map(|_| vec![0]).collect();
            let mut found = Differences::default();
            run(&Seen::of(scenario, &boot), &mut found);
            assert!(!found.into_lines().is_empty(), "{}: {what}", scenario.name);
        }
    }
    const NEVER: Check = Check { what: "never", run: |_, found| found.holds("never", false) };
    let scenario = Scenario { checks: &[NEVER], ..SCENARIO };
    assert_eq!(differences(&scenario, &boot(CONSOLE)), ["never: false, expected true"]);
}
