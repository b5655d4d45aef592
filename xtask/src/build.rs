//! Builds the drivers, the NT executive and `bootcfg`.

use std::{
    io::{self, IsTerminal},
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Result, bail};
use guests::built::{self, BOOT_MANAGER, BOOT_MANAGER_FILE, EXECUTIVE, FOR_TESTS, LOADER, SHIPPED};

use crate::{
    command,
    folder::install,
    layout::Layout,
    linker, program,
    setup::{self, DRIVER_TARGET, EXECUTIVE_TARGET, LLVM_BIN, Sysroot, UEFI_TARGET},
    step::step,
};

/// The admin's program.
const PROGRAM: &str = "bootcfg";

/// Builds what the tests need of this workspace: drivers, executive and, where the machine can,
/// `xenguard.exe`.
pub fn all() -> Result<()> {
    drivers()?;
    executive()?;
    let layout = Layout::here();
    if let Some(obstacle) = program::obstacle(&layout)? {
        println!("xenguard.exe is not built: {obstacle}");
        return Ok(());
    }
    program::windows(&layout)
}

/// Builds as [`all`] does, and does other work meanwhile: for much of its time a build has one processor's work.
///
/// # Errors
/// A build fails.
pub fn all_beside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let work = scope.spawn(work);
        let built = all();
        let done = work.join().unwrap_or_else(|panic| resume_unwind(panic));
        built.map(|()| done)
    })
}

/// Builds only these packages.
///
/// # Errors
/// When a name is not that of a driver or the executive, or a build fails.
pub fn packages(names: &[String]) -> Result<()> {
    let known = |name: &&str| names.iter().any(|wanted| wanted == name);
    let chosen: Vec<_> = SHIPPED.iter().chain(FOR_TESTS).copied().filter(known).collect();
    let (with_executive, with_program) = (known(&EXECUTIVE), known(&PROGRAM));
    if chosen.len() + usize::from(with_executive) + usize::from(with_program) != names.len() {
        bail!("packages to choose from: {} {} {EXECUTIVE} {PROGRAM}", SHIPPED.join(" "), FOR_TESTS.join(" "));
    }
    let layout = Layout::here();
    if !chosen.is_empty() {
        build_drivers(&layout, &chosen)?;
    }
    if with_executive {
        executive_in(&layout)?;
    }
    if with_program {
        program::build(&layout)?;
    }
    Ok(())
}

/// Builds this workspace's drivers: `dist/` and `target/nt/wrong.sys`.
pub fn drivers() -> Result<()> {
    drivers_in(&Layout::here())
}

/// Builds this workspace's NT executive with its loaders: `target/nt/nt.elf`, `target/nt/ntldr.elf`,
/// `target/nt/bootmgr.efi`.
pub fn executive() -> Result<()> {
    executive_in(&Layout::here())
}

/// Builds the drivers of the workspace at `layout`.
pub fn drivers_in(layout: &Layout) -> Result<()> {
    build_drivers(layout, &[SHIPPED, FOR_TESTS].concat())
}

/// Builds the drivers of the workspace at `layout` that are shipped.
pub(crate) fn shipped_in(layout: &Layout) -> Result<()> {
    build_drivers(layout, SHIPPED)
}

/// Builds the NT executive of the workspace at `layout`.
pub fn executive_in(layout: &Layout) -> Result<()> {
    let sysroot = setup::executive(layout)?;
    step("NT executive", || {
        let mut cargo = executive_cargo(layout, &sysroot, "build");
        command::run(cargo.args(["--release", "--package", EXECUTIVE, "--package", LOADER]))
    })?;
    for name in [EXECUTIVE, LOADER] {
        let built = executive_target(layout).join(EXECUTIVE_TARGET).join("release").join(name);
        // Without symbols: they would only take time to load.
        let stripped = built.with_extension("stripped");
        let strip = Path::new(LLVM_BIN).join("llvm-strip");
        command::run(Command::new(strip).arg("-o").arg(&stripped).arg(&built))?;
        install(&stripped, &layout.nt().join(format!("{name}.elf")))?;
    }
    boot_sectors(layout)?;
    boot_manager(layout)
}

/// Builds the boot manager that UEFI starts.
fn boot_manager(layout: &Layout) -> Result<()> {
    let sysroot = setup::boot_manager(layout)?;
    step("boot manager", || {
        let mut cargo = boot_manager_cargo(layout, &sysroot, "build");
        command::run(cargo.args(["--release", "--package", BOOT_MANAGER]))
    })?;
    let built = executive_target(layout).join(UEFI_TARGET).join("release").join(BOOT_MANAGER_FILE);
    install(&built, &layout.nt().join(BOOT_MANAGER_FILE))
}

