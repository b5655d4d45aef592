//! `HKLM\SYSTEM`, of the running Windows or in a SYSTEM hive.

use anyhow::{Context, Result, bail};
use hive::{Hive, Key};
use std::path::{Path, PathBuf};

use super::raw_value::RawValue;
use crate::{
    bail_as,
    files::Disk,
    guest_files::{self, HIVE},
    hive_edit::{Edit, edit_copy},
    hive_file::HiveFile,
};

#[cfg(windows)]
/// The name of the set in use, below `HKLM\SYSTEM` of a running Windows.
const CURRENT: &str = "CurrentControlSet";

/// The system's part of the registry, as far as it can be read.
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
        /// It stands for the registry of a running Windows, in tests.
        running: bool,
    },
    /// Not at hand, and why.
    Unknown(String),
}

impl Registry {
    /// Returns the registry of the Windows in a folder of the volume mounted at `root`.
    pub fn below(root: &Path, windows: &str) -> Registry {
        match guest_files::file(root, &format!("{windows}/{HIVE}")) {
            Ok(Some(path)) => Registry::of_file(&path, false),
            Ok(None) => Registry::Unknown(format!("the volume has no {windows}/{HIVE}")),
            Err(error) => Registry::Unknown(format!("{error:#}")),
        }
    }

    /// Returns the registry in a hive's file.
    pub fn of_file(path: &Path, running: bool) -> Registry {
        match HiveFile::read(&Disk, path) {
            Ok(hive) => Registry::Offline { path: path.to_owned(), hive, running },
            Err(error) => Registry::Unknown(format!("{error:#}")),
        }
    }

    /// Returns the registry of this machine.
    pub fn running() -> Registry {
        #[cfg(windows)]
        return Registry::Running;
        #[cfg(not(windows))]
        Registry::Unknown("this is not Windows".to_owned())
    }

    pub const fn is_running(&self) -> bool {
        match self {
            #[cfg(windows)]
            Registry::Running => true,
            Registry::Offline { running, .. } => *running,
            Registry::Unknown(_) => false,
        }
    }

    /// Returns the sentence for the user about a hive whose log files were replayed.
    pub fn replayed(&self) -> Option<String> {
        match self {
            Registry::Offline { path, hive, .. } => hive.replay_note(path),
            _ => None,
        }
    }

    /// Returns the control sets that the next boot may take, those that are there: the default first, then
    /// the last one.
    pub fn next_sets(&self) -> Result<Vec<String>> {
        match self {
            Registry::Offline { path, hive, .. } => {
                let hive = Hive::new(&hive.content).with_context(|| path.display().to_string())?;
                next_sets(&hive).with_context(|| path.display().to_string())
            }
            #[cfg(windows)]
            Registry::Running => Ok(vec![CURRENT.to_owned()]),
            Registry::Unknown(why) => bail!("{why}"),
        }
    }

