//! One bootcfg at a time on one boot configuration.

use anyhow::{Context, Result};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use crate::{
    bail_as,
    files::{Disk, Files},
};

/// Held while a boot configuration is changed; the file goes with it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock of `path`, which is `path` with `.lock` behind it.
    ///
    /// # Errors
    /// Another bootcfg holds it, or the folder cannot be written.
    pub fn take(path: &Path) -> Result<Lock> {
        // A file that is gone is brought back under the lock of its name.
        let path = match fs::symlink_metadata(path) {
            Ok(_) => Disk.resolve(path).with_context(|| format!("cannot find {}", path.display()))?,
            Err(_) => path.to_owned(),
        };
        let mut name = path.into_os_string();
        name.push(".lock");
        let path = PathBuf::from(name);
        loop {
            if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
                bail_as!(
                    Refused,
                    "{} is in the way: a link or a folder, which no such program made; remove it",
                    path.display()
                );
            }
            let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let file = opened
                .with_context(|| format!("cannot create {}; is the medium writable?", path.display()))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    bail_as!(
                        Busy,
                        "another xenguard is at work here ({} is locked); try again later",
                        path.display()
                    )
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            // Its former holder may have removed the file between the opening and the locking.
            if is_at(&file, &path) {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays does not hinder the next bootcfg.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Windows does not give a removed file's name away before its last handle is closed.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, code};

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("boot.ini");
        fs::write(&path, "").expect("written");
        let lock = Lock::take(&path).expect("free");
        assert_eq!(code(&Lock::take(&path).expect_err("held")), Exit::Busy);
        drop(lock);
        drop(Lock::take(&path).expect("free again"));
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "the lock file is gone");
    }
}
