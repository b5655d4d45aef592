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

/// Knowledge of breakages that survived, by file and by a part of the line: what was done.
const REMARKS: &[(&str, &str, &str)] = &[
    (
        "wdm/src/event_log.rs",
        "FinalStatus",
        "a packet is zeroed before, and every entry but idefallback's has the status 0; nobody reads that one's",
    ),
    (
        "wdm/src/bugcheck.rs",
        "let accepted = register()",
        "the record stays with the kernel when the driver goes: a mutant for `platform-lost-withheld`, where xenpci unloads",
    ),
    (
        "idefilter/src/boot_count.rs",
        "time::sleep",
        "a mutant for `failed-boots`, which no run of nine guests has",
    ),
    (
        "idefilter/src/unplug.rs",
        "MAGIC_PORT.write_u32(BUILD)",
        "changes nothing: qemu keeps the build number for a list of builds to refuse, which is empty",
    ),
    (
        "idefilter/src/storage_filter.rs",
        "is_emulated_disk",
        "a mutant for `disk-refused`, where a disk has the only filter",
    ),
    ("idefilter/src/storage_filter.rs", "StorageUnfiltered", "a mutant for `filter-without-memory`"),
    (
        "idefilter/src/relations.rs",
        "read_config(child",
        "a mutant for `no-read-config`; else the device ids say the same",
    ),
    (
        "xenvbd/src/adapter.rs",
        "settle = Some(settle)",
        "the thread is waited for when xenvbd unloads, and no guest unloads it with its disks shown, on which the system is; \
         the executive looks for threads at an unload now",
    ),
    (
        "xenpci/src/store.rs",
        "path.clear()",
        "changes nothing that is seen: the suite's own watchers do not read the path; the buffer would grow",
    ),
    (
        "wdm/src/device.rs",
        "ObfDereferenceObject",
        "open: references to device objects that stay are not counted",
    ),
    (
        "xenvbd/src/srb.rs",
        "Function::Pnp",
        "a mutant for `srb-functions`, which asks the adapter what it can do",
    ),
    (
        "xenpci/src/last_word.rs",
        "Box::from_raw",
        "a mutant for `platform-lost-withheld`: the pool is looked through",
    ),
    ("xenpci/src/fdo.rs", "add_state", "a mutant for `usage`"),
    (
        "xenpci/src/pdo.rs",
        "if !orphan",
        "open: the platform device goes under a started adapter in no guest, since the system is on its disks",
    ),
    (
        "wdm/src/no_execute.rs",
        "Version::NT_6_2",
        "changes nothing in a guest: none is 6.2, and the later ones are more",
    ),
    ("xenvbd/src/dump/port_driver.rs", "b'%'", "text for whoever debugs the dump"),
    (
        "xenvbd/src/vbd_list.rs",
        "publish_target_id",
        "a mutant for `crash-dump-replaced`, which is a guest since",
    ),
    (
        "inf/xenpci.inf",
        "CriticalDeviceDatabase",
        "the rule `critical-devices` looks at entries of other packages' devices, too",
    ),
    (
        "xenpci/src/suspend.rs",
        "stopping.store",
        "a mutant for `platform-lost-withheld`: the thread is waited for",
    ),
    ("idefilter/src/activity.rs", "OLD_NAME", "a mutant for `activity`, where the file becomes too long"),
    (
        "idefilter/src/activity.rs",
        "closing.set()",
        "the shutdown took 5 s more: its time is looked at in every guest now",
    ),
    (
        "idefilter/src/activity.rs",
        "worker.wake.set()",
        "a mutant for `activity`: in the nine the lines are written at the shutdown",
    ),
    (
        "wdm/src/request.rs",
        "ReadWriteConfig.Offset",
        "changes nothing: the start is all that is asked for, and the location is zeroed",
    ),
    (
        "wdm/src/request.rs",
        "status = result",
        "changes nothing: a request that failed has brought nothing, which is looked at; `no-read-config` has one fail later now",
    ),
    ("bootcfg/src/bcd/menu.rs", "FOR_EVER", "a test has the largest number of seconds now"),
    ("xenpci/src/suspend.rs", "let event =", "a mutant for `service`"),
    (
        "xenpci/src/store.rs",
        "if idle == 0",
        "a mutant for `backend-never-back`: it shows in the first wait after 30 s",
    ),
    (
        "xenpci/src/suspend.rs",
        "signal.asked.wait()",
        "a thread that never rests: waits of drivers' threads are counted in every guest now",
    ),
    (
        "xenvbd/src/census.rs",
        "disk.target.is_some());",
        "open: it stops a sound boot where a census comes between a vbd's departure and its disk's removal",
    ),
    ("bootcfg/src/system/suite.rs", "let unread", "a test asks for an installed suite's answer now"),
    (
        "wdm/src/time.rs",
        "KeStallExecutionProcessor",
        "changes nothing but how often the host's last word is looked for",
    ),
    ("xenpci/src/platform.rs", "hypercall_page::install", "gone: hypercalls need no page that Xen fills"),
    (
        "idefilter/src/pnp.rs",
        "release_and_wait",
        "a rule of the executive's verifier now: who deletes a device has waited for its remove lock",
    ),
    (
        "xenvbd/src/vbd_list.rs",
        "retake_census",
        "changes nothing that is seen: the guard's signal has some more taken at the same moment, which guests look for now",
    ),
    (
        "bootcfg/src/hive_edit/loaded.rs",
        "key.delete(&child)",
        "the registry of a running Windows, which is in Wine only",
    ),
    ("wdm/src/device.rs", "IoDeleteDevice", "a mutant for `platform-lost-withheld`"),
    ("wdm/src/device.rs", "power_work", "a mutant for `platform-lost-withheld`"),
    (
        "idefilter/src/reporter.rs",
        "next = number + 1",
        "open: no guest has two reasons told in turn, and the same one is not told twice",
    ),
    (
        "xenvbd/src/census.rs",
        "found.unread",
        "refuses more, not less: no guest has a disk of no known origin that was read, and another one attached",
    ),
    (
        "xenvbd/src/census.rs",
        "ours.any",
        "open: no disk stays with the system for longer than its farewell after its vbd is gone",
    ),
    ("xenpci/src/store.rs", "delivery.lock()", "open: no guest ends a watch while its callback runs"),
    ("wdm/src/irp.rs", "set_information(bytes.len())", "a mutant for `reader`"),
    (
        "xenpci/src/button.rs",
        "watched.store(false",
        "changes nothing: a device that has gone does not come back, and a new one has a button of its own",
    ),
    (
        "wdm/src/irp.rs",
        "(*next).Control = 0",
        "changes nothing: a completion routine is set behind each copy, and sets it",
    ),
];