    /// Returns all control sets, those of "last known good" and of failed boots, too.
    pub fn all_sets(&self) -> Result<Vec<String>> {
        let is_set = |name: &String| {
            let name = name.to_ascii_lowercase();
            let number = name.strip_prefix("controlset");
            number
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        Ok(self.keys("")?.unwrap_or_default().into_iter().filter(is_set).collect())
    }

    /// Returns when all that was edited is on the disk; a hive's file is at the end of each edit.
    pub fn flush(&self) -> Result<()> {
        match self {
            #[cfg(windows)]
            Registry::Running => super::registry_windows::flush("SYSTEM"),
            Registry::Offline { .. } => Ok(()),
            Registry::Unknown(why) => bail!("{why}"),
        }
    }

    /// Returns the control set of the last boot, or of the running one.
    fn last_set(&self) -> Result<String> {
        match self {
            Registry::Offline { path, hive, .. } => {
                let hive = Hive::new(&hive.content).with_context(|| path.display().to_string())?;
                let select =
                    hive.key("Select")?.context("the hive has no key Select: it is not a SYSTEM hive")?;
                let current = select.dword("Current")?.context("the hive has no Select\\Current")?;
                Ok(format!("ControlSet{current:03}"))
            }
            #[cfg(windows)]
            Registry::Running => Ok(CURRENT.to_owned()),
            Registry::Unknown(why) => bail!("{why}"),
        }
    }

    /// Returns a value; keys are paths from the hive's root. `None` where key or value is not there.
    pub fn value(&self, key: &str, name: &str) -> Result<Option<RawValue>> {
        match self {
            #[cfg(windows)]
            Registry::Running => super::registry_windows::value(&below_system(key), name),
            Registry::Offline { path, hive, .. } => with_key(&hive.content, key, |key| {
                let Some(value) = key.value(name)? else { return Ok(None) };
                Ok(Some(RawValue { kind: value.data_type(), data: value.data()?.into_owned() }))
            })
            .with_context(|| path.display().to_string())
            .map(Option::flatten),
            Registry::Unknown(why) => bail!("{why}"),
        }
    }

    /// Returns the names of a key's subkeys; `None` where the key is not there.
    pub fn keys(&self, key: &str) -> Result<Option<Vec<String>>> {
        match self {
            #[cfg(windows)]
            Registry::Running => super::registry_windows::keys(&below_system(key)),
            Registry::Offline { path, hive, .. } => with_key(&hive.content, key, |key| {
                key.keys()?.map(|key| key.map(|key| key.name().to_owned())).collect()
            })
            .with_context(|| path.display().to_string()),
            Registry::Unknown(why) => bail!("{why}"),
        }
    }

    /// Returns the numbers among a key's values, by name; `None` where the key is not there.
    pub fn dwords(&self, key: &str) -> Result<Option<Vec<(String, u32)>>> {
        match self {
            #[cfg(windows)]
            Registry::Running => {
                // Windows writes this one alone.
                let Some(_) = self.keys(key)? else { return Ok(None) };
                let value = self.value(key, "0")?.and_then(|value| value.dword());
                Ok(Some(value.map(|number| ("0".to_owned(), number)).into_iter().collect()))
            }
            Registry::Offline { path, hive, .. } => with_key(&hive.content, key, |key| {
                let mut found = Vec::new();
                for value in key.values()? {
                    let value = value?;
                    found.extend(value.dword()?.map(|number| (value.name().to_owned(), number)));
                }
                Ok(found)
            })
            .with_context(|| path.display().to_string()),
            Registry::Unknown(why) => bail!("{why}"),
        }
    }

    /// Returns a `REG_DWORD` below the set of the next boot; `None` where there is none.
    pub fn dword(&self, key: &str, name: &str) -> Result<Option<u32>> {
        Ok(self.of_next(key, name)?.and_then(|value| value.dword()))
    }

    /// Returns a text below the set of the next boot; `None` where there is none.
    pub fn text(&self, key: &str, name: &str) -> Result<Option<String>> {
        Ok(self.of_next(key, name)?.and_then(|value| value.text()))
    }

    /// Returns a text below the set of the last boot; `None` where there is none.
    pub fn text_of_last(&self, key: &str, name: &str) -> Result<Option<String>> {
        Ok(self.of_last(key, name)?.and_then(|value| value.text()))
    }

    /// Returns a value below the set of the last boot, or of the running one; `None` where there is none.
    pub fn of_last(&self, key: &str, name: &str) -> Result<Option<RawValue>> {
        self.value(&format!("{}\\{key}", self.last_set()?), name)
    }

    fn of_next(&self, key: &str, name: &str) -> Result<Option<RawValue>> {
        let sets = self.next_sets()?;
        let set = sets.first().context("the registry has no control set")?;
        self.value(&format!("{set}\\{key}"), name)
    }

    /// Makes edits; returns where the old hive is kept, if one was written.
    ///
    /// # Errors
    /// They cannot be made; in a hive none is made then.
    pub fn apply(&self, edits: &[Edit]) -> Result<Option<PathBuf>> {
        if edits.is_empty() {
            return Ok(None);
        }
        match self {
            #[cfg(windows)]
            Registry::Running => {
                for edit in edits {
                    match edit {
                        Edit::Set { key, name, kind, data } => {
                            super::registry_windows::set(&below_system(key), name, *kind, data)?;
                        }
                        Edit::DeleteKey { key } => super::registry_windows::delete(&below_system(key))?,
                        Edit::DeleteValues { key, names } => {
                            for name in names {
                                super::registry_windows::delete_value(&below_system(key), name)?;
                            }
                        }
                    }
                }
                Ok(None)
            }
            Registry::Offline { path, hive, .. } => {
                let edited = edit_copy(&hive.content, edits)?;
                let _lock = crate::lock::Lock::take(path)?;
                hive.replace(&Disk, path, &edited).map(Some)
            }
            Registry::Unknown(why) => bail_as!(Refused, "the registry is not at hand: {why}"),
        }
    }
}

/// Returns the control sets that the next boot may take, those that are there: the default first, then the
/// last one.
///
/// # Errors
/// It is no SYSTEM hive, or the set that it names as the default is not there.
pub(crate) fn next_sets(hive: &Hive<'_>) -> Result<Vec<String>> {
    let select = hive.key("Select")?.context("the hive has no key Select: it is not a SYSTEM hive")?;
    let current = select.dword("Current")?.context("the hive has no Select\\Current")?;
    let default = select.dword("Default")?.unwrap_or(current);
    let mut sets = vec![default];
    sets.extend(Some(current).filter(|&current| current != default));
    let mut there = Vec::new();
    for set in sets.into_iter().map(|set| format!("ControlSet{set:03}")) {
        if hive.key(&set)?.is_some() {
            there.push(set);
        }
    }
    if there.is_empty() {
        bail_as!(Unusable, "the hive has not the control set that it names (Select\\Default is {default})");
    }
    Ok(there)
}

#[cfg(windows)]
fn below_system(key: &str) -> String {
    if key.is_empty() { "SYSTEM".to_owned() } else { format!("SYSTEM\\{key}") }
}

/// Reads from a key; `None` where it is not there.
fn with_key<T>(
    bytes: &[u8],
    path: &str,
    read: impl FnOnce(Key<'_>) -> Result<T, hive::Error>,
) -> Result<Option<T>> {
    let hive = Hive::new(bytes)?;
    let key = hive.key(path)?;
    Ok(key.map(read).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hive::build::Tree;

    #[test]
    fn sets_that_are_there() {
        let sets = |current, default, there: &[&str]| {
            let select = Tree::new().with_dword("Current", current).with_dword("Default", default);
            let tree = there.iter().fold(Tree::new().with_key("Select", select), |tree, set| {
                tree.with_key(set, Tree::new().with_dword("x", 1))
            });
            next_sets(&Hive::new(&tree.hive("SYSTEM")).expect("a hive")).ok()
        };
        assert_eq!(
            sets(1, 2, &["ControlSet001", "ControlSet002"]).expect("two"),
            ["ControlSet002", "ControlSet001"]
        );
        assert_eq!(sets(0, 1, &["ControlSet001"]).expect("one"), ["ControlSet001"]);
        assert_eq!(sets(1, 1, &["ControlSet003"]), None);
    }
}
