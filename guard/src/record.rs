//! The guard's events, in order, in a form that stays the same: it is found in a crash dump and read there.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `XGREC002` |
//! | 8 | 4 | bytes in all |
//! | 12 | 4 | events so far; the next one goes to this number modulo [`CAPACITY`] |
//! | 16 | 40 each | the last [`CAPACITY`] events |
//!
//! All numbers are little-endian.

use core::fmt;

use crate::{
    abi::{PolicyNumber, UnplugNumber, pack_action, unpack_action},
    decision::Decision,
    machine::{Action, Event},
    policy::{Emulated, HidePolicy},
    reason::Reason,
};

/// The GUID under which the record stands in a crash dump: {9B6A2B7D-93F0-4D5C-8E0B-5A5D1C5E7E01}.
pub const EVENTS_DUMP: u128 = 0x9B6A_2B7D_93F0_4D5C_8E0B_5A5D_1C5E_7E01;
/// The GUID of xenvbd's census record there: {9B6A2B7E-93F0-4D5C-8E0B-5A5D1C5E7E02}.
pub const CENSUS_DUMP: u128 = 0x9B6A_2B7E_93F0_4D5C_8E0B_5A5D_1C5E_7E02;

/// Events kept; older ones are overwritten.
pub const CAPACITY: usize = 64;

const SIGNATURE: &[u8; 8] = b"XGREC002";
const HEADER: usize = 16;
const ENTRY: usize = 40;
/// Bytes of a record.
pub const SIZE: usize = HEADER + CAPACITY * ENTRY;

/// The last events.
#[derive(Clone, Debug)]
pub struct Record([u8; SIZE]);

impl Default for Record {
    fn default() -> Record {
        Record::new()
    }
}

impl Record {
    /// Returns an empty record.
    #[must_use]
    pub const fn new() -> Record {
        let mut bytes = [0; SIZE];
        let size = (SIZE as u32).to_le_bytes();
        let mut at = 0;
        while at < 8 {
            bytes[at] = SIGNATURE[at];
            at += 1;
        }
        while at < 12 {
            bytes[at] = size[at - 8];
            at += 1;
        }
        Record(bytes)
    }

    /// Returns a record as it was found; `None` if it is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Record> {
        let record = Record(bytes.get(..SIZE)?.try_into().ok()?);
        let empty = Record::new();
        (record.0[..12] == empty.0[..12]).then_some(record)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SIZE] {
        &self.0
    }

    /// Returns the number of events in all.
    #[must_use]
    pub fn count(&self) -> u32 {
        number(&self.0, 12)
    }

    /// Adds an event and its answer. `time` is in 100 ns since the system started.
    pub fn add(&mut self, time: u64, event: Event, action: Action) {
        let count = self.count();
        let at = HEADER + (count as usize % CAPACITY) * ENTRY;
        let entry = Entry::new(time, event, action).to_bytes();
        for (to, from) in self.0.iter_mut().skip(at).zip(entry) {
            *to = from;
        }
        for (to, from) in self.0.iter_mut().skip(12).zip(count.wrapping_add(1).to_le_bytes()) {
            *to = from;
        }
    }

    /// Returns the events from number `from` on that are still there, each with its number, oldest first.
    pub fn entries(&self, from: u32) -> impl Iterator<Item = (u32, Entry)> + '_ {
        let count = self.count();
        let oldest = count.saturating_sub(CAPACITY as u32);
        (from.max(oldest)..count).filter_map(|n| {
            let at = HEADER + (n as usize % CAPACITY) * ENTRY;
            Some((n, Entry::parse(self.0.get(at..at + ENTRY)?)))
        })
    }
}

/// One event and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In 100 ns since the system started.
    pub time: u64,
    /// The event's place in [`KINDS`].
    kind: u32,
    flags: u32,
    arguments: [u32; 4],
    action: u64,
}

/// Kinds of events that xenvbd sends: their places in [`KINDS`].
const CENSUS: u32 = 14;
const CENSUS_FAILED: u32 = 15;

