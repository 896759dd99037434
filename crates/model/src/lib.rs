//! The words of Manyhands as types.
//!
//! No behaviour beyond parsing, printing and arithmetic lives here, and nothing here can fail at run
//! time except a parser. Start at [`manifest`] (what a job declares), then [`outcome`] (how one
//! execution ends); [`id`], [`digest`], [`digits`], [`mod@array`] and [`quantity`] are the small change.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod array;
pub mod digest;
pub mod digits;
pub mod id;
pub mod manifest;
pub mod outcome;
pub mod quantity;

pub use crate::digest::Digest;
pub use crate::id::{LeaseId, RunId, UnitId, WorkerId};
pub use crate::manifest::{Codec, JobName, Limits, Manifest, Version};
pub use crate::outcome::{Outcome, Verdict};
pub use crate::quantity::{Fuel, Timestamp};
