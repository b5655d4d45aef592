//! One machine through many boots, most of which lose their power, through many saves, and guests that are in use for hours
//! while disks come and go: `cargo xtask endurance`.
//!
//! The boots are on one volume, from either entry, as a seed draws them (`plan`). A stretch of them shares a start of Xen.
//! The disk has a cache in dom0 (`tests/rig/dom0/cache.sh`): where the power goes, of the pages that nobody has flushed
//! none, some or all reach the disk. Each boot reads what the earlier ones have flushed (`judge`). The registry goes on from
//! one stretch to the next, as its last boot, which ends in order, has left it.

mod hours;
mod judge;
mod page;
mod plan;
mod saves;

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use protocol::{Exercise, Word};
use rig::{BatchBoot, Disk, Outcome, Release, Report, RigFiles};

use crate::{
    boot::{self, Folder, Suite, registry, rig_files},
    command,
    layout::Layout,
    scenario::Entry,
};
use judge::{Ended, Tally};
use page::Counts;
use plan::{Planned, STRETCH};

/// Files of the run, which are written in turn (`tests/nt/src/exercise/endure.rs`).
const FILES: usize = 8;
/// Files that a boot writes.
const WRITTEN: u32 = 24;
/// The first line of a guest's console.
const FIRST_LINE: &str = "HVM Loader";
/// Command of dom0's that tells Xen's free memory in MiB, the number of domains, and that of the grants that somebody has
/// mapped or copies from (Xen's debug key g lists them).
const TELL: &str = "xl debug-keys g && g=$(xl dmesg | mawk '/gnttab_usage_print_all \\[/ {n=0} /\\] +[0-9]+ 0x/ {n++} \
                    END {print n + 0}') && echo \"@free $(xl info free_memory) domains $(xl list | tail -n +2 | wc -l) \
                    grants $g\"";
/// MiB by which Xen's free memory may differ without a leak: a guest has 128.
const SLACK: i64 = 8;

/// A length of the run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Boots, most of which lose their power
    #[arg(long, default_value_t = 40)]
    pub boots: u32,
    /// Machines that share the boots and the guest-hours and run at once, each with disks of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub machines: u32,
    /// Saves and restores of one guest under load, after the boots
    #[arg(long, default_value_t = 0)]
    pub saves: u32,
    /// Guest-hours of I/O while disks come and go, in sum over the machines, after boots and saves; fractions are allowed
    #[arg(long, default_value = "0", value_parser = hours_of)]
    pub hours: Duration,
    /// Seed of the first stretch, of ten boots or of twenty minutes; each further one has the next number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Reads a number of hours, to a second.
fn hours_of(text: &str) -> Result<Duration, String> {
    let hours: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64((hours * 3600.0).round()).map_err(|error| error.to_string())
}

