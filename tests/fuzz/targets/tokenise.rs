#![no_main]
//! See `manyhands_fuzz::tokenise`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::tokenise::run(data);
});
