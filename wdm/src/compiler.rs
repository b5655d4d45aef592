//! The symbols that a freestanding image owes the compiler: allocator, panic handler, stack probe.
#![expect(unsafe_code, reason = "symbols that the compiler and the alloc crate call by contract")]

use core::alloc::{GlobalAlloc, Layout};

use crate::{bugcheck, debug, pool};

struct NonPagedPool;

// SAFETY: ExAllocatePoolWithTag gives memory of at least the size asked for, aligned to 16 bytes
// (to a page for a page or more), which stays valid until it is freed exactly once.
unsafe impl GlobalAlloc for NonPagedPool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        pool::allocate(layout)
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: GlobalAlloc's caller hands back a block that `alloc` gave, once.
        unsafe { pool::free(memory) }
    }
}

#[global_allocator]
static ALLOCATOR: NonPagedPool = NonPagedPool;

/// Says a panic, then stops the system: a panic in a driver is a bug that cannot be unwound from.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    debug::print("panic", format_args!("{info}"));
    let (file, line) =
        info.location().map_or((core::ptr::null(), 0), |at| (at.file().as_ptr(), at.line() as usize));
    bugcheck::stop(bugcheck::PANIC, [line, file.addr(), 0, 0])
}

/// Probes nothing. LLVM calls this for frames larger than a page, with the size in RAX. A kernel stack is
/// wholly committed, so there is nothing to probe; every register must survive.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn __chkstk() {
    core::arch::naked_asm!("ret")
}
