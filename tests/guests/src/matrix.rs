//! The sabotage matrix: every configuration and fault there is a scenario of, under Xen, and what came of it,
//! written to `docs/results/guard-matrix.md`.
//!
//! The rows are the scenarios themselves, those of `cargo xtask test` and those that run by name only, each
//! once.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use guard::Reason;
use rig::RigFiles;

use crate::{
    boot,
    boot::rig_files,
    built, catalogue,
    layout::Layout,
    scenario::{Ending, Expect, Machine, Scenario, Sequence},
    step::Running,
    verdict,
};

/// The least that a matrix has.
const ROWS: usize = 24;

/// A row's boots: one, or those of a machine that is booted several times.
#[derive(Clone, Copy)]
enum Row {
    Boot(&'static Scenario),
    Sequence(&'static Sequence),
}

impl Row {
    const fn name(self) -> &'static str {
        match self {
            Row::Boot(scenario) => scenario.name,
            Row::Sequence(sequence) => sequence.name,
        }
    }
}

/// One line of the table.
struct Line {
    /// Index of the row.
    at: usize,
    cells: [String; 7],
    /// The drivers that it ran on, as [`built::digest`] has them.
    drivers: String,
    differences: Vec<String>,
    cost: Option<Cost>,
}

/// Guest time, in microseconds, by the time-stamp counter.
struct Cost {
    disks: usize,
    /// In idefilter's DriverEntry: the decision.
    decision: u64,
    /// From the executive's start to a system that is up.
    up: u64,
}

impl Cost {
    fn of(scenario: &Scenario, boot: &boot::Boot) -> Option<Cost> {
        let report = boot.outcome.report();
        Some(Cost {
            disks: scenario.disks.len() + scenario.blanks,
            decision: report.find(protocol::Line::Load.name(), "driver", "idefilter")?.number("us")?,
            up: report.first(protocol::Line::Up.name())?.number("us")?,
        })
    }
}

const HEAD: [&str; 8] = [
    "row",
    "configuration and fault",
    "expected mode",
    "expected exposure",
    "seen",
    "verdict",
    "image check",
    "drivers",
];

/// The rows that are to be booted.
pub enum Which {
    /// Every one.
    All,
    /// Rows of these names.
    Named(Vec<String>),
    /// Rows that did not run as expected on the drivers as they are.
    Rest,
}

/// Runs the matrix, or a part of it, and writes the table behind each row: a run that is ended early loses nothing. Rows that
/// are not run stay as they are.
///
/// # Errors
/// The rig failed, or a row differs from what it expects; the table says so.
pub fn run(which: &Which) -> Result<()> {
    let layout = Layout::here();
    let rig = rig_files::ensure(&layout, rig::Release::default())?;
    let drivers = built::digest(&layout)?;
    let all = rows();
    ensure!(all.len() >= ROWS, "{} rows, and the matrix has at least {ROWS}", all.len());
    let path = layout.root().join("docs/results/guard-matrix.md");
    let kept = if path.exists() { kept(&path, &all)? } else { Vec::new() };
    let wanted = match which {
        Which::All => (0..all.len()).collect(),
        Which::Named(names) => named(&all, names)?,
        Which::Rest => rest(all.len(), &kept, &drivers),
    };
    let (lines, started) = (Mutex::new(kept), Instant::now());
    let booted = AtomicUsize::new(0);
    let failed = Mutex::new(Ok(()));
    rig_files::each(rig_files::AT_ONCE, wanted, |at| {
        let running = Running::begin(all[at].name());
        let new = boot_row(&layout, &rig, at, all[at], &drivers);
        println!("{}", running.end("done"));
        for line in &new {
            let verdict = if line.differences.is_empty() { "as expected" } else { "DIFFERS" };
            println!("{:<40} {verdict}", line.cells[0]);
        }
        booted.fetch_add(new.len(), Ordering::Relaxed);
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.at != at);
        lines.extend(new);
        lines.sort_by_key(|line| line.at);
        let written = write(&path, &lines).and_then(|()| write_summary(&layout, &summary(&lines)));
        if written.is_err() {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = written;
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} boots in {} s, {} guests at a time",
        booted.into_inner(),
        started.elapsed().as_secs(),
        rig_files::AT_ONCE
    );
    let wrong: Vec<String> = lines
        .iter()
        .flat_map(|line| line.differences.iter().map(|difference| format!("{}: {difference}", line.cells[0])))
        .collect();
    if !wrong.is_empty() {
        bail!("rows differ from what they expect:\n{}", wrong.join("\n"));
    }
    println!("{} boots, all as expected: {}", lines.len(), path.display());
    match rest(all.len(), &lines, &drivers).len() {
        0 => println!("every row ran on these drivers, {drivers}"),
        older => println!("{older} rows ran on other drivers than these, {drivers}; `--rest` boots them"),
    }
    Ok(())
}

/// Returns the rows of these names.
fn named(all: &[Row], names: &[String]) -> Result<Vec<usize>> {
    let find = |name: &String| all.iter().position(|row| row.name() == name);
    names.iter().map(|name| find(name).with_context(|| format!("there is no row {name}"))).collect()
}

/// Returns the rows, of so many, without a line, and those of whose lines one is of other drivers or not as expected.
fn rest(rows: usize, lines: &[Line], drivers: &str) -> Vec<usize> {
    let done = |line: &Line| line.drivers == drivers && line.differences.is_empty();
    let of = |at| lines.iter().filter(move |line| line.at == at);
    (0..rows).filter(|&at| of(at).next().is_none() || !of(at).all(done)).collect()
}

/// Returns every row. Those without Xen have nothing to hide or expose and are left to the tests.
fn rows() -> Vec<Row> {
    let boots = catalogue::boots().filter(|scenario| scenario.machine == Machine::Xen);
    boots.map(Row::Boot).chain(catalogue::sequences().map(Row::Sequence)).collect()
}

/// Runs a row; a line for each of its boots. A rig that fails makes a line too.
fn boot_row(layout: &Layout, rig: &RigFiles, at: usize, row: Row, drivers: &str) -> Vec<Line> {
    let line = |cells, differences, cost| Line { at, cells, drivers: drivers.to_owned(), differences, cost };
    let failed = |name: &str, title: &str, error: &anyhow::Error| {
        let mut cells: [String; 7] = [(); 7].map(|()| "–".to_owned());
        cells[0] = name.to_owned();
        cells[1] = title.to_owned();
        vec![line(cells, vec![format!("not run: {error:#}")], None)]
    };
    match row {
        Row::Boot(scenario) => match boot::boot(layout, rig, scenario) {
            Ok(boot) => {
                let differences = verdict::differences(scenario, &boot);
                let cells = cells(scenario.name, scenario.title, scenario, &boot);
                vec![line(cells, differences, Cost::of(scenario, &boot))]
            }
            Err(error) => failed(scenario.name, scenario.title, &error),
        },
        Row::Sequence(sequence) => match boot::boot_sequence(layout, rig, sequence) {
            Ok(boots) => {
                let differences = verdict::sequence_differences(sequence, &boots);
                let mut lines: Vec<Line> = Vec::new();
                for (n, (scenario, boot)) in sequence.boots.iter().zip(&boots).enumerate() {
                    let name = format!("{}, boot {}: {}", sequence.name, n + 1, scenario.name);
                    let title = if n == 0 { sequence.title } else { "the same machine" };
                    let cells = cells(&name, title, scenario, boot);
                    lines.push(line(cells, Vec::new(), Cost::of(scenario, boot)));
                }
                if let Some(last) = lines.last_mut() {
                    last.differences = differences;
                }
                lines
            }
            Err(error) => failed(sequence.name, sequence.title, &error),
        },
    }
}

fn cells(name: &str, title: &str, scenario: &Scenario, boot: &boot::Boot) -> [String; 7] {
    let [_, seen, hid, _, _, verdict, images] = verdict::row(scenario, boot);
    let (mode, exposure) = expected(&scenario.expect);
    [name.to_owned(), title.to_owned(), mode, exposure, format!("{seen}; hid {hid}"), verdict, images]
}

/// Returns the mode that a boot must be in, and what it must expose.
pub fn expected(expect: &Expect) -> (String, String) {
    let mode = match (expect.decision, expect.withheld, expect.stop, expect.ending) {
        (_, _, Some((reason, ..)), _) => format!("PV, stopped: {reason:?}"),
        (Reason::PvSelected, Some(reason), ..) if expect.pv > 0 => format!("PV, first withheld: {reason:?}"),
        (Reason::PvSelected, Some(reason), ..) => format!("emulated, PV withheld: {reason:?}"),
        (Reason::PvSelected, ..) => "PV".to_owned(),
        (Reason::Unsealed, ..) if expect.ide > 0 => "emulated: without idefilter".to_owned(),
        (Reason::Unsealed, ..) => "no boot".to_owned(),
        (reason, ..) => format!("emulated: {reason:?}"),
    };
    let ending = match expect.ending {
        Ending::Shutdown => String::new(),
        Ending::PowerCut => ", power cut".to_owned(),
        Ending::Reboot => ", rebooted".to_owned(),
        Ending::Kept => ", bugcheck 0x7B of xenpci's".to_owned(),
        Ending::Crash(code) | Ending::CrashEarly(code) => format!(", bugcheck 0x{code:X} of another's"),
    };
    let exposure = match expect.pv {
        0 => "no PV disk".to_owned(),
        1 => "1 PV disk".to_owned(),
        n => format!("{n} PV disks"),
    };
    (mode + &ending, exposure)
}

/// Returns the lines that the table has of these rows.
fn kept(path: &Path, all: &[Row]) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let cells_of = |line: &str| -> Vec<String> {
        let inner = line.trim_start_matches("| ").trim_end_matches(" |");
        inner.split(" | ").map(|cell| cell.replace("\\|", "|")).collect()
    };
    // A sequence's lines begin with its name.
    let row_of =
        |name: &str| all.iter().position(|row| row.name() == name.split(", boot ").next().unwrap_or(name));
    let table: Vec<Vec<String>> = text.lines().filter(|line| line.starts_with("| ")).map(cells_of).collect();
    let mut lines = Vec::new();
    for cells in &table {
        let Some((drivers, cells)) = cells.split_last() else { continue };
        let Ok(cells) = <[String; HEAD.len() - 1]>::try_from(cells.to_vec()) else { continue };
        let Some(at) = row_of(&cells[0]) else { continue };
        let differs = cells[5].strip_prefix(DIFFERS).map(str::to_owned);
        let cost = table.iter().find_map(|row| match &row[..] {
            [name, disks, decision, up] if *name == cells[0] => {
                let time = |text: &str| text.parse().ok().map(|time: f64| (time * 1000.0) as u64);
                Some(Cost { disks: disks.parse().ok()?, decision: time(decision)?, up: time(up)? })
            }
            _ => None,
        });
        let (drivers, differences) = (drivers.clone(), differs.into_iter().collect());
        lines.push(Line { at, cells, drivers, differences, cost });
    }
    Ok(lines)
}

