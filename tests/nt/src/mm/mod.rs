//! Memory: frames, page tables, the executive's heap, drivers' pool, mappings, MDLs.

pub mod contiguous;
pub mod frames;
mod heap;
pub mod iospace;
pub mod map;
pub mod mdl;
pub mod paged;
pub mod pool;
pub mod space;

pub use contiguous::*;
pub use iospace::*;
pub use mdl::*;

pub use crate::nt::PAGE_SIZE;

/// The address at which all physical memory is mapped, readable and writable.
pub const DIRECT_MAP: usize = 0xFFFF_8000_0000_0000;

/// Returns the direct map's address of a physical address.
pub const fn direct(physical: u64) -> usize {
    DIRECT_MAP + physical as usize
}

/// Returns the physical address of a direct map's address.
pub const fn physical(direct: usize) -> u64 {
    (direct - DIRECT_MAP) as u64
}