/// Name and arguments of each kind of event.
const KINDS: [(&str, &[&str]); 18] = [
    ("none", &[]),
    ("decided", &["pv", "reason", "policy"]),
    ("bus-attached", &["bus"]),
    ("unplugged", &["end"]),
    ("controllers-counted", &["with-cdrom", "disks-only"]),
    ("relations", &["bus", "seen", "hidden"]),
    ("storage-attached", &["device", "kind"]),
    ("storage-detached", &["device"]),
    ("storage-relations", &["device", "channels", "disks", "hidden"]),
    ("start-requested", &["device"]),
    ("driver-loaded", &[]),
    ("resumed", &[]),
    ("exposure-requested", &[]),
    ("exposed", &[]),
    ("census", &["own", "ours", "alias", "foreign"]),
    ("census-failed", &[]),
    ("storage-unfiltered", &[]),
    ("bus-unfiltered", &[]),
];

impl Entry {
    fn new(time: u64, event: Event, action: Action) -> Entry {
        let (kind, flags, arguments) = encode(event);
        Entry { time, kind, flags, arguments, action: pack_action(action) }
    }

    /// Returns the guard's answer.
    pub fn action(&self) -> Action {
        unpack_action(self.action)
    }

    /// Returns true if the event came from xenvbd, which writes log entries of its own about it.
    #[must_use]
    pub const fn is_census(&self) -> bool {
        matches!(self.kind, CENSUS | CENSUS_FAILED)
    }

    fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        let [a, b, c, d] = self.arguments;
        let words = [self.kind, self.flags, a, b, c, d].map(u32::to_le_bytes);
        let (time, action) = (self.time.to_le_bytes(), self.action.to_le_bytes());
        let all = time.iter().chain(words.as_flattened()).chain(&action);
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }

    fn parse(bytes: &[u8]) -> Entry {
        let wide = |at| u64::from(number(bytes, at)) | u64::from(number(bytes, at + 4)) << 32;
        Entry {
            time: wide(0),
            kind: number(bytes, 8),
            flags: number(bytes, 12),
            arguments: [16, 20, 24, 28].map(|at| number(bytes, at)),
            action: wide(32),
        }
    }
}

impl fmt::Display for Entry {
    /// Writes a line such as `12.345 s relations bus=0 seen=1 hidden=1: nothing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, arguments) = KINDS.get(self.kind as usize).unwrap_or(&KINDS[0]);
        write!(f, "{}.{:03} s {name}", self.time / 10_000_000, self.time / 10_000 % 1000)?;
        for (argument, value) in arguments.iter().zip(self.arguments) {
            write!(f, " {argument}={value}")?;
        }
        if self.flags != 0 {
            write!(f, " flags={:#x}", self.flags)?;
        }
        let with = |f: &mut fmt::Formatter<'_>, word: &str, reason: Reason| {
            write!(f, ": {word} {:#x} ({})", reason.code(), reason.text())
        };
        match self.action() {
            Action::Nothing => f.write_str(": nothing"),
            Action::Unplug => f.write_str(": unplug"),
            Action::Expose => f.write_str(": expose"),
            Action::CensusNow => f.write_str(": census now"),
            Action::AskAgain => f.write_str(": ask again"),
            Action::Withhold(reason) => with(f, "withhold", reason),
            Action::Note(reason) => with(f, "note", reason),
            Action::Deny(reason) => with(f, "deny", reason),
            Action::Stop(stop) => with(f, "stop", stop.reason),
        }
    }
}

