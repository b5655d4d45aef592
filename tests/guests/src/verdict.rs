//! Holds what a boot showed against what its scenario expects.

use std::fmt::Write as _;

use guard::{Reason, machine::BUGCHECK_CODE};
use rig::report::{Report, unescape};

use crate::{
    boot::{Boot, CDROM_VOLUME},
    check::{Differences, Seen},
    checks::every::EVERY,
    scenario::{Ending, Scenario, Sequence},
};

/// Observations of a boot, one field per column of the table.
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
    /// The reason that idefallback logged.
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
        let disks = |bus: &str| report.all(protocol::Line::Disk.name()).filter(|d| d.is("bus", bus)).count();
        let pv = report
            .all(protocol::Line::Disk.name())
            .filter(|d| d.is("bus", "scsi") && d.is("driver", "xenvbd"))
            .count();
        let drives = |pv: bool| {
            let drives =
                report.all(protocol::Line::Cdrom.name()).filter(|line| line.is("volume", CDROM_VOLUME));
            drives.filter(|line| line.is("driver", "xenvbd") == pv).count()
        };
        let numbers = |kind, good: &dyn Fn(&rig::report::Line) -> bool| {
            report.all(kind).filter(|line| good(line)).filter_map(|line| line.number("disk")).collect()
        };
        Observed {
            decision: reason(report, "idefilter: mode="),
            options: report
                .first(protocol::Line::Boot.name())
                .and_then(|line| line.get("options"))
                .map(unescape),
            withheld: reason(report, "xenpci: block services withheld"),
            ide: disks("ide"),
            pv,
            other: report.count(protocol::Line::Disk.name()) - disks("ide") - pv,
            hidden: report.all(protocol::Line::Pci.name()).filter(|line| line.is("hidden", "1")).count(),
            denied: report.debug("idefilter: start of an emulated ").count(),
            cdroms: drives(false),
            pv_cdroms: drives(true),
            mounts: numbers(protocol::Line::Mount.name(), &|line| line.is("status", "ok")),
            files: numbers(protocol::Line::File.name(), &|line| {
                ["wrote", "flushed", "readback"].iter().all(|step| line.is(step, "ok"))
            }),
            censuses: report
                .debug("xenvbd: census ")
                .filter_map(|line| line.split_once("census ").map(|(_, counts)| counts.to_owned()))
                .collect(),
            bugcheck: report.bugcheck().map(|[code, p1, p2, p3, _]| [code, p1, p2, p3]),
            violations: report
                .all(protocol::Line::Violation.name())
                .filter_map(|line| line.get("name"))
                .map(str::to_owned)
                .collect(),
            fallback: reason(report, "idefallback: "),
            lines: ["idefilter", "idefallback", "xenpci", "xenvbd"]
                .map(|driver| report.debug(&format!("xenguard: {driver}: ")).count()),
            devices: report
                .all(protocol::Line::Device.name())
                .filter_map(|line| Some((line.get("driver")?.to_owned(), line.get("access")?.to_owned())))
                // xenvbd's devices are made by Storport; the INF's Security value is for those.
                .filter(|(driver, _)| driver != "xenvbd")
                .collect(),
            verdict: report.verdict().map(str::to_owned),
        }
    }
}

/// Returns the reason in the first debug line that contains `part`.
fn reason(report: &Report, part: &str) -> Option<Reason> {
    let line = report.debug(part).next()?;
    let (_, rest) = line.split_once("reason=0x")?;
    let code = rest.split(' ').next()?;
    Reason::from_code(u32::from_str_radix(code, 16).ok()?)
}

/// Returns what differs from what the scenario expects, one line each; empty if the boot showed what it must.
pub fn differences(scenario: &Scenario, boot: &Boot) -> Vec<String> {
    let seen = Seen::of(scenario, boot);
    let mut found = Differences::default();
    for check in EVERY.iter().chain(scenario.checks) {
        (check.run)(&seen, &mut found);
    }
    found.into_lines()
}

/// Returns the differences from the expectations of a sequence's boots, each with the boot's name.
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

fn name(reason: Option<Reason>) -> String {
    reason.map_or_else(|| "none".to_owned(), |reason| format!("{reason:?}"))
}

/// The head of the table that [`row`] fills.
pub const HEAD: [&str; 7] = ["boot", "guest saw", "hid", "exposed", "last census", "verdict", "image check"];

/// Returns a boot's row.
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
