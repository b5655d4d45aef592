//! `docs/results/mutants.md`: what was broken, and what caught it. Rows that are not run stay as they are in it.

use std::fs;

use anyhow::{Context, Result};

use super::{MUTANTS, Mutant, rules};
use crate::layout::Layout;

/// Result of one mutant and one test: what is broken, the test, and what the test said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row([String; 3]);

/// Beginning of a row's last cell.
const SURVIVED: &str = "**SURVIVED**";
const CAUGHT_AFTER_ALL: &str = "**CAUGHT**, and is said to change nothing: ";
const EQUIVALENT: &str = "changes nothing: ";

impl Row {
    /// Makes the row of a test that has failed and said this, or has not failed.
    pub(super) fn new(mutant: &Mutant, test: String, said: Option<String>) -> Row {
        Row([mutant.what.to_owned(), test, said.unwrap_or_else(|| SURVIVED.to_owned())])
    }

    /// Makes the row of a mutant that no test can find, for a reason; or that one found all the same, and
    /// said this.
    pub(super) fn equivalent(mutant: &Mutant, why: &str, said: Option<String>) -> Row {
        let text =
            said.map_or_else(|| format!("{EQUIVALENT}{why}"), |said| format!("{CAUGHT_AFTER_ALL}{said}"));
        Row([mutant.what.to_owned(), "–".to_owned(), text])
    }

    /// Returns true if the mutant was caught as it must be.
    pub(super) fn is_good(&self) -> bool {
        !self.0[2].starts_with("**")
    }

    /// Returns one line for whoever waits.
    pub(super) fn line(&self) -> String {
        format!("{}: {}: {}", self.0[0], self.0[1], self.0[2])
    }

    fn parse(line: &str) -> Option<Row> {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<String> = inner.split(" | ").map(|cell| cell.replace("\\|", "|")).collect();
        Some(Row(cells.try_into().ok()?))
    }

    fn markdown(&self) -> String {
        // What a command of dom0's says has more lines than one.
        let cells = self.0.each_ref().map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        format!("| {} |\n", cells.join(" | "))
    }
}

/// Returns the first words of a list, and how many more there are.
pub(super) fn first(words: &[String]) -> String {
    const SHOWN: usize = 2;
    let shown = words.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match words.len() {
        n if n > SHOWN => format!("{shown} and {} more", n - SHOWN),
        _ => shown,
    }
}

/// Path of the page below the root.
const PAGE: &str = "docs/results/mutants.md";

/// The page: the rows of the mutants that were run, now or earlier.
#[derive(Clone, Debug, Default)]
pub(super) struct Page(Vec<Row>);

impl Page {
    /// Reads the rows that there are.
    pub(super) fn read(layout: &Layout) -> Self {
        Self::parse(&fs::read_to_string(layout.root().join(PAGE)).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Row::parse).collect())
    }

    /// Returns true if the page has a row of a mutant's.
    pub(super) fn has(&self, mutant: &Mutant) -> bool {
        self.0.iter().any(|row| row.0[0] == mutant.what)
    }

    /// Puts the rows of a mutant in the place of those that there are of it.
    pub(super) fn put(&mut self, mutant: &Mutant, rows: Vec<Row>) {
        self.0.retain(|row| row.0[0] != mutant.what);
        self.0.extend(rows);
    }

    /// Writes the page.
    pub(super) fn write(&self, layout: &Layout) -> Result<()> {
        let path = layout.root().join(PAGE);
        fs::write(&path, text(&self.0)).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn text(rows: &[Row]) -> String {
    let rows_of =
        |mutant: &Mutant| rows.iter().filter(|row| row.0[0] == mutant.what).cloned().collect::<Vec<_>>();
    let section = |mutants: &mut dyn Iterator<Item = &'static Mutant>| -> (String, Vec<Row>) {
        let rows: Vec<Row> = mutants.flat_map(rows_of).collect();
        let table: String = rows.iter().map(Row::markdown).collect();
        (format!("| broken on purpose | test | what failed |\n|---|---|---|\n{table}"), rows)
    };
    let (rules, of_rules) = section(&mut rules::all());
    let (others, of_others) = section(&mut MUTANTS.iter());
    let count = |start: &str| of_rules.iter().filter(|row| row.0[1].starts_with(start)).count();
    let places = |rows: &[Row]| {
        let mut names: Vec<_> = rows.iter().map(|row| &row.0[0]).collect();
        names.dedup();
        names.len()
    };
    let bad: Vec<_> = of_rules.iter().chain(&of_others).filter(|row| !row.is_good()).collect();
    let survivors = match bad.len() {
        0 => "Survivors: none.".to_owned(),
        n => format!(
            "**{n} not as they must be**: {}.",
            bad.iter().map(|row| row.0[0].as_str()).collect::<Vec<_>>().join("; ")
        ),
    };
    let missing = MUTANTS.len() + rules::all().count() - places(&of_rules) - places(&of_others);
    let missing = if missing == 0 { String::new() } else { format!(" Not run yet: {missing}.") };
    format!(
        "# Broken on purpose\n\n\
         Written by `cargo xtask mutants`; not edited by hand. One place at a time is broken in a copy of the sources, and the\n\
         tests that must catch it are run: those on the host, the model, or a guest with the drivers built anew.\n\n\
         {survivors}{missing}\n\n\
         ## The drivers, and what they are made of\n\n\
         {} places, {} tests that fail for them.\n\n{others}\n\
         ## The rules of the guard\n\n\
         {} places: {} caught by guard's own tests, {} by the model alone, {} that change nothing, with the reason.\n\n{rules}",
        places(&of_others),
        of_others.iter().filter(|row| row.is_good()).count(),
        places(&of_rules),
        of_rules.iter().filter(|row| row.0[1].starts_with("host") && row.is_good()).count(),
        of_rules.iter().filter(|row| row.0[1].starts_with("model") && row.is_good()).count(),
        count("–"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_not_run_are_kept() {
        let [one, other] = [rules::all().next().expect("a rule"), &MUTANTS[0]];
        let caught = Row::new(one, "host tests of guard".to_owned(), Some("a|b".to_owned()));
        let wordy = Row::new(one, "guest: pv".to_owned(), Some("one\ntwo".to_owned()));
        assert!(Row::parse(wordy.markdown().trim_end()).is_some());
        let mut page = Page::default();
        page.put(one, vec![caught.clone()]);
        let first = text(&page.0);
        assert!(first.contains("Survivors: none.") && first.contains("1 places: 1 caught"), "{first}");
        let mut page = Page::parse(&first);
        assert!(page.has(one) && !page.has(other));
        let survived = Row::new(other, "guest: pv".to_owned(), None);
        page.put(other, vec![survived.clone()]);
        let second = text(&page.0);
        assert!(second.contains("**1 not as they must be**"), "{second}");
        let rows: Vec<_> =
            Page::parse(&second).0.into_iter().filter(|row| row.0[2] != "what failed").collect();
        assert_eq!(rows, [survived, caught.clone()]);
        // A mutant that is run again has its new rows only.
        page.put(other, vec![]);
        assert_eq!(page.0.iter().filter(|row| row.0[2] != "what failed").collect::<Vec<_>>(), [&caught]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let words = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(first(&words), "a, b and 2 more");
        assert_eq!(first(&words[..2]), "a, b");
    }
}
