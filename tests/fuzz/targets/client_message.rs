#![no_main]
//! See `manyhands_fuzz::client_message`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::client_message::run(data);
});
