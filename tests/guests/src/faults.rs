//! Faults injected into a PV boot, one per boot, by index (`tests/nt/src/inject`): whatever fails, the boot
//! ends emulated, PV or stopped, with every disk mounted at most once and nothing that the verifier objects
//! to.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail, ensure};
use guard::machine::BUGCHECK_CODE;
use protocol::{Plan, Word};
use rig::{Report, RigFiles};
use volume::Verdict;

use crate::{boot, boot::rig_files, built, layout::Layout, verdict};

/// Boots that one dom0 goes through before the rig starts afresh.
const BATCH: usize = 40;
/// A ring of one page, and 73 pages for a disk in place of 292: of a row of allocations of one kind the
/// hundreds after the first dozens say nothing new, and each is a boot.
const SMALL_RINGS: &str = "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\xenvbd\\Parameters]\n\
    \"RingOrder\"=dword:00000000\n\"Segments\"=dword:00000040\n";
/// The first line of a guest's console.
const FIRST_LINE: &str = "HVM Loader";
/// The bugcheck of a panic in one of the drivers (`wdm::bugcheck::PANIC`): memory that Rust's own collections
/// do not get ends there.
const PANIC: u64 = 0x0058_4750;
/// Parts of the fixed faults, which take turns in the tests.
pub const SAMPLES: usize = 2;
/// Faults tried by the tests: of each kind an early request, made by idefilter, and a later one;
/// and one of those without which xenvbd's device does not start.
const SAMPLE: [&str; 10] = [
    "random:1",
    "pool:2",
    "pool:60",
    "registry:3",
    "registry:12",
    "hypercall:1",
    "hypercall:12",
    "store:1",
    "store:12",
    "pool:150",
];

/// A correct end of a boot with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Pv,
    Emulated,
    /// Nothing was exposed after the emulated disks had been taken away: NT stops with 0x7B.
    NoDisk,
    /// The guard stopped it.
    Stopped,
    /// A driver stopped it for want of memory: so pages of earlier drivers have it. It is wrong now.
    Panicked,
    /// There was no such request in this boot.
    NotReached,
}

impl End {
    const ALL: [Self; 6] =
        [Self::Pv, Self::Emulated, Self::NoDisk, Self::Stopped, Self::Panicked, Self::NotReached];
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            End::Pv => "PV",
            End::Emulated => "emulated",
            End::NoDisk => "no disk (0x7B)",
            End::Stopped => "stopped by the guard",
            End::Panicked => "stopped by a driver",
            End::NotReached => "not reached",
        })
    }
}

/// Results of boots with faults.
#[derive(Default)]
struct Found {
    /// The drivers that a kind's boots ran on, as [`built::digest`] has them.
    drivers: BTreeMap<String, String>,
    /// Number of boots of a kind that ended so.
    ends: BTreeMap<(String, End), u32>,
    /// Descriptions of the faults that ended wrong, each line beginning with its plan.
    wrong: Vec<String>,
    /// Number of boots that were run again.
    again: usize,
}

/// Runs every request of every kind, of those named, or with `rest` of those that did not run whole and right on the drivers
/// as they are; prints how they ended. The page is written behind each kind, so a run that is ended early loses one at most;
/// with `every` above 1 it stays as it is.
///
/// # Errors
/// The rig failed, or a boot ended otherwise than it may.
pub fn run(kinds: &[String], rest: bool, every: u64) -> Result<()> {
    let layout = Layout::here();
    let rig = prepare(&layout)?;
    let drivers = built::digest(&layout)?;
    let (counted, _) = boots(&layout, &rig, "faults-count", &[])?;
    let last = counted.last().context("the guest printed nothing")?;
    let requests = last.first(protocol::Line::Requests.name()).context("the requests were not counted")?;
    let mut new = Found::default();
    for (kind, count) in &requests.fields {
        let left_out = !kinds.is_empty() && !kinds.contains(kind);
        if left_out || rest && on_page(&layout)?.is_done(kind, &drivers) {
            continue;
        }
        let count: u64 = count.parse().with_context(|| format!("{kind}={count}"))?;
        println!("{kind}: {count} requests in a PV boot");
        let plans: Vec<_> =
            (1..=count).step_by(every.max(1) as usize).map(|n| format!("{kind}:{n}")).collect();
        let mut found = Found::default();
        found.drivers.insert(kind.clone(), drivers.clone());
        found.boot(&layout, &rig, kind, &plans);
        if every <= 1 {
            // Another run may have written other kinds meanwhile.
            let mut all = on_page(&layout)?;
            all.replace(kind, &found);
            write_page(&layout, &all)?;
        }
        new.replace(kind, &found);
    }
    new.judge()
}

