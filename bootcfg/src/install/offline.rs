//! Installing into a Windows that is not running, and taking it out again.
//!
//! The order, in which nothing depends on a later step; a crash at any of them leaves a system that boots:
//!
//! - install: the driver files, each whole; then the registry, in one step, which refers to them; then the
//!   boot entry.
//! - uninstall: the registry, in one step; then the boot entries; then the files, to which nothing refers any
//!   more.
//!
//! A failure undoes the steps before it, last first. Where the undoing fails too, files stay as long as the
//! registry may refer to them.

use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::edits::Edits;
use super::{
    package::{DRIVERS, Package},
    service,
};
use crate::{
    bail_as,
    files::{Attributes, Files, security::lets_users_write},
    hive_edit::Edit,
    hive_file::HiveFile,
    replace::{self, replace},
};

/// Drivers that every Windows has, whose rights new drivers get.
const NEIGHBOURS: [&str; 4] = ["ntfs", "disk", "pci", "acpi"];

/// A driver file's content and attributes before the installation, or `None` where there was no such file.
type Former = Option<(Vec<u8>, Attributes)>;

/// Makes the edits in a hive's bytes.
pub type EditHive<'a> = &'a dyn Fn(&[u8], &[Edit]) -> Result<Vec<u8>>;

/// Outcome of an installation.
#[derive(Debug)]
pub struct Written {
    /// Path of the old hive, if it changed.
    pub kept: Option<PathBuf>,
    /// A driver's file is new.
    pub files: bool,
}

/// A Windows on a mounted volume.
pub struct Target<'a> {
    /// Access to files.
    pub files: &'a dyn Files,
    /// Editor of hives.
    pub edit: EditHive<'a>,
    /// `System32\drivers`.
    pub drivers: &'a Path,
    /// The SYSTEM hive.
    pub hive: &'a Path,
    /// Its content, with log files replayed.
    pub content: &'a HiveFile,
}

