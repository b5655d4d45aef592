//! Folders that are made, and built files that are put in place. A stamp holds the digest of what a folder was
//! made from, and the folder is made again when that changes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The file in a made folder that holds the digest.
const STAMP: &str = ".made-from";

/// A digest under construction.
#[derive(Default)]
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// Adds a text, such as a version.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    /// Adds a file's name and contents.
    pub(crate) fn file(self, path: &Path) -> Result<Self> {
        let contents = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut inputs = self.text(&path.file_name().unwrap_or_default().to_string_lossy());
        inputs.0.update((contents.len() as u64).to_le_bytes());
        inputs.0.update(contents);
        Ok(inputs)
    }

    /// Adds every file in `folder` itself, by name.
    pub(crate) fn folder(mut self, folder: &Path) -> Result<Self> {
        for path in sorted_entries(folder)? {
            if path.is_file() {
                self = self.file(&path)?;
            }
        }
        Ok(self)
    }

    fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the entries of `folder`, by name.
pub(crate) fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Returns the texts below `root` whose names end in `ending`, with their places. Folders that are built or hidden are
/// left out.
pub(crate) fn sources(root: &Path, ending: &str) -> Result<Vec<(PathBuf, String)>> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for path in sorted_entries(&root.join(&folder))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let place = folder.join(&name);
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && name != "target" && name != "dist" {
                    folders.push(place);
                }
            } else if name.ends_with(ending) {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                found.push((place, text));
            }
        }
    }
    Ok(found)
}

/// Makes `folder` anew unless it was made from the same `inputs`.
///
/// `make` gets a fresh folder beside it, which takes the place of the old one only when complete.
///
/// # Errors
/// Those of `make` and of the file system; the old folder is left as it was.
pub(crate) fn make_folder(
    folder: &Path,
    inputs: Inputs,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let digest = inputs.finish();
    if has_stamp(folder, &digest) {
        return Ok(());
    }
    let fresh = folder.with_extension("new");
    remove_folder(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
    make(&fresh)?;
    fs::write(fresh.join(STAMP), digest)?;
    remove_folder(folder)?;
    fs::rename(&fresh, folder).with_context(|| format!("cannot put {} in place", folder.display()))
}

/// Returns true if `folder` was made from these `inputs`.
pub(crate) fn is_made_from(folder: &Path, inputs: Inputs) -> bool {
    has_stamp(folder, &inputs.finish())
}

fn has_stamp(folder: &Path, digest: &str) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == digest)
}

/// Removes `folder` and what is in it, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a built file to where it is used, so that a reader never sees half of it.
pub(crate) fn install(built: &Path, place: &Path) -> Result<()> {
    let folder = place.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut partial = PathBuf::from(place);
    partial.as_mut_os_string().push(".new");
    fs::copy(built, &partial).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&partial, place).with_context(|| format!("cannot put {} in place", place.display()))
}

/// Makes `link` stand for `original`.
#[cfg(unix)]
pub(crate) fn link(original: &Path, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(original, link)
        .with_context(|| format!("cannot link {} to {}", link.display(), original.display()))
}

/// Makes `link` stand for `original`: never asked for on Windows, where the installed WDK is used.
#[cfg(windows)]
pub fn link(original: &Path, link: &Path) -> Result<()> {
    anyhow::bail!("links ({} to {}) are not made on Windows", link.display(), original.display())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, env, fs, path::PathBuf};

    use super::{Inputs, make_folder, remove_folder};

    /// Returns a place of its own for each test.
    fn place(test: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("xenguard-folder-{}-{test}", std::process::id()));
        remove_folder(&folder).unwrap();
        folder
    }

    #[test]
    fn a_folder_is_made_once_per_inputs() {
        let folder = place("once");
        let made = Cell::new(0);
        let make = |inputs: &str| {
            make_folder(&folder, Inputs::default().text(inputs), |fresh| {
                made.set(made.get() + 1);
                Ok(fs::write(fresh.join("content"), inputs)?)
            })
            .unwrap();
            fs::read_to_string(folder.join("content")).unwrap()
        };
        assert_eq!((make("a"), made.get()), ("a".to_owned(), 1));
        assert_eq!((make("a"), made.get()), ("a".to_owned(), 1));
        assert_eq!((make("b"), made.get()), ("b".to_owned(), 2));
        remove_folder(&folder).unwrap();
    }

    #[test]
    fn a_failure_leaves_the_old_folder() {
        let folder = place("failure");
        make_folder(&folder, Inputs::default(), |fresh| Ok(fs::write(fresh.join("content"), "old")?))
            .unwrap();
        let failed = make_folder(&folder, Inputs::default().text("new"), |_| anyhow::bail!("no"));
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(folder.join("content")).unwrap(), "old");
        remove_folder(&folder).unwrap();
        remove_folder(&folder.with_extension("new")).unwrap();
    }

    #[test]
    fn inputs_do_not_run_into_each_other() {
        let digest = |texts: [&str; 2]| texts.into_iter().fold(Inputs::default(), Inputs::text).finish();
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
    }
}
