//! Runs breakages that a seed draws, against the shortest set of tests that an admin's boots need.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use guests::boot::rig_files;
use rig::RigFiles;

use super::{
    draw::{Breakage, Draw},
    run::{builds, copies, failed_tests, host, in_copies, in_guest},
};
use crate::{build, inf, layout::Layout, repro, setup};

/// The guests, in the order in which they are asked, each main path once, and the folders whose code is on that path.
const GUESTS: [(&str, &[&str]); 9] = [
    ("pv", &["wdm", "inf", "idefilter", "xenpci", "xenvbd"]),
    ("alias-returns", &["wdm", "inf", "idefilter", "xenvbd"]),
    ("emulated", &["wdm", "inf", "idefilter", "xenpci"]),
    ("filter-detached", &["wdm", "inf", "idefilter"]),
    ("disks-hidden", &["wdm", "inf", "idefilter"]),
    ("hotplug-qdisk", &["wdm", "inf", "xenpci", "xenvbd"]),
    ("save-restore", &["wdm", "xenpci", "xenvbd"]),
    ("xl-shutdown", &["wdm", "xenpci"]),
    ("crash-dump", &["wdm", "xenpci", "xenvbd"]),
];

/// Returns the guests that are asked about a file.
fn guests_of(file: &str) -> impl Iterator<Item = &'static str> {
    let folder = file.split('/').next().unwrap_or_default().to_owned();
    GUESTS.iter().filter(move |(_, folders)| folders.contains(&&*folder)).map(|(guest, _)| *guest)
}

/// Knowledge of breakages that survived, by seed and number: what was done.
const REMARKS: &[(u64, usize, &str)] = &[(
    20,
    1,
    "an event-log packet is zeroed before, and every entry but idefallback's has the status 0; nobody reads that one's",
)];

/// The page that the results are written to.
const PAGE: &str = "docs/results/drawn.md";

/// Draws breakages from a seed until `count` of them have been tried, and writes `docs/results/drawn.md`. Those that
/// the page has already are not tried again; those that do not build do not count. Rows of other seeds stay: each was
/// drawn from the sources of its day.
///
/// # Errors
/// The rig fails, or a file cannot be written. A breakage that survives is no error: the page tells of it.
pub fn run(seed: u64, count: usize) -> Result<()> {
    setup::ensure()?;
    build::executive()?;
    let here = Layout::here();
    let rig = rig_files::ensure(&here, rig::Release::default())?;
    let copies = copies(&here, "tree", count.max(1))?;
    let rest = Mutex::new(Rest {
        draw: (1..).zip(Draw::new(copies[0].root(), seed)?),
        page: Page::read(&here),
        tried: 0,
        begun: 0,
    });
    let rest = || rest.lock().unwrap_or_else(PoisonError::into_inner);
    in_copies(
        &copies,
        || rest().next(seed, count),
        |copy, (number, breakage)| {
            repro::copy_sources(&here, copy)?;
            breakage.apply(copy.root())?;
            let Breakage { file, line, from, to } = &breakage;
            let end = end(&here, copy, &rig, &breakage)?;
            println!("{number}: {file}:{line} `{from}` → `{to}`: {end}");
            let mut rest = rest();
            rest.add((seed, number), &breakage, &end);
            rest.page.write(&here)
        },
    )
}

/// Work that is left, shared by those who do it.
struct Rest<D> {
    draw: D,
    page: Page,
    /// Breakages of the seed that were tried.
    tried: usize,
    /// Breakages that are being tried.
    begun: usize,
}

impl<D: Iterator<Item = (usize, Breakage)>> Rest<D> {
    /// Returns the next breakage of a seed that the page does not have, unless `count` have been tried or begun. A seed may
    /// draw a line twice.
    fn next(&mut self, seed: u64, count: usize) -> Option<(usize, Breakage)> {
        while self.tried + self.begun < count {
            let (number, breakage) = self.draw.next()?;
            if self.page.has((seed, number), &breakage) {
                self.tried += usize::from(self.page.counts((seed, number)));
            } else if !self.page.has_drawn(seed, &breakage) {
                self.begun += 1;
                return Some((number, breakage));
            }
        }
        None
    }

