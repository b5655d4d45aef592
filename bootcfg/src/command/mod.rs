//! The commands, one module each. A command works on a [`Session`] and returns its exit code and what
//! `--json` shows.

mod add;
mod backup;
mod default;
mod install;
mod prune;
mod remove;
mod restore;
mod status;
mod timeout;
mod try_once;
mod uninstall;
mod verify;

use anyhow::Result;
use clap::CommandFactory;
use serde_json::{Value, json};

use crate::{
    cli::{Arguments, Command},
    exit::{self, Exit},
    output::Output,
    session::Session,
};

/// What a command that did not fail came to.
pub type Outcome = Result<(Exit, Value)>;

/// Runs the command and says what came of it.
#[must_use]
pub fn main(arguments: Arguments) -> Exit {
    let Arguments { global, command } = arguments;
    let name = command.name();
    let output = Output::new(global.json, global.quiet, global.verbose, global.color);
    let mut session = Session { global, output };
    match run(&mut session, command) {
        Ok((exit, body)) => {
            session.output.finish(name, exit, body);
            exit
        }
        Err(error) => {
            let exit = exit::code(&error);
            if !session.output.is_json() {
                eprintln!("error: {error:#}");
            }
            session.output.finish(name, exit, json!({ "error": format!("{error:#}") }));
            exit
        }
    }
}

fn run(session: &mut Session, command: Command) -> Outcome {
    match command {
        Command::Status => status::run(session),
        Command::Add { entry, name } => add::run(session, entry, name.as_deref()),
        Command::Remove { entry, all } => remove::run(session, entry, all),
        Command::Default { disks } => default::run(session, disks),
        Command::Try => try_once::run(session),
        Command::Timeout { seconds } => timeout::run(session, seconds),
        Command::Verify => verify::run(session),
        Command::Backup { file } => backup::run(session, file.as_deref()),
        Command::Restore { file, list } => restore::run(session, file.as_deref(), list),
        Command::Prune { keep } => prune::run(session, keep),
        Command::Install { package, no_entry } => install::run(session, package.as_deref(), no_entry),
        Command::Uninstall => uninstall::run(session),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "bootcfg", &mut std::io::stdout());
            Ok((Exit::Done, json!({})))
        }
    }
}
