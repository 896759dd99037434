//! A log of what an operator must be able to prove later, and which nobody can change unnoticed.
//!
//! Each [`Entry`] is one line of JSON and holds the SHA-256 of the line before it, so who changes, removes or reorders one breaks the chain.
//! A [`Head`] names the last line and is signed by the coordinator: who keeps one elsewhere can prove that nothing before it was changed or cut
//! off since. Lines of JSON and not bytes of postcard, although these would be a third as long: what is hashed is the line as it stands
//! there, so that in ten years `sha256sum` and a reader of JSON are enough to check the chain.
//!
//! No entry has room for a value, a secret, or anything that a job or an upstream wrote: calls are told by their ids and digests.
//!
//! Start at [`entry`] (what is said), then [`head`] (what is signed) and [`verify`] (who may believe it).

pub mod entry;
pub mod head;
pub mod verify;

pub use crate::entry::{Answer, Call, End, Entry, Event, Found, Tail};
pub use crate::head::{Head, SignedHead};
pub use crate::verify::{Broken, Report, Verifier};
