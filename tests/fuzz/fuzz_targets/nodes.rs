#![no_main]

#[path = "../src/nodes.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::nodes(bytes));
