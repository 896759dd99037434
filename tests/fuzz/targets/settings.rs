#![no_main]
//! See `manyhands_fuzz::settings`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::settings::run(data);
});
