//! Memory descriptor lists over memory that is never paged out.

use core::mem::size_of;
use core::ptr::null_mut;

use alloc::vec::Vec;

use super::space::MAPPINGS;
use super::{PAGE_SIZE, map};
use crate::ex::{ExAllocatePoolWithTag, ExFreePoolWithTag, NON_PAGED_POOL};
use crate::ke::Lock;
use crate::nt::*;

const TAG: u32 = u32::from_le_bytes(*b"Mdl ");

/// Returns the frame numbers behind an MDL's header.
///
/// # Safety
/// `mdl` is a valid MDL.
pub(crate) unsafe fn frames_of<'a>(mdl: *mut Mdl) -> &'a mut [usize] {
    // SAFETY: by this function's contract, `mdl` is a valid MDL.
    unsafe {
        let pages = ((*mdl).byte_offset as usize + (*mdl).byte_count as usize).div_ceil(PAGE_SIZE);
        core::slice::from_raw_parts_mut(mdl.add(1).cast(), pages)
    }
}

/// Allocates an MDL for a buffer and, if an IRP is given, hangs it on the IRP. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `irp` is null or valid.
pub(crate) unsafe extern "win64" fn IoAllocateMdl(
    address: Pvoid,
    length: u32,
    secondary: Boolean,
    _charge_quota: Boolean,
    irp: *mut Irp,
) -> *mut Mdl {
    let offset = address as usize % PAGE_SIZE;
    let pages = (offset + length as usize).div_ceil(PAGE_SIZE);
    let size = size_of::<Mdl>() + pages * size_of::<usize>();
    let mdl: *mut Mdl = ExAllocatePoolWithTag(NON_PAGED_POOL, size, TAG).cast();
    if mdl.is_null() {
        return mdl;
    }
    // SAFETY: by this function's contract, `irp` is null or valid.
    unsafe {
        *mdl = Mdl {
            next: null_mut(),
            size: size as i16,
            mdl_flags: 0,
            process: null_mut(),
            mapped_system_va: null_mut(),
            start_va: (address as usize - offset) as Pvoid,
            byte_count: length,
            byte_offset: offset as u32,
        };
        if !irp.is_null() {
            if secondary == FALSE {
                (*irp).mdl_address = mdl;
            } else {
                let mut last = (*irp).mdl_address;
                while !(*last).next.is_null() {
                    last = (*last).next;
                }
                (*last).next = mdl;
            }
        }
    }
    mdl
}

/// Frees an MDL. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `mdl` came from [`IoAllocateMdl`] and is not used any more.
pub(crate) unsafe extern "win64" fn IoFreeMdl(mdl: *mut Mdl) {
    // SAFETY: by this function's contract, `mdl` came from [`IoAllocateMdl`] and is not used any more.
    unsafe {
        ExFreePoolWithTag(mdl.cast(), TAG);
    }
}

/// Fills in the frame numbers of a buffer in non-paged pool. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `mdl` describes mapped memory.
pub(crate) unsafe extern "win64" fn MmBuildMdlForNonPagedPool(mdl: *mut Mdl) {
    // SAFETY: by this function's contract, `mdl` describes mapped memory.
    unsafe {
        let start = (*mdl).start_va as usize;
        for (page, frame) in frames_of(mdl).iter_mut().enumerate() {
            let physical =
                map::translate(start + page * PAGE_SIZE).expect("MDL over memory that is not mapped");
            *frame = physical as usize / PAGE_SIZE;
        }
        (*mdl).mapped_system_va = (start + (*mdl).byte_offset as usize) as Pvoid;
        (*mdl).mdl_flags |= MDL_SOURCE_IS_NONPAGED_POOL;
    }
}

/// Locks a buffer's pages: there is no paging, so they are looked up and marked. IRQL ≤ `APC_LEVEL` for
/// pageable memory.
///
/// # Safety
/// `mdl` describes mapped memory.
pub(crate) unsafe extern "win64" fn MmProbeAndLockPages(mdl: *mut Mdl, _mode: i8, _operation: u32) {
    // SAFETY: by this function's contract, `mdl` describes mapped memory.
    unsafe {
        MmBuildMdlForNonPagedPool(mdl);
        (*mdl).mdl_flags &= !MDL_SOURCE_IS_NONPAGED_POOL;
        (*mdl).mdl_flags |= MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA;
    }
}

/// Undoes [`MmProbeAndLockPages`]. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `mdl` is a locked MDL.
pub(crate) unsafe extern "win64" fn MmUnlockPages(mdl: *mut Mdl) {
    // SAFETY: by this function's contract, `mdl` is a locked MDL.
    unsafe {
        assert!((*mdl).mdl_flags & MDL_PAGES_LOCKED != 0, "MmUnlockPages of an MDL that is not locked");
        (*mdl).mdl_flags &= !(MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA);
    }
}

/// Returns the kernel address of the buffer; every buffer here has one already. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `mdl` is built or locked.
pub(crate) unsafe extern "win64" fn MmMapLockedPagesSpecifyCache(
    mdl: *mut Mdl,
    _mode: i8,
    _cache: u32,
    _base: Pvoid,
    _bugcheck: u32,
    _priority: u32,
) -> Pvoid {
    // SAFETY: by this function's contract, `mdl` is built or locked.
    unsafe { (*mdl).mapped_system_va }
}

