//! Files of a guest below a folder of this machine. Windows does not tell case apart, the host may.

use anyhow::{Context, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::bail_as;

/// The SYSTEM hive, below the folder of Windows.
pub const HIVE: &str = "System32/config/SYSTEM";

/// Returns the file at `path`, with slashes, below `root`, whatever the case of the names.
///
/// # Errors
/// A folder cannot be read.
pub fn file(root: &Path, path: &str) -> Result<Option<PathBuf>> {
    let mut place = root.to_owned();
    for name in path.split('/') {
        match entry(&place, name).with_context(|| format!("cannot look into {}", place.display()))? {
            Some(next) => place = next,
            None => return Ok(None),
        }
    }
    if fs::symlink_metadata(&place).is_ok() {
        inside(root, &place)?;
    }
    Ok(place.is_file().then_some(place))
}

/// Returns the path with slashes below `root`, whatever the case of the names, if it is a folder within it.
#[must_use]
pub fn path(root: &Path, path: &str) -> Option<PathBuf> {
    let mut place = root.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        place = entry(&place, name).ok()??;
    }
    (inside(root, &place).is_ok() && place.is_dir()).then_some(place)
}

/// Returns the folder of this name in `parent`, whatever the case of the name.
///
/// # Errors
/// The parent cannot be read.
pub fn folder(parent: &Path, name: &str) -> Result<Option<PathBuf>> {
    let found = entry(parent, name).with_context(|| format!("cannot look into {}", parent.display()))?;
    if let Some(found) = &found {
        inside(parent, found)?;
    }
    Ok(found.filter(|path| path.is_dir()))
}

fn entry(folder: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let exact = folder.join(name);
    if fs::symlink_metadata(&exact).is_ok() {
        return Ok(Some(exact));
    }
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => {
            return Ok(None);
        }
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().eq_ignore_ascii_case(name) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Refuses what leads out of `root`: whoever writes the guest's volume can make links there, and what they
/// name would be this machine's.
///
/// # Errors
/// A link on the way leads out, or nowhere.
pub fn inside(root: &Path, path: &Path) -> Result<()> {
    let leads = |path: &Path| {
        fs::canonicalize(path).with_context(|| format!("cannot see where {} leads", path.display()))
    };
    // Windows' own canonical form is not on NT 5.2, and the links of a running Windows are its own.
    if cfg!(windows) {
        return Ok(());
    }
    let (root_leads, path_leads) = (leads(root)?, leads(path)?);
    if !path_leads.starts_with(&root_leads) {
        bail_as!(
            Refused,
            "{} is a link that leads out of {}, to {}: the guest's volume must not decide which files of this machine are \
             read or written. Remove the link",
            path.display(),
            root.display(),
            path_leads.display()
        );
    }
    Ok(())
}

/// Returns the folders of Windows below `root`: those of its folders that have a SYSTEM hive.
///
/// # Errors
/// The root cannot be read.
pub fn windows(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(root).with_context(|| format!("cannot look into {}", root.display()))?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if matches!(file(root, &format!("{name}/{HIVE}")), Ok(Some(_))) {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}
