//! The toolchain that builds the workspace.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::command;

/// Facts that `rustc` gives about itself.
pub struct Toolchain {
    sysroot: PathBuf,
    version: String,
}

impl Toolchain {
    /// Asks the `rustc` on `PATH`.
    ///
    /// # Errors
    /// When there is none.
    pub fn ask() -> Result<Self> {
        let ask = |arguments: &[&str]| {
            command::output(Command::new("rustc").args(arguments))
                .context("no Rust toolchain: install one with rustup (https://rustup.rs)")
        };
        Ok(Self { sysroot: ask(&["--print", "sysroot"])?.trim_end().into(), version: ask(&["-vV"])? })
    }

    /// Returns its folder.
    pub fn sysroot(&self) -> &PathBuf {
        &self.sysroot
    }

    /// Returns all that `rustc -vV` says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the release, such as `1.95.0`.
    pub fn release(&self) -> Result<&str> {
        field(&self.version, "release")
    }

    /// Returns the commit the compiler was built from.
    pub fn commit(&self) -> Result<&str> {
        field(&self.version, "commit-hash")
    }

    /// Returns the linker that comes with it, for any target.
    pub fn rust_lld(&self) -> Result<PathBuf> {
        let host = field(&self.version, "host")?;
        let file = format!("rust-lld{}", std::env::consts::EXE_SUFFIX);
        Ok(self.sysroot.join("lib/rustlib").join(host).join("bin").join(file))
    }
}

fn field<'a>(version: &'a str, name: &str) -> Result<&'a str> {
    let line = version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.with_context(|| format!("`rustc -vV` names no {name}"))
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let version = "rustc 1.95.0 (5980 2026-04-14)\nbinary: rustc\ncommit-hash: 5980\nrelease: 1.95.0\n";
        assert_eq!(field(version, "release").unwrap(), "1.95.0");
        assert_eq!(field(version, "commit-hash").unwrap(), "5980");
        assert!(field(version, "commit").is_err());
    }
}
