//! Fuzz targets: input from others, taken apart by one function for each target.
//!
//! `tests/fuzz.rs` runs each on kept inputs and on some thousand from fixed numbers; `cargo xtask fuzz` runs them for
//! longer.

mod cdb;
mod nodes;
mod queue;
mod ring;

pub use cdb::cdb;
pub use nodes::nodes;
pub use queue::queue;
pub use ring::ring;