/// Takes out of the loader what a disk has of it: its image, and the boot sectors.
fn boot_sectors(layout: &Layout) -> Result<()> {
    let loader = executive_target(layout).join(EXECUTIVE_TARGET).join("release").join(LOADER);
    for (name, sections) in [
        (built::LOADER_FILE, &["--remove-section=.mbr", "--remove-section=.boot_sector"][..]),
        (built::MASTER_BOOT_RECORD, &["--only-section=.mbr"]),
        (built::BOOT_SECTOR, &["--only-section=.boot_sector"]),
    ] {
        let flat = loader.with_extension(name);
        let objcopy = Path::new(LLVM_BIN).join("llvm-objcopy");
        command::run(Command::new(objcopy).args(["-O", "binary"]).args(sections).arg(&loader).arg(&flat))?;
        install(&flat, &layout.nt().join(name))?;
    }
    Ok(())
}

fn build_drivers(layout: &Layout, names: &[&str]) -> Result<()> {
    setup::drivers(layout)?;
    step(&format!("drivers: {}", names.join(" ")), || {
        let mut cargo = driver_cargo(layout, "build")?;
        cargo.arg("--release");
        for name in names {
            cargo.args(["--package", name]);
        }
        command::run(&mut cargo)
    })?;

    let built = driver_target(layout).join(DRIVER_TARGET).join("release");
    for name in names {
        let folder = if SHIPPED.contains(name) { layout.dist() } else { layout.nt() };
        install(&built.join(format!("{name}.dll")), &folder.join(format!("{name}.sys")))?;
        install(&built.join(format!("{name}.pdb")), &folder.join(format!("{name}.pdb")))?;
        let inf = layout.root().join("inf").join(format!("{name}.inf"));
        if inf.exists() {
            install(&inf, &folder.join(format!("{name}.inf")))?;
        }
    }
    Ok(())
}

/// Returns `cargo <subcommand>` for the drivers' target.
pub(crate) fn driver_cargo(layout: &Layout, subcommand: &str) -> Result<Command> {
    let mut cargo = cargo(layout, subcommand, &driver_target(layout));
    cargo.args(["--target", DRIVER_TARGET]);
    if cfg!(windows) {
        // wdk-build finds the installed WDK by itself.
        return Ok(cargo);
    }
    cargo
        .arg("--config")
        .arg(layout.cargo_config())
        // The directory source has all there is; the lock file stays as it is.
        .arg("--frozen")
        .env("WDKContentRoot", layout.wdk())
        .env("LIBCLANG_PATH", Path::new(LLVM_BIN).with_file_name("lib"))
        // The headers are mingw's: GNU dialect, and no emulation of the Microsoft compiler.
        .env(
            "BINDGEN_EXTRA_CLANG_ARGS_x86_64_pc_windows_msvc",
            "--target=x86_64-w64-windows-gnu -fno-ms-compatibility",
        )
        // For the drivers' build scripts.
        .env("XENGUARD_LLVM", LLVM_BIN);
    linker::use_for(&mut cargo)?;
    Ok(cargo)
}

/// Returns `cargo <subcommand>` for the executive's target.
pub(crate) fn executive_cargo(layout: &Layout, sysroot: &Sysroot, subcommand: &str) -> Command {
    let mut cargo = cargo(layout, subcommand, &executive_target(layout));
    // It is loaded where it is linked.
    let mut flags = vec!["-Crelocation-model=static".to_owned()];
    flags.extend(sysroot.flags());
    let flags = serde_json::json!(flags);
    cargo.args(["--target", EXECUTIVE_TARGET]);
    cargo.arg("--config").arg(format!("target.{EXECUTIVE_TARGET}.rustflags={flags}"));
    cargo
}

/// Returns `cargo <subcommand>` for the boot manager's target.
pub(crate) fn boot_manager_cargo(layout: &Layout, sysroot: &Sysroot, subcommand: &str) -> Command {
    let mut cargo = cargo(layout, subcommand, &executive_target(layout));
    let flags = serde_json::json!(sysroot.flags());
    cargo.args(["--target", UEFI_TARGET]);
    cargo.arg("--config").arg(format!("target.{UEFI_TARGET}.rustflags={flags}"));
    cargo
}

/// Returns `cargo <subcommand>`, without flags of the caller's that would displace those of this program.
fn cargo(layout: &Layout, subcommand: &str, target_folder: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg(subcommand).arg("--target-dir").arg(target_folder).current_dir(layout.root());
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    // A terminal gets cargo's progress, a log only what matters.
    if !io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    cargo
}

/// Folders of their own, so that the builds do not wait for each other or for cargo itself.
fn driver_target(layout: &Layout) -> PathBuf {
    layout.target().join("drivers")
}

fn executive_target(layout: &Layout) -> PathBuf {
    layout.target().join("executive")
}
