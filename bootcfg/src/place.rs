//! Place of a boot configuration: read from there, written back there, backed up.

use anyhow::{Context, Result};
use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    bail_as,
    bcd::{Bcd, bcdedit::Bcdedit},
    boot_ini::BootIni,
    code_page::CodePage,
    configuration::Configuration,
    exit::{self, Exit, ExitError},
    files::{Attributes, Disk, Files, leads_away},
    hive_file::HiveFile,
    lock::Lock,
    replace,
};

/// Place of a boot configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A boot.ini, and the code page of its names where it is known.
    BootIni(PathBuf, Option<CodePage>),
    /// A BCD file that no Windows is using.
    Store(PathBuf),
    /// The store of the running Windows, through bcdedit.
    Live(Live),
}

/// The running Windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its bcdedit.
    pub bcdedit: Bcdedit,
    /// Folder for backups of the store.
    pub folder: PathBuf,
}

impl Live {
    /// Returns the name that the backups of the store are made from.
    fn stem(&self) -> PathBuf {
        self.folder.join("bcd")
    }

    /// Keeps an exported store, which only administrators may read and write.
    fn backup(&self, store: &[u8]) -> Result<PathBuf> {
        let attributes = Disk
            .attributes(&self.folder)
            .with_context(|| format!("cannot look into {}", self.folder.display()))?;
        let unix = attributes.unix.map(|(_, owner, group)| (0o600, owner, group));
        let attributes = Attributes { dos: Attributes::ARCHIVE, unix, security: None };
        replace::backup(&Disk, &self.stem(), store, &attributes)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::BootIni(path, _) | Place::Store(path) => write!(f, "{}", path.display()),
            Place::Live(_) => f.write_str("the running system's BCD"),
        }
    }
}

/// A boot configuration as it was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// The file's bytes; of the running system, what bcdedit exported.
    pub bytes: Vec<u8>,
    /// Of a store that is a file, the hive with its log files replayed.
    pub hive: Option<HiveFile>,
    /// Meaning of the bytes.
    pub configuration: Configuration,
}

impl Read {
    /// Returns the content that an edit starts from and that a backup keeps.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        self.hive.as_ref().map_or(&self.bytes, |hive| &hive.content)
    }
}

/// Content that a backup is to replace; it need not be understood.
#[derive(Clone, Debug)]
pub struct Old {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Of a store that can be read, the hive with its log files replayed.
    pub hive: Option<HiveFile>,
}

impl Place {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, or is no boot configuration of this kind.
    pub fn read(&self) -> Result<Read> {
        if let Place::Store(path) = self {
            self.refuse_gone_or_away(path)?;
            let hive = HiveFile::read(&Disk, path).map_err(|error| exit::or(error, Exit::Unusable))?;
            let configuration = self.parse(&hive.content).with_context(|| self.to_string())?;
            return Ok(Read { bytes: hive.raw.clone(), hive: Some(hive), configuration });
        }
        let bytes = self.raw()?;
        let configuration = self.parse(&bytes).with_context(|| self.to_string())?;
        Ok(Read { bytes, hive: None, configuration })
    }

    /// Reads it for a change, with other bootcfgs locked out.
    ///
    /// # Errors
    /// It cannot be read, or is not what it was at the first reading.
    pub fn read_again(&self, first: &Read) -> Result<Read> {
        let read = self.read()?;
        if read.configuration != first.configuration {
            return Err(self.changed_meanwhile());
        }
        Ok(read)
    }

    /// Returns the error that another program was at work between the look and the change.
    pub(crate) fn changed_meanwhile(&self) -> anyhow::Error {
        let text = format!(
            "another program has changed {self} meanwhile; nothing was changed here. Look at it, and try again"
        );
        ExitError::new(Exit::Busy, text).into()
    }

    /// It is there, whatever it holds.
    #[must_use]
    pub fn exists(&self) -> bool {
        match self {
            Place::BootIni(path, _) | Place::Store(path) => std::fs::symlink_metadata(path).is_ok(),
            Place::Live(_) => true,
        }
    }

