//! Physical memory mapped into the kernel's address space: for good, or for a moment at a reserved address.
#![expect(unsafe_code, reason = "maps physical addresses")]

use alloc::boxed::Box;
use core::ptr::NonNull;

use wdk_sys::{
    _MEMORY_CACHING_TYPE, LARGE_INTEGER, MDL, MDL_PAGES_LOCKED, SIZE_T,
    ntddk::{
        MmAllocateMappingAddress, MmFreeMappingAddress, MmMapIoSpace, MmMapLockedPagesWithReservedMapping,
        MmUnmapIoSpace, MmUnmapReservedMapping,
    },
};

pub use crate::caching::Caching;
use crate::{NtStatus, Result, no_execute, pool};

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
        let kind = match caching {
            Caching::Uncached => _MEMORY_CACHING_TYPE::MmNonCached,
            Caching::Cached => _MEMORY_CACHING_TYPE::MmCached,
        };
        let physical = LARGE_INTEGER { QuadPart: physical as i64 };
        // SAFETY: by contract.
        let address = unsafe {
            no_execute::map(physical, length as SIZE_T, caching)
                .unwrap_or_else(|| MmMapIoSpace(physical, length as SIZE_T, kind))
        };
        let address = NonNull::new(address.cast()).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        Ok(Self { address, length })
    }

    /// Returns the first byte.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Returns the number of bytes mapped.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
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

/// Tag of reserved address space, as a debugger shows it: "XGrd".
const TAG: u32 = u32::from_le_bytes(*b"XGrd");

/// An MDL with room for `N` page frame numbers, which NT expects right behind it.
#[repr(C)]
struct Pages<const N: usize> {
    mdl: MDL,
    frames: [u64; N],
}
const _: () = assert!(core::mem::offset_of!(Pages<1>, frames) == size_of::<MDL>());

/// Kernel address space for `N` pages, reserved for good, so that mapping something there needs no memory and
/// cannot fail (MmAllocateMappingAddress). Made and dropped at PASSIVE_LEVEL; nothing is mapped when it is
/// dropped.
pub struct Reserved<const N: usize> {
    base: NonNull<u8>,
    pages: Box<Pages<N>>,
}

// SAFETY: the address space is that of all threads; a reservation is used through `&mut`.
unsafe impl<const N: usize> Send for Reserved<N> {}

impl<const N: usize> Reserved<N> {
    /// Reserves address space for `N` pages. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub fn new() -> Result<Self> {
        let pages = pool::try_box(Pages { mdl: MDL::default(), frames: [0; N] })?;
        // SAFETY: plain numbers; a null result is checked.
        let base = unsafe { MmAllocateMappingAddress((N * pool::PAGE_SIZE) as SIZE_T, TAG) };
        let base = NonNull::new(base.cast()).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        Ok(Self { base, pages })
    }

    /// Maps these pages one behind the other, cached; at most `N`, at least one. ≤ DISPATCH_LEVEL. What was
    /// mapped has been unmapped.
    ///
    /// # Safety
    /// The frames are of the system's memory, and stay resident until [`Reserved::unmap`].
    ///
    /// # Panics
    /// There are more than `N`, or none.
    pub unsafe fn map(&mut self, frames: impl ExactSizeIterator<Item = u64>) -> NonNull<u8> {
        let count = frames.len();
        assert!(count > 0 && count <= N, "{count} pages in a reservation of {N}");
        self.pages.frames.iter_mut().zip(frames).for_each(|(place, frame)| *place = frame);
        self.pages.mdl = MDL {
            Size: (size_of::<MDL>() + count * size_of::<u64>()) as i16,
            MdlFlags: MDL_PAGES_LOCKED as i16,
            ByteCount: (count * pool::PAGE_SIZE) as u32,
            ..MDL::default()
        };
        // SAFETY: an MDL of pages that are resident by the caller's promise, and a reservation of this tag with
        // nothing mapped in it, of as many pages.
        let address = unsafe {
            let mdl = (&raw mut *self.pages).cast();
            MmMapLockedPagesWithReservedMapping(
                self.base.as_ptr().cast(),
                TAG,
                mdl,
                _MEMORY_CACHING_TYPE::MmCached,
            )
        };
        NonNull::new(address.cast()).expect("a mapping within its reservation")
    }

    /// Unmaps what [`Reserved::map`] mapped; nobody uses it any more. ≤ DISPATCH_LEVEL.
    pub fn unmap(&mut self) {
        // SAFETY: the arguments of the mapping; the MDL is as it was left by it.
        unsafe {
            let mdl = (&raw mut *self.pages).cast();
            MmUnmapReservedMapping(self.base.as_ptr().cast(), TAG, mdl);
        }
    }
}

impl<const N: usize> Drop for Reserved<N> {
    fn drop(&mut self) {
        // SAFETY: reserved by `new` with this tag.
        unsafe { MmFreeMappingAddress(self.base.as_ptr().cast(), TAG) };
    }
}
