//! An allocator that refuses while the driver's I/O path runs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static FORBIDDEN: Cell<bool> = const { Cell::new(false) };
}

struct Allocator;

// SAFETY: passes everything on to the system's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if FORBIDDEN.get() {
            // Said once, by means that allocate.
            FORBIDDEN.set(false);
            panic!("{layout:?} is allocated on the I/O path");
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        assert!(!FORBIDDEN.get(), "memory is freed on the I/O path");
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn with<R>(forbidden: bool, work: impl FnOnce() -> R) -> R {
    let before = FORBIDDEN.replace(forbidden);
    let result = work();
    FORBIDDEN.set(before);
    result
}

/// Runs the I/O path, which allocates nothing.
pub(crate) fn during<R>(work: impl FnOnce() -> R) -> R {
    with(true, work)
}

/// Runs what stands for another driver, and may allocate.
pub(crate) fn except<R>(work: impl FnOnce() -> R) -> R {
    with(false, work)
}

#[test]
#[should_panic(expected = "is allocated on the I/O path")]
fn an_allocation_is_noticed() {
    during(|| drop(std::hint::black_box(Box::new(1))));
}
