//! The words of Manyhands as types.
//!
//! No behaviour beyond parsing, printing and arithmetic lives here, and nothing here can fail at run
//! time except a parser. Start at [`manifest`] (what a job declares; [`sensitive`] is its part about secrets, [`verb`] and
//! [`template`] those about calls), then [`outcome`] (how one execution ends); [`id`], [`digest`], [`digits`] and [`quantity`] are the small change.

pub mod digest;
pub mod digits;
pub mod id;
pub mod manifest;
pub mod outcome;
pub mod quantity;
pub mod sensitive;
pub mod template;
pub mod verb;

pub use crate::digest::Digest;
pub use crate::id::{IntentId, LeaseId, RunId, UnitId, WorkerId};
pub use crate::manifest::{Codec, JobName, Limits, Manifest, Version};
pub use crate::outcome::{Outcome, Verdict};
pub use crate::quantity::{Fuel, Timestamp};
pub use crate::sensitive::{Class, Place, Reveal, Sensitive, SensitiveFields};
pub use crate::template::Template;
pub use crate::verb::{Name, Verb, Verbs};
