//! Holds what a boot showed against what its scenario expects.

use std::fmt::Write as _;

use guard::{Reason, machine::BUGCHECK_CODE};
use rig::{
    End,
    report::{Report, unescape},
};
use volume::Verdict;

use crate::{
    boot::{Boot, CDROM_VOLUME},
    dump::{
        file::{self as crash_dump, Expected},
        secondary as dump,
    },
    exercises,
    scenario::{Backend, Ending, Entry, Scenario, Sequence},
};

/// What a boot showed, one field per column of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The decision's reason, as idefilter printed it.
    pub decision: Option<Reason>,
    /// `SystemStartOptions`.
    pub options: Option<String>,
    /// The reason for which xenpci withheld the storage adapter.
    pub withheld: Option<Reason>,
    /// Disks that arrived through an emulated controller.
    pub ide: usize,
    /// Disks that arrived through xenvbd.
    pub pv: usize,
    /// Disks of any other kind.
    pub other: usize,
    /// PCI functions that a filter took out of the bus relations.
    pub hidden: usize,
    /// Emulated devices whose start idefilter refused.
    pub denied: usize,
    /// Emulated CD-ROM drives whose medium could be read.
    pub cdroms: usize,
    /// CD-ROM drives of xenvbd's.
    pub pv_cdroms: usize,
    /// Mounts by disk number.
    pub mounts: Vec<u64>,
    /// Disks on which the file test passed in all its steps.
    pub files: Vec<u64>,
    /// Census lines of xenvbd.
    pub censuses: Vec<String>,
    /// Code and P1 to P3 of the bugcheck.
    pub bugcheck: Option<[u64; 4]>,
    /// Names of violations that the verifier stopped at.
    pub violations: Vec<String>,
    /// What idefallback said.
    pub fallback: Option<Reason>,
    /// Lines each driver of the suite printed.
    pub lines: [usize; 4],
    /// Device objects of idefilter and xenpci, and who may open them.
    pub devices: Vec<(String, String)>,
    /// The executive's last word.
    pub verdict: Option<String>,
}

impl Observed {
    /// Reads a guest's report.
    pub fn of(report: &Report) -> Observed {
        let disks = |bus: &str| report.all("disk").filter(|d| d.is("bus", bus)).count();
        let pv = report.all("disk").filter(|d| d.is("bus", "scsi") && d.is("driver", "xenvbd")).count();
        let drives = |pv: bool| {
            let drives = report.all("cdrom").filter(|line| line.is("volume", CDROM_VOLUME));
            drives.filter(|line| line.is("driver", "xenvbd") == pv).count()
        };
        let numbers = |kind, good: &dyn Fn(&rig::report::Line) -> bool| {
            report.all(kind).filter(|line| good(line)).filter_map(|line| line.number("disk")).collect()
        };
        Observed {
            decision: reason(report, "idefilter: mode="),
            options: report.first("boot").and_then(|line| line.get("options")).map(unescape),
            withheld: reason(report, "xenpci: storage adapter withheld"),
            ide: disks("ide"),
            pv,
            other: report.count("disk") - disks("ide") - pv,
            hidden: report.all("pci").filter(|line| line.is("hidden", "1")).count(),
            denied: report.debug("idefilter: start of an emulated ").count(),
            cdroms: drives(false),
            pv_cdroms: drives(true),
            mounts: numbers("mount", &|line| line.is("status", "ok")),
            files: numbers("file", &|line| {
                ["wrote", "flushed", "readback"].iter().all(|step| line.is(step, "ok"))
            }),
            censuses: report
                .debug("xenvbd: census ")
                .filter_map(|line| line.split_once("census ").map(|(_, counts)| counts.to_owned()))
                .collect(),
            bugcheck: report.bugcheck().map(|[code, p1, p2, p3, _]| [code, p1, p2, p3]),
            violations: report
                .all("violation")
                .filter_map(|line| line.get("name"))
                .map(str::to_owned)
                .collect(),
            fallback: reason(report, "idefallback: "),
            lines: ["idefilter", "idefallback", "xenpci", "xenvbd"]
                .map(|driver| report.debug(&format!("xenguard: {driver}: ")).count()),
            devices: report
                .all("device")
                .filter_map(|line| Some((line.get("driver")?.to_owned(), line.get("access")?.to_owned())))
                // xenvbd's devices are made by Storport; the INF's Security value is for those.
                .filter(|(driver, _)| driver != "xenvbd")
                .collect(),
            verdict: report.verdict().map(str::to_owned),
        }
    }
}

/// The reason in the first debug line that contains `part`.
fn reason(report: &Report, part: &str) -> Option<Reason> {
    let line = report.debug(part).next()?;
    let (_, rest) = line.split_once("reason=0x")?;
    let code = rest.split(' ').next()?;
    Reason::from_code(u32::from_str_radix(code, 16).ok()?)
}

