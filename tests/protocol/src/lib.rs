//! The words that the guest tests (`tests/guests`) and the NT executive (`tests/nt`) exchange.
//!
//! A guest test puts [`Word`]s on the executive's command line. The executive answers with report lines, each
//! of a [`Line`], and asks dom0 for something with [`Ready`]. Both ends take the words from here, so that a
//! word that only one end knows does not compile. A word that the executive cannot parse stops the guest.
//!
//! Only words, a [`Checksum`] and the terms of [`hours`] are shared. NT's structures, the verifier and the reading of INF files are written
//! twice on purpose: a mistake in one must show in the other.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod checksum;
pub mod hours;
mod line;
mod name;
mod word;

/// Name and content of the file that the exercise `detach` writes through the cache.
pub const CACHED_FILE: (&str, &str) = ("cached.txt", "written through the cache\r\n");

pub use checksum::Checksum;
pub use line::{Line, Ready};
pub use name::Unknown;
pub use word::{
    BenchWord, Controller, Exercise, Fault, FaultKind, FirmwareDisk, OtherBuild, Plan, Version, Word,
};
