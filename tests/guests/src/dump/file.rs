//! The crash dump that a boot wrote through the polled miniport, read back from the disk's image by the host.
//!
//! The executive says only the pattern's seed, when it maps the dump stack (`tests/nt/src/diskdump/file.rs`
//! has the format); all else must be on the disk. The format is written twice on purpose, there and here: a
//! writer's mistake must show in the reader.

use guard::record;
use protocol::Checksum;
use rig::report::Report;

use super::secondary::{data, first_field};
use crate::check::{Check, Differences, Seen};

/// Place of the dump in an image: between the partition table and the first partition, in bytes.
pub(crate) const EXTENT: std::ops::Range<usize> = 64 * 512..2048 * 512;

/// Bytes of DUMP_HEADER64.
const HEADER: usize = 0x2000;
const PAGE: usize = 4096;
/// The GUID of the executive's checksums.
const CHECKSUMS: u128 = 0x9B6A_2B7F << 96;

/// A whole dump, with the bugcheck that ended the boot.
pub(crate) const WHOLE: Check = Check {
    what: "the host reads the dump back: header and bugcheck, every page's checksum, a pattern of a seed of \
           this boot, the guard's two records",
    run: |seen, found| check(seen, Expected::Whole, found),
};

/// Memory that hibernation wrote.
pub(crate) const MEMORY_WRITTEN: Check = Check {
    what: "the host reads the written pages back: every page's checksum, a pattern of a seed of this boot",
    run: |seen, found| check(seen, Expected::Memory, found),
};

/// No dump: the copy of the miniport found no adapter.
pub(crate) const REFUSED: Check = Check {
    what: "the copy of the miniport finds no adapter, and the place of the dump stays empty",
    run: |seen, found| check(seen, Expected::Refused, found),
};

/// No dump: the disk did not answer.
pub(crate) const NO_ANSWER: Check = Check {
    what: "the copy's handshake ends after its 30 s, and the place of the dump stays empty",
    run: |seen, found| check(seen, Expected::Failed, found),
};

fn check(seen: &Seen<'_>, expected: Expected, found: &mut Differences) {
    match &seen.boot.dump {
        Some(extent) => found.extend(differences(extent, &seen.report, seen.report.bugcheck(), expected)),
        None => found.holds("a disk for the dump", false),
    }
}

/// The outcome of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// It is whole.
    Whole,
    /// It is whole, and is that of no bugcheck: what hibernation writes.
    Memory,
    /// There is none: the copy of the miniport found no adapter.
    Refused,
    /// There is none: the disk did not answer.
    Failed,
}

/// Returns the differences from that, for a bugcheck with this code and these parameters, one line each. If
/// there must be no dump, the extent must be untouched.
fn differences(
    extent: &[u8],
    report: &Report,
    bugcheck: Option<[u64; 5]>,
    expected: Expected,
) -> Vec<String> {
    let line = report
        .all(protocol::Line::Dump.name())
        .find(|line| line.get("written").is_some() || line.get("failed").is_some());
    let said = line.map(|line| line.text.clone()).unwrap_or_default();
    let refusal = match expected {
        Expected::Whole | Expected::Memory => None,
        Expected::Refused => Some("failed=find"),
        Expected::Failed => Some("failed=request"),
    };
    if let Some(refusal) = refusal {
        let untouched = extent.iter().all(|byte| *byte == 0);
        return match (said.starts_with(refusal), untouched) {
            (true, true) => Vec::new(),
            _ => vec![format!("crash dump: {said:?}, disk untouched: {untouched}; expected {refusal}")],
        };
    }
    let seed = report.all(protocol::Line::Dump.name()).find_map(|line| line.number("seed"));
    let result = seed.ok_or("no dump was armed".to_owned()).and_then(|seed| {
        let dump = Dump::parse(extent)?;
        if expected == Expected::Memory {
            return dump.check(seed, [0; 5]);
        }
        dump.check(seed, bugcheck.ok_or("there was no bugcheck")?)?;
        dump.check_records(report)
    });
    result.err().map(|error| format!("crash dump: {error}; the guest said {said:?}")).into_iter().collect()
}