/// Before what differs, in place of the verdict.
const DIFFERS: &str = "**differs**: ";

/// Returns the table's result, in a line.
fn summary(lines: &[Line]) -> String {
    let good = lines.iter().filter(|line| line.differences.is_empty()).count();
    let count = |start: &str| lines.iter().filter(|line| line.cells[2].starts_with(start)).count();
    let stopped = count("PV, stopped");
    format!(
        "**{} boots, {good} as expected**: {} PV, {} withheld and emulated, {} emulated, {stopped} stopped by the guard, {} without a boot disk.",
        lines.len(),
        count("PV") - stopped,
        count("emulated, PV withheld"),
        count("emulated: "),
        count("no boot"),
    )
}

/// Returns how many of the boots ran on which drivers.
fn by_drivers(lines: &[Line]) -> String {
    let mut boots = BTreeMap::new();
    for line in lines {
        *boots.entry(line.drivers.as_str()).or_insert(0) += 1;
    }
    let parts: Vec<_> = boots.iter().map(|(drivers, boots)| format!("{drivers}: {boots}")).collect();
    format!("Boots by drivers: {}.", parts.join(", "))
}

/// Returns true if a line of a page is a [`summary`].
fn is_summary(line: &str) -> bool {
    line.starts_with("**") && line.contains(" boots, ") && line.contains(" as expected**: ")
}

