//! How a JavaScript engine executes a sealed module.
//!
//! [`SCRIPT`] is what it executes: one script for volunteers' browsers and for whoever compares engines, so
//! that what is proven of the one holds for the other. [`frame`] is what it is asked and what it answers; how an
//! execution ended is read by [`manyhands_verifier::ending`], as every runtime must.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod frame;

use alloc::string::String;
use alloc::vec::Vec;

use manyhands_model::{Limits, Outcome};
use manyhands_protocol::Entry;
use manyhands_verifier::ending::NoOutcome;

/// A classic script without imports or exports: it declares `execute`, and whoever uses it adds the rest.
pub const SCRIPT: &str = include_str!("execute.js");

/// What is to be executed.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// Which function.
    pub entry: Entry,
    /// How many answers there are with the input.
    pub step: u32,
    /// What it reads; with answers, a frame of `manyhands_abi::parts`.
    pub input: &'a [u8],
    /// Its only randomness.
    pub seed: [u8; 32],
    /// What it may use.
    pub limits: Limits,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// What is compared with other engines.
    pub outcome: Outcome,
    /// The output if the verdict is `Ok`, the request if it is `Called`; else empty.
    pub output: Vec<u8>,
    /// Level and text of each line that was logged. For people, never compared.
    pub logs: Vec<(u8, String)>,
}

/// Why an answer tells of no outcome. Never the module's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It is not in the form of [`frame`].
    #[error("the script's answer cannot be read")]
    Unreadable,
    /// The engine and not the module ended it.
    #[error("{cause}: {said}")]
    NoOutcome {
        /// Why.
        cause: NoOutcome,
        /// What the engine said, for people.
        said: String,
    },
}
