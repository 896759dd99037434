//! For a job's native tests: what the runtime would supply.

/// Runs `test` with [`seed`](crate::seed) returning `seed` on this thread.
///
/// In a sandbox, where the runtime supplies the seed, it changes nothing.
pub fn with_seed<T>(seed: [u8; manyhands_abi::SEED_BYTES], test: impl FnOnce() -> T) -> T {
    #[cfg(not(target_arch = "wasm32"))]
    return crate::host::with_seed(seed, test);
    #[cfg(target_arch = "wasm32")]
    {
        let _ = seed;
        test()
    }
}
