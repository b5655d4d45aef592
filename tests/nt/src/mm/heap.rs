//! The executive's own heap, on which Rust's `alloc` runs. Drivers' pool is [`super::pool`].
//!
//! Sizes up to half a page come from free lists by power of two; larger blocks are contiguous frames of the
//! direct map.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;

use super::{PAGE_SIZE, direct, frames, physical};
use crate::ke::Lock;

const SMALLEST: usize = 5;
const LARGEST: usize = 11;

struct FreeBlock {
    next: *mut FreeBlock,
}

struct Heap {
    lists: [*mut FreeBlock; LARGEST - SMALLEST + 1],
}

// SAFETY: the lists are reached only through the lock around the one instance.
unsafe impl Send for Heap {}

static HEAP: Lock<Heap> = Lock::new(Heap { lists: [null_mut(); LARGEST - SMALLEST + 1] });

struct ExecutiveHeap;

#[global_allocator]
static ALLOCATOR: ExecutiveHeap = ExecutiveHeap;

fn class(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST).next_power_of_two();
    let order = size.trailing_zeros() as usize;
    (order <= LARGEST).then(|| order - SMALLEST)
}

// SAFETY: blocks come from frames that belong to the heap alone, are as large and aligned as their class or
// page count says, and stay valid until deallocated; the lock keeps the lists consistent.
unsafe impl GlobalAlloc for ExecutiveHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else {
            assert!(layout.align() <= PAGE_SIZE);
            let pages = layout.size().div_ceil(PAGE_SIZE);
            return frames::allocate_contiguous(pages, u64::MAX)
                .map_or(null_mut(), |pa| direct(pa) as *mut u8);
        };
        let mut heap = HEAP.lock();
        // SAFETY: the blocks of a list are free memory of the heap, and its lock is held.
        unsafe {
            if heap.lists[class].is_null() {
                let Some(frame) = frames::allocate() else { return null_mut() };
                for offset in (0..PAGE_SIZE).step_by(1 << (class + SMALLEST)) {
                    let block = (direct(frame) + offset) as *mut FreeBlock;
                    (*block).next = heap.lists[class];
                    heap.lists[class] = block;
                }
            }
            let block = heap.lists[class];
            heap.lists[class] = (*block).next;
            block.cast()
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `pointer` valid for this call.
        unsafe {
            match class(layout) {
                None => frames::free(physical(pointer as usize), layout.size().div_ceil(PAGE_SIZE)),
                Some(class) => {
                    let block: *mut FreeBlock = pointer.cast();
                    let mut heap = HEAP.lock();
                    (*block).next = heap.lists[class];
                    heap.lists[class] = block;
                }
            }
        }
    }
}
