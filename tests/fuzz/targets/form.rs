#![no_main]
//! See `manyhands_fuzz::form`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::form::run(data);
});