/// The page that the results are written to.
const PAGE: &str = "docs/results/drawn.md";

/// Draws breakages from a seed until `count` of them have been tried, `at_once` at the same time, and writes
/// `docs/results/drawn.md`. Those that the page has already are not tried again; those that do not build do not count. Rows
/// of other seeds stay: each was drawn from the sources of its day.
///
/// # Errors
/// The rig fails, or a file cannot be written. A breakage that survives is no error: the page tells of it.
pub fn run(seed: u64, count: usize, at_once: usize) -> Result<()> {
    setup::ensure()?;
    build::executive()?;
    let here = Layout::here();
    let rig = rig_files::ensure(&here, rig::Release::default())?;
    let copies = copies(&here, "tree", count.min(at_once))?;
    let page = Page::read(&here);
    // With what is said of it today, also where nothing is left to try.
    page.write(&here)?;
    let rest = Mutex::new(Rest::new(page, seed, Draw::new(copies[0].root(), seed)?));
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
    /// Breakages that are being tried.
    begun: usize,
    /// Number of the last one that was begun, or that the page has.
    last: usize,
}

impl<D: Iterator<Item = Breakage>> Rest<D> {
    fn new(page: Page, seed: u64, draw: D) -> Self {
        Self { draw, last: page.last(seed), page, begun: 0 }
    }

    /// Returns the next breakage of a seed that the page does not have, and its number, unless `count` have been tried or
    /// begun. A seed may draw a line twice, and draws other ones when the sources have changed.
    fn next(&mut self, seed: u64, count: usize) -> Option<(usize, Breakage)> {
        if self.page.tried(seed) + self.begun >= count {
            return None;
        }
        let breakage = self.draw.by_ref().find(|breakage| !self.page.has(seed, breakage))?;
        self.begun += 1;
        self.last += 1;
        Some((self.last, breakage))
    }

    /// Adds what came of a breakage to the page.
    fn add(&mut self, name: Name, breakage: &Breakage, end: &str) {
        self.page.add(name, breakage, end);
        self.begun -= 1;
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

    fn of(&self, seed: u64) -> impl Iterator<Item = (&Name, &[String; 4])> {
        self.0.range((seed, 0)..=(seed, usize::MAX))
    }

    /// Returns the number of the seed's last row, 0 if there is none.
    fn last(&self, seed: u64) -> usize {
        self.of(seed).map(|(&(_, number), _)| number).max().unwrap_or(0)
    }

    /// Returns how many breakages of a seed were programs, and so were tried.
    fn tried(&self, seed: u64) -> usize {
        self.of(seed).filter(|(_, row)| row[3] != NOT_BUILT).count()
    }

    /// Returns true if the page tells of a breakage, wherever in its file the line is now.
    fn has(&self, seed: u64, breakage: &Breakage) -> bool {
        let [_, from, to] = cells(breakage);
        let file = |place: &str| place.rsplit_once(':').is_some_and(|(file, _)| file == breakage.file);
        self.of(seed).any(|(_, [place, f, t, _])| file(place) && *f == from && *t == to)
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
        let survivors = self.0.iter().filter(|(_, row)| row[3] == SURVIVED);
        let remarks: String = survivors
            .map(|((seed, number), row)| {
                let remark =
                    REMARKS.iter().find(|(file, from, _)| row[0].starts_with(file) && row[1].contains(from));
                format!(
                    "- {seed}.{number}: {}\n",
                    remark.map_or("not looked at yet", |(_, _, remark)| remark)
                )
            })
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
        assert!(read.has(7, &one) && read.has(8, &two) && !read.has(7, &two));
        // The line is another one since.
        assert!(read.has(7, &Breakage { line: 30, ..one.clone() }));
        assert_eq!((read.tried(7), read.tried(8), read.last(7), read.last(9)), (1, 0, 1, 0));
    }

    #[test]
    fn what_does_not_build_makes_room_for_another() {
        let breakage = |n: usize| Breakage {
            file: "wdm/src/a.rs".into(),
            line: n,
            from: format!("f{n}();"),
            to: String::new(),
        };
        let mut page = Page(BTreeMap::new());
        // From an earlier run.
        page.add((7, 2), &breakage(2), SURVIVED);
        let mut rest = Rest::new(page, 7, [1, 2, 3, 4, 5].map(breakage).into_iter());
        let mut next = || rest.next(7, 3).map(|(number, breakage)| (number, breakage.line));
        assert_eq!([next(), next(), next()], [Some((3, 1)), Some((4, 3)), None]);
        rest.add((7, 3), &breakage(1), SURVIVED);
        assert_eq!(rest.next(7, 3), None);
        rest.add((7, 4), &breakage(3), NOT_BUILT);
        assert_eq!(rest.next(7, 3), Some((5, breakage(4))));
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
