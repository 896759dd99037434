//! For a job's tests: what the runtime would supply.

/// Runs `test` with [`seed`](crate::seed) returning `seed` on this thread.
pub fn with_seed<T>(seed: [u8; manyhands_abi::SEED_BYTES], test: impl FnOnce() -> T) -> T {
    crate::host::with_seed(seed, test)
}
