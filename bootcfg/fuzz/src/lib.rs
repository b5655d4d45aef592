//! Bodies of the fuzz targets, a function for each: it takes one input. Two callers run them:
//!
//! - `cargo test -p bootcfg --test fuzz`: the inputs in `seeds`, and some thousand from fixed numbers;
//! - the targets here, for as long as one likes: `cargo xtask fuzz boot_ini`.

#![allow(unreachable_pub, reason = "the targets reach it, and the test, which has it as a module, need not")]

pub mod bcd;
pub mod boot_ini;
pub mod hive;
pub mod inf;
pub mod logs;
