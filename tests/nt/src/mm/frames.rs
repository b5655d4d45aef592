//! The page frame allocator: one bit per frame, set while the frame is free.

use core::slice;

use super::{PAGE_SIZE, direct};
use crate::boot::multiboot::Range;
use crate::ke::Lock;

struct Frames {
    /// Bit set: free. Covers frames from 0.
    free: &'static mut [u64],
    /// Start of the next search, in words.
    hint: usize,
    available: usize,
}

static FRAMES: Lock<Frames> = Lock::new(Frames { free: &mut [], hint: 0, available: 0 });

/// Lowest frame that is ever given out: below it are BIOS structures and the loader with its information.
const LOWEST: u64 = 0x20_0000;
/// Memory that the boot page tables map, and so all that is used.
pub(crate) const BOOT_MAPPED: u64 = 1 << 30;

/// Takes the usable memory over. `taken` are ranges in use already (the image, the archive).
///
/// # Safety
/// Called once; `memory` is what the firmware gave, mapped below [`BOOT_MAPPED`].
pub(crate) unsafe fn init(memory: impl Iterator<Item = Range> + Clone, taken: &[Range]) {
    let top = memory.clone().map(|range| range.end).max().unwrap_or(0).min(BOOT_MAPPED);
    let words = (top / PAGE_SIZE as u64).div_ceil(64) as usize;
    let bytes = (words * 8).next_multiple_of(PAGE_SIZE) as u64;
    let overlaps = |start: u64, end: u64| taken.iter().find(|t| start < t.end && t.start < end);
    // The bitmap itself goes into the first gap that is large enough.
    let home = memory.clone().find_map(|range| {
        let mut start = range.start.max(LOWEST).next_multiple_of(PAGE_SIZE as u64);
        while let Some(hit) = overlaps(start, start + bytes) {
            start = hit.end.next_multiple_of(PAGE_SIZE as u64);
        }
        (start + bytes <= range.end.min(top)).then_some(start)
    });
    let home = home.expect("no memory for the frame bitmap");
    // SAFETY: by this function's contract, it is called once; `memory` is what the firmware gave, mapped below
    // [`BOOT_MAPPED`].
    let free = unsafe { slice::from_raw_parts_mut(direct(home) as *mut u64, words) };
    free.fill(0);
    let mut available = 0;
    for range in memory {
        let start = range.start.max(LOWEST).div_ceil(PAGE_SIZE as u64);
        let end = range.end.min(top) / PAGE_SIZE as u64;
        for frame in start..end {
            let address = frame * PAGE_SIZE as u64;
            let next = address + PAGE_SIZE as u64;
            if overlaps(address, next).is_none() && !(address < home + bytes && home < next) {
                free[(frame / 64) as usize] |= 1 << (frame % 64);
                available += 1;
            }
        }
    }
    *FRAMES.lock() = Frames { free, hint: 0, available };
}

/// Takes a free frame. Returns its physical address. Its contents are undefined.
pub(crate) fn allocate() -> Option<u64> {
    let mut frames = FRAMES.lock();
    let words = frames.free.len();
    let hint = frames.hint;
    let word = (hint..words).chain(0..hint).find(|&w| frames.free[w] != 0)?;
    let bit = frames.free[word].trailing_zeros();
    frames.free[word] &= !(1 << bit);
    frames.hint = word;
    frames.available -= 1;
    Some((word as u64 * 64 + u64::from(bit)) * PAGE_SIZE as u64)
}

/// Takes `count` contiguous free frames that end at or below `highest`. Returns their physical address.
pub(crate) fn allocate_contiguous(count: usize, highest: u64) -> Option<u64> {
    let mut frames = FRAMES.lock();
    let limit = (frames.free.len() * 64).min((highest / PAGE_SIZE as u64 + 1) as usize);
    let is_free = |free: &[u64], frame: usize| free[frame / 64] & 1 << (frame % 64) != 0;
    let mut run = 0;
    for frame in 0..limit {
        if frame % 64 == 0 && run == 0 && frames.free[frame / 64] == 0 {
            continue;
        }
        run = if is_free(frames.free, frame) { run + 1 } else { 0 };
        if run == count {
            let first = frame + 1 - count;
            for taken in first..=frame {
                frames.free[taken / 64] &= !(1 << (taken % 64));
            }
            frames.available -= count;
            return Some((first * PAGE_SIZE) as u64);
        }
    }
    None
}

/// Gives frames back.
pub(crate) fn free(address: u64, count: usize) {
    let mut frames = FRAMES.lock();
    let first = (address / PAGE_SIZE as u64) as usize;
    for frame in first..first + count {
        let (word, bit) = (frame / 64, 1 << (frame % 64));
        assert!(frames.free[word] & bit == 0, "frame {frame:#x} freed twice");
        frames.free[word] |= bit;
    }
    frames.hint = frames.hint.min(first / 64);
    frames.available += count;
}

/// Returns the number of free frames.
pub(crate) fn available() -> usize {
    FRAMES.lock().available
}
