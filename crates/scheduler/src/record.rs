//! What must survive a crash.

use std::sync::Arc;

use bytes::Bytes;
use manyhands_credit::Amount;
use manyhands_model::{Digest, Fuel, JobName, Judge, Outcome, RunId, Timestamp, UnitId, Verdict, Version, WorkerId};
use manyhands_protocol::{Lease, Report, Settlement};
use serde::{Deserialize, Serialize};

use crate::decoys::{Decoys, Numbers};
use crate::reduction::Reduction;
use crate::trust::Rule;
use crate::unit::{Counts, End};

/// What somebody submitted. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Its id.
    pub id: RunId,
    /// Whose it is; owners share the workers evenly.
    pub owner: String,
    /// The job's name.
    pub job: JobName,
    /// The job's version.
    pub version: Version,
    /// Serial of the release that it executes.
    pub serial: u64,
    /// The sealed module.
    pub module: Digest,
    /// How long one execution may take, in milliseconds.
    pub wall_ms: u64,
    /// When an outcome counts.
    pub rule: Rule,
    /// Higher goes first among its owner's runs.
    pub priority: i8,
    /// Whether outputs are reduced to one.
    pub reduce: bool,
    /// How many inputs there are. At least 1.
    pub inputs: u32,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Whether the calls that it asks for are not sent.
    pub is_dry: bool,
    /// What else workers are given, and its requester knows nothing of. None but where words have to be earned.
    pub decoys: Decoys,
}

impl RunSpec {
    /// Whether somebody waits for its one answer, as those do who invoke a job.
    pub const fn is_awaited(&self) -> bool {
        self.priority == i8::MAX && self.inputs == 1
    }

    /// How long one execution may take.
    pub(crate) const fn wall(&self) -> core::time::Duration {
        core::time::Duration::from_millis(self.wall_ms)
    }

    /// The seed of a unit: its only randomness, the same for each of its replicas and steps. It follows from the number that workers are
    /// told, or it would tell them another.
    pub fn seed(&self, index: u32) -> [u8; 32] {
        let told = self.numbers().told(index);
        Digest::of_parts([&b"manyhands:seed\0"[..], self.id.as_bytes(), &told.to_le_bytes()]).0
    }

    /// What workers are told its units' numbers are.
    pub fn numbers(&self) -> Numbers {
        Numbers::new(self.inputs, self.reduction().units(), self.decoys)
    }

    /// The run's shape.
    pub fn reduction(&self) -> Reduction {
        if self.reduce { Reduction::tree(self.inputs) } else { Reduction::none(self.inputs) }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunStatus {
    /// Some units have not ended.
    Active,
    /// All units have ended.
    Finished,
    /// Its owner cancelled it.
    Cancelled,
}

/// A run with where it stood when it was last recorded. Counts of an active run are those of its units'
/// records; they are not recorded with every step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// What was submitted.
    pub spec: RunSpec,
    /// Where it stands.
    pub status: RunStatus,
    /// Its units.
    pub counts: Counts,
    /// Reports that contradicted an answer.
    pub dissents: u64,
    /// When its last unit ended.
    pub finished_at: Option<Timestamp>,
}

/// How often an operator had pardoned a worker when it did something. What it did in an earlier era than today's neither speaks for it nor
/// counts against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Era(pub u32);

impl Era {
    /// The one that begins with the next pardon.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// One worker's word about a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Who.
    pub worker: WorkerId,
    /// In which era of its own it was given the unit.
    pub era: Era,
    /// What came out.
    pub outcome: Outcome,
    /// What it says that this took, where outcomes do not say it: see [`Statement::claims`].
    pub claims: Option<Fuel>,
    /// Whether it was said beside somebody whose word does not count any more: if that was a lie, whoever said the same was an accomplice; and
    /// if it was right, whoever said something else was none of the honest. Where words have to be earned nothing rests on it; but it may
    /// contradict.
    pub is_echo: bool,
}

impl Replica {
    /// What it says that this took.
    pub fn fuel(&self) -> Fuel {
        self.claims.unwrap_or(self.outcome.fuel)
    }
}

/// What a worker says came of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The lease, of the unit that is meant.
    pub lease: Lease,
    /// What came out, in canonical form.
    pub outcome: Outcome,
    /// What it says that this took, where that is not part of the outcome: replicas that hold other tokens burn other amounts.
    pub claims: Option<Fuel>,
}

impl From<Report> for Statement {
    /// A report in which everything is compared.
    fn from(Report { lease, outcome }: Report) -> Self {
        Self { lease, outcome, claims: None }
    }
}

