//! Page tables: four levels, 4 KiB pages except in the direct map.

use core::arch::asm;

use super::{DIRECT_MAP, PAGE_SIZE, direct, frames};
use crate::ke::Lock;

/// Present.
pub(crate) const PRESENT: u64 = 1;
/// Writable.
pub(crate) const WRITE: u64 = 1 << 1;
/// Caching disabled.
pub(crate) const UNCACHED: u64 = 1 << 4;
/// Large page (in a page directory).
const LARGE: u64 = 1 << 7;
/// Not executable.
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
/// Readable data.
pub(crate) const READ_ONLY: u64 = PRESENT | NO_EXECUTE;
/// Readable and writable data.
pub(crate) const READ_WRITE: u64 = PRESENT | WRITE | NO_EXECUTE;
/// Code.
pub(crate) const EXECUTE: u64 = PRESENT;
/// Code and data, as NT 5.2's non-paged pool is.
pub(crate) const EXECUTE_READ_WRITE: u64 = PRESENT | WRITE;

const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

type Table = [u64; 512];

/// The root table's physical address; 0 before [`init`].
static ROOT: Lock<u64> = Lock::new(0);

unsafe fn table(address: u64) -> &'static mut Table {
    // SAFETY: the caller gives the address of a page table, and the direct map covers it.
    unsafe { &mut *(direct(address) as *mut Table) }
}

fn zeroed_table() -> u64 {
    let frame = frames::allocate().expect("out of memory for page tables");
    // SAFETY: the frame was just allocated and the direct map covers all frames.
    unsafe { table(frame).fill(0) };
    frame
}

/// Returns the entry for a 4 KiB page, with the tables on the way made if `create`.
unsafe fn entry(root: u64, va: usize, create: bool) -> Option<&'static mut u64> {
    let mut current = root;
    // SAFETY: the tables on the way to `va` are reached from `root`, and the direct map covers them.
    unsafe {
        for shift in [39, 30, 21] {
            let slot = &mut table(current)[va >> shift & 511];
            if *slot & PRESENT == 0 {
                if !create {
                    return None;
                }
                *slot = zeroed_table() | PRESENT | WRITE;
            }
            if *slot & LARGE != 0 {
                return None;
            }
            current = *slot & ADDRESS;
        }
        Some(&mut table(current)[va >> 12 & 511])
    }
}

/// Replaces the boot tables: the executive's image at its own addresses with its protections, memory in the
/// direct map. Nothing else is mapped below the direct map from here on, so that a null pointer faults.
///
/// # Safety
/// Called once, after the frame allocator is up. `image` lists the image's ranges and protections.
pub(crate) unsafe fn init(top: u64, image: &[(usize, usize, u64)]) {
    let root = zeroed_table();
    let pdpt = zeroed_table();
    // SAFETY: by this function's contract, it is called once, after the frame allocator is up. `image` lists the
    // image's ranges and protections.
    unsafe {
        table(root)[DIRECT_MAP >> 39 & 511] = pdpt | PRESENT | WRITE;
        for gib in 0..top.div_ceil(1 << 30) {
            let directory = zeroed_table();
            table(pdpt)[gib as usize] = directory | PRESENT | WRITE;
            for (i, slot) in table(directory).iter_mut().enumerate() {
                *slot = ((gib << 30) + ((i as u64) << 21)) | READ_WRITE | LARGE;
            }
        }
        for &(start, end, protection) in image {
            for page in (start..end).step_by(PAGE_SIZE) {
                *entry(root, page, true).expect("image page") = page as u64 | protection;
            }
        }
        asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags));
    }
    *ROOT.lock() = root;
}

/// Returns the physical address of the root table.
pub(crate) fn root() -> u64 {
    *ROOT.lock()
}

/// Makes this processor forget what it knew of the page at an address.
pub(crate) fn invalidate(va: usize) {
    // SAFETY: invlpg has no effect but on the TLB.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack, preserves_flags)) };
}

/// Maps one page. The page must not be mapped yet.
///
/// # Safety
/// `pa` is memory or a device's range that the caller may map, `va` free address space.
pub(crate) unsafe fn map(va: usize, pa: u64, protection: u64) {
    let root = ROOT.lock();
    // SAFETY: by this function's contract, `pa` is memory or a device's range that the caller may map, `va`
    // free address space.
    let slot = unsafe { entry(*root, va, true).expect("address lies in a large page") };
    assert!(*slot == 0, "{va:#x} is mapped already");
    *slot = pa | protection;
}

/// Unmaps one page; the physical address it had.
///
/// # Safety
/// Nothing uses the address any more.
pub(crate) unsafe fn unmap(va: usize) -> Option<u64> {
    let root = ROOT.lock();
    // SAFETY: by this function's contract, nothing uses the address any more.
    let slot = unsafe { entry(*root, va, false)? };
    let old = core::mem::take(slot);
    invalidate(va);
    (old != 0).then_some(old & ADDRESS)
}

/// Changes the protection of a mapped page; without [`PRESENT`] the page keeps its frame and faults.
///
/// # Safety
/// No code relies on an access that the new protection forbids.
pub(crate) unsafe fn protect(va: usize, protection: u64) {
    let root = ROOT.lock();
    // SAFETY: by this function's contract, no code relies on an access that the new protection forbids.
    let slot = unsafe { entry(*root, va, false).expect("protecting an address without tables") };
    *slot = *slot & ADDRESS | protection;
    invalidate(va);
}

/// Returns the physical address behind a virtual one.
pub(crate) fn translate(va: usize) -> Option<u64> {
    if (DIRECT_MAP..DIRECT_MAP + frames::BOOT_MAPPED as usize).contains(&va) {
        return Some((va - DIRECT_MAP) as u64);
    }
    let root = ROOT.lock();
    // SAFETY: the tables are this module's own and only read here.
    let slot = unsafe { entry(*root, va, false)? };
    (*slot & ADDRESS != 0 || *slot & PRESENT != 0).then(|| (*slot & ADDRESS) + (va & (PAGE_SIZE - 1)) as u64)
}

/// Returns the flags of the page at an address: 0 if it is not mapped.
pub(crate) fn protection(va: usize) -> u64 {
    let root = ROOT.lock();
    // SAFETY: as in `translate`.
    unsafe { entry(*root, va, false) }.map_or(0, |slot| *slot & !ADDRESS)
}
