#![no_main]
//! See `manyhands_fuzz::sandbox`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::sandbox::run(data);
});
