//! One machine through many boots, most of which lose their power, and through many saves: `cargo xtask endurance`.
//!
//! The boots are on one volume, from either entry, as a seed draws them (`plan`). A stretch of them shares a start of Xen.
//! The disk has a cache in dom0 (`tests/rig/dom0/cache.sh`): where the power goes, of the pages that nobody has flushed
//! none, some or all reach the disk. Each boot reads what the earlier ones have flushed (`judge`). The registry goes on from
//! one stretch to the next, as its last boot, which ends in order, has left it.

mod judge;
mod page;
mod plan;
mod saves;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
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
    /// Boots of one machine, most of which lose their power
    #[arg(long, default_value_t = 40)]
    pub boots: u32,
    /// Saves and restores of one guest under load, after the boots
    #[arg(long, default_value_t = 0)]
    pub saves: u32,
    /// Seed of the first stretch of ten boots; each further one has the next number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs boots and saves, and writes `docs/results/endurance.md`.
///
/// # Errors
/// The rig failed twice in a row, or something was not as it must be; the page is written all the same.
pub fn run(options: Options) -> Result<()> {
    let layout = Layout::here();
    let rig = rig_files::ensure(&layout, Release::default())?;
    let sources = sources(&layout)?;
    let mut wrong = Vec::new();
    if options.boots > 0 {
        let mut machine = Machine::new(&layout, "endurance")?;
        let begun = Instant::now();
        let mut left = options.boots as usize;
        for seed in options.seed.. {
            if left == 0 {
                break;
            }
            let boots = left.min(STRETCH);
            left -= boots;
            machine.stretch(&rig, seed, boots)?;
            println!("{}", machine.progress(options.boots, begun.elapsed()));
            page::write(&layout, &page::boots(&machine, options.seed, begun.elapsed()), page::BOOTS)?;
        }
        page::add_run(&layout, &sources, options.seed, Counts::of(Some(&machine.tally), None))?;
        wrong.append(&mut machine.tally.wrong);
    }
    if options.saves > 0 {
        let begun = Instant::now();
        let mut saved = saves::run(&layout, &rig, options.saves)?;
        page::write(&layout, &page::saves(&saved, begun.elapsed()), page::SAVES)?;
        page::add_run(&layout, &sources, options.seed, Counts::of(None, Some(&saved)))?;
        wrong.append(&mut saved.wrong);
    }
    ensure!(wrong.is_empty(), "{} things are not as they must be:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
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
    Ok(machine.tally.wrong)
}

/// The name of [`sample`] among guests.
pub const SAMPLE: &str = "power-cuts";

/// A machine, and what was seen of it.
struct Machine<'a> {
    layout: &'a Layout,
    folder: Folder,
    disk: PathBuf,
    /// The registry's changes since the installation.
    registry: String,
    /// Lives of the last emulated and of the last PV boot that were not cut.
    lives: [Duration; 2],
    tally: Tally,
    /// Stretches that the rig failed once, and that were begun anew.
    again: u32,
    stretches: u32,
    /// Memory that Xen has left at the begin of the first stretch and at the end of the last.
    memory: Option<[Free; 2]>,
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
            tally: Tally::default(),
            again: 0,
            stretches: 0,
            memory: None,
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
                self.again += 1;
                rig::run(rig, &job)?
            }
        };
        let outcome = self.folder.keep(outcome)?;
        fs::write(
            self.folder.path("batch.txt"),
            format!("{}\n{}\n{}", outcome.before, outcome.batch, outcome.after),
        )?;
        let wrong = self.tally.wrong.len();
        self.take(name, planned, &outcome)?;
        self.stretches += 1;
        for line in &self.tally.wrong[wrong..] {
            println!("WRONG: {line}");
        }
        if self.tally.wrong.len() > wrong {
            // What it looked like is kept.
            let kept = self.folder.path(&format!("wrong-{}", self.stretches));
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
            self.tally.take(&name, *planned, *ended, report, WRITTEN as usize);
            if let Ended::Whole(life) = ended {
                self.lives[usize::from(planned.pv)] = *life;
            }
        }
        if let Some(last) = guests.last() {
            self.registry += &registry::written(last);
        }
        self.take_memory(name, outcome)?;
        let image = volume::image::check_image(&self.disk)?;
        self.tally.take_image(name, &image, |file| {
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
            self.tally.wrong.push(format!("{name}: Xen had {begin:?} before and {end:?} after"));
        }
        self.memory = Some([self.memory.map_or(begin, |[first, _]| first), end]);
        Ok(())
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
    fn the_console_is_taken_apart_at_each_first_line() {
        let console = ["noise", "HVM Loader", "@xg end verdict=cut", "HVM Loader", "@xg up us=1"];
        let guests = guests(&console.map(str::to_owned));
        assert_eq!(guests.len(), 2);
        assert_eq!(guests[0].verdict(), Some("cut"));
    }
}
