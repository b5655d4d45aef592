//! Places of a guest's boot files below a folder. Windows does not tell case apart, the host may.

use anyhow::{Context, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{bail_as, files::Disk, place::Place, replace};

/// Paths of boot configurations, below a system volume or an EFI system partition.
const STORES: [&str; 3] = ["Boot/BCD", "EFI/Microsoft/Boot/BCD", "boot/efi/EFI/Microsoft/Boot/BCD"];

/// Returns the one boot configuration below `root`; also one that is gone, but has backups beside its place.
///
/// # Errors
/// There is none, or more than one.
pub fn below(root: &Path) -> Result<Place> {
    if !root.is_dir() {
        bail_as!(
            Unusable,
            "{} is no folder; --root takes the folder where the guest's volume is mounted",
            root.display()
        );
    }
    let mut places = Vec::new();
    if let Some(path) = file(root, "boot.ini")? {
        places.push(Place::BootIni(path, None));
    }
    for store in STORES {
        if let Some(path) = file(root, store)? {
            places.push(Place::Store(path));
        }
    }
    match places.len() {
        0 => match lost(root)? {
            Some(place) => Ok(place),
            None => bail_as!(
                Unusable,
                "{} has no boot.ini, {}: is it the system volume (on newer Windows often a partition of its own)?",
                root.display(),
                STORES[..2].join(" or ")
            ),
        },
        1 => Ok(places.remove(0)),
        _ => {
            let paths: Vec<_> = places.iter().map(ToString::to_string).collect();
            bail_as!(Unusable, "there are several: {}; say which by --boot-ini or --store", paths.join(", "))
        }
    }
}

/// Returns the boot configuration that is gone, by the backups beside its place.
fn lost(root: &Path) -> Result<Option<Place>> {
    for (path, is_store) in
        [("boot.ini", false)].into_iter().chain(STORES.into_iter().map(|store| (store, true)))
    {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut place = Some(root.to_owned());
        for name in folders.split('/').filter(|name| !name.is_empty()) {
            place = match place {
                Some(parent) => folder(&parent, name)?,
                None => None,
            };
        }
        let Some(place) = place else { continue };
        inside(root, &place)?;
        let path = place.join(name);
        if fs::symlink_metadata(&path).is_err() && replace::last_backup(&Disk, &path).is_some() {
            return Ok(Some(if is_store { Place::Store(path) } else { Place::BootIni(path, None) }));
        }
    }
    Ok(None)
}

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

/// The SYSTEM hive, below the folder of Windows.
pub const HIVE: &str = "System32/config/SYSTEM";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_found_and_two_are_not_guessed_between() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert!(below(root).expect_err("none").to_string().contains("no boot.ini"));
        fs::write(root.join("BOOT.INI"), "").expect("written");
        assert_eq!(below(root).expect("found"), Place::BootIni(root.join("BOOT.INI"), None));
        fs::create_dir_all(root.join("efi/microsoft/BOOT")).expect("made");
        fs::write(root.join("efi/microsoft/BOOT/bcd"), "").expect("written");
        assert!(below(root).expect_err("two").to_string().contains("several"));
        fs::remove_file(root.join("BOOT.INI")).expect("removed");
        assert_eq!(below(root).expect("found"), Place::Store(root.join("efi/microsoft/BOOT/bcd")));
        assert!(below(&root.join("missing")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_volume_is_refused() {
        use std::os::unix::fs::symlink;
        let (folder, host) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let root = folder.path();
        fs::write(host.path().join("boot.ini"), "").expect("written");
        fs::create_dir_all(root.join("real/System32/config")).expect("made");
        fs::write(root.join("real/System32/config/SYSTEM"), "").expect("written");
        symlink(host.path().join("boot.ini"), root.join("boot.ini")).expect("linked");
        assert!(below(root).expect_err("refused").to_string().contains("leads out of"));
        fs::remove_file(root.join("boot.ini")).expect("removed");
        symlink(host.path(), root.join("Boot")).expect("linked");
        fs::write(host.path().join("BCD"), "").expect("written");
        assert!(below(root).expect_err("refused").to_string().contains("leads out of"));
        // Within the volume a link is the guest's own affair.
        symlink("real", root.join("WINDOWS")).expect("linked");
        assert!(file(root, "Windows/System32/config/SYSTEM").expect("read").is_some());
        assert_eq!(windows(root).expect("listed"), ["WINDOWS", "real"]);
    }

    #[test]
    fn one_that_is_gone_is_found_by_its_backups() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("boot")).expect("made");
        fs::write(folder.path().join("boot/BCD.backup3"), "").expect("written");
        assert_eq!(below(folder.path()).expect("found"), Place::Store(folder.path().join("boot/BCD")));
    }
}
