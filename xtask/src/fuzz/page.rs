//! `docs/results/fuzz.md`: a row for each target, with its inputs of all runs and what the last one covered.

use std::{fmt, fs};

use anyhow::{Context, Result};

use super::TARGETS;
use crate::layout::Layout;

/// Path of the page below the root.
const PAGE: &str = "docs/results/fuzz.md";

/// A target's run, and those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// Name of the target.
    pub target: String,
    /// Inputs that it took.
    pub inputs: u64,
    /// Counters of the program that some input has reached, and all that it has.
    pub reached: u64,
    pub counters: u64,
    /// Inputs of the minimised corpus, and their bytes.
    pub files: u64,
    pub bytes: u64,
}

impl Run {
    /// Reads what libFuzzer said, but for the corpus; `None` where it did not come to its end.
    pub(super) fn read(target: &str, text: &str) -> Option<Self> {
        let number = |text: &str| text.split_whitespace().next()?.trim_start_matches('(').parse().ok();
        let inputs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
        let counters = text.lines().find_map(|line| line.strip_prefix("INFO: Loaded 1 modules"))?;
        let reached = text.lines().rev().find_map(|line| line.split_once(" cov: "))?.1;
        Some(Self {
            target: target.to_owned(),
            inputs: number(inputs)?,
            reached: number(reached)?,
            counters: number(counters)?,
            ..Self::default()
        })
    }

    /// Reads a row of the page.
    fn parse(line: &str) -> Option<Self> {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ");
        let target = cells.next()?.strip_suffix('`')?.to_owned();
        let numbers: Vec<u64> = cells.map_while(|cell| cell.replace(',', "").parse().ok()).collect();
        let [inputs, reached, counters, files, bytes] = numbers.try_into().ok()?;
        Some(Self { target, inputs, reached, counters, files, bytes })
    }

    fn row(&self) -> String {
        let cells = [self.inputs, self.reached, self.counters, self.files, self.bytes].map(grouped);
        format!("| `{}` | {} |", self.target, cells.join(" | "))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, inputs, reached, counters, files, bytes } = self;
        write!(
            f,
            "{target}: {inputs} inputs, {reached} of {counters} counters, {files} inputs of {bytes} bytes kept"
        )
    }
}

/// Adds a run to the page: its inputs to those before it; what it covered in the place of what was.
///
/// # Errors
/// The page cannot be written.
pub(super) fn add(layout: &Layout, run: &Run) -> Result<()> {
    let path = layout.root().join(PAGE);
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, with(&before, run)).with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the page with a run more.
fn with(page: &str, run: &Run) -> String {
    let mut runs: Vec<Run> = page.lines().filter_map(Run::parse).collect();
    match runs.iter_mut().find(|known| known.target == run.target) {
        Some(known) => *known = Run { inputs: known.inputs + run.inputs, ..run.clone() },
        None => runs.push(run.clone()),
    }
    runs.sort_by_key(|run| TARGETS.iter().position(|target| target.name == run.target));
    let rows: Vec<String> = runs.iter().map(Run::row).collect();
    let all = grouped(runs.iter().map(|run| run.inputs).sum());
    format!(
        "# Fuzzing\n\n\
         Written by `cargo xtask fuzz`; not edited by hand. [Testing](../testing.md#fuzz-targets) says what each target\n\
         takes and what must hold. A counter belongs to an edge of the target's program, libraries included; the last run\n\
         of each target reached so many. The corpus is what is kept, minimised: inputs that cover what all inputs covered.\n\n\
         **{all} inputs.** A target that finds something fails the run, and has no row of it.\n\n\
         | target | inputs in all runs | counters reached | of | inputs kept | bytes |\n|---|---|---|---|---|---|\n{}\n",
        rows.join("\n")
    )
}

/// Returns a number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "INFO: Running with entropic power schedule (0xFF, 100).\n\
        INFO: Loaded 1 modules   (4321 inline 8-bit counters): 4321 [0x1, 0x2), \n\
        #2\tINITED cov: 12 ft: 12 corp: 1/1b exec/s: 0 rss: 41Mb\n\
        #1048576\tpulse  cov: 130 ft: 300 corp: 20/1Kb lim: 64 exec/s: 524288 rss: 60Mb\n\
        #1200000\tDONE   cov: 131 ft: 301 corp: 21/1Kb lim: 64 exec/s: 400000 rss: 60Mb\n\
        Done 1200000 runs in 3 second(s)\n\
        stat::number_of_executed_units: 1200000\n";

    #[test]
    fn a_run_is_read() {
        let run = Run::read("cdb", SAID).expect("a run");
        assert_eq!((run.inputs, run.reached, run.counters), (1_200_000, 131, 4321));
        assert_eq!(Run::read("cdb", SAID.split("stat::").next().expect("a text")), None);
    }

    #[test]
    fn runs_add_up() {
        let run = Run { files: 3, bytes: 70, ..Run::read("cdb", SAID).expect("a run") };
        let first = with("", &run);
        assert!(first.contains("| `cdb` | 1,200,000 | 131 | 4,321 | 3 | 70 |"), "{first}");
        let later = Run { reached: 140, ..run.clone() };
        let second = with(&first, &later);
        assert!(second.contains("**2,400,000 inputs.**") && second.contains("| 140 | 4,321 |"), "{second}");
        // In the order of the targets.
        let third = with(&second, &Run { target: "options".to_owned(), ..run });
        let rows: Vec<String> = third.lines().filter_map(Run::parse).map(|run| run.target).collect();
        assert_eq!(rows, ["options", "cdb"]);
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