/// What differs from the scenario's expectation, one line each; empty where all is as it must be.
pub fn differences(scenario: &Scenario, boot: &Boot) -> Vec<String> {
    let seen = Observed::of(&boot.outcome.report());
    let expect = &scenario.expect;
    let mut found = Vec::new();
    let mut differ = |what: &str, seen: String, expected: String| {
        if seen != expected {
            found.push(format!("{what}: {seen}, expected {expected}"));
        }
    };
    let pv_boot = expect.decision == Reason::PvSelected;
    // Plain disks of a boot that does not stop, or those that were there before the stop.
    let mounted = if expect.stop.is_some() { expect.pv } else { expect.ide + expect.pv };
    let mounted = mounted - scenario.blanks - scenario.raw.len();
    let withheld = if pv_boot || expect.decision == Reason::Unsealed {
        expect.withheld
    } else {
        // A service that does not run says nothing; one that runs says once why it stays out.
        seen.withheld.and(Some(Reason::EmulatedBoot))
    };

    let up = expect.ending_early().is_none();
    // Without idefilter nothing decides.
    let decision = Some(expect.decision).filter(|reason| *reason != Reason::Unsealed);
    differ("decision", name(seen.decision), name(decision));
    // It speaks where it made the boot possible, and where idefilter is there it is silent.
    let fallback = (decision.is_none() && up).then_some(Reason::FilterTakenOut);
    differ("idefallback", name(seen.fallback), name(fallback));
    if let Entry::Fat(number) = scenario.entry {
        let options = seen.options.clone().unwrap_or_default();
        let pv = if number == 2 { " GPLPV" } else { "" };
        differ("SystemStartOptions", options, format!(" NOEXECUTE=OPTOUT FASTDETECT{pv}"));
    }
    differ("adapter withheld", name(seen.withheld), name(withheld));
    differ("IDE disks", seen.ide.to_string(), expect.ide.to_string());
    differ("PV disks", seen.pv.to_string(), expect.pv.to_string());
    differ("other disks", seen.other.to_string(), "0".to_owned());
    differ("hidden controllers", seen.hidden.to_string(), expect.hidden.to_string());
    differ("starts refused", seen.denied.to_string(), expect.denied.to_string());
    differ("CD-ROM drives", seen.cdroms.to_string(), expect.cdroms.to_string());
    differ("PV CD-ROM drives", seen.pv_cdroms.to_string(), expect.pv_cdroms.to_string());
    differ("mounts", seen.mounts.len().to_string(), mounted.to_string());
    // The files are written once the system is up.
    let files = if up { &seen.mounts[..] } else { &[] };
    differ("file tests passed", format!("{:?}", seen.files), format!("{files:?}"));
    differ("bugcheck", format!("{:x?}", seen.bugcheck), format!("{:x?}", expected_bugcheck(scenario)));
    differ("violations", format!("{:?}", seen.violations), "[]".to_owned());
    let end = match expect.ending {
        Ending::PowerCut => "cut",
        _ if expected_bugcheck(scenario).is_some() => "stopped",
        _ => "clean",
    };
    differ("end", format!("{:?}", seen.verdict), format!("{:?}", Some(end)));
    differ("guest", format!("{:?}", boot.outcome.end), format!("{:?}", End::PoweredOff));
    if !pv_boot {
        let silent = seen.lines.map(|count| count.min(1));
        differ("lines of the suite's drivers", format!("{:?}", seen.lines), format!("{silent:?}"));
    }
    let orderly = expect.stop.is_none() && expect.ending == Ending::Shutdown;
    if orderly {
        let open = seen.devices.iter().filter(|(_, access)| access != "restricted").count();
        differ("devices that others may open", open.to_string(), "0".to_owned());
        if expect.pv > 0 {
            let of = |name: &str| seen.devices.iter().filter(|(driver, _)| driver == name).count();
            differ(
                "device objects of idefilter and xenpci",
                format!("{:?}", [of("idefilter"), of("xenpci")]),
                format!("[{}, 2]", expect.filters),
            );
        }
    }
    if orderly && scenario.blanks > 0 {
        let last = seen.censuses.last().map(|census| census.split(" alias").next().unwrap_or(census));
        differ(
            "last census",
            format!("{last:?}"),
            format!("{:?}", Some(format!("own={0} ours={0}", expect.pv))),
        );
    }
    if orderly && (expect.pv > 0 || !pv_boot) {
        let status = boot.outcome.report().first("status").map(|line| line.text.clone());
        // `guard::abi::Status`: 4 is exposed, 1 is emulated.
        let expected = match (decision, expect.pv) {
            // Nobody who would say anything.
            (None, _) => None,
            (Some(reason), 0) => Some(format!("phase=1 reason={:#x}", reason.code())),
            _ => Some("phase=4 reason=0x1".to_owned()),
        };
        differ("status in the registry", format!("{status:?}"), format!("{expected:?}"));
    }
    if scenario.fault == Some("platform-lost") {
        // Its driver went with it, and left nothing behind, or the verifier had stopped.
        let removed = boot.outcome.report().first("removed").map(|line| line.text.clone());
        differ("removal", format!("{removed:?}"), format!("{:?}", Some("service=xenpci devices=1 loaded=0")));
    }
    if let Some(store) = &boot.outcome.store_running {
        // hda is vbd 768, hdb 832; 4 is connected, and a frontend that nobody drives stays at 1.
        let mut states: Vec<_> =
            store.vbds(GUEST).iter().map(|vbd| (vbd.device, vbd.frontend_state)).collect();
        states.sort_unstable();
        // Blank ones are xvde and so on: 16 numbers for each of the first 16 disks of major 202, then 256 for
        // each.
        let blank = |n: u32| if n < 16 { 202 << 8 | n << 4 } else { 1 << 28 | n << 8 };
        let blanks = (4..4 + scenario.blanks as u32).map(blank);
        let backends = scenario.disks.iter().zip([768, 832]);
        let expected = backends.filter(|(backend, _)| **backend != Backend::None).map(|(_, device)| device);
        // xvdb and so on.
        let raw = (1..=scenario.raw.len() as u32).map(|n| 202 << 8 | n << 4);
        let expected = expected.chain(blanks).chain(raw);
        let state = if expect.pv > 0 { 4 } else { 1 };
        let mut expected: Vec<_> = expected.map(|device| (device, Some(state))).collect();
        if scenario.cdrom {
            // The drive's vbd is left alone where its emulated twin is used.
            expected.push((CDROM_VBD, Some(if expect.pv_cdroms > 0 { 4 } else { 1 })));
        }
        expected.sort_unstable();
        differ("vbds in xenstore while up", format!("{states:?}"), format!("{expected:?}"));
    }
    for mark in &boot.outcome.marks {
        let what = format!("dom0: {}: {}", scenario.dom0[mark.mark].1, mark.output.trim());
        differ(&what, format!("{:?}", mark.status), "Some(0)".to_owned());
    }
    differ("commands of dom0", boot.outcome.marks.len().to_string(), scenario.dom0.len().to_string());
    match scenario.exercise {
        Some("cdrom") => exercises::cdrom(&boot.outcome.report(), &seen.censuses, &mut differ),
        Some("kinds") => exercises::kinds(scenario.raw, boot, scenario.registry, &mut differ),
        Some("outage") => exercises::outage(scenario.name, &boot.outcome.report(), &mut differ),
        Some("resize") => exercises::resized(&boot.outcome.report(), &mut differ),
        Some("hotplug") => exercises::hotplug(&boot.outcome.report(), &mut differ),
        Some("traffic" | "suspend" | "copy" | "hibernate-unprepared") => {
            exercises::traffic(&boot.outcome.report(), scenario.vcpus, 1, &mut differ)
        }
        Some("hibernate" | "hibernate-elsewhere") => {
            exercises::traffic(&boot.outcome.report(), scenario.vcpus, 2, &mut differ)
        }
        _ => {}
    }
    if let Some(upcalls) = scenario.upcalls {
        exercises::upcalls(&boot.outcome.report(), upcalls, scenario.vcpus, &mut differ);
    }
    match scenario.exercise {
        Some("suspend" | "hibernate-elsewhere") => {
            exercises::resumed(&boot.outcome.report(), expect.pv, &mut differ)
        }
        Some("hibernate") => exercises::revived(&boot.outcome.report(), expect.pv, &mut differ),
        Some("copy") => exercises::copied(&boot.outcome.report(), expect.pv, &mut differ),
        _ => {}
    }
    for (n, (image, before)) in boot.images.iter().zip(&boot.generations).enumerate() {
        let good = [Verdict::Intact, Verdict::Replayable];
        // A boot that was stopped leaves its volume mounted, as does a disk that is taken away; one that
        // ended in order does not.
        let taken_away = scenario.exercise == Some("hotplug") && n >= scenario.disks.len();
        let good = if orderly && !taken_away { &good[..1] } else { &good[..] };
        if !good.contains(&image.verdict) {
            differ(&format!("image {n}"), image.to_string(), good[0].to_string());
        }
        // One more is what a boot may add.
        let generation = before + u64::from(mounted > 0);
        differ(&format!("mounts of image {n}"), image.generation.to_string(), generation.to_string());
        let name = format!("boot-{generation}.txt");
        let written = image.files.iter().find(|(file, _)| *file == name).map(|(_, size)| *size);
        let size = (up && mounted > 0).then_some(FILE_SIZE);
        differ(&format!("size of {name} on image {n}"), format!("{written:?}"), format!("{size:?}"));
    }
    found.extend(dump::differences(scenario, &boot.outcome));
    if let Some(extent) = &boot.dump {
        let report = boot.outcome.report();
        let expected = match scenario.exercise {
            Some("hibernate-unprepared") => Expected::Refused,
            Some("hibernate" | "hibernate-elsewhere") => Expected::Memory,
            Some("crash-dead") => Expected::Failed,
            _ if expect.pv == 0 => Expected::Refused,
            _ => Expected::Whole,
        };
        found.extend(crash_dump::differences(extent, &report, report.bugcheck(), expected));
    }
    found
}