/// Puts a summary into the README, in the place of the one that is there.
fn write_summary(layout: &Layout, summary: &str) -> Result<()> {
    let path = layout.root().join("README.md");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(|line| if is_summary(line) { summary } else { line });
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the table, and before it what it comes to.
fn write(path: &Path, lines: &[Line]) -> Result<()> {
    let mut text = format!(
        "# The guard's sabotage matrix\n\n\
         Written by `cargo xtask matrix`; not edited by hand. Each boot is a guest of real Xen with a real backend (see\n\
         [testing](../testing.md)); a sequence boots one machine several times. Afterwards each image is checked from the\n\
         host: every block, and that no boot mounted a disk more than once. The last column has the first digits of the\n\
         SHA-256 of the drivers that it ran on.\n\n\
         {}\n\n{}\n\n",
        summary(lines),
        by_drivers(lines),
    );
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    text += &row(&HEAD.map(str::to_owned));
    text += &row(&HEAD.map(|_| "---".to_owned()));
    for line in lines {
        let mut cells = line.cells.to_vec();
        if !line.differences.is_empty() {
            cells[5] = format!("{DIFFERS}{}", line.differences.join("; ").replace('\n', "; "));
        }
        cells.push(line.drivers.clone());
        text += &row(&cells);
    }
    text += "\n## Guest time\n\n\
             Of the boots above that came up in order, as the guest's time-stamp counter has it, under software emulation and with\n\
             whatever else the machine did meanwhile: upper bounds, not a comparison. The decision is idefilter's DriverEntry; in an\n\
             emulated boot it ends at the first objection.\n\n";
    text += &row(&["row", "disks", "decision, ms", "up after, ms"].map(str::to_owned));
    text += &row(&["---"; 4].map(str::to_owned));
    for line in lines.iter().filter(|line| line.differences.is_empty()) {
        if let Some(cost) = &line.cost {
            let milliseconds = |time: u64| format!("{:.1}", time as f64 / 1000.0);
            text += &row(&[
                line.cells[0].clone(),
                cost.disks.to_string(),
                milliseconds(cost.decision),
                milliseconds(cost.up),
            ]);
        }
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_rows_and_each_is_there_once() {
        let rows = rows();
        assert!(rows.len() >= ROWS, "{}", rows.len());
        let mut names: Vec<_> = rows.iter().map(|row| row.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
    }

    #[test]
    fn what_is_left_is_what_did_not_run_well_on_these_drivers() {
        let line = |at, drivers: &str, differences: &[&str]| Line {
            at,
            cells: [(); 7].map(|()| "–".to_owned()),
            drivers: drivers.to_owned(),
            differences: differences.iter().map(|&what| what.to_owned()).collect(),
            cost: None,
        };
        let lines = [
            line(0, "new", &[]),
            line(1, "old", &[]),
            line(2, "new", &["PV disks: 0, expected 1"]),
            line(4, "new", &[]),
            line(4, "old", &[]),
        ];
        assert_eq!(rest(5, &lines, "new"), [1, 2, 3, 4]);
        assert_eq!(by_drivers(&lines), "Boots by drivers: new: 3, old: 2.");
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, all) = (folder.path().join("page.md"), rows());
        let cells = |at: usize, verdict: &str| {
            let mut cells = [(); 7].map(|()| "a | b".to_owned());
            cells[0] = all[at].name().to_owned();
            cells[5] = verdict.to_owned();
            cells
        };
        let cost = Some(Cost { disks: 2, decision: 1500, up: 2_000_000 });
        let lines = [
            Line { at: 0, cells: cells(0, "PV"), drivers: "1234".to_owned(), differences: vec![], cost },
            Line {
                at: 3,
                cells: cells(3, "PV"),
                drivers: "5678".to_owned(),
                differences: vec!["dom0: two\nlines".to_owned(), "end: None".to_owned()],
                cost: None,
            },
        ];
        write(&path, &lines).expect("written");
        let read = kept(&path, &all).expect("read");
        let told =
            |line: &Line| (line.at, line.cells[0].clone(), line.cells[1].clone(), line.drivers.clone());
        assert_eq!(read.iter().map(told).collect::<Vec<_>>(), lines.iter().map(told).collect::<Vec<_>>());
        assert_eq!(read[0].cost.as_ref().map(|cost| (cost.disks, cost.up)), Some((2, 2_000_000)));
        assert_eq!(read[1].differences, ["dom0: two; lines; end: None"]);
        write(&path, &read).expect("written again");
        let again = kept(&path, &all).expect("read again");
        assert_eq!(again[1].differences, read[1].differences);
    }

    /// The README and the page say the same, and it is what the page's rows come to.
    #[test]
    fn the_readme_tells_what_the_table_has() {
        let read = |name: &str| fs::read_to_string(Layout::here().root().join(name)).expect(name);
        let (readme, page) = (read("README.md"), read("docs/results/guard-matrix.md"));
        let lines =
            kept(&Layout::here().root().join("docs/results/guard-matrix.md"), &rows()).expect("the page");
        for text in [&readme, &page] {
            let found: Vec<_> = text.lines().filter(|line| is_summary(line)).collect();
            assert_eq!(found, [summary(&lines)]);
        }
    }
}
