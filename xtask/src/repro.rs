//! Check that the folder a build runs in does not show in what it makes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use guests::built::SHIPPED;

use crate::{build, command, folder::sorted_entries, layout::Layout, step::step};

/// Builds the drivers here and in a copy of the workspace, and compares every `.sys` and `.pdb`.
///
/// The copy has the files git tracks or would add, in a folder with a path of another length; what it
/// builds stays there for the next check.
///
/// # Errors
/// When a build fails, or a file differs; the message has the file and the first differing offset.
pub fn check() -> Result<()> {
    let here = Layout::here();
    let copy = here.copy_at(here.target().join("repro").join("the same sources elsewhere"));
    build::shipped_in(&here)?;
    step("copy of the workspace", || copy_sources(&here, &copy))?;
    build::shipped_in(&copy)?;

    let mut differences = Vec::new();
    for name in SHIPPED {
        for kind in ["sys", "pdb"] {
            let file = format!("{name}.{kind}");
            let [one, other] = [&here, &copy].map(|layout| read(&layout.dist().join(&file)));
            match first_difference(&one?, &other?) {
                None => println!("  {file:<40} identical"),
                Some(offset) => differences.push(format!("{file} differs from offset {offset:#x} on")),
            }
        }
    }
    if !differences.is_empty() {
        bail!(
            "not reproducible: {}\ncompare {} with {}",
            differences.join(", "),
            here.dist().display(),
            copy.dist().display()
        );
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Returns where the two differ first; the end of the shorter when it is the beginning of the longer.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let differs = one.iter().zip(other).position(|(a, b)| a != b);
    differs.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

/// Makes the copy have the sources and nothing else but what it built; an unchanged file is not written,
/// so that cargo builds only what changed.
pub(crate) fn copy_sources(here: &Layout, copy: &Layout) -> Result<()> {
    let list = command::output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(here.root()),
    )
    .context("cannot list the sources")?;
    let names: BTreeSet<PathBuf> = list.split_terminator('\0').map(PathBuf::from).collect();
    // A tracked file may have been deleted and not committed so.
    let names = names.into_iter().filter(|name| here.root().join(name).is_file()).collect();

    remove_others(copy.root(), Path::new(""), &names)?;
    for name in &names {
        let contents = read(&here.root().join(name))?;
        let place = copy.root().join(name);
        if fs::read(&place).is_ok_and(|old| old == contents) {
            continue;
        }
        fs::create_dir_all(place.parent().context("a source without a folder")?)?;
        fs::write(&place, contents).with_context(|| format!("cannot write {}", place.display()))?;
    }
    Ok(())
}

/// Removes sources under `root`/`folder` that are not among `names`.
fn remove_others(root: &Path, folder: &Path, names: &BTreeSet<PathBuf>) -> Result<()> {
    let path = root.join(folder);
    if !path.exists() {
        return Ok(());
    }
    for entry in sorted_entries(&path)? {
        let name = folder.join(entry.file_name().unwrap_or_default());
        if name == Path::new("target") || name == Path::new("dist") {
            continue;
        }
        if entry.is_dir() {
            remove_others(root, &name, names)?;
        } else if !names.contains(&name) {
            fs::remove_file(&entry)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_difference_counts() {
        assert_eq!(first_difference(b"abc", b"abc"), None);
        assert_eq!(first_difference(b"abc", b"axx"), Some(1));
        assert_eq!(first_difference(b"ab", b"abc"), Some(2));
    }
}
