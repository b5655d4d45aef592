//! `MmMapIoSpace`, `MmUnmapIoSpace`, `MmGetPhysicalAddress`.

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::null_mut;

use super::space::MAPPINGS;
use super::{PAGE_SIZE, map};
use crate::nt::{PhysicalAddress, Pvoid};

/// `MmNonCached`, `MmCached`.
pub(crate) const MM_NON_CACHED: u32 = 0;
pub(crate) const MM_CACHED: u32 = 1;

fn span(address: usize, bytes: usize) -> usize {
    (address % PAGE_SIZE + bytes).div_ceil(PAGE_SIZE)
}

/// Maps a physical range, of a device or of memory. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// The caller may access the range.
pub(crate) unsafe extern "win64" fn MmMapIoSpace(
    address: PhysicalAddress,
    bytes: usize,
    cache: u32,
) -> Pvoid {
    if bytes == 0 {
        return null_mut();
    }
    let pages = span(address as usize, bytes);
    let start = MAPPINGS.reserve(pages);
    let cache = if cache == MM_NON_CACHED { map::UNCACHED } else { 0 };
    let first = address as u64 & !(PAGE_SIZE as u64 - 1);
    // SAFETY: by this function's contract, the caller may access the range.
    unsafe {
        for page in 0..pages {
            map::map(
                start + page * PAGE_SIZE,
                first + (page * PAGE_SIZE) as u64,
                map::EXECUTE_READ_WRITE | cache,
            );
        }
    }
    (start + address as usize % PAGE_SIZE) as Pvoid
}

/// Removes a mapping made by [`MmMapIoSpace`]. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `base` and `bytes` are those of the mapping, which is not used any more.
pub(crate) unsafe extern "win64" fn MmUnmapIoSpace(base: Pvoid, bytes: usize) {
    let pages = span(base as usize, bytes);
    let start = base as usize & !(PAGE_SIZE - 1);
    // SAFETY: by this function's contract, `base` and `bytes` are those of the mapping, which is not used
    // any more.
    unsafe {
        for page in 0..pages {
            assert!(
                map::unmap(start + page * PAGE_SIZE).is_some(),
                "MmUnmapIoSpace of {base:p}, which is not mapped"
            );
        }
    }
    MAPPINGS.release(start, pages);
}

/// Calls `run` while every access by a mapping of these physical addresses faults on this processor, and on those that have
/// not reached it since their TLBs were flushed. ≤ `DISPATCH_LEVEL`.
pub(crate) fn hidden<T>(physical: Range<u64>, run: impl FnOnce() -> T) -> T {
    let mappings: Vec<(usize, u64)> = MAPPINGS
        .handed_out()
        .filter(|&page| map::translate(page).is_some_and(|address| physical.contains(&address)))
        .map(|page| (page, map::protection(page)))
        .collect();
    // SAFETY: whoever does not keep away from the page is to fault.
    mappings.iter().for_each(|&(page, _)| unsafe { map::protect(page, 0) });
    let result = run();
    // SAFETY: as it was.
    mappings.iter().for_each(|&(page, protection)| unsafe { map::protect(page, protection) });
    result
}

/// Returns the physical address behind a virtual one; 0 if there is none. Any IRQL.
pub(crate) extern "win64" fn MmGetPhysicalAddress(address: Pvoid) -> PhysicalAddress {
    map::translate(address as usize).unwrap_or(0) as PhysicalAddress
}
