//! Decides which worker executes which unit, and when an outcome counts.
//!
//! Sans-IO: no socket, clock, disk or random source lives here. Feed it what happened with
//! [`Scheduler::handle`], then drain what should happen next with [`Scheduler::poll_effect`]; wake it
//! with [`Input::TimePassed`] at [`Scheduler::wake_at`]. Same seed and same inputs, same effects.
//!
//! What must survive a crash leaves as [`Effect::Record`]; a shell makes the records of one drain durable
//! before it performs the effects that follow them, and hands everything back to [`Scheduler::restore_run`].
//! Leases are not recorded: each is signed and complete, so its result is recognised even by a
//! coordinator that has forgotten giving it out.
//!
//! Start reading at [`mod@unit`] (the life of one unit), then [`reduction`] (the shape of a run), then [`decoys`] (what is given out beside it), then [`trust`] (what a
//! worker's word is worth), then [`Scheduler`].

pub mod auditors;
pub mod budget;
pub mod decoys;
mod effort;
pub mod exposure;
pub mod groups;
pub mod reason;
pub mod record;
pub mod reduction;
pub mod rule;
pub mod trust;
pub mod unit;

mod audit;
mod history;
mod lot;
mod pace;
mod queue;
mod roster;
mod scheduler;
mod shares;
mod usual;
mod weigh;

pub use crate::audit::{AuditCount, AuditTally};
pub use crate::auditors::{Audit, Auditors};
pub use crate::budget::Budgets;
pub use crate::decoys::{Decoys, Numbers};
pub use crate::exposure::{Exposure, RequesterExposure};
pub use crate::groups::{Group, Groups, Kind};
pub use crate::reason::Reason;
pub use crate::record::{
    Era, Fault, Paid, Record, Replica, RunRecord, RunSpec, RunStatus, Statement, UnitRecord, WorkerRecord,
};
pub use crate::reduction::Reduction;
pub use crate::rule::Floor;
pub use crate::scheduler::{
    Effect, Input, LeaseDraft, LeaseSummary, Policy, Scheduler, Standings, UnitSummary, WorkerSummary,
};
pub use crate::trust::{Consequence, Level, Rule, Standing, Trust};
pub use crate::unit::{Counts, End, Quorum};
