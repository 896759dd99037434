#![no_main]
//! See `manyhands_fuzz::authorization`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::authorization::run(data);
});
