//! What a runtime needs to trust a sealed module.
//!
//! - [`cost`], [`frame`]: what work and stack cost, the two published tables;
//! - [`module`], [`token`], [`calls`]: a module, its instructions, and who calls whom in it;
//! - [`mod@verify`]: whether a sealed module pays for everything it does;
//! - [`ending`]: what an execution's end means, read from what the module itself wrote.
//!
//! Absent on purpose: engines, and the sealer. Whoever lends a computer runs this and need not believe
//! whoever sealed the module.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod calls;
pub mod cost;
pub mod ending;
pub mod frame;
pub mod module;
mod reader;
pub mod token;
pub mod verify;

pub use reader::Malformed;
pub use verify::{Fault, verify};