/// Runs boots, saves and hours, and writes `docs/results/endurance.md`.
///
/// # Errors
/// The rig failed twice in a row, or something was not as it must be; the page is written all the same.
pub fn run(options: Options) -> Result<()> {
    let layout = Layout::here();
    let rig = rig_files::ensure(&layout, Release::default())?;
    let sources = sources(&layout)?;
    let mut wrong = Vec::new();
    if options.boots > 0 {
        let begun = Instant::now();
        let runs = page::Runs::before(&layout, &sources, options.seed);
        let mut seen = boots(&layout, &rig, options, &mut |seen| {
            println!("{}", seen.progress(options.boots, begun.elapsed()));
            let text = page::boots(seen, options.machines, options.seed, begun.elapsed());
            page::write(&layout, &text, page::BOOTS)?;
            runs.write(&layout, Counts::of_boots(&seen.tally))
        })?;
        wrong.append(&mut seen.tally.wrong);
    }
    if options.saves > 0 {
        let begun = Instant::now();
        let runs = page::Runs::before(&layout, &sources, options.seed);
        let mut saved = saves::run(&layout, &rig, options.saves)?;
        page::write(&layout, &page::saves(&saved, begun.elapsed()), page::SAVES)?;
        runs.write(&layout, Counts::of_saves(&saved))?;
        wrong.append(&mut saved.wrong);
    }
    if !options.hours.is_zero() {
        let begun = Instant::now();
        let runs = page::Runs::before(&layout, &sources, options.seed);
        let stretches = (options.seed, options.hours);
        let mut seen = hours::run(&layout, &rig, stretches, options.machines, &mut |seen| {
            let (came, wrong) = (seen.came(), seen.wrong.len());
            println!("{:.2} guest-hours, {came} disks came, {wrong} wrong", seen.guest_hours());
            let text = page::hours(seen, options.machines, options.seed, begun.elapsed());
            page::write(&layout, &text, page::HOURS)?;
            runs.write(&layout, Counts::of_hours(seen))
        })?;
        wrong.append(&mut seen.wrong);
    }
    ensure!(wrong.is_empty(), "{} things are not as they must be:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Runs the boots on all machines, each of which takes the next stretch when it is done with one. After each stretch `tell`
/// gets what was seen of all of them; it is returned in the end.
///
/// # Errors
/// The rig failed twice in a row on one of the machines; the others end their stretches. Or `tell` failed.
fn boots(
    layout: &Layout,
    rig: &RigFiles,
    options: Options,
    tell: &mut (dyn FnMut(&Seen) -> Result<()> + Send),
) -> Result<Seen> {
    let stretches = Mutex::new(stretches(options.seed, options.boots));
    let mut machines = (1..=options.machines)
        .map(|number| Machine::new(layout, &machine_name(number)))
        .collect::<Result<Vec<_>>>()?;
    let all = Mutex::new((vec![Seen::default(); machines.len()], tell));
    let failed = Mutex::new(None);
    let queue = || stretches.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || queue().pop_front();
    let one = |number: usize, machine: &mut Machine<'_>| -> Result<()> {
        while let Some((seed, boots)) = next() {
            let result = machine.stretch(rig, seed, boots);
            let (seen, tell) = &mut *all.lock().unwrap_or_else(PoisonError::into_inner);
            seen[number] = machine.seen.clone();
            tell(&Seen::sum(seen))?;
            result?;
        }
        Ok(())
    };
    rig_files::each(options.machines as usize, machines.iter_mut().enumerate(), |(number, machine)| {
        if let Err(error) = one(number, machine) {
            queue().clear();
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(Seen::sum(&all.into_inner().unwrap_or_else(PoisonError::into_inner).0)),
    }
}

/// Returns the stretches of so many boots, by seed: all but the last are of the same length.
fn stretches(seed: u64, boots: u32) -> VecDeque<(u64, usize)> {
    let boots = boots as usize;
    let length = |stretch: usize| STRETCH.min(boots - stretch * STRETCH);
    (seed..).zip((0..boots.div_ceil(STRETCH)).map(length)).collect()
}

/// Returns the name of the folder of a machine, from 1.
fn machine_name(number: u32) -> String {
    if number == 1 { "endurance".to_owned() } else { format!("endurance-{number}") }
}

/// Returns the name of the sources that are run: a commit, marked where the files differ from it.
fn sources(layout: &Layout) -> Result<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(layout.root());
    Ok(command::output(&mut git)?.trim().to_owned())
}

/// Runs one short stretch of fixed boots, each of which loses its power while it writes, and nothing of the cache remains.
/// Returns what is wrong, a line each.
///
/// # Errors
/// The rig failed.
pub fn sample(layout: &Layout, rig: &RigFiles) -> Result<Vec<String>> {
    let mut machine = Machine::new(layout, SAMPLE)?;
    // How long a boot takes shows only by one that is not cut.
    let whole = |pv| Planned { pv, cut: None };
    machine.boot(rig, "first", &[whole(false), whole(true)])?;
    let cut = |pv: bool, hundredths: u32| Planned {
        pv,
        cut: Some(rig::Cut { after: machine.lives[usize::from(pv)] * hundredths / 100, kept: 0, seed: 1 }),
    };
    let boots = [cut(true, 60), cut(false, 60), cut(true, 70), whole(false)];
    machine.boot(rig, "second", &boots)?;
    Ok(machine.seen.tally.wrong)
}

/// The name of [`sample`] among guests.
pub const SAMPLE: &str = "power-cuts";

/// Observations of a machine, or of several.
#[derive(Clone, Debug, Default)]
struct Seen {
    tally: Tally,
    /// Stretches that the rig failed once, and that were begun anew.
    again: u32,
    stretches: u32,
    /// For each machine the memory that Xen has left at the begin of its first stretch and at the end of its last.
    memory: Vec<[Free; 2]>,
}

impl Seen {
    /// Returns what was seen of all machines together.
    fn sum(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for one in all {
            sum.tally.add(&one.tally);
            sum.again += one.again;
            sum.stretches += one.stretches;
            sum.memory.extend(&one.memory);
        }
        sum
    }

    fn progress(&self, boots: u32, time: Duration) -> String {
        let Tally { flushed, lost, second_mounts, wrong, .. } = &self.tally;
        format!(
            "{} of {boots} boots, {} cut; {flushed} files flushed, {lost} lost, {second_mounts} second mounts, {} wrong; {} min",
            self.tally.boots(),
            self.tally.cut.iter().sum::<u32>(),
            wrong.len(),
            time.as_secs() / 60
        )
    }
}

/// A machine, and what was seen of it.
struct Machine<'a> {
    layout: &'a Layout,
    folder: Folder,
    disk: PathBuf,
    /// The registry's changes since the installation.
    registry: String,
    /// Lives of the last emulated and of the last PV boot that were not cut.
    lives: [Duration; 2],
    seen: Seen,
}

/// Memory that Xen has left in MiB, and the domains and grants that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    mib: i64,
    domains: u32,
    grants: u32,
}

