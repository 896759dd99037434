//! One unit in several processes, and whether they agree.

use core::time::Duration;

use manyhands_model::{Limits, Outcome};
use manyhands_protocol::Entry;
use manyhands_runner::engine::{Executed, Execution};
use manyhands_sealer::Sealed;

use crate::fault::{Fault, Result};

/// A sealed module, ready to be executed.
pub(super) struct Job {
    limits: Limits,
    replicas: usize,
}

/// What the replicas of one unit say.
#[derive(Debug)]
pub(super) enum Answer {
    /// All the same.
    Agreed {
        /// What the first of them gave.
        executed: Executed,
        /// How many they were.
        replicas: u32,
    },
    /// Not all the same.
    Disagreed {
        /// Who said what.
        sentence: String,
    },
    /// At least one did not end in time, which is no verdict.
    Overtime {
        /// After how long.
        sentence: String,
    },
}
impl Answer {
    pub(super) fn output(&self) -> Option<&[u8]> {
        match self {
            Self::Agreed { executed, .. } if executed.outcome.verdict.is_ok() => Some(&executed.output),
            _ => None,
        }
    }
    pub(super) fn fuel(&self) -> u64 {
        match self {
            Self::Agreed { executed, .. } => executed.outcome.fuel.0,
            _ => 0,
        }
    }
    pub(super) fn logs(&self) -> impl Iterator<Item = (String, String)> {
        core::iter::empty()
    }
}
impl Job {
    pub(super) async fn open(sealed: Sealed, replicas: usize) -> Result<Self> {
        Ok(Self { limits: sealed.manifest.limits, replicas })
    }
    pub(super) async fn execute(&self, entry: Entry, input: Vec<u8>, seed: [u8; 32]) -> Result<Answer> {
        let _ = Execution { entry, input, seed, limits: self.limits };
        let _: (Option<Outcome>, Duration);
        let _ = self.replicas;
        Err(Fault::bug("x"))
    }
}
