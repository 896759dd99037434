#![no_main]
//! See `manyhands_fuzz::parts`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::parts::run(data);
});
