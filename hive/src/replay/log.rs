//! Log files: their base block, and the pages that they hold.

use alloc::vec::Vec;
use core::mem::offset_of;
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

use super::marvin;
use crate::{Error, base_block::Layout};

/// Unit of everything in a log file, and of the pages of the older format.
pub(super) const SECTOR: usize = 512;
/// Unit of an entry's dirty pages and of a hive's bins.
const PAGE: u32 = 4096;

/// A page to be written, at an offset from the end of the base block.
pub(super) type Page<'a> = (u32, &'a [u8]);

/// A log file whose base block is checked.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    file: &'a [u8],
    pub base: &'a Layout,
    pub format: Format,
}

/// Format of a log file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Up to Windows 8: the pages of the last write, marked in a dirty vector.
    Old,
    /// From Windows 8.1 on: log entries.
    New,
}

impl<'a> Log<'a> {
    /// Reads a log file's base block, of which the file has the first sector only.
    pub(super) fn read(file: &'a [u8]) -> Result<Log<'a>, Error> {
        let base = Layout::of(file)?;
        base.check_checksum(file)?;
        base.check_version()?;
        let format = match base.file_type.get() {
            1 | 2 => Format::Old,
            6 => Format::New,
            other => {
                let at = offset_of!(Layout, file_type);
                return Err(Error::number(at, "file type 1, 2 or 6 (a log file)", other.into()));
            }
        };
        let (primary, secondary) = base.sequences();
        if primary != secondary {
            let expected = "two equal sequence numbers (the log file was written to its end)";
            return Err(Error { expected, ..Error::unreplayed(primary, secondary) });
        }
        Ok(Log { file, base, format })
    }

    /// Returns its sequence number; in the newer format that of its first entry.
    pub(super) fn sequence(&self) -> u32 {
        self.base.sequences().0
    }

    /// Returns the size of a sector of the disk that the older format was written for.
    fn sector(&self) -> Result<usize, Error> {
        match self.base.clustering.get() {
            factor @ 1..=8 => Ok(factor as usize * SECTOR),
            factor => {
                let at = offset_of!(Layout, clustering);
                Err(Error::number(at, "a clustering factor of 1 to 8", factor.into()))
            }
        }
    }

    /// Returns the pages of the older format.
    pub(super) fn dirty_pages(&self) -> Result<Vec<Page<'a>>, Error> {
        let sector = self.sector()?;
        let signature = self.file.get(sector..sector + 4).ok_or(Error::end(sector, "a dirty vector"))?;
        if signature != b"DIRT" {
            let found = signature.try_into().unwrap_or_default();
            return Err(Error::signature(sector, "\"DIRT\"", found));
        }
        let bins = self.base.bins_size.get();
        if !bins.is_multiple_of(PAGE) {
            let at = offset_of!(Layout, bins_size);
            return Err(Error::number(at, "a size of all bins that is a multiple of 4096", bins.into()));
        }
        // One bit for each 512 bytes, so one byte for each 4096.
        let length = (bins / PAGE) as usize;
        let start = sector + signature.len();
        let bitmap = self
            .file
            .get(start..start.saturating_add(length))
            .ok_or(Error::end(self.file.len(), "a dirty vector as long as the bins need"))?;
        let mut at = (start + length).next_multiple_of(sector);
        let mut pages = Vec::new();
        for (byte, bits) in bitmap.iter().enumerate() {
            for bit in (0..8).filter(|bit| bits & (1 << bit) != 0) {
                let page = self
                    .file
                    .get(at..at + SECTOR)
                    .ok_or(Error::end(self.file.len(), "a dirty page for each bit of the dirty vector"))?;
                pages.push((((byte * 8 + bit) * SECTOR) as u32, page));
                at += SECTOR;
            }
        }
        Ok(pages)
    }

    /// Returns the entries of the newer format that follow each other, from the first on. The error says why
    /// the next one is none; what stands there is often the rest of an older life.
    pub(super) fn entries(&self) -> (Vec<Entry<'a>>, Error) {
        let mut entries = Vec::new();
        let (mut at, mut sequence) = (SECTOR, self.sequence());
        loop {
            match Entry::read(self.file, at, sequence) {
                Ok(entry) => {
                    at += entry.size;
                    sequence = sequence.wrapping_add(1);
                    entries.push(entry);
                }
                Err(error) => return (entries, error),
            }
        }
    }
}

/// The header of a log entry.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    size: U32,
    flags: U32,
    sequence: U32,
    bins_size: U32,
    pages: U32,
    hash_of_rest: U64,
    hash_of_header: U64,
}

const _: () = assert!(size_of::<Header>() == 40);

/// The place of one page of a log entry.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Reference {
    offset: U32,
    size: U32,
}

/// A log entry whose hashes are right.
pub(super) struct Entry<'a> {
    size: usize,
    /// The bit 0 of the hive's flags.
    pub locked: bool,
    pub sequence: u32,
    pub bins_size: u32,
    pub pages: Vec<Page<'a>>,
}

impl<'a> Entry<'a> {
    fn read(file: &'a [u8], at: usize, sequence: u32) -> Result<Entry<'a>, Error> {
        let rest = file.get(at..).unwrap_or_default();
        let (header, _) = Header::ref_from_prefix(rest).map_err(|_| Error::end(at, "a log entry"))?;
        if &header.signature != b"HvLE" {
            return Err(Error::signature(at, "\"HvLE\" (a log entry)", header.signature));
        }
        let number = |field: usize, good: bool, expected, found: u64| {
            if good { Ok(()) } else { Err(Error::number(at + field, expected, found)) }
        };
        let size = header.size.get();
        let whole = size as usize >= size_of::<Header>() && (size as usize).is_multiple_of(SECTOR);
        number(4, whole, "an entry's size: a multiple of 512", size.into())?;
        let entry =
            rest.get(..size as usize).ok_or(Error::end(file.len(), "a log entry as long as it says"))?;
        number(
            12,
            header.sequence.get() == sequence,
            "the sequence number behind the last one",
            header.sequence.get().into(),
        )?;
        let bins_size = header.bins_size.get();
        let whole = bins_size != 0 && bins_size.is_multiple_of(PAGE);
        number(16, whole, "a size of all bins that is a multiple of 4096", bins_size.into())?;
        let hash = |range: core::ops::Range<usize>| marvin::hash(entry[range].as_chunks().0);
        let (first, second) = (header.hash_of_rest.get(), header.hash_of_header.get());
        number(24, hash(40..entry.len()) == first, "the hash of the entry's pages", first)?;
        number(32, hash(0..32) == second, "the hash of the entry's header", second)?;

        let content = &entry[size_of::<Header>()..];
        let ends = || Error::end(at + entry.len(), "as many pages as the entry says");
        let length = (header.pages.get() as usize).saturating_mul(size_of::<Reference>());
        let (references, mut rest) = content.split_at_checked(length).ok_or_else(ends)?;
        let references = <[Reference]>::ref_from_bytes(references).map_err(|_| ends())?;
        let mut pages = Vec::with_capacity(references.len());
        for reference in references {
            let (offset, size) = (reference.offset.get(), reference.size.get());
            let inside = offset.checked_add(size).is_some_and(|end| end <= bins_size);
            number(40, inside, "pages inside the bins", offset.into())?;
            let (page, behind) = rest.split_at_checked(size as usize).ok_or_else(ends)?;
            pages.push((offset, page));
            rest = behind;
        }
        let locked = header.flags.get() & 1 != 0;
        Ok(Entry { size: entry.len(), locked, sequence, bins_size, pages })
    }
}
