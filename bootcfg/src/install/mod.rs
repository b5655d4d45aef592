//! The driver suite: put into a Windows, and taken out of it.
//!
//! The drivers are described by their INF files, the service by [`service`].
//!
//! [`edits`] says what changes in the registry, [`offline`] carries it out on a mounted volume, [`live`] has
//! the running Windows do it.

pub mod clean;
pub mod edits;
pub mod live;
pub mod offline;
pub mod package;
pub mod service;
#[cfg(test)]
pub(crate) mod tests;
