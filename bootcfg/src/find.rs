//! Where a guest's boot files are below a folder. Windows does not tell case apart, the host may.

use anyhow::{Context, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{place::Place, told};

/// Where boot configurations are, below a system volume or an EFI system partition.
const STORES: [&str; 3] = ["Boot/BCD", "EFI/Microsoft/Boot/BCD", "boot/efi/EFI/Microsoft/Boot/BCD"];

/// The one boot configuration below `root`.
///
/// # Errors
/// There is none, or more than one.
pub fn below(root: &Path) -> Result<Place> {
    if !root.is_dir() {
        told!(
            Unusable,
            "{} is no folder; --root takes the folder where the guest's volume is mounted",
            root.display()
        );
    }
    let mut places = Vec::new();
    if let Some(path) = file(root, "boot.ini")? {
        places.push(Place::BootIni(path));
    }
    for store in STORES {
        if let Some(path) = file(root, store)? {
            places.push(Place::Store(path));
        }
    }
    match places.len() {
        0 => told!(
            Unusable,
            "{} has no boot.ini, {}: is it the system volume (on newer Windows often a partition of its own)?",
            root.display(),
            STORES[..2].join(" or ")
        ),
        1 => Ok(places.remove(0)),
        _ => {
            let paths: Vec<_> = places.iter().map(ToString::to_string).collect();
            told!(Unusable, "there are several: {}; say which by --boot-ini or --store", paths.join(", "))
        }
    }
}

/// The file at `path`, with slashes, below `root`, whatever the case of the names.
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
    Ok(place.is_file().then_some(place))
}

/// The folder of this name in `parent`, whatever the case of the name.
///
/// # Errors
/// The parent cannot be read.
pub fn folder(parent: &Path, name: &str) -> Result<Option<PathBuf>> {
    let found = entry(parent, name).with_context(|| format!("cannot look into {}", parent.display()))?;
    Ok(found.filter(|path| path.is_dir()))
}

fn entry(folder: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let exact = folder.join(name);
    if exact.exists() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_found_and_two_are_not_guessed_between() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert!(below(root).expect_err("none").to_string().contains("no boot.ini"));
        fs::write(root.join("BOOT.INI"), "").expect("written");
        assert_eq!(below(root).expect("found"), Place::BootIni(root.join("BOOT.INI")));
        fs::create_dir_all(root.join("efi/microsoft/BOOT")).expect("made");
        fs::write(root.join("efi/microsoft/BOOT/bcd"), "").expect("written");
        assert!(below(root).expect_err("two").to_string().contains("several"));
        fs::remove_file(root.join("BOOT.INI")).expect("removed");
        assert_eq!(below(root).expect("found"), Place::Store(root.join("efi/microsoft/BOOT/bcd")));
        assert!(below(&root.join("missing")).is_err());
    }
}
