//! The head of a crash dump as NT writes it, by which the next boot hears what stopped the last one.
//!
//! Fields are those of DUMP_HEADER64, which debuggers read: the same in a complete, a kernel and an automatic
//! dump, and in the page file before NT has copied the dump out of it.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::Reason;
use crate::machine::{BUGCHECK_CODE, BugCheck};

/// Bytes of the head that are needed.
pub const SIZE: usize = size_of::<Header>();

/// The folder of Windows in a path such as that of the dump's file, `CrashControl\DumpFile`.
pub const SYSTEM_ROOT: &str = "%SystemRoot%";
/// The file that NT copies a dump to unless `CrashControl\DumpFile` says otherwise, in the folder of Windows.
pub const FILE: &str = "MEMORY.DMP";

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 8],
    _version: [u8; 0x30],
    code: U32,
    _padding: U32,
    parameters: [U64; 4],
    _memory: [u8; 0xFA8 - 0x60],
    /// In 100 ns since 1601.
    time: U64,
}
const _: () = assert!(SIZE == 0xFB0);

/// A stop of the guard's, and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its bugcheck.
    pub stop: BugCheck,
    /// Seconds since 1970-01-01 UTC, by the guest's clock.
    pub at: u64,
}

impl Stopped {
    /// Reads the head of a dump; `None` where it is none, or of a system that something else stopped.
    #[must_use]
    pub fn parse(head: &[u8]) -> Option<Stopped> {
        let (header, _) = Header::ref_from_prefix(head).ok()?;
        if &header.signature != b"PAGEDU64" {
            return None;
        }
        let stop = stop_of(header.code.get(), header.parameters.map(U64::get))?;
        Some(Stopped { stop, at: unix_time(header.time.get()) })
    }

    /// Returns true if it can be the end of a boot that was started then. The clock may have been set in
    /// between: it may be off by a day.
    #[must_use]
    pub const fn ends(&self, started: u64) -> bool {
        const DAY: u64 = 24 * 60 * 60;
        self.at.saturating_add(DAY) >= started
    }
}

/// Returns the guard's stop that a bugcheck is; `None` for one of another's.
#[must_use]
pub fn stop_of(code: u32, parameters: [u64; 4]) -> Option<BugCheck> {
    let [reason, own, enumerated, _] = parameters.map(|parameter| u32::try_from(parameter).ok());
    let stop = BugCheck { reason: Reason::from_code(reason?)?, own: own?, enumerated: enumerated? };
    (code == BUGCHECK_CODE).then_some(stop)
}

/// Returns seconds since 1970 of a time in 100 ns since 1601, both UTC.
#[must_use]
pub const fn unix_time(time: u64) -> u64 {
    /// From 1601 to 1970, in seconds.
    const EPOCHS: u64 = 11_644_473_600;
    (time / 10_000_000).saturating_sub(EPOCHS)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn dump(code: u32, parameters: [u64; 4], time: u64) -> Vec<u8> {
        let mut bytes = std::vec![0; 0x2000];
        bytes[..8].copy_from_slice(b"PAGEDU64");
        bytes[0x38..0x3C].copy_from_slice(&code.to_le_bytes());
        for (n, parameter) in parameters.iter().enumerate() {
            bytes[0x40 + 8 * n..][..8].copy_from_slice(&parameter.to_le_bytes());
        }
        bytes[0xFA8..0xFB0].copy_from_slice(&time.to_le_bytes());
        bytes
    }

    /// 2027-01-15 08:00 UTC.
    const AT: u64 = 1_800_000_000;
    const TIME: u64 = (AT + 11_644_473_600) * 10_000_000;

    #[test]
    fn a_stop_of_the_guards_is_read() {
        let stop = BugCheck { reason: Reason::AliasExposed, own: 1, enumerated: 2 };
        let bytes = dump(BUGCHECK_CODE, [0x50, 1, 2, 0xFFFF_F800_0000_1000], TIME);
        assert_eq!(Stopped::parse(&bytes), Some(Stopped { stop, at: AT }));
        assert_eq!(Stopped::parse(&bytes[..SIZE]), Some(Stopped { stop, at: AT }));
        assert_eq!(Stopped::parse(&bytes[..SIZE - 1]), None);
    }

    #[test]
    fn what_is_another_s_is_left_alone() {
        assert_eq!(Stopped::parse(&dump(0x7B, [0x50, 1, 2, 0], TIME)), None);
        // Older suites stop with the same code, and other parameters.
        assert_eq!(Stopped::parse(&dump(BUGCHECK_CODE, [0xFFFF_F800_0000_1000, 1, 2, 0], TIME)), None);
        assert_eq!(Stopped::parse(&dump(BUGCHECK_CODE, [0x4F, 1, 2, 0], TIME)), None);
        let mut page_file = dump(BUGCHECK_CODE, [0x50, 1, 2, 0], TIME);
        page_file[..8].fill(0);
        assert_eq!(Stopped::parse(&page_file), None);
    }

    #[test]
    fn an_older_dump_is_not_the_end_of_this_boot() {
        let stop = BugCheck { reason: Reason::AliasExposed, own: 1, enumerated: 2 };
        let stopped = Stopped { stop, at: AT };
        assert!(stopped.ends(AT - 10) && stopped.ends(AT + 3600));
        assert!(!stopped.ends(AT + 25 * 3600));
    }
}