/// Runs those again that the page lists as wrong, and writes the page with what comes of them.
///
/// # Errors
/// As [`run`]; there is no page.
pub fn again() -> Result<()> {
    let layout = Layout::here();
    ensure!(
        page_path(&layout).exists(),
        "there is no {}; run cargo xtask faults first",
        page_path(&layout).display()
    );
    let plans: Vec<_> = on_page(&layout)?.wrong.iter().map(|wrong| plan_of(wrong).to_owned()).collect();
    let rig = prepare(&layout)?;
    let mut new = Found::default();
    new.boot(&layout, &rig, "again", &plans);
    // Another run may have written other kinds meanwhile.
    let mut found = on_page(&layout)?;
    found.wrong.retain(|wrong| !plans.iter().any(|plan| plan == plan_of(wrong)));
    found.wrong.extend(new.wrong);
    for (key, count) in new.ends {
        *found.ends.entry(key).or_insert(0) += count;
    }
    found.again += plans.len();
    write_page(&layout, &found)?;
    found.judge()
}

fn prepare(layout: &Layout) -> Result<RigFiles> {
    rig_files::ensure(layout, rig::Release::default())
}

impl Found {
    /// Returns true if a kind ran whole and right on these drivers.
    fn is_done(&self, kind: &str, drivers: &str) -> bool {
        self.drivers.get(kind).is_some_and(|of| of == drivers)
            && !self.wrong.iter().any(|wrong| kind_of(wrong) == kind)
    }

    /// Takes a kind's results from others in place of its own.
    fn replace(&mut self, kind: &str, found: &Self) {
        self.drivers.extend(found.drivers.clone());
        self.ends.retain(|(of, _), _| of != kind);
        self.ends.extend(found.ends.iter().map(|(key, count)| (key.clone(), *count)));
        self.wrong.retain(|wrong| kind_of(wrong) != kind);
        self.wrong.extend_from_slice(&found.wrong);
    }

    /// Boots with each plan, on several rigs; says at once what is wrong, since a run takes long. The batches are named after
    /// `name`.
    fn boot(&mut self, layout: &Layout, rig: &RigFiles, name: &str, plans: &[String]) {
        let size = plans.len().div_ceil(rig_files::AT_ONCE).clamp(1, BATCH);
        let batches = plans.chunks(size).enumerate();
        let total = batches.len();
        let found = Mutex::new(self);
        rig_files::each(rig_files::AT_ONCE, batches, |(n, plans)| {
            let name = format!("{name}-{n}");
            let result = batch(layout, rig, &format!("faults-{name}"), plans);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok((ends, wrong)) => found.add(ends, wrong),
                // Nothing is known of the batch's boots.
                Err(error) => {
                    let why = format!("{error:#}").replace('\n', "; ");
                    let wrong = plans.iter().map(|plan| format!("{plan}: its batch: {why}")).collect();
                    found.add(Vec::new(), wrong);
                }
            }
            let (right, wrong) = (found.ends.values().sum::<u32>(), found.wrong.len());
            println!("batch {} of {total} done; so far {right} right, {wrong} wrong", n + 1);
        });
    }

    fn add(&mut self, ends: Ends, wrong: Vec<String>) {
        for (plan, end) in ends {
            *self.ends.entry((kind_of(&plan).to_owned(), end)).or_insert(0) += 1;
        }
        wrong.iter().for_each(|line| println!("WRONG: {line}"));
        self.wrong.extend(wrong);
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |((kind, end), count): (&(String, End), &u32)| {
            let drivers = self.drivers.get(kind).map_or("–", String::as_str);
            vec![kind.clone(), drivers.to_owned(), end.to_string(), count.to_string()]
        };
        self.ends.iter().map(row).collect()
    }

    /// Prints the table.
    ///
    /// # Errors
    /// Something was wrong.
    fn judge(&self) -> Result<()> {
        verdict::print_table(&HEAD, &self.rows());
        if !self.wrong.is_empty() {
            bail!("{} boots ended otherwise than they may:\n{}", self.wrong.len(), self.wrong.join("\n"));
        }
        Ok(())
    }
}

