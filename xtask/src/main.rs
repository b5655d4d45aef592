//! `cargo xtask <command>`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{build, demo, inf, linker, lint, mutants, pe, repro, setup, test};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, checks, tests and demonstrates the Xenguard drivers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes ready what the cross build needs: packages, targets, headers, import libraries
    Setup,
    /// Builds the drivers into dist/ and the NT executive into target/nt/
    Build {
        /// Only these: idefilter, xenpci, xenvbd, wrong, nt
        #[arg(short, long = "package")]
        package: Vec<String>,
    },
    /// Holds every built driver to the rules of the loader and of this project
    Check,
    /// Holds the INF files to the rules of setup and of this project
    #[command(after_help = inf::help())]
    LintInf,
    /// Checks formatting, and runs clippy for the host, the drivers and the executive
    Lint,
    /// Builds the drivers in two folders and compares the bytes
    Repro,
    /// Boots a guest from its emulated and its PV entry, and twice sabotaged, and shows what the guard did
    Demo,
    /// Runs all tests
    Test,
    /// Boots guests of the test suite by name and shows their consoles
    Scenario {
        /// Names; an unknown one lists them all
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Breaks the guard on purpose, one place at a time, and shows which test catches it
    Mutants,
}

fn main() -> ExitCode {
    let result = if linker::is_called_as_linker() { linker::run() } else { run(Arguments::parse().command) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::ensure(),
        Command::Build { package } if package.is_empty() => build::all(),
        Command::Build { package } => build::packages(&package),
        Command::Check => pe::check(),
        Command::LintInf => inf::run(),
        Command::Lint => lint::run(),
        Command::Repro => repro::check(),
        Command::Demo => demo::run(),
        Command::Test => test::run(),
        Command::Scenario { names } => test::guests_by_name(&names),
        Command::Mutants => mutants::run(),
    }
}
