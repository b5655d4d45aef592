//! `dist/xenguard-dom0` and `dist/xenguard-dom0_<version>_amd64.deb`: the tool for admins of dom0. It is packaged apart
//! from the drivers, as it is under the GPL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{command, folder::remove_folder, layout::Layout, step::step};

/// The program, its package, and its crate.
const NAME: &str = "xenguard-dom0";
/// The program's place in the package, and so below the root folder of dom0.
const PROGRAM: &str = "usr/sbin/xenguard-dom0";
/// The licence's text in the sources.
const LICENCE: &str = "dom0/LICENSE-GPL";
/// The time of every file of the package, so that the same sources give the same bytes: 2026-11-21.
const TIME: &str = "1795219200";

/// Builds the tool, statically linked, and makes its package.
///
/// # Errors
/// A step failed, or the package does not hold what it must.
pub fn run() -> Result<()> {
    let layout = Layout::here();
    let built = step("build xenguard-dom0", || {
        Ok(rig::helper::build_static(layout.root(), &layout.target(), NAME)?)
    })?;
    let program = layout.dist().join(NAME);
    fs::create_dir_all(layout.dist())?;
    fs::copy(&built, &program).with_context(|| format!("cannot write {}", program.display()))?;
    let package = step("package xenguard-dom0", || make(&layout, &program))?;
    println!("{}\n{}", program.display(), package.display());
    Ok(())
}

/// Makes the package of the program, and looks into it.
fn make(layout: &Layout, program: &Path) -> Result<PathBuf> {
    let folder = layout.target().join("deb");
    remove_folder(&folder)?;
    let said = |arguments: &[&str]| command::output(Command::new(program).args(arguments));
    let version = env!("CARGO_PKG_VERSION");
    let control = format!(
        "Package: {NAME}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Xenguard <xenguard@localhost>\n\
         Section: admin\nPriority: optional\nEnhances: xen-utils-common\n\
         Description: shows and steers how Windows guests with Xenguard are guarded\n \
         Lists the guests of a Xen host with the state that their storage guard tells, follows\n \
         what becomes of them, gives it to Prometheus, and makes a guest boot emulated.\n"
    );
    let texts = [
        ("DEBIAN/control", control),
        ("usr/share/man/man8/xenguard-dom0.8", said(&["man"])?),
        ("usr/share/bash-completion/completions/xenguard-dom0", said(&["completions", "bash"])?),
        ("usr/share/zsh/vendor-completions/_xenguard-dom0", said(&["completions", "zsh"])?),
        ("usr/share/fish/vendor_completions.d/xenguard-dom0.fish", said(&["completions", "fish"])?),
        ("usr/share/doc/xenguard-dom0/copyright", fs::read_to_string(layout.root().join(LICENCE))?),
    ];
    for (path, text) in &texts {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let place = folder.join(PROGRAM);
    fs::create_dir_all(place.parent().context("a file is in a folder")?)?;
    fs::copy(program, &place)?;
    let package = layout.dist().join(format!("{NAME}_{version}_amd64.deb"));
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", TIME).args(["--root-owner-group", "-Zxz", "--build"]);
    command::output(build.arg(&folder).arg(&package))?;
    let content = command::output(Command::new("dpkg-deb").arg("--contents").arg(&package))?;
    for path in texts.iter().map(|(path, _)| *path).chain([PROGRAM]) {
        let listed = path.starts_with("DEBIAN/") || content.contains(&format!("./{path}\n"));
        ensure!(listed, "{path} is not in {}", package.display());
    }
    Ok(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guide's unit is copied as it stands.
    #[test]
    fn the_guides_unit_starts_the_packaged_program() {
        let guide = fs::read_to_string(Layout::here().root().join("docs/admin-guide.md")).expect("the guide");
        let started: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
        let [unit] = started.as_slice() else { panic!("{started:?}") };
        assert_eq!(unit.split(' ').next(), Some(format!("/{PROGRAM}").as_str()));
    }
}
