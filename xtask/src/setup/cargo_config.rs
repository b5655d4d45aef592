//! The cargo configuration of a cross build of the drivers.

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::{DRIVER_TARGET, Sysroot};
use crate::layout::Layout;

/// Writes `target/cross/config.toml`, which `cargo --config` takes.
pub(super) fn write(layout: &Layout, sysroot: &Sysroot) -> Result<()> {
    // wdk-build insists on it: a driver has no C runtime to load.
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    // Later ones count first.
    flags.push(format!("--remap-path-prefix={}=/xenguard", layout.root().display()));
    flags.push(format!("--remap-path-prefix={}=/crates.io", layout.crates().display()));
    flags.extend(sysroot.flags());

    // A JSON string or array of strings is TOML too.
    let text = format!(
        "# Made by `cargo xtask setup`.\n\
         [source.crates-io]\n\
         replace-with = \"cross\"\n\n\
         [source.cross]\n\
         directory = {crates}\n\n\
         [target.{DRIVER_TARGET}]\n\
         rustflags = {flags}\n",
        crates = json!(layout.crates()),
        flags = json!(flags),
    );
    let path = layout.cargo_config();
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
