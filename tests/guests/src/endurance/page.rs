//! `docs/results/endurance.md`: a chapter of the boots, one of the saves and one of the hours, each of the last run that had
//! some, and one that has a row for each run.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result};

use super::{Seen, hours::Hours, judge::Tally, page_path, saves::Saved};
use crate::layout::Layout;

const HEAD: &str = "# Endurance\n\n\
    Written by `cargo xtask endurance`; not edited by hand. [Testing](../testing.md#endurance) says what is run, and what the\n\
    words mean.\n";
/// The chapter of the boots.
pub(super) const BOOTS: &str = "## Boots and power cuts";
/// The chapter of the saves.
pub(super) const SAVES: &str = "## Saves and restores";
/// The chapter of the hours.
pub(super) const HOURS: &str = "## Hours of I/O with hot-plug";
/// The chapter of all runs.
const RUNS: &str = "## All runs";

/// Counts of a run, or of several, under the names of their columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; Self::NAMES.len()]);

impl Counts {
    const NAMES: [&str; 9] = [
        "boots",
        "power cuts",
        "saves",
        "files flushed",
        "files lost",
        "second mounts",
        "wrong",
        "guest-minutes",
        "disks attached",
    ];

    /// Returns the counts of machines' boots.
    pub(super) fn of_boots(tally: &Tally) -> Self {
        let cut: u32 = tally.cut.iter().sum();
        let (boots, wrong) = (tally.boots().into(), tally.wrong.len() as u64);
        Self([boots, cut.into(), 0, tally.flushed, tally.lost, tally.second_mounts, wrong, 0, 0])
    }

    /// Returns the counts of a guest's saves.
    pub(super) fn of_saves(saved: &Saved) -> Self {
        Self([0, 0, saved.resumed.into(), saved.written, 0, 0, saved.wrong.len() as u64, 0, 0])
    }

    /// Returns the counts of guests that were in use for hours. Minutes that are not over do not count.
    pub(super) fn of_hours(hours: &Hours) -> Self {
        let (wrong, minutes) = (hours.wrong.len() as u64, hours.time.as_secs() / 60);
        Self([0, 0, 0, hours.files, 0, 0, wrong, minutes, hours.came().into()])
    }
}

/// A row of the chapter of all runs.
struct Row {
    sources: String,
    seed: String,
    counts: Counts,
}

impl Row {
    /// Reads a row. Columns that came later are 0 in an older one.
    fn read(line: &str) -> Option<Self> {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let (sources, seed) = (cells.next()?.to_owned(), cells.next()?.to_owned());
        seed.parse::<u64>().ok()?;
        let mut counts = Counts::default();
        for (at, cell) in cells.enumerate() {
            *counts.0.get_mut(at)? = cell.parse().ok()?;
        }
        Some(Self { sources, seed, counts })
    }

    fn line(&self) -> String {
        let cells = self.counts.0.map(|count| count.to_string()).join(" | ");
        format!("| {} | {} | {cells} |", self.sources, self.seed)
    }
}

/// The chapter of all runs while one is under way.
pub(super) struct Runs<'a> {
    /// The page before the run.
    before: String,
    sources: &'a str,
    seed: u64,
}

impl<'a> Runs<'a> {
    /// Returns the chapter at the begin of a run of these sources.
    pub(super) fn before(layout: &Layout, sources: &'a str, seed: u64) -> Self {
        let before = fs::read_to_string(page_path(layout)).unwrap_or_default();
        Self { before, sources, seed }
    }

    /// Writes the chapter with a row of the run as far as it has come.
    ///
    /// # Errors
    /// The page cannot be written.
    pub(super) fn write(&self, layout: &Layout, counts: Counts) -> Result<()> {
        write(layout, &runs(&self.before, self.sources, self.seed, counts), RUNS)
    }
}

