//! Physical memory mapped into the kernel's address space.
#![allow(unsafe_code, reason = "maps physical addresses")]

use core::ptr::NonNull;

use wdk_sys::{
    _MEMORY_CACHING_TYPE, LARGE_INTEGER, SIZE_T,
    ntddk::{MmMapIoSpace, MmUnmapIoSpace},
};

use crate::{NtStatus, Result};

/// How the processor may cache a mapping; it must be how others map the same memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// Device registers.
    Uncached,
    /// Memory.
    Cached,
}

/// A mapping of a physical range (MmMapIoSpace); dropping it unmaps (IRQL ≤ DISPATCH_LEVEL).
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is in the address space that all threads share; access is the user's matter.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes at `physical`. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES` without free system PTEs.
    ///
    /// # Safety
    /// The range belongs to a device of this driver, or is memory that the platform shares with it, and
    /// `caching` does not conflict with another mapping of it.
    pub unsafe fn new(physical: u64, length: usize, caching: Caching) -> Result<Self> {
        let caching = match caching {
            Caching::Uncached => _MEMORY_CACHING_TYPE::MmNonCached,
            Caching::Cached => _MEMORY_CACHING_TYPE::MmCached,
        };
        let physical = LARGE_INTEGER { QuadPart: physical as i64 };
        // SAFETY: by contract.
        let address = unsafe { MmMapIoSpace(physical, length as SIZE_T, caching) };
        let address = NonNull::new(address.cast()).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        Ok(Self { address, length })
    }

    /// The first byte.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Bytes mapped.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub const fn len(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value's own mapping, of this length.
        unsafe { MmUnmapIoSpace(self.as_ptr().cast(), self.length as SIZE_T) };
    }
}
