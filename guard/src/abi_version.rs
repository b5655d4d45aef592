//! The version that the drivers of one suite agree on.

/// The version of the layouts and meanings in [`abi`](crate::abi).
pub const ABI_VERSION: u32 = 6;
