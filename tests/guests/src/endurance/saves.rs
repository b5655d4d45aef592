//! One guest that is saved and restored again and again, with requests on their way.

use anyhow::{Context, Result};
use protocol::{Exercise, Line, Ready, Version, Word};
use rig::{Disk, End, Mark, RigFiles};
use volume::Verdict;

use super::{Free, SLACK, TELL};
use crate::{
    boot::{self, Folder, Suite},
    layout::Layout,
    scenario::{Entry, When},
    verdict::Observed,
};

/// Blocks and bytes by which the drivers' memory may differ from one moment to another: requests are on their way.
pub(super) const POOL: (u64, u64) = (12, 1 << 16);
/// Grants that the toolstack makes for xenstore and the console.
pub(super) const TOOLSTACK: u32 = 2;

/// Observations of the guest.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Saves that were asked for, and restores that the guest went on from.
    pub wanted: u32,
    /// Times that it went on.
    pub resumed: u32,
    /// Files that were written and flushed meanwhile, and reads.
    pub written: u64,
    /// Reads that ended well.
    pub reads: u64,
    /// Blocks and bytes of pool that the drivers had after the first restore, and after the last.
    pub pool: Option<[(u64, u64); 2]>,
    /// Xen's free memory before the first save, and before the last.
    pub memory: Option<[Free; 2]>,
    /// Memory that Xen has when the guest has ended and its domain is still there.
    pub end: Option<Free>,
    /// Whatever is not as it must be, a line each.
    pub wrong: Vec<String>,
}

/// Boots a guest and saves and restores it so often.
///
/// # Errors
/// The rig failed.
pub(super) fn run(layout: &Layout, rig: &RigFiles, saves: u32) -> Result<Saved> {
    let folder = Folder::new(layout, "endurance-saves")?;
    let mut job = boot::executive(layout, &folder, Entry::Pv, Suite::default(), "")?;
    let words = [Word::Nt(Version::Nt61), Word::Exercise(Exercise::Suspend), Word::Rounds(saves)];
    boot::add_words(&mut job, &words);
    let disk = folder.path("disk.img");
    volume::image::make_image(&disk, volume::image::SIZE, boot::SIGNATURE, "DATA0")
        .with_context(|| format!("cannot make {}", disk.display()))?;
    job.disks = vec![Disk::new(&disk, "hda")];
    // Every page is copied twice.
    (job.memory_mib, job.vcpus, job.timeout) = (64, 2, 3 * boot::GUEST_LIMIT);
    job.marks = (0..saves).map(mark).collect();
    job.after = Some(TELL.to_owned());
    let outcome = folder.keep(rig::run(rig, &job)?)?;

    let report = outcome.report();
    let mut saved = Saved { wanted: saves, ..Saved::default() };
    let seen = Observed::of(&report);
    saved.resumed = report.debug("xenpci: resumed, ").count() as u32;
    let lines: Vec<_> = report.all(Line::Resumed.name()).collect();
    let pool = |line: &rig::report::Line| Some((line.number("blocks")?, line.number("bytes")?));
    saved.pool = ends(lines.iter().filter_map(|line| pool(line)));
    saved.end = Free::all(&outcome.after).first().copied();
    saved.memory = ends(outcome.marks.iter().flat_map(|mark| Free::all(&mark.output)));
    if let Some(traffic) = report.first(Line::Traffic.name()) {
        saved.written = traffic.number("written").unwrap_or(0);
        saved.reads = traffic.number("ok").unwrap_or(0);
        if traffic.number("failed") != Some(0) || traffic.get("started") != traffic.get("ok") {
            saved.wrong.push(format!("traffic {}", traffic.text));
        }
    }
    let mut must = |what: &str, so: bool| {
        if !so {
            saved.wrong.push(format!("saves: {what}"));
        }
    };
    must("the guest goes on after each", saved.resumed == saves && lines.len() as u32 == saves);
    must("it ends in order", (seen.verdict.as_deref(), outcome.end) == (Some("clean"), End::PoweredOff));
    must("nothing is violated", seen.violations.is_empty() && seen.bugcheck.is_none());
    must("the disk is in use", saved.written > 0 && saved.reads > 0);
    must("no request is out of time", report.first(Line::Reset.name()).is_none());
    for done in &outcome.marks {
        must(&format!("dom0's save {}: {}", done.mark + 1, done.output.trim()), done.status == Some(0));
    }
    must("dom0 saves each time", outcome.marks.len() as u32 == saves);
    let grown = |[first, last]: [(u64, u64); 2]| last.0 > first.0 + POOL.0 || last.1 > first.1 + POOL.1;
    must(
        &format!("the drivers' memory stays: {:?}", saved.pool),
        saved.pool.is_some_and(|pool| !grown(pool)),
    );
    let left = saved.end.is_some_and(|end| end.grants <= TOOLSTACK);
    must(&format!("the disk's grants are gone: {:?}", saved.end), left);
    let stays = |[first, last]: [Free; 2]| first.mib - last.mib <= SLACK && first.domains == last.domains;
    must(&format!("Xen's memory stays: {:?}", saved.memory), saved.memory.is_some_and(stays));
    let image = volume::image::check_image(&disk)?;
    must(&format!("the image is {image}"), image.verdict == Verdict::Intact && image.generation == 2);
    Ok(saved)
}

/// Returns the mark of the `n`th save, from 0: at the guest's word, or when it goes on after the one before. What it serves
/// is told anew in each domain.
fn mark(n: u32) -> Mark {
    let when = match n {
        0 => When::Ready(Ready::Suspend).line(),
        n => format!(" save={n} "),
    };
    Mark { when, run: format!("bash features.sh 1 1 1 && {TELL} && bash save.sh") }
}

/// Returns the first and the last; `None` if there is none.
fn ends<T: Copy>(all: impl Iterator<Item = T>) -> Option<[T; 2]> {
    let all: Vec<T> = all.collect();
    Some([*all.first()?, *all.last()?])
}
