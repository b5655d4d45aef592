#![no_main]

#[path = "../src/cdb.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::cdb(bytes));
