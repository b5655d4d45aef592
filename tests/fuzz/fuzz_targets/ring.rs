#![no_main]

#[path = "../src/ring.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::ring(bytes));
