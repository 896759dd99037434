//! Records that clients keep, so that a service need keep nothing about them.
//!
//! A client has one record for each job that uses them. It hands the record over with a request; a job reads it and writes the
//! next one, which goes back with the answer. The client can neither read nor change it, and cannot go back to an earlier one:
//!
//! ```text
//! client ──record 7, input──▶ open ──▶ life ──▶ (a unit, like any other) ──▶ seal ──record 8, output──▶ client
//! ```
//!
//! The coordinator remembers which record counts, by a number and a keyed digest, and under a name that nobody can guess back
//! to a client. Nothing here stores, sends or draws random bytes.
//!
//! Start at [`life`] (which record counts, and what is refused), then [`seal`] (the bytes), then [`written`] (what a job may write into one).

pub mod life;
pub mod seal;
pub mod written;

pub use crate::life::{Became, Exchange, Life, Refused, Step};
pub use crate::seal::{BadClientName, ClientName, NotOpened, Opened, Place, RecordKey, Stamp};
pub use crate::written::{Unusable, Written};
