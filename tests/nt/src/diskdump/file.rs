//! The dump file: a full dump's header (DUMP_HEADER64 as debuggers read it), pages, and the secondary data.
//!
//! It goes where no file system is, between the partition table and the first partition; on NT it goes into
//! the page file's sectors, which were looked up before. Pages: a pattern that the host knows, which cannot
//! come from anywhere else, and the first pages of the executive's own image. A blob of the executive's has
//! the checksums of all.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::UnsafeCell;

use protocol::Checksum;
use volume::BlockDevice;

use super::port::{self, COMMON_BUFFER, Failure};
use crate::fs;
use crate::ke::clock;
use crate::mm::{PAGE_SIZE, direct, frames, map};
use crate::nt::*;
use crate::storage::cdb;
use crate::storage::srb::Direction;

/// First sector of the dump.
const FIRST: u64 = 64;
/// The first sector of the first partition.
const END: u64 = 2048;
const SECTOR: usize = 512;
/// Bytes of the header.
const HEADER: usize = 0x2000;
/// Pages with the pattern.
const PATTERN: usize = 32;
/// Pages of the executive's image.
const IMAGE: usize = 96;

/// Secondary data: blobs with their headers, behind the head of all.
const BLOBS: usize = 48 << 10;
/// Tag of the executive's checksums: {9B6A2B7F-93F0-4D5C-8E0B-5A5D1C5E7E02}.
const CHECKSUMS: Guid = Guid {
    data1: 0x9B6A_2B7F,
    data2: 0x93F0,
    data3: 0x4D5C,
    data4: [0x8E, 0x0B, 0x5A, 0x5D, 0x1C, 0x5E, 0x7E, 0x02],
};

struct Contents {
    /// Physical addresses of the two runs of pages.
    runs: [(u64, usize); 2],
    blobs: [u8; BLOBS],
    used: usize,
    sums: [u64; PATTERN + IMAGE],
}

struct Place(UnsafeCell<Contents>);
// SAFETY: filled by one thread, then used by one processor with interrupts off.
unsafe impl Sync for Place {}

static CONTENTS: Place = Place(UnsafeCell::new(Contents {
    runs: [(0, 0); 2],
    blobs: [0; BLOBS],
    used: 0,
    sums: [0; PATTERN + IMAGE],
}));

unsafe extern "C" {
    static image_start: u8;
}

