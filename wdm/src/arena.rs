//! Memory of an image's own instead of pool, for code that runs where there is no pool: at a bugcheck.
#![expect(unsafe_code, reason = "gives out pieces of a static")]

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// Bytes of an arena.
pub const SIZE: usize = 64 << 10;
/// Bytes of the smallest piece.
const GRAIN: usize = 64;
const GRAINS: usize = SIZE / GRAIN;
/// Bytes of a page.
const PAGE: usize = 4096;

/// The state of a grain: free, the first of a piece, or a later one.
const FREE: u8 = 0;
const FIRST: u8 = 1;
const NEXT: u8 = 2;

/// Memory for one user at a time: one processor runs, and nothing interrupts it.
#[repr(C, align(4096))]
pub struct Arena {
    memory: UnsafeCell<[u8; SIZE]>,
    grains: [AtomicU8; GRAINS],
}

// SAFETY: only one processor runs where an arena is in use, as `take_the_place_of_pool` demands; the bytes
// are reached by the owners of the pieces alone.
unsafe impl Sync for Arena {}

static IN_USE: AtomicPtr<Arena> = AtomicPtr::new(null_mut());

/// Returns the arena that has the place of pool, if one has.
pub(crate) fn in_use() -> Option<&'static Arena> {
    // SAFETY: null or a static, as stored below.
    unsafe { IN_USE.load(Ordering::Acquire).as_ref() }
}

impl Arena {
    /// Returns an arena in which everything is free.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is only ever a static")]
    pub const fn new() -> Self {
        Self { memory: UnsafeCell::new([0; SIZE]), grains: [const { AtomicU8::new(FREE) }; GRAINS] }
    }

    /// Has everything that this image allocates from now on come from here. What was taken from here before is free
    /// again: an image that is started once more begins with all of it. Any IRQL.
    ///
    /// # Safety
    /// Nothing that this image has allocated is used any more. One processor runs, and no other code of this image
    /// interrupts it, as long as the image is used.
    pub unsafe fn take_the_place_of_pool(&'static self) {
        self.grains.iter().for_each(|grain| grain.store(FREE, Ordering::Relaxed));
        IN_USE.store(core::ptr::from_ref(self).cast_mut(), Ordering::Release);
    }

    /// Returns the first run of free grains that is long and aligned enough, for whole pages the last one; null where
    /// there is none.
    ///
    /// Whole pages are shared with other domains. One that an earlier start of the image has shared, and that the other
    /// domain has mapped still, becomes such a page again, and nothing that is trusted.
    pub(crate) fn allocate(&self, layout: Layout) -> *mut u8 {
        let count = layout.size().max(1).div_ceil(GRAIN);
        let step = layout.align().div_ceil(GRAIN);
        let is_free = |grain: usize| self.grains[grain].load(Ordering::Relaxed) == FREE;
        let fits = |start: &usize| (*start..start + count).all(is_free);
        let mut starts = (0..(GRAINS + 1).saturating_sub(count)).step_by(step);
        let found = if layout.align() < PAGE { starts.find(fits) } else { starts.rfind(fits) };
        let Some(start) = found else { return null_mut() };
        for grain in start..start + count {
            self.grains[grain].store(if grain == start { FIRST } else { NEXT }, Ordering::Relaxed);
        }
        self.memory.get().cast::<u8>().wrapping_add(start * GRAIN)
    }

    /// Takes a piece back.
    pub(crate) fn free(&self, piece: *mut u8) {
        let start = (piece.addr() - self.memory.get().addr()) / GRAIN;
        for grain in start..GRAINS {
            let wanted = if grain == start { FIRST } else { NEXT };
            if self.grains[grain].load(Ordering::Relaxed) != wanted {
                return;
            }
            self.grains[grain].store(FREE, Ordering::Relaxed);
        }
    }
}
