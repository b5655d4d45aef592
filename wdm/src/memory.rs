//! Physical addresses, and memory that is contiguous there.
#![expect(unsafe_code, reason = "translates addresses and allocates contiguous memory")]

use core::ptr::NonNull;

use wdk_sys::{
    _MEMORY_CACHING_TYPE, LARGE_INTEGER, PHYSICAL_ADDRESS, SIZE_T,
    ntddk::{MmAllocateContiguousMemorySpecifyCache, MmFreeContiguousMemory, MmGetPhysicalAddress},
};

use crate::{NtStatus, Result, no_execute};

/// Returns the physical address behind a resident kernel address. Any IRQL.
#[must_use]
pub fn physical_address(address: *const u8) -> u64 {
    // SAFETY: the routine only reads page tables; an address that is not mapped gives 0.
    unsafe { MmGetPhysicalAddress(address.cast_mut().cast()).QuadPart as u64 }
}

/// Zeroed, page-aligned, physically contiguous memory. Dropped at PASSIVE_LEVEL.
#[derive(Debug)]
pub struct Contiguous {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is in the address space that all threads share; access is the user's matter.
unsafe impl Send for Contiguous {}
// SAFETY: as above.
unsafe impl Sync for Contiguous {}

impl Contiguous {
    /// Allocates `length` bytes at physical addresses up to `highest`. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new(length: usize, highest: u64) -> Result<Self> {
        let at = |address: u64| PHYSICAL_ADDRESS { QuadPart: address as i64 };
        let without_execution = no_execute::allocate_contiguous(length as SIZE_T, highest);
        // SAFETY: plain numbers; a null result is checked.
        let address = without_execution.unwrap_or_else(|| unsafe {
            MmAllocateContiguousMemorySpecifyCache(
                length as SIZE_T,
                at(0),
                at(highest),
                LARGE_INTEGER { QuadPart: 0 },
                _MEMORY_CACHING_TYPE::MmCached,
            )
        });
        let address = NonNull::new(address.cast::<u8>()).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        // SAFETY: the block is this value's own, of this length.
        unsafe { address.as_ptr().write_bytes(0, length) };
        Ok(Self { address, length })
    }

    /// Returns the first byte.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Returns the number of bytes allocated.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an allocation is never empty")]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Returns the physical address of the first byte.
    #[must_use]
    pub fn physical(&self) -> u64 {
        physical_address(self.as_ptr())
    }
}

impl Drop for Contiguous {
    fn drop(&mut self) {
        // SAFETY: this value's own block.
        unsafe { MmFreeContiguousMemory(self.as_ptr().cast()) };
    }
}
