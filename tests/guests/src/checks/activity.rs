//! Checks of the activity log: what the drivers print on the debugger's console is in the file that they leave, and
//! in the crash dump of a stop.

use guard::{Reason, activity};
use protocol::{Exercise, Line};

use super::every::{comes_up, ends_in_order, mounted};
use super::left_behind::is_whole;
use crate::{
    check::{Check, Differences, Seen},
    dump::secondary,
};

/// The drivers that have the log.
const DRIVERS: [&str; 3] = ["idefilter: ", "xenpci: ", "xenvbd: "];

/// Returns the part of a printed line that the log keeps; `None` if it is of no driver that has the log.
fn kept(line: &str) -> Option<&str> {
    let line = line.strip_prefix("xenguard: ")?.trim_end();
    let end = (0..=line.len().min(activity::LINE)).rev().find(|&end| line.is_char_boundary(end))?;
    DRIVERS.iter().any(|driver| line.starts_with(driver)).then(|| &line[..end])
}

/// Returns the number and the text of a line of the file: behind its time.
fn parse(line: &str) -> Option<(u64, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let (number, text) = rest.split_once(' ')?;
    let whole =
        time.len() == "2026-11-29T06:31:06.123Z".len() && time.starts_with("20") && time.ends_with('Z');
    Some((number.parse().ok()?, text.trim_end())).filter(|_| whole)
}

/// Returns the file's lines of the last boot in it.
fn of_the_boot(file: &str) -> Vec<(u64, &str)> {
    let lines: Vec<_> = file.lines().filter_map(parse).collect();
    let first = lines.iter().rposition(|(number, _)| *number == 1).unwrap_or(0);
    lines[first..].to_vec()
}

/// Looks at the file of a boot that ends in order, and at the dump of one that the guard stops.
pub(super) fn log(seen: &Seen<'_>, found: &mut Differences) {
    let (scenario, expect) = (seen.scenario, &seen.scenario.expect);
    if expect.stop.is_some() {
        let bytes = secondary::data(&seen.report, activity::DUMP);
        let lines: Vec<_> = activity::lines(&bytes).into_iter().flatten().collect();
        let stop = lines.iter().rev().take(4).any(|line| line.text().contains("xenguard: stop "));
        found.holds("the activity log in the crash dump ends with the stop", stop);
    }
    if !ends_in_order(scenario)
        || !comes_up(scenario)
        || !is_whole(scenario)
        || expect.decision == Reason::Unsealed
        || mounted(scenario) == 0
    {
        return;
    }
    let lines = of_the_boot(&seen.boot.activity);
    let report = seen.report.lines();
    let printed = |lines: &[rig::report::Line]| -> Vec<String> {
        let debug = lines.iter().filter(|line| line.kind == "dbg");
        debug.filter_map(|line| kept(&line.text)).map(str::to_owned).collect()
    };
    // What comes after this line may come after the last write.
    let shutdown = seen.report.position(Line::Status.name()).unwrap_or(report.len());
    let lost = seen.boot.activity.contains("lines are lost");
    for line in printed(&report[..shutdown]) {
        if !lost && !lines.iter().any(|(_, text)| *text == line) {
            found.holds(&format!("the file of the activity log has {line:?}"), false);
        }
    }
    let all = printed(report);
    let adds = matches!(scenario.exercise, Some(Exercise::Activity | Exercise::Reader));
    let own = |text: &str| adds && text.starts_with("nt: line ");
    for (_, text) in lines.iter().filter(|(_, text)| !own(text)) {
        found
            .holds(&format!("{text:?} of the activity log was printed"), all.iter().any(|line| line == text));
    }
    let rising = lines.windows(2).all(|pair| pair[0].0 < pair[1].0);
    found.holds("the numbers of the activity log's lines rise", rising && !lines.is_empty());
    // 64 disks say more than the ring keeps, before there is a volume to write to.
    let overflown = adds || all.len() > activity::CAPACITY;
    found.holds("lines of the activity log that are lost", overflown || !lost);
}

/// See `what`.
pub(crate) const OVERFLOWN: Check = Check {
    what: "of lines that a full volume held up, those that the ring kept are in the file, and the others counted",
    run: |seen, found| {
        let told = seen.lines(Line::Activity).next();
        let refused = told.and_then(|line| line.number("refused"));
        found.holds(
            "the file that was full is put aside as it was",
            told.is_some_and(|line| line.is("kept", "true")),
        );
        found.holds(
            "writes that the volume refused, seldom",
            refused.is_some_and(|count| (1..=6).contains(&count)),
        );
        found.same("lines that say so", seen.said("the activity log cannot be written now: "), 1);
        let lines = of_the_boot(&seen.boot.activity);
        let own: Vec<_> = lines.iter().filter(|(_, text)| text.starts_with("nt: line ")).collect();
        found.same("the last one", own.last().map(|(_, text)| *text), Some("nt: line 101"));
        let lost: u64 = seen
            .boot
            .activity
            .lines()
            .filter_map(|line| line.strip_suffix(" lines are lost")?.parse::<u64>().ok())
            .sum();
        let last = lines.last().map_or(0, |(number, _)| *number);
        found.same("lines in the file and lost ones", lines.len() as u64 + lost, last);
        found.holds("more than the ring keeps", lost > 36);
    },
};

/// See `what`.
pub(crate) const HELD_UP: Check = Check {
    what: "a write that the full volume refused is tried once more at the shutdown",
    run: |seen, found| {
        found.same("lines that say so", seen.said("the activity log cannot be written now: "), 1);
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_file_are_those_of_the_last_boot() {
        let file = "2026-11-29T06:31:06.123Z 1 idefilter: a\r\n2026-11-29T06:31:06.123Z 2 idefilter: b\r\n\
                    3 lines are lost\r\n2026-11-29T06:32:06.123Z 1 idefilter: c\r\nrest";
        assert_eq!(of_the_boot(file), [(1, "idefilter: c")]);
        assert_eq!(of_the_boot("garbage"), []);
    }

    #[test]
    fn what_is_kept_of_a_line_is_cut_as_the_ring_cuts() {
        let long = format!("xenguard: xenvbd: {}", "é".repeat(activity::LINE));
        assert!((activity::LINE - 1..=activity::LINE).contains(&kept(&long).expect("a line").len()));
        assert_eq!(kept("xenguard: idefallback: x"), None);
    }
}
