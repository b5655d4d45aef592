//! Fuzz targets: input from others, taken apart by one function for each target.
//!
//! `tests/fuzz.rs` runs each with some thousand inputs from fixed seeds; the crate in the folder `fuzz` runs
//! them under cargo-fuzz.

mod cdb;
mod nodes;
mod queue;
mod ring;

pub use cdb::cdb;
pub use nodes::nodes;
pub use queue::queue;
pub use ring::ring;
