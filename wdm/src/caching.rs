//! The caching of a mapping.

/// The caching that the processor may do for a mapping; it must be that of others who map the same memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// Device registers.
    Uncached,
    /// Memory.
    Cached,
}
