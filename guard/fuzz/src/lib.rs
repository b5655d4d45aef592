//! Bodies of the fuzz targets, a function for each: it takes one input. Two callers run them:
//!
//! - `cargo test -p guard --test fuzz`: the inputs in `seeds`, and some thousand from fixed numbers;
//! - the targets here, for as long as one likes: `cargo xtask fuzz options records`.

#![allow(unreachable_pub, reason = "the targets reach it, and the test, which has it as a module, need not")]

pub mod options;
pub mod records;