/// A unit of which something is known. A unit without a record has no report yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// How many of its requests for calls have been answered.
    pub step: u32,
    /// How it ended, if it has.
    pub end: Option<End>,
    /// The accepted outcome of this step, if workers agreed.
    pub accepted: Option<Outcome>,
    /// All reports on this step, accepted or not, in the order in which they came.
    pub replicas: Vec<Replica>,
    /// What came out when the operator's own machine executed it, if it did. Nobody's word stands against this.
    pub audited: Option<Outcome>,
    /// Which of the replicas decided, as long as nobody whom it could not fool has looked. It is asked again when that
    /// worker is caught.
    pub vouched: Option<u8>,
    /// The answer that it had before it was opened again, while it has no other.
    pub recalled: Option<Outcome>,
    /// What each of those is paid for whose word was accepted, where that outcome does not say it: see [`Self::paid_for`].
    pub worth: Option<Fuel>,
}

impl UnitRecord {
    /// The request for calls that workers agreed on, if that is where it stands.
    pub fn calls(&self) -> Option<Digest> {
        match self.accepted.as_ref()?.verdict {
            Verdict::Called { calls, .. } => Some(calls),
            _ => None,
        }
    }

    /// What each of those is paid for who said what was accepted; nothing before that.
    pub fn paid_for(&self) -> Fuel {
        self.worth.or(self.accepted.as_ref().map(|accepted| accepted.fuel)).unwrap_or_default()
    }

    /// Those who said what was accepted.
    pub fn agreeing(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| self.accepted.as_ref() == Some(&replica.outcome))
    }

    /// Whose word it rests on, as long as nobody whom it could not fool has looked.
    pub fn vouched_by(&self) -> Option<&Replica> {
        self.replicas.get(usize::from(self.vouched?))
    }

    /// What the answer says of each replica, once there is one.
    pub fn settlements(&self) -> impl Iterator<Item = (WorkerId, Settlement)> {
        let accepted = self.accepted.as_ref();
        let agrees = move |replica: &Replica| Some(&replica.outcome) == accepted;
        let agreed = self.replicas.iter().filter(|replica| agrees(replica)).count();
        let others = u16::try_from(agreed.saturating_sub(1)).unwrap_or(u16::MAX);
        self.replicas.iter().filter(move |_| accepted.is_some()).map(move |replica| {
            let settlement = if agrees(replica) { Settlement::Agreed { others } } else { Settlement::Contradicted };
            (replica.worker, settlement)
        })
    }
}

/// What is known of a worker beyond its connection, since it was last pardoned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Reports that were part of a quorum.
    pub agreed: u64,
    /// Reports that contradicted one.
    pub dissents: u64,
    /// Leases that ran out, or that its machine failed.
    pub lost: u64,
    /// Whether it gets no more work.
    pub banned: bool,
    /// How often its outcome was found right by somebody who has a record, or by the operator's own machine, since it was
    /// last found wrong.
    pub checks: u32,
    /// Units that its word decided since then, checked or not.
    pub decided: u32,
    /// Wrong outcomes that are not forgotten yet.
    pub faults: u32,
    /// Leases that it let run out, less what it brought: see [`Trust::lapses_max`](crate::Trust::lapses_max).
    pub lapses: u8,
    /// Units that its word decided up to this era are being looked at again.
    pub recalling: Option<Era>,
    /// In which era it is.
    pub era: Era,
}

impl WorkerRecord {
    /// Whether what it said in an era is being looked at again.
    pub(crate) fn is_recalled(&self, era: Era) -> bool {
        self.recalling.is_some_and(|until| era <= until)
    }
}

/// A worker's word that was found wrong. Its signature is under it: see [`Record::Evidence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The unit.
    pub unit: UnitId,
    /// How many answers there were with the unit's input.
    pub step: u32,
    /// What the worker said, in canonical form.
    pub said: Outcome,
    /// What is so instead.
    pub answer: Outcome,
    /// Who says so.
    pub judge: Judge,
    /// In which of its eras the worker said it.
    pub era: Era,
}

/// What those who agreed on a step of a unit get for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Who pays: whose run it is. For a decoy, of which they know nothing, the operator does.
    pub owner: Option<Arc<str>>,
    /// Who gets how much, in the order in which they spoke.
    pub to: Vec<(WorkerId, Amount)>,
    /// Whether they give it back: the answer does not count any more.
    pub is_taken_back: bool,
}

impl Paid {
    /// What is paid; less than nothing if it is taken back.
    pub fn sum(&self) -> Amount {
        let sum = self.to.iter().map(|(_, amount)| *amount).sum::<Amount>();
        if self.is_taken_back { -sum } else { sum }
    }
}

/// Something to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Where a run stands.
    Run(Box<RunRecord>),
    /// Where a unit stands.
    Unit(UnitId, UnitRecord),
    /// A worker's signed reports on units of a run, as evidence.
    Evidence(RunId, WorkerId, Bytes),
    /// What is known of a worker.
    Worker(WorkerId, WorkerRecord),
    /// What is paid for a unit, or taken back. It comes right after the unit's own record, which says that this has happened:
    /// the two are to be made durable together.
    Paid(UnitId, Paid),
}
