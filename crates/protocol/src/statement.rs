//! What is signed. Each of these can be shown to a third party.

use alloc::vec::Vec;

use manyhands_model::{Digest, JobName, LeaseId, Limits, Outcome, RunId, Timestamp, Version, WorkerId};
use manyhands_signing::{Dated, PublicKey, Statement, Validity};
use serde::{Deserialize, Serialize};

use crate::bounded::at_most;

/// Leases that one statement holds at most, and reports.
pub const LEASES_MAX: usize = 64;
/// The longest statement of reports, in bytes: it is kept as evidence.
pub const REPORTS_BYTES_MAX: usize = 48 << 10;

/// A publisher's word: this module is version so-and-so of my job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The job's name.
    pub name: JobName,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the module as the publisher built it, manifest included.
    pub module: Digest,
    /// When the publisher signed.
    pub issued_at: Timestamp,
}

impl Statement for Publication {
    const DOMAIN: &'static str = "manyhands publication v1";
}

/// The coordinator's word: this sealed module may be executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The job's name.
    pub name: JobName,
    /// Its version.
    pub version: Version,
    /// Number of this release at this coordinator; grows with each.
    pub serial: u64,
    /// SHA-256 of the module as published.
    pub source: Digest,
    /// SHA-256 of the sealed module: what is shipped and executed.
    pub module: Digest,
    /// Length of the sealed module.
    pub module_bytes: u64,
    /// Who published it.
    pub publisher: PublicKey,
    /// What one execution may use.
    pub limits: Limits,
    /// From when until when.
    pub validity: Validity,
}

impl Statement for Release {
    const DOMAIN: &'static str = "manyhands release v1";
}

impl Dated for Release {
    fn validity(&self) -> Validity {
        self.validity
    }
}

/// Which of a module's functions a unit executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// `manyhands_run`, over one input of the run.
    Run,
    /// `manyhands_reduce`, over the outputs of earlier units.
    Reduce,
}

/// What is to be executed: with the module, everything that decides the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Which unit of the run.
    pub index: u32,
    /// How many of its requests for calls have been answered.
    pub step: u32,
    /// Which function of the module.
    pub entry: Entry,
    /// SHA-256 of the input; from step 1 on, of a frame of `manyhands_abi::parts` with the input and the answers to each
    /// request.
    pub input: Digest,
    /// The seed; the same for all replicas of a unit.
    #[serde(deserialize_with = "manyhands_model::array::deserialize")]
    pub seed: [u8; 32],
}

/// By this the coordinator knows a lease that it gave out, even if it forgot: a code that it alone can make,
/// over the worker, the run, the module, the lease's name and the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket(#[serde(deserialize_with = "manyhands_model::array::deserialize")] pub [u8; 16]);

/// Permission to execute one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// What is to be executed.
    pub task: Task,
    /// The coordinator's code.
    pub ticket: Ticket,
}

/// The coordinator's word: this worker may execute these units until then.
///
/// One signature for all leases that go out together: a signature costs as much as a hundred hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    /// Whom they are for. Nobody else's results count.
    pub worker: WorkerId,
    /// The run to which all of them belong.
    pub run: RunId,
    /// The job's name.
    pub job: JobName,
    /// Serial of the release.
    pub serial: u64,
    /// SHA-256 of the sealed module.
    pub module: Digest,
    /// From when until when. A result that comes later counts only if the unit still needs it.
    pub validity: Validity,
    /// At least one and at most [`LEASES_MAX`].
    #[serde(deserialize_with = "at_most::<LEASES_MAX, _, _>")]
    pub leases: Vec<Lease>,
}

impl Statement for Leases {
    const DOMAIN: &'static str = "manyhands leases v1";
}

impl Dated for Leases {
    fn validity(&self) -> Validity {
        self.validity
    }
}

/// What came out of one execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Under which lease.
    pub lease: Lease,
    /// What came out.
    pub outcome: Outcome,
}

/// A worker's word: this module, given these tasks, came to these outcomes.
///
/// It says what was executed and not only under which lease, so it can be shown to anybody: whoever executes
/// a task again sees whether the signer told the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// The run to which all of them belong.
    pub run: RunId,
    /// SHA-256 of the sealed module.
    pub module: Digest,
    /// At least one and at most [`LEASES_MAX`]; [`REPORTS_BYTES_MAX`] with all that they say.
    #[serde(deserialize_with = "at_most::<LEASES_MAX, _, _>")]
    pub reports: Vec<Report>,
}

impl Statement for Reports {
    const DOMAIN: &'static str = "manyhands reports v1";
}

/// A worker's word at the start of a connection: this key is mine, here and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The coordinator's challenge; a greeting cannot be used twice.
    #[serde(deserialize_with = "manyhands_model::array::deserialize")]
    pub nonce: [u8; 32],
    /// The coordinator's root key; a greeting cannot be passed on to another coordinator.
    pub coordinator: PublicKey,
}

impl Statement for Greeting {
    const DOMAIN: &'static str = "manyhands greeting v1";
}
