//! The record of a boot that outlives it: in the registry, for the next boot and for `xenguard status`; and
//! in one line for the host, as `data/xenguard/last`.
//!
//! The registry has two, below idefilter's `Parameters`: [`THIS`] of the boot that runs, and [`LAST`] of the
//! one before. A boot moves the first to the second when the hives can be written. A record is written when
//! the boot begins, at each change, and at the shutdown; a boot that dies leaves [`End::Unknown`].
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `XGBOOT01` |
//! | 8 | 8 | when the system was started, in seconds since 1970-01-01 UTC |
//! | 16 | 4 | how long it has been up, in seconds, at the last write |
//! | 20 | 4 | the end: 0 not known, 1 in order, 2 stopped by the guard |
//! | 24 | 12 | of a stop: reason, own, enumerated |
//! | 36 | 4 | phase |
//! | 40 | 4 | reason |
//! | 44 | 4 | unplug |
//! | 48 | 4 | policy |
//! | 52 | 4 | controllers hidden |
//! | 56 | 4 | 1 where a census was taken |
//! | 60 | 16 | its counts: own, ours, alias, foreign |
//!
//! All numbers are little-endian.

use core::fmt;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Reason;
use crate::abi::{PhaseNumber, PolicyNumber, Status, UnplugNumber};
use crate::machine::BugCheck;
use crate::{crash_dump, host};

/// The value with the record of the boot that runs; while none runs, of the last one.
pub const THIS: &str = "ThisBoot";
/// The value with the record of the boot before.
pub const LAST: &str = "LastBoot";
/// The node in the folder [`host::STATE`] with the record's line.
pub const NODE: &str = "last";

/// The beginning of that line, of a boot that ended in order.
pub const IN_ORDER: &str = "end=in-order ";

const SIGNATURE: [u8; 8] = *b"XGBOOT01";

/// The end of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It runs, or it ended without a word.
    Unknown,
    /// The system was shut down.
    InOrder,
    /// The guard stopped it.
    Stopped(BugCheck),
}

/// A boot, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBoot {
    /// Seconds from 1970-01-01 UTC to the start of the system, by the guest's clock.
    pub started: u64,
    /// Seconds for which the system has been up.
    pub uptime: u32,
    /// The end.
    pub end: End,
    /// The guard's status.
    pub status: Status,
}

/// The record in bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    signature: [u8; 8],
    started: U64,
    uptime: U32,
    end: U32,
    stop: [U32; 3],
    phase: U32,
    reason: U32,
    unplug: U32,
    policy: U32,
    hidden: U32,
    counted: U32,
    counts: [U32; 4],
}

/// Bytes of a record.
pub const SIZE: usize = size_of::<Raw>();
const _: () = assert!(SIZE == 76);

impl LastBoot {
    /// Returns the record of the boot that runs. Both times are in 100 ns: the system's since 1601 UTC, and the one
    /// since the system was started.
    #[must_use]
    pub fn of_running(system_time: u64, interrupt_time: u64, end: End, status: Status) -> LastBoot {
        let up = interrupt_time / 10_000_000;
        LastBoot {
            started: crash_dump::unix_time(system_time).saturating_sub(up),
            uptime: u32::try_from(up).unwrap_or(u32::MAX),
            end,
            status,
        }
    }

