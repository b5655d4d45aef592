//! The pictures of the documents, drawn from what the documents and the workspace say themselves.
//!
//! | picture | source |
//! |---|---|
//! | `layers.svg` | the table below "Layers" in docs/architecture.md |
//! | `pv-boot.svg`, `stopped-boot.svg` | the tables of steps below "A PV boot" and "A stopped boot" there |
//! | `crates.svg` | `cargo metadata` |
//! | `demo.svg` | what `cargo xtask demo` prints ([`recording`]) |
//!
//! Each is readable on a light and on a dark page: it has both sets of colours, and a ground of its own.

mod crates;
mod layers;
pub mod recording;
mod sequence;
mod svg;

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{command, layout::Layout};

/// Folder of the pictures, below the workspace's root.
const FOLDER: &str = "docs/pictures";
/// The page whose tables are drawn.
const PAGE: &str = "docs/architecture.md";

/// Draws every picture and writes it.
///
/// # Errors
/// A source cannot be read or drawn, or a file not written.
pub fn run() -> Result<()> {
    let layout = Layout::here();
    let folder = layout.root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, picture) in all(&layout)? {
        let path = folder.join(name);
        fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Returns the name and the text of each picture.
fn all(layout: &Layout) -> Result<Vec<(&'static str, String)>> {
    let path = layout.root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]).current_dir(layout.root());
    let metadata = serde_json::from_str(&command::output(&mut cargo)?)?;
    Ok(vec![
        ("layers.svg", layers::draw(&table(&page, "Layers")?)?),
        ("pv-boot.svg", sequence::draw("A PV boot", &table(&page, "A PV boot")?)?),
        ("stopped-boot.svg", sequence::draw("A stopped boot", &table(&page, "A stopped boot")?)?),
        ("crates.svg", crates::draw(&metadata)?),
    ])
}

/// Returns the rows of the first table below a heading, without its head, each of the same number of cells.
fn table(page: &str, heading: &str) -> Result<Vec<Vec<String>>> {
    let is_heading = |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
    let rows: Vec<Vec<String>> = page
        .lines()
        .skip_while(|line| !is_heading(line))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .skip(2)
        .collect();
    ensure!(!rows.is_empty(), "{PAGE} has no table below the heading {heading}");
    ensure!(
        rows.iter().all(|row| row.len() == rows[0].len()),
        "a row below {heading} has another number of cells"
    );
    Ok(rows)
}

/// Returns the cells of a table's line.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim_end();
    line.strip_prefix('|')
        .unwrap_or(line)
        .strip_suffix('|')
        .unwrap_or_default()
        .split('|')
        .map(plain)
        .collect()
}

/// Returns a cell's text without backticks, and links as their words. Asterisks stay.
fn plain(cell: &str) -> String {
    let mut text = String::new();
    for (at, part) in cell.replace('`', "").split('[').enumerate() {
        match part.split_once("](").and_then(|(words, rest)| Some((words, rest.split_once(')')?.1))) {
            Some((words, rest)) if at > 0 => text += &format!("{words}{rest}"),
            _ if at > 0 => text += &format!("[{part}"),
            _ => text += part,
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_are_up_to_date() {
        let layout = Layout::here();
        for (name, picture) in all(&layout).expect("drawn") {
            let path = layout.root().join(FOLDER).join(name);
            let now = fs::read_to_string(&path).unwrap_or_default();
            assert!(now == picture, "{FOLDER}/{name} is not up to date: run `cargo xtask pictures`");
        }
    }

    #[test]
    fn tables_are_read_below_their_heading() {
        let page = "# A\n| x |\n|---|\n| no |\n## B\nwords\n\n| x | y |\n|---|---|\n| `a` [b](c.md) d | |\n| **e** | f |\n\n| z |\n";
        let rows = table(page, "B").expect("a table");
        assert_eq!(rows, [["a b d", ""], ["**e**", "f"]]);
        assert!(table(page, "C").is_err());
    }
}
