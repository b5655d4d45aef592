//! Memory: frames, page tables, the executive's heap, drivers' pool, mappings, MDLs.

pub(crate) mod contiguous;
pub(crate) mod frames;
mod heap;
pub(crate) mod iospace;
pub(crate) mod map;
pub(crate) mod mdl;
pub(crate) mod paged;
pub(crate) mod pool;
pub(crate) mod space;

pub(crate) use contiguous::*;
pub(crate) use iospace::*;
pub(crate) use mdl::*;

pub(crate) use crate::nt::PAGE_SIZE;

/// The address at which all physical memory is mapped, readable and writable.
pub(crate) const DIRECT_MAP: usize = 0xFFFF_8000_0000_0000;

/// Returns the direct map's address of a physical address.
pub(crate) const fn direct(physical: u64) -> usize {
    DIRECT_MAP + physical as usize
}

/// Returns the physical address of a direct map's address.
pub(crate) const fn physical(direct: usize) -> u64 {
    (direct - DIRECT_MAP) as u64
}
