//! What a volunteer might want to know.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use manyhands_model::quantity::milliseconds;
use manyhands_model::{JobName, Outcome, UnitId};
use manyhands_protocol::Settlement;
use manyhands_signing::Untrusted;

use crate::wishes::Reason;

/// Why the worker does not execute what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A signature, a date or a key is not believed.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The lease is for another worker.
    #[error("the lease is for another worker")]
    NotOurs,
    /// No release came with the lease or before it.
    #[error("the lease names a module without a release")]
    NoRelease,
    /// Lease and release do not belong together.
    #[error("lease and release do not belong together")]
    Mismatch,
    /// The release was withdrawn.
    #[error("the release was withdrawn by the coordinator's trust list")]
    Withdrawn,
    /// The input is not the one that the lease names.
    #[error("the input is not the one that the lease names")]
    WrongInput,
    /// The module is not the one that the release names.
    #[error("the module is not the one that the release names")]
    WrongModule,
}

impl Refusal {
    /// Whether something is wrong with the unit that was given, and not with a clock, a key or a release, which says
    /// nothing about it.
    pub(crate) const fn is_of_this_unit(&self) -> bool {
        match self {
            Self::NotOurs | Self::Mismatch | Self::WrongInput | Self::WrongModule => true,
            Self::Untrusted(_) | Self::NoRelease | Self::Withdrawn => false,
        }
    }
}

/// Why the worker cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The coordinator refused it, for this reason, and not for a while only.
    #[error("the coordinator does not want this worker: {0}")]
    Unwanted(String),
    /// Whoever answers is not whom the volunteer trusts.
    #[error("this is not the coordinator of the join link, or not to be believed: {0}")]
    Untrusted(Untrusted),
    /// Nothing can be signed, for this reason, or nobody's signature be checked.
    #[error("this worker's key cannot be used: {0}")]
    NoKey(String),
}

impl Fatal {
    /// The machine-readable word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unwanted(_) => "unwanted",
            Self::Untrusted(_) => "untrusted",
            Self::NoKey(_) => "no_key",
        }
    }
}

/// Why no work is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Somebody asked for it. What was begun is finished.
    Asked,
    /// The volunteer does not want to work under the circumstances. What was begun is given back.
    Unwanted(Reason),
}

impl Pause {
    pub(crate) const fn is_at_once(self) -> bool {
        matches!(self, Self::Unwanted(_))
    }
}

/// Something that a volunteer might want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The coordinator took the worker on.
    Joined,
    /// The connection is gone; the next try comes after this long.
    Lost {
        /// Why.
        reason: String,
        /// When the next try comes.
        retry_in: Duration,
    },
    /// A unit begins.
    Started {
        /// Which.
        unit: UnitId,
        /// Of which job.
        job: JobName,
    },
    /// The coordinator's clock and this computer's differ so much that leases are not believed.
    ClockDiffers {
        /// By so much.
        by: Duration,
        /// Whether this computer's is ahead.
        ahead: bool,
    },
    /// A unit was executed.
    Executed {
        /// Which.
        unit: UnitId,
        /// How it ended, and what that took.
        outcome: Outcome,
    },
    /// The coordinator has a report on disk.
    Recorded {
        /// On which unit.
        unit: UnitId,
    },
    /// The coordinator does not count a report.
    NotCounted {
        /// On which unit.
        unit: UnitId,
        /// Why.
        reason: String,
    },
    /// Something was not executed.
    Refused(Refusal),
    /// This machine could not execute a unit.
    MachineFailed {
        /// Why.
        reason: String,
    },
    /// A unit was not finished by its deadline; somebody else has it now.
    TooLate {
        /// Which.
        unit: UnitId,
    },
    /// After several failures no work is taken for a while.
    Resting {
        /// For so long.
        wait: Duration,
    },
    /// What became of a unit that this worker executed.
    Settled {
        /// Which.
        unit: UnitId,
        /// What.
        settlement: Settlement,
    },
    /// What this worker has earned so far at this coordinator, less what was taken back.
    Balance {
        /// Points of fuel.
        fuel: u64,
    },
    /// Other machines computed something else, more often than was known before.
    Contradicted {
        /// So many of its answers.
        contradicted: u64,
        /// Of so many that were compared.
        settled: u64,
    },
    /// No new work is taken.
    Paused(Pause),
    /// New work is taken again.
    Resumed,
    /// What was begun is finished, then the worker ends.
    Draining {
        /// Units that are being executed.
        units: usize,
    },
    /// The worker ends.
    Left {
        /// Units that it executed.
        executed: u64,
        /// Reports that the coordinator has on disk.
        recorded: u64,
        /// Reports that wait on this computer for the next start.
        kept: usize,
    },
}

