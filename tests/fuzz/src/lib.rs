//! Fuzz targets: every decoder of the project that reads bytes which somebody else wrote.
//!
//! A target is a function from bytes to `bool`, whether they meant anything. It panics when a promise is
//! broken, and each promises more than not to panic: what was read is written back the same, what comes in
//! pieces is read as in one, nothing allocates much more than it was given ([`promise::bounded`]).
//!
//! The same functions run in two ways. `cargo xtask fuzz` builds the programs in `targets/` with coverage
//! counters and lets libFuzzer search; `tests/replay.rs` runs the corpora that it found, in `corpora/`, with every
//! other test. Each target makes its own seeds, so a new format gets new corpora from one command.
#![expect(clippy::unwrap_used, reason = "a target reports a broken promise by its panic, as a test does")]

pub mod authorization;
pub mod blocklist;
pub mod calls;
pub mod client_message;
pub mod form;
pub mod join_link;
pub mod manifest;
pub mod module;
pub mod outbox;
pub mod parts;
pub mod promise;
pub mod sandbox;
pub mod sealing;
pub mod server_message;
pub mod settings;
pub mod statement;
pub mod store_log;
pub mod store_snapshot;
pub mod submission;
pub mod tokenise;
pub mod verifier;

mod example;

use std::path::{Path, PathBuf};

// The runner's file in `sandbox` looks for it here.
use manyhands_runner::engine;

/// One decoder and its promises.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Names its program and its corpus.
    pub name: &'static str,
    /// Whether these bytes meant anything. Panics when a promise is broken.
    pub run: fn(&[u8]) -> bool,
    /// Real messages to begin with; each means something.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident)*) => {
        /// Every target, by name.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }),*];
    };
}
targets! {
    authorization blocklist calls client_message form join_link manifest module outbox parts sandbox sealing server_message settings
    statement store_log store_snapshot submission tokenise verifier
}

/// Where the committed corpora are, one folder a target.
pub fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora")
}
