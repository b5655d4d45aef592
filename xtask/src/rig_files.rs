//! Makes the rig ready: dom0's helper built, Xen in qemu set up.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use rig::RigFiles;

use crate::{layout::Layout, step::step};

/// Builds dom0's helper and makes the rig's files, or finds them in the cache.
///
/// # Errors
/// Each names the step and what to do about it.
pub fn ensure(layout: &Layout) -> Result<RigFiles> {
    let helper = step("build dom0's helper", || {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--package", "dom0"])
            .current_dir(layout.root())
            .env("CARGO_TARGET_DIR", layout.target())
            .status()
            .context("cannot start cargo")?;
        ensure!(status.success(), "cargo could not build the package dom0");
        Ok(layout.target().join("release/dom0"))
    })?;
    step("Xen in qemu", || Ok(rig::setup::ensure(&layout.target(), &helper, &|line| println!("  {line}"))?))
}
