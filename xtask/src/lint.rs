//! Formatting, rustdoc, clippy for every target there is code for, and rules of this project.

use std::process::Command;

use anyhow::Result;
use guests::built::{BOOT_MANAGER, EXECUTIVE, FOR_TESTS, LOADER, SHIPPED};

use crate::{build, command, inf, layout::Layout, links, policy, setup, words};

/// Name and check of each lint.
pub type Lint = (&'static str, fn(&Layout) -> Result<()>);

/// Every lint.
pub const ALL: &[Lint] = &[
    ("rustfmt", rustfmt),
    ("INF files", inf::check),
    ("dependencies", policy::check),
    ("links of documents", links::check),
    ("rustdoc: host", rustdoc),
    ("openings of doc comments", words::check),
    ("clippy: host", clippy_host),
    ("clippy: drivers", clippy_drivers),
    ("clippy: executive", clippy_executive),
];

/// Runs every lint on this workspace.
///
/// # Errors
/// When one complains; all have run by then.
pub fn run() -> Result<()> {
    let layout = Layout::here();
    let complaints: Vec<_> = ALL
        .iter()
        .filter_map(|(name, lint)| crate::step::step(name, || lint(&layout)).err())
        .map(|error| format!("{error:#}"))
        .collect();
    if complaints.is_empty() { Ok(()) } else { anyhow::bail!("{}", complaints.join("\n")) }
}

fn rustfmt(layout: &Layout) -> Result<()> {
    command::run(Command::new("cargo").args(["fmt", "--all", "--check"]).current_dir(layout.root()))
}

/// Checks the workspace's default members, with their tests.
fn clippy_host(layout: &Layout) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["clippy", "--quiet", "--all-targets"]).current_dir(layout.root());
    deny_warnings(&mut cargo)
}

/// Builds the documentation of the workspace's default members, without a warning.
fn rustdoc(layout: &Layout) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["doc", "--quiet", "--no-deps"])
        .env("RUSTDOCFLAGS", "--deny warnings")
        .current_dir(layout.root());
    command::run(&mut cargo)
}

fn clippy_drivers(layout: &Layout) -> Result<()> {
    setup::drivers(layout)?;
    let mut cargo = build::driver_cargo(layout, "clippy")?;
    for name in [SHIPPED, FOR_TESTS, &["wdm"]].concat() {
        cargo.args(["--package", name]);
    }
    // With the release build it shares what build scripts need, which is most of the work.
    deny_warnings(cargo.arg("--release"))
}

fn clippy_executive(layout: &Layout) -> Result<()> {
    let sysroot = setup::executive(layout)?;
    let mut cargo = build::executive_cargo(layout, &sysroot, "clippy");
    deny_warnings(cargo.args(["--release", "--package", EXECUTIVE, "--package", LOADER]))?;
    let sysroot = setup::boot_manager(layout)?;
    let mut cargo = build::boot_manager_cargo(layout, &sysroot, "clippy");
    deny_warnings(cargo.args(["--release", "--package", BOOT_MANAGER]))
}

fn deny_warnings(cargo: &mut Command) -> Result<()> {
    command::run(cargo.args(["--", "--deny", "warnings"]))
}
