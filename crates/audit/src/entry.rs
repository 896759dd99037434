//! What the log says, and how its lines hang together.

use manyhands_model::{Digest, IntentId, Judge, Name, Timestamp, UnitId, WorkerId};
use serde::{Deserialize, Serialize};

/// Before the first line stands this, whose digest the first line holds.
const BEGINNING: &[u8] = b"manyhands audit log v1";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1.
    pub n: u64,
    /// When, by the coordinator's clock, in milliseconds since 1970. It may go back a little where that clock was set.
    pub at: Timestamp,
    /// SHA-256 of the line before, without its line break.
    pub before: Digest,
    /// What happened.
    pub event: Event,
}

/// What happened. Written in the same commit as what it tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// From now on, jobs with this plan may make its calls.
    PlanApproved {
        /// Of the plan.
        plan: Digest,
        /// Name of the operator's token.
        by: String,
    },
    /// From now on, they may not.
    PlanWithdrawn {
        /// Of the plan.
        plan: Digest,
        /// Name of the operator's token.
        by: String,
    },
    /// A secret for calls was set, over what there was.
    SecretSet {
        /// Of the secret.
        name: Name,
        /// Where alone it is sent.
        origin: String,
        /// Name of the operator's token.
        by: String,
    },
    /// A secret for calls was removed, if there was one.
    SecretRemoved {
        /// Of the secret.
        name: Name,
        /// Name of the operator's token.
        by: String,
    },
    /// Values and secrets are sealed under another key. Written once that is there, and before an earlier key is thrown away.
    VaultRotated {
        /// The number of the key.
        key: u32,
        /// Name of the operator's token.
        by: String,
    },
    /// Data that was put back from a copy is gone on with: it may have forgotten calls. Who did that had the data directory, and needed no token.
    OlderDataAccepted {
        /// Calls of runs that were submitted before may be forgotten.
        before: Timestamp,
        /// Number of the last start that the data knows of.
        starts: u64,
    },
    /// From now on, what this worker says is the coordinator's word.
    WorkerTrusted {
        /// Which.
        worker: WorkerId,
        /// Name of the operator's token.
        by: String,
    },
    /// From now on, it is not.
    WorkerDistrusted {
        /// Which.
        worker: WorkerId,
        /// Name of the operator's token.
        by: String,
    },
    /// A worker's signature stands under a wrong answer. It has to earn everything again, or gets no more work.
    WorkerCaught {
        /// Which.
        worker: WorkerId,
        /// What it was wrong about.
        unit: UnitId,
        /// Who says so.
        by: Judge,
        /// Whether it gets no more work.
        banned: bool,
    },
    /// A worker's faults are forgotten: it may work again, and has to earn a record.
    WorkerPardoned {
        /// Which.
        worker: WorkerId,
        /// Why, in the operator's words.
        reason: Option<String>,
        /// Name of the operator's token.
        by: String,
    },
    /// From now on, workers may join with this invitation.
    InvitationCreated {
        /// Its id, from which nobody learns its secret.
        invitation: String,
        /// Whose workers come with it, if that was said.
        owner: Option<String>,
        /// How many may.
        uses: u32,
        /// From when on no other may.
        expires_at: Option<Timestamp>,
        /// Name of the operator's token.
        by: String,
    },
    /// From now on, nobody joins with it any more.
    InvitationRevoked {
        /// Its id.
        invitation: String,
        /// How many workers came with it.
        used: u32,
        /// Name of the operator's token.
        by: String,
    },
    /// From now on, workers on this block list are refused.
    BlocklistSubscribed {
        /// Fingerprint of the root key of whoever issued it.
        issuer: String,
        /// Which of that coordinator's lists.
        serial: u64,
        /// How many workers are on it.
        workers: u64,
        /// Name of the operator's token.
        by: String,
    },
    /// From now on, they are not.
    BlocklistDropped {
        /// Fingerprint of the root key of whoever issued it.
        issuer: String,
        /// Name of the operator's token.
        by: String,
    },
    /// Somebody whose word made an answer was caught, and the answer is another one now.
    ResultChanged {
        /// Whose answer.
        unit: UnitId,
        /// How the answer ended before, with the SHA-256 of what came out; none for a step of a reduction, whose parts changed.
        was: Option<Answer>,
        /// And now; none if there is none any more.
        is: Option<Answer>,
    },
    /// A requester's budget grew, or shrank where the amount is negative.
    Deposited {
        /// Name of the requester's token.
        requester: String,
        /// So many points of fuel: a string of digits, since many readers of JSON lose those after the sixteenth.
        amount: String,
        /// Name of the operator's token.
        by: String,
    },
    /// A call is going to be sent. No byte of it goes out before this is on the disk.
    Claimed {
        /// Which.
        call: Call,
        /// Which of its unit's requests asks for it, from 0.
        step: u32,
        /// The plan that allows it.
        plan: Digest,
        /// SHA-256 of verb and slots in canonical form (RFC 8785), with tokens in place of values.
        intent: Digest,
        /// Number of the coordinator's start.
        start: u64,
        /// Number of the claim since then.
        claim: u64,
    },
    /// An attempt at a call is over, or the call is.
    Ended {
        /// Which.
        call: Call,
        /// How.
        end: End,
    },
    /// An operator said what became of a call of which nobody knew.
    Settled {
        /// Which.
        call: Call,
        /// What they found.
        found: Found,
        /// Name of the operator's token.
        by: String,
    },
    /// A call that would have been sent, had the run been no dry run.
    Unsent {
        /// Which.
        call: Call,
        /// Which of its unit's requests asks for it, from 0.
        step: u32,
        /// The plan that allows it.
        plan: Digest,
        /// SHA-256 of verb and slots in canonical form (RFC 8785), with tokens in place of values.
        intent: Digest,
        /// Where it would have gone.
        origin: String,
        /// Its body would have been so many bytes long.
        body_bytes: u64,
    },
}

