//! A worker's mind, one for both runtimes.
//!
//! Sans-IO: no socket, clock, disk, engine or random source lives here. Feed it what happened with
//! [`Worker::handle`], then carry out what [`Worker::poll_effect`] asks for; wake it with
//! [`Input::TimePassed`] at [`Worker::wake_at`].
//!
//! It believes nothing that is not signed: the root key has to fit the fingerprint that the volunteer was
//! given, the trust list has to be signed by it and no older than one seen before, releases and leases by
//! a key on that list. What it executed is forgotten only when the coordinator says that it is on disk there.
//!
//! Start at [`Input`] and [`Effect`], then [`Worker`]; `belief` says what is executed at all, `link` when a
//! connection is tried and given up, `wishes` when its volunteer wants it to work.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod belief;
mod clock;
mod event;
mod link;
mod wishes;
mod worker;

#[cfg(test)]
mod tests;

pub use crate::clock::Clock;
pub use crate::event::{Event, Fatal, Pause, Refusal};
pub use crate::wishes::{Reason, Senses, Wishes};
pub use crate::worker::{Config, Effect, Input, Key, Order, Pace, Parcel, STOP_TIME, Worker};
