//! Bodies of the fuzz targets, a function for each: it takes one input. Two callers run them:
//!
//! - `cargo test -p bootcfg --test fuzz`: the inputs in `seeds`, and some thousand from fixed numbers;
//! - the targets here, for as long as one likes: `cargo +nightly fuzz run --fuzz-dir bootcfg/fuzz boot_ini
//!   bootcfg/fuzz/corpus/boot_ini bootcfg/fuzz/seeds/boot_ini`, with cargo-fuzz.

pub(crate) mod bcd;
pub(crate) mod boot_ini;
pub(crate) mod hive;
pub(crate) mod inf;
pub(crate) mod logs;