    /// Returns the record's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let (end, stop) = match self.end {
            End::Unknown => (0, [0; 3]),
            End::InOrder => (1, [0; 3]),
            End::Stopped(BugCheck { reason, own, enumerated }) => (2, [reason.code(), own, enumerated]),
        };
        let Status { phase, reason, unplug, policy, hidden, counted, own, ours, alias, foreign, .. } =
            self.status;
        zerocopy::transmute!(Raw {
            signature: SIGNATURE,
            started: self.started.into(),
            uptime: self.uptime.into(),
            end: end.into(),
            stop: stop.map(U32::new),
            phase: phase.0.into(),
            reason: reason.into(),
            unplug: unplug.0.into(),
            policy: policy.0.into(),
            hidden: hidden.into(),
            counted: counted.into(),
            counts: [own, ours, alias, foreign].map(U32::new),
        })
    }

    /// Reads a record; `None` where it is none of this version's.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<LastBoot> {
        let raw = Raw::read_from_bytes(bytes).ok().filter(|raw| raw.signature == SIGNATURE)?;
        let [reason, own, enumerated] = raw.stop.map(U32::get);
        let end = match raw.end.get() {
            0 => End::Unknown,
            1 => End::InOrder,
            2 => End::Stopped(BugCheck { reason: Reason::from_code(reason)?, own, enumerated }),
            _ => return None,
        };
        let [own, ours, alias, foreign] = raw.counts.map(U32::get);
        let status = Status {
            phase: PhaseNumber(raw.phase.get()),
            reason: raw.reason.get(),
            unplug: UnplugNumber(raw.unplug.get()),
            policy: PolicyNumber(raw.policy.get()),
            hidden: raw.hidden.get(),
            counted: raw.counted.get(),
            own,
            ours,
            alias,
            foreign,
            ..Status::default()
        };
        Some(LastBoot { started: raw.started.get(), uptime: raw.uptime.get(), end, status })
    }

    /// Returns true if the boot was one from PV disks, whatever became of it.
    #[must_use]
    pub const fn is_pv(&self) -> bool {
        !matches!(self.status.phase, PhaseNumber::UNSEALED | PhaseNumber::EMULATED)
    }

    /// Returns the name of the phase.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        host::PHASES.get(self.status.phase.0 as usize).copied().unwrap_or("?")
    }

    /// Returns the word for the boot's mode.
    #[must_use]
    pub const fn mode(&self) -> &'static str {
        if self.is_pv() { "pv" } else { "emulated" }
    }

    /// Returns true if the boot was shut down in order, false if the guard stopped it; `None` where nobody knows.
    #[must_use]
    pub const fn ended_in_order(&self) -> Option<bool> {
        match self.end {
            End::Unknown => None,
            End::InOrder => Some(true),
            End::Stopped(_) => Some(false),
        }
    }

    /// Returns the word for the boot's end.
    #[must_use]
    pub const fn end(&self) -> &'static str {
        match self.end {
            End::Unknown => "unknown",
            End::InOrder => "in-order",
            End::Stopped(_) => "stopped",
        }
    }

    /// Returns the line for the host: `name=value`, separated by spaces.
    #[must_use]
    pub const fn line(&self) -> Line<'_> {
        Line(self)
    }
}

/// A record as the host is told: `end=in-order mode=pv reason=0x1 phase=exposed …`.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a>(&'a LastBoot);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LastBoot { started, uptime, end, status } = self.0;
        write!(f, "end={} mode={}", self.0.end(), self.0.mode())?;
        match end {
            End::Stopped(stop) => {
                write!(
                    f,
                    " reason={:#x} own={} enumerated={}",
                    stop.reason.code(),
                    stop.own,
                    stop.enumerated
                )?;
            }
            End::Unknown | End::InOrder => {
                write!(f, " reason={:#x} phase={}", status.reason, self.0.phase())?;
                if status.counted != 0 {
                    let Status { own, ours, alias, foreign, .. } = status;
                    write!(f, " own={own} ours={ours} alias={alias} foreign={foreign}")?;
                }
            }
        }
        write!(f, " started={started} uptime={uptime}")
    }
}

impl fmt::Display for LastBoot {
    /// Writes a sentence for an admin, such as `PV (exposed), up for 12 s, shut down in order`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.status;
        f.write_str(if self.is_pv() { "PV" } else { "emulated" })?;
        write!(f, " ({}, reason {:#x})", self.phase(), status.reason)?;
        if status.counted != 0 {
            let Status { own, ours, alias, foreign, .. } = status;
            write!(f, ", last census own={own} ours={ours} alias={alias} foreign={foreign}")?;
        }
        match self.end {
            End::Unknown => write!(f, ", last heard of after {} s, not shut down in order", self.uptime),
            End::InOrder => write!(f, ", shut down in order after {} s", self.uptime),
            End::Stopped(stop) => write!(f, ", stopped by the guard: {}", Stop(stop)),
        }
    }
}

