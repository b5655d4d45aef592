//! Guests that are in use for hours, while disks come and go: `cargo xtask endurance --hours`.
//!
//! The time is cut into stretches, each the life of one guest in one start of Xen, as a seed draws it (`plan`). The guest reads,
//! writes and compares (`tests/nt/src/exercise/hours.rs`), and has dom0 attach and take disks. Each life is judged by itself
//! (`judge`), so that one that the rig fails costs no other.

mod judge;
mod plan;

use std::{
    collections::VecDeque,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use protocol::{Checksum, Exercise, Word, hours::EXTENT};
use rig::{Disk, Job, RigFiles};

pub(super) use judge::Hours;
use judge::Image;
use plan::{AT_START, Coming, Life};

use super::TELL;
use crate::{
    boot::{self, Folder, Suite, rig_files},
    layout::Layout,
    scenario::Entry,
};

/// Seconds of a stretch.
const STRETCH: u32 = 1200;
/// Stretches in a row that the rig may fail on one machine.
const MOST_LOST: u32 = 2;
/// Time that a life may take beyond its seconds: the boot, a cycle that has begun, the rests, the least number of cycles.
const MORE: Duration = Duration::from_secs(900);

/// Runs guests for so long in sum, on `machines` at once; the first stretch has the seed. After each stretch `tell` gets the
/// totals; they are returned in the end.
///
/// # Errors
/// The rig failed twice in a row on one of the machines; the others end their stretches. Or `tell` failed.
pub(super) fn run(
    layout: &Layout,
    rig: &RigFiles,
    (seed, time): (u64, Duration),
    machines: u32,
    tell: &mut (dyn FnMut(&Hours) -> Result<()> + Send),
) -> Result<Hours> {
    let queue = Mutex::new(stretches(seed, time));
    let all = Mutex::new((Hours::default(), tell));
    let failed = Mutex::new(None);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let one = |machine: u32| -> Result<()> {
        let mut lost = 0;
        while let Some((seed, seconds)) = next() {
            let life = plan::life(seed, seconds);
            println!("seed {seed}: {seconds} s, NT {}, {} processors", life.version, life.vcpus);
            let seen = stretch(layout, rig, &folder_name(machine), &life);
            let (hours, tell) = &mut *all.lock().unwrap_or_else(PoisonError::into_inner);
            match seen {
                Ok(seen) => {
                    lost = 0;
                    hours.add(&seen);
                }
                Err(error) => {
                    lost += 1;
                    hours.lost += 1;
                    println!("seed {seed}: the rig failed, and the stretch is lost: {error:#}");
                    if lost == MOST_LOST {
                        return Err(error);
                    }
                }
            }
            tell(hours)?;
        }
        Ok(())
    };
    rig_files::each(machines as usize, 1..=machines, |machine| {
        if let Err(error) = one(machine) {
            queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner).0),
    }
}

/// Returns the stretches of so much time, by seed: all but the last are of the same length, in seconds.
fn stretches(seed: u64, time: Duration) -> VecDeque<(u64, u32)> {
    let seconds = time.as_secs();
    let length = |stretch: u64| (seconds - stretch * u64::from(STRETCH)).min(STRETCH.into()) as u32;
    (seed..).zip((0..seconds.div_ceil(STRETCH.into())).map(length)).collect()
}

/// Returns the name of the folder of a machine, from 1.
fn folder_name(machine: u32) -> String {
    format!("endurance-hours-{machine}")
}

/// Runs a stretch, and judges it. One in which something is wrong stays in a folder that is named by its seed.
fn stretch(layout: &Layout, rig: &RigFiles, name: &str, life: &Life) -> Result<Hours> {
    let folder = Folder::new(layout, name)?;
    let images = images(&folder)?;
    let job = job_of(layout, &folder, life, &images)?;
    let outcome = folder.keep(rig::run(rig, &job)?)?;
    fs::write(folder.path("after.txt"), &outcome.after)?;
    let [first, second, third] = &images;
    let seen = Hours::of(life, &outcome, &[look_at(first)?, look_at(second)?, look_at(third)?]);
    for line in &seen.wrong {
        println!("WRONG: {line}");
    }
    if !seen.wrong.is_empty() {
        let kept = boot::folder(layout, &format!("endurance-hours-seed-{}", life.seed));
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        fs::rename(boot::folder(layout, name), &kept)
            .with_context(|| format!("cannot keep {}", kept.display()))?;
    }
    Ok(seen)
}

/// Makes the images of the system's disk and of the two that come.
fn images(folder: &Folder) -> Result<[PathBuf; 3]> {
    let images = [0, 1, 2].map(|n: u32| folder.path(&format!("disk{n}.img")));
    for (n, image) in (0..).zip(&images) {
        volume::image::make_image(image, volume::image::SIZE, boot::SIGNATURE + n, &format!("DATA{n}"))
            .with_context(|| format!("cannot make {}", image.display()))?;
    }
    Ok(images)
}

fn job_of(layout: &Layout, folder: &Folder, life: &Life, images: &[PathBuf; 3]) -> Result<Job> {
    let mut job = boot::executive(layout, folder, Entry::Pv, Suite::default(), "")?;
    let words = [
        Word::Nt(life.version),
        Word::Exercise(Exercise::Hours),
        Word::Rounds(life.seconds),
        Word::Seed(life.seed),
    ];
    boot::add_words(&mut job, &words);
    let [system, coming @ ..] = images;
    job.disks = vec![Disk::new(system, "hda")];
    boot::add_cdrom(&mut job, folder)?;
    debug_assert_eq!(job.disks.len(), AT_START);
    let late = |disk: Coming| Disk {
        at_start: false,
        ..Disk::new(&coming[disk.image], disk.vdev()).with_backend(disk.backend)
    };
    job.disks.extend(life.disks().into_iter().map(late));
    job.vcpus = life.vcpus;
    job.timeout = Duration::from_secs(life.seconds.into()) * 5 / 4 + MORE;
    job.marks = life.marks();
    // The backends serve the disks of a guest that has powered off until it is destroyed.
    job.after = Some(format!("xl destroy guest && {TELL}"));
    Ok(job)
}

/// Looks at the image of a disk that no guest has any more.
fn look_at(image: &Path) -> Result<Image> {
    let volume = volume::image::check_image(image)?;
    let content = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let Range { start, end } = EXTENT;
    let bytes = start as usize * volume::SECTOR..end as usize * volume::SECTOR;
    let written = content.get(bytes).context("an image has room before its partition")?;
    Ok(Image { volume, checksum: Checksum::of(written) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stretches_have_the_time_that_was_asked_for() {
        let minutes = |minutes: u64| stretches(7, Duration::from_secs(60 * minutes));
        assert_eq!(minutes(50), [(7, 1200), (8, 1200), (9, 600)]);
        assert_eq!(minutes(40), [(7, 1200), (8, 1200)]);
        assert_eq!(minutes(6), [(7, 360)]);
        assert!(minutes(0).is_empty());
        let day = minutes(24 * 60);
        assert_eq!((day.len(), day.iter().map(|(_, seconds)| u64::from(*seconds)).sum()), (72, 86_400));
    }
}
