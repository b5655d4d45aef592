//! Checks of the way that Xen's events take to the processors. The executive counts, not the drivers.

use protocol::Line;
use rig::report::Line as Reported;

use crate::check::{Check, Differences, Seen};

/// Each processor took the interrupts of its own vector and completed the requests of its own queue.
pub(crate) const VECTORS: Check = Check {
    what: "each processor took the interrupts of its own vector and none of another's, and completed requests",
    run: |seen, found| upcalls(seen, seen.scenario.vcpus as usize, found),
};

/// The first processor took all interrupts, by the line.
pub(crate) const LINE: Check = Check {
    what: "no vector was granted, and the line served all processors",
    run: |seen, found| upcalls(seen, 0, found),
};

/// Interrupts that are more than those of a start.
const MANY: u64 = 20;

fn list(line: &Reported, key: &str) -> Vec<u64> {
    line.get(key).unwrap_or_default().split(',').filter_map(|number| number.parse().ok()).collect()
}

fn upcalls(seen: &Seen<'_>, vectors: usize, found: &mut Differences) {
    let messages: Vec<Vec<u64>> =
        seen.lines(Line::Interrupts).filter(|l| l.is("message", "1")).map(|l| list(l, "taken")).collect();
    found.same("interrupt messages", messages.len(), vectors);
    for (processor, taken) in messages.iter().enumerate() {
        let own = taken.iter().enumerate().all(|(at, &count)| (count >= MANY) == (at == processor));
        let stray = taken.iter().enumerate().any(|(at, &count)| at != processor && count > 0);
        found.same(&format!("interrupts of processor {processor} {taken:?}"), (own, stray), (true, false));
    }
    // At the start and after each resume.
    for moment in ["xenpci: Xen ", "xenpci: resumed, "] {
        for said in seen.report.debug(moment) {
            let all = said.ends_with(&format!(" {vectors} processors' own vectors"));
            found.holds(&format!("{vectors} own vectors in \"{said}\""), all);
        }
    }
    found.holds("xenpci says how events arrive", seen.said("xenpci: Xen ") > 0);
    if vectors == 0 {
        let lines = seen.lines(Line::Interrupts).filter(|line| line.is("message", "0"));
        let taken: u64 = lines.flat_map(|line| list(line, "taken")).sum();
        found.holds(&format!("{taken} interrupts of the line, at least {MANY}"), taken >= MANY);
    } else {
        let completed = seen.lines(Line::Completions).next().map(|line| list(line, "by")).unwrap_or_default();
        let everywhere = completed.len() == vectors && completed.iter().all(|&n| n >= MANY);
        found.holds(&format!("completions {completed:?} everywhere"), everywhere);
    }
}