impl Free {
    /// Reads the lines of [`TELL`] in an output.
    fn all(output: &str) -> Vec<Self> {
        let line = |line: &str| {
            let (mib, rest) = line.strip_prefix("@free ")?.split_once(" domains ")?;
            let (domains, grants) = rest.split_once(" grants ")?;
            Some(Self {
                mib: mib.parse().ok()?,
                domains: domains.parse().ok()?,
                grants: grants.trim().parse().ok()?,
            })
        };
        output.lines().filter_map(line).collect()
    }
}

impl<'a> Machine<'a> {
    fn new(layout: &'a Layout, name: &str) -> Result<Self> {
        let folder = Folder::new(layout, name)?;
        let disk = folder.path("disk.img");
        volume::image::make_image(&disk, volume::image::SIZE, boot::SIGNATURE, "DATA0")
            .with_context(|| format!("cannot make {}", disk.display()))?;
        Ok(Self {
            layout,
            folder,
            disk,
            registry: String::new(),
            lives: [Duration::from_secs(20), Duration::from_secs(15)],
            seen: Seen::default(),
        })
    }

    /// Runs the stretch of a seed.
    fn stretch(&mut self, rig: &RigFiles, seed: u64, boots: usize) -> Result<()> {
        let planned = plan::stretch(seed, boots, self.lives);
        self.boot(rig, &format!("seed {seed}"), &planned)
    }

    /// Boots the machine so often under one Xen. The last boot is not cut.
    fn boot(&mut self, rig: &RigFiles, name: &str, planned: &[Planned]) -> Result<()> {
        let Some((last, batch)) = planned.split_last() else { return Ok(()) };
        let cache = self.folder.path("cache.img");
        rig::cache_disk::make(&cache)?;
        let entry = |pv| if pv { Entry::Pv } else { Entry::Emulated };
        let job_of =
            |pv| boot::executive(self.layout, &self.folder, entry(pv), Suite::default(), &self.registry);
        let words = [Word::Exercise(Exercise::Endure), Word::Rounds(WRITTEN), Word::Hive];
        let mut job = job_of(last.pv)?;
        boot::add_words(&mut job, &words);
        for boot in batch {
            let mut one = job_of(boot.pv)?;
            boot::add_words(&mut one, &words);
            job.batch.push(BatchBoot { cmdline: one.cmdline, cut: boot.cut });
        }
        job.disks = vec![Disk::new(&self.disk, "hda"), Disk { at_start: false, ..Disk::new(&cache, "xvdf") }];
        job.timeout = boot::GUEST_LIMIT;
        job.dump_at = "-".to_owned();
        job.before = Some(format!("{TELL}\nbash cache.sh start"));
        job.after = Some(format!("bash cache.sh end && {TELL}"));
        let outcome = match rig::run(rig, &job) {
            Ok(outcome) => outcome,
            // The disk is as it was: it is replaced where a run has succeeded.
            Err(error) => {
                println!("{name}: the rig failed, and the stretch is run again: {error}");
                self.seen.again += 1;
                rig::run(rig, &job)?
            }
        };
        let outcome = self.folder.keep(outcome)?;
        fs::write(
            self.folder.path("batch.txt"),
            format!("{}\n{}\n{}", outcome.before, outcome.batch, outcome.after),
        )?;
        let wrong = self.seen.tally.wrong.len();
        self.take(name, planned, &outcome)?;
        self.seen.stretches += 1;
        for line in &self.seen.tally.wrong[wrong..] {
            println!("WRONG: {line}");
        }
        if self.seen.tally.wrong.len() > wrong {
            // What it looked like is kept.
            let kept = self.folder.path(&format!("wrong-{}", self.seen.stretches));
            fs::create_dir_all(&kept)?;
            for file in ["console.txt", "batch.txt", "disk.img"] {
                fs::copy(self.folder.path(file), kept.join(file))?;
            }
        }
        Ok(())
    }

