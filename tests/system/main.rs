//! The whole, from outside: real coordinators, real runners, a liar, and the repository itself.
//!
//! A test waits for what it needs to see and never for a length of time; a test that fails shows the last
//! lines of every process it started.

#![allow(clippy::panic, reason = "a test that cannot go on says why and ends")]

mod attacks;
mod audit;
mod backup;
mod bad_input;
mod belonging;
mod calls;
mod canaries;
mod cheats;
mod console;
mod crash;
mod credit;
mod declared;
mod decoy_calls;
mod decoys;
mod examples;
mod forgery;
mod held;
mod limits;
mod publishing;
mod revocation;
mod runs;
mod secrets;
mod steering;
mod strangers;
mod takers;
mod throttling;
mod tidy;
mod verification;
