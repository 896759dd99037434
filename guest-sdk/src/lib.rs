//! Write a Manyhands job: a pure function that many computers execute and whose answers are compared.
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! #[derive(Deserialize)]
//! pub struct Range { from: u64, to: u64 }
//!
//! #[derive(Serialize)]
//! pub struct Primes { count: usize }
//!
//! #[manyhands::job]
//! pub fn count_primes(range: Range) -> Result<Primes, String> {
//!     if range.to < range.from {
//!         return Err(format!("`to` is {}, less than `from`", range.to));
//!     }
//!     let is_prime = |n: &u64| *n > 1 && (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0);
//!     Ok(Primes { count: (range.from..range.to).filter(is_prime).count() })
//! }
//!
//! assert_eq!(count_primes(Range { from: 0, to: 100 }).map(|primes| primes.count), Ok(25));
//! ```
//!
//! The function stays an ordinary function, so ordinary tests call it. Compiled for
//! `wasm32-unknown-unknown` its crate (a `cdylib`) is a module that a runtime executes once for each input.
//!
//! Deliberately absent: clocks, files, sockets, threads, and randomness other than [`seed`]. Start at
//! [`macro@job`]; what a job can do besides computing is [`seed`], [`info!`] and its siblings,
//! [`progress`], [`abort`], and [`call`] for the verbs of its manifest. Values that no worker may see are [`token`]s, by the types of
//! the input ([`macro@Sensitive`]). [`testing`] stands in for the runtime in native tests.

mod call;
mod draft;
mod entry;
mod host;
#[cfg(any(feature = "small", test))]
mod json;
mod log;
mod sensitive;
#[cfg(any(all(feature = "small", target_arch = "wasm32"), test))]
mod small;
pub mod testing;
pub mod token;

/// The seed of this execution: 32 bytes, equal for all replicas of a unit, different between units.
///
/// The only source of randomness; feed it to a generator of your choice. Natively all zeros, or what
/// [`testing::with_seed`] says.
pub fn seed() -> [u8; manyhands_abi::SEED_BYTES] {
    host::seed()
}

/// Tells people how far the execution is. A hint that never changes an answer.
pub fn progress(done: u64, total: u64) {
    let permille = u128::from(done.min(total)) * 1000 / u128::from(total.max(1));
    host::progress(permille as u32);
}

/// Ends the execution with a failure of your own, for those who tell failures apart by number.
///
/// Returning an error is the usual way. Natively it panics with the message.
///
/// # Panics
/// When `code` is below [`ABORT_CODE_MIN`]; smaller ones have a meaning already.
#[track_caller]
pub fn abort(code: u32, message: &str) -> ! {
    assert!(code >= ABORT_CODE_MIN, "abort code {code} is reserved; use {ABORT_CODE_MIN} or above");
    host::abort(code, message)
}

/// The smallest code that [`abort`] takes.
pub const ABORT_CODE_MIN: u32 = manyhands_abi::ABORT_CUSTOM_MIN;

pub use crate::call::{Fault, call, call_all};
pub use crate::draft::Draft;
pub use crate::log::{Level, log};
pub use crate::sensitive::Sensitive;
pub use manyhands_macros::{Sensitive, job, reduce};

/// What the macros' output calls. Not covered by any promise of stability.
#[doc(hidden)]
pub mod __private {
    pub use crate::draft::Shown;
    pub use crate::entry::*;
    pub use crate::sensitive::{Input, Shape, Unsaid, declares, joinable, list, surrogate, text};
    /// The functions that tests' harness needs.
    #[cfg(target_arch = "wasm32")]
    pub mod host {
        pub use crate::host::{abort, input, output};
    }
}
