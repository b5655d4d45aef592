//! Explores configurations of toolstacks (`tests/explore`), in release.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use guests::layout::Layout;

/// Makes `count` configurations from `seed` on, has the guard's code look at each, and prints what came of them; the
/// nodes of those that came out wrong.
///
/// # Errors
/// One did, or cargo could not be started.
pub fn run(seed: u64, count: u64) -> Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--package", "explore", "--"])
        .args([seed.to_string(), count.to_string()])
        .current_dir(Layout::here().root())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "a configuration did not come out as it must");
    Ok(())
}
