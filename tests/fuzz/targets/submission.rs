#![no_main]
//! See `manyhands_fuzz::submission`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::submission::run(data);
});
