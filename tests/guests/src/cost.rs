//! Cost of the guard in a boot with 1 to 64 disks: the decision in idefilter's DriverEntry and the censuses
//! at the disks' arrivals, as work that is counted, and as guest time. Written to
//! `docs/results/guard-cost.md`.
//!
//! The executive counts (tests/nt/src/work.rs). What is counted does not depend on the machine, so it must
//! lie on a line exactly; the times are those of one run under software emulation and are shown beside it.

use std::{fmt::Write as _, fs};

use anyhow::{Context, Result, bail};
use protocol::{Plan, Word};
use rig::report::Report;

use crate::{
    boot,
    boot::rig_files,
    layout::Layout,
    scenario::{BASE, Entry, Expect, PV, Scenario},
    step::step,
    verdict,
};

/// Numbers of disks that boots are measured with.
const DISKS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Names of the boots' folders.
const NAMES: [&str; 7] = ["cost-1", "cost-2", "cost-4", "cost-8", "cost-16", "cost-32", "cost-64"];

/// Cost of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    disks: u64,
    /// Requests to xenstore of the decision.
    decision_requests: u64,
    /// Hypercalls of the decision.
    decision_hypercalls: u64,
    /// Microseconds of idefilter's DriverEntry.
    decision_time: u64,
    /// Censuses until the end.
    censuses: u64,
    /// Disks that they opened.
    opened: u64,
    /// Microseconds in censuses at arrivals.
    census_time: u64,
    /// Microseconds from the executive's start to a system that is up.
    up: u64,
}

impl Cost {
    fn of(disks: u64, report: &Report) -> Option<Self> {
        let loaded = report.find(protocol::Line::Load.name(), "driver", "idefilter")?;
        let decided = report.find(protocol::Line::Work.name(), "at", "idefilter")?;
        let end = report.find(protocol::Line::Work.name(), "at", "end")?;
        Some(Self {
            disks,
            decision_requests: decided.number("store")?,
            decision_hypercalls: decided.number("hypercall")?,
            decision_time: loaded.number("us")?,
            censuses: end.number("listed")?,
            opened: end.number("opened")?,
            census_time: end.number("notified")?,
            up: report.first(protocol::Line::Up.name())?.number("us")?,
        })
    }
}

/// Boots a guest with each number of disks, and writes what was found.
///
/// # Errors
/// The rig failed, a boot differs from what it must show, or what is counted is more than linear in the
/// disks.
pub fn run() -> Result<()> {
    let layout = Layout::here();
    let rig = rig_files::ensure(&layout, rig::Release::default())?;
    let mut costs = Vec::new();
    for (disks, name) in DISKS.into_iter().zip(NAMES) {
        let scenario = Scenario {
            name,
            title: "the guard's cost",
            blanks: disks - 1,
            words: &[Word::Inject(Plan::Count)],
            entry: Entry::Pv,
            expect: Expect { pv: disks, ..PV },
            ..BASE
        };
        let boot = step(name, || boot::boot(&layout, &rig, &scenario))?;
        let differences = verdict::differences(&scenario, &boot);
        if !differences.is_empty() {
            bail!("{name}: {}", differences.join("\n"));
        }
        let cost = Cost::of(disks as u64, &boot.outcome.report()).context("the executive did not count")?;
        println!("{cost:?}");
        costs.push(cost);
    }
    let path = layout.root().join("docs/results/guard-cost.md");
    fs::write(&path, text(&costs)).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written: {}", path.display());
    let excess = excess(&costs);
    if excess.is_empty() { Ok(()) } else { bail!("more than linear: {}", excess.join("; ")) }
}

/// Something that is counted.
type Count = (&'static str, fn(&Cost) -> u64);

const COUNTED: [Count; 3] = [
    ("xenstore requests of the decision", |cost| cost.decision_requests),
    ("hypercalls of the decision", |cost| cost.decision_hypercalls),
    ("disks opened by censuses", |cost| cost.opened),
];

/// Extra disks that a census may open because the moment of an arrival and that of a look are not the same in
/// each boot: as many looks as there are in a boot, at a few disks.
const SLACK: u64 = 16;

/// Returns the counts that grow by more for a disk among many than for one among few.
fn excess(costs: &[Cost]) -> Vec<String> {
    let mut found = Vec::new();
    for (what, count) in COUNTED {
        for window in costs.windows(3) {
            let [a, b, c] = window else { continue };
            // Over twice as many disks it grows by twice as much at most.
            let (before, after) = (count(b).saturating_sub(count(a)), count(c).saturating_sub(count(b)));
            let (first, second) = (b.disks - a.disks, c.disks - b.disks);
            if after * first > before * second + SLACK * first {
                found.push(format!(
                    "{what}: {}, {}, {} at {}, {}, {} disks",
                    count(a),
                    count(b),
                    count(c),
                    a.disks,
                    b.disks,
                    c.disks
                ));
            }
        }
    }
    found
}

fn text(costs: &[Cost]) -> String {
    let mut text = String::from(
        "# What the guard adds to a boot\n\n\
         Written by `cargo xtask cost`; not edited by hand. One boot of a guest of real Xen for each line, one disk with a\n\
         volume and the others blank, all of blkback. The executive counts what drivers ask for: the decision's requests to\n\
         xenstore and its hypercalls (idefilter's DriverEntry; the polls that wait for a reply not among them), and, for the\n\
         censuses of the whole boot, how many there were and how many disks they opened. These numbers do not depend on the\n\
         machine. The times are the guest's, of one run under software emulation: their ratio means something, they do not.\n\n\
         | disks | requests | hypercalls | decision, ms | censuses | disks opened | arrivals' censuses, ms | up after, ms |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let ms = |us: u64| format!("{:.1}", us as f64 / 1000.0);
    for cost in costs {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            cost.disks,
            cost.decision_requests,
            cost.decision_hypercalls,
            ms(cost.decision_time),
            cost.censuses,
            cost.opened,
            ms(cost.census_time),
            ms(cost.up)
        );
    }
    if let (Some(first), Some(last)) = (costs.first(), costs.last()) {
        let per_disk = |count: fn(&Cost) -> u64| {
            count(last).saturating_sub(count(first)) as f64 / (last.disks - first.disks).max(1) as f64
        };
        let _ = write!(
            text,
            "\nFrom {} to {} disks each disk more costs {:.2} requests and {:.2} opened disks, {:.2} ms of the decision and \
             {:.2} ms of\nthe censuses at arrivals. Each census at an arrival also lists the names of all disks that there are, \
             which the system\ndoes; it opens only the new one.\n",
            first.disks,
            last.disks,
            per_disk(|cost| cost.decision_requests),
            per_disk(|cost| cost.opened),
            per_disk(|cost| cost.decision_time) / 1000.0,
            per_disk(|cost| cost.census_time) / 1000.0,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(disks: u64, opened: u64) -> Cost {
        Cost {
            disks,
            decision_requests: 10 + 2 * disks,
            decision_hypercalls: 20,
            decision_time: 0,
            censuses: disks + 5,
            opened,
            census_time: 0,
            up: 0,
        }
    }

    #[test]
    fn a_square_is_told_from_a_line() {
        let disks = DISKS.map(|n| n as u64);
        assert_eq!(excess(&disks.map(|n| cost(n, 3 * n + 7))), [""; 0]);
        let found = excess(&disks.map(|n| cost(n, n * (n + 1) / 2)));
        assert!(found.iter().all(|text| text.starts_with("disks opened")) && !found.is_empty(), "{found:?}");
    }
}
