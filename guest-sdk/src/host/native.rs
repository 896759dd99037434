//! Outside a sandbox, in native tests.

use core::cell::Cell;

use manyhands_abi::SEED_BYTES;

use crate::Level;

thread_local! {
    // Of the thread, so that tests that run side by side do not see each other's.
    static SEED: Cell<[u8; SEED_BYTES]> = const { Cell::new([0; SEED_BYTES]) };
}

pub(crate) fn seed() -> [u8; SEED_BYTES] {
    SEED.get()
}

pub(crate) fn with_seed<T>(seed: [u8; SEED_BYTES], test: impl FnOnce() -> T) -> T {
    /// Puts the old seed back even when the test panics.
    struct Restore([u8; SEED_BYTES]);
    impl Drop for Restore {
        fn drop(&mut self) {
            SEED.set(self.0);
        }
    }
    let _restore = Restore(SEED.replace(seed));
    test()
}

pub(crate) fn log(level: Level, text: &str) {
    eprintln!("{level:?}: {text}");
}

pub(crate) fn progress(_permille: u32) {}

#[expect(clippy::panic, reason = "a test notices a panic, and there is no execution to end")]
pub(crate) fn abort(code: u32, message: &str) -> ! {
    panic!("the job gave up with code {code}: {message}")
}

#[expect(clippy::panic, reason = "a test notices a panic, and there is no coordinator to ask")]
pub(crate) fn call(_request: &[u8]) -> Vec<u8> {
    panic!("nobody makes calls here; say what they answer with `manyhands::testing::with_calls`")
}
