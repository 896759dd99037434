#![no_main]
//! See `manyhands_fuzz::store_snapshot`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::store_snapshot::run(data);
});
