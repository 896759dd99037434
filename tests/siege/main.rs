//! A coordinator under attack, from outside: does it go on serving honest clients, is every refusal clear,
//! and is everything given back afterwards?
//!
//! The attacks are lives of the sockets of `besieger`, a program of its own, so that their file descriptors
//! and their work are not those of the honest clients measured here. [`short`] is for every day and judges no
//! speed. [`long`] and [`flash`] measure; `cargo xtask siege` runs them with release programs.

#![allow(clippy::panic, reason = "a test that cannot go on says why and ends")]
#![allow(clippy::print_stdout, reason = "the tables are what the long forms are for")]

mod attack;
mod flash;
mod honest;
mod long;
mod modules;
mod report;
mod short;
// The besieger's own; not all of it is needed here.
#[allow(dead_code, reason = "frames that lie are for the besieger")]
#[path = "besieger/wire.rs"]
mod wire;
