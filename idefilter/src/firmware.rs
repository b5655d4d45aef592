//! Data that the BIOS left in memory.
#![expect(unsafe_code, reason = "maps the BIOS data area")]

use wdm::mapping::{Caching, Mapping};
use xen::PAGE_SIZE;

/// Offset of the number of hard disks in the BIOS data area's page (IBM PC/AT Technical Reference, segment 40h,
/// offset 75h).
const HARD_DISKS: usize = 0x475;

/// Returns the number of hard disks that the BIOS found; `None` if the area cannot be read. Firmware that is
/// no BIOS leaves 0 or anything. PASSIVE_LEVEL.
pub(crate) fn hard_disks() -> Option<u8> {
    // SAFETY: the first page of a PC's memory, which is cached like all memory, and is only read.
    let page = unsafe { Mapping::new(0, PAGE_SIZE, Caching::Cached) }.ok()?;
    // SAFETY: within the page that is mapped.
    Some(unsafe { page.as_ptr().add(HARD_DISKS).read_volatile() })
}
