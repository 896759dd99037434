#![no_main]
//! See `manyhands_fuzz::calls`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::calls::run(data);
});