/// What differs from the expectations of a sequence's boots, each with the boot's name.
pub fn sequence_differences(sequence: &Sequence, boots: &[Boot]) -> Vec<String> {
    let mut found = Vec::new();
    for (n, (scenario, boot)) in sequence.boots.iter().zip(boots).enumerate() {
        let mut differ = differences(scenario, boot);
        match (scenario.expect.ending_early(), boot.registry.is_empty()) {
            (Some(_), false) => differ.push("registry written before the session manager".to_owned()),
            // The devices of its first boot are news to a machine.
            (None, true) if n == 0 && scenario.expect.ending == Ending::Shutdown => {
                differ.push("no registry written".to_owned());
            }
            _ => {}
        }
        found.extend(differ.into_iter().map(|line| format!("boot {} ({}): {line}", n + 1, scenario.name)));
    }
    found
}

/// Size of the file `boot-<generation>.txt` that the executive writes, flushes and reads back on each volume.
/// The image's check has held its blocks against their checksums.
const FILE_SIZE: u64 = 30_000;

/// hdc, the CD-ROM drive.
const CDROM_VBD: u32 = 5632;

/// The first domain after dom0: the rig starts from a fresh snapshot each time.
const GUEST: u32 = 1;

fn expected_bugcheck(scenario: &Scenario) -> Option<[u64; 4]> {
    if let Ending::CrashEarly(code) | Ending::Crash(code) = scenario.expect.ending {
        return Some([u64::from(code), 0, 0, 0]);
    }
    let (reason, own, enumerated) = scenario.expect.stop?;
    Some([u64::from(BUGCHECK_CODE), u64::from(reason.code()), u64::from(own), u64::from(enumerated)])
}

