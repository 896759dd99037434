//! The coordinator: gives work to computers that it does not trust, and serves the HTTP API.
//!
//! A shell around `manyhands-scheduler`, which decides, and `manyhands-store`, which remembers.
//! [`start`] puts everything together; [`core`] drives the scheduler; [`workers`] talks to workers and
//! [`api`] to everybody else. Below them: [`records`], what is kept; [`authority`], what is signed;
//! [`serve`], how slow a client may be; [`throttle`], how often it may come. [`console`] shows operators what happens.

pub mod api;
pub mod app;
pub mod assets;
pub mod audit;
pub mod auditing;
pub mod auth;
pub mod authority;
pub mod backup;
pub mod blocklists;
pub mod calls;
pub mod catalogue;
pub mod census;
pub mod clock;
pub mod console;
pub mod core;
pub mod credit;
pub mod desk;
pub mod hub;
pub mod idempotency;
pub mod inputs;
pub mod invitations;
pub mod keys;
pub mod log;
pub mod metrics;
pub mod numbers;
pub mod origins;
pub mod private_file;
pub mod problem;
pub mod records;
pub mod repeats;
pub mod revocations;
pub mod roots;
pub mod secrets;
pub mod serve;
pub mod settings;
pub mod sink;
pub mod throttle;
pub mod upkeep;
pub mod uptime;
pub mod vault;
pub mod workers;

mod start;

pub use crate::start::{Running, StartError, start};