impl Target<'_> {
    /// Puts the package in; `entry` adds the boot entry, and `take_back` takes it back where that failed
    /// halfway.
    ///
    /// # Errors
    /// A step failed; what was done is undone, and the message says so.
    pub fn install(
        &self,
        package: &Package,
        edits: &Edits,
        entry: impl FnOnce() -> Result<()>,
        take_back: impl FnOnce() -> Result<()>,
    ) -> Result<Written> {
        let new = self.edited(edits)?;
        let attributes = self.of_drivers()?;
        let mut undo = Vec::new();
        let mut kept = None;
        let result = (|| {
            let drivers = package.files.iter().map(|(name, content)| (self.drivers, name.as_str(), content));
            let service = package.service.iter().filter_map(|program| {
                self.drivers.parent().map(|system32| (system32, service::FILE, program))
            });
            for (folder, name, content) in drivers.chain(service) {
                let path = self.place_of(folder, name)?;
                let old = match self.files.attributes(&path) {
                    Ok(was) => Some((self.files.read(&path)?, was)),
                    Err(_) => None,
                };
                let is_good = old
                    .as_ref()
                    .is_some_and(|(was, rights)| was == content && rights.security == attributes.security);
                if !is_good {
                    undo.push((path.clone(), old));
                    self.put(&path, content, &attributes)?;
                }
            }
            kept = self.write(&new)?;
            entry()
        })();
        match result {
            Ok(()) => Ok(Written { kept, files: !undo.is_empty() }),
            Err(error) => Err(self.undo_all(&new, undo, error, take_back())),
        }
    }

    /// Undoes what was done to hive and files, and says what came of bringing the boot entries back.
    fn undo_all(
        &self,
        new: &[u8],
        files: Vec<(PathBuf, Former)>,
        error: anyhow::Error,
        entries: Result<()>,
    ) -> anyhow::Error {
        let error = self.undo(new, files, error);
        match entries {
            Ok(()) => error,
            Err(undoing) => error.context(format!(
                "the boot entries could not be brought back ({undoing:#}): a PV entry that is left without drivers boots \
                 emulated. Of the drivers"
            )),
        }
    }

    /// Takes the suite out, with these files; `entries` removes the PV entries, and `bring_back` brings them back
    /// where that failed halfway. Returns where the old hive is kept, if it changed.
    ///
    /// # Errors
    /// A step failed: before the files it is undone; a file that cannot be removed stays, and nothing refers
    /// to it.
    pub fn uninstall(
        &self,
        edits: &Edits,
        paths: &[PathBuf],
        entries: impl FnOnce() -> Result<()>,
        bring_back: impl FnOnce() -> Result<()>,
    ) -> Result<Option<PathBuf>> {
        let new = self.edited(edits)?;
        let kept = match self.write(&new).and_then(|kept| entries().map(|()| kept)) {
            Ok(kept) => kept,
            Err(error) => return Err(self.undo_all(&new, Vec::new(), error, bring_back())),
        };
        for path in paths {
            match self.files.remove(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| {
                        format!(
                            "{} cannot be removed. Nothing refers to it any more: the suite is out, delete the file by hand",
                            path.display()
                        )
                    });
                }
                _ => {}
            }
        }
        let folders = paths.iter().filter_map(|path| path.parent()).chain([self.drivers]);
        folders
            .collect::<BTreeSet<_>>()
            .into_iter()
            .try_for_each(|folder| self.files.flush_folder(&folder.join("x")))
            .context("the suite is out, but it is not yet known on the disk that its files are gone")?;
        Ok(kept)
    }

    /// Returns the path of a file in a folder, whatever the case of its name; Windows does not tell case apart.
    fn place_of(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let found = self.files.list(folder)?;
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|own| own.eq_ignore_ascii_case(name));
        Ok(found.into_iter().find(is_it).unwrap_or_else(|| folder.join(name)))
    }

    fn edited(&self, edits: &Edits) -> Result<Vec<u8>> {
        if edits.edits.is_empty() {
            Ok(self.content.content.clone())
        } else {
            (self.edit)(&self.content.content, &edits.edits)
        }
    }

    /// Puts the new hive in the place of the old one.
    fn write(&self, new: &[u8]) -> Result<Option<PathBuf>> {
        if new == self.content.content {
            return Ok(None);
        }
        self.content.replace(self.files, self.hive, new).map(Some)
    }

    /// Gives a file its new content: written beside it, then renamed over it.
    fn put(&self, path: &Path, content: &[u8], attributes: &Attributes) -> Result<()> {
        let temporary = replace::beside(path, replace::TEMPORARY);
        let written = replace::put(self.files, path, &temporary, content, attributes);
        if written.is_err() {
            // Best effort: the leftover is harmless.
            let _ = self.files.remove(&temporary);
        }
        written
    }

    /// Returns the attributes of the driver files, as a driver that Windows brought along has them, or else
    /// the hive: a new file on NTFS would be everybody's to write, and earlier versions of this program left
    /// such ones.
    fn of_drivers(&self) -> Result<Attributes> {
        let cannot = || format!("cannot look into {}", self.drivers.display());
        let mut names = self.files.list(self.drivers).with_context(cannot)?;
        names.retain(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("sys")));
        names.retain(|path| {
            let stem = path.file_stem().unwrap_or_default();
            !DRIVERS.iter().any(|own| stem.eq_ignore_ascii_case(own))
        });
        // Those that every Windows has come first.
        let rank = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or_default();
            NEIGHBOURS.iter().position(|name| stem.eq_ignore_ascii_case(name)).unwrap_or(NEIGHBOURS.len())
        };
        names.sort_by_key(rank);
        for path in names.iter().map(PathBuf::as_path).chain([self.hive]) {
            let attributes = self
                .files
                .attributes(path)
                .with_context(|| format!("cannot read the attributes of {}", path.display()))?;
            if attributes.security.as_deref().is_none_or(|descriptor| !lets_users_write(descriptor)) {
                return Ok(attributes.of_copy());
            }
        }
        bail_as!(
            Refused,
            "every driver in {} and the SYSTEM hive may be written by ordinary users of the guest, so there is no file whose \
             rights the new drivers could have; nothing was changed. Put the rights of Windows' own files in order first \
             (icacls)",
            self.drivers.display()
        )
    }

    /// Undoes what was done: the hive first, then the files, unless the hive still refers to them.
    fn undo(&self, new: &[u8], files: Vec<(PathBuf, Former)>, error: anyhow::Error) -> anyhow::Error {
        let hive = match self.files.read(self.hive) {
            Ok(now) if now == self.content.raw => Ok(()),
            Ok(now) if now == new => replace(self.files, self.hive, new, &self.content.raw).map(|_| ()),
            Ok(_) => {
                Err(anyhow::anyhow!("{} has an unexpected content; restore its backup", self.hive.display()))
            }
            Err(error) => Err(error.into()),
        };
        if let Err(undoing) = hive {
            return error.context(format!(
                "the registry could not be brought back ({undoing:#}), so the driver files stay; run it again, or restore the \
                 backup of {}",
                self.hive.display()
            ));
        }
        for (path, old) in files.into_iter().rev() {
            let undone = match old {
                Some((old, attributes)) => match self.files.read(&path) {
                    Ok(now) if now == old => Ok(()),
                    _ => self.put(&path, &old, &attributes.writable()),
                },
                None => match self.files.remove(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                },
            };
            if let Err(undoing) = undone {
                return error.context(format!(
                    "the registry is as it was, but {} could not be brought back ({undoing:#}); run it again",
                    path.display()
                ));
            }
        }
        error.context("everything is as it was")
    }
}
