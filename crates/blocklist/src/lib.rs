//! Whom a coordinator has banned, and why, for other coordinators that want to know: a line of JSON for each worker, and a signed seal behind
//! them.
//!
//! The seal holds the SHA-256 of everything before it, a serial that only grows, and until when it may be acted upon. It carries what it takes
//! to believe it: the root key, and the trust list that names the key that signed. A line may carry evidence, which is a worker's own
//! signature under a wrong answer; where it does, that is checked. What the right answer is, the issuer says.
//!
//! Start at [`read`]; [`Draft`] is how a list is written.

mod entry;
mod list;

pub use crate::entry::{Charge, Entry, Forged};
pub use crate::list::{Broken, Draft, LINES_BYTES_MAX, List, Seal, WORKERS_MAX, read};
