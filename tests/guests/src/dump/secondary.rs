//! What the drivers put into the crash dump of a boot that was stopped, and into qemu's log.

use guard::{Action, Reason, machine::BUGCHECK_CODE, record};
use rig::report::Report;

use crate::{
    check::{Differences, Seen},
    scenario::Machine,
};

/// The line of an xl configuration that has qemu show what it is told on its log port.
pub const SHOW_LOG: &str = "device_model_args_hvm = [ \"-trace\", \"enable=xen_platform_log\" ]";

/// Adds what differs from what a stop of the guard must leave behind.
pub fn stop(seen: &Seen<'_>, differences: &mut Differences) {
    let Some((reason, own, enumerated)) = seen.scenario.expect.stop else { return };
    let report = &seen.report;
    let mut found = Vec::new();
    match record::Record::parse(&data(report, record::EVENTS_DUMP)) {
        None => found.push("crash dump: no record of events".to_owned()),
        Some(events) => match events.entries(0).last().map(|(_, entry)| (entry.action(), entry)) {
            Some((Action::Stop(stop), _))
                if (stop.reason, stop.own, stop.enumerated) == (reason, own, enumerated) => {}
            last => found.push(format!(
                "crash dump: the last event is {}, expected a stop for {reason:?}",
                last.map_or_else(|| "missing".to_owned(), |(_, entry)| entry.to_string())
            )),
        },
    }
    match census(&data(report, record::CENSUS_DUMP)) {
        Some([listed, ours, alias, foreign]) if listed == own && ours + alias + foreign == enumerated => {}
        other => {
            found.push(format!("crash dump: the census is {other:?}, expected own={own} of {enumerated}"))
        }
    }
    if reason == Reason::AliasExposed && !controllers_of_aliases(&data(report, record::CENSUS_DUMP)) {
        found.push("crash dump: an alias whose controllers are not known to be emulated, or none".to_owned());
    }
    let line = format!("xenguard: stop {BUGCHECK_CODE:#010x} reason={:#x} own={own}", reason.code());
    if seen.scenario.machine == Machine::Xen && !seen.boot.outcome.device_model.contains(&line) {
        found.push(format!("qemu's log has no line {line:?}"));
    }
    differences.extend(found);
}

/// The bytes that came under a GUID.
pub fn data(report: &Report, guid: u32) -> Vec<u8> {
    let guid = format!("{guid:08x}");
    let digits: String = report
        .all(protocol::Line::DumpData.name())
        .filter(|line| line.is("guid", &guid))
        .filter_map(|line| line.get("hex"))
        .collect();
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Own list, ours, alias and foreign of a census record (xenvbd, `census::Record`).
fn census(bytes: &[u8]) -> Option<[u32; 4]> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.get(..8)? != b"XGCENSUS" || number(8)? as usize != bytes.len() {
        return None;
    }
    Some([number(16)?, number(20)?, number(24)?, number(28)?])
}

/// Whether a census record has aliases, and says of each that the controllers above it are emulated: evidence
/// that its name, by which it was told, would not have been needed.
fn controllers_of_aliases(bytes: &[u8]) -> bool {
    const HEAD: usize = 40;
    const DISK: usize = 40;
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let count = number(36).unwrap_or(0) as usize;
    let aliases: Vec<_> = (0..count)
        .map(|n| HEAD + n * DISK)
        .filter(|&at| number(at) == Some(2))
        .map(|at| number(at + 20))
        .collect();
    !aliases.is_empty() && aliases.iter().all(|controllers| *controllers == Some(1))
}

#[cfg(test)]
mod tests {
    use guard::{BugCheck, Event};

    use super::*;

    #[test]
    fn dump_data_is_put_together_from_its_lines() {
        let lines = [
            "@xg dumpdata guid=9b6a2b7d at=0 hex=0102",
            "@xg dumpdata guid=00000001 at=0 hex=ff",
            "@xg dumpdata guid=9b6a2b7d at=2 hex=03",
        ];
        assert_eq!(data(&Report::parse(lines), record::EVENTS_DUMP), [1, 2, 3]);
    }

    #[test]
    fn the_controllers_of_aliases_are_looked_at() {
        let record = |disks: &[[u32; 2]]| {
            let mut bytes = vec![0; 36];
            bytes.extend((disks.len() as u32).to_le_bytes());
            for [class, controllers] in disks {
                let numbers = [*class, 2, 16384, 0, 0, *controllers, 0, 0, 0, 0];
                bytes.extend(numbers.map(u32::to_le_bytes).concat());
            }
            bytes
        };
        assert!(controllers_of_aliases(&record(&[[1, 0], [2, 1]])));
        assert!(!controllers_of_aliases(&record(&[[1, 0], [2, 1], [2, 3]])));
        assert!(!controllers_of_aliases(&record(&[[1, 0]])));
        assert!(!controllers_of_aliases(&[]));
    }

    #[test]
    fn a_census_says_what_it_is() {
        let mut bytes = Vec::from(*b"XGCENSUS");
        for number in [40u32, 3, 1, 1, 1, 0, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        assert_eq!(census(&bytes), Some([1, 1, 1, 0]));
        assert_eq!(census(&bytes[..39]), None);
        let mut events = record::Record::new();
        let stop = BugCheck { reason: Reason::AliasExposed, own: 1, enumerated: 2 };
        events.add(0, Event::CensusFailed, Action::Stop(stop));
        assert_eq!(census(events.as_bytes()), None);
    }
}