    /// Refuses a file that is gone but has backups, and a link that leads out of its volume.
    fn refuse_gone_or_away(&self, path: &Path) -> Result<()> {
        if !self.exists()
            && let Ok(Some(backup)) = self.last_backup()
        {
            bail_as!(
                Unusable,
                "{self} is not there, but its backup {} is: `xenguard restore` brings it back",
                backup.display()
            );
        }
        if let Some(target) = leads_away(path) {
            bail_as!(
                Refused,
                "{self} is a symbolic link that leads out of its volume, to {}; if that is what you mean, name \
                 that file",
                target.display()
            );
        }
        Ok(())
    }

    /// Its bytes, whatever they are.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn raw(&self) -> Result<Vec<u8>> {
        match self {
            Place::BootIni(path, _) | Place::Store(path) => {
                self.refuse_gone_or_away(path)?;
                let read = Disk.read(path).with_context(|| format!("cannot read {}", path.display()));
                read.map_err(|error| exit::or(error, Exit::Unusable))
            }
            Place::Live(live) => live.bcdedit.export(),
        }
    }

    /// Parses bytes that are, or shall be, at the place.
    ///
    /// # Errors
    /// They are no boot configuration of this kind.
    pub fn parse(&self, bytes: &[u8]) -> Result<Configuration> {
        match self {
            Place::BootIni(_, code_page) => BootIni::parse(bytes.to_vec())
                .map(|file| Configuration::BootIni(file.with_code_page(*code_page))),
            Place::Store(_) | Place::Live(_) => Bcd::read(bytes).map(Configuration::Bcd),
        }
        .map_err(|error| exit::or(error, Exit::Unusable))
    }

    /// Keeps other bootcfgs away.
    ///
    /// # Errors
    /// Another is at work, or the medium is not writable.
    pub fn lock(&self) -> Result<Lock> {
        match self {
            Place::BootIni(path, _) | Place::Store(path) => Lock::take(path),
            Place::Live(live) => {
                std::fs::create_dir_all(&live.folder).with_context(|| {
                    format!("cannot make the folder for backups {}", live.folder.display())
                })?;
                Lock::take(&live.folder)
            }
        }
    }

    /// Makes `new` of what was read; returns where the backup is.
    ///
    /// # Errors
    /// A step failed; the message says what is there now.
    pub fn write(&self, old: &Read, new: &Configuration) -> Result<PathBuf> {
        match (self, &old.configuration, new) {
            (Place::BootIni(path, _), _, Configuration::BootIni(new)) => {
                replace::replace(&Disk, path, &old.bytes, new.bytes())
            }
            (Place::Store(path), Configuration::Bcd(before), Configuration::Bcd(after)) => {
                let bytes = edited_store(old.content(), before, after)?;
                if Bcd::read(&bytes).context("the edited copy of the store")? != *after {
                    bail_as!(
                        Tool,
                        "the edited copy of the store is not what it should be; {self} is unchanged"
                    );
                }
                match &old.hive {
                    Some(hive) => hive.replace(&Disk, path, &bytes),
                    None => replace::replace(&Disk, path, &old.bytes, &bytes),
                }
            }
            (Place::Live(live), Configuration::Bcd(before), Configuration::Bcd(after)) => {
                let backup = live.backup(&old.bytes)?;
                live.bcdedit
                    .change(before, after)
                    .with_context(|| format!("the backup is {}", backup.display()))?;
                Ok(backup)
            }
            _ => bail_as!(Unusable, "a configuration of another kind"),
        }
    }

    /// Keeps a copy of what was read, in `file` or beside the original. In the guest only those may write it who may write
    /// the original.
    ///
    /// # Errors
    /// It cannot be written, or its rights not be set; an existing file is not overwritten.
    pub fn backup(&self, read: &Read, file: Option<&Path>) -> Result<PathBuf> {
        match (file, self) {
            (Some(file), _) => {
                let original = match self {
                    Place::BootIni(path, _) | Place::Store(path) => Disk.attributes(path).ok(),
                    Place::Live(_) => None,
                };
                // Owner and mode are the caller's: the file is his.
                let security = original.and_then(|attributes| attributes.security);
                let like = Attributes { dos: Attributes::ARCHIVE, unix: None, security };
                replace::keep(&Disk, file, read.content(), &like)?;
                Ok(file.to_owned())
            }
            (None, Place::Live(live)) => live.backup(read.content()),
            (None, Place::BootIni(..) | Place::Store(_)) => {
                let path = self.stem()?;
                replace::backup(&Disk, &path, read.content(), &Disk.attributes(&path)?)
            }
        }
    }

    /// Returns the backups that were made beside the original, by number, the last one last.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn backups(&self) -> Result<Vec<(u32, PathBuf)>> {
        let stem = self.stem()?;
        if !stem.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder.is_dir()) {
            return Ok(Vec::new());
        }
        replace::backups(&Disk, &stem).with_context(|| format!("cannot list the backups of {self}"))
    }

    /// Returns the last backup that was made beside the original.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn last_backup(&self) -> Result<Option<PathBuf>> {
        Ok(self.backups()?.pop().map(|(_, path)| path))
    }

    /// Puts the bytes of a backup in place; returns where the backup of what was there is. `old` is `None`
    /// where nothing is there; then the file gets the attributes of the backup.
    ///
    /// # Errors
    /// A step failed; the message says what is there now.
    pub fn restore(&self, old: Option<&Old>, backup: &[u8], file: &Path) -> Result<Option<PathBuf>> {
        match (self, old) {
            (Place::Store(path), Some(Old { hive: Some(hive), .. })) => {
                hive.replace(&Disk, path, backup).map(Some)
            }
            (Place::BootIni(path, _) | Place::Store(path), Some(old)) => {
                replace::replace(&Disk, path, &old.bytes, backup).map(Some)
            }
            (Place::BootIni(path, _) | Place::Store(path), None) => {
                let attributes = Disk.attributes(file).with_context(|| {
                    format!("cannot read the attributes of {}, which {self} is to get", file.display())
                })?;
                replace::keep(&Disk, path, backup, &attributes)?;
                Ok(None)
            }
            (Place::Live(live), old) => {
                let kept = live.backup(old.map_or(&[], |old| &old.bytes))?;
                live.bcdedit.import(file).with_context(|| format!("the backup is {}", kept.display()))?;
                Ok(Some(kept))
            }
        }
    }

    /// Puts bytes back that were read before a change that failed halfway.
    ///
    /// # Errors
    /// They cannot be written; the message says what is there now.
    pub fn put_back(&self, before: &[u8]) -> Result<()> {
        let now = self.raw()?;
        match self {
            _ if now == before => Ok(()),
            Place::BootIni(path, _) | Place::Store(path) => {
                replace::replace(&Disk, path, &now, before).map(|_| ())
            }
            Place::Live(live) => {
                let (now, before) = (Bcd::read(&now)?, Bcd::read(before)?);
                live.bcdedit.change(&now, &before)
            }
        }
    }

    /// Returns the path that names of backups are made from.
    fn stem(&self) -> Result<PathBuf> {
        match self {
            Place::BootIni(path, _) | Place::Store(path) if self.exists() => {
                Disk.resolve(path).with_context(|| format!("cannot find {}", path.display()))
            }
            Place::BootIni(path, _) | Place::Store(path) => Ok(path.clone()),
            Place::Live(live) => Ok(live.stem()),
        }
    }
}

/// Returns the bytes of a store with changes, made on a copy.
#[cfg(unix)]
fn edited_store(bytes: &[u8], before: &Bcd, after: &Bcd) -> Result<Vec<u8>> {
    crate::bcd::hivex::edited(bytes, &before.changes_to(after))
}

/// Returns the bytes of a store with changes, made on a copy.
#[cfg(windows)]
fn edited_store(bytes: &[u8], before: &Bcd, after: &Bcd) -> Result<Vec<u8>> {
    Bcdedit::of_system().edited(bytes, before, after)
}
