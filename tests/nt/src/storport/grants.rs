//! Memory of requests that have ended, held against Xen's grant table: whoever has it next must have it alone.
//!
//! xenpci has the table mapped in the platform device's memory BAR, behind shared info (`xenpci/src/window.rs`).

use core::ops::Range;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use alloc::vec::Vec;

use super::ddi::ScatterGatherElement;
use crate::mm::iospace::{MM_CACHED, MmMapIoSpace};
use crate::{boot, pci};

const PAGE: u64 = 4096;
/// Entries that xenpci has at most: 32 frames of 8 bytes each.
const ENTRIES: usize = 32 * 4096 / 8;
/// `GTF_permit_access`.
const PERMIT: u64 = 1;
/// A look at the whole table costs as much as some requests: every so many requests one is looked at.
const EACH: u32 = 4;

static TABLE: AtomicPtr<u64> = AtomicPtr::new(null_mut());
static ENDED: AtomicU32 = AtomicU32::new(0);

/// Returns the table, once the platform device has a BAR.
fn table() -> Option<*const u64> {
    let known = TABLE.load(Ordering::Acquire);
    if !known.is_null() {
        return Some(known);
    }
    let base = pci::platform_memory()? + PAGE;
    // SAFETY: address space of the platform device, of which this only reads.
    let mapped = unsafe { MmMapIoSpace(base as i64, ENTRIES * 8, MM_CACHED) };
    TABLE.store(mapped.cast(), Ordering::Release);
    Some(mapped.cast())
}

/// Returns the number of grants that the drivers have made and not ended; `None` before there is a table. Any IRQL.
pub(crate) fn granted() -> Option<usize> {
    let table = table()?;
    // SAFETY: entries that are mapped.
    let entries = (0..ENTRIES).map(|index| unsafe { table.add(index).read_volatile() });
    // Where Xen has no frame there, the device answers, with ones.
    Some(entries.filter(|entry| *entry != u64::MAX && entry & PERMIT != 0).count())
}

/// Returns the frames that an element has memory in.
pub(super) fn frames(element: &ScatterGatherElement) -> Range<u64> {
    let first = element.physical_address as u64;
    first / PAGE..(first + u64::from(element.length)).div_ceil(PAGE)
}

/// Returns a reference by which another domain can reach one of the pages of a request that has ended, and the page's
/// frame; not of a frame in which a request has memory that is `in_flight`. Any IRQL.
pub(super) fn left(
    pages: impl Iterator<Item = ScatterGatherElement>,
    in_flight: impl Fn(u64) -> bool,
) -> Option<(usize, u64)> {
    // What is measured is not held up.
    if boot::options().benchmark || !ENDED.fetch_add(1, Ordering::Relaxed).is_multiple_of(EACH) {
        return None;
    }
    let mut frames: Vec<u64> = pages.flat_map(|element| frames(&element)).collect();
    if frames.is_empty() {
        return None;
    }
    frames.sort_unstable();
    let table = table()?;
    // SAFETY: one of the entries that are mapped.
    let entry = |index: usize| unsafe { table.add(index).read_volatile() };
    // Where Xen has no frame there, the device answers, with ones.
    if entry(0) == u64::MAX {
        return None;
    }
    let granted = (0..ENTRIES).filter(|index| entry(*index) & PERMIT != 0);
    granted
        .map(|index| (index, entry(index) >> 32))
        .find(|(_, frame)| frames.binary_search(frame).is_ok() && !in_flight(*frame))
}