/// Makes `target` describe part of what `source` does. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// Both MDLs are valid, the range lies in `source`, and `target` is large enough.
pub(crate) unsafe extern "win64" fn IoBuildPartialMdl(
    source: *mut Mdl,
    target: *mut Mdl,
    address: Pvoid,
    length: u32,
) {
    // SAFETY: by this function's contract, both MDLs are valid, the range lies in `source`, and `target` is
    // large enough.
    unsafe {
        let start = (*source).start_va as usize + (*source).byte_offset as usize;
        let skip = address as usize - start;
        let length = if length == 0 { (*source).byte_count - skip as u32 } else { length };
        let offset = address as usize % PAGE_SIZE;
        (*target).start_va = (address as usize - offset) as Pvoid;
        (*target).byte_offset = offset as u32;
        (*target).byte_count = length;
        (*target).mapped_system_va = ((*source).mapped_system_va as usize + skip) as Pvoid;
        (*target).mdl_flags |=
            MDL_PARTIAL | (*source).mdl_flags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA);
        let first = ((*source).byte_offset as usize + skip) / PAGE_SIZE;
        let frames = frames_of(target);
        frames.copy_from_slice(&frames_of(source)[first..first + frames.len()]);
    }
}

/// Address space that [`MmAllocateMappingAddress`] has given out: start, pages, tag, and whether something is
/// mapped there.
static RESERVED: Lock<Vec<(usize, usize, u32, bool)>> = Lock::new(Vec::new());

/// Reserves address space for mappings. PASSIVE_LEVEL to APC_LEVEL.
pub(crate) unsafe extern "win64" fn MmAllocateMappingAddress(bytes: usize, tag: u32) -> Pvoid {
    assert!(bytes > 0 && tag != 0, "MmAllocateMappingAddress({bytes}, {tag:#x})");
    let pages = bytes.div_ceil(PAGE_SIZE);
    let start = MAPPINGS.reserve(pages);
    RESERVED.lock().push((start, pages, tag, false));
    start as Pvoid
}

/// Gives reserved address space back, in which nothing is mapped. PASSIVE_LEVEL to APC_LEVEL.
///
/// # Safety
/// `base` and `tag` are those of [`MmAllocateMappingAddress`].
pub(crate) unsafe extern "win64" fn MmFreeMappingAddress(base: Pvoid, tag: u32) {
    let mut reserved = RESERVED.lock();
    let place = reserved.iter().position(|&(start, _, owner, _)| start == base as usize && owner == tag);
    let (start, pages, _, mapped) = reserved.remove(place.expect("MmFreeMappingAddress of no reservation"));
    drop(reserved);
    assert!(!mapped, "MmFreeMappingAddress with a mapping in it");
    MAPPINGS.release(start, pages);
}

/// Maps the pages of an MDL at reserved addresses. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `mdl` describes locked pages; `base` and `tag` are those of [`MmAllocateMappingAddress`].
pub(crate) unsafe extern "win64" fn MmMapLockedPagesWithReservedMapping(
    base: Pvoid,
    tag: u32,
    mdl: *mut Mdl,
    _cache: u32,
) -> Pvoid {
    // SAFETY: by this function's contract, `mdl` describes locked pages; `base` and `tag` are those of
    // [`MmAllocateMappingAddress`].
    unsafe {
        let frames = frames_of(mdl);
        let locked = (*mdl).mdl_flags & (MDL_PAGES_LOCKED | MDL_PARTIAL) != 0;
        assert!(
            locked && (*mdl).mdl_flags & MDL_MAPPED_TO_SYSTEM_VA == 0,
            "an MDL with flags {:#x}",
            (*mdl).mdl_flags
        );
        let mut reserved = RESERVED.lock();
        let place = reserved.iter_mut().find(|(start, _, owner, _)| *start == base as usize && *owner == tag);
        let (start, pages, _, mapped) = place.expect("a mapping without its reservation");
        assert!(!core::mem::replace(mapped, true), "a reservation with a mapping in it");
        // Documentation: null where the pages do not fit.
        if frames.len() > *pages {
            *mapped = false;
            return null_mut();
        }
        for (n, frame) in frames.iter().enumerate() {
            let address = *start + n * PAGE_SIZE;
            map::map(address, (*frame * PAGE_SIZE) as u64, map::READ_WRITE);
            // The addresses were another page's before, on this processor or, unknown to it, on others. A
            // reservation is used by the processor that maps.
            map::invalidate(address);
        }
        (*mdl).mapped_system_va = (*start + (*mdl).byte_offset as usize) as Pvoid;
        (*mdl).mdl_flags |= MDL_MAPPED_TO_SYSTEM_VA;
        (*mdl).mapped_system_va
    }
}

/// Undoes [`MmMapLockedPagesWithReservedMapping`]. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// The arguments are those of the mapping, which is not used any more.
pub(crate) unsafe extern "win64" fn MmUnmapReservedMapping(base: Pvoid, tag: u32, mdl: *mut Mdl) {
    let mut reserved = RESERVED.lock();
    let place = reserved.iter_mut().find(|(start, _, owner, _)| *start == base as usize && *owner == tag);
    let (start, _, _, mapped) = place.expect("a mapping without its reservation");
    assert!(core::mem::replace(mapped, false), "MmUnmapReservedMapping where nothing is mapped");
    // SAFETY: by this function's contract, the arguments are those of the mapping, which is not used any
    // more.
    unsafe {
        for n in 0..frames_of(mdl).len() {
            assert!(map::unmap(*start + n * PAGE_SIZE).is_some(), "a page of the mapping is gone");
        }
        (*mdl).mdl_flags &= !MDL_MAPPED_TO_SYSTEM_VA;
    }
}
