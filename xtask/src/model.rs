//! Explores the model of the boot (`tests/model`) deeper than its test does, in release.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::layout::Layout;

/// Prints each configuration with the states explored and the depth; a history where one does not come out as
/// it must.
///
/// # Errors
/// One did not, or cargo could not be started.
pub fn run() -> Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--package", "model"])
        .current_dir(Layout::here().root())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "a configuration did not come out as it must");
    Ok(())
}
