//! Page-aligned memory that can be handed out as shared, any number of times.
#![expect(unsafe_code, reason = "hands out ordinary memory as if it were shared with another domain")]

use core::ptr::NonNull;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use crate::{PAGE_SIZE, SharedMemory};

/// Pages of ordinary memory.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Returns `pages` pages, each byte `fill`.
    pub fn new(pages: usize, fill: u8) -> Self {
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("few pages");
        assert!(layout.size() > 0);
        // SAFETY: the layout has a size.
        let base = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: freshly allocated with this size.
        unsafe { base.write_bytes(fill, layout.size()) };
        Self { base, layout }
    }

    /// Returns its address.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Returns the memory as one of its users sees it. Users must be gone before the memory is: the fakes
    /// keep it as long as they live.
    pub fn share(&self) -> SharedMemory {
        // SAFETY: allocated with this size and alignment; only ever reached through `SharedMemory`.
        unsafe { SharedMemory::new(self.base, self.layout.size()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}
