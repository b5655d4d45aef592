//! Packages of the distribution that the cross build needs.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{command, step::step};

/// LLVM's tools, as Debian's llvm-19 lays them out.
pub const LLVM_BIN: &str = "/usr/lib/llvm-19/bin";

/// A package, and a file of it that shows that it is installed.
pub(super) type Package = (&'static str, &'static str);

/// Packages that packaging needs: signing and its check, and readers that are not this project's.
pub(super) const PACKAGING: &[Package] = &[
    ("osslsigncode", "/usr/bin/osslsigncode"),
    ("openssl", "/usr/bin/openssl"),
    ("unzip", "/usr/bin/unzip"),
    ("cabextract", "/usr/bin/cabextract"),
];

/// Packages that the tests of bootcfg need.
pub(super) const BOOTCFG: &[Package] = &[
    // It writes BCD stores through it.
    ("libhivex0", "/usr/lib/x86_64-linux-gnu/libhivex.so.0"),
    // They take a boot.ini out of a FAT image and put it back.
    ("mtools", "/usr/bin/mcopy"),
    // They mount an NTFS image.
    ("ntfs-3g", "/usr/bin/ntfs-3g"),
];

/// Packages that the benchmark needs: callgrind.
pub(super) const BENCHMARK: &[Package] = &[("valgrind", "/usr/bin/valgrind")];

/// Packages that the cross build needs.
pub(super) const CROSS_BUILD: &[Package] = &[
    // bindgen reads the headers through libclang and clang's own headers.
    ("clang-19", "/usr/lib/llvm-19/bin/clang"),
    ("libclang-19-dev", "/usr/lib/llvm-19/lib/libclang.so"),
    // llvm-dlltool makes import libraries, llvm-rc version resources.
    ("llvm-19", "/usr/lib/llvm-19/bin/llvm-rc"),
    // The NT headers.
    ("mingw-w64-common", "/usr/share/mingw-w64/include/ddk/wdm.h"),
    ("patch", "/usr/bin/patch"),
];

/// Installs what is missing of `packages`.
///
/// # Errors
/// When something is missing and apt is not there, not permitted, or fails; the message has the command to
/// run by hand.
pub(super) fn ensure(packages: &[Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let by_hand = format!("apt-get install --no-install-recommends {list}");
    if !may_install() {
        bail!("missing packages: {list}. This user may not install them: as root, run\n    {by_hand}");
    }
    step(&format!("packages: {list}"), || {
        let install = || apt(&["install", "--yes", "--no-install-recommends"], &missing);
        // A fresh machine has no package lists, an old one outdated ones.
        let installed = install().or_else(|_| apt(&["update"], &[]).and_then(|()| install()));
        installed.with_context(|| {
            format!("on another distribution than Debian 12 install what corresponds to\n    {by_hand}\napt cannot")
        })
    })?;
    match self::missing(packages)[..] {
        [] => Ok(()),
        [package, ..] => bail!("{package} is installed, but has not the files that Debian 12's has"),
    }
}

fn missing(packages: &[Package]) -> Vec<&'static str> {
    let absent = packages.iter().filter(|(_, file)| !Path::new(file).exists());
    absent.map(|(package, _)| *package).collect()
}

/// Returns true if this user is root, or can be by sudo without a password.
fn may_install() -> bool {
    is_root() || quiet("sudo", &["-n", "true"]).is_some_and(|output| output.status.success())
}

fn is_root() -> bool {
    quiet("id", &["-u"]).is_some_and(|output| output.stdout == b"0\n")
}

fn quiet(program: &str, arguments: &[&str]) -> Option<Output> {
    Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()
}

/// Runs `apt-get` as root; it waits for another apt to end.
fn apt(command: &[&str], packages: &[&str]) -> Result<()> {
    let mut apt = Command::new(if is_root() { "apt-get" } else { "sudo" });
    if !is_root() {
        apt.args(["-n", "apt-get"]);
    }
    apt.args(["-o", "DPkg::Lock::Timeout=300"]).args(command).args(packages);
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command::output(&mut apt).map(|_| ())
}
