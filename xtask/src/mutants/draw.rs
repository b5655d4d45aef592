//! Drawing breakages: every place of the suite's sources where one line can be broken, and a choice among them by
//! a seed.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use explore::Random;

/// The parts of the suite that breakages are drawn from, each as often as the others.
pub(super) const PARTS: [&str; 6] =
    ["wdm/src", "idefilter/src", "xenpci/src", "xenvbd/src", "inf", "bootcfg/src"];

/// One line to be broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Breakage {
    /// The file, from the root.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The line as it is, without its indentation.
    pub from: String,
    /// The line as it is broken; empty where it is deleted.
    pub to: String,
}

impl Breakage {
    /// Breaks the line in the tree at `root`.
    ///
    /// # Errors
    /// The file cannot be read or written, or the line is another one.
    pub(super) fn apply(&self, root: &Path) -> Result<()> {
        let path = root.join(&self.file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", self.file))?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = lines.get_mut(self.line - 1).filter(|line| line.trim() == self.from);
        let line = line.with_context(|| format!("{}:{} is another line", self.file, self.line))?;
        *line = self.to.clone();
        lines.push(String::new());
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Ok(fs::write(&path, lines.join(end))?)
    }
}

/// A sequence of breakages that a seed names.
pub(super) struct Draw {
    random: Random,
    places: Vec<Vec<Breakage>>,
}

impl Draw {
    /// Reads the sources at `root`.
    ///
    /// # Errors
    /// A file cannot be read, or a part has nothing to break.
    pub(super) fn new(root: &Path, seed: u64) -> Result<Self> {
        let places = PARTS.map(|part| {
            let mut found = Vec::new();
            in_folder(root, part, &mut found)?;
            ensure!(!found.is_empty(), "{part} has no line to break");
            Ok(found)
        });
        Ok(Self { random: Random::new(seed), places: places.into_iter().collect::<Result<_>>()? })
    }
}

impl Iterator for Draw {
    type Item = Breakage;

    fn next(&mut self) -> Option<Breakage> {
        let part = self.random.below(PARTS.len());
        let place = self.random.below(self.places[part].len());
        Some(self.places[part][place].clone())
    }
}

/// Adds the breakages of the sources in a folder, by path.
fn in_folder(root: &Path, folder: &str, found: &mut Vec<Breakage>) -> Result<()> {
    let entries = fs::read_dir(root.join(folder)).with_context(|| format!("cannot read {folder}"))?;
    let mut names: Vec<String> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    for name in names {
        let file = format!("{folder}/{name}");
        let path = root.join(&file);
        let of = if path.is_dir() {
            in_folder(root, &file, found)?;
            continue;
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "model.rs" {
            of_rust
        } else if name.ends_with(".inf") {
            of_inf
        } else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        let broken = of(&text).into_iter();
        found.extend(broken.map(|(line, from, to)| Breakage { file: file.clone(), line, from, to }));
    }
    Ok(())
}

/// Pairs of code that stand for each other's opposite or neighbour.
const SWAPS: [(&str, &str); 12] = [
    (" == ", " != "),
    (" != ", " == "),
    (" < ", " <= "),
    (" <= ", " < "),
    (" > ", " >= "),
    (" >= ", " > "),
    (" && ", " || "),
    (" || ", " && "),
    (" + ", " - "),
    (" - ", " + "),
    ("(true)", "(false)"),
    ("(false)", "(true)"),
];

/// Beginnings of lines that are no statement to be deleted: what they define is used, and the compiler would tell.
const KEPT: [&str; 16] = [
    "let ", "return", "use ", "pub", "const ", "static ", "type ", "fn ", "mod ", "extern ", "break",
    "continue", "}", "//", "#", "impl ",
];

/// Beginnings of lines that only speak.
const SAYS: [&str; 7] = ["debug_print!", "write!", "writeln!", "say(", "let _ =", "assert", "debug_assert"];

/// Returns the breakages of a Rust source: number of the line, the line, and what it becomes. Tests are left out,
/// and so is what only speaks.
fn of_rust(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut before = "{";
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line == "#[cfg(test)]" {
            break;
        }
        if line.is_empty() || line.starts_with("//") || line.starts_with('#') {
            continue;
        }
        let starts = ["{", "}", ";", ","].iter().any(|end| before.ends_with(end));
        before = line;
        if SAYS.iter().any(|word| line.starts_with(word)) || line.contains('"') {
            continue;
        }
        let mut change = |to: String| found.push((number, line.to_owned(), to));
        for (from, to) in SWAPS {
            if line.contains(from) && !line.starts_with("use ") && !line.starts_with("impl") {
                change(line.replacen(from, to, 1));
            }
        }
        if line.contains("if !") {
            change(line.replacen("if !", "if ", 1));
        }
        let count = |character: char| line.matches(character).count();
        let is_whole = count('(') == count(')') && count('{') == count('}') && line.ends_with(';');
        let acts = count('(') > 0 || line.contains(" = ") || line.contains("+= ") || line.contains("|= ");
        if starts && is_whole && acts && !KEPT.iter().any(|word| line.starts_with(word)) {
            change(String::new());
        }
    }
    found
}

/// Returns the breakages of an INF file: each line that says something is deleted.
fn of_inf(text: &str) -> Vec<(usize, String, String)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let says = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with([';', '[']));
    says.map(|(number, line)| (number, line.to_owned(), String::new())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_rust_that_can_be_broken() {
        let text = "//! a == b\nuse a;\nfn f() {\n    let x = a(true);\n    b(x);\n    c(\n        d(),\n    );\n    say(\"x\");\n    \
                    if !x && y {\n        z = 1;\n    }\n}\n#[cfg(test)]\nmod tests {\n    a();\n}\n";
        let found: Vec<_> = of_rust(text).into_iter().map(|(line, _, to)| (line, to)).collect();
        let expected =
            [(4, "let x = a(false);"), (5, ""), (10, "if !x || y {"), (10, "if x && y {"), (11, "")];
        assert_eq!(found, expected.map(|(line, to)| (line, to.to_owned())));
    }

    #[test]
    fn lines_of_an_inf_file_that_say_something() {
        assert_eq!(of_inf("; a\n[b]\n\nc = d\n"), [(4, "c = d".to_owned(), String::new())]);
    }

    #[test]
    fn a_seed_names_its_breakages_and_each_part_has_some() {
        let layout = crate::layout::Layout::here();
        let draw = |seed| Draw::new(layout.root(), seed).expect("the sources").take(200).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for part in PARTS {
            assert!(draw(7).iter().any(|breakage| breakage.file.starts_with(part)), "{part}");
        }
    }

    #[test]
    fn a_line_is_broken_in_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.rs"), "fn f() {\n    g();\n}\n").expect("written");
        let breakage = Breakage { file: "a.rs".into(), line: 2, from: "g();".into(), to: String::new() };
        breakage.apply(folder.path()).expect("applied");
        assert_eq!(fs::read_to_string(folder.path().join("a.rs")).expect("read"), "fn f() {\n\n}\n");
        assert!(breakage.apply(folder.path()).is_err());
    }
}
