//! Builds `xenguard`, the program of the crate `bootcfg`, for an admin: `dist/xenguard.exe` for Windows from Server
//! 2003 x64 on, `dist/xenguard` for
//! Linux; and the service of the crate `svc`, `dist/xenguard-svc.exe`.
//!
//! The Windows program is linked by rust-lld against import libraries made of `cross/nt52/*.def`, without a C
//! runtime of Visual C++; `cross/nt52` says how. What it imports is then held against the same files.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::{
    command,
    folder::{Inputs, install, make_folder, sorted_entries},
    layout::Layout,
    linker, pe,
    setup::{self, DRIVER_TARGET, LLVM_BIN, Sysroot, Toolchain},
    step::step,
};

/// The service's file.
pub(crate) const SERVICE: &str = "xenguard-svc.exe";

/// rustc names these libraries for every program; nothing of them is used.
const EMPTY: [&str; 3] = ["userenv", "ws2_32", "dbghelp"];

/// Builds both programs into `dist/`.
///
/// # Errors
/// The standard library for Windows is missing, a build fails, or the Windows program imports what NT 5.2 has
/// not.
pub fn build(layout: &Layout) -> Result<()> {
    windows(layout)?;
    if cfg!(target_os = "linux") {
        step("bootcfg", || {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args([
                "build",
                "--profile",
                "program",
                "--locked",
                "--package",
                "bootcfg",
                "--bin",
                "xenguard",
            ]);
            // What the Windows program needs link-time optimization for, this one need not do.
            cargo.env("CARGO_PROFILE_PROGRAM_LTO", "off");
            command::run(quiet(&mut cargo, layout, &layout.target().join("host")))
        })?;
        for name in ["xenguard", "bootcfg"] {
            install(&layout.target().join("host/program/xenguard"), &layout.dist().join(name))?;
        }
    }
    Ok(())
}

/// Returns the reason why `xenguard.exe` cannot be built on this machine; `None` if it can.
///
/// # Errors
/// The standard library could not be looked for.
pub fn obstacle(layout: &Layout) -> Result<Option<String>> {
    Ok(match setup::program(layout)? {
        Sysroot::Toolchain => None,
        Sysroot::Own(_) => Some(format!(
            "xenguard.exe needs the standard library for {DRIVER_TARGET}: connect to the network for `rustup target add {DRIVER_TARGET}`"
        )),
    })
}

/// Builds `dist/xenguard.exe`, under its old name too, `dist/xenguard-svc.exe`, and for tests `target/nt/bcdedit.exe` and
/// `edits.exe`.
///
/// # Errors
/// As [`build`].
pub fn windows(layout: &Layout) -> Result<()> {
    if let Some(obstacle) = obstacle(layout)? {
        bail!(obstacle);
    }
    let libraries = libraries(layout)?;
    let target = layout.target().join("windows");
    step("xenguard.exe", || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--profile", "program", "--locked", "--package", "bootcfg", "--package", "svc"])
            .args(["--features", "bootcfg/nt52,svc/nt52"])
            .args([
                "--bin",
                "xenguard",
                "--bin",
                "xenguard-svc",
                "--example",
                "bcdedit",
                "--example",
                "edits",
                "--target",
                DRIVER_TARGET,
                "--config",
            ])
            .arg(format!("target.{DRIVER_TARGET}.rustflags={}", json!(flags(layout, &libraries)?)));
        linker::use_for(&mut cargo)?;
        command::run(quiet(&mut cargo, layout, &target))
    })?;
    let built = target.join(DRIVER_TARGET).join("program");
    for program in ["xenguard.exe", SERVICE] {
        let findings = foreign_imports(&built.join(program), &sources(layout))?;
        ensure!(findings.is_empty(), "{program} imports what NT 5.2 may not have: {}", findings.join(", "));
    }
    install(&built.join(SERVICE), &layout.dist().join(SERVICE))?;
    for name in ["xenguard.exe", "bootcfg.exe"] {
        install(&built.join("xenguard.exe"), &layout.dist().join(name))?;
    }
    for example in ["bcdedit.exe", "edits.exe"] {
        install(&built.join("examples").join(example), &layout.nt().join(example))?;
    }
    Ok(())
}

fn sources(layout: &Layout) -> PathBuf {
    layout.cross_sources().join("nt52")
}

fn flags(layout: &Layout, libraries: &Path) -> Result<Vec<String>> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = || {
        env::var_os("HOME").or_else(|| env::var_os("USERPROFILE")).map(|home| Path::new(&home).join(".cargo"))
    };
    let registry =
        cargo_home.or_else(home).context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let link = |argument: String| format!("-Clink-arg={argument}");
    Ok(vec![
        // Later ones count first.
        format!("--remap-path-prefix={}=/xenguard", layout.root().display()),
        format!("--remap-path-prefix={}=/crates.io", registry.display()),
        link(format!("/LIBPATH:{}", libraries.display())),
        link(libraries.join("start.obj").display().to_string()),
        link("/SUBSYSTEM:CONSOLE,5.02".to_owned()),
        link("/OSVERSION:5.02".to_owned()),
        link("/Brepro".to_owned()),
    ])
}

/// Returns the import libraries and the start-up code.
fn libraries(layout: &Layout) -> Result<PathBuf> {
    let sources = sources(layout);
    let folder = layout.cross().join("nt52");
    let inputs = Inputs::default().text(Toolchain::ask()?.version()).folder(&sources)?;
    make_folder(&folder, inputs, |fresh| {
        let tools = Path::new(LLVM_BIN);
        setup::make_import_libraries(&definitions(&sources)?, fresh)?;
        for name in EMPTY {
            command::output(
                Command::new(tools.join("llvm-lib"))
                    .arg("/llvmlibempty")
                    .arg(format!("/out:{}", fresh.join(name).with_extension("lib").display())),
            )?;
        }
        command::output(
            Command::new(tools.join("llvm-mc"))
                .args(["-filetype=obj", "-triple=x86_64-pc-windows-msvc"])
                .arg(sources.join("start.s"))
                .arg("-o")
                .arg(fresh.join("start.obj")),
        )
        .map(drop)
    })?;
    Ok(folder)
}

fn definitions(sources: &Path) -> Result<Vec<PathBuf>> {
    let is_definition = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "def");
    Ok(sorted_entries(sources)?.into_iter().filter(is_definition).collect())
}

/// Returns the imports of a program that are in none of the definition files, as `library!name`.
///
/// # Errors
/// A file cannot be read, or the program is no image.
fn foreign_imports(program: &Path, sources: &Path) -> Result<Vec<String>> {
    let mut allowed = BTreeSet::new();
    for definition in definitions(sources)? {
        let library = definition.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&definition)?;
        let names = text
            .lines()
            .filter(|line| !line.starts_with([';', ' ']) && !line.contains(' ') && *line != "EXPORTS");
        allowed.extend(names.map(|name| format!("{library}.dll!{name}")));
    }
    let image = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let imports = pe::imports(&image)?;
    Ok(imports.into_iter().filter(|import| !allowed.contains(import)).collect())
}

fn quiet<'a>(cargo: &'a mut Command, layout: &Layout, target: &Path) -> &'a mut Command {
    use std::io::IsTerminal;
    if !std::io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    cargo
        .arg("--target-dir")
        .arg(target)
        .current_dir(layout.root())
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
}
