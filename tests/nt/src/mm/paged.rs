//! Pageable memory that is never paged out, but watched as if it were.
//!
//! When the IRQL rises to `DISPATCH_LEVEL`, every pageable page in the working set loses its present bit, as
//! Driver Verifier's forced IRQL checking does. A touch below `DISPATCH_LEVEL` faults and brings the page
//! back; a touch at or above it is a violation.

use alloc::vec::Vec;

use super::{PAGE_SIZE, map};
use crate::ke::Lock;

struct Range {
    start: usize,
    end: usize,
    protection: u64,
}

struct Paged {
    ranges: Vec<Range>,
    /// Pages that are present now.
    present: Vec<usize>,
}

static PAGED: Lock<Paged> = Lock::new(Paged { ranges: Vec::new(), present: Vec::new() });

/// Watches mapped pages as pageable.
pub(crate) fn watch(start: usize, pages: usize, protection: u64) {
    let mut paged = PAGED.lock();
    let end = start + pages * PAGE_SIZE;
    paged.ranges.push(Range { start, end, protection });
    paged.present.extend((start..end).step_by(PAGE_SIZE));
}

/// Stops watching a range that is about to be freed, and makes it present.
pub(crate) fn forget(start: usize) {
    let mut paged = PAGED.lock();
    let Some(at) = paged.ranges.iter().position(|range| range.start == start) else { return };
    let range = paged.ranges.swap_remove(at);
    paged.present.retain(|page| !(range.start..range.end).contains(page));
    for page in (range.start..range.end).step_by(PAGE_SIZE) {
        // SAFETY: the range is mapped with this protection but for the present bit.
        unsafe { map::protect(page, range.protection) };
    }
}

/// Trims the working set: the IRQL is about to become `DISPATCH_LEVEL` or higher.
pub(crate) fn trim() {
    let mut paged = PAGED.lock();
    if paged.present.is_empty() {
        return;
    }
    let pages = core::mem::take(&mut paged.present);
    for &page in &pages {
        if let Some(range) = paged.ranges.iter().find(|range| (range.start..range.end).contains(&page)) {
            // SAFETY: the page stays mapped to its frame; touching it faults into `fault`.
            unsafe { map::protect(page, range.protection & !map::PRESENT) };
        }
    }
    // Keep the vector's memory for the next round.
    paged.present = pages;
    paged.present.clear();
}

/// Meaning of a page fault at an address.
pub(crate) enum Fault {
    /// Not pageable memory.
    NotPaged,
    /// The page was brought in; the access can be repeated.
    BroughtIn,
    /// Pageable memory, touched at raised IRQL.
    RaisedIrql,
}

/// Handles a fault; `present`: the page was there, and forbids the access.
pub(crate) fn fault(address: usize, raised: bool, present: bool) -> Fault {
    let mut paged = PAGED.lock();
    let Some(range) = paged.ranges.iter().find(|range| (range.start..range.end).contains(&address)) else {
        return Fault::NotPaged;
    };
    if raised {
        return Fault::RaisedIrql;
    }
    let page = address & !(PAGE_SIZE - 1);
    if map::protection(page) & map::PRESENT != 0 {
        // A forbidden access; or another processor has just brought it in.
        return if present { Fault::NotPaged } else { Fault::BroughtIn };
    }
    let protection = range.protection;
    // SAFETY: the page is mapped to its frame; this restores its own protection.
    unsafe { map::protect(page, protection) };
    paged.present.push(page);
    Fault::BroughtIn
}