    /// Takes what was seen of a stretch.
    fn take(&mut self, name: &str, planned: &[Planned], outcome: &Outcome) -> Result<()> {
        let guests = guests(&outcome.console);
        let mut ends = judge::ends(&outcome.batch).with_context(|| name.to_owned())?;
        ends.push(Ended::Whole(outcome.guest_time));
        ensure!(
            (guests.len(), ends.len()) == (planned.len(), planned.len()),
            "{name}: {} guests and {} ends were seen of {}\n{}",
            guests.len(),
            ends.len(),
            planned.len(),
            outcome.batch,
        );
        for (n, ((planned, ended), report)) in planned.iter().zip(&ends).zip(&guests).enumerate() {
            let entry = if planned.pv { "PV" } else { "emulated" };
            let cut = planned.cut.map_or(String::new(), |cut| {
                format!(", cut after {} ms, {} % of the cache kept", cut.after.as_millis(), cut.kept)
            });
            let name = format!("{name}, boot {} ({entry}{cut})", n + 1);
            self.seen.tally.take(&name, *planned, *ended, report, WRITTEN as usize);
            if let Ended::Whole(life) = ended {
                self.lives[usize::from(planned.pv)] = *life;
            }
        }
        if let Some(last) = guests.last() {
            self.registry += &registry::written(last);
        }
        self.take_memory(name, outcome)?;
        let image = volume::image::check_image(&self.disk)?;
        self.seen.tally.take_image(name, &image, |file| {
            Ok(volume::image::read_file(&self.disk, &format!("endure-{file}.dat"))?)
        })
    }

    /// Holds what Xen has left at the end of a stretch against its begin.
    fn take_memory(&mut self, name: &str, outcome: &Outcome) -> Result<()> {
        let output = outcome.before.clone() + &outcome.after;
        let [begin, end] = Free::all(&output)[..] else {
            bail!("{name}: dom0 does not tell what Xen has left, or the disk's cache failed:\n{output}");
        };
        let others = |free: Free| (free.domains, free.grants);
        if begin.mib - end.mib > SLACK || others(begin) != others(end) {
            self.seen.tally.wrong.push(format!("{name}: Xen had {begin:?} before and {end:?} after"));
        }
        let first = self.seen.memory.first().map_or(begin, |[first, _]| *first);
        self.seen.memory = vec![[first, end]];
        Ok(())
    }
}

/// Takes the consoles of a batch apart, by guest.
fn guests(console: &[String]) -> Vec<Report> {
    let mut guests: Vec<Vec<&str>> = Vec::new();
    for line in console {
        match guests.last_mut() {
            _ if line.starts_with(FIRST_LINE) => guests.push(Vec::new()),
            Some(guest) => guest.push(line),
            None => {}
        }
    }
    guests.into_iter().map(Report::parse).collect()
}

/// Returns the path of the page.
fn page_path(layout: &Layout) -> PathBuf {
    layout.root().join(Path::new("docs/results/endurance.md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xen_has_left_is_read() {
        let output = "@free 612 domains 1 grants 0\nother\n@free 604 domains 2 grants 40\n@free x domains 1 grants 2\n";
        let (first, last) =
            (Free { mib: 612, domains: 1, grants: 0 }, Free { mib: 604, domains: 2, grants: 40 });
        assert_eq!(Free::all(output), [first, last]);
    }

    #[test]
    fn hours_are_read_to_a_second() {
        assert_eq!(hours_of("0.3333"), Ok(Duration::from_secs(1200)));
        assert_eq!(hours_of("24"), Ok(Duration::from_secs(86_400)));
        for text in ["-1", "nan", "inf", "", "1h"] {
            assert!(hours_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_seed_has_its_stretch_and_the_boots_are_as_many_as_were_asked_for() {
        let stretches = stretches(7, 25);
        assert_eq!(stretches, [(7, 10), (8, 10), (9, 5)]);
        assert_eq!(super::stretches(7, 20), [(7, 10), (8, 10)]);
        assert!(super::stretches(7, 0).is_empty());
    }

    #[test]
    fn what_was_seen_of_all_machines_is_added() {
        let free = |mib| Free { mib, domains: 1, grants: 0 };
        let one = |mib| Seen { again: 1, stretches: 3, memory: vec![[free(mib); 2]], ..Seen::default() };
        let sum = Seen::sum(&[one(600), one(601)]);
        assert_eq!((sum.again, sum.stretches), (2, 6));
        assert_eq!(sum.memory, [[free(600); 2], [free(601); 2]]);
    }

    #[test]
    fn the_console_is_taken_apart_at_each_first_line() {
        let console = ["noise", "HVM Loader", "@xg end verdict=cut", "HVM Loader", "@xg up us=1"];
        let guests = guests(&console.map(str::to_owned));
        assert_eq!(guests.len(), 2);
        assert_eq!(guests[0].verdict(), Some("cut"));
    }
}
