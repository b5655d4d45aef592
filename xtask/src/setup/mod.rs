//! Makes ready what the cross build needs.
//!
//! Everything made lies under `target/cross` and is made again when what it was made from changes. The
//! toolchain is changed only by `rustup target add`; where that cannot download, the project gets a
//! sysroot of its own.

mod cargo_config;
mod crates;
mod debian_source;
mod disk_space;
mod import_libraries;
mod packages;
mod sysroot;
mod toolchain;
mod wdk;
pub mod wine;

use std::fs::File;

use anyhow::{Context, Result};

use crate::layout::Layout;

pub use import_libraries::make as make_import_libraries;
pub use packages::LLVM_BIN;
pub use sysroot::Sysroot;
pub use toolchain::Toolchain;

/// The drivers' target.
pub const DRIVER_TARGET: &str = "x86_64-pc-windows-msvc";
/// The NT executive's target.
pub const EXECUTIVE_TARGET: &str = "x86_64-unknown-none";

/// The target of the boot manager that UEFI starts.
pub const UEFI_TARGET: &str = "x86_64-unknown-uefi";

/// Makes ready what this workspace's cross build needs.
///
/// # Errors
/// Each names the step and what to do about it.
pub fn ensure() -> Result<()> {
    drivers(&Layout::here())?;
    executive(&Layout::here())?;
    boot_manager(&Layout::here())?;
    bootcfg_tests()
}

/// Makes ready what the drivers need.
pub fn drivers(layout: &Layout) -> Result<()> {
    let _alone = alone(layout)?;
    disk_space::require(layout.root())?;
    if cfg!(windows) {
        // wdk-build finds the installed WDK by itself.
        sysroot::ensure(layout, DRIVER_TARGET)?;
        return Ok(());
    }
    packages::ensure(packages::CROSS_BUILD)?;
    let sysroot = sysroot::ensure(layout, DRIVER_TARGET)?;
    wdk::ensure(layout)?;
    crates::ensure(layout)?;
    cargo_config::write(layout, &sysroot)
}

/// Makes ready what packaging needs beyond the builds.
///
/// # Errors
/// A Debian package is missing and cannot be installed.
pub fn packaging() -> Result<()> {
    packages::ensure(packages::PACKAGING)
}

/// Makes ready what the tests of bootcfg need.
///
/// # Errors
/// A Debian package is missing and cannot be installed.
pub fn bootcfg_tests() -> Result<()> {
    if cfg!(windows) { Ok(()) } else { packages::ensure(packages::BOOTCFG) }
}

/// Makes ready what `xenguard.exe` needs and returns where its standard library is.
pub fn program(layout: &Layout) -> Result<Sysroot> {
    let _alone = alone(layout)?;
    disk_space::require(layout.root())?;
    if !cfg!(windows) {
        packages::ensure(packages::CROSS_BUILD)?;
    }
    sysroot::ensure(layout, DRIVER_TARGET)
}

/// Makes ready what the benchmark needs.
///
/// # Errors
/// As for [`ensure`].
pub fn benchmark() -> Result<()> {
    packages::ensure(packages::BENCHMARK)
}

/// Makes ready what the executive needs and returns where core and alloc are.
pub fn executive(layout: &Layout) -> Result<Sysroot> {
    let _alone = alone(layout)?;
    disk_space::require(layout.root())?;
    sysroot::ensure(layout, EXECUTIVE_TARGET)
}

/// Makes ready what the boot manager needs and returns where core and alloc are.
pub fn boot_manager(layout: &Layout) -> Result<Sysroot> {
    let _alone = alone(layout)?;
    disk_space::require(layout.root())?;
    sysroot::ensure(layout, UEFI_TARGET)
}

/// Waits until no other set-up of this workspace runs; the lock ends with the returned file.
fn alone(layout: &Layout) -> Result<File> {
    let folder = layout.cross();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = File::create(folder.join(".lock"))?;
    lock.lock().context("cannot lock target/cross")?;
    Ok(lock)
}
