//! `man`: the manual page, one for the whole program.

use anyhow::Result;
use clap::CommandFactory;
use clap_mangen::Man;
use std::fmt::Write;

use crate::cli::Arguments;

/// Preamble that the renderer puts before each piece: the apostrophe of typewriters.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Makes the page: what holds for every command, then each command, then examples and exit codes.
///
/// # Errors
/// None in practice: it is written to memory.
pub(super) fn page() -> Result<String> {
    let command = super::visible().about(Arguments::command().get_about().cloned().unwrap_or_default());
    let command = command.long_about(Arguments::command().get_long_about().cloned().unwrap_or_default());
    let mut page = String::from(PREAMBLE);
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, ".TH XENGUARD 1 \"\" \"xenguard {version}\" \"Xenguard\"")?;
    let whole = Man::new(command.clone());
    page += &piece(|to| whole.render_name_section(to))?;
    page += &piece(|to| whole.render_synopsis_section(to))?;
    page += &piece(|to| whole.render_description_section(to))?;
    page += &piece(|to| whole.render_options_section(to))?;
    for subcommand in command.get_subcommands() {
        let name = format!("xenguard {}", subcommand.get_name());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let one = Man::new(subcommand.clone().bin_name(name.clone()).display_name(name));
        let sections = [
            piece(|to| one.render_synopsis_section(to))?,
            piece(|to| one.render_description_section(to))?,
            piece(|to| one.render_options_section(to))?,
        ];
        page += &sections.concat().replace(".SH ", ".SS ");
        paragraphs(&mut page, ".SS", subcommand.get_after_help())?;
    }
    paragraphs(&mut page, ".SH", Arguments::command().get_after_long_help())?;
    Ok(page)
}

/// Returns what one renderer writes, without the preamble, and without an empty line between two breaks.
fn piece(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Result<String> {
    let mut bytes = Vec::new();
    render(&mut bytes)?;
    let text = String::from_utf8(bytes)?;
    let lines: Vec<_> = text.strip_prefix(PREAMBLE).unwrap_or(&text).lines().map(str::trim_end).collect();
    Ok(lines.join("\n").replace("\n.br\n\n.br\n", "\n.sp\n") + "\n")
}

/// Paragraphs of plain text, each with a heading that ends with a colon, as sections that keep their lines.
fn paragraphs(page: &mut String, section: &str, text: Option<&clap::builder::StyledStr>) -> Result<()> {
    let text = text.map(ToString::to_string).unwrap_or_default();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let (heading, lines) = paragraph.split_once('\n').unwrap_or(("Notes:", paragraph));
        writeln!(page, "{section} \"{}\"\n.nf", heading.trim_end_matches(':').to_uppercase())?;
        for line in lines.lines() {
            // `\&`: a line that begins with a dot or an apostrophe is text, too.
            writeln!(page, "\\&{}", line.trim_end().replace('\\', "\\e").replace('-', "\\-"))?;
        }
        writeln!(page, ".fi")?;
    }
    Ok(())
}
