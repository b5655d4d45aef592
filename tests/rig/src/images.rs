//! The disk images of a job: locked while it runs, run on copies, replaced by the results when it succeeded.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{FileContext, RigError};
use crate::job::{Job, images};

const SECTOR: u64 = 512;

/// A job's different images.
pub(crate) struct Images {
    /// For each disk of the job the index of its image.
    pub of_disk: Vec<usize>,
    originals: Vec<PathBuf>,
    _locks: Vec<File>,
}

impl Images {
    /// Locks them all.
    pub(crate) fn lock(job: &Job) -> Result<Self, RigError> {
        let (of_disk, originals) = images(job)?;
        let mut locks = Vec::new();
        for path in &originals {
            let file = File::options().read(true).write(true).open(path).file("open", path)?;
            let length = file.metadata().file("look at", path)?.len();
            if length == 0 || length % SECTOR != 0 {
                return Err(job.bad(format!(
                    "{}: {length} bytes; a disk is a whole number of sectors of {SECTOR} bytes",
                    path.display()
                )));
            }
            match file.try_lock() {
                Ok(()) => locks.push(file),
                Err(TryLockError::WouldBlock) => return Err(RigError::InUse { path: path.clone() }),
                Err(TryLockError::Error(source)) => {
                    return Err(RigError::File { what: "lock", path: path.clone(), source });
                }
            }
        }
        Ok(Self { of_disk, originals, _locks: locks })
    }

    /// Copies them into `dir` for one attempt.
    pub(crate) fn copy(&self, dir: &Path) -> Result<Vec<PathBuf>, RigError> {
        let mut copies = Vec::new();
        for (index, original) in self.originals.iter().enumerate() {
            let copy = dir.join(format!("disk{index}"));
            fs::copy(original, &copy).file("copy", original)?;
            copies.push(copy);
        }
        Ok(copies)
    }

    /// Puts the copies in the originals' places.
    pub(crate) fn replace(&self, copies: &[PathBuf]) -> Result<(), RigError> {
        for (original, copy) in self.originals.iter().zip(copies) {
            let mut part = original.clone().into_os_string();
            part.push(".part");
            fs::copy(copy, &part).file("copy", copy)?;
            fs::rename(&part, original).file("replace", original)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Disk;

    fn job(dir: &Path, size: usize) -> Job {
        fs::create_dir_all(dir).unwrap();
        let image = dir.join("image");
        fs::write(&image, vec![1; size]).unwrap();
        let mut job = Job::new("t", "/k");
        job.disks = vec![Disk::new(&image, "hda"), Disk::new(&image, "hdb")];
        job
    }

    #[test]
    fn an_image_in_use_is_refused_and_shared_ones_count_once() {
        let dir = std::env::temp_dir().join(format!("rig-images-{}", std::process::id()));
        let job = job(&dir, 1024);
        let images = Images::lock(&job).unwrap();
        assert_eq!(images.of_disk, [0, 0]);
        assert!(matches!(Images::lock(&job), Err(RigError::InUse { .. })));
        let copies = images.copy(&dir).unwrap();
        fs::write(&copies[0], vec![2; 1024]).unwrap();
        images.replace(&copies).unwrap();
        assert_eq!(fs::read(dir.join("image")).unwrap(), vec![2; 1024]);
        drop(images);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_part_of_a_sector_is_refused() {
        let dir = std::env::temp_dir().join(format!("rig-sector-{}", std::process::id()));
        assert!(matches!(Images::lock(&job(&dir, 1000)), Err(RigError::BadJob { .. })));
        fs::remove_dir_all(&dir).unwrap();
    }
}
