#![no_main]
//! See `manyhands_fuzz::sealing`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::sealing::run(data);
});
