#![no_main]
//! See `manyhands_fuzz::manifest`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::manifest::run(data);
});
