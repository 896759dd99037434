//! For a job's tests: what the runtime would supply.

/// Runs `test` with [`seed`](crate::seed) returning `seed` on this thread.
pub fn with_seed<T>(seed: [u8; manyhands_abi::SEED_BYTES], test: impl FnOnce() -> T) -> T {
    crate::host::with_seed(seed, test)
}

/// Runs `test` with an API of the test's own: what it says to a verb and its slots, as JSON text, is what
/// [`call`](crate::call) returns on this thread.
pub fn with_calls<T>(
    api: impl FnMut(&str, &str) -> Result<String, crate::Fault> + 'static,
    test: impl FnOnce() -> T,
) -> T {
    crate::call::with_calls(Box::new(api), test)
}