/// Returns the chapter of all runs with another one.
fn runs(page: &str, sources: &str, seed: u64, counts: Counts) -> String {
    let own =
        page.split_once(RUNS).map_or("", |(_, rest)| rest.split_once("\n## ").map_or(rest, |(own, _)| own));
    let mut rows: Vec<Row> = own.lines().filter_map(Row::read).collect();
    rows.push(Row { sources: sources.to_owned(), seed: seed.to_string(), counts });
    let mut sum = Counts::default();
    for row in &rows {
        sum.0.iter_mut().zip(row.counts.0).for_each(|(sum, count)| *sum += count);
    }
    let together: Vec<String> =
        sum.0.iter().zip(Counts::NAMES).map(|(count, name)| format!("{count} {name}")).collect();
    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    format!(
        "{RUNS}\n\nTogether: {}.\n\n| sources | seed | {} |\n|{}\n{}\n",
        together.join(", "),
        Counts::NAMES.join(" | "),
        "---|".repeat(Counts::NAMES.len() + 2),
        lines.join("\n")
    )
}

/// Writes a chapter; the others stay as they are.
///
/// # Errors
/// The page cannot be written.
pub(super) fn write(layout: &Layout, text: &str, chapter: &str) -> Result<()> {
    let path = page_path(layout);
    let before = fs::read_to_string(&path).unwrap_or_default();
    let whole = replaced(&before, text, chapter);
    fs::write(&path, whole).with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the page with a chapter in place of the one that it has.
fn replaced(page: &str, text: &str, chapter: &str) -> String {
    let of = |wanted: &str| match wanted == chapter {
        true => Some(text.to_owned()),
        false => {
            let (_, rest) = page.split_once(wanted)?;
            let rest = rest.split_once("\n## ").map_or(rest, |(own, _)| own);
            Some(format!("{wanted}\n\n{}\n", rest.trim()))
        }
    };
    let chapters =
        [BOOTS, SAVES, HOURS, RUNS].into_iter().filter_map(of).map(|chapter| format!("\n{chapter}"));
    HEAD.to_owned() + &chapters.collect::<String>()
}

/// Returns the chapter of the boots.
pub(super) fn boots(seen: &Seen, machines: u32, seed: u64, time: Duration) -> String {
    let tally = &seen.tally;
    let both = |counts: [u32; 2]| format!("{} emulated, {} PV", counts[0], counts[1]);
    let mut rows = vec![
        ("boots that were to end by themselves, and did".to_owned(), both(tally.whole)),
        ("boots whose power went".to_owned(), both(tally.cut)),
    ];
    rows.extend(tally.moments.iter().map(|(moment, count)| (format!("– {moment}"), count.to_string())));
    rows.extend([
        ("files that were begun".to_owned(), tally.written.to_string()),
        ("files that were flushed".to_owned(), tally.flushed.to_string()),
        ("files that a later boot read again".to_owned(), tally.found.to_string()),
        ("**flushed files that were lost**".to_owned(), format!("**{}**", tally.lost)),
        ("mounts of the volume".to_owned(), tally.mounts.to_string()),
        ("**second mounts**".to_owned(), format!("**{}**", tally.second_mounts)),
    ]);
    let free = |end: usize| {
        let text = |free: &super::Free| {
            format!("{} MiB free, {} domain, {} grants in use", free.mib, free.domains, free.grants)
        };
        let each: BTreeSet<String> = seen.memory.iter().map(|ends| text(&ends[end])).collect();
        each.into_iter().collect::<Vec<_>>().join("; ")
    };
    if !seen.memory.is_empty() {
        rows.push(("Xen before the first stretch".to_owned(), free(0)));
        rows.push(("– after the last, every guest gone".to_owned(), free(1)));
    }
    rows.push((
        "starts of Xen, and stretches that the rig failed and were begun anew".to_owned(),
        format!("{}, {}", seen.stretches, seen.again),
    ));
    let title = format!(
        "{} boots of {}, `--seed {seed}`, in {} minutes.",
        tally.boots(),
        if machines == 1 { "one machine".to_owned() } else { format!("{machines} machines") },
        time.as_secs().div_ceil(60)
    );
    chapter(BOOTS, &title, &rows, &tally.wrong)
}

/// Returns the chapter of the saves.
pub(super) fn saves(saved: &Saved, time: Duration) -> String {
    let mut rows = vec![
        ("restores that the guest went on from".to_owned(), format!("{} of {}", saved.resumed, saved.wanted)),
        ("files that were written and flushed meanwhile".to_owned(), saved.written.to_string()),
        ("reads meanwhile, each of which ended well".to_owned(), saved.reads.to_string()),
    ];
    let mut ends = |what: &str, first: Option<String>, last: Option<String>| {
        rows.push((what.to_owned(), format!("{}, {}", first.unwrap_or_default(), last.unwrap_or_default())));
    };
    let pool = |end: usize| saved.pool.map(|pool| format!("{} bytes in {} blocks", pool[end].1, pool[end].0));
    ends("the drivers' memory after the first restore, and after the last", pool(0), pool(1));
    let memory = |end: usize| saved.memory.map(|free| format!("{} MiB", free[end].mib));
    ends("Xen's free memory before the first save, and before the last", memory(0), memory(1));
    rows.push((
        "grants in use when it has ended".to_owned(),
        saved.end.map_or_else(String::new, |end| end.grants.to_string()),
    ));
    let title = format!(
        "One guest with two processors, saved and restored {} times under load, in {} minutes.",
        saved.wanted,
        time.as_secs().div_ceil(60)
    );
    chapter(SAVES, &title, &rows, &saved.wrong)
}

/// Returns the chapter of the hours.
pub(super) fn hours(hours: &Hours, machines: u32, seed: u64, time: Duration) -> String {
    let [blkback, qdisk] = hours.attached;
    let growth = hours.growth;
    let rows = [
        ("disks that were attached and used", format!("{blkback} of blkback's, {qdisk} of qdisk's")),
        ("disks that left in order", hours.detached.to_string()),
        ("– detaches that the toolstack had to ask for again", hours.again.to_string()),
        ("disks that were taken by force, in use", hours.taken.to_string()),
        ("– requests that failed with them", hours.failed.to_string()),
        ("media taken out of the CD-ROM drive and put in again", hours.exchanged.to_string()),
        ("reads that were compared with what was written", hours.reads.to_string()),
        ("writes", hours.writes.to_string()),
        ("flushes", hours.flushes.to_string()),
        ("files that were written and flushed", hours.files.to_string()),
        ("**reads that brought other data**", format!("**{}**", hours.differing)),
        (
            "the drivers' memory at the end, more than a few minutes in, at most",
            format!("{} blocks, {} bytes", growth.blocks, growth.bytes),
        ),
        ("– grants that the drivers have made", growth.granted.to_string()),
        ("– grants that somebody uses, as Xen counts", growth.used.to_string()),
        ("– memory that Xen has given away", format!("{} MiB", growth.mib)),
        ("– nodes of xenstore that are not the guest's", growth.nodes.to_string()),
        ("lives that came to an end, and that the rig failed", format!("{}, {}", hours.lives, hours.lost)),
    ];
    let title = format!(
        "{:.1} guest-hours of {}, `--seed {seed}`, in {} minutes.",
        hours.guest_hours(),
        if machines == 1 { "one machine".to_owned() } else { format!("{machines} machines") },
        time.as_secs().div_ceil(60)
    );
    chapter(HOURS, &title, &rows.map(|(what, value)| (what.to_owned(), value)), &hours.wrong)
}

fn chapter(name: &str, title: &str, rows: &[(String, String)], wrong: &[String]) -> String {
    let mut text = format!("{name}\n\n{title}\n\n| | |\n|---|---|\n");
    text.extend(rows.iter().map(|(what, value)| format!("| {what} | {value} |\n")));
    if wrong.is_empty() {
        text += "\nNothing was otherwise than it must be.\n";
    } else {
        text += "\nNot as it must be:\n\n";
        text.extend(wrong.iter().map(|line| format!("- {line}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_is_replaced_and_the_other_stays() {
        let rows = |value: &str| vec![("boots".to_owned(), value.to_owned())];
        let boots = |value| chapter(BOOTS, "Boots.", &rows(value), &[]);
        let page = replaced("", &boots("40"), BOOTS);
        assert!(page.starts_with(HEAD) && page.contains("| boots | 40 |\n"), "{page}");
        let page = replaced(&page, &chapter(SAVES, "Saves.", &rows("20"), &["dom0: no".to_owned()]), SAVES);
        assert!(
            page.contains("| boots | 40 |") && page.ends_with("Not as it must be:\n\n- dom0: no\n"),
            "{page}"
        );
        let counts = |boots| Counts([boots, 7, 0, 100, 0, 0, 1, 30, 4]);
        let once = replaced(&page, &runs(&page, "abc", 1, counts(10)), RUNS);
        assert!(
            once.starts_with(&page) && once.contains("| abc | 1 | 10 | 7 | 0 | 100 | 0 | 0 | 1 | 30 | 4 |\n"),
            "{once}"
        );
        let twice = replaced(&once, &runs(&once, "abd-dirty", 2, counts(30)), RUNS);
        assert!(
            twice.contains("\n| abc | 1 | 10 |") && twice.contains("\n| abd-dirty | 2 | 30 |"),
            "{twice}"
        );
        assert!(twice.contains("Together: 40 boots, 14 power cuts, 0 saves, 200 files flushed"), "{twice}");
        assert!(twice.contains("2 wrong, 60 guest-minutes, 8 disks attached.\n"), "{twice}");
        let again = replaced(&page, &boots("41"), BOOTS);
        assert_eq!(again, page.replace("| 40 |", "| 41 |"));
    }

    #[test]
    fn a_row_from_before_the_hours_counts() {
        let page = format!(
            "{RUNS}\n\n| sources | seed |\n|---|---|\n| abc | 20 | 20 | 16 | 0 | 231 | 0 | 0 | 2 |\n"
        );
        let text = runs(&page, "abd", 22, Counts([0, 0, 0, 12, 0, 0, 0, 1440, 900]));
        assert!(text.contains("| abc | 20 | 20 | 16 | 0 | 231 | 0 | 0 | 2 | 0 | 0 |\n"), "{text}");
        assert!(text.contains("| abd | 22 | 0 | 0 | 0 | 12 | 0 | 0 | 0 | 1440 | 900 |\n"), "{text}");
        assert!(text.contains("Together: 20 boots, 16 power cuts, 0 saves, 243 files flushed"), "{text}");
    }

    #[test]
    fn the_hours_have_a_chapter_of_what_the_guests_did() {
        let seen = Hours {
            time: Duration::from_secs(4500),
            attached: [3, 4],
            differing: 1,
            wrong: vec!["seed 3: wrong data: sector=70".to_owned()],
            ..Hours::default()
        };
        let text = hours(&seen, 2, 3, Duration::from_secs(2410));
        assert!(text.starts_with(
            "## Hours of I/O with hot-plug\n\n1.2 guest-hours of 2 machines, `--seed 3`, in 41 minutes."
        ));
        assert!(
            text.contains("| disks that were attached and used | 3 of blkback's, 4 of qdisk's |\n"),
            "{text}"
        );
        assert!(text.contains("| **reads that brought other data** | **1** |\n"), "{text}");
        assert!(text.ends_with("Not as it must be:\n\n- seed 3: wrong data: sector=70\n"), "{text}");
        assert_eq!(Counts::of_hours(&seen), Counts([0, 0, 0, 0, 0, 0, 1, 75, 7]));
        let page = replaced("", &text, HOURS);
        let page = replaced(&page, &runs(&page, "abc", 3, Counts::of_hours(&seen)), RUNS);
        assert!(page.contains(&text) && page.find(HOURS) < page.find(RUNS), "{page}");
    }
}