impl Event {
    /// The machine-readable word for this event.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Lost { .. } => "lost",
            Self::ClockDiffers { .. } => "clock_differs",
            Self::Started { .. } => "started",
            Self::Executed { .. } => "executed",
            Self::Recorded { .. } => "recorded",
            Self::NotCounted { .. } => "not_counted",
            Self::Refused(_) => "refused",
            Self::MachineFailed { .. } => "machine_failed",
            Self::TooLate { .. } => "too_late",
            Self::Resting { .. } => "resting",
            Self::Settled { .. } => "settled",
            Self::Balance { .. } => "balance",
            Self::Contradicted { .. } => "contradicted",
            Self::Paused(_) => "paused",
            Self::Resumed => "resumed",
            Self::Draining { .. } => "draining",
            Self::Left { .. } => "left",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined => f.write_str("joined the coordinator"),
            Self::Lost { reason, retry_in } => {
                write!(f, "no connection ({reason}); trying again in {}", Seconds(*retry_in))
            }
            Self::ClockDiffers { by, ahead } => {
                let direction = if *ahead { "ahead of" } else { "behind" };
                let by = by.as_secs();
                write!(
                    f,
                    "this computer's clock is {by} s {direction} the coordinator's; set it, or no unit is believed"
                )
            }
            Self::Started { unit, job } => write!(f, "{job}: unit {} of {} started", unit.index, unit.run.short()),
            Self::Executed { unit, outcome } => {
                write!(f, "unit {} of {} executed: {}", unit.index, unit.run.short(), outcome.verdict)
            }
            Self::Recorded { unit } => {
                write!(f, "the result of unit {} of {} was recorded", unit.index, unit.run.short())
            }
            Self::NotCounted { unit, reason } => {
                write!(f, "the result of unit {} of {} does not count: {reason}", unit.index, unit.run.short())
            }
            Self::Refused(refusal) => write!(f, "refused to execute a unit: {refusal}"),
            Self::MachineFailed { reason } => write!(f, "this machine could not execute a unit: {reason}"),
            Self::TooLate { unit } => {
                write!(f, "unit {} of {} was not finished by its deadline", unit.index, unit.run.short())
            }
            Self::Resting { wait } => write!(f, "failed too often; taking no work for {}", Seconds(*wait)),
            Self::Settled { unit, settlement } => {
                let UnitId { run, index } = unit;
                match settlement {
                    Settlement::Agreed { others } => {
                        write!(f, "unit {index} of {}: {others} others came to the same", run.short())
                    }
                    Settlement::Contradicted => {
                        write!(f, "unit {index} of {}: others came to something else", run.short())
                    }
                }
            }
            Self::Balance { fuel } => write!(f, "earned so far: {fuel} fuel"),
            Self::Contradicted { contradicted, settled } => write!(
                f,
                "{contradicted} of your {settled} answers so far were not what other machines computed: memory or overclocking is the usual \
                 cause; test this computer; you can go on, and earn trust again"
            ),
            Self::Paused(Pause::Asked) => f.write_str("paused; no new work is taken"),
            Self::Paused(Pause::Unwanted(reason)) => write!(f, "paused: {reason}"),
            Self::Resumed => f.write_str("resumed"),
            Self::Draining { units } => write!(f, "finishing what was begun ({units}), then leaving"),
            Self::Left { executed, recorded, kept } => {
                write!(f, "left: {executed} executed, {recorded} recorded, {kept} kept for the next start")
            }
        }
    }
}

/// Seconds with one digit behind the point. Without floats, whose text would be a tenth of a browser's runtime.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = milliseconds(self.0).saturating_add(50) / 100;
        write!(f, "{}.{} s", tenths / 10, tenths % 10)
    }
}