/// Returns the plan that a line of what is wrong begins with.
fn plan_of(wrong: &str) -> &str {
    wrong.split_once(": ").map_or(wrong, |(plan, _)| plan)
}

/// Returns the kind of a plan.
fn kind_of(plan: &str) -> &str {
    plan.split_once(':').map_or(plan, |(kind, _)| kind)
}

const HEAD: [&str; 4] = ["kind", "drivers", "end", "boots"];
/// The words before the number of boots that were tried again.
const AGAIN: &str = "Boots that were run again, after what they had shown was mended: ";

fn page_path(layout: &Layout) -> PathBuf {
    layout.root().join("docs/results/faults.md")
}

/// Returns what the page says, nothing where there is none.
fn on_page(layout: &Layout) -> Result<Found> {
    let path = page_path(layout);
    let text = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
    Ok(read_page(&text))
}

fn write_page(layout: &Layout, found: &Found) -> Result<()> {
    let path = page_path(layout);
    fs::write(&path, page(found)).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// Returns `docs/results/faults.md`: what came of the last run of each kind, and of the boots that were run again.
fn page(found: &Found) -> String {
    let good: u32 = found.ends.values().sum();
    let mut text = format!(
        "# Faults by index\n\n\
         Written by `cargo xtask faults`; not edited by hand. Each request that a PV boot makes has failed once, in a boot of its\n\
         own ([testing](../testing.md#faults-by-index) says how, and which ends are right). The drivers that a kind ran on are\n\
         told by the first digits of their SHA-256.\n\n\
         **{} boots, {good} with a right end.**\n\n| {} |\n|---|---|---|---|\n",
        good as usize + found.wrong.len(),
        HEAD.join(" | "),
    );
    for row in found.rows() {
        text += &format!("| {} |\n", row.join(" | "));
    }
    if found.again > 0 {
        text += &format!("\n{AGAIN}{}\n", found.again);
    }
    if !found.wrong.is_empty() {
        text += "\nNot as they may:\n\n";
        text.extend(found.wrong.iter().map(|line| format!("- {line}\n")));
    }
    text
}

/// Reads a page.
fn read_page(text: &str) -> Found {
    let mut found = Found::default();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
        if let [kind, drivers, end, count] = cells[..]
            && let (Some(end), Ok(count)) =
                (End::ALL.into_iter().find(|e| e.to_string() == end), count.parse())
        {
            found.drivers.insert(kind.to_owned(), drivers.to_owned());
            found.ends.insert((kind.to_owned(), end), count);
        } else if let Some(wrong) = line.strip_prefix("- ") {
            found.wrong.push(wrong.to_owned());
        } else if let Some(number) = line.strip_prefix(AGAIN) {
            found.again = number.parse().unwrap_or(0);
        }
    }
    found
}

/// Runs a part of the fixed sample, from 0 to [`SAMPLES`] - 1.
///
/// # Errors
/// The rig failed, or a boot ended otherwise than it may, or without its fault.
pub fn sample(layout: &Layout, rig: &RigFiles, part: usize) -> Result<()> {
    let plans: Vec<String> = SAMPLE.iter().skip(part).step_by(SAMPLES).map(|&plan| plan.to_owned()).collect();
    let (ends, wrong) = batch(layout, rig, &format!("faults-sample-{part}"), &plans)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missed: Vec<_> = ends.iter().filter(|(_, end)| *end == End::NotReached).collect();
    ensure!(missed.is_empty(), "no such request: {missed:?}");
    Ok(())
}

/// The end of each boot of a batch.
type Ends = Vec<(String, End)>;

