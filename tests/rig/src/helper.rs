//! Builds the programs that run inside dom0 or a Linux guest.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Tool;
use crate::error::{FileContext, RigError};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const LIMIT: Duration = Duration::from_secs(900);

/// Builds dom0's helper, of the package in tests/dom0, and returns where it is. `workspace` is the root of
/// this repository, `target` cargo's target directory.
///
/// # Errors
///
/// If the build fails, with the end of its messages.
pub fn build(workspace: &Path, target: &Path) -> Result<PathBuf, RigError> {
    build_static(workspace, target, "dom0")
}

/// Builds a package's program of the same name with cargo, statically linked so that the libraries of where
/// it runs do not matter, and returns where it is.
///
/// # Errors
///
/// As for [`build`].
pub fn build_static(workspace: &Path, target: &Path, package: &str) -> Result<PathBuf, RigError> {
    // A target directory of its own: other flags than everything else, and no lock shared with a build under
    // way.
    let rig = target.join("rig");
    let own = rig.join("helper");
    fs::create_dir_all(&own).file("create", &own)?;
    let own = own.canonicalize().file("find", own)?;
    let cargo = env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    Tool::polite(cargo, &own.join(format!("{package}.log")))
        .args(["build", "--locked", "--release", "--package", package, "--target", TRIPLE])
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", &own.display().to_string())
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .run(LIMIT)?;
    Ok(own.join(TRIPLE).join("release").join(package))
}
