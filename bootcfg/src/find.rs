//! Finding a guest's boot configuration below a folder.

use anyhow::Result;
use std::{fs, path::Path};

use crate::{
    bail_as,
    files::Disk,
    guest_files::{file, folder, inside},
    place::Place,
    replace,
};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest_files;

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
        assert_eq!(guest_files::windows(root).expect("listed"), ["WINDOWS", "real"]);
    }

    #[test]
    fn one_that_is_gone_is_found_by_its_backups() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("boot")).expect("made");
        fs::write(folder.path().join("boot/BCD.backup3"), "").expect("written");
        assert_eq!(below(folder.path()).expect("found"), Place::Store(folder.path().join("boot/BCD")));
    }
}
