//! From a request for calls to one outgoing call each.
//!
//! A job asks for calls of its manifest's verbs; replicas agree on the bytes of what it asks. Then, for each call:
//!
//! ```text
//! bytes ──intent──▶ Intent ──budget, journal──▶ claimed ──fill──▶ Outgoing ──▶ (the network) ──answer──▶ Heard
//! ```
//!
//! Nothing here sends, stores or reads a clock. Sensitive values are met in two places: [`fill()`] puts them into the slots
//! where the verb declares them, and [`answer`] takes them out of what comes back; both come and go through the caller.
//!
//! Start at [`intent`] (what is asked, and what is refused), then [`journal`] (the life of an intent: one effect however often
//! things crash). [`plan`] says beforehand what a job could ever do with all of this.

pub mod answer;
pub mod budget;
pub mod catalogue;
pub mod echo;
pub mod fill;
pub mod intent;
pub mod journal;
pub mod key;
pub mod plan;
mod read;

pub use crate::answer::{Fault, Field, Heard, hear};
pub use crate::budget::{Day, Exhausted, Reservation, give_back, reserve};
pub use crate::catalogue::{Catalogue, Known};
pub use crate::echo::Live;
pub use crate::fill::{Outgoing, Unfit, fill};
pub use crate::intent::{BadRequest, Given, Intent, Own, Refused, admit};
pub use crate::journal::{Event, Fence, Outcome, State};
pub use crate::key::{CallKey, IdempotencyKey};
pub use crate::plan::Plan;
