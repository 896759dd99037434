//! What the system tests are made of: real processes and the real protocol, seen from outside.
//!
//! Nothing in here is part of the product. [`Coordinator`] and [`Runner`] are child processes that die with
//! the value that names them; [`Worker`] speaks the worker's protocol honestly or not, as its owner likes;
//! [`Proxy`] is a bad network; [`jobs`] holds small modules written as text.

#![allow(clippy::panic, reason = "a test that cannot go on says why and ends")]

mod coordinator;
pub mod jobs;
pub mod machine;
mod process;
mod proxy;
mod wait;
mod worker;

pub use crate::coordinator::{Coordinator, Refused, publication};
pub use crate::process::{Liar, Process, Runner, run, run_limited, workspace};
pub use crate::proxy::{Line, Proxy, Weather};
pub use crate::wait::{PATIENCE, until};
pub use crate::worker::{Lost, Unit, Worker};
