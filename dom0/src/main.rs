// SPDX-License-Identifier: GPL-3.0-only
//! Shows from dom0 which Windows guests Xenguard guards and how, and chooses how they boot.
//!
//! A guest writes its state below `data/xenguard` in its part of xenstore; its host writes
//! `vm-data/xenguard/boot`. What a guest writes is not trusted: it is read into numbers and known names, and
//! text of its own is cut and cleaned before it is shown. Where the guard has stopped a guest, its own nodes say
//! how things were before, and the device model's log has the stop.

mod boot;
mod failed_boots;
mod guest;
mod log;
mod man;
mod metrics;
mod show;
#[cfg(test)]
mod store;
mod text;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use xenstore_rs::Xs;
use xenstore_rs::unix::XsUnix;

use crate::failed_boots::Rule;
use crate::guest::{Guest, Guests, Health};

/// Shows and steers from dom0 how Windows guests with Xenguard are guarded.
#[derive(Parser)]
#[command(name = "xenguard-dom0", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Prints one JSON document; with `watch`, one for each line.
    #[arg(long, global = true)]
    json: bool,
    /// Folder of the device models' logs, where a stop is told.
    #[arg(long, global = true, value_name = "FOLDER", default_value = "/var/log/xen")]
    logs: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Shows every guest in a table.
    List {
        /// Ends with 1 where a guest is not guarded as its admin asked, and with 2 where one was stopped.
        #[arg(long)]
        check: bool,
    },
    /// Shows everything that is known of one guest.
    Show {
        /// The domain, by number or by name.
        domain: String,
        /// Ends with 1 where the guest is not guarded as its admin asked, and with 2 where it was stopped.
        #[arg(long)]
        check: bool,
    },
    /// Shows guests, and what becomes of them, until it is interrupted.
    Watch {
        /// Ends after so many seconds.
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        /// Has a guest's next boot emulated when so many in a row have ended before they were up.
        #[arg(long, value_name = "BOOTS", value_parser = clap::value_parser!(u32).range(1..))]
        emulate_after: Option<u32>,
        /// With --emulate-after: seconds after which a boot counts as one that came up.
        #[arg(long, value_name = "SECONDS", requires = "emulate_after", default_value_t = 300)]
        up_after: u64,
    },
    /// Chooses how a guest's next boots go.
    Boot {
        /// The domain, by number or by name.
        domain: String,
        /// `emulated` for every boot whatever its entry, `clear` to leave the choice to the entry.
        choice: boot::Choice,
    },
    /// Prints the state of every guest as metrics of Prometheus.
    Metrics {
        /// A file for node_exporter's textfile collector instead, replaced as a whole.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Prints completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints the manual page.
    #[command(hide = true)]
    Man,
}

/// The exit code of every failure to do what was asked.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nothing can be done where the terminal is gone.
            let _ = error.print();
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
        }
    };
    match run(arguments) {
        Ok(code) => code,
        // Whoever read standard output has read enough. Xenstore's errors are of other kinds (`guest::at`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenguard-dom0: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: Arguments) -> io::Result<ExitCode> {
    let Arguments { command, json, logs } = arguments;
    match command {
        Command::List { check } => {
            let guests = guest::all(&store()?, &logs)?;
            let text = if json { show::json(&guests.known) } else { show::table(&guests.known) };
            print(&text)?;
            Ok(failure(&guests).unwrap_or_else(|| code(check, guest::worst(&guests.known))))
        }
        Command::Show { domain, check } => {
            let store = store()?;
            let guest = Guest::read(&store, guest::find(&store, &domain)?, &logs)?;
            print(&if json { show::json(std::slice::from_ref(&guest)) } else { show::details(&guest) })?;
            Ok(code(check, guest.health()))
        }
        Command::Watch { timeout, emulate_after, up_after } => {
            let up_after = Duration::from_secs(up_after);
            let rule = emulate_after.map(|limit| Rule { limit, up_after });
            watch::run(&store()?, &logs, json, timeout, rule).map(|()| ExitCode::SUCCESS)
        }
        Command::Boot { domain, choice } => {
            let store = store()?;
            let number = guest::find(&store, &domain)?;
            print(&boot::choose(&store, number, choice)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Metrics { output } => {
            let guests = guest::all(&store()?, &logs)?;
            let text = metrics::text(&guests.known);
            match output {
                Some(file) => metrics::replace(&file, &text)?,
                None => print(&text)?,
            }
            Ok(failure(&guests).unwrap_or(ExitCode::SUCCESS))
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "xenguard-dom0", &mut text);
            print(&String::from_utf8_lossy(&text))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            print(&man::page(&Arguments::command()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Says which guests could not be read, and returns the exit code for that; `None` where all could.
fn failure(guests: &Guests) -> Option<ExitCode> {
    for (domain, error) in &guests.unread {
        eprintln!("xenguard-dom0: domain {domain}: {error}");
    }
    (!guests.unread.is_empty()).then(|| ExitCode::from(FAILED))
}

/// Returns the exit code for a monitor.
fn code(check: bool, health: Health) -> ExitCode {
    match health {
        _ if !check => ExitCode::SUCCESS,
        Health::Good => ExitCode::SUCCESS,
        Health::Attention => ExitCode::from(1),
        Health::Stopped => ExitCode::from(2),
    }
}

/// Returns the host's xenstore.
fn store() -> io::Result<impl Xs> {
    guest::at("xenstore cannot be reached (is this dom0, does xenstored run, are you root?)", XsUnix::new())
}

fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
