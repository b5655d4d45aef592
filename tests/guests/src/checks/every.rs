//! Checks that hold for every boot, by what its scenario expects.

use guard::{Reason, abi::PhaseNumber, machine::BUGCHECK_CODE, message};
use protocol::{Exercise, Fault, Line, Word};
use rig::End;
use volume::Verdict;

use super::{activity, left_behind};
use crate::{
    check::{Check, Differences, Seen},
    dump::secondary,
    scenario::{Backend, Ending, Entry, Scenario, When, xvd},
};

/// Filter devices that idefilter keeps in reserve in a PV boot (`storage_filter::RESERVED`).
const RESERVE: usize = 4;

/// The checks, in the order in which their differences are told.
pub(crate) const EVERY: &[Check] = &[
    Check { what: "the decision and its reason", run: decision },
    Check { what: "disks and drives, on each way", run: disks },
    Check { what: "mounts, and the file test on each", run: mounts },
    Check { what: "entries of the event log", run: logged },
    Check { what: "the end", run: end },
    Check { what: "one line per driver in an emulated boot", run: silence },
    Check { what: "device objects, and who may open them", run: devices },
    Check { what: "the last census of many disks", run: census },
    Check { what: "the status in the registry", run: status },
    Check { what: "the states of the vbds in xenstore", run: vbds },
    Check { what: "the commands of dom0", run: dom0 },
    Check { what: "the images, read by the host", run: images },
    Check { what: "the guard's records of a stop", run: secondary::stop },
    Check { what: "the record that the boot leaves in the registry", run: left_behind::record },
    Check { what: "no entry of a stop where the boot before was not stopped", run: left_behind::boot_before },
    Check { what: "the activity log, in its file and in the crash dump of a stop", run: activity::log },
    Check { what: "the nodes that the host finds of a guest that has ended", run: left_behind::nodes },
];

/// Size of the file `boot-<generation>.txt` that the executive writes, flushes and reads back on each volume.
/// The check of an image has compared its blocks with their checksums.
const FILE_SIZE: u64 = 30_000;
/// The first domain after dom0: the rig starts from a fresh snapshot each time.
const GUEST: u32 = 1;
/// The vbds of hda, hdb and hdc.
const DISKS: [u32; 3] = [768, 832, CDROM];
/// The vbd of hdc, the CD-ROM drive.
const CDROM: u32 = 5632;

/// Returns how many volumes the boot mounts.
pub(super) fn mounted(scenario: &Scenario) -> usize {
    let expect = &scenario.expect;
    // Plain disks of a boot that does not stop, or the disks that were there before the stop.
    let disks = if expect.stop.is_some() { expect.pv } else { expect.ide + expect.pv };
    let more = scenario.more_vbds.iter().filter(|(_, state)| *state == 4).count();
    disks - scenario.blanks - scenario.raw.len() - scenario.visitors - more
}

/// Returns true if the boot gets as far as the session manager.
pub(super) fn comes_up(scenario: &Scenario) -> bool {
    scenario.expect.ending_early().is_none()
}

/// Returns true if the boot ends with a shutdown.
pub(super) fn ends_in_order(scenario: &Scenario) -> bool {
    scenario.expect.stop.is_none() && matches!(scenario.expect.ending, Ending::Shutdown | Ending::Reboot)
}

/// Returns the decision that idefilter prints; without idefilter nothing decides.
fn expected_decision(scenario: &Scenario) -> Option<Reason> {
    Some(scenario.expect.decision).filter(|reason| *reason != Reason::Unsealed)
}