/// Boots one dom0's worth of faults and then, on the same disk, without one: that boot must be a PV boot that
/// finds the volume as the others left it. Answers the ends, and what was wrong.
fn batch(layout: &Layout, rig: &RigFiles, name: &str, plans: &[String]) -> Result<(Ends, Vec<String>)> {
    let (reports, image) = boots(layout, rig, name, plans)?;
    ensure!(reports.len() == plans.len() + 1, "{} guests were seen of {}", reports.len(), plans.len() + 1);
    let (mut ends, mut wrong) = (Vec::new(), Vec::new());
    let mut mounts = 0;
    for (plan, report) in plans.iter().map(String::as_str).chain(["none"]).zip(&reports) {
        mounts += report.all(protocol::Line::Mount.name()).count() as u64;
        match end(report) {
            Ok(End::NotReached) if plan == "none" => {}
            Ok(end) if plan == "none" => bail!("the last boot has a fault: {end}"),
            Ok(end) => ends.push((plan.to_owned(), end)),
            Err(why) => wrong.push(format!("{plan}: {why}")),
        }
    }
    // A boot that was cut off may have mounted, and not have said so. It is wrong, and runs again in another batch.
    let most = mounts + wrong.len() as u64;
    if image.verdict != Verdict::Intact || !(1 + mounts..=1 + most).contains(&image.generation) {
        bail!("the image is {image}, mounted {} times of {mounts}", image.generation - 1);
    }
    Ok((ends, wrong))
}

/// Returns the end of a boot, or the error in it.
fn end(report: &Report) -> Result<End, String> {
    let injected =
        report.first(protocol::Line::Injected.name()).map(|line| line.text.clone()).unwrap_or_default();
    let why = |what: String| Err(format!("{what} ({injected})"));
    if let Some(violation) = report.first(protocol::Line::Violation.name()) {
        return why(format!("violation {}", violation.text));
    }
    let ide = report.all(protocol::Line::Disk.name()).filter(|disk| disk.is("bus", "ide")).count();
    let pv = report.all(protocol::Line::Disk.name()).filter(|disk| disk.is("driver", "xenvbd")).count();
    let mounts = report.all(protocol::Line::Mount.name()).count();
    if mounts > 1 || report.all(protocol::Line::Mount.name()).any(|mount| !mount.is("status", "ok")) {
        return why(format!("{mounts} mounts of one disk"));
    }
    let end = match (report.verdict(), report.bugcheck()) {
        (Some("stopped"), Some([code, ..])) if code == u64::from(BUGCHECK_CODE) => End::Stopped,
        (Some("stopped"), Some([PANIC, line, ..])) => {
            return why(format!("a driver could not do without memory (line {line})"));
        }
        (Some("stopped"), Some([code, p1, ..])) => return why(format!("bugcheck {code:#x} {p1:#x}")),
        (Some("clean"), None) => match (ide, pv, mounts) {
            (0, 1, 1) => End::Pv,
            (1, 0, 1) => End::Emulated,
            (0, 0, 0) => End::NoDisk,
            _ => return why(format!("{ide} IDE and {pv} PV disks, {mounts} mounts")),
        },
        (verdict, _) => return why(format!("no end: {verdict:?}")),
    };
    if injected.is_empty() {
        return if end == End::Pv { Ok(End::NotReached) } else { why(format!("{end} without a fault")) };
    }
    Ok(end)
}

