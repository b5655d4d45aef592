//! The sabotage matrix: every configuration and fault there is a scenario of, under Xen, and what came of it,
//! written to `docs/results/guard-matrix.md`.
//!
//! The rows are the scenarios themselves, those of `cargo xtask test` and those that run by name only, each
//! once.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use guard::Reason;
use rig::RigFiles;

use crate::{
    boot,
    boot::rig_files,
    catalogue,
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

const HEAD: [&str; 7] = [
    "row",
    "configuration and fault",
    "expected mode",
    "expected exposure",
    "seen",
    "verdict",
    "image check",
];

/// Runs the matrix, or only the rows of these names, and writes the table; rows that are not run stay as they
/// are in it.
///
/// # Errors
/// The rig failed, or a row differs from what it expects; the table is written all the same, and says so.
pub fn run(names: &[String]) -> Result<()> {
    let layout = Layout::here();
    let rig = rig_files::ensure(&layout, rig::Release::default())?;
    let all = rows();
    ensure!(all.len() >= ROWS, "{} rows, and the matrix has at least {ROWS}", all.len());
    for name in names {
        ensure!(all.iter().any(|row| row.name() == name), "there is no row {name}");
    }
    let path = layout.root().join("docs/results/guard-matrix.md");
    let kept = if names.is_empty() { Vec::new() } else { kept(&path, &all, names)? };
    let wanted = |(_, row): &(usize, Row)| names.is_empty() || names.iter().any(|name| name == row.name());
    let rows = all.into_iter().enumerate().filter(wanted);
    let (lines, started) = (Mutex::new(Vec::new()), Instant::now());
    rig_files::each(rig_files::AT_ONCE, rows, |(at, row)| {
        let running = Running::begin(row.name());
        let new = boot_row(&layout, &rig, at, row);
        println!("{}", running.end("done"));
        for line in &new {
            let verdict = if line.differences.is_empty() { "as expected" } else { "DIFFERS" };
            println!("{:<40} {verdict}", line.cells[0]);
        }
        lines.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
    });
    let mut lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    let booted = lines.len();
    lines.extend(kept);
    lines.sort_by_key(|line| line.at);
    write(&path, &lines)?;
    write_summary(&layout, &summary(&lines))?;
    println!(
        "{} boots in {} s, {} guests at a time",
        booted,
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
    Ok(())
}

/// Returns every row. Those without Xen have nothing to hide or expose and are left to the tests.
fn rows() -> Vec<Row> {
    let boots = catalogue::boots().filter(|scenario| scenario.machine == Machine::Xen);
    boots.map(Row::Boot).chain(catalogue::sequences().map(Row::Sequence)).collect()
}

/// Runs a row; a line for each of its boots. A rig that fails makes a line too.
fn boot_row(layout: &Layout, rig: &RigFiles, at: usize, row: Row) -> Vec<Line> {
    let failed = |name: &str, title: &str, error: &anyhow::Error| {
        let mut cells: [String; 7] = [(); 7].map(|()| "–".to_owned());
        cells[0] = name.to_owned();
        cells[1] = title.to_owned();
        vec![Line { at, cells, differences: vec![format!("not run: {error:#}")], cost: None }]
    };
    match row {
        Row::Boot(scenario) => match boot::boot(layout, rig, scenario) {
            Ok(boot) => {
                let differences = verdict::differences(scenario, &boot);
                let cost = Cost::of(scenario, &boot);
                vec![Line {
                    at,
                    cells: cells(scenario.name, scenario.title, scenario, &boot),
                    differences,
                    cost,
                }]
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
                    lines.push(Line { at, cells, differences: Vec::new(), cost: Cost::of(scenario, boot) });
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
        Ending::Crash(code) | Ending::CrashEarly(code) => format!(", bugcheck 0x{code:X} of another's"),
    };
    let exposure = match expect.pv {
        0 => "no PV disk".to_owned(),
        1 => "1 PV disk".to_owned(),
        n => format!("{n} PV disks"),
    };
    (mode + &ending, exposure)
}

/// Returns the lines that the table has of the other rows than those of these names.
fn kept(path: &Path, all: &[Row], names: &[String]) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}; run the whole matrix first", path.display()))?;
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
        let Ok(cells) = <[String; HEAD.len()]>::try_from(cells.clone()) else { continue };
        let Some(at) = row_of(&cells[0]) else { continue };
        if names.iter().any(|name| name == all[at].name()) {
            continue;
        }
        let differs = cells[5].strip_prefix(DIFFERS).map(str::to_owned);
        let cost = table.iter().find_map(|row| match &row[..] {
            [name, disks, decision, up] if *name == cells[0] => {
                let time = |text: &str| text.parse().ok().map(|time: f64| (time * 1000.0) as u64);
                Some(Cost { disks: disks.parse().ok()?, decision: time(decision)?, up: time(up)? })
            }
            _ => None,
        });
        lines.push(Line { at, cells, differences: differs.into_iter().collect(), cost });
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
         host: every block, and that no boot mounted a disk more than once.\n\n\
         {}\n\n",
        summary(lines)
    );
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    text += &row(&HEAD.map(str::to_owned));
    text += &row(&HEAD.map(|_| "---".to_owned()));
    for line in lines {
        let mut cells = line.cells.clone();
        if !line.differences.is_empty() {
            cells[5] = format!("{DIFFERS}{}", line.differences.join("; "));
        }
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

    /// The README and the page say the same, and it is what the page's rows come to.
    #[test]
    fn the_readme_tells_what_the_table_has() {
        let read = |name: &str| fs::read_to_string(Layout::here().root().join(name)).expect(name);
        let (readme, page) = (read("README.md"), read("docs/results/guard-matrix.md"));
        let lines = kept(&Layout::here().root().join("docs/results/guard-matrix.md"), &rows(), &[])
            .expect("the page");
        for text in [&readme, &page] {
            let found: Vec<_> = text.lines().filter(|line| is_summary(line)).collect();
            assert_eq!(found, [summary(&lines)]);
        }
    }
}
