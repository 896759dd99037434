//! The JSON that the HTTP API speaks.
//!
//! One set of types for both ends, so they cannot drift apart; with the feature `openapi` they describe
//! themselves. Ids and digests are strings here, times are milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

use manyhands_credit::{Account, Amount, Hour, Uptime};
use manyhands_model::{
    Codec, Digest, JobName, Judge, Limits, RunId, SensitiveFields, Timestamp, Verdict, Version, WorkerId,
};
use manyhands_signing::Fingerprint;

macro_rules! schema {
    ($($item:item)*) => { $(
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        $item
    )* };
}

/// Media type of a sequence of byte strings: each a little-endian `u32` length, then the bytes.
pub const FRAMES: &str = "application/vnd.manyhands.frames";
/// Media type of JSON lines.
pub const NDJSON: &str = "application/x-ndjson";
/// Request header of a publication: base64 of the postcard bytes of `Signed<Publication>`.
pub const PUBLICATION_HEADER: &str = "manyhands-publication";
/// Header of every POST that must not happen twice (IETF draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";

schema! {
    /// A problem document (RFC 9457).
    pub struct Problem {
        /// Which problem: `/problems/` and a code that never changes its meaning.
        #[serde(rename = "type")]
        pub kind: String,
        /// The problem in a few words, the same for every occurrence.
        pub title: String,
        /// The HTTP status.
        pub status: u16,
        /// This occurrence: what happened, whose fault it is, what to do.
        pub detail: String,
        /// When to try again, in seconds; the header `Retry-After` says the same.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub retry_after_seconds: Option<u64>,
    }

    /// A published job.
    pub struct JobView {
        /// Its name.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub name: JobName,
        /// Its version.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub version: Version,
        /// Number of this release at this coordinator.
        pub serial: u64,
        /// One sentence about it.
        pub description: String,
        /// How inputs and outputs are written down.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub codec: Codec,
        /// Whether it has a reduce step.
        pub reduces: bool,
        /// What one execution may use.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        pub limits: Limits,
        /// SHA-256 of the module as published.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub source: Digest,
        /// SHA-256 of the sealed module.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub module: Digest,
        /// Length of the sealed module.
        pub module_bytes: u64,
        /// Who published it.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub publisher: Fingerprint,
        /// When.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub published_at: Timestamp,
    }

    /// All published jobs, newest version of each.
    pub struct JobList {
        /// The jobs.
        pub jobs: Vec<JobView>,
    }

    /// A file that a browser fetches.
    pub struct AssetView {
        /// Its path at this coordinator.
        pub path: String,
        /// What it is, for the attribute `integrity` (W3C Subresource Integrity).
        pub integrity: String,
    }

    /// A job, for somebody who is asked for help with it.
    pub struct CardJob {
        /// Its name.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub name: JobName,
        /// One sentence about it.
        pub about: String,
        /// Length of its module, which is fetched once.
        pub module_bytes: u64,
        /// Memory that one execution may use, in bytes.
        pub memory_bytes: u64,
        /// The longest output of one execution, in bytes.
        pub output_bytes: u64,
    }

    /// What a visitor reads before lending a hand: who asks, what for and how much.
    pub struct Card {
        /// Who asks.
        pub name: String,
        /// What for, in a sentence or two; may be empty.
        pub about: String,
        /// Where to ask back; may be empty.
        pub contact: String,
        /// Fingerprint of the coordinator's root key.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub fingerprint: Fingerprint,
        /// Workers that are connected now.
        pub workers: u64,
        /// The newest version of each job.
        pub jobs: Vec<CardJob>,
        /// What is fetched before the first unit, compressed, in bytes.
        pub runtime_bytes: u64,
        /// The script for pages that embed the card; missing where this coordinator was built without it.
        pub embed: Option<AssetView>,
        /// Version of the coordinator.
        pub version: String,
    }

    /// How many units are where.
    #[derive(Copy, Default)]
    pub struct UnitCounts {
        /// All units, reduction included.
        pub total: u64,
        /// Not executed by anybody yet, or waiting for another replica.
        pub waiting: u64,
        /// At least one replica is being executed.
        pub running: u64,
        /// Agreed: an output.
        pub done: u64,
        /// Agreed: the job fails on this input; or no agreement was found.
        pub failed: u64,
        /// Cancelled before there was an answer.
        pub cancelled: u64,
    }

    /// Where a run stands.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "snake_case")]
    pub enum RunState {
        /// Units are open.
        Active,
        /// Every unit has its answer; some may have failed.
        Finished,
        /// Cancelled by its owner.
        Cancelled,
    }

    /// A run.
    pub struct RunView {
        /// Its id.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub id: RunId,
        /// The job.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub job: JobName,
        /// The job's version.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub version: Version,
        /// Name of the token that submitted it.
        pub owner: String,
        /// Where it stands.
        pub state: RunState,
        /// Higher goes first among the owner's runs.
        pub priority: i8,
        /// When an outcome counts: `2of4`, or `adaptive`, `full` or `audited` with the share of the answers that may be wrong.
        #[serde(default)]
        pub verify: String,
        /// Equal outcomes that make an answer; the fewest, where words have to be earned.
        pub replicas: u8,
        /// Outcomes after which a unit without an answer fails.
        pub replicas_max: u8,
        /// Whether the outputs are reduced to one.
        pub reduce: bool,
        /// How many inputs it has.
        pub inputs: u64,
        /// Its units.
        pub units: UnitCounts,
        /// Reports that contradicted an answer.
        pub dissents: u64,
        /// Answers that are not what they were: somebody on whose word they rested was caught.
        #[serde(default)]
        pub changed: u64,
        /// Whether it is a dry run: the calls that it asks for are not sent.
        #[serde(skip_serializing_if = "core::ops::Not::not", default)]
        pub dry_run: bool,
        /// When it was submitted.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub submitted_at: Timestamp,
        /// When its last unit got its answer.
        #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
        pub finished_at: Option<Timestamp>,
    }

    /// Answers of a run that are not what they were.
    pub struct ChangedList {
        /// In the order in which they changed; at most 10,000.
        pub changed: Vec<ChangedView>,
    }

    /// An answer that is not what it was.
    pub struct ChangedView {
        /// The unit's number.
        pub unit: u32,
        /// When that was found.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub at: Timestamp,
        /// What it was; missing for a step of a reduction, whose parts changed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub was: Option<AnswerView>,
        /// What it is now; missing while there is none.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub is: Option<AnswerView>,
    }

    /// An answer, without what came out.
    pub struct AnswerView {
        /// `ok`, or the word for how it failed.
        pub ended: String,
        /// SHA-256 of the output, in canonical form.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        pub output: Option<Digest>,
    }

    /// A page of runs, newest first.
    pub struct RunList {
        /// The runs.
        pub runs: Vec<RunView>,
        /// Pass as `after` for the next page; absent on the last.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        pub next: Option<RunId>,
    }

    /// One line of a run's results.
    pub struct ResultLine {
        /// The unit's number; inputs come first.
        pub unit: u32,
        /// `ok`, or the word for how it failed: `aborted`, `trap`, `out_of_fuel`, `out_of_stack`,
        /// `undecided`, `cancelled`.
        pub status: String,
        /// The output, where it is JSON.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
        pub output: Option<Box<serde_json::value::RawValue>>,
        /// The output in base64, where it is not JSON.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub output_base64: Option<String>,
        /// Why it failed, in a sentence.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub error: Option<String>,
        /// Fuel that one replica used; where tokens made replicas use different amounts, what each is paid for.
        pub fuel: u64,
        /// How many workers agreed.
        pub replicas: u32,
    }

    /// Why units have no answer yet.
    pub struct Why {
        /// Where the run stands.
        pub run: RunView,
        /// Each reason with how many units it holds up, most first.
        pub reasons: Vec<ReasonCount>,
        /// The first units without an answer, at most 100.
        pub units: Vec<UnitWhy>,
    }

    /// A reason and how many units it holds up.
    pub struct ReasonCount {
        /// The machine-readable reason.
        pub reason: String,
        /// A unit's sentence as an example.
        pub sentence: String,
        /// How many units.
        pub units: u64,
    }

    /// Why one unit has no answer yet.
    pub struct UnitWhy {
        /// The unit's number.
        pub unit: u32,
        /// The machine-readable reason.
        pub reason: String,
        /// The same for a person, with what would help.
        pub sentence: String,
    }

    /// One unit with everything that is known about it.
    pub struct UnitView {
        /// Its number.
        pub unit: u32,
        /// The machine-readable state: a reason, or how it ended.
        pub state: String,
        /// The same for a person.
        pub sentence: String,
        /// The replicas that reported.
        pub replicas: Vec<ReplicaView>,
    }

    /// One worker's report.
    pub struct ReplicaView {
        /// Who.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub worker: WorkerId,
        /// What came out.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        pub verdict: Verdict,
        /// Fuel that it says it used.
        pub fuel: u64,
        /// Whether it is what the quorum accepted; absent while there is no answer.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub agrees: Option<bool>,
    }

    /// A worker as operators see it.
    pub struct WorkerView {
        /// Its id.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub id: WorkerId,
        /// Whether it is connected.
        pub connected: bool,
        /// The engine it executes with.
        pub engine: String,
        /// How many units it executes at once.
        pub slots: u16,
        /// Leases that it holds.
        pub leases: u64,
        /// Reports that counted.
        pub agreed: u64,
        /// Reports that contradicted an answer, each with the worker's signature under it.
        pub dissents: u64,
        /// Leases that ran out or that its machine failed.
        pub lost: u64,
        /// Whether it gets no more work, because it contradicted too often.
        pub banned: bool,
        /// How long it was there; absent while nobody has looked.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub uptime: Option<UptimeView>,
        /// What its word is worth where that has to be earned.
        #[serde(default)]
        pub standing: Standing,
        /// How often it was found right since it was last found wrong, by the operator's machine or by somebody with a record.
        #[serde(default)]
        pub checks: u32,
        /// Names the invitation with which it came, if it came with one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub invitation: Option<String>,
        /// Whose it is, as that invitation says.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub owner: Option<String>,
    }

    /// How long a worker was there, of the time that the coordinator was.
    #[derive(Copy, PartialEq, Eq)]
    pub struct UptimeView {
        /// When it was first there.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub since: Timestamp,
        /// The share of the time since then, in millionths; absent while nothing was counted.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
        pub ever: Option<Uptime>,
        /// The same of the last thirty days.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
        pub thirty_days: Option<Uptime>,
    }

    /// A worker, and how much it was shown.
    pub struct WorkerDetail {
        /// The worker.
        pub worker: WorkerView,
        /// Points of fuel that it has earned.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub balance: Amount,
        /// How much of each active run it was given, the most first; not of runs of one unit.
        pub exposure: Vec<ExposureView>,
        /// How much it was given of each requester's work, of what was given out lately.
        #[serde(default)]
        pub requesters: Vec<RequesterExposureView>,
        /// Words of it that were found wrong, the newest first, at most a hundred. Its signature is under each.
        #[serde(default)]
        pub faults: Vec<FaultView>,
        /// Who overruled what those led to, the newest first.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        pub pardons: Vec<PardonView>,
    }

    /// A worker's word that was found wrong.
    #[derive(PartialEq, Eq)]
    pub struct FaultView {
        /// The run.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub run: RunId,
        /// The unit.
        pub unit: u32,
        /// How many of its requests for calls had been answered.
        pub step: u32,
        /// When that was found.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub at: Timestamp,
        /// What the worker said, in a sentence.
        pub said: String,
        /// What is so instead.
        pub answer: String,
        /// Who says so.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub judge: Judge,
        /// Whether it was said before the last pardon, so that it does not count.
        pub pardoned: bool,
    }

    /// A pardon, please.
    #[derive(Default)]
    #[serde(deny_unknown_fields)]
    pub struct NewPardon {
        /// Why: up to 200 characters, which the audit log keeps.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub reason: Option<String>,
    }

    /// An operator overruled what a worker's faults had led to.
    #[derive(PartialEq, Eq)]
    pub struct PardonView {
        /// Name of the operator's token.
        pub by: String,
        /// When.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub at: Timestamp,
        /// Why, in the operator's words.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub reason: Option<String>,
    }

    /// How much of a run a worker was given.
    #[derive(Copy, PartialEq, Eq)]
    pub struct ExposureView {
        /// The run.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub run: RunId,
        /// Units of it that the worker was given.
        pub units: u32,
        /// Units of it that all workers of its owner were given together, where it is known whose it is.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub owner_units: Option<u32>,
        /// Units that the run has.
        pub of: u32,
    }

    /// How much of a requester's work a worker was given lately.
    #[derive(PartialEq, Eq)]
    pub struct RequesterExposureView {
        /// Whose runs.
        pub requester: String,
        /// Leases of their units that the worker was given lately.
        pub leases: u32,
        /// Leases of their units that anybody was given, the last 65,000 or so since the coordinator began; or the units of their active
        /// runs, whichever is more.
        pub of: u64,
    }

    /// What a worker's word is worth where that has to be earned.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "snake_case")]
    pub enum Standing {
        /// Little is known of it.
        #[default]
        Stranger,
        /// It has a record.
        Established,
        /// It is the operator's own: it executes audits, and what it says is so.
        Trusted,
    }

    /// How verification stands.
    pub struct VerificationView {
        /// When an outcome counts where a run does not say.
        pub rule: String,
        /// Who executes units in the operator's name: `own`, `trusted` or `off`.
        pub auditor: String,
        /// Such machines that are connected.
        pub auditors: u64,
        /// Units that they were given.
        pub audits_under_way: u64,
        /// Units that wait for them.
        pub audits_in_line: u64,
        /// Units that they have executed since the coordinator began.
        pub audits_done: u64,
        /// What an operator should know of that, if anything is amiss.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub notice: Option<String>,
    }

    /// All workers.
    pub struct WorkerList {
        /// The workers.
        pub workers: Vec<WorkerView>,
    }

    /// What a bearer of a token may do.
    #[derive(Copy, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(rename_all = "snake_case")]
    pub enum Role {
        /// Submit runs and read their own results.
        Requester,
        /// That, and publish jobs.
        Developer,
        /// Everything.
        Operator,
    }

    /// A new token, please.
    #[serde(deny_unknown_fields)]
    pub struct NewToken {
        /// Whose it is: 1 to 64 characters, shown as the owner of runs.
        pub name: String,
        /// What it permits.
        pub role: Role,
    }

    /// A token was created. The secret is shown this once.
    pub struct CreatedToken {
        /// Names the token, for revoking it.
        pub id: String,
        /// Whose it is.
        pub name: String,
        /// What it permits.
        pub role: Role,
        /// The bearer token itself.
        pub token: String,
    }

    /// A block list of another coordinator's, which counts here.
    #[derive(PartialEq, Eq)]
    pub struct BlocklistView {
        /// Whose it is: the root key that its issuer's join link names.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub root: Fingerprint,
        /// What workers that are refused are told that it is called.
        pub name: String,
        /// Which of its issuer's lists it is.
        pub serial: u64,
        /// When it was made.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub issued_at: Timestamp,
        /// Until when it counts.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub expires_at: Timestamp,
        /// Whether it counts now.
        pub holds: bool,
        /// How many workers are on it.
        pub workers: u64,
        /// How many of them with their own signature under a wrong answer.
        pub proven: u64,
    }

    /// All block lists that count here.
    pub struct BlocklistList {
        /// The lists.
        pub lists: Vec<BlocklistView>,
    }

    /// A new invitation, please.
    #[derive(Default)]
    #[serde(deny_unknown_fields)]
    pub struct NewInvitation {
        /// Whose workers come with it: 1 to 64 characters. All workers of one owner are one voice.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub owner: Option<String>,
        /// How many workers may, 1 to 10,000; one, if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub uses: Option<u32>,
        /// For so many days, 1 to 3,650; for ever, if nothing is said. Who came in time may stay.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub days: Option<u32>,
    }

    /// An invitation was created. The secret is shown this once.
    pub struct CreatedInvitation {
        /// Names the invitation, for revoking it.
        pub id: String,
        /// Whose workers come with it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub owner: Option<String>,
        /// How many may.
        pub uses: u32,
        /// From when on no other may.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
        pub expires_at: Option<Timestamp>,
        /// The invitation itself, for the runner.
        pub invitation: String,
    }

    /// An invitation, without its secret.
    pub struct InvitationView {
        /// Names the invitation, for revoking it.
        pub id: String,
        /// Whose workers come with it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub owner: Option<String>,
        /// How many may.
        pub uses: u32,
        /// How many have.
        pub used: u32,
        /// When it was created.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub created_at: Timestamp,
        /// From when on no other may.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
        pub expires_at: Option<Timestamp>,
        /// When it was taken back.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
        pub revoked_at: Option<Timestamp>,
    }

    /// All invitations.
    pub struct InvitationList {
        /// The invitations.
        pub invitations: Vec<InvitationView>,
    }

    /// A link to the operator's pages.
    pub struct ConsoleLink {
        /// Opens them in a browser, once. The code in it is shown this once.
        pub link: String,
        /// How long it may be used, in seconds.
        pub seconds: u64,
    }

    /// A token, without its secret.
    pub struct TokenView {
        /// Names the token, for revoking it.
        pub id: String,
        /// Whose it is.
        pub name: String,
        /// What it permits.
        pub role: Role,
        /// When it was created.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub created_at: Timestamp,
    }

    /// All tokens.
    pub struct TokenList {
        /// The tokens.
        pub tokens: Vec<TokenView>,
    }

    /// The coordinator's keys.
    pub struct KeysView {
        /// The root key that workers pin.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub root: Fingerprint,
        /// The key that signs today.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub current: Fingerprint,
        /// Keys that do not count any more.
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        pub revoked: Vec<Fingerprint>,
        /// Version of the trust list.
        pub trust_version: u64,
        /// What a volunteer needs: `manyhands-runner JOIN`.
        pub join: String,
    }

    /// The vault's key was replaced.
    pub struct RotatedVault {
        /// The number of the key under which values are sealed now.
        pub key: u32,
        /// Values and secrets that were sealed anew.
        pub sealed: u64,
        /// Keys that were thrown away.
        pub gone: u64,
        /// Keys that are left, this one included: an earlier one is kept while something sealed under it is on its way to the disk.
        pub kept: u64,
    }

    /// A version of a job was revoked.
    pub struct RevokedView {
        /// The job's name.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub name: JobName,
        /// The version.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub version: Version,
        /// SHA-256 of the sealed module.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub module: Digest,
        /// Active runs that were cancelled.
        pub runs_cancelled: u64,
    }

    /// A backup, please.
    #[serde(deny_unknown_fields)]
    pub struct NewBackup {
        /// The directory of backups, on the coordinator's computer, from the root; by default the one that is set.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub to: Option<String>,
        /// Leaves the keys and the operator's token out.
        #[serde(default)]
        pub without_keys: bool,
    }

    /// A backup that was restored and found right.
    pub struct BackupView {
        /// Its directory, on the coordinator's computer.
        pub path: String,
        /// Its number among those beside it.
        pub number: u64,
        /// When.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub taken_at: Timestamp,
        /// The last commit in it.
        pub revision: u64,
        /// Records of all kinds.
        pub records: u64,
        /// Releases of published jobs.
        pub jobs: u64,
        /// Runs.
        pub runs: u64,
        /// Those of them that were going on.
        pub active_runs: u64,
        /// Blobs.
        pub blobs: u64,
        /// Bytes of all files, whether or not they are shared with other backups.
        pub bytes: u64,
        /// The root key; absent where the keys were left out.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        pub root: Option<Fingerprint>,
    }

    /// What a check found.
    pub struct CheckView {
        /// The last commit.
        pub revision: u64,
        /// Records that are right.
        pub records: u64,
        /// Blobs that records name and that are right.
        pub blobs: u64,
        /// Blobs that no record names. The young ones may belong to what is just arriving.
        pub orphans: u64,
        /// Their bytes.
        pub orphan_bytes: u64,
        /// What is wrong; empty on a good day.
        pub problems: Vec<CheckProblem>,
    }

    /// Something that is wrong.
    pub struct CheckProblem {
        /// The file or record.
        pub place: String,
        /// What is wrong with it.
        pub what: String,
        /// What to do about it.
        pub cure: String,
    }

    /// What an account has.
    pub struct AccountView {
        /// Whose: `{"worker":"w_…"}`, `{"requester":"NAME"}` or `"operator"`.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        pub account: Account,
        /// Points of fuel that it got, less what it gave.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub balance: Amount,
        /// Whether anything was ever deposited for it.
        pub has_deposited: bool,
    }

    /// Accounts.
    pub struct CreditList {
        /// In an order that means nothing.
        pub accounts: Vec<AccountView>,
        /// `after` of the next page, if there may be one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub next: Option<String>,
    }

    /// What an account got and gave.
    pub struct Statement {
        /// Whose.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        pub account: Account,
        /// Points of fuel that it has now.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub balance: Amount,
        /// Whether anything was ever deposited for it.
        pub has_deposited: bool,
        /// By hour, then by run.
        pub lines: Vec<StatementLine>,
        /// `after` of the next page, if there may be one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub next: Option<String>,
    }

    /// What an account got and gave for a run, or by deposits, in an hour.
    pub struct StatementLine {
        /// When the hour began.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub hour: Hour,
        /// The run; absent for deposits.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        pub run: Option<RunId>,
        /// Points of fuel that it got, less what it gave.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub amount: Amount,
        /// Replicas that were paid for, less those of which that was taken back.
        pub replicas: i64,
    }

    /// A deposit, please.
    #[serde(deny_unknown_fields)]
    pub struct NewDeposit {
        /// Points of fuel, as digits; with a minus before them, so many are taken back.
        pub amount: String,
    }

    /// What a job may ask of the outside.
    pub struct PlanView {
        /// What an approval is bound to.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub digest: Digest,
        /// Whether an operator approved it.
        pub approved: bool,
        /// For people: 80 columns of text.
        pub page: String,
    }

    /// A secret for calls, please.
    #[serde(deny_unknown_fields)]
    pub struct NewSecret {
        /// Where alone it is sent: scheme, host and perhaps a port.
        pub origin: String,
        /// The secret, 1 to 4096 bytes.
        pub secret: String,
    }

    /// A secret for calls, without the secret.
    pub struct SecretView {
        /// Its name, as verbs have it.
        pub name: String,
        /// Where alone it is sent.
        pub origin: String,
    }

    /// Secrets for calls.
    pub struct SecretList {
        /// By name.
        pub secrets: Vec<SecretView>,
    }

    /// A call of which nobody knows whether it was made.
    pub struct CallView {
        /// Its id.
        pub id: String,
        /// Whose it is.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub run: RunId,
        /// The unit's number.
        pub unit: u32,
        /// Which of the unit's requests.
        pub step: u32,
        /// What was asked for.
        pub verb: String,
        /// Verb and slots as JSON, with tokens in place of values.
        pub canonical: String,
    }

    /// A page of calls of which nobody knows whether they were made.
    pub struct UnknownCalls {
        /// The calls.
        pub calls: Vec<CallView>,
        /// Pass as `after` for the next page; absent on the last.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub next: Option<String>,
    }

    /// What workers do not see of a run's inputs, and what they see instead.
    pub struct RunSensitive {
        /// All that counts: what the requester declared, and the job's manifest.
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
        pub fields: SensitiveFields,
        /// What the requester declared with the run.
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
        pub declared: SensitiveFields,
        /// What workers learn of one value of each field, at most. Unit: bits.
        pub bits: f64,
        /// The same field by field, for people: 80 columns of text.
        pub page: String,
        /// When its values were removed, if they were: its results show tokens since then.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
        pub forgotten_at: Option<Timestamp>,
    }

    /// What an operator found out about a call.
    #[serde(deny_unknown_fields)]
    pub struct SettledCall {
        /// What it was.
        pub found: FoundOut,
    }

    /// What an operator found out.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "snake_case")]
    pub enum FoundOut {
        /// The call was not made; make it.
        NotMade,
        /// It was made, or nobody will ever know; the job hears `unknown`.
        LetGo,
    }

    /// A call that a dry run would have sent.
    pub struct UnsentCall {
        /// Its id.
        pub id: String,
        /// The unit's number.
        pub unit: u32,
        /// Which of the unit's requests.
        pub step: u32,
        /// What was asked for.
        pub verb: String,
        /// The method.
        pub method: String,
        /// Where it would have gone.
        pub origin: String,
        /// The path, with its slots open.
        pub path: String,
        /// Verb and slots as JSON, with tokens in place of values.
        pub canonical: String,
        /// Bytes of path and query, with values in their slots.
        pub target_bytes: u64,
        /// Bytes of the body.
        pub body_bytes: u64,
    }

    /// What is asked of a job that works on a record which its client keeps.
    #[derive(Default)]
    #[serde(deny_unknown_fields)]
    pub struct RecordRequest {
        /// The newest record that the client was answered; missing for a client that has none yet.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub record: Option<String>,
        /// What to ask. Without it, whatever was asked last is answered again, and an answer that arrived is acknowledged.
        #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "given")]
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        pub input: Option<Box<serde_json::value::RawValue>>,
    }

    /// The answer, and what the client has to keep in the place of what it kept.
    pub struct RecordAnswer {
        /// The next record, sealed.
        pub record: String,
        /// What the job says to its client.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        pub output: Box<serde_json::value::RawValue>,
    }

    /// The first line of a recording: what was executed.
    pub struct Recording {
        /// The run.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub run: RunId,
        /// The job.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub job: JobName,
        /// The job's version.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub version: Version,
        /// What one execution may use.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        pub limits: Limits,
        /// SHA-256 of the sealed module.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub module: Digest,
        /// The sealed module.
        pub module_base64: String,
        /// How many units follow, each on a line.
        pub units: u32,
    }

    /// A unit in a recording, in canonical form: with tokens in place of values.
    pub struct RecordedUnit {
        /// The unit's number.
        pub unit: u32,
        /// Whether it is a step of the reduction.
        pub reduces: bool,
        /// Its only randomness, in hexadecimal.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub seed: Digest,
        /// What it read first; missing where a step of the reduction never got an input.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub input_base64: Option<String>,
        /// What it heard of its requests for calls, in order.
        pub answers_base64: Vec<String>,
        /// What workers agreed on: the requests, in order, and what came out in the end. One less than it would have where they found
        /// no agreement.
        pub outcomes: Vec<RecordedOutcome>,
    }

    /// What workers agreed on.
    pub struct RecordedOutcome {
        /// How the execution ended.
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        pub verdict: Verdict,
        /// Fuel used; missing where the unit held tokens, of which each worker has others.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub fuel: Option<u64>,
        /// The output, or the request for calls.
        pub output_base64: String,
    }

    /// What a compaction came to.
    #[derive(Copy)]
    pub struct CompactView {
        /// Bytes of the state on disk before.
        pub state_bytes_before: u64,
        /// And after.
        pub state_bytes_after: u64,
        /// Blobs removed, because no record names them.
        pub blobs_removed: u64,
        /// Their bytes.
        pub blob_bytes_removed: u64,
        /// Blobs that no record names, kept because something that is arriving may come to name them.
        pub orphans_kept: u64,
    }
}

/// JSON's `null` is something that was given.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<serde_json::value::RawValue>>, D::Error> {
    Box::deserialize(from).map(Some)
}
