//! The volunteer's program: executes other people's jobs, locked away from everything else.
//!
//! [`engine`] executes a module; [`sandbox`] does that in a process that can do nothing else; [`cache`]
//! keeps what was compiled. The developer's tool uses these three as well. [`memory`] is what guests work in.
//! [`session`] is the volunteer's side: it carries out what `manyhands-worker` decides, with [`link`], [`identity`]
//! and [`outbox`].

pub mod cache;
pub mod engine;
pub mod identity;
pub mod link;
pub mod memory;
pub mod outbox;
pub mod sandbox;
pub mod session;
