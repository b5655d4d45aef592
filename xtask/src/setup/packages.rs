//! Packages of the distribution that the cross build needs.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::{command, step::step};

/// LLVM's tools, as Debian's llvm-19 lays them out.
pub const LLVM_BIN: &str = "/usr/lib/llvm-19/bin";

/// A package, a file that shows that it is installed, and what it is for.
const PACKAGES: &[(&str, &str)] = &[
    // bindgen reads the headers through libclang and clang's own headers.
    ("clang-19", "/usr/lib/llvm-19/bin/clang"),
    ("libclang-19-dev", "/usr/lib/llvm-19/lib/libclang.so"),
    // llvm-dlltool makes import libraries, llvm-rc version resources.
    ("llvm-19", "/usr/lib/llvm-19/bin/llvm-rc"),
    // The NT headers.
    ("mingw-w64-common", "/usr/share/mingw-w64/include/ddk/wdm.h"),
    ("patch", "/usr/bin/patch"),
];

/// Installs what is missing.
///
/// # Errors
/// When something is missing and apt is not there, not permitted, or fails; the message has the command to
/// run by hand.
pub fn ensure() -> Result<()> {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let by_hand = format!("apt-get install --no-install-recommends {list}");
    let Some(mut apt) = privileged_apt() else {
        bail!("missing packages: {list}. This user may not install them: as root, run\n    {by_hand}");
    };
    step(&format!("packages: {list}"), || {
        // Another apt may be at work: wait for it.
        apt.args(["-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends"])
            .args(&missing);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        command::output(&mut apt).map_err(|error| {
            error.context(format!(
                "apt cannot install them; on another distribution than Debian 12 install what corresponds to\n    {by_hand}"
            ))
        })?;
        Ok(())
    })
}

/// `apt-get` as root: directly, or by sudo where that asks for no password.
fn privileged_apt() -> Option<Command> {
    let quiet = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()
    };
    if quiet("id", &["-u"]).is_some_and(|output| output.stdout == b"0\n") {
        return Some(Command::new("apt-get"));
    }
    if quiet("sudo", &["-n", "true"]).is_some_and(|output| output.status.success()) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "apt-get"]);
        return Some(sudo);
    }
    None
}
