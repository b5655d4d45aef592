//! Regions of kernel address space, given out page by page with a guard page between allocations.

use alloc::vec::Vec;

use super::{PAGE_SIZE, frames, map};
use crate::ke::Lock;

/// A region of address space. Addresses are handed out upwards; freed runs are kept by length and reused,
/// oldest first, so that a stale pointer faults for as long as possible.
pub(crate) struct Region {
    inner: Lock<Inner>,
}

struct Inner {
    start: usize,
    next: usize,
    end: usize,
    freed: Vec<(usize, usize)>,
}

impl Region {
    /// Returns a region from `start` of `size` bytes.
    pub(crate) const fn new(start: usize, size: usize) -> Self {
        Self { inner: Lock::new(Inner { start, next: start, end: start + size, freed: Vec::new() }) }
    }

    /// Reserves `pages` pages and an unmapped one behind them.
    pub(crate) fn reserve(&self, pages: usize) -> usize {
        let mut inner = self.inner.lock();
        let start = inner.next;
        let after = start + (pages + 1) * PAGE_SIZE;
        if after <= inner.end {
            inner.next = after;
            return start;
        }
        let reuse =
            inner.freed.iter().position(|&(_, length)| length == pages).expect("address space used up");
        inner.freed.remove(reuse).0
    }

    /// Returns the addresses of the pages that have been handed out until now.
    pub(crate) fn handed_out(&self) -> impl Iterator<Item = usize> {
        let inner = self.inner.lock();
        (inner.start..inner.next).step_by(PAGE_SIZE)
    }

    /// Gives a reserved run back; its pages are unmapped already.
    pub(crate) fn release(&self, start: usize, pages: usize) {
        self.inner.lock().freed.push((start, pages));
    }

    /// Reserves a run and maps fresh zeroed frames there.
    pub(crate) fn allocate(&self, pages: usize, protection: u64) -> Option<usize> {
        if frames::available() < pages + 8 {
            return None;
        }
        let start = self.reserve(pages);
        for page in 0..pages {
            let frame = frames::allocate()?;
            // SAFETY: the frame was just allocated, the address just reserved.
            unsafe {
                core::ptr::write_bytes(super::direct(frame) as *mut u8, 0, PAGE_SIZE);
                map::map(start + page * PAGE_SIZE, frame, protection);
            }
        }
        Some(start)
    }

    /// Unmaps a run made by [`Self::allocate`] and frees its frames.
    ///
    /// # Safety
    /// Nothing uses the run any more.
    pub(crate) unsafe fn free(&self, start: usize, pages: usize) {
        // SAFETY: by this function's contract, nothing uses the run any more.
        unsafe {
            for page in 0..pages {
                if let Some(frame) = map::unmap(start + page * PAGE_SIZE) {
                    frames::free(frame, 1);
                }
            }
        }
        self.release(start, pages);
    }
}

/// Non-paged pool, where NT 5.2 x64 has it.
pub(crate) static NONPAGED_POOL: Region = Region::new(0xFFFF_FA80_0000_0000, 64 << 30);
/// Paged pool.
pub(crate) static PAGED_POOL: Region = Region::new(0xFFFF_F8A0_0000_0000, 64 << 30);
/// Driver images.
pub(crate) static IMAGES: Region = Region::new(0xFFFF_F880_0000_0000, 1 << 30);
/// Kernel stacks.
pub(crate) static STACKS: Region = Region::new(0xFFFF_F880_8000_0000, 1 << 30);
/// Mappings of devices and of memory by physical address.
pub(crate) static MAPPINGS: Region = Region::new(0xFFFF_F881_0000_0000, 64 << 30);
