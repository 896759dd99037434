#![no_main]
//! See `manyhands_fuzz::module`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::module::run(data);
});
