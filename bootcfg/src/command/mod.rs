//! The commands, one module each. A command works on a [`Session`] and returns its exit code and what
//! `--json` shows.

mod add;
mod backup;
mod check;
mod clean;
mod default;
mod flush;
mod install;
mod log;
mod man;
mod prune;
mod remove;
mod restore;
mod status;
mod timeout;
mod try_once;
mod uninstall;
mod verify;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use std::ffi::OsString;

use crate::{
    cli::{Arguments, Command, Global},
    exit::{self, Exit},
    output::{Ended, Output},
    session::Session,
};

/// Outcome of a command that did not fail.
pub type Outcome = Result<(Exit, Value)>;

/// Reads the command line, runs the command and says what came of it. A line that is not understood is
/// answered in JSON too, if it asks for that.
#[must_use]
pub fn of_line(line: impl IntoIterator<Item = OsString>) -> Exit {
    let line: Vec<OsString> = line.into_iter().collect();
    match Arguments::try_parse_from(&line) {
        Ok(arguments) => main(arguments),
        Err(error) if error.use_stderr() && line.iter().any(|word| word == "--json") => {
            let global = Global { json: true, ..Global::default() };
            let text = error.to_string();
            Output::new(&global).finish(None, Exit::Usage, Ended::Failed(text.trim().to_owned()))
        }
        Err(error) => {
            // Help and version are printed by this, too. A reader that is gone needs none.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        }
    }
}

/// Runs the command and says what came of it.
#[must_use]
pub fn main(arguments: Arguments) -> Exit {
    let Arguments { global, command } = arguments;
    let name = command.name();
    let output = Output::new(&global);
    let mut session = Session { global, output };
    match run(&mut session, command) {
        Ok((exit, body)) => session.output.finish(Some(name), exit, Ended::Done(body)),
        Err(error) => {
            let text = format!("{error:#}");
            session.output.error(&text);
            session.output.finish(Some(name), exit::code(&error), Ended::Failed(text))
        }
    }
}

fn run(session: &mut Session, command: Command) -> Outcome {
    match command {
        Command::Status => status::run(session),
        Command::Add { entry, name } => add::run(session, entry.as_ref(), name.as_deref()),
        Command::Remove { entry, all } => remove::run(session, entry.as_ref(), all),
        Command::Default { disks, entry } => default::run(session, disks, entry.as_ref()),
        Command::Try { entry } => try_once::run(session, entry.as_ref()),
        Command::Timeout { seconds } => timeout::run(session, seconds),
        Command::Verify => verify::run(session),
        Command::Check => check::run(session),
        Command::Log { follow } => log::run(session, follow),
        Command::Clean => clean::run(session),
        Command::Backup { file } => backup::run(session, file.as_deref()),
        Command::Restore { file, list } => restore::run(session, file.as_deref(), list),
        Command::Prune { keep } => prune::run(session, keep),
        Command::Install { package, entry, no_entry } => {
            install::run(session, package.as_deref(), entry.as_ref(), no_entry)
        }
        Command::Uninstall => uninstall::run(session),
        Command::Flush => flush::run(session),
        Command::Man => {
            let page = man::page()?;
            session.output.print_raw(&page);
            Ok((Exit::Done, json!({ "page": page })))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut visible(), "xenguard", &mut script);
            let script = String::from_utf8_lossy(&script).into_owned();
            session.output.print_raw(&script);
            Ok((Exit::Done, json!({ "script": script })))
        }
    }
}

/// Returns the command line without what is for tests, which completions would offer.
fn visible() -> clap::Command {
    let command = Arguments::command();
    let hidden: Vec<_> = command
        .get_arguments()
        .filter(|argument| argument.is_hide_set())
        .map(|argument| argument.get_id().clone())
        .collect();
    let mut visible = clap::Command::new("xenguard").version(env!("CARGO_PKG_VERSION"));
    visible =
        visible.args(command.get_arguments().filter(|argument| !hidden.contains(argument.get_id())).cloned());
    visible.subcommands(command.get_subcommands().cloned())
}
