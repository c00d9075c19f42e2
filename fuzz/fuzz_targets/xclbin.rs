#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hs_fuzz_targets::xclbin(data));
