#![no_main]
//! See `manyhands_fuzz::blocklist`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::blocklist::run(data);
});
