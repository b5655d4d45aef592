//! The directory source that stands for crates.io in a cross build.
//!
//! wdk-build 0.6.0 refuses to be built off Windows. A `[patch]` would rewrite the lock file for every
//! build on the other kind of host; replacing the source does not, since each package keeps its name,
//! version and checksum. The folder has one entry per locked package: links to cargo's own download,
//! except for wdk-build, which is a patched copy.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    command,
    folder::{Inputs, link, make_folder, sorted_entries},
    layout::Layout,
    step::step,
};

/// The package the patch is for, and the patch in the repository.
const PATCHED: &str = "wdk-build";
const PATCHED_VERSION: &str = "0.6.0";
const PATCH: &str = "wdk-build-0.6.0-linux.patch";

/// One package from crates.io.
struct Package {
    name: String,
    version: String,
    /// Folder into which cargo unpacked it.
    folder: PathBuf,
}

/// Makes the directory source unless it is up to date.
///
/// # Errors
/// When the packages cannot be downloaded, or the lock file has another wdk-build than the patch is for.
pub(super) fn ensure(layout: &Layout) -> Result<()> {
    let patch = layout.cross_sources().join(PATCH);
    // Reads the lock file, brings it up to date with the manifests as any cargo command does, and downloads.
    let metadata = command::output(
        Command::new("cargo").args(["metadata", "--format-version=1"]).current_dir(layout.root()),
    )
    .context("cannot get the packages of Cargo.lock")?;
    let packages = packages(&serde_json::from_str(&metadata)?)?;
    let lock = fs::read_to_string(layout.root().join("Cargo.lock"))?;

    let folders: Vec<_> = packages.iter().map(|package| package.folder.to_string_lossy()).collect();
    let inputs = Inputs::default().text(&lock).text(&folders.join("\n")).file(&patch)?;
    make_folder(&layout.crates(), inputs, |source| {
        step("crates: directory source with patched wdk-build", || {
            make(source, &packages, &checksums(&lock)?, &patch)
        })
    })?;
    Ok(())
}

/// Returns the packages from a registry, out of `cargo metadata`.
fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let field = |package: &Value, name: &str| {
        package[name].as_str().map(str::to_owned).with_context(|| format!("cargo metadata without {name}"))
    };
    let all = metadata["packages"].as_array().context("cargo metadata without packages")?;
    let registered = all.iter().filter(|package| package["source"].is_string());
    registered
        .map(|package| {
            let manifest = PathBuf::from(field(package, "manifest_path")?);
            let folder = manifest.parent().context("a manifest outside of any folder")?.to_path_buf();
            Ok(Package { name: field(package, "name")?, version: field(package, "version")?, folder })
        })
        .collect()
}

/// Returns the checksum of each package, by name and version, out of Cargo.lock.
fn checksums(lock: &str) -> Result<HashMap<(String, String), String>> {
    let mut checksums = HashMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            line.and_then(|value| value.strip_suffix('"')).map(str::to_owned)
        };
        if let Some(checksum) = field("checksum") {
            let name = field("name").context("Cargo.lock has a package without a name")?;
            let version = field("version").with_context(|| format!("Cargo.lock has no version of {name}"))?;
            checksums.insert((name, version), checksum);
        }
    }
    Ok(checksums)
}

fn make(
    source: &Path,
    packages: &[Package],
    checksums: &HashMap<(String, String), String>,
    patch: &Path,
) -> Result<()> {
    let mut patched = false;
    for Package { name, version, folder } in packages {
        let checksum = checksums
            .get(&(name.clone(), version.clone()))
            .with_context(|| format!("Cargo.lock has no checksum of {name} {version}"))?;
        let entry = source.join(format!("{name}-{version}"));
        fs::create_dir(&entry)?;
        if name == PATCHED {
            if version != PATCHED_VERSION {
                bail!(
                    "the patch is for {PATCHED} {PATCHED_VERSION}, Cargo.lock has {version}: adapt cross/{PATCH}"
                );
            }
            copy_folder(folder, &entry)?;
            apply(patch, &entry)?;
            patched = true;
        } else {
            for original in sorted_entries(folder)? {
                link(&original, &entry.join(original.file_name().unwrap_or_default()))?;
            }
        }
        // No checksums of files: cargo checked the download, and one package differs from it on purpose.
        let checks = json!({ "files": {}, "package": checksum });
        fs::write(entry.join(".cargo-checksum.json"), checks.to_string())?;
    }
    if !patched {
        bail!("Cargo.lock has no {PATCHED}: every driver depends on it");
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for original in sorted_entries(from)? {
        let copy = to.join(original.file_name().unwrap_or_default());
        if original.is_dir() {
            fs::create_dir(&copy)?;
            copy_folder(&original, &copy)?;
        } else {
            fs::copy(&original, &copy).with_context(|| format!("cannot copy {}", original.display()))?;
        }
    }
    Ok(())
}

/// Applies the patch; `--binary` keeps the line ends (CR LF) of the crate's files.
fn apply(patch: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new("patch");
    command.args(["--binary", "--strip=1", "--silent", "--input"]).arg(patch).current_dir(folder);
    command::output(&mut command).with_context(|| format!("{} does not apply", patch.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{checksums, packages};

    #[test]
    fn checksums_come_by_name_and_version() {
        let lock = "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n\
                    [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\nchecksum = \"00ff\"\n";
        let checksums = checksums(lock).unwrap();
        assert_eq!(checksums.len(), 1);
        assert_eq!(checksums[&("a".to_owned(), "1.0.0".to_owned())], "00ff");
    }

    #[test]
    fn only_packages_from_a_registry_are_taken() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "own", "version": "0.1.0", "source": null, "manifest_path": "/own/Cargo.toml" },
            { "name": "a", "version": "1.0.0", "source": "registry+x", "manifest_path": "/a-1.0.0/Cargo.toml" },
        ] });
        let packages = packages(&metadata).unwrap();
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].folder, std::path::Path::new("/a-1.0.0"));
    }
}