    /// Adds what came of a breakage to the page.
    fn add(&mut self, name: Name, breakage: &Breakage, end: &str) {
        self.page.add(name, breakage, end);
        self.begun -= 1;
        self.tried += usize::from(self.page.counts(name));
    }
}

/// The word for a breakage that no test caught.
const SURVIVED: &str = "**survived**";
/// The word for a breakage that is no program.
const NOT_BUILT: &str = "does not build";

/// Returns what caught the breakage that the copy has.
fn end(here: &Layout, copy: &Layout, rig: &RigFiles, breakage: &Breakage) -> Result<String> {
    if breakage.file.starts_with("bootcfg/") {
        // The tests of the program are on the host, where its parts for Windows are not built.
        if !builds(copy, "bootcfg")? {
            return Ok(NOT_BUILT.to_owned());
        }
        let failed = host(copy, "bootcfg", &["--tests"], &[], failed_tests)?;
        return Ok(failed.map_or(SURVIVED.to_owned(), |failed| format!("host tests of bootcfg: {failed}")));
    }
    if breakage.file.starts_with("inf/")
        && let Err(finding) = inf::check(copy)
    {
        let finding = finding.to_string();
        return Ok(format!("rules of the INF files: {}", finding.lines().next().unwrap_or_default()));
    }
    // The INF files are in the executive's registry by the driver's installation, not in a build.
    if build::shipped_in(copy).is_err() {
        return Ok(NOT_BUILT.to_owned());
    }
    for guest in guests_of(&breakage.file) {
        if let Some(difference) = in_guest(here, copy, rig, guest)? {
            return Ok(format!("guest {guest}: {difference}"));
        }
    }
    Ok(SURVIVED.to_owned())
}

/// Seed and number of a breakage.
type Name = (u64, usize);

/// The page: rows by name.
struct Page(BTreeMap<Name, [String; 4]>);

impl Page {
    /// Reads the rows that there are.
    fn read(layout: &Layout) -> Self {
        let text = fs::read_to_string(layout.root().join(PAGE)).unwrap_or_default();
        Self(text.lines().filter_map(row).collect())
    }

    /// Returns true if the page tells of a breakage.
    fn has(&self, name: Name, breakage: &Breakage) -> bool {
        self.0.get(&name).is_some_and(|row| row[..3] == cells(breakage))
    }

    /// Returns true if the page tells of the same breakage by another number of the seed.
    fn has_drawn(&self, seed: u64, breakage: &Breakage) -> bool {
        self.0.range((seed, 0)..=(seed, usize::MAX)).any(|(_, row)| row[..3] == cells(breakage))
    }

    /// Returns true if a breakage was a program.
    fn counts(&self, name: Name) -> bool {
        self.0.get(&name).is_some_and(|row| row[3] != NOT_BUILT)
    }

    fn add(&mut self, name: Name, breakage: &Breakage, end: &str) {
        let [file, from, to] = cells(breakage);
        self.0.insert(name, [file, from, to, cell(end)]);
    }

