#![no_main]
//! See `manyhands_fuzz::server_message`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manyhands_fuzz::server_message::run(data);
});
