#![no_main]
//! See `manyhands_fuzz::outbox`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::outbox::run(data);
});