/// An answer that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// How the execution ended: `ok`, or the word for how it failed.
    pub ended: String,
    /// SHA-256 of the output in canonical form, if there is one.
    pub output: Option<Digest>,
}

/// A call that a unit asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its id.
    pub id: IntentId,
    /// Whose it is.
    pub unit: UnitId,
    /// What it asks for.
    pub verb: Name,
}

/// How an attempt at a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The upstream answered with this status.
    Answered(u16),
    /// The upstream answered, and not as its verb declares: the job hears nothing of it.
    Withheld,
    /// No answer came in time; the call did nothing, or nothing is lost if it did.
    TimedOut,
    /// It was not sent: the plan, a slot, a secret or the address does not allow it.
    Refused,
    /// It was not sent: the budget is used up.
    OverBudget,
    /// It was not sent, however often that was tried.
    NeverSent,
    /// It is tried again, which loses nothing.
    Postponed,
    /// Nobody knows whether it was made, and it must not be made twice.
    Unknown,
    /// Nobody found out in time; the job hears that nobody knows.
    LetGo,
}

/// What an operator found out about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It was not made, and is to be.
    NotMade,
    /// It was made, or nobody will ever know.
    LetGo,
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// How many entries there are.
    pub entries: u64,
    /// SHA-256 of the last line.
    pub digest: Digest,
}

impl Default for Tail {
    /// Of an empty log.
    fn default() -> Self {
        Self { entries: 0, digest: Digest::of(BEGINNING) }
    }
}

impl Tail {
    /// The next line, without a line break. From now on it is the last.
    pub fn append(&mut self, at: Timestamp, event: Event) -> Vec<u8> {
        let entry = Entry { n: self.entries + 1, at, before: self.digest, event };
        *self = entry.tail();
        entry.line()
    }
}

impl Entry {
    /// Whether it is what comes after that end of a log.
    pub fn follows(&self, tail: &Tail) -> bool {
        self.n == tail.entries + 1 && self.before == tail.digest
    }

    /// Where a log ends whose last entry this is.
    pub fn tail(&self) -> Tail {
        Tail { entries: self.n, digest: Digest::of(&self.line()) }
    }

    /// The one way to write it.
    pub fn line(&self) -> Vec<u8> {
        // Numbers and texts can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The entry of a line, if it is written in the one way.
    pub fn read(line: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(line).ok()?;
        (entry.line() == line).then_some(entry)
    }
}
