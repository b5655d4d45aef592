//! The standard library's source out of Debian's rust-src package.
//!
//! Debian's backports have the release that the workspace is built with. The mirror is the one apt is
//! configured with; apt's own lists and configuration are neither used nor changed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    command,
    folder::{Inputs, make_folder, remove_folder, sorted_entries},
    step::step,
};

/// The suite whose rust-src is recent enough.
const SUITE: &str = "trixie-backports";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Fetches rust-src of `release` into `folder`, unless it is there, and returns the path of its `library`.
///
/// # Errors
/// When apt has no Debian mirror, the mirror is out of reach, or it has another release.
pub(super) fn ensure(folder: &Path, release: &str) -> Result<PathBuf> {
    make_folder(folder, Inputs::default().text(SUITE).text(release), |fresh| {
        step(&format!("Debian's rust-src {release}"), || fetch(fresh, release))
    })?;
    Ok(folder.join("library"))
}

fn fetch(folder: &Path, release: &str) -> Result<()> {
    let work = folder.join("apt");
    let lists = work.join("lists");
    let archives = work.join("archives");
    fs::create_dir_all(lists.join("partial"))?;
    fs::create_dir_all(archives.join("partial"))?;
    let sources = work.join("sources.list");
    fs::write(&sources, format!("deb [signed-by={KEYRING}] {} {SUITE} main\n", mirror()?))?;

    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        for (option, value) in [
            ("Dir::Etc::SourceList", sources.as_path()),
            ("Dir::Etc::SourceParts", Path::new("/dev/null")),
            ("Dir::State::Lists", &lists),
            ("Dir::Cache", &archives),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        // The folder need not be readable for apt's own user.
        command.args(["-o", "APT::Sandbox::User=root", "--quiet"]).args(arguments).current_dir(&work);
        command::output(&mut command)
    };
    apt(&["update"]).context("cannot read Debian's package lists")?;
    apt(&["download", &format!("rust-src={release}+*")])
        .with_context(|| format!("Debian's {SUITE} has no rust-src {release}"))?;

    let files = sorted_entries(&work)?;
    let package = files.iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let unpacked = work.join("unpacked");
    command::output(
        Command::new("dpkg-deb").arg("-x").arg(package.context("apt downloaded no package")?).arg(&unpacked),
    )?;
    fs::rename(unpacked.join(format!("usr/src/rustc-{release}/library")), folder.join("library"))
        .context("the package has no library folder")?;
    remove_folder(&work)
}

/// Returns the Debian mirror in apt's configuration.
fn mirror() -> Result<String> {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    for path in sorted_entries(Path::new("/etc/apt/sources.list.d")).unwrap_or_default() {
        texts.push(fs::read_to_string(path).unwrap_or_default());
    }
    let mirror = texts.iter().find_map(|text| mirror_in(text));
    mirror.map(str::to_owned).context("apt's configuration names no Debian mirror")
}

/// Returns the first address that ends in `/debian`, of either format of apt's source files.
fn mirror_in(sources: &str) -> Option<&str> {
    let lines = sources.lines().map(str::trim);
    let active = lines.filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    active.flat_map(str::split_whitespace).find(|word| word.trim_end_matches('/').ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::mirror_in;

    #[test]
    fn both_formats_name_the_mirror() {
        let one_line =
            "# deb http://old.example/debian x main\ndeb [signed-by=/k] http://m.example/debian/ x main\n";
        assert_eq!(mirror_in(one_line), Some("http://m.example/debian/"));
        let deb822 = "Types: deb\nURIs: http://m.example/debian\nSuites: x\n";
        assert_eq!(mirror_in(deb822), Some("http://m.example/debian"));
    }

    #[test]
    fn security_and_foreign_archives_are_not_mirrors() {
        assert_eq!(
            mirror_in("deb http://m.example/debian-security x main\ndeb http://a.example/apt x main"),
            None
        );
    }
}