/// Returns the pattern's word of a number.
fn word(seed: u64, number: u64) -> u64 {
    (seed ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
}

/// Makes what is to be written; answers the pattern's seed. PASSIVE_LEVEL.
pub(super) fn prepare() -> u64 {
    let seed = clock::tsc() | 1;
    let pattern = frames::allocate_contiguous(PATTERN, u64::MAX).expect("memory for a pattern");
    // SAFETY: frames just allocated, reached through the direct map; no dump is being written.
    unsafe {
        let words = core::slice::from_raw_parts_mut(direct(pattern) as *mut u64, PATTERN * PAGE_SIZE / 8);
        words.iter_mut().zip(0..).for_each(|(place, number)| *place = word(seed, number));
        let image = map::translate(&raw const image_start as usize).expect("the image is mapped");
        let contents = &mut *CONTENTS.0.get();
        contents.runs = [(pattern, PATTERN), (image & !(PAGE_SIZE as u64 - 1), IMAGE)];
        // DUMP_BLOB_FILE_HEADER: signatures, its size, the build.
        contents.blobs[..8].copy_from_slice(b"DumpBlob");
        contents.blobs[8..12].copy_from_slice(&16u32.to_le_bytes());
        contents.blobs[12..16].copy_from_slice(&3790u32.to_le_bytes());
        contents.used = 16;
    }
    seed
}

/// Keeps secondary data for the dump. Any IRQL, one processor.
///
/// # Safety
/// Nothing else runs any more.
pub(crate) unsafe fn secondary_data(tag: &Guid, data: &[u8]) {
    // SAFETY: by this function's contract, nothing else runs any more.
    let contents = unsafe { &mut *CONTENTS.0.get() };
    // DUMP_BLOB_HEADER: its size, tag, size of the data, padding before and behind.
    let end = contents.used + 32 + data.len();
    if contents.used == 0 || end > BLOBS {
        return;
    }
    let place = &mut contents.blobs[contents.used..end];
    place[..4].copy_from_slice(&32u32.to_le_bytes());
    place[4..8].copy_from_slice(&tag.data1.to_le_bytes());
    place[8..10].copy_from_slice(&tag.data2.to_le_bytes());
    place[10..12].copy_from_slice(&tag.data3.to_le_bytes());
    place[12..20].copy_from_slice(&tag.data4);
    place[20..24].copy_from_slice(&(data.len() as u32).to_le_bytes());
    place[24..32].fill(0);
    place[32..].copy_from_slice(data);
    contents.used = end;
}

/// Writes what the common buffer holds at a sector.
unsafe fn put(sector: u64, bytes: usize) -> Result<(), Failure> {
    if sector + (bytes / SECTOR) as u64 > END {
        return Err(Failure::NoRoom);
    }
    let (command, length) = cdb::transfer(true, sector, (bytes / SECTOR) as u32);
    // SAFETY: the dump stack has one user, and the common buffer has `bytes` bytes.
    unsafe { port::execute(&command[..length], Direction::Out, bytes) }
}

/// Writes it all; the header last, since it says that the rest is there. Answers the bytes written.
/// HIGH_LEVEL.
///
/// # Safety
/// After [`port::start`], which answered the disk's last block.
pub(super) unsafe fn write(code: u32, parameters: [usize; 4], last: u32) -> Result<u64, Failure> {
    if u64::from(last) < END {
        return Err(Failure::NoRoom);
    }
    // SAFETY: by this function's contract, after [`port::start`], which answered the disk's last block.
    unsafe {
        let contents = &mut *CONTENTS.0.get();
        let mut sector = FIRST + (HEADER / SECTOR) as u64;
        let mut number = 0;
        for (start, pages) in contents.runs {
            let mut done = 0;
            while done < pages {
                let count = (pages - done).min(COMMON_BUFFER / PAGE_SIZE);
                for page in 0..count {
                    let place = &mut port::buffer()[page * PAGE_SIZE..][..PAGE_SIZE];
                    place.copy_from_slice(port::page(start + ((done + page) * PAGE_SIZE) as u64));
                    contents.sums[number] = Checksum::of(place);
                    number += 1;
                }
                put(sector, count * PAGE_SIZE)?;
                sector += (count * PAGE_SIZE / SECTOR) as u64;
                done += count;
            }
        }
        let sums =
            core::slice::from_raw_parts(contents.sums.as_ptr().cast::<u8>(), size_of_val(&contents.sums));
        secondary_data(&CHECKSUMS, sums);
        let bytes = contents.used.next_multiple_of(SECTOR);
        port::buffer()[..bytes].fill(0);
        port::buffer()[..contents.used].copy_from_slice(&contents.blobs[..contents.used]);
        put(sector, bytes)?;
        sector += (bytes / SECTOR) as u64;
        header(code, parameters, &contents.runs);
        put(FIRST, HEADER)?;
        port::synchronize()?;
        Ok((sector - FIRST) * SECTOR as u64)
    }
}

/// Puts the header into the common buffer (offsets of DUMP_HEADER64, a full dump).
unsafe fn header(code: u32, parameters: [usize; 4], runs: &[(u64, usize)]) {
    // SAFETY: the common buffer has one user: the dump that is being written.
    let bytes = unsafe { &mut port::buffer()[..HEADER] };
    bytes.fill(0);
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"PAGEDU64");
    put(0x08, &0xFu32.to_le_bytes());
    put(0x0C, &3790u32.to_le_bytes());
    put(0x10, &map::root().to_le_bytes());
    put(0x30, &0x8664u32.to_le_bytes());
    put(0x34, &1u32.to_le_bytes());
    put(0x38, &code.to_le_bytes());
    for (n, parameter) in parameters.iter().enumerate() {
        put(0x40 + 8 * n, &(*parameter as u64).to_le_bytes());
    }
    put(0x88, &(runs.len() as u32).to_le_bytes());
    let pages: usize = runs.iter().map(|run| run.1).sum();
    put(0x90, &(pages as u64).to_le_bytes());
    for (n, (start, count)) in runs.iter().enumerate() {
        put(0x98 + 16 * n, &(start / PAGE_SIZE as u64).to_le_bytes());
        put(0xA0 + 16 * n, &(*count as u64).to_le_bytes());
    }
    put(0xF98, &1u32.to_le_bytes());
    put(0xFA8, &clock::system_time().to_le_bytes());
}

/// Takes the header of a dump that an earlier boot left off the disk; `None` where there is none. PASSIVE_LEVEL.
pub(super) fn take() -> Option<Vec<u8>> {
    let text: Vec<u16> = "\\Device\\Harddisk0\\DR0".encode_utf16().collect();
    let bytes = (text.len() * 2) as u16;
    let mut name = UnicodeString { length: bytes, maximum_length: bytes, buffer: text.as_ptr().cast_mut() };
    // SAFETY: the string is valid for the call.
    let mut disk = unsafe { fs::Device::open(&raw mut name) }.ok()?;
    let mut head = vec![0; HEADER];
    disk.read(FIRST, &mut head).ok()?;
    if !head.starts_with(b"PAGEDU64") {
        return None;
    }
    // So that the next boot does not take it for another one.
    disk.write(FIRST, &[0; SECTOR]).and_then(|()| disk.flush()).ok()?;
    Some(head)
}
