//! The workloads.

use crate::block::BLOCK;

/// Nothing below this is touched: the sector that would hold a partition table stays as it is.
pub const START: u64 = 1 << 20;
/// The largest queue.
pub const MAX_DEPTH: usize = 128;
/// The largest request in bytes.
pub const MAX_BYTES: u32 = 1 << 20;

/// One way to use a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Name in reports.
    pub name: &'static str,
    /// Writes instead of reads.
    pub write: bool,
    /// In an order that jumps, instead of from the start upwards.
    pub random: bool,
    /// Bytes of a request.
    pub bytes: u32,
    /// Requests in flight.
    pub depth: usize,
}

const fn sequential(name: &'static str, bytes: u32, write: bool) -> Workload {
    Workload { name, write, random: false, bytes, depth: 1 }
}

const fn random(name: &'static str, depth: usize, write: bool) -> Workload {
    Workload { name, write, random: true, bytes: 4096, depth }
}

/// Every workload, in the order of the runs.
pub const ALL: [Workload; 14] = [
    sequential("seq-64k-read", 64 << 10, false),
    sequential("seq-1m-read", 1 << 20, false),
    random("rand-4k-d1-read", 1, false),
    random("rand-4k-d2-read", 2, false),
    random("rand-4k-d4-read", 4, false),
    random("rand-4k-d8-read", 8, false),
    random("rand-4k-d16-read", 16, false),
    random("rand-4k-d32-read", 32, false),
    random("rand-4k-d64-read", 64, false),
    random("rand-4k-d128-read", 128, false),
    sequential("seq-64k-write", 64 << 10, true),
    sequential("seq-1m-write", 1 << 20, true),
    random("rand-4k-d1-write", 1, true),
    random("rand-4k-d32-write", 32, true),
];

/// Returns the bytes of the largest request that a slot of the queue ever has: large ones come one at a time.
pub const fn buffer_bytes(slot: usize) -> u32 {
    let (mut most, mut at) = (0, 0);
    while at < ALL.len() {
        if slot < ALL[at].depth && ALL[at].bytes > most {
            most = ALL[at].bytes;
        }
        at += 1;
    }
    most
}

impl Workload {
    /// Returns the workload of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|workload| workload.name == name)
    }

    /// Returns the number of requests until one repeats, on a disk of this many bytes; 0 if none fits.
    pub fn period(&self, disk: u64) -> u64 {
        disk.saturating_sub(START) / u64::from(self.bytes)
    }

    /// Returns the byte offset of the `index`th request on a disk of this many bytes, at least one of which
    /// fits.
    pub fn offset(&self, index: u64, disk: u64) -> u64 {
        let (period, bytes) = (self.period(disk), u64::from(self.bytes));
        let at = index % period;
        let at = if self.random { scatter(at, period) } else { at };
        START + at * bytes
    }

    /// Blocks of a request.
    pub fn blocks(&self) -> u64 {
        u64::from(self.bytes) / BLOCK as u64
    }
}

/// Returns a permutation of `0..period`: a linear congruential step over the next power of two, which has
/// full period (Hull and Dobell: odd increment, multiplier 1 mod 4), walked until it falls inside.
fn scatter(index: u64, period: u64) -> u64 {
    let mask = period.next_power_of_two() - 1;
    let mut at = index;
    loop {
        // Odd multipliers and shifts are permutations of the residues.
        at = at.wrapping_mul(0x2545_F491_4F6C_DD1D) & mask;
        at ^= at >> (mask.count_ones() / 2).max(1);
        at = at.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x7F4A_7C15) & mask;
        if at < period {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_request_is_on_the_disk_and_none_comes_twice() {
        for disk in [START + MAX_BYTES as u64, 12 << 20, (12 << 20) + 4096 * 3] {
            for workload in &ALL {
                let period = workload.period(disk);
                let offsets: HashSet<_> = (0..period).map(|index| workload.offset(index, disk)).collect();
                assert_eq!(offsets.len() as u64, period, "{}", workload.name);
                assert!(offsets.iter().all(|&at| at >= START && at + u64::from(workload.bytes) <= disk));
                assert!(offsets.iter().all(|&at| at % 4096 == 0));
                assert_eq!(workload.offset(period, disk), workload.offset(0, disk));
            }
        }
    }

    #[test]
    fn random_is_not_sequential() {
        let workload = Workload::named("rand-4k-d1-read").expect("it is there");
        let neighbours = (0..1000)
            .filter(|&index| {
                workload.offset(index, 32 << 20).abs_diff(workload.offset(index + 1, 32 << 20)) <= 4096
            })
            .count();
        assert!(neighbours < 20, "{neighbours} of 1000 requests lie beside the one before");
    }

    #[test]
    fn names_and_limits_hold() {
        let names: HashSet<_> = ALL.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|workload| workload.depth <= MAX_DEPTH && workload.bytes <= MAX_BYTES));
        assert_eq!([0, 1, MAX_DEPTH - 1, MAX_DEPTH].map(buffer_bytes), [MAX_BYTES, 4096, 4096, 0]);
    }
}
