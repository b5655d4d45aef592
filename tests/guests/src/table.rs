//! The table of guest tests in `docs/testing.md`, printed from the catalogue.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    catalogue,
    layout::Layout,
    matrix,
    scenario::{Runs, Scenario},
};

/// The line before the table.
const BEGIN: &str = "<!-- Written by `cargo xtask guests`; not edited by hand. -->";
/// The line behind it.
const END: &str = "<!-- End of what `cargo xtask guests` writes. -->";

fn page(layout: &Layout) -> PathBuf {
    layout.root().join("docs/testing.md")
}

/// Writes the table into the page, in the place of the one that is there.
///
/// # Errors
/// The page cannot be read or written, or has no place for the table.
pub fn write(layout: &Layout) -> Result<()> {
    let path = page(layout);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(&path, replaced(&text)?).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// Returns the page's text with the catalogue's table.
fn replaced(text: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END}"))?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", tables()))
}

/// Returns a table for each subject, and one for the machines that are booted several times.
fn tables() -> String {
    let mut text = String::new();
    for (subject, boots) in catalogue::SUBJECTS {
        text +=
            &format!("\n**{subject}**\n\n| guest | what is booted | what must be seen |\n|---|---|---|\n");
        for boot in *boots {
            text += &row(&guest(boot.name, boot.runs), boot.title, &seen(boot));
        }
    }
    text += "\n**Machines that are booted several times**\n\n| guest | what is booted | boots, and what each must show |\n|---|---|---|\n";
    for sequence in catalogue::sequences() {
        let boots: Vec<_> =
            sequence.boots.iter().map(|boot| format!("{}: {}", boot.name, seen(boot))).collect();
        text += &row(&guest(sequence.name, sequence.runs), sequence.title, &boots.join("; "));
    }
    text
}

fn row(guest: &str, booted: &str, seen: &str) -> String {
    let cells = [guest, booted, seen].map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn guest(name: &str, runs: Runs) -> String {
    match runs {
        Runs::Always => name.to_owned(),
        Runs::InTurn => format!("in turn: {name}"),
        Runs::ByName => format!("by name: {name}"),
    }
}

/// Returns what a boot must show: mode, disks and controllers, then the checks of its own.
fn seen(boot: &Scenario) -> String {
    let expect = &boot.expect;
    let (mode, _) = matrix::expected(expect);
    let mut parts = vec![mode];
    for (count, one, many) in [
        (expect.ide, "IDE disk", "IDE disks"),
        (expect.pv, "PV disk", "PV disks"),
        (expect.hidden, "controller hidden", "controllers hidden"),
        (expect.denied, "start refused", "starts refused"),
        (expect.cdroms, "emulated CD-ROM drive", "emulated CD-ROM drives"),
        (expect.pv_cdroms, "PV CD-ROM drive", "PV CD-ROM drives"),
    ] {
        match count {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            n => parts.push(format!("{n} {many}")),
        }
    }
    parts.extend(boot.logged.iter().map(|reason| format!("{reason:?} in the event log")));
    let checks = boot.checks.iter().map(|check| format!("; {}", check.what));
    parts.join(", ") + &checks.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_table_of_the_catalogue() {
        let text = fs::read_to_string(page(&Layout::here())).expect("docs/testing.md");
        let now = replaced(&text).expect("a place for the table");
        assert!(text == now, "docs/testing.md is not up to date: run `cargo xtask guests`");
    }
}
