//! The object manager: reference counts, names, handles, security descriptors.

mod handle;
pub mod namespace;
mod object;
mod security;

pub use handle::*;
pub use object::*;
pub use security::*;
