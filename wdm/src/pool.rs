//! Non-paged pool, without execution where NT has it, or what takes its place in an image that must do without ([`crate::arena`]).
#![expect(unsafe_code, reason = "calls the pool allocator")]

use alloc::{boxed::Box, vec::Vec};
use core::alloc::Layout;

use wdk_sys::{POOL_TYPE, PVOID, SIZE_T, ULONG, ntddk::ExFreePoolWithTag};

use crate::{NtStatus, Result, arena, no_execute};

/// The tag of every allocation of this project: `XGrd`.
pub const TAG: u32 = u32::from_le_bytes(*b"XGrd");

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;

// wdk-build leaves this routine out as deprecated, but it is the one pool allocator that every
// NT from 5.2 on exports.
unsafe extern "C" {
    fn ExAllocatePoolWithTag(pool: POOL_TYPE, bytes: SIZE_T, tag: ULONG) -> PVOID;
}

/// Returns memory for `layout`, or null. IRQL ≤ DISPATCH_LEVEL, any IRQL with an [`Arena`]. Alignments over a
/// page are refused.
pub(crate) fn allocate(layout: Layout) -> *mut u8 {
    if let Some(arena) = arena::in_use() {
        return arena.allocate(layout);
    }
    // Pool blocks are aligned to 16 bytes, those of a page or more to a page.
    let size = match layout.align() {
        0..=16 => layout.size().max(1),
        17..=PAGE_SIZE => layout.size().max(PAGE_SIZE),
        _ => return core::ptr::null_mut(),
    };
    // SAFETY: a non-zero size from the non-paged pool; the routine is callable up to DISPATCH_LEVEL.
    unsafe { ExAllocatePoolWithTag(no_execute::pool_type(), size as SIZE_T, TAG).cast() }
}

/// Frees a block that [`allocate`] gave, or that the system handed over with the duty to free it.
///
/// # Safety
/// `memory` is a pool block that nothing uses any more. IRQL ≤ DISPATCH_LEVEL (PASSIVE_LEVEL…APC_LEVEL
/// for paged pool).
pub(crate) unsafe fn free(memory: *mut u8) {
    if let Some(arena) = arena::in_use() {
        arena.free(memory);
        return;
    }
    // SAFETY: passed on from the caller; tag 0 frees a block of any tag.
    unsafe { ExFreePoolWithTag(memory.cast(), 0) }
}

/// Returns a box in non-paged pool that can fail, unlike `Box::new`. IRQL ≤ DISPATCH_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES` when the pool is exhausted.
pub fn try_box<T>(value: T) -> Result<Box<T>> {
    const { assert!(size_of::<T>() > 0) }
    let memory = allocate(Layout::new::<T>()).cast::<T>();
    if memory.is_null() {
        return Err(NtStatus::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the block is large and aligned enough for T and belongs to nobody else; it comes
    // from the global allocator's own pool, so Box may free it.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory))
    }
}

/// Returns a zeroed vector of `count` values in non-paged pool. IRQL ≤ DISPATCH_LEVEL.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES` when the pool is exhausted.
pub fn try_vec<T: Copy + Default>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    values.resize(count, T::default());
    Ok(values)
}