/// A stop of the guard in words.
#[derive(Clone, Copy, Debug)]
pub struct Stop(pub BugCheck);

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BugCheck { reason, own, enumerated } = self.0;
        write!(f, "reason {:#x}, {} (own={own} enumerated={enumerated})", reason.code(), reason.text())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::census::Counts;

    fn exposed() -> LastBoot {
        let status = Status {
            phase: PhaseNumber::EXPOSED,
            reason: Reason::PvSelected.code(),
            unplug: UnplugNumber::ACKNOWLEDGED,
            hidden: 1,
            ..Status::default()
        };
        let counts = Counts { own_list: 2, ours: 3, foreign: 4, ..Counts::default() };
        let status = status.with_census(Some(counts));
        LastBoot { started: 1_800_000_000, uptime: 12, end: End::InOrder, status }
    }

    #[test]
    fn every_end_is_read_back() {
        let stop = BugCheck { reason: Reason::AliasExposed, own: 1, enumerated: 2 };
        for end in [End::Unknown, End::InOrder, End::Stopped(stop)] {
            let boot = LastBoot { end, ..exposed() };
            assert_eq!(LastBoot::parse(&boot.to_bytes()), Some(boot));
        }
    }

    #[test]
    fn the_layout_stays() {
        let bytes = exposed().to_bytes();
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(&bytes[..8], b"XGBOOT01");
        assert_eq!(u64::from_le_bytes(bytes[8..16].try_into().unwrap()), 1_800_000_000);
        // Uptime, end; phase, reason, unplug, policy, hidden, counted; the counts.
        assert_eq!([16, 20].map(number), [12, 1]);
        assert_eq!([36, 40, 44, 48, 52, 56].map(number), [4, 1, 2, 0, 1, 1]);
        assert_eq!([60, 64, 68, 72].map(number), [2, 3, 0, 4]);
    }

    #[test]
    fn other_bytes_are_no_record() {
        let good = exposed().to_bytes();
        assert_eq!(LastBoot::parse(&good[..SIZE - 1]), None);
        assert_eq!(LastBoot::parse(&[]), None);
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            LastBoot::parse(&bytes)
        };
        // Another version; an end that this one does not know; a stop without its reason.
        assert_eq!((with(7, b'2'), with(20, 3), with(20, 2)), (None, None, Some(stopped_unsealed())));
    }

    /// Returns a record of a stop whose reason's code is 0, which is one of the guard's.
    fn stopped_unsealed() -> LastBoot {
        let stop = BugCheck { reason: Reason::Unsealed, own: 0, enumerated: 0 };
        LastBoot { end: End::Stopped(stop), ..exposed() }
    }

    #[test]
    fn it_is_told_in_words() {
        let boot = exposed();
        assert_eq!(
            boot.to_string(),
            "PV (exposed, reason 0x1), last census own=2 ours=3 alias=0 foreign=4, shut down in order after 12 s"
        );
        assert_eq!(
            boot.line().to_string(),
            "end=in-order mode=pv reason=0x1 phase=exposed own=2 ours=3 alias=0 foreign=4 started=1800000000 uptime=12"
        );
        assert!(boot.line().to_string().starts_with(IN_ORDER));
        let stop = BugCheck { reason: Reason::AliasExposed, own: 1, enumerated: 2 };
        let stopped = LastBoot { end: End::Stopped(stop), ..boot };
        assert!(stopped.to_string().ends_with(
            "stopped by the guard: reason 0x50, an emulated disk and its PV counterpart are both present (own=1 \
             enumerated=2)"
        ));
        assert_eq!(
            stopped.line().to_string(),
            "end=stopped mode=pv reason=0x50 own=1 enumerated=2 started=1800000000 uptime=12"
        );
        let status = Status { phase: PhaseNumber::EMULATED, reason: 0x10, ..Status::default() };
        let emulated = LastBoot { end: End::Unknown, status, ..boot };
        assert_eq!(
            emulated.to_string(),
            "emulated (emulated, reason 0x10), last heard of after 12 s, not shut down in order"
        );
    }
}
