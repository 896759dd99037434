//! What the coordinator must never forget, and how it says so.
//!
//! A change of state is a [`Commit`]: plain data that says what must hold, what changes and which
//! request it answers. No closure and no open transaction crosses [`StateStore`], so an embedded
//! index, a database server and a test model can all carry out the same commit and agree on the
//! result. What a commit comes to is decided in one place, [`resolve()`]; engines only make it durable.
//!
//! Deliberately absent: files and threads (an engine's business), expiry by time (no clock lives
//! here), and a list of events beside the records: nothing would read it yet, and an engine's own
//! log already orders all changes by [`Revision`].
//!
//! Start at [`commit`], then [`store`]; [`MemoryStore`] is the shortest true engine, and
//! `conformance` (behind the feature of that name) is what every other engine must pass.

pub mod commit;
pub mod resolve;
pub mod store;
pub mod table;

#[cfg(feature = "conformance")]
pub mod conformance;
mod memory;

pub use crate::commit::{Commit, CommitError, Expect, IdempotencyKey, Op};
pub use crate::memory::MemoryStore;
pub use crate::resolve::{Change, Resolution, View, resolve};
pub use crate::store::{Checked, Problem, ReadError, Record, Revision, Space, StateStore};
pub use crate::table::{Key, Table};
