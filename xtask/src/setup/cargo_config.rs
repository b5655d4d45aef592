//! The cargo configuration of a cross build.

use std::fs;

use anyhow::{Context, Result};

use super::DRIVER_TARGET;
use crate::layout::Layout;

/// Writes `target/cross/config.toml`, which `cargo --config` takes.
pub fn write(layout: &Layout) -> Result<()> {
    let text = format!(
        r#"# Made by `cargo xtask setup`.
[source.crates-io]
replace-with = "cross"

[source.cross]
directory = "{crates}"

[target.{DRIVER_TARGET}]
# wdk-build insists on it: a driver has no C runtime to load.
rustflags = ["-Ctarget-feature=+crt-static"]
"#,
        crates = layout.crates().display()
    );
    let path = layout.cargo_config();
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