fn name(reason: Option<Reason>) -> String {
    reason.map_or_else(|| "none".to_owned(), |reason| format!("{reason:?}"))
}

/// The head of the table that [`row`] fills.
pub const HEAD: [&str; 7] = ["boot", "guest saw", "hid", "exposed", "last census", "verdict", "image check"];

/// A boot's row.
pub fn row(scenario: &Scenario, boot: &Boot) -> [String; 7] {
    let seen = Observed::of(&boot.outcome.report());
    let mut verdict = String::new();
    match (seen.bugcheck, seen.decision) {
        (Some([code, ..]), _) if code != u64::from(BUGCHECK_CODE) => {
            let _ = write!(verdict, "bugcheck 0x{code:X} of another's");
        }
        (Some([code, p1, ..]), _) => {
            let reason = u32::try_from(p1).ok().and_then(Reason::from_code);
            let _ = write!(verdict, "STOP 0x{code:08X}, {}", name(reason));
        }
        (None, Some(Reason::PvSelected)) if seen.withheld.is_some() && seen.pv > 0 => {
            let _ = write!(verdict, "PV, first withheld: {}", name(seen.withheld));
        }
        (None, Some(Reason::PvSelected)) if seen.withheld.is_some() => {
            let _ = write!(verdict, "emulated, PV withheld: {}", name(seen.withheld));
        }
        (None, Some(Reason::PvSelected)) => verdict.push_str("PV"),
        (None, None) if seen.fallback.is_some() => {
            let _ = write!(verdict, "emulated, without idefilter: {}", name(seen.fallback));
        }
        (None, decision) => {
            let _ = write!(verdict, "emulated: {}", name(decision));
        }
    }
    let images = boot.images.iter().map(|image| image.verdict.to_string()).collect::<Vec<_>>().join(", ");
    [
        scenario.name.to_owned(),
        format!("{} IDE + {} PV, {} mounted", seen.ide, seen.pv, seen.mounts.len()),
        format!("{} controller{}", seen.hidden, if seen.hidden == 1 { "" } else { "s" }),
        format!("{} PV disk{}", seen.pv, if seen.pv == 1 { "" } else { "s" }),
        seen.censuses
            .last()
            .map_or("–", |census| census.split(" foreign").next().unwrap_or(census))
            .to_owned(),
        verdict,
        images,
    ]
}

/// Prints a table with columns as wide as their content.
pub fn print_table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .chain([head[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    };
    line(&mut head.iter().copied());
    println!("{}", "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1)));
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}
