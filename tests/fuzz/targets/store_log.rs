#![no_main]
//! See `manyhands_fuzz::store_log`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::store_log::run(data);
});
