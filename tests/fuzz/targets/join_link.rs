#![no_main]
//! See `manyhands_fuzz::join_link`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::join_link::run(data);
});
