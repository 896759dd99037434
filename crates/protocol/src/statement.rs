//! What is signed. Each of these can be shown to a third party.

use manyhands_model::{Digest, JobName, LeaseId, Limits, Outcome, Timestamp, UnitId, Version, WorkerId};
use manyhands_signing::{Dated, PublicKey, Signed, Statement, Validity};
use serde::{Deserialize, Serialize};

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

/// The coordinator's word: this worker may execute this unit until then.
///
/// A lease holds all that is needed to judge a result, so the coordinator recognises work that it gave
/// out before a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// Whom it is for. Nobody else's result counts.
    pub worker: WorkerId,
    /// What is to be executed.
    pub unit: UnitId,
    /// Which function of the module.
    pub entry: Entry,
    /// The job's name.
    pub job: JobName,
    /// Serial of the release.
    pub serial: u64,
    /// SHA-256 of the sealed module.
    pub module: Digest,
    /// SHA-256 of the input.
    pub input: Digest,
    /// The seed; the same for all replicas of a unit.
    pub seed: [u8; 32],
    /// From when until when. A result that comes later counts only if the unit still needs it.
    pub validity: Validity,
}

impl Statement for Lease {
    const DOMAIN: &'static str = "manyhands lease v1";
}

impl Dated for Lease {
    fn validity(&self) -> Validity {
        self.validity
    }
}

/// A worker's word: under this lease I got this outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The lease, with the coordinator's signature.
    pub lease: Signed<Lease>,
    /// What came out.
    pub outcome: Outcome,
}

impl Statement for Report {
    const DOMAIN: &'static str = "manyhands report v1";
}

/// A worker's word at the start of a connection: this key is mine, here and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The coordinator's challenge; a greeting cannot be used twice.
    pub nonce: [u8; 32],
    /// The coordinator's root key; a greeting cannot be passed on to another coordinator.
    pub coordinator: PublicKey,
}

impl Statement for Greeting {
    const DOMAIN: &'static str = "manyhands greeting v1";
}
