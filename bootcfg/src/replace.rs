//! Replacing a boot file: a backup first, then a temporary file, flushed, and renamed over the old one.
//! Interrupted at any step, the old or the new file is whole.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// Replaces the content of `path`, which must hold `old`; returns the path of the backup.
///
/// # Errors
/// The file changed since it was read, or a step failed; the message says which. The original is untouched then.
pub fn replace(path: &Path, old: &[u8], new: &[u8]) -> Result<PathBuf> {
    let path = &fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))?;
    let permissions = fs::metadata(path)?.permissions();
    if permissions.readonly() {
        bail!(
            "{} is read-only; clear the attribute (attrib -r -h -s, or chmod u+w) and try again",
            path.display()
        );
    }
    if fs::read(path).with_context(|| format!("cannot read {}", path.display()))? != old {
        bail!("{} changed while it was being edited; nothing was written, try again", path.display());
    }
    let backup = backup(path, old)?;
    let temporary = beside(path, ".new");
    let written = write_new(&temporary, new)
        .and_then(|()| Ok(fs::set_permissions(&temporary, permissions)?))
        .and_then(|()| fs::rename(&temporary, path).context("cannot put the new file in place"));
    if let Err(error) = written {
        // Best effort: the leftover is harmless and the error below is what matters.
        let _ = fs::remove_file(&temporary);
        return Err(error.context(format!("{} is unchanged", path.display())));
    }
    sync_directory(path)?;
    Ok(backup)
}

/// Keeps the old content beside the file, under the first free name; an earlier backup is never overwritten.
fn backup(path: &Path, old: &[u8]) -> Result<PathBuf> {
    for n in 1..1000 {
        let backup = beside(path, &format!(".backup{n}"));
        match write_new(&backup, old) {
            Ok(()) => return Ok(backup),
            Err(error) if is_already_there(&error) => {}
            Err(error) => return Err(error.context("cannot make a backup; nothing was changed")),
        }
    }
    bail!("{} has 999 backups; remove some and try again", path.display())
}

fn is_already_there(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::AlreadyExists)
}

fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {} (is the disk full?)", path.display()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A rename is durable once its directory is; only Unix can open a directory for that.
fn sync_directory(path: &Path) -> Result<()> {
    match path.parent() {
        Some(directory) if cfg!(unix) => File::open(directory)?
            .sync_all()
            .context("the new file is in place, but not yet known to be on disk"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_backup() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("boot.ini");
        fs::write(&path, "one").expect("written");
        let first = replace(&path, b"one", b"two").expect("replaced");
        let second = replace(&path, b"two", b"three").expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"three");
        assert_eq!(fs::read(first).expect("read"), b"one");
        assert_eq!(fs::read(second).expect("read"), b"two");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 3, "no temporary file is left");
    }

    #[test]
    fn a_file_that_changed_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("boot.ini");
        fs::write(&path, "theirs").expect("written");
        assert!(replace(&path, b"mine", b"new").expect_err("refused").to_string().contains("changed while"));
        assert_eq!(fs::read(&path).expect("read"), b"theirs");
    }

    #[test]
    fn a_leftover_temporary_file_stops_before_anything_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("boot.ini");
        fs::write(&path, "old").expect("written");
        fs::create_dir(beside(&fs::canonicalize(&path).expect("path"), ".new")).expect("made");
        let error = replace(&path, b"old", b"new").expect_err("refused");
        assert!(error.to_string().contains("is unchanged"), "{error:#}");
        assert_eq!(fs::read(&path).expect("read"), b"old");
    }

    #[test]
    fn read_only_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("boot.ini");
        fs::write(&path, "old").expect("written");
        let mut permissions = fs::metadata(&path).expect("there").permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).expect("set");
        assert!(replace(&path, b"old", b"new").expect_err("refused").to_string().contains("read-only"));
    }
}
