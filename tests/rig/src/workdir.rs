//! Directories for one run. Removed when the run ends, or by a later run if its own process was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cache;
use crate::error::{FileContext, RigError};

const LOCK: &str = "lock";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory of our own, locked while we use it.
pub(crate) struct WorkDir {
    path: PathBuf,
    _lock: File,
}

impl WorkDir {
    /// Makes one under `base` and removes those whose owners are gone.
    pub(crate) fn new(base: &Path) -> Result<Self, RigError> {
        fs::create_dir_all(base).file("create", base)?;
        sweep(base);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{}-{number}", process::id()));
        // Locked before it gets its name: a sweep never sees it without an owner.
        let part = base.join(format!(".{}-{number}", process::id()));
        cache::remove(&part)?;
        fs::create_dir(&part).file("create", &part)?;
        let lock = File::create(part.join(LOCK)).file("create", part.join(LOCK))?;
        lock.try_lock().map_err(|_| RigError::InUse { path: part.clone() })?;
        cache::remove(&path)?;
        fs::rename(&part, &path).file("rename", &part)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is left to the next sweep.
        let _ = cache::remove(&self.path);
    }
}

/// Removes directories whose lock nobody holds.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owned = match name.strip_prefix('.') {
            // Not locked yet if its owner is just making it.
            Some(name) => {
                let owner = name.split('-').next().unwrap_or_default();
                Path::new("/proc").join(owner).exists()
            }
            None => File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err()),
        };
        if !owned {
            let _ = cache::remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_swept_and_live_ones_kept() {
        let base = std::env::temp_dir().join(format!("rig-work-{}", process::id()));
        let live = WorkDir::new(&base).unwrap();
        let dead = base.join("1-1");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let half_made = base.join(format!(".{}-1", u32::MAX));
        fs::create_dir(&half_made).unwrap();
        let other = WorkDir::new(&base).unwrap();
        assert!(!dead.exists() && !half_made.exists());
        assert!(live.path().exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
        drop(live);
        fs::remove_dir(&base).unwrap();
    }
}