fn decision(seen: &Seen<'_>, found: &mut Differences) {
    let (scenario, observed) = (seen.scenario, &seen.observed);
    let expected = expected_decision(scenario);
    found.same("decision", observed.decision, expected);
    // idefallback prints exactly one line if it was needed, and none if idefilter is loaded. Where the boot ends
    // before a disk is reached, it may have spoken in vain.
    let fallback = if comes_up(scenario) {
        expected.is_none().then_some(Reason::FilterTakenOut)
    } else {
        observed.fallback
    };
    found.same("idefallback", observed.fallback, fallback);
    let withheld = match scenario.expect.decision {
        Reason::PvSelected | Reason::Unsealed => scenario.expect.withheld,
        // A service that does not run prints nothing; one that runs prints once why it stays out.
        _ => observed.withheld.and(Some(Reason::EmulatedBoot)),
    };
    found.same("services withheld", observed.withheld, withheld);
    // An entry of the event log wherever PV was asked for.
    let logged = expected.filter(|reason| !matches!(reason, Reason::NotSelected | Reason::Vetoed));
    // What it says of the boot before may come first.
    let mut events = seen.lines(Line::Event).filter(|line| !left_behind::is_of_the_boot_before(line));
    let event = events.find(|line| line.is("driver", "idefilter"));
    let code = event.and_then(|line| line.get("code").map(str::to_owned));
    found.same("idefilter's first event", code, logged.map(|reason| format!("{:#x}", message::code(reason))));
    // What follows in the boot is logged, too: no PV disk, and no emulated one.
    if expected.is_some() {
        if let Some(reason) = scenario.expect.withheld {
            found.holds("the event of services withheld", seen.logged(reason) > 0);
        }
        // An entry of the event log is memory, too.
        let denied =
            scenario.expect.denied > 0 && !scenario.words.contains(&Word::Fault(Fault::StarveIdefilter));
        found.same("an event of a start refused", seen.logged(Reason::StartRefused) > 0, denied);
    }
    if scenario.expect.pv > 0 && ends_in_order(scenario) {
        let looks = seen.said("idefilter: emulated-disk drivers in memory: ") > 0;
        found.holds("a look at the loaded modules", looks);
    }
    if let Entry::Fat(number) = scenario.entry {
        let pv = if number == 2 { " GPLPV" } else { "" };
        let options = observed.options.clone().unwrap_or_default();
        found.same("SystemStartOptions", options, format!(" NOEXECUTE=OPTOUT FASTDETECT{pv}"));
    }
}

fn disks(seen: &Seen<'_>, found: &mut Differences) {
    let (expect, observed) = (&seen.scenario.expect, &seen.observed);
    found.same("IDE disks", observed.ide, expect.ide);
    found.same("PV disks", observed.pv, expect.pv);
    found.same("other disks", observed.other, 0);
    found.same("hidden controllers", observed.hidden, expect.hidden);
    found.same("starts refused", observed.denied, expect.denied);
    found.same("CD-ROM drives", observed.cdroms, expect.cdroms);
    found.same("PV CD-ROM drives", observed.pv_cdroms, expect.pv_cdroms);
}

fn mounts(seen: &Seen<'_>, found: &mut Differences) {
    let observed = &seen.observed;
    found.same("mounts", observed.mounts.len(), mounted(seen.scenario));
    // The files are written once the system is up.
    let files = if comes_up(seen.scenario) { &observed.mounts[..] } else { &[] };
    found.same("file tests passed", &observed.files[..], files);
}

fn logged(seen: &Seen<'_>, found: &mut Differences) {
    for &reason in seen.scenario.logged {
        found.same(&format!("entries of {reason:?} in the event log"), seen.logged(reason), 1);
    }
}

fn end(seen: &Seen<'_>, found: &mut Differences) {
    let (scenario, observed) = (seen.scenario, &seen.observed);
    let bugcheck = expected_bugcheck(scenario);
    let hexadecimal = |numbers: Option<[u64; 4]>| format!("{numbers:x?}");
    found.same("bugcheck", hexadecimal(observed.bugcheck), hexadecimal(bugcheck));
    found.same("violations", &observed.violations[..], &[]);
    let verdict = match scenario.expect.ending {
        Ending::PowerCut => "cut",
        _ if bugcheck.is_some() => "stopped",
        _ => "clean",
    };
    found.same("end", observed.verdict.as_deref(), Some(verdict));
    let ended = if scenario.expect.ending == Ending::Reboot { End::Rebooted } else { End::PoweredOff };
    found.same("guest", &seen.boot.outcome.end, &ended);
}

