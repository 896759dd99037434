//! The developer's tool: from an empty folder to verified results.
//!
//! Data goes to stdout and everything else to stderr; the exit code says how it went (see [`fault::Exit`]).
//! Nothing here decides about trust: sealing is the sealer's, execution the runner's, verification the
//! coordinator's, and this crate only asks them and shows what they say.
//!
//! Start reading at [`args`] (every command line there is), then [`dispatch`]. Commands without a
//! coordinator are in [`scaffold`], [`build`], [`foreign`], [`check`], [`samples`] and [`local`]; those with one in [`remote`],
//! [`watch`] and [`calls`], on top of [`client`].

pub mod args;
mod dispatch;

pub mod build;
pub mod check;
pub mod foreign;
pub mod local;
pub mod metadata;
pub mod samples;
pub mod scaffold;
pub mod section;

pub mod audit;
pub mod blocklist;
pub mod calls;
pub mod client;
pub mod credit;
pub mod invite;
pub mod profile;
pub mod publisher;
pub mod remote;
pub mod sse;
pub mod watch;

pub mod fault;
pub mod inputs;
pub mod screen;

pub use crate::dispatch::dispatch;
