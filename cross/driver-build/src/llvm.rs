//! LLVM's tools.

use std::{env, path::PathBuf, process::Command};

use crate::Error;

/// Environment variable with the folder of LLVM's tools; unset means that they are on `PATH`.
const FOLDER: &str = "XENGUARD_LLVM";

/// Runs `tool` with what `arguments` adds.
///
/// # Errors
/// When the tool is missing or fails.
pub(crate) fn run(tool: &str, arguments: impl FnOnce(&mut Command)) -> Result<(), Error> {
    println!("cargo::rerun-if-env-changed={FOLDER}");
    let path = env::var_os(FOLDER).map(PathBuf::from).unwrap_or_default().join(tool);
    let mut command = Command::new(&path);
    arguments(&mut command);
    let status = command.status().map_err(|error| format!("{} does not start: {error}", path.display()))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", path.display()).into()) }
}
