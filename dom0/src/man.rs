// SPDX-License-Identifier: GPL-3.0-only
//! The manual page, made from what the program knows of its arguments.

use std::fmt::Write as _;

use clap::Command;

/// Returns the page, as man reads it.
pub(crate) fn page(program: &Command) -> String {
    let name = program.get_name();
    let mut text = format!(
        ".TH {} 8 \"\" \"Xenguard {}\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n.RI [ options ] \" command\"\n",
        name.to_uppercase(),
        program.get_version().unwrap_or_default(),
        escape(name),
        escape(&about(program)),
        escape(name),
    );
    text += ".SH COMMANDS\n";
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        let arguments: Vec<String> = command.get_positionals().map(|a| a.get_id().to_string()).collect();
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            ".TP\n.BI \"{} \" {}\n{}",
            escape(command.get_name()),
            quoted(&arguments.join(" ")),
            escape(&about(command))
        );
        options(command, &mut text);
    }
    text += ".SH OPTIONS\n";
    options(program, &mut text);
    text += ".SH EXIT STATUS\n.TP\n.B 0\nDone; with \\-\\-check, every guest is guarded as its admin asked.\n\
             .TP\n.B 1\nWith \\-\\-check: PV disks were asked for and are not to be had, boots have failed, or a disk is there twice.\n\
             .TP\n.B 2\nWith \\-\\-check: the guard stopped a guest.\n\
             .TP\n.B 3\nIt could not be done; a message says why.\n\
             .SH FILES\n.TP\n.I /var/log/xen/qemu\\-dm\\-NAME.log\nThe device model's log, where a stop is told.\n";
    text
}

fn options(command: &Command, text: &mut String) {
    for argument in command.get_opts() {
        let Some(long) = argument.get_long() else { continue };
        let values: Vec<String> =
            argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
        let value = if argument.get_action().takes_values() { values.join(" ") } else { String::new() };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(text, ".TP\n.BI \"\\-\\-{} \" {}\n{}", escape(long), quoted(&value), escape(&help));
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escape(text))
}

/// Returns text as roff takes it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_and_option_is_in_the_page() {
        let program = crate::Arguments::command();
        let page = page(&program);
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(page.contains(&format!(".BI \"{} \"", command.get_name())), "{}", command.get_name());
            for option in command.get_opts().filter_map(|option| option.get_long()) {
                assert!(page.contains(&format!("\\-\\-{}", escape(option))), "{option}");
            }
        }
        assert!(page.starts_with(".TH XENGUARD-DOM0 8"));
    }
}
