//! Makes log files for hives, for tests: as Windows leaves them when it stops between log file and hive.

use alloc::{vec, vec::Vec};

use super::put;
use crate::{base_block, replay::marvin};

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// Returns a hive of which a write has begun and not ended: its primary sequence number is one ahead.
///
/// # Panics
/// The hive is shorter than a base block.
#[must_use]
pub fn dirty(hive: &[u8], sequence: u32) -> Vec<u8> {
    let mut hive = hive.to_vec();
    put(&mut hive, 4, sequence + 1);
    put(&mut hive, 8, sequence);
    close(&mut hive);
    hive
}

/// Returns a hive with another time of its last write, in the base block and in the first bin.
///
/// # Panics
/// The hive is shorter than a base block and a bin's header.
#[must_use]
pub fn at_time(hive: &[u8], time: u64) -> Vec<u8> {
    let mut hive = hive.to_vec();
    hive[12..20].copy_from_slice(&time.to_le_bytes());
    hive[PAGE + 20..PAGE + 28].copy_from_slice(&time.to_le_bytes());
    close(&mut hive);
    hive
}

/// Returns a log file of the newer format: one entry from each state of the hive to the next.
///
/// # Panics
/// A hive is shorter than a base block.
#[must_use]
pub fn of_entries(states: &[&[u8]], sequence: u32) -> Vec<u8> {
    let mut log = base(states[0], sequence, 6);
    for (number, pair) in (sequence..).zip(states.windows(2)) {
        log.extend(entry(&pair[0][PAGE..], &pair[1][PAGE..], number));
    }
    log
}

/// Returns a log file of the older format: the pages of `new` that differ from those of `old`.
///
/// # Panics
/// A hive is shorter than a base block.
#[must_use]
pub fn of_dirty_pages(old: &[u8], new: &[u8], sequence: u32) -> Vec<u8> {
    let mut log = base(new, sequence, 1);
    log.extend(b"DIRT");
    let (old, new) = (&old[PAGE..], &new[PAGE..]);
    let pages = differing(old, new);
    for page in 0..new.len() / PAGE {
        log.push(if pages.contains(&page) { 0xff } else { 0 });
    }
    log.resize(log.len().next_multiple_of(SECTOR), 0);
    for page in pages {
        log.extend(&new[page * PAGE..(page + 1) * PAGE]);
    }
    log
}

/// Returns the first sector: a copy of the hive's, with another type.
fn base(hive: &[u8], sequence: u32, file_type: u32) -> Vec<u8> {
    let mut base = hive[..SECTOR].to_vec();
    put(&mut base, 4, sequence);
    put(&mut base, 8, sequence);
    put(&mut base, 28, file_type);
    close(&mut base);
    base
}

/// Makes the checksum of a hive or a log file right, and the hashes of the log entries in it.
pub fn put_right(file: &mut [u8]) {
    if file.len() < SECTOR {
        return;
    }
    close(file);
    let mut rest = &mut file[SECTOR..];
    while rest.len() >= SECTOR && rest.starts_with(b"HvLE") {
        let size = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
        if size < SECTOR || size > rest.len() {
            return;
        }
        let (entry, behind) = rest.split_at_mut(size);
        put_hashes(entry);
        rest = behind;
    }
}

fn entry(old: &[u8], new: &[u8], sequence: u32) -> Vec<u8> {
    let pages = differing(old, new);
    let mut entry = vec![0; 40];
    entry[..4].copy_from_slice(b"HvLE");
    for page in &pages {
        entry.extend(((page * PAGE) as u32).to_le_bytes());
        entry.extend((PAGE as u32).to_le_bytes());
    }
    for page in &pages {
        entry.extend(&new[page * PAGE..(page + 1) * PAGE]);
    }
    entry.resize(entry.len().next_multiple_of(SECTOR), 0);
    let size = entry.len() as u32;
    for (at, field) in [(4, size), (12, sequence), (16, new.len() as u32), (20, pages.len() as u32)] {
        put(&mut entry, at, field);
    }
    put_hashes(&mut entry);
    entry
}

fn put_hashes(entry: &mut [u8]) {
    for (at, hashed) in [(24, 40..entry.len()), (32, 0..32)] {
        let hash = marvin::hash(entry[hashed].as_chunks().0);
        entry[at..at + 8].copy_from_slice(&hash.to_le_bytes());
    }
}

/// Returns the pages of `new` that `old` has otherwise, or not at all.
fn differing(old: &[u8], new: &[u8]) -> Vec<usize> {
    let page = |bytes: &'_ [u8], n: usize| bytes.get(n * PAGE..(n + 1) * PAGE).map(<[u8]>::to_vec);
    (0..new.len() / PAGE).filter(|&n| page(old, n) != page(new, n)).collect()
}

fn close(base: &mut [u8]) {
    let sum = base_block::checksum(base);
    put(base, 508, sum);
}
