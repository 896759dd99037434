//! Why a unit has no answer yet: one machine-readable word and one sentence, for every state there is.

use core::fmt;
use core::time::Duration;

use manyhands_credit::Amount;

use crate::unit::End;

/// Why a unit is where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It combines outputs that do not exist yet.
    NeedsParts {
        /// How many are missing.
        missing: u32,
    },
    /// Its parts exist; the coordinator is putting its input together.
    AssemblingInput,
    /// The coordinator makes the calls that it asked for.
    Calling {
        /// How many requests of it were answered before.
        step: u32,
    },
    /// Nobody is there.
    NoWorker,
    /// Workers are there, but each of them has answered already, holds a lease, or is banned.
    NeedsIndependentWorker {
        /// How many more are needed.
        more: usize,
        /// How many are connected.
        connected: usize,
    },
    /// Words have to be earned, and of those with a record nobody is there who may answer.
    NeedsRecord {
        /// How many workers are connected.
        connected: usize,
    },
    /// The operator's own machine has to say.
    NeedsAudit,
    /// What its owner paid in advance is used up.
    OutOfBudget {
        /// What is left: nothing, or less.
        left: Amount,
    },
    /// It takes longer than the workers that are there usually stay.
    NeedsStayingWorker {
        /// How many are connected.
        connected: usize,
    },
    /// Others go first.
    Queued {
        /// How many workers may take it.
        eligible: usize,
    },
    /// It is being executed.
    Running {
        /// By so many workers.
        by: usize,
        /// The furthest of them says it has done so much, in thousandths.
        permille: u16,
        /// The first of their leases ends after this long.
        lease_ends_in: Duration,
    },
    /// It has ended.
    Ended(End),
}

impl Reason {
    /// The machine-readable word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NeedsParts { .. } => "needs_parts",
            Self::AssemblingInput => "assembling_input",
            Self::Calling { .. } => "calling",
            Self::NoWorker => "no_worker",
            Self::NeedsIndependentWorker { .. } => "needs_independent_worker",
            Self::NeedsRecord { .. } => "needs_record",
            Self::NeedsAudit => "needs_audit",
            Self::NeedsStayingWorker { .. } => "needs_staying_worker",
            Self::OutOfBudget { .. } => "out_of_budget",
            Self::Queued { .. } => "queued",
            Self::Running { .. } => "running",
            Self::Ended(End::Done) => "done",
            Self::Ended(End::Failed) => "failed",
            Self::Ended(End::Undecided) => "undecided",
            Self::Ended(End::Skipped) => "skipped",
            Self::Ended(End::Cancelled) => "cancelled",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsParts { missing } => {
                write!(f, "combines the outputs of other units; {missing} of them have none yet")
            }
            Self::AssemblingInput => f.write_str("its parts are done; its input is being put together"),
            Self::Calling { step: 0 } => f.write_str("waits for the answers to the calls that it asked for"),
            Self::Calling { step } => {
                write!(f, "waits for the answers to the calls that it asked for, after {step} such requests")
            }
            Self::NoWorker => f.write_str("no worker is connected; start a runner with the join link"),
            Self::NeedsIndependentWorker { more, connected } => write!(
                f,
                "needs {more} more independent worker{}; {connected} connected, and none of them may answer again",
                if *more == 1 { "" } else { "s" }
            ),
            Self::NeedsRecord { connected } => write!(
                f,
                "waits for a worker with a record who has not answered yet and shares neither owner nor address with those who have; {connected} connected"
            ),
            Self::NeedsAudit => f.write_str("waits for the operator's own machine to execute it"),
            Self::NeedsStayingWorker { connected } => write!(
                f,
                "takes longer than workers like the {connected} connected ones usually stay; one that has stayed for so long gets it"
            ),
            Self::OutOfBudget { left } => {
                write!(
                    f,
                    "its owner's budget is used up: {left} fuel left; ask the operator for a deposit, or cancel the run"
                )
            }
            Self::Queued { eligible } => {
                write!(
                    f,
                    "waits for its turn; {eligible} connected worker{} may take it",
                    if *eligible == 1 { "" } else { "s" }
                )
            }
            Self::Running { by, permille, lease_ends_in } => write!(
                f,
                "is being executed by {by} worker{}{}; the first lease ends in {} s",
                if *by == 1 { "" } else { "s" },
                if *permille == 0 { String::new() } else { format!(", {} % done", permille / 10) },
                lease_ends_in.as_secs()
            ),
            Self::Ended(End::Done) => f.write_str("has its answer"),
            Self::Ended(End::Failed) => f.write_str("workers agree that the job fails on this input"),
            Self::Ended(End::Undecided) => {
                f.write_str("workers did not agree, or their machines failed too often; retry the run to try again")
            }
            Self::Ended(End::Skipped) => {
                f.write_str("a unit whose output it needs has none; retry the run to try again")
            }
            Self::Ended(End::Cancelled) => f.write_str("the run was cancelled"),
        }
    }
}