/// A dump as it is on the disk.
struct Dump<'a> {
    header: &'a [u8],
    /// The pages' content, and how many are of each run.
    pages: &'a [u8],
    runs: Vec<usize>,
    /// First part of the GUID, and data.
    blobs: Vec<(u32, &'a [u8])>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<u64, String> {
    let found = bytes.get(at..at + N).ok_or(format!("it ends before {at:#x}"))?;
    Ok(found.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

impl<'a> Dump<'a> {
    fn parse(extent: &'a [u8]) -> Result<Self, String> {
        let header = extent.get(..HEADER).ok_or("no room for a header")?;
        if &header[..8] != b"PAGEDU64" {
            return Err("no header".to_owned());
        }
        let count = number::<4>(header, 0x88)? as usize;
        let runs: Vec<usize> = (0..count)
            .map(|n| number::<8>(header, 0xA0 + 16 * n).map(|n| n as usize))
            .collect::<Result<_, _>>()?;
        let total: usize = runs.iter().sum();
        if number::<8>(header, 0x90)? as usize != total {
            return Err(format!("{total} pages in runs, another number in the header"));
        }
        let end = HEADER + total * PAGE;
        let pages = extent.get(HEADER..end).ok_or("the pages end beyond the extent")?;
        let rest = &extent[end..];
        if rest.get(..8) != Some(b"DumpBlob") {
            return Err("no secondary data".to_owned());
        }
        let mut blobs = Vec::new();
        let mut at = number::<4>(rest, 8)? as usize;
        while number::<4>(rest, at).is_ok_and(|size| size == 32) {
            let length = number::<4>(rest, at + 20)? as usize;
            let data = rest.get(at + 32..at + 32 + length).ok_or("a blob ends beyond the extent")?;
            blobs.push((number::<4>(rest, at + 4)? as u32, data));
            at += 32 + length;
        }
        Ok(Self { header, pages, runs, blobs })
    }

    fn blob(&self, guid: u128) -> Option<&'a [u8]> {
        self.blobs.iter().find(|(found, _)| *found == first_field(guid)).map(|(_, data)| *data)
    }

    /// Checks its bugcheck and its pages, whose pattern is that of a seed.
    fn check(&self, seed: u64, bugcheck: [u64; 5]) -> Result<(), String> {
        let mut found = [number::<4>(self.header, 0x38)?, 0, 0, 0, 0];
        for (n, parameter) in found[1..].iter_mut().enumerate() {
            *parameter = number::<8>(self.header, 0x40 + 8 * n)?;
        }
        if found != bugcheck {
            return Err(format!("its bugcheck is {found:x?}, expected {bugcheck:x?}"));
        }
        let sums = self.blob(CHECKSUMS).ok_or("no checksums")?;
        for (n, page) in self.pages.chunks(PAGE).enumerate() {
            let expected = number::<8>(sums, 8 * n)?;
            if Checksum::of(page) != expected {
                return Err(format!("page {n} is not what was written"));
            }
        }
        let patterned = self.runs.first().copied().unwrap_or(0);
        if patterned < 32 || self.runs.len() < 2 {
            return Err(format!("its runs are {:?}", self.runs));
        }
        for (n, bytes) in self.pages[..patterned * PAGE].chunks(8).enumerate() {
            if number::<8>(bytes, 0)? != word(seed, n as u64) {
                return Err(format!("word {n} of the pattern is wrong"));
            }
        }
        Ok(())
    }

    /// Checks the guard's records.
    fn check_records(&self, report: &Report) -> Result<(), String> {
        for guid in [record::EVENTS_DUMP, record::CENSUS_DUMP] {
            let given = data(report, guid);
            if given.is_empty() || self.blob(guid) != Some(&given[..]) {
                return Err(format!("the guard's record {:08x} is not in it", first_field(guid)));
            }
        }
        Ok(())
    }
}

/// Returns the pattern's word of a number.
fn word(seed: u64, number: u64) -> u64 {
    (seed ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0x1234_5679;
    const STOP: [u64; 5] = [0xE2, 0, 0, 0, 0];
    const LINES: [&str; 3] = [
        "@xg dump armed=dump_xenvbd.sys target=0 seed=0x12345679",
        "@xg dumpdata guid=9b6a2b7d at=0 hex=0102",
        "@xg dumpdata guid=9b6a2b7e at=0 hex=03",
    ];

    /// Returns a dump as the executive makes it.
    fn dump() -> Vec<u8> {
        let mut header = vec![0; HEADER];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"PAGEDU64");
        put(0x38, &0xE2u32.to_le_bytes());
        put(0x88, &2u32.to_le_bytes());
        put(0x90, &33u64.to_le_bytes());
        put(0xA0, &32u64.to_le_bytes());
        put(0xB0, &1u64.to_le_bytes());
        let mut pages: Vec<u8> = (0..32 * 512).flat_map(|n| word(SEED, n).to_le_bytes()).collect();
        pages.extend([7; PAGE]);
        let sums: Vec<u8> = pages.chunks(PAGE).flat_map(|page| Checksum::of(page).to_le_bytes()).collect();
        let mut blobs = b"DumpBlob".to_vec();
        blobs.extend([16, 0, 0, 0, 0, 0, 0, 0]);
        for (tag, data) in
            [(record::EVENTS_DUMP, &[1, 2][..]), (record::CENSUS_DUMP, &[3]), (CHECKSUMS, &sums)]
        {
            blobs.extend(32u32.to_le_bytes());
            blobs.extend(first_field(tag).to_le_bytes());
            blobs.extend([0; 12]);
            blobs.extend((data.len() as u32).to_le_bytes());
            blobs.extend([0; 8]);
            blobs.extend(data);
        }
        let mut dump = [header, pages, blobs].concat();
        dump.resize(EXTENT.len(), 0);
        dump
    }

    fn of(dump: &[u8]) -> Vec<String> {
        differences(dump, &Report::parse(LINES), Some(STOP), Expected::Whole)
    }

    #[test]
    fn a_whole_dump_is_found_whole() {
        assert_eq!(of(&dump()), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_is_missed() {
        for (at, what) in [
            (0, "no header"),
            (0x38, "its bugcheck"),
            (HEADER + 5, "page 0"),
            (HEADER + 32 * PAGE, "page 32"),
            (HEADER + 33 * PAGE, "no secondary data"),
            (HEADER + 33 * PAGE + 16 + 32, "the guard's record 9b6a2b7d"),
        ] {
            let mut broken = dump();
            broken[at] ^= 1;
            let found = of(&broken);
            assert!(found.len() == 1 && found[0].contains(what), "{at:#x}: {found:?}");
        }
        let other = differences(&dump(), &Report::parse(LINES), Some([1, 0, 0, 0, 0]), Expected::Whole);
        assert!(other[0].contains("its bugcheck"));
        let nothing = differences(&vec![0; EXTENT.len()], &Report::parse(LINES), Some(STOP), Expected::Whole);
        assert!(nothing[0].contains("no header"));
    }

    #[test]
    fn a_refusal_leaves_nothing() {
        let refused = Report::parse(["@xg dump failed=find answer=0"]);
        let empty = vec![0; EXTENT.len()];
        assert!(differences(&empty, &refused, Some(STOP), Expected::Refused).is_empty());
        assert_eq!(differences(&dump(), &refused, Some(STOP), Expected::Refused).len(), 1);
        let written = Report::parse(["@xg dump written=65536"]);
        assert_eq!(differences(&empty, &written, Some(STOP), Expected::Refused).len(), 1);
    }
}
