//! Running other programs, with errors that say which program, how and why.

use std::{
    io::ErrorKind,
    process::{Command, Output},
};

use anyhow::{Context, Result, bail};

/// Runs `command` and returns what it wrote to its standard output.
///
/// # Errors
/// When it does not start or fails; the error carries the end of what it wrote.
pub fn output(command: &mut Command) -> Result<String> {
    let output = start(command, Command::output)?;
    if !output.status.success() {
        bail!("{} failed ({})\n{}", line(command), output.status, tail(&output));
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} wrote something other than text", line(command)))
}

/// Runs `command` with its output on the terminal.
///
/// # Errors
/// When it does not start or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = start(command, Command::status)?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

fn start<T>(command: &mut Command, how: impl FnOnce(&mut Command) -> std::io::Result<T>) -> Result<T> {
    how(command).map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        match error.kind() {
            ErrorKind::NotFound => {
                anyhow::anyhow!("{program} is not installed, or not on PATH")
            }
            _ => anyhow::Error::new(error).context(format!("{program} does not start")),
        }
    })
}

/// Returns the program and the first arguments, for messages.
fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args().take(6) {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Returns the last lines a failed program wrote.
fn tail(output: &Output) -> String {
    let text =
        String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
