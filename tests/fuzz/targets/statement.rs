#![no_main]
//! See `manyhands_fuzz::statement`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::statement::run(data);
});
