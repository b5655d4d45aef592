#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vbd::fuzz::nodes(bytes));
