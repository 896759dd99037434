#![no_main]
//! See `manyhands_fuzz::verifier`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::verifier::run(data);
});
