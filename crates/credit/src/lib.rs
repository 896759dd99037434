//! What workers have earned and what requesters have used up: a ledger in fuel.
//!
//! It is kept with double entry: whatever one account gets another one gives, in one step, so a book is balanced after each of
//! them and not only at the end of the day. There is no coin and no price here; an [`export`] says what was earned in closed hours,
//! signed, and others settle from it however they like.
//!
//! Start at [`book`] (accounts, lines, postings), then [`shares`] (who gets how much) and [`export`] (who may believe it). [`presence`] is about
//! time instead of fuel: how much of it a worker was there.

pub mod book;
pub mod export;
pub mod presence;
pub mod shares;

pub use crate::book::{Account, Amount, Balanced, Hour, Line, Place, Postings, Subject};
pub use crate::export::{Broken, Entry, Report, Seal, Sealer, SignedSeal, Verifier};
pub use crate::presence::{Attendance, Presence, Uptime};
pub use crate::shares::Shares;
