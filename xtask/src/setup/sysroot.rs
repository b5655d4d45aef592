//! Core and alloc for targets beside the host's.
//!
//! The toolchain's own where it has them; else `rustup target add`; else, on a machine that reaches only
//! Debian's packages, built once from Debian's rust-src into a sysroot of the project's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{debian_source, toolchain::Toolchain};
use crate::{
    command,
    folder::{Inputs, is_made_from, link, make_folder, remove_folder, sorted_entries},
    layout::Layout,
    step::step,
};

/// Time that `rustup target add` may take: a download of 30 MB. A machine without the network fails at once
/// or, behind a filter that drops packets, only by this limit.
const RUSTUP_LIMIT: Duration = Duration::from_secs(40);

/// The place where the compiler finds a target's core and alloc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sysroot {
    /// In the toolchain itself.
    Toolchain,
    /// In this folder, for `rustc --sysroot`.
    Own(PathBuf),
}

impl Sysroot {
    /// Returns the arguments for `rustc`.
    pub fn flags(&self) -> Vec<String> {
        match self {
            Self::Toolchain => vec![],
            Self::Own(folder) => vec!["--sysroot".to_owned(), folder.to_string_lossy().into_owned()],
        }
    }
}

/// Makes sure that `target` can be compiled for.
///
/// # Errors
/// When none of the three ways works; the message has the reason of the last.
pub(super) fn ensure(layout: &Layout, target: &str) -> Result<Sysroot> {
    let toolchain = Toolchain::ask()?;
    if has_core(toolchain.sysroot(), target) {
        return Ok(Sysroot::Toolchain);
    }
    let own = layout.sysroot().join(target);
    let inputs = || Inputs::default().text(toolchain.version()).text(target).text(&BUILD_FLAGS.concat());
    if is_made_from(&own, inputs()) {
        return Ok(Sysroot::Own(own));
    }
    let added = step(&format!("rustup target add {target}"), || Ok(rustup_target_add(target)))?;
    // The toolchain on PATH may be another than rustup's.
    if added && has_core(toolchain.sysroot(), target) {
        return Ok(Sysroot::Toolchain);
    }
    println!("rustup cannot add it: building core and alloc from Debian's rust-src");
    let built = debian_source::ensure(&layout.rust_source(), toolchain.release()?).and_then(|library| {
        make_folder(&own, inputs(), |sysroot| {
            step(&format!("core and alloc for {target}"), || build(sysroot, &library, target, &toolchain))
        })
    });
    built.with_context(|| {
        format!("no core and alloc for {target}: connect to the network for `rustup target add {target}`")
    })?;
    Ok(Sysroot::Own(own))
}

fn has_core(sysroot: &Path, target: &str) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
    sorted_entries(&libraries).is_ok_and(|entries| entries.iter().any(|entry| is_library_of(entry, "core")))
}

fn is_library_of(path: &Path, name: &str) -> bool {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.starts_with(&format!("lib{name}-")) && file.ends_with(".rlib")
}

/// Asks rustup for the target. Returns true if rustup is there and could add it within its limit.
fn rustup_target_add(target: &str) -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", target]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = rustup.spawn() else { return false };
    let started = Instant::now();
    while started.elapsed() < RUSTUP_LIMIT {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => sleep(Duration::from_millis(100)),
            Err(_) => break,
        }
    }
    // Best effort: it has ended by itself, or is ended here.
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Flags that the distributed libraries are built with: bitcode, for link-time optimization, and all that has
/// no stability attribute counted as unstable.
const BUILD_FLAGS: &[&str] = &["-Cembed-bitcode=yes", "-Zforce-unstable-if-unmarked"];

/// Builds core, alloc and compiler_builtins into `sysroot`.
///
/// They are built as dependencies of a package that has their sources inside of it, so that no absolute path
/// takes part in the crates' identities, as it does with `-Zbuild-std`: equal sources give equal drivers.
fn build(sysroot: &Path, library: &Path, target: &str, toolchain: &Toolchain) -> Result<()> {
    let work = sysroot.join("build");
    fs::create_dir_all(work.join("src"))?;
    let inner = work.join("library");
    link(library, &inner)?;
    // Where there is no system, nobody else has memcpy and its like.
    let features = if target.ends_with("-none") || target.ends_with("-uefi") {
        r#""compiler-builtins-mem""#
    } else {
        ""
    };
    fs::write(work.join("Cargo.toml"), manifest(features))?;
    fs::write(work.join("src/lib.rs"), "#![no_std]\n")?;

    let remap = format!("--remap-path-prefix={}=/rustc/{}/library", inner.display(), toolchain.commit()?);
    command::output(
        Command::new("cargo")
            .args(["build", "--release", "--package", "alloc", "--target", target])
            .current_dir(&work)
            .env("CARGO_TARGET_DIR", work.join("target"))
            // They use unstable features, by their nature.
            .env("RUSTC_BOOTSTRAP", "1")
            // Separated by the unit separator, since the path may have spaces.
            .env("CARGO_ENCODED_RUSTFLAGS", [BUILD_FLAGS, &[&remap]].concat().join("\x1f")),
    )?;

    let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
    fs::create_dir_all(&libraries)?;
    let built = work.join("target").join(target).join("release/deps");
    for name in ["core", "alloc", "compiler_builtins"] {
        let entries = sorted_entries(&built)?;
        let library = entries.iter().find(|entry| is_library_of(entry, name));
        let Some(library) = library else { bail!("the build made no lib{name}") };
        fs::copy(library, libraries.join(library.file_name().unwrap_or_default()))?;
    }
    remove_folder(&work)
}

/// Returns the manifest of the package that depends on alloc, and so on core and compiler_builtins.
fn manifest(features: &str) -> String {
    format!(
        r#"[package]
name = "sysroot"
version = "0.0.0"
edition = "2024"

[dependencies]
alloc = {{ path = "library/alloc", features = [{features}] }}

[workspace]
exclude = ["library"]

[profile.release]
panic = "abort"
opt-level = 3
"#
    )
}

#[cfg(test)]
mod tests {
    use super::is_library_of;

    #[test]
    fn a_library_is_known_by_its_file_name() {
        assert!(is_library_of("lib/libcore-0123.rlib".as_ref(), "core"));
        assert!(!is_library_of("lib/libcore-0123.rmeta".as_ref(), "core"));
        assert!(!is_library_of("lib/libcorefoo-0123.rlib".as_ref(), "core"));
    }
}