    fn write(&self, layout: &Layout) -> Result<()> {
        let path = layout.root().join(PAGE);
        fs::write(&path, self.text()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> String {
        let ends = |wanted: &str| self.0.values().filter(|row| row[3] == wanted).count();
        let (survived, not_built) = (ends(SURVIVED), ends(NOT_BUILT));
        let tried = self.0.len() - not_built;
        let remarks: String = REMARKS
            .iter()
            .filter(|(seed, number, _)| self.0.contains_key(&(*seed, *number)))
            .map(|(seed, number, remark)| format!("- {seed}.{number}: {remark}\n"))
            .collect();
        let remarks = if remarks.is_empty() {
            String::new()
        } else {
            format!("What was done about survivors:\n\n{remarks}\n")
        };
        let rows: String = self
            .0
            .iter()
            .map(|((seed, number), [file, from, to, end])| {
                format!("| {seed}.{number} | {file} | {from} | {to} | {end} |\n")
            })
            .collect();
        format!(
            "# Breakages drawn by a seed\n\n\
             Written by `cargo xtask mutants --seed`; not edited by hand. One line of the suite at a time is broken as a seed has\n\
             it: a comparison, a connective, a sign or a truth value is turned round, a statement or a line of an INF file is\n\
             taken out. The tests that are asked are the host tests of bootcfg, the rules of the INF files, and of these guests\n\
             those on whose path the line is: {}.\n\
             A line's name is the seed and its number in the draw, from the sources of its day.\n\n\
             **{tried} tried, {} caught, {survived} survived.** {not_built} more do not build, and count for nothing. A breakage\n\
             may change nothing that anybody could see, as where two values are equal whenever the line runs.\n\n\
             {remarks}| | line | as it is | as it was broken | caught by |\n|---|---|---|---|---|\n{rows}",
            guests(),
            tried - survived,
        )
    }
}

fn guests() -> String {
    GUESTS.map(|(guest, _)| format!("`{guest}`")).join(", ")
}

/// Returns a text as a cell of a table shows it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Returns the cells that say what is broken.
fn cells(breakage: &Breakage) -> [String; 3] {
    let code = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("`{}`", cell(text)) };
    [format!("{}:{}", breakage.file, breakage.line), code(&breakage.from), code(&breakage.to)]
}

/// Returns name and cells of a row of the table.
fn row(line: &str) -> Option<(Name, [String; 4])> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Vec<&str> = inner.split(" | ").collect();
    let [name, cells @ ..] = &cells[..] else { return None };
    let (seed, number) = name.split_once('.')?;
    let cells: [&str; 4] = cells.try_into().ok()?;
    Some(((seed.parse().ok()?, number.parse().ok()?), cells.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_read_back() {
        let breakage = |from: &str, to: &str| Breakage {
            file: "wdm/src/a.rs".into(),
            line: 3,
            from: from.into(),
            to: to.into(),
        };
        let (one, two) = (breakage("a || b", "a && b"), breakage("f();", ""));
        let mut page = Page(BTreeMap::new());
        page.add((7, 1), &one, SURVIVED);
        page.add((8, 1), &two, NOT_BUILT);
        let text = page.text();
        assert!(text.contains("**1 tried, 0 caught, 1 survived.** 1 more"), "{text}");
        let read = Page(text.lines().filter_map(row).collect());
        assert_eq!(read.0, page.0);
        assert!(read.has((7, 1), &one) && read.has((8, 1), &two) && !read.has((7, 1), &two));
        assert!(read.counts((7, 1)) && !read.counts((8, 1)));
    }

    #[test]
    fn what_does_not_build_makes_room_for_another() {
        let breakage =
            |line| Breakage { file: "wdm/src/a.rs".into(), line, from: "f();".into(), to: String::new() };
        let (page, draw) = (Page(BTreeMap::new()), (1..).zip((1..).map(breakage)));
        let mut rest = Rest { draw, page, tried: 0, begun: 0 };
        // The page has the second one from an earlier run.
        rest.page.add((7, 2), &breakage(2), SURVIVED);
        let mut next = || rest.next(7, 3).map(|(number, _)| number);
        assert_eq!([next(), next(), next()], [Some(1), Some(3), None]);
        rest.add((7, 1), &breakage(1), SURVIVED);
        assert_eq!(rest.next(7, 3), None);
        rest.add((7, 3), &breakage(3), NOT_BUILT);
        assert_eq!(rest.next(7, 3), Some((4, breakage(4))));
        assert!(rest.page.has_drawn(7, &breakage(3)) && !rest.page.has_drawn(8, &breakage(3)));
    }

    #[test]
    fn the_guests_are_in_the_catalogue() {
        for (guest, _) in GUESTS {
            assert!(guests::catalogue::boots().any(|boot| boot.name == guest), "{guest}");
        }
        let guests: Vec<_> = guests_of("inf/xenvbd.inf").collect();
        assert_eq!(
            guests,
            ["pv", "alias-returns", "emulated", "filter-detached", "disks-hidden", "hotplug-qdisk"]
        );
    }
}
