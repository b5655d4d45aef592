//! The drivers' linker: rust-lld, run so that what it writes does not depend on where it runs.

use std::{env, process::Command};

use anyhow::{Context, Result};

use crate::{command, setup::Toolchain};

/// Set in a cross build: the linker to run. It is what tells this program that rustc started it.
const LINKER: &str = "XENGUARD_LINKER";

/// Makes `cargo` link by this program.
pub(crate) fn use_for(cargo: &mut Command) -> Result<()> {
    let linker = Toolchain::ask()?.rust_lld()?;
    let this = env::current_exe().context("cannot find this program's own file")?;
    cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_MSVC_LINKER", this).env(LINKER, linker);
    Ok(())
}

/// Whether rustc started this program to link.
pub fn is_called_as_linker() -> bool {
    env::var_os(LINKER).is_some()
}

/// Links with the arguments this program was started with.
pub fn run() -> Result<()> {
    let linker = env::var_os(LINKER).context("no linker named")?;
    command::run(Command::new(linker).arg("-flavor").arg("link").args(env::args_os().skip(1)))
}
