#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bootcfg_fuzz::inf::take(data));
