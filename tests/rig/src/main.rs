//! The rig by itself: sets it up, and tries it with a small payload.

mod guest;
mod smoke;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};

/// Xen under qemu.
#[derive(Parser)]
struct Arguments {
    /// Root of the repository.
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
    /// cargo's target directory; the rig's files go into `rig` below it.
    #[arg(long, default_value = "target")]
    target: PathBuf,
    /// Version of Xen: 4.14, 4.17 or 4.20.
    #[arg(long, default_value_t)]
    xen: rig::Release,
    /// Processors of the machine; dom0 has the first.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4))]
    processors: u32,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes what is missing or out of date.
    Setup,
    /// Boots a guest once and prints what it does. Its images are replaced by the results.
    Run(guest::Guest),
    /// Runs a payload in several ways and checks what comes back.
    Smoke {
        /// Number of rounds.
        #[arg(long, default_value_t = 1)]
        repeat: u32,
        /// Number of runs at once.
        #[arg(long, default_value_t = 1)]
        parallel: u32,
        /// Tell each step.
        #[arg(long)]
        steps: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let start = Instant::now();
    let say = |line: &str| println!("{:7.1}  {line}", start.elapsed().as_secs_f32());
    let result = || -> Result<u32, rig::RigError> {
        let Arguments { workspace, target, xen, processors, .. } = &arguments;
        let files = rig::setup::everything(workspace, target, *xen, *processors, &say)?;
        say("ready");
        match arguments.command {
            Command::Setup => Ok(0),
            Command::Run(guest) => guest.run(&files, &say),
            Command::Smoke { repeat, parallel, steps } => {
                smoke::all(&files, &arguments.target, repeat, parallel, steps, &say)
            }
        }
    };
    match result() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("rig: {error}");
            ExitCode::from(2)
        }
    }
}
