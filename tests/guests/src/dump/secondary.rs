//! The drivers' data in the crash dump of a boot that was stopped, and in qemu's log.

use guard::census_record::{CensusRecord, RecordedDisk};
use guard::{Action, Reason, machine::BUGCHECK_CODE, record};
use protocol::Fault;
use rig::report::Report;

use crate::{
    check::{Differences, Seen},
    scenario::Machine,
};

/// The line of an xl configuration that has qemu show what it is told on its log port.
pub(crate) const SHOW_LOG: &str = "device_model_args_hvm = [ \"-trace\", \"enable=xen_platform_log\" ]";

/// Adds what differs from what a stop of the guard must leave behind.
pub(crate) fn stop(seen: &Seen<'_>, differences: &mut Differences) {
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
    let census = CensusRecord::parse(&data(report, record::CENSUS_DUMP));
    let counts = census.map(|census| (census.own_list, census.ours + census.alias + census.foreign));
    // A stop for another reason than what a census counted comes after one in which all was well, or before any.
    let pv = seen.scenario.expect.pv as u32;
    // Units that have yet to be read, and the second path that could not be.
    let unread = if seen.scenario.fault == Some(Fault::SilentUnits) { 33 } else { 0 };
    let expected = match reason {
        Reason::ExposedWithoutProof if pv == 0 => None,
        Reason::CensusFailed | Reason::ControllerReturned | Reason::UnfilteredStart => {
            Some((pv, pv + unread))
        }
        _ => Some((own, enumerated)),
    };
    if counts != expected {
        found.push(format!(
            "crash dump: own disks and all disks of the census are {counts:?}, expected {expected:?}"
        ));
    }
    // The path of most tells what they are, and the content of some.
    let controllers = match seen.scenario.fault {
        Some(
            Fault::Signed
            | Fault::SignedAfter
            | Fault::SignedBehind
            | Fault::SignedLate
            | Fault::OddAlias
            | Fault::ReadLate
            | Fault::Exchanged,
        ) => RecordedDisk::CONTROLLERS_UNKNOWN,
        Some(Fault::UsbAlias) => RecordedDisk::CONTROLLERS_NOT_ASKED,
        _ => RecordedDisk::CONTROLLERS_EMULATED,
    };
    if reason == Reason::AliasExposed && !census.is_some_and(|census| aliases_are_of(&census, controllers)) {
        found.push("crash dump: an alias of other controllers than expected, or none".to_owned());
    }
    let line = format!("xenguard: stop {BUGCHECK_CODE:#010x} reason={:#x} own={own}", reason.code());
    if seen.scenario.machine == Machine::Xen && !seen.boot.outcome.device_model.contains(&line) {
        found.push(format!("qemu's log has no line {line:?}"));
    }
    differences.extend(found);
}

/// Returns the first field of a GUID, by which reports and dumps of the executive are searched.
pub(super) fn first_field(guid: u128) -> u32 {
    (guid >> 96) as u32
}

/// Returns the bytes that came under a GUID.
pub(crate) fn data(report: &Report, guid: u128) -> Vec<u8> {
    let guid = format!("{:08x}", first_field(guid));
    let digits: String = report
        .all(protocol::Line::DumpData.name())
        .filter(|line| line.is("guid", &guid))
        .filter_map(|line| line.get("hex"))
        .collect();
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Returns true if a census record has aliases, and says of each that the controllers above it are these. Of emulated ones
/// that is evidence that the alias' name, by which it was told, would not have been needed.
fn aliases_are_of(record: &CensusRecord, controllers: u32) -> bool {
    let mut aliases = record.disks().iter().filter(|disk| disk.class == RecordedDisk::CLASS_ALIAS).peekable();
    aliases.peek().is_some() && aliases.all(|disk| disk.controllers == controllers)
}

#[cfg(test)]
mod tests {
    use guard::census::{Class, Counts, Disk, Origin};
    use guard::provenance::Provenance;

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
        let record = |disks: &[(Class, Option<Provenance>)]| {
            let disk = Disk { origin: Origin::Unknown, identity: None };
            let disks =
                disks.iter().map(|&(class, controllers)| RecordedDisk::new(&disk, class, controllers));
            let mut record = CensusRecord::new();
            record.keep(&Counts::default(), false, disks);
            record
        };
        let (ours, emulated) = ((Class::Ours, None), (Class::Alias, Some(Provenance::Emulated)));
        let are_emulated = |disks: &[_]| aliases_are_of(&record(disks), RecordedDisk::CONTROLLERS_EMULATED);
        assert!(are_emulated(&[ours, emulated]));
        assert!(!are_emulated(&[ours, emulated, (Class::Alias, Some(Provenance::Unknown))]));
        assert!(!are_emulated(&[ours]) && !are_emulated(&[]));
    }
}
