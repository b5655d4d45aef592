//! `HKLM\SYSTEM\CurrentControlSet`, of the running Windows or in a SYSTEM hive.

use anyhow::{Context, Result, bail};
use hive::{Hive, Key};
use std::path::{Path, PathBuf};

use crate::{files::Disk, find, hive_file::HiveFile, told};

/// Where Windows is on its volume.
const HIVES: [&str; 2] = ["Windows/System32/config/SYSTEM", "WINNT/System32/config/SYSTEM"];

/// The current control set, as far as it can be read.
#[derive(Debug)]
pub enum Registry {
    /// Of the running Windows.
    #[cfg(windows)]
    Running,
    /// In a hive.
    Offline {
        /// The hive's file.
        path: PathBuf,
        /// Its content, with log files replayed.
        hive: HiveFile,
    },
    /// Not at hand, and why.
    Unknown(String),
}

impl Registry {
    /// That of the Windows on the volume mounted at `root`.
    pub fn below(root: &Path) -> Registry {
        let Some(path) = HIVES.iter().find_map(|hive| find::file(root, hive).ok().flatten()) else {
            return Registry::Unknown("the volume has no Windows/System32/config/SYSTEM".to_owned());
        };
        match HiveFile::read(&Disk, &path) {
            Ok(hive) => Registry::Offline { path, hive },
            Err(error) => Registry::Unknown(format!("{error:#}")),
        }
    }

    /// That of this machine.
    pub fn running() -> Registry {
        #[cfg(windows)]
        return Registry::Running;
        #[cfg(not(windows))]
        Registry::Unknown("this is not Windows".to_owned())
    }

    pub const fn is_running(&self) -> bool {
        #[cfg(windows)]
        return matches!(self, Registry::Running);
        #[cfg(not(windows))]
        false
    }

    /// The sentence for the user about a hive whose log files were replayed.
    pub fn replayed(&self) -> Option<String> {
        match self {
            Registry::Offline { path, hive } => hive.told(path),
            _ => None,
        }
    }

    /// A `REG_DWORD` below the control set; `None` where there is none.
    pub fn dword(&self, key: &str, name: &str) -> Result<Option<u32>> {
        match self {
            #[cfg(windows)]
            Registry::Running => super::registry_windows::dword(&current(key), name),
            Registry::Offline { path, hive } => {
                with_key(&hive.content, key, |key| key.map_or(Ok(None), |key| key.dword(name)))
                    .with_context(|| path.display().to_string())
            }
            Registry::Unknown(why) => bail!("{why}"),
        }
    }

    /// A text below the control set; `None` where there is none.
    pub fn text(&self, key: &str, name: &str) -> Result<Option<String>> {
        match self {
            #[cfg(windows)]
            Registry::Running => super::registry_windows::text(&current(key), name),
            Registry::Offline { path, hive } => {
                with_key(&hive.content, key, |key| key.map_or(Ok(None), |key| key.text(name)))
                    .with_context(|| path.display().to_string())
            }
            Registry::Unknown(why) => bail!("{why}"),
        }
    }

    /// Sets a `REG_DWORD` in an existing key; returns where the old hive is kept, if one was written.
    pub fn set_dword(&self, key: &str, name: &str, number: u32) -> Result<Option<PathBuf>> {
        match self {
            #[cfg(windows)]
            Registry::Running => {
                super::registry_windows::set_dword(&current(key), name, number).map(|()| None)
            }
            #[cfg(unix)]
            Registry::Offline { path, hive } => {
                let bytes = &hive.content;
                let key = format!("{}\\{key}", control_set(&Hive::new(bytes)?)?);
                let edited = crate::bcd::hivex::with_dword(bytes, &key, name, number)?;
                let written = Hive::new(&edited)?.key(&key)?.map_or(Ok(None), |key| key.dword(name))?;
                if written != Some(number) {
                    told!(
                        Tool,
                        "the edited copy of the SYSTEM hive is not what it should be; nothing was changed"
                    );
                }
                let _lock = crate::lock::Lock::take(path)?;
                hive.replace(&Disk, path, &edited).map(Some)
            }
            #[cfg(windows)]
            Registry::Offline { path, .. } => {
                told!(Tool, "{} can be changed by Windows only when it is loaded (reg load)", path.display())
            }
            Registry::Unknown(why) => bail!("{why}"),
        }
    }
}

#[cfg(windows)]
fn current(key: &str) -> String {
    format!("SYSTEM\\CurrentControlSet\\{key}")
}

fn with_key<T>(
    bytes: &[u8],
    path: &str,
    read: impl FnOnce(Option<Key<'_>>) -> Result<T, hive::Error>,
) -> Result<T> {
    let hive = Hive::new(bytes)?;
    let key = hive.key(&format!("{}\\{path}", control_set(&hive)?))?;
    Ok(read(key)?)
}

/// The set that was booted last: `Select\Current`.
fn control_set(hive: &Hive<'_>) -> Result<String> {
    let select = hive.key("Select")?.context("the hive has no key Select: it is not a SYSTEM hive")?;
    let current = select.dword("Current")?.context("the hive has no Select\\Current")?;
    Ok(format!("ControlSet{current:03}"))
}