/// Returns the kind, the flags and the arguments of an event.
fn encode(event: Event) -> (u32, u32, [u32; 4]) {
    let plain = |kind, arguments| (kind, 0, arguments);
    match event {
        Event::Decided(decision) => {
            let policy = match decision {
                Decision::Emulated(_) => HidePolicy::default(),
                Decision::Pv(policy) => policy,
            };
            let pv = u32::from(decision.is_pv());
            plain(1, [pv, decision.reason().code(), PolicyNumber::from(policy).0, 0])
        }
        Event::BusAttached { bus } => plain(2, [bus, 0, 0, 0]),
        Event::Unplugged(end) => plain(3, [UnplugNumber::from(Some(end)).0, 0, 0, 0]),
        Event::ControllersCounted(present) => plain(4, [present.with_cdrom, present.disks_only, 0, 0]),
        Event::Relations { bus, seen, hidden } => plain(5, [bus, seen, hidden, 0]),
        Event::StorageAttached { device, kind } => {
            let kind = match kind {
                Emulated::Controller(_) => 1,
                Emulated::Channel => 2,
                Emulated::Disk => 3,
            };
            plain(6, [device, kind, 0, 0])
        }
        Event::StorageDetached { device } => plain(7, [device, 0, 0, 0]),
        Event::StorageRelations { device, channels, disks, hidden } => {
            plain(8, [device, channels, disks, hidden])
        }
        Event::StartRequested { device } => plain(9, [device, 0, 0, 0]),
        Event::DriverLoaded => plain(10, [0; 4]),
        Event::Resumed => plain(11, [0; 4]),
        Event::ExposureRequested => plain(12, [0; 4]),
        Event::Exposed => plain(13, [0; 4]),
        Event::Census { counts, settled, strict } => {
            let flags = u32::from(settled) | u32::from(strict) << 1;
            (CENSUS, flags, [counts.own_list, counts.ours, counts.alias, counts.foreign])
        }
        Event::CensusFailed => plain(CENSUS_FAILED, [0; 4]),
        Event::StorageUnfiltered => plain(16, [0; 4]),
        Event::BusUnfiltered => plain(17, [0; 4]),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::BugCheck;
    use std::{string::ToString, vec::Vec};

    #[test]
    fn events_are_kept_in_order_and_read_back() {
        let mut record = Record::new();
        assert_eq!(record.entries(0).count(), 0);
        record.add(123_456_789, Event::Relations { bus: 0, seen: 1, hidden: 1 }, Action::Nothing);
        let stop = BugCheck { reason: Reason::AliasExposed, own: 1, enumerated: 2 };
        record.add(u64::MAX, Event::CensusFailed, Action::Stop(stop));
        let record = Record::parse(record.as_bytes()).expect("a record");
        let all: Vec<_> = record.entries(0).map(|(_, entry)| entry).collect();
        assert_eq!(all[0].to_string(), "12.345 s relations bus=0 seen=1 hidden=1: nothing");
        assert_eq!(all[1].action(), Action::Stop(stop));
        assert!(all[1].is_census() && !all[0].is_census());
        let mut unfiltered = Record::new();
        unfiltered.add(0, Event::StorageUnfiltered, Action::Nothing);
        let (_, entry) = unfiltered.entries(0).next().expect("an entry");
        assert!(!entry.is_census() && entry.to_string().contains("storage-unfiltered"));
        unfiltered.add(0, Event::BusUnfiltered, Action::Withhold(Reason::FilterNotAttached));
        let (_, entry) = unfiltered.entries(1).next().expect("an entry");
        assert!(entry.to_string().contains("bus-unfiltered: withhold 0x30"), "{entry}");
        assert!(all[1].to_string().contains("census-failed: stop 0x50"));
        assert_eq!(record.entries(1).map(|(n, _)| n).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn the_oldest_events_make_room() {
        let mut record = Record::new();
        for bus in 0..100 {
            record.add(0, Event::BusAttached { bus }, Action::Nothing);
        }
        let numbers: Vec<_> = record.entries(0).map(|(n, entry)| (n, entry.arguments[0])).collect();
        assert_eq!(numbers.len(), CAPACITY);
        assert!(numbers.iter().all(|(n, bus)| n == bus) && numbers[0].0 == 36 && numbers[63].0 == 99);
        assert_eq!(record.entries(98).count(), 2);
    }

    #[test]
    fn other_bytes_are_no_record() {
        let good = Record::new();
        assert!(Record::parse(&good.as_bytes()[..SIZE - 1]).is_none());
        let mut bad = *good.as_bytes();
        bad[7] = b'1';
        assert!(Record::parse(&bad).is_none());
    }
}