fn silence(seen: &Seen<'_>, found: &mut Differences) {
    if seen.scenario.expect.decision != Reason::PvSelected {
        let lines = seen.observed.lines;
        // xenpci says besides that it leaves xenstore to another suite, or that the host cannot be told of anything.
        let more = seen.scenario.expect.decision == Reason::OtherSuite || !seen.scenario.last_word;
        let xenpci = if more { 2 } else { 1 };
        let [idefilter, idefallback, platform, xenvbd] = lines;
        let most = [idefilter.min(1), idefallback.min(1), platform.min(xenpci), xenvbd.min(1)];
        found.same("lines of the suite's drivers", lines, most);
    }
}

fn devices(seen: &Seen<'_>, found: &mut Differences) {
    if !ends_in_order(seen.scenario) {
        return;
    }
    let (expect, devices) = (&seen.scenario.expect, &seen.observed.devices);
    let open = devices.iter().filter(|(_, access)| access != "restricted").count();
    found.same("devices that others may open", open, 0);
    if expect.pv > 0 {
        let of = |name: &str| devices.iter().filter(|(driver, _)| driver == name).count();
        let counts = [of("idefilter"), of("xenpci")];
        // One of idefilter's is told of the shutdown.
        let filters = expect.filters + RESERVE + 1;
        found.same("device objects of idefilter and xenpci", counts, [filters, 2]);
    }
}

fn census(seen: &Seen<'_>, found: &mut Differences) {
    if ends_in_order(seen.scenario) && seen.scenario.blanks > 0 {
        let last = seen.observed.censuses.last();
        let last = last.map(|census| census.split(" alias").next().unwrap_or(census).to_owned());
        found.same("last census", last, Some(format!("own={0} ours={0}", seen.scenario.expect.pv)));
    }
}

fn status(seen: &Seen<'_>, found: &mut Differences) {
    let expect = &seen.scenario.expect;
    let pv_boot = expect.decision == Reason::PvSelected;
    if ends_in_order(seen.scenario) && (expect.pv > 0 || !pv_boot) {
        let status = seen.lines(Line::Status).next().map(|line| line.text.clone());
        let expected = match (expected_decision(seen.scenario), expect.pv) {
            (None, _) => None,
            _ if seen.scenario.words.contains(&Word::Fault(Fault::RegistryFull)) => None,
            (Some(reason), 0) => Some((PhaseNumber::EMULATED, reason)),
            _ => Some((PhaseNumber::EXPOSED, Reason::PvSelected)),
        };
        let expected =
            expected.map(|(phase, reason)| format!("phase={} reason={:#x}", phase.0, reason.code()));
        found.same("status in the registry", status, expected);
    }
}

