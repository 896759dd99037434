//! What the system tests are made of: real processes and the real protocol, seen from outside.
//!
//! Nothing in here is part of the product. [`Coordinator`] and [`Runner`] are child processes that die with
//! the value that names them; [`Worker`] speaks the worker's protocol honestly or not, as its owner likes;
//! [`Proxy`] is a bad network; [`browser`] drives real browsers, and [`Site`] serves them pages of a test's own; [`jobs`]
//! holds small modules written as text, [`examples`] builds those that ship with Manyhands.

#![allow(clippy::panic, reason = "a test that cannot go on says why and ends")]

pub mod browser;
mod coordinator;
pub mod examples;
pub mod jobs;
pub mod machine;
mod process;
mod proxy;
mod site;
mod wait;
mod worker;

pub use crate::coordinator::{Coordinator, Refused, publication};
pub use crate::process::{Liar, Process, Runner, run, run_limited, workspace};
pub use crate::proxy::{Line, Proxy, Weather};
pub use crate::site::{Page, Site};
pub use crate::wait::{PATIENCE, until};
pub use crate::worker::{Lost, Unit, Worker};
