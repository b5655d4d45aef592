//! Replacing a boot file: a backup first, then a temporary file, flushed, and renamed over the old one.
//! Interrupted at any step, the old or the new file is whole.
//!
//! The order, in which nothing depends on a later step:
//! 1. the file is read again and must be what the change was made from;
//! 2. the backup is made beside it under a free name, given the old file's rights, and flushed, its name too;
//! 3. the new content is written beside it, flushed, and given the old file's attributes;
//! 4. the old file's read-only attribute is cleared (Windows renames over no read-only file);
//! 5. the new file is renamed over the old one, and the name flushed;
//! 6. the file is read back.

use anyhow::{Context, Result, bail};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    bail_as,
    files::{
        Attributes, Files,
        security::{SYSTEM_AND_ADMINISTRATORS, full_access},
    },
};

/// Suffix of a backup's name, before its number.
const BACKUP: &str = ".backup";
/// Suffix of the name of a temporary file. Nobody else makes a file of such a name, so one that is
/// found was left by a bootcfg that was killed.
pub(crate) const TEMPORARY: &str = ".xenguard-new";

/// Replaces the content of `path`, which must hold `old`; returns the path of the backup.
///
/// # Errors
/// The file changed since it was read, or a step failed; the message says which, and what is there now.
pub fn replace(files: &dyn Files, path: &Path, old: &[u8], new: &[u8]) -> Result<PathBuf> {
    replace_keeping(files, path, old, old, new)
}

/// Does what [`replace()`] does, with a backup of this content: what `old` stands for, if that is no file of
/// its own.
///
/// # Errors
/// As [`replace()`].
pub fn replace_keeping(
    files: &dyn Files,
    path: &Path,
    old: &[u8],
    kept: &[u8],
    new: &[u8],
) -> Result<PathBuf> {
    let path = &files.resolve(path).with_context(|| format!("cannot find {}", path.display()))?;
    let attributes = files
        .attributes(path)
        .with_context(|| format!("cannot read the attributes of {}", path.display()))?;
    if files.read(path).with_context(|| format!("cannot read {}", path.display()))? != old {
        bail_as!(
            Refused,
            "{} changed while it was being edited; nothing was written, try again",
            path.display()
        );
    }
    let backup = backup(files, path, kept, &attributes)?;
    let temporary = beside(path, TEMPORARY);
    if let Err(error) = put(files, path, &temporary, new, &attributes) {
        // Best effort: the leftover is harmless, and the error below is what matters.
        let _ = files.remove(&temporary);
        let state = match files.read(path) {
            Ok(now) if now == old => "is unchanged",
            Ok(now) if now == new => "has the new content, which may not be on the disk yet",
            Ok(_) => "has an unexpected content; restore the backup",
            Err(_) => "cannot be read now; compare it with the backup",
        };
        return Err(error.context(format!("{} {state} (backup: {})", path.display(), backup.display())));
    }
    match files.read(path) {
        Ok(now) if now == new => Ok(backup),
        Ok(_) => {
            bail!("{} does not read back as it was written; restore {}", path.display(), backup.display())
        }
        Err(error) => Err(error).with_context(|| {
            format!("{} cannot be read back; its backup is {}", path.display(), backup.display())
        }),
    }
}

pub(crate) fn put(
    files: &dyn Files,
    path: &Path,
    temporary: &Path,
    new: &[u8],
    attributes: &Attributes,
) -> Result<()> {
    remove_leftover(files, temporary)?;
    files.create(temporary, new).with_context(|| cannot_write(temporary))?;
    files.flush(temporary).with_context(|| cannot_write(temporary))?;
    files
        .set_attributes(temporary, attributes)
        .with_context(|| format!("cannot set the attributes of {}", temporary.display()))?;
    if attributes.is_read_only() {
        files
            .set_attributes(path, &attributes.writable())
            .with_context(|| format!("cannot clear the read-only attribute of {}", path.display()))?;
    }
    if let Err(error) = files.rename(temporary, path) {
        // Best effort, as above: back to the attributes it had.
        let _ = files.set_attributes(path, attributes);
        return Err(error).with_context(|| format!("cannot put the new {} in place", path.display()));
    }
    files.flush_folder(path).context("the new file is in place, but not yet known to be on the disk")
}

