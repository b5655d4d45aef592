//! Physically contiguous memory.

use alloc::collections::BTreeMap;
use core::ptr::null_mut;

use super::{PAGE_SIZE, direct, frames, physical};
use crate::ke::Lock;
use crate::nt::{PhysicalAddress, Pvoid};

/// Pages of each allocation, by its address.
static ALLOCATED: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

/// Allocates physically contiguous, page-aligned memory below `highest`. IRQL ≤ `DISPATCH_LEVEL`.
pub(crate) extern "win64" fn MmAllocateContiguousMemory(bytes: usize, highest: PhysicalAddress) -> Pvoid {
    let pages = bytes.div_ceil(PAGE_SIZE).max(1);
    let Some(frame) = frames::allocate_contiguous(pages, highest as u64) else { return null_mut() };
    let address = direct(frame);
    ALLOCATED.lock().insert(address, pages);
    address as Pvoid
}

/// Does the same as [`MmAllocateContiguousMemory`], with a lowest address and a boundary the block must not
/// cross. A block that was found from low addresses up is tested against them. IRQL ≤ `DISPATCH_LEVEL`.
pub(crate) extern "win64" fn MmAllocateContiguousMemorySpecifyCache(
    bytes: usize,
    lowest: PhysicalAddress,
    highest: PhysicalAddress,
    boundary: PhysicalAddress,
    _cache: u32,
) -> Pvoid {
    let block = MmAllocateContiguousMemory(bytes, highest);
    if block.is_null() {
        return block;
    }
    let start = physical(block as usize);
    let crosses = boundary != 0 && start / boundary as u64 != (start + bytes as u64 - 1) / boundary as u64;
    if start < lowest as u64 || crosses {
        // SAFETY: the block was just allocated and nobody has seen it.
        unsafe { MmFreeContiguousMemory(block) };
        return null_mut();
    }
    block
}

/// Frees what the two above gave. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `address` is not used any more.
pub(crate) unsafe extern "win64" fn MmFreeContiguousMemory(address: Pvoid) {
    let pages = ALLOCATED.lock().remove(&(address as usize));
    let pages = pages.expect("MmFreeContiguousMemory of memory that was not allocated so");
    frames::free(physical(address as usize), pages);
}
