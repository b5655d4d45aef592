//! Memory descriptor lists (wdm.h).

use super::def::Pvoid;
use crate::layout;

/// `MDL`: page frame numbers (`usize` each) follow it.
#[repr(C)]
pub(crate) struct Mdl {
    pub next: *mut Mdl,
    pub size: i16,
    pub mdl_flags: i16,
    pub process: Pvoid,
    pub mapped_system_va: Pvoid,
    pub start_va: Pvoid,
    pub byte_count: u32,
    pub byte_offset: u32,
}
layout!(Mdl, 0x30, mdl_flags @ 0xA, mapped_system_va @ 0x18, start_va @ 0x20, byte_count @ 0x28, byte_offset @ 0x2C);

/// `MDL_MAPPED_TO_SYSTEM_VA`.
pub(crate) const MDL_MAPPED_TO_SYSTEM_VA: i16 = 0x1;
/// `MDL_PAGES_LOCKED`.
pub(crate) const MDL_PAGES_LOCKED: i16 = 0x2;
/// `MDL_SOURCE_IS_NONPAGED_POOL`.
pub(crate) const MDL_SOURCE_IS_NONPAGED_POOL: i16 = 0x4;
/// `MDL_PARTIAL`.
pub(crate) const MDL_PARTIAL: i16 = 0x10;