/// Removes the temporary file that a killed bootcfg may have left; the lock says that none is at work now. The name alone
/// is removed: a link of that name, which a guest may have made, leads to somebody else's file.
fn remove_leftover(files: &dyn Files, temporary: &Path) -> Result<()> {
    match files.remove(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} is in the way and cannot be removed", temporary.display()))
        }
        _ => Ok(()),
    }
}

/// Keeps `content` beside `path` behind its last backup; an earlier backup is never overwritten. Who may read
/// and write it is as in `attributes`, those of the file that it is a copy of.
///
/// # Errors
/// It cannot be written; nothing was changed then.
pub fn backup(files: &dyn Files, path: &Path, content: &[u8], attributes: &Attributes) -> Result<PathBuf> {
    let last = backups(files, path)
        .with_context(|| format!("cannot list the backups of {}; nothing was changed", path.display()))?
        .last()
        .map_or(0, |(number, _)| *number);
    // Only another program makes one of the next name meanwhile.
    for number in (last..u32::MAX).skip(1).take(3) {
        let backup = beside(path, &format!("{BACKUP}{number}"));
        match keep(files, &backup, content, attributes) {
            Ok(()) => return Ok(backup),
            Err(error) if is_already_there(&error) => {}
            Err(error) => return Err(error.context("cannot make a backup; nothing was changed")),
        }
    }
    bail_as!(
        Refused,
        "the name of the next backup of {} is taken (the last is number {last}); nothing was changed. Move its backups \
         to another folder and try again",
        path.display()
    )
}

/// Writes a new file and returns when it is on the disk; `like` are the attributes of the file that it is a
/// copy of. A copy on NTFS of a file without a security descriptor gets that of Windows' own files: ntfs-3g gives a new
/// file to everybody. A file half written is removed.
///
/// # Errors
/// It exists, or cannot be written.
pub fn keep(files: &dyn Files, file: &Path, content: &[u8], like: &Attributes) -> Result<()> {
    let made = files.create(file, content);
    if let Err(error) = made {
        if error.kind() != ErrorKind::AlreadyExists {
            let _ = files.remove(file);
        }
        return Err(error).with_context(|| cannot_write(file));
    }
    let mut like = like.of_copy();
    files
        .attributes(file)
        .and_then(|new| {
            // Another file system may have no descriptors.
            like.security = new
                .security
                .and_then(|_| like.security.take().or_else(|| Some(full_access(&SYSTEM_AND_ADMINISTRATORS))));
            files.set_attributes(file, &like)
        })
        .and_then(|()| files.flush(file))
        .and_then(|()| files.flush_folder(file))
        .with_context(|| match files.remove(file) {
            Ok(()) => format!("{}, and what was written is removed", cannot_write(file)),
            Err(_) => format!("{}, and what was written is still there: remove it", cannot_write(file)),
        })
}

/// Returns the backups that were made beside `path`, by number, the last one last.
///
/// # Errors
/// The folder cannot be listed.
pub fn backups(files: &dyn Files, path: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let Some(name) = path.file_name() else { return Ok(Vec::new()) };
    let prefix = format!("{}{BACKUP}", name.to_string_lossy()).to_ascii_lowercase();
    let number = |found: &PathBuf| {
        let name = found.file_name()?.to_string_lossy().to_ascii_lowercase();
        let digits =
            name.strip_prefix(&prefix).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let found = files.list(path.parent().unwrap_or(Path::new("")))?;
    let mut backups: Vec<_> = found.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    backups.sort();
    Ok(backups)
}

/// Returns the last backup that was made beside `path`.
#[must_use]
pub fn last_backup(files: &dyn Files, path: &Path) -> Option<PathBuf> {
    backups(files, path).ok()?.pop().map(|(_, path)| path)
}

fn is_already_there(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::AlreadyExists)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
