//! Names below `/dev/mapper`.
//!
//! LVM names its volumes there `group-volume`, with each dash of a name doubled, so that a single dash separates. A
//! partition is named behind its disk: `disk-part1`, or `disk1` by kpartx, which puts a `p` between two digits. A
//! name that may mean a volume and a partition has both readings.

use super::{Hash, READINGS, Reading, kernel_partition, trailing_number};

/// Returns the readings of a name below `/dev/mapper`.
pub(super) fn readings(name: &[u8]) -> [Option<Reading>; READINGS] {
    let whole = Reading { hash: hash(name), partition: 0 };
    let part = |disk, partition| Reading { hash: hash(disk), partition };
    if let Some((disk, partition)) = dashed_partition(name) {
        // No volume's name has two single dashes.
        let volume = separator(disk).is_none().then_some(whole);
        return [Some(part(disk, partition)), volume, None];
    }
    let (stem, Some(partition)) = trailing_number(name) else { return [Some(whole), None, None] };
    if let Some((disk, partition)) = kernel_partition(name) {
        return [Some(Reading { hash: Hash::of(&[b"dev", disk]).0, partition }), Some(whole), None];
    }
    let plain = is_lettered(stem).then(|| part(stem, partition));
    let behind_p = stem
        .strip_suffix(b"p")
        .filter(|disk| disk.last().is_some_and(u8::is_ascii_digit) || is_lettered(disk));
    [Some(whole), plain, behind_p.map(|disk| part(disk, partition))]
}

/// Returns the disk and the number of `disk-part1`. A dash that is one of two belongs to a volume's name, if the
/// name is a volume's.
fn dashed_partition(name: &[u8]) -> Option<(&[u8], u32)> {
    let (stem, number) = trailing_number(name);
    let disk = stem.strip_suffix(b"-part").filter(|disk| !disk.is_empty())?;
    let before = disk.iter().rev().take_while(|byte| **byte == b'-').count();
    let single = before.is_multiple_of(2) || separator(name).is_none();
    number.filter(|_| single).map(|number| (disk, number))
}

/// Returns true for a disk that multipath has named: `mpatha`.
fn is_lettered(disk: &[u8]) -> bool {
    disk.strip_prefix(b"mpath")
        .is_some_and(|letters| !letters.is_empty() && letters.iter().all(u8::is_ascii_lowercase))
}

/// Returns the place of the first dash that is not doubled.
fn separator(name: &[u8]) -> Option<usize> {
    let dash = |from: usize| Some(from + name.get(from..)?.iter().position(|byte| *byte == b'-')?);
    let mut at = dash(0)?;
    while name[at..].starts_with(b"--") {
        at = dash(at + 2)?;
    }
    Some(at)
}

/// Returns the group and the volume of `group-volume`, as they stand there.
fn logical_volume(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = separator(name)?;
    let (group, volume) = (&name[..at], &name[at + 1..]);
    let one = !group.is_empty() && !volume.is_empty() && separator(volume).is_none();
    one.then_some((group, volume))
}

/// Returns the hash of a whole device: `/dev/mapper/group-volume` is `/dev/group/volume`.
fn hash(name: &[u8]) -> u128 {
    let Some((group, volume)) = logical_volume(name) else { return Hash::of(&[b"dev", b"mapper", name]).0 };
    let mut hash = Hash::of(&[b"dev"]);
    hash.undashed(group);
    hash.undashed(volume);
    hash.0
}