/// Boots with each plan and then without a fault, on one disk; what each guest reported, and the disk's
/// image.
fn boots(
    layout: &Layout,
    rig: &RigFiles,
    name: &str,
    plans: &[String],
) -> Result<(Vec<Report>, volume::Report)> {
    let parse = |plan: &String| Plan::parse(plan).with_context(|| format!("{plan} is no plan"));
    let words: Vec<_> = plans.iter().map(|plan| Ok(Word::Inject(parse(plan)?))).collect::<Result<_>>()?;
    let last = Word::Inject(Plan::Count);
    let (console, image) = boot::boot_batch(layout, rig, name, SMALL_RINGS, &words, last)?;
    // What stands before the first guest's first line is no guest's.
    let mut guests: Vec<Vec<&str>> = Vec::new();
    for line in &console {
        match guests.last_mut() {
            _ if line.starts_with(FIRST_LINE) => guests.push(Vec::new()),
            Some(guest) => guest.push(line),
            None => {}
        }
    }
    Ok((guests.into_iter().map(Report::parse).collect(), image))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(lines: &[&str]) -> Result<End, String> {
        end(&Report::parse(lines.iter().copied()))
    }

    #[test]
    fn the_page_counts_what_it_lists_and_is_read_again() {
        let drivers = [("pool", "1a2b3c4d"), ("store", "5e6f7081")];
        let found = Found {
            drivers: drivers.map(|(kind, digits)| (kind.to_owned(), digits.to_owned())).into(),
            ends: [(("pool".to_owned(), End::Pv), 2), (("store".to_owned(), End::Emulated), 1)].into(),
            wrong: vec!["pool:3: hung".to_owned(), "registry:4: its batch: no rig".to_owned()],
            again: 7,
        };
        let text = page(&found);
        assert!(text.contains("**5 boots, 3 with a right end.**"), "{text}");
        assert!(
            text.contains("| pool | 1a2b3c4d | PV | 2 |\n| store | 5e6f7081 | emulated | 1 |\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\nNot as they may:\n\n- pool:3: hung\n- registry:4: its batch: no rig\n"),
            "{text}"
        );
        let read = read_page(&text);
        assert_eq!((&read.drivers, &read.ends), (&found.drivers, &found.ends));
        assert_eq!((&read.wrong, read.again), (&found.wrong, 7));
        assert_eq!(
            read.wrong.iter().map(|wrong| plan_of(wrong)).collect::<Vec<_>>(),
            ["pool:3", "registry:4"]
        );
    }

    #[test]
    fn a_kind_is_done_that_ran_right_on_these_drivers_and_a_new_run_takes_its_place() {
        let ran = |digits: &str, end, wrong: &[&str]| Found {
            drivers: [("pool".to_owned(), digits.to_owned())].into(),
            ends: [(("pool".to_owned(), end), 4)].into(),
            wrong: wrong.iter().map(|&line| line.to_owned()).collect(),
            again: 0,
        };
        let mut all = ran("old", End::Pv, &["pool:3: hung", "registry:1: hung"]);
        assert!(!all.is_done("pool", "old") && !all.is_done("registry", "old"));
        all.replace("pool", &ran("new", End::Emulated, &[]));
        assert_eq!(all.wrong, ["registry:1: hung"]);
        assert_eq!(all.ends.keys().cloned().collect::<Vec<_>>(), [("pool".to_owned(), End::Emulated)]);
        assert!(all.is_done("pool", "new") && !all.is_done("pool", "old") && !all.is_done("store", "new"));
    }

    #[test]
    fn only_the_ends_that_may_be_are_ends() {
        const INJECTED: &str = "@xg injected kind=pool n=1 routine=X";
        const PV: &str = "@xg disk n=0 bus=scsi driver=xenvbd";
        const IDE: &str = "@xg disk n=0 bus=ide driver=ide";
        const MOUNT: &str = "@xg mount disk=0 status=ok";
        const CLEAN: &str = "@xg end verdict=clean";
        const STOPPED: &str = "@xg end verdict=stopped";
        assert_eq!(end_of(&[INJECTED, PV, MOUNT, CLEAN]), Ok(End::Pv));
        assert_eq!(end_of(&[PV, MOUNT, CLEAN]), Ok(End::NotReached));
        assert_eq!(end_of(&[INJECTED, IDE, MOUNT, CLEAN]), Ok(End::Emulated));
        assert_eq!(end_of(&[INJECTED, CLEAN]), Ok(End::NoDisk));
        assert_eq!(end_of(&[INJECTED, "@xg bugcheck code=0x58454e p1=0x50", STOPPED]), Ok(End::Stopped));
        assert!(end_of(&[INJECTED, "@xg bugcheck code=0x50 p1=0x8", STOPPED]).is_err());
        assert!(end_of(&[IDE, MOUNT, CLEAN]).is_err(), "emulated without a fault");
        assert!(end_of(&[INJECTED, IDE, PV, MOUNT, MOUNT, CLEAN]).is_err(), "both");
        assert!(end_of(&[INJECTED, IDE, PV, MOUNT, CLEAN]).is_err(), "both shown");
        assert!(end_of(&[INJECTED, PV, MOUNT, "@xg violation name=pool-leaked", STOPPED]).is_err());
        assert!(end_of(&[INJECTED, PV, MOUNT]).is_err(), "hung");
    }
}
