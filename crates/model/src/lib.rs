//! The words of Manyhands as types.
//!
//! No behaviour beyond parsing, printing and arithmetic lives here, and nothing here can fail at run
//! time except a parser. Start at [`manifest`] (what a job declares; [`sensitive`] is its part about
//! secrets, [`verb`] and [`template`] those about calls), then [`outcome`] (how one execution ends);
//! [`id`], [`digest`], [`digits`], [`mod@array`] and [`quantity`] are the small change.
//!
//! Workers read no manifests, and a browser fetches no reader of them: what only those need who do is
//! behind the feature `manifest`.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod array;
pub mod digest;
pub mod digits;
pub mod id;
pub mod judge;
pub mod manifest;
pub mod outcome;
pub mod quantity;
#[cfg(feature = "manifest")]
pub mod sensitive;
#[cfg(feature = "manifest")]
pub mod template;
#[cfg(feature = "manifest")]
pub mod verb;

pub use crate::digest::Digest;
pub use crate::id::{IntentId, LeaseId, RunId, UnitId, WorkerId};
pub use crate::judge::Judge;
#[cfg(feature = "manifest")]
pub use crate::manifest::Manifest;
pub use crate::manifest::{Codec, JobName, Limits, Version};
pub use crate::outcome::{Outcome, Verdict};
pub use crate::quantity::{Fuel, Timestamp};
#[cfg(feature = "manifest")]
pub use crate::sensitive::{Class, Place, Reveal, Sensitive, SensitiveFields};
#[cfg(feature = "manifest")]
pub use crate::template::Template;
#[cfg(feature = "manifest")]
pub use crate::verb::{Name, Verb, Verbs};