fn vbds(seen: &Seen<'_>, found: &mut Differences) {
    // One that is saved at its start is in another domain by then, and its backends are about to be connected.
    if seen.scenario.dom0.iter().any(|(when, _)| *when == When::Decided) {
        return;
    }
    let Some(store) = &seen.boot.outcome.store_running else { return };
    let scenario = seen.scenario;
    let mut states: Vec<_> = store.vbds(GUEST).iter().map(|vbd| (vbd.device, vbd.frontend_state)).collect();
    states.sort_unstable();
    // XenbusStateConnected is 4, and a frontend that nobody drives stays at 1, or as firmware has left it. One that the
    // first census was against has been connected, and is Closed, as is one that could not be connected.
    let expect = &scenario.expect;
    let refused = expect.decision == Reason::PvSelected && expect.withheld.is_none() && expect.stop.is_none();
    let unused = if scenario.logged.contains(&Reason::AliasBeforeExposure) || refused {
        6
    } else if scenario.words.contains(&Word::FirmwareStays) {
        4
    } else {
        1
    };
    let state = |used: bool| Some(if used { 4 } else { unused });
    let disks = scenario
        .disks
        .iter()
        .zip(DISKS.into_iter().skip(scenario.first_place))
        .filter(|(backend, _)| **backend != Backend::None);
    let raw = scenario.raw.iter().enumerate().map(|(n, raw)| xvd(raw.place(n) as u32));
    // From xvde on.
    let blanks = (4..4 + scenario.blanks as u32).map(xvd);
    let devices = disks.map(|(_, device)| device).chain(raw).chain(blanks);
    let mut expected: Vec<_> = devices.map(|device| (device, state(scenario.expect.pv > 0))).collect();
    expected.extend(scenario.more_vbds.iter().map(|&(device, state)| (device, Some(state))));
    if scenario.cdrom {
        // The drive's vbd is left alone where its emulated twin is used.
        expected.push((CDROM, state(scenario.expect.pv_cdroms > 0)));
    }
    expected.sort_unstable();
    found.same("vbds in xenstore while up", states, expected);
}

fn dom0(seen: &Seen<'_>, found: &mut Differences) {
    let commands = seen.scenario.dom0;
    let marks = &seen.boot.outcome.marks;
    for mark in marks {
        let what = format!("dom0: {}: {}", commands[mark.mark].1, mark.output.trim());
        found.same(&what, mark.status, Some(0));
    }
    found.same("commands of dom0", marks.len(), commands.len());
}

fn images(seen: &Seen<'_>, found: &mut Differences) {
    let scenario = seen.scenario;
    let arrived = mounted(scenario);
    for (n, (image, before)) in seen.boot.images.iter().zip(&seen.boot.generations).enumerate() {
        // A boot that was stopped leaves its volume mounted, as does a disk that is taken away.
        let late = n >= scenario.disks.len();
        let exercises = [Exercise::Hotplug, Exercise::Detach, Exercise::DetachInUse];
        let goes = scenario.exercise.is_some_and(|exercise| exercises.contains(&exercise));
        let neighbours = late && scenario.neighbour_mounts > 0;
        let taken_away = late && goes || neighbours;
        let replayable = !ends_in_order(scenario) || taken_away;
        let good = image.verdict == Verdict::Intact || (replayable && image.verdict == Verdict::Replayable);
        found.holds(&format!("image {n}, which is {image}"), good);
        // The first ones arrive. One more is what a boot may add.
        let mounted = n < arrived || taken_away;
        let generation = before + if neighbours { scenario.neighbour_mounts } else { u64::from(mounted) };
        found.same(&format!("mounts of image {n}"), image.generation, generation);
        let name = format!("boot-{generation}.txt");
        let written = image.files.iter().find(|(file, _)| *file == name).map(|(_, size)| *size);
        let size = (comes_up(scenario) && mounted).then_some(FILE_SIZE);
        found.same(&format!("size of {name} on image {n}"), written, size);
    }
}

/// Returns code, P1, P2 and P3 of the bugcheck that ends the boot.
fn expected_bugcheck(scenario: &Scenario) -> Option<[u64; 4]> {
    if let Ending::CrashEarly(code) | Ending::Crash(code) = scenario.expect.ending {
        return Some([u64::from(code), 0, 0, 0]);
    }
    if scenario.expect.ending == Ending::Kept {
        // INACCESSIBLE_BOOT_DEVICE. xenpci was set up once, and one page is kept (docs/bugcheck.md).
        return Some([0x7B, 1, 1, 1]);
    }
    let (reason, own, enumerated) = scenario.expect.stop?;
    Some([u64::from(BUGCHECK_CODE), u64::from(reason.code()), u64::from(own), u64::from(enumerated)])
}
