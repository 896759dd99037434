//! Inside the sandbox: the functions of `manyhands_v1` behind safe signatures.
#![allow(unsafe_code, reason = "calling an import is unsafe; nothing else in the SDK is")]

use core::cell::Cell;

use manyhands_abi::SEED_BYTES;

use crate::Level;

/// As in `manyhands_abi::IMPORTS`. On this target addresses and lengths are `i32` in WebAssembly's eyes.
mod import {
    #[link(wasm_import_module = "manyhands_v1")]
    unsafe extern "C" {
        pub(super) safe fn input_len() -> usize;
        pub(super) fn input_read(to: *mut u8, offset: usize, bytes: usize);
        pub(super) fn seed_read(to: *mut u8);
        pub(super) fn output_write(from: *const u8, bytes: usize);
        pub(super) fn log(level: u32, from: *const u8, bytes: usize);
        pub(super) safe fn progress(permille: u32);
        pub(super) fn abort(code: u32, from: *const u8, bytes: usize) -> !;
        pub(super) fn call_all(from: *const u8, bytes: usize) -> usize;
        pub(super) fn answer_read(to: *mut u8, offset: usize, bytes: usize);
    }
}

/// The whole input.
pub fn input() -> Vec<u8> {
    let mut input = vec![0; import::input_len()];
    // SAFETY: the runtime writes exactly `input.len()` bytes, and `input` has that many.
    unsafe { import::input_read(input.as_mut_ptr(), 0, input.len()) };
    input
}

thread_local! {
    /// What a test wants the seed to be. One thread is all there is, so this is a plain variable.
    static SEED: Cell<Option<[u8; SEED_BYTES]>> = const { Cell::new(None) };
}

pub(crate) fn with_seed<T>(seed: [u8; SEED_BYTES], test: impl FnOnce() -> T) -> T {
    let old = SEED.replace(Some(seed));
    // A panic ends the execution, so there is nothing to put back then.
    let result = test();
    SEED.set(old);
    result
}

pub(crate) fn seed() -> [u8; SEED_BYTES] {
    if let Some(seed) = SEED.get() {
        return seed;
    }
    let mut seed = [0; SEED_BYTES];
    // SAFETY: the runtime writes exactly `SEED_BYTES` bytes.
    unsafe { import::seed_read(seed.as_mut_ptr()) };
    seed
}

/// Appends to the output.
pub fn output(bytes: &[u8]) {
    // SAFETY: the runtime only reads, and only `bytes`.
    unsafe { import::output_write(bytes.as_ptr(), bytes.len()) };
}

pub(crate) fn log(level: Level, text: &str) {
    // SAFETY: the runtime only reads, and only `text`.
    unsafe { import::log(level as u32, text.as_ptr(), text.len()) };
}

pub(crate) fn progress(permille: u32) {
    import::progress(permille);
}

/// Ends the execution.
pub fn abort(code: u32, message: &str) -> ! {
    // SAFETY: the runtime only reads, and only `message`; it ends the execution instead of returning.
    unsafe { import::abort(code, message.as_ptr(), message.len()) }
}

/// The answers to a request for calls; ends the execution if there are none yet.
pub(crate) fn call(request: &[u8]) -> Vec<u8> {
    // SAFETY: the runtime only reads, and only `request`.
    let mut answers = vec![0; unsafe { import::call_all(request.as_ptr(), request.len()) }];
    // SAFETY: the runtime writes exactly `answers.len()` bytes, and `answers` has that many.
    unsafe { import::answer_read(answers.as_mut_ptr(), 0, answers.len()) };
    answers
}
