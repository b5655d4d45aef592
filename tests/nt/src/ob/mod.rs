//! The object manager: reference counts, names, handles, security descriptors.

mod handle;
pub(crate) mod namespace;
mod object;
mod security;

pub(crate) use handle::*;
pub(crate) use object::*;
pub(crate) use security::*;
