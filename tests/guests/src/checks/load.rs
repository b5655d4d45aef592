//! A disk in use: what the executive's readers and writers counted.

use protocol::Line;

use crate::check::{Check, Differences, Seen};

/// A disk was in use from every processor, once.
pub(crate) const IN_USE: Check = Check {
    what: "every processor read the disk through a queue of its own, every request ended well",
    run: |seen, found| in_use(seen, 1, found),
};

/// Each disk was in use from every processor, once.
pub(crate) const ALL_IN_USE: Check = Check {
    what: "every processor read each disk through a queue of its own, every request ended well",
    run: |seen, found| in_use(seen, seen.scenario.disks.len(), found),
};

/// A disk was in use from every processor, before and after something.
pub(crate) const IN_USE_TWICE: Check = Check {
    what: "before and after it every processor read the disk through a queue of its own, every request ended well",
    run: |seen, found| in_use(seen, 2, found),
};

fn in_use(seen: &Seen<'_>, times: usize, found: &mut Differences) {
    let processors = seen.scenario.vcpus;
    let count = seen.lines(Line::Processors).next().and_then(|line| line.number("count"));
    found.same("processors", count, Some(u64::from(processors)));
    found.same("times that the disk was in use", seen.lines(Line::Traffic).count(), times);
    for line in seen.lines(Line::Traffic) {
        let all = format!("{:#x}", (1 << processors) - 1);
        found.same("processors that read", line.get("processors"), Some(all.as_str()));
    }
    ended_well(seen, found);
    let queues =
        seen.report.debug("xenvbd: disk 768: ").next().and_then(|line| line.split("disk 768: ").nth(1));
    let queues = queues.unwrap_or_default().starts_with(&format!("{processors} queues"));
    found.holds("a queue for each processor", queues);
}

/// Adds what differs where every request must have ended well, and files were written.
pub(crate) fn ended_well(seen: &Seen<'_>, found: &mut Differences) {
    found.holds("a disk was in use", seen.lines(Line::Traffic).next().is_some());
    for line in seen.lines(Line::Traffic) {
        found.same("reads", line.get("ok"), line.get("started"));
        found.same("failed reads", line.number("failed"), Some(0));
        found.holds("files written", line.number("written").is_some_and(|files| files > 0));
    }
}
