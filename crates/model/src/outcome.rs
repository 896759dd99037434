//! How one execution of a unit ends.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, Fuel};

/// The six ways in which a deterministic execution ends. Replicas are compared on this and on fuel.
///
/// Whatever the machine and not the module causes (a killed process, no memory, a missed deadline) is
/// not a verdict: it is never compared and only a reason to try elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The job returned; this is its output.
    Ok {
        /// SHA-256 of the output.
        output: Digest,
        /// Length of the output.
        output_bytes: u64,
    },
    /// The job used all the fuel that its manifest grants.
    OutOfFuel,
    /// The job's calls nested more deeply than the stack that every engine has.
    OutOfStack,
    /// The job gave up and said why.
    Aborted {
        /// 1: the job returned an error. 2: it panicked. Larger codes are the job's own.
        code: u32,
        /// What it said, at most `manyhands_abi::ABORT_MESSAGE_BYTES_MAX` bytes.
        message: String,
    },
    /// The module executed a WebAssembly trap.
    Trap,
    /// The job asks for calls that have no answer yet. Once they have, the unit is executed again with the answers.
    Called {
        /// SHA-256 of the request.
        calls: Digest,
        /// Length of the request.
        calls_bytes: u64,
    },
}

/// An outcome: what a quorum compares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Outcome {
    /// How the execution ended.
    pub verdict: Verdict,
    /// Fuel used until then.
    pub fuel: Fuel,
}

impl Outcome {
    /// Whether `output` is what this outcome says came out: an output, a request for calls, or nothing.
    pub fn is_of(&self, output: &[u8]) -> bool {
        match self.verdict.content() {
            Some((digest, bytes)) => output.len() as u64 == bytes && Digest::of(output) == digest,
            None => output.is_empty(),
        }
    }
}

impl Verdict {
    /// Digest and length of what came out: the output, or the request for calls.
    pub const fn content(&self) -> Option<(Digest, u64)> {
        match self {
            Self::Ok { output: digest, output_bytes: bytes } | Self::Called { calls: digest, calls_bytes: bytes } => {
                Some((*digest, *bytes))
            }
            Self::OutOfFuel | Self::OutOfStack | Self::Aborted { .. } | Self::Trap => None,
        }
    }

    /// Whether the job returned an output.
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ok { .. })
    }

    /// The machine-readable word for this verdict.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::OutOfFuel => "out_of_fuel",
            Self::OutOfStack => "out_of_stack",
            Self::Aborted { .. } => "aborted",
            Self::Trap => "trap",
            Self::Called { .. } => "called",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { output, output_bytes } => write!(f, "ok: {output_bytes} bytes, sha256 {}", output.short()),
            Self::OutOfFuel => f.write_str(
                "the job ran out of fuel; raise `limits.fuel` in its manifest or give it less work per unit",
            ),
            Self::OutOfStack => f.write_str("the job recursed too deeply"),
            Self::Aborted { code: 1, message } => write!(f, "the job returned an error: {message}"),
            Self::Aborted { code: 2, message } => write!(f, "the job panicked: {message}"),
            Self::Aborted { code, message } => write!(f, "the job gave up with code {code}: {message}"),
            Self::Trap => f.write_str("the job executed a WebAssembly trap, such as an access out of bounds"),
            Self::Called { calls_bytes, .. } => write!(f, "the job asks for calls: {calls_bytes} bytes"),
        }
    }
}
