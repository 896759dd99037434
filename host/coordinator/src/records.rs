//! What the coordinator keeps, as typed records over the state store and the blobs.
//!
//! | table | key | value |
//! |---|---|---|
//! | jobs | name, 0, serial | [`JobRecord`] |
//! | runs | run id, inverted, so that a scan meets the newest first | `RunRecord` |
//! | units | run id, index | `UnitRecord`; none until somebody reports |
//! | inputs | run id, index of the last | [`Content`] of some consecutive units |
//! | results | `a`, run id, sequence | indices of the units that ended together |
//! | results | `c`, run id, index, step | [`AnswersRecord`]: the answers to a unit's request for calls, a list of JSON |
//! | results | `d`, run id, index, step, ordinal | [`UnsentRecord`]: a call that a dry run would have sent |
//! | results | `h`, run id, verb, 0, place | [`Over`]: what was heard of one of the run's calls; see `sink.rs` |
//! | results | `i`, intent id | [`CallRecord`]: a call and where it stands |
//! | results | `u`, intent id | nothing: nobody knows whether this call was made |
//! | results | `v`, run id, index, token | a sealed value of a unit; see `vault.rs` |
//! | results | `x`, run id, sequence | [`ChangedRecord`]: an answer that is not what it was |
//! | results | `e`, run id, worker, sequence | signed reports of the worker |
//! | results | `f`, run id | the sensitive fields that its requester declared, as JSON; none if there are none |
//! | results | `o`, digest | a short output; a long one is a blob |
//! | workers | worker id | `WorkerRecord` |
//! | meta | `asked`, digest of a question | the run that was asked it last; see `repeats.rs` |
//! | meta | `audit`, number | a line of the audit log |
//! | meta | `audit-tail` | where the audit log ends: its `Tail` |
//! | meta | `signed`, number | a line with a signed head over so many entries of the audit log |
//! | meta | `signed-last` | over how many entries the last of them is |
//! | meta | `credit-balance`, account | [`BalanceRecord`]: what an account has |
//! | meta | `credit-hour` | the last hour in which something was paid |
//! | meta | `credit-line`, account, hour, 0 or 1 and a run id | `Line`: what it got less what it gave, for deposits or for a run |
//! | meta | `uptime` | [`Attendance`]: how long the coordinator looked who is there |
//! | meta | `uptime-of`, worker id | [`Presence`]: how long a worker was |
//! | meta | `budget`, run id, verb | how often the run called it |
//! | meta | `day`, job's name, 0, verb | the calls of the last day, by hours |
//! | meta | `plan`, digest | [`ApprovalRecord`]: what a job may ask of the outside, as an operator approved it |
//! | meta | `secret`, name | [`SecretRecord`]: a secret of the operator's, sealed |
//! | meta | `vault-key` | a digest by which the vault's keys are recognised |
//! | meta | `vault-age` | how old the data is; see `vault.rs` |
//! | meta | `forgotten`, run id | when its values were removed for good |
//! | meta | `doubt` | [`Doubt`]: what the data may have forgotten |
//! | meta | `fault`, worker id, sequence, inverted | [`FaultRecord`]: a word of the worker's that was found wrong, the newest first |
//! | meta | `pardon`, worker id, sequence, inverted | [`PardonRecord`]: an operator overruled, the newest first |
//! | meta | `blocked`, fingerprint of a key, number | workers on the block list of that key, a thousand a record: each with its [`Listed`] |
//! | meta | `blocklist`, fingerprint of a key | [`BlocklistRecord`]: the list of that key which counts here |
//! | meta | `blocklist-seen`, fingerprint of a key | [`SeenRecord`]: what is known of that key's lists, whether or not one counts |
//! | meta | `blocklist-serial` | the serial of the last block list that was exported |
//! | meta | `invitation`, digest | [`InvitationRecord`]: for whom it is |
//! | meta | `invited`, worker id | the digest of the invitation with which the worker came |
//! | meta | `trusted`, worker id | nothing: it is the operator's own |
//! | meta | `starts` | how often the coordinator has started making calls |
//! | meta | `owner`, digest of an owner's name, run id, inverted | nothing: the owner's runs, the newest first |
//! | meta | `held`, digest of requester, job and client | `Life`: which record counts that this client keeps; see `manyhands_held` |
//! | meta | `history`, `m` or `h`, place | number of a minute or an hour and its `Tally`; see `console/history.rs` |
//! | meta | `runs-by-owner` | nothing: all runs have such an entry |
//! | meta | `submit`, digest of owner and idempotency key | [`SubmitRecord`] |

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use manyhands_api::JobView;
use manyhands_audit::Tail;
use manyhands_credit::{Account, Amount, Attendance, Hour, Line, Place, Presence, Subject};
use manyhands_decoys::answers::Over;
use manyhands_held::{self as held, Life};
use manyhands_intents::{Day, Intent, Reservation, State};
use manyhands_model::{
    Digest, IntentId, JobName, Manifest, Name, Outcome, RunId, SensitiveFields, Timestamp, UnitId, WorkerId,
};
use manyhands_placeholder::Token;
use manyhands_protocol::Publication;
use manyhands_scheduler::{Fault, RunRecord, UnitRecord, WorkerRecord};
use manyhands_signing::{Fingerprint, PublicKey, Signed, Validity};
use manyhands_state::commit::{Expect, INLINE_BYTES_MAX, IdempotencyKey, Op, VALUE_BYTES_MAX};
use manyhands_state::{Commit, CommitError, Key, ReadError, Revision, StateStore, Table};
use manyhands_store::{BlobError, Blobs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::metrics::{BlobOperation, Metrics};
use crate::vault::{Mark, Sealed};

/// Records read at once from the store.
const PAGE: usize = 1_000;
/// Says that every run is listed with its owner, which once it was not.
const RUNS_BY_OWNER: &[u8] = b"runs-by-owner";
/// By which the vault's keys are recognised.
const VAULT_KEY: &[u8] = b"vault-key";
/// How old the data is.
const VAULT_AGE: &[u8] = b"vault-age";
/// Since when calls are known.
const DOUBT: &[u8] = b"doubt";
/// How often the coordinator has started making calls.
const STARTS: &[u8] = b"starts";
/// Lines of the audit log.
pub(crate) const AUDIT: &[u8] = b"audit\0";
/// Where it ends.
const AUDIT_TAIL: &[u8] = b"audit-tail";
/// Its signed heads.
const SIGNED: &[u8] = b"signed\0";
/// Over how many entries the last one is.
const SIGNED_LAST: &[u8] = b"signed-last";
/// What accounts have.
pub(crate) const BALANCE: &[u8] = b"credit-balance";
/// What they got and gave.
pub(crate) const LINE: &[u8] = b"credit-line";
/// The last hour in which they did.
pub(crate) const HOUR: &[u8] = b"credit-hour";
/// How long the coordinator looked who is there.
pub(crate) const UPTIME: &[u8] = b"uptime";
/// How long workers were.
pub(crate) const UPTIME_OF: &[u8] = b"uptime-of";
/// Words that were found wrong.
pub(crate) const FAULT: &[u8] = b"fault";
/// Whom operators pardoned.
pub(crate) const PARDON: &[u8] = b"pardon";
/// Block lists that count, with the fingerprint of their key.
pub(crate) const BLOCKLIST: &[u8] = b"blocklist\0";
/// What is known of the lists of a key.
pub(crate) const BLOCKLIST_SEEN: &[u8] = b"blocklist-seen\0";
/// Who is on them.
pub(crate) const BLOCKED: &[u8] = b"blocked\0";
/// Workers on a block list that share a record.
const BLOCKED_PACK: usize = 1_000;
/// The last one that was exported.
const BLOCKLIST_SERIAL: &[u8] = b"blocklist-serial";
/// Invitations.
pub(crate) const INVITATION: &[u8] = b"invitation";
/// Who came with one.
pub(crate) const INVITED: &[u8] = b"invited";
/// Calls of a verb and a run of which it is kept for decoys what was heard.
const OVER_MAX: u8 = 64;
/// Inputs that share a record, at most; and their bytes, but for the last one's.
const PACK_UNITS: usize = 64;
const PACK_BYTES: usize = 8 << 10;

/// Why a record could not be read or written. Never the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A blob could not be read or written.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A record is there and is not what it should be.
    #[error("a record in table {0} is of another version; was the coordinator downgraded?")]
    Foreign(Table),
    /// Something that must be there is not.
    #[error("{0} is missing from the store; restore a backup")]
    Missing(String),
}

/// A published job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRecord {
    /// What it declares.
    #[serde(with = "as_json")]
    pub manifest: Manifest,
    /// Number of this release at this coordinator.
    pub serial: u64,
    /// SHA-256 of the module as published, which is the blob that it was sealed from.
    pub source: Digest,
    /// SHA-256 of the sealed module, a blob.
    pub module: Digest,
    /// Length of the sealed module.
    pub module_bytes: u64,
    /// Whether it has a reduce step.
    pub reduces: bool,
    /// The publisher's word, kept as evidence.
    pub publication: Signed<Publication>,
    /// When.
    pub published_at: Timestamp,
}

/// A manifest may gain fields, so it is kept as the JSON that it came as.
mod as_json {
    use manyhands_model::Manifest;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de, ser};

    pub(super) fn serialize<S: Serializer>(manifest: &Manifest, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(manifest).map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Manifest, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JobRecord {
    /// Who published it.
    pub fn publisher(&self) -> PublicKey {
        self.publication.signer()
    }

    /// As the HTTP API shows it.
    pub fn view(&self) -> JobView {
        JobView {
            name: self.manifest.name.clone(),
            version: self.manifest.version.clone(),
            serial: self.serial,
            description: self.manifest.description.clone(),
            codec: self.manifest.codec,
            reduces: self.reduces,
            limits: self.manifest.limits,
            source: self.source,
            module: self.module,
            module_bytes: self.module_bytes,
            publisher: self.publisher().fingerprint(),
            published_at: self.published_at,
        }
    }
}

/// Some bytes: where they are, and their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// The bytes, if they are few; else they are a blob.
    pub inline: Option<Bytes>,
}

/// The inputs of consecutive units, which share a record: most inputs are short, and a run has many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// The first unit.
    pub first: u32,
    /// The inputs, in order. At least one.
    pub inputs: Vec<Content>,
}

impl Pack {
    /// A pack that begins at `first`, and is empty.
    pub fn new(first: u32) -> Self {
        Self { first, inputs: Vec::new() }
    }

    /// The unit after the last.
    pub fn end(&self) -> u32 {
        self.first + u32::try_from(self.inputs.len()).unwrap_or(u32::MAX)
    }

    /// Whether no other input fits in.
    pub fn is_full(&self) -> bool {
        let bytes: usize = self.inputs.iter().filter_map(|input| Some(input.inline.as_ref()?.len())).sum();
        self.inputs.len() >= PACK_UNITS || bytes >= PACK_BYTES
    }

    /// A unit's input.
    pub fn get(&self, index: u32) -> Option<&Content> {
        self.inputs.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }
}

/// A submission that must not happen twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitRecord {
    /// The run that the first request made.
    pub run: RunId,
    /// SHA-256 of its body and parameters.
    pub fingerprint: Digest,
}

/// A call that a unit asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Whose it is.
    pub unit: UnitId,
    /// Which of its requests, from 0.
    pub step: u32,
    /// What it asks for, in canonical form.
    pub intent: Intent,
    /// Its share of the budget, once it has one.
    pub reservation: Option<Reservation>,
    /// Where it stands.
    pub state: State,
}

/// A call that was not sent, because its run is a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsentRecord {
    /// Its id.
    pub call: IntentId,
    /// Bytes of path and query, with values in their slots.
    pub target_bytes: u64,
    /// Bytes of the body.
    pub body_bytes: u64,
}

/// An answer that is not what it was, since somebody on whose word it rested was caught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedRecord {
    /// The unit.
    pub index: u32,
    /// When that was found.
    pub at: Timestamp,
    /// What it was; none for a step of a reduction, whose parts changed.
    pub was: Option<Outcome>,
}

/// A worker's word that was found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// When that was found.
    pub at: Timestamp,
    /// What.
    pub fault: Fault,
}

/// An operator overruled what a worker's faults had led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PardonRecord {
    /// Name of the operator's token.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// A block list that counts here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocklistRecord {
    /// What workers that are refused are told that it is called.
    pub name: String,
    /// Which of its issuer's lists it is.
    pub serial: u64,
    /// When it was made, and until when it counts.
    pub validity: Validity,
    /// Records that hold its workers.
    pub packs: u32,
}

/// What is remembered of a key's block lists for good, so that nobody can bring an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRecord {
    /// The serial of the last one that counted.
    pub serial: u64,
    /// The highest version of its issuer's trust list that came with one.
    pub trust_version: u64,
}

/// What is known of a worker that is on a block list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Words of it that the list says were wrong.
    pub charges: u32,
    /// Whether its own signature is under one of them.
    pub is_proven: bool,
}

/// An invitation. Its secret is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationRecord {
    /// Whose workers come with it, if that was said.
    pub owner: Option<String>,
    /// How many may.
    pub uses: u32,
    /// Since when.
    pub created_at: Timestamp,
    /// From when on no other may.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// The answers to a request for calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswersRecord {
    /// The request, as workers agreed on it: a unit that is tried again may ask for something else.
    pub request: Outcome,
    /// The answers.
    pub answers: Content,
}

/// What an account has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceRecord {
    /// Whose: its key is too short for a name.
    pub account: Account,
    /// What it got, less what it gave.
    pub balance: Amount,
    /// Whether anything was ever deposited for it.
    pub has_deposited: bool,
}

/// The data was put back from a copy: which calls may have been made of which it knows nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Those of runs that were submitted before.
    pub before: Timestamp,
    /// How often calls had been begun to be made by then, as far as is known: whoever made one since knows of the doubt.
    pub starts: u64,
}

/// An operator's word that a job may ask for what its plan says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRecord {
    /// Whose word.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A secret of the operator's, for calls of one origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Where alone it is sent.
    pub origin: String,
    /// The secret; see `vault.rs`.
    pub sealed: Vec<u8>,
}

/// A value of a unit, as it is stored.
pub struct SealedValue {
    /// Its key in the table.
    pub key: Vec<u8>,
    /// Whose it is.
    pub unit: UnitId,
    /// What stands for it.
    pub token: Token,
    /// When it was written.
    pub version: Revision,
    /// See `vault.rs`.
    pub sealed: Vec<u8>,
}

/// The coordinator's memory.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn StateStore>,
    blobs: Blobs,
    metrics: Metrics,
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    manyhands_protocol::encode(record)
}

fn decode<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, RecordError> {
    postcard::from_bytes(bytes).map_err(|_| RecordError::Foreign(table))
}

fn run_key(run: RunId) -> [u8; 16] {
    run.0.map(|byte| !byte)
}

fn owner_key(owner: &str) -> Vec<u8> {
    [&b"owner"[..], Digest::of(owner.as_bytes()).as_bytes()].concat()
}

fn unit_key(unit: UnitId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(unit.run.as_bytes());
    key[16..].copy_from_slice(&unit.index.to_be_bytes());
    key
}

fn answers_key(unit: UnitId, step: u32) -> Vec<u8> {
    [&b"c"[..], &unit_key(unit), &step.to_be_bytes()].concat()
}

fn over_key(run: RunId, verb: &Name) -> Vec<u8> {
    // No name holds a zero.
    [&b"h"[..], run.as_bytes(), verb.as_str().as_bytes(), &[0]].concat()
}

/// Whose a sealed value is, and which.
fn value_place(key: &[u8]) -> Option<(UnitId, Token)> {
    let (run, rest) = key.strip_prefix(b"v")?.split_first_chunk::<16>()?;
    let (index, token) = rest.split_first_chunk::<4>()?;
    Some((UnitId { run: RunId(*run), index: u32::from_be_bytes(*index) }, Token::parse(token)?))
}

/// Whether a commit found what it expected.
fn replaced(done: Result<Revision, CommitError>) -> Result<bool, RecordError> {
    match done {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn asked_key(question: Digest) -> Vec<u8> {
    [&b"asked"[..], question.as_bytes()].concat()
}

/// An account as part of a key: as long as every other.
fn account_key(account: &Account) -> [u8; 33] {
    let (kind, name) = match account {
        Account::Operator => (b'o', [0; 32]),
        Account::Requester(name) => (b'r', Digest::of(name.as_bytes()).0),
        Account::Worker(id) => (b'w', *id.as_bytes()),
    };
    let mut key = [kind; 33];
    key[1..].copy_from_slice(&name);
    key
}

fn line_key(Place { account, hour, subject }: &Place) -> Vec<u8> {
    let mut key = [LINE, &account_key(account), &hour.0.to_be_bytes()].concat();
    match subject {
        Subject::Deposit => key.push(0),
        Subject::Run(run) => {
            key.push(1);
            key.extend(run.as_bytes());
        }
    }
    key
}

/// When and for what a line is.
pub(crate) fn line_place(key: &[u8]) -> Option<(Hour, Subject)> {
    let (hour, rest) = key.get(LINE.len() + 33..)?.split_first_chunk::<4>()?;
    let subject = match rest.split_first()? {
        (0, []) => Subject::Deposit,
        (1, run) => Subject::Run(RunId(run.try_into().ok()?)),
        _ => return None,
    };
    Some((Hour(u32::from_be_bytes(*hour)), subject))
}

fn budget_key(run: RunId, verb: &Name) -> Vec<u8> {
    [&b"budget"[..], run.as_bytes(), verb.as_str().as_bytes()].concat()
}

fn day_key(job: &JobName, verb: &Name) -> Vec<u8> {
    [b"day", job.as_str().as_bytes(), &[0], verb.as_str().as_bytes()].concat()
}

fn fields_key(run: RunId) -> Vec<u8> {
    [&b"f"[..], run.as_bytes()].concat()
}

fn forgotten_key(run: RunId) -> Vec<u8> {
    [&b"forgotten"[..], run.as_bytes()].concat()
}

fn secret_key(name: &Name) -> Vec<u8> {
    [b"secret", name.as_str().as_bytes()].concat()
}

fn trusted_key(worker: WorkerId) -> Vec<u8> {
    [&b"trusted"[..], worker.as_bytes()].concat()
}

fn fault_key(worker: WorkerId) -> Vec<u8> {
    [FAULT, worker.as_bytes()].concat()
}

fn pardon_key(worker: WorkerId) -> Vec<u8> {
    [PARDON, worker.as_bytes()].concat()
}

fn blocklist_key(root: Fingerprint) -> Vec<u8> {
    [BLOCKLIST, root.to_string().as_bytes()].concat()
}

fn seen_key(root: Fingerprint) -> Vec<u8> {
    [BLOCKLIST_SEEN, root.to_string().as_bytes()].concat()
}

/// Where a thousand workers on a list stand; none for all of them.
fn blocked_key(root: Fingerprint, pack: Option<u32>) -> Vec<u8> {
    let mut key = [BLOCKED, root.to_string().as_bytes()].concat();
    key.extend(pack.into_iter().flat_map(u32::to_be_bytes));
    key
}

fn invitation_key(invitation: Digest) -> Vec<u8> {
    [INVITATION, invitation.as_bytes()].concat()
}

fn life_key(place: &held::Place) -> Vec<u8> {
    [&b"held"[..], place.0.as_bytes()].concat()
}

fn numbered(prefix: &[u8], number: u64) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

fn number_of(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |number| u64::from_be_bytes(*number))
}

fn index_of(key: &[u8]) -> u32 {
    key.last_chunk::<4>().map_or(0, |index| u32::from_be_bytes(*index))
}

fn job_key(name: &JobName, serial: u64) -> Vec<u8> {
    [name.as_str().as_bytes(), &[0], &serial.to_be_bytes()].concat()
}

/// Writes of typed records, to be committed together.
#[derive(Debug, Default)]
pub struct Writes(pub Commit, Vec<Mark>);

impl Writes {
    /// Writes a published job, which must be new.
    pub fn job(&mut self, job: &JobRecord) {
        let key = (Table::Jobs, job_key(&job.manifest.name, job.serial));
        self.0 = std::mem::take(&mut self.0).expect_absent(key.clone()).put(key, encode(job));
    }

    /// Writes a run.
    pub fn run(&mut self, run: &RunRecord) {
        self.put(Table::Runs, &run_key(run.spec.id), encode(run));
    }

    /// Writes whose run it is, which every run needs once.
    pub fn owner(&mut self, run: &RunRecord) {
        let key = [&owner_key(&run.spec.owner)[..], &run_key(run.spec.id)].concat();
        self.put(Table::Meta, &key, Vec::new());
    }

    /// Writes a unit.
    pub fn unit(&mut self, id: UnitId, unit: &UnitRecord) {
        self.put(Table::Units, &unit_key(id), encode(unit));
    }

    /// Writes that these units of a run ended; `sequence` orders such records.
    pub fn ended(&mut self, run: RunId, units: &[u32], sequence: u64) {
        let key = [&b"a"[..], run.as_bytes(), &sequence.to_be_bytes()].concat();
        self.put(Table::Results, &key, encode(&units));
    }

    /// Writes inputs of a run.
    pub fn inputs(&mut self, run: RunId, pack: &Pack) {
        let last = UnitId { run, index: pack.end().saturating_sub(1) };
        self.put(Table::Inputs, &unit_key(last), encode(&pack.inputs));
    }

    /// Writes signed reports of a worker; `sequence` tells them from others.
    pub fn evidence(&mut self, run: RunId, worker: WorkerId, sequence: u64, reports: &Bytes) {
        let key = [&b"e"[..], run.as_bytes(), worker.as_bytes(), &sequence.to_be_bytes()].concat();
        self.put(Table::Results, &key, reports.to_vec());
    }

    /// Writes that an answer is not what it was; `sequence` orders such records.
    pub fn changed(&mut self, run: RunId, sequence: u64, changed: &ChangedRecord) {
        let key = [&b"x"[..], run.as_bytes(), &sequence.to_be_bytes()].concat();
        self.put(Table::Results, &key, encode(changed));
    }

    /// Writes a short output.
    pub fn output(&mut self, digest: Digest, bytes: &Bytes) {
        self.put(Table::Results, &[&b"o"[..], digest.as_bytes()].concat(), bytes.to_vec());
    }

    /// Writes the answers to a unit's request for calls.
    pub fn answers(&mut self, unit: UnitId, step: u32, answers: &AnswersRecord) {
        self.put(Table::Results, &answers_key(unit, step), encode(answers));
    }

    /// Writes where a call stands.
    pub fn call(&mut self, id: IntentId, call: &CallRecord) {
        self.put(Table::Results, &[&b"i"[..], id.as_bytes()].concat(), encode(call));
        let listed = Key::new(Table::Results, &[&b"u"[..], id.as_bytes()].concat());
        self.0.ops.push(match call.state {
            State::Unknown { .. } => Op::Put(listed, Vec::new()),
            _ => Op::Delete(listed),
        });
    }

    /// Writes what was heard of a call, for decoys of its run, in the place of an earlier one's: which one's follows from the call, so that it is
    /// written once whatever crashes.
    pub fn over(&mut self, id: IntentId, verb: &Name, over: &Over) {
        let place = id.0[0] % OVER_MAX;
        self.put(Table::Results, &[&over_key(over.unit.run, verb)[..], &[place]].concat(), encode(over));
    }

    /// Writes a call that a dry run would have sent.
    pub fn unsent(&mut self, call: &CallRecord, unsent: &UnsentRecord) {
        let key = [&b"d"[..], &unit_key(call.unit), &call.step.to_be_bytes(), &call.intent.ordinal.to_be_bytes()];
        self.put(Table::Results, &key.concat(), encode(unsent));
    }

    /// Writes a sealed value of a unit.
    pub fn value(&mut self, unit: UnitId, token: &Token, sealed: Sealed) {
        let Sealed { bytes, mark } = sealed;
        self.put(Table::Results, &[&b"v"[..], &unit_key(unit), token.as_str().as_bytes()].concat(), bytes);
        self.1.push(mark);
    }

    /// Writes what the requester of a run declared as sensitive.
    pub fn fields(&mut self, run: RunId, fields: &SensitiveFields) {
        // As JSON, since a field may leave some keys out. It can always be written.
        self.put(Table::Results, &fields_key(run), serde_json::to_vec(fields).unwrap_or_default());
    }

    /// Writes how often a run called a verb, and all runs of the job did in the last day.
    pub fn spent(&mut self, run: RunId, job: &JobName, verb: &Name, of_run: u64, day: &Day) {
        self.put(Table::Meta, &budget_key(run, verb), encode(&of_run));
        self.put(Table::Meta, &day_key(job, verb), encode(day));
    }

    /// Writes that a plan is approved.
    pub fn approval(&mut self, plan: Digest, approval: &ApprovalRecord) {
        self.put(Table::Meta, &[&b"plan"[..], plan.as_bytes()].concat(), encode(approval));
    }

    /// Writes that it is not, or no more.
    pub fn no_approval(&mut self, plan: Digest) {
        self.0.ops.push(Op::Delete(Key::new(Table::Meta, &[&b"plan"[..], plan.as_bytes()].concat())));
    }

    /// Writes a secret of the operator's.
    pub fn secret(&mut self, name: &Name, origin: String, sealed: Sealed) {
        let Sealed { bytes, mark } = sealed;
        self.put(Table::Meta, &secret_key(name), encode(&SecretRecord { origin, sealed: bytes }));
        self.1.push(mark);
    }

    /// Removes a secret of the operator's.
    pub fn no_secret(&mut self, name: &Name) {
        self.0.ops.push(Op::Delete(Key::new(Table::Meta, &secret_key(name))));
    }

    /// Writes by which the vault's keys are recognised.
    pub fn vault_key(&mut self, print: Digest) {
        self.put(Table::Meta, VAULT_KEY, encode(&print));
    }

    /// Writes how old the data is.
    pub fn vault_age(&mut self, age: u64) {
        self.put(Table::Meta, VAULT_AGE, encode(&age));
    }

    /// Writes what the data may have forgotten.
    pub fn doubt(&mut self, doubt: &Doubt) {
        self.put(Table::Meta, DOUBT, encode(doubt));
    }

    /// Writes that calls are made for the so-manieth time.
    pub fn starts(&mut self, starts: u64) {
        self.put(Table::Meta, STARTS, encode(&starts));
    }

    /// Writes the line of the audit log that ends it now. There must be none in its place.
    pub fn audit(&mut self, tail: &Tail, line: Vec<u8>) {
        let key = Key::new(Table::Meta, &numbered(AUDIT, tail.entries));
        self.0.expects.push(Expect::Absent(key.clone()));
        self.0.ops.push(Op::Put(key, line));
        self.put(Table::Meta, AUDIT_TAIL, encode(tail));
    }

    /// Writes a signed head over so many entries of the audit log. One whose trust list names hundreds of jobs is too long to be kept.
    pub fn audit_head(&mut self, entries: u64, line: Vec<u8>) {
        if line.len() <= VALUE_BYTES_MAX {
            self.put(Table::Meta, &numbered(SIGNED, entries), line);
        }
        self.put(Table::Meta, SIGNED_LAST, encode(&entries));
    }

    /// Writes what an account has.
    pub fn balance(&mut self, balance: &BalanceRecord) {
        self.put(Table::Meta, &[BALANCE, &account_key(&balance.account)].concat(), encode(balance));
    }

    /// Writes what an account got and gave, for one thing in one hour.
    pub fn line(&mut self, place: &Place, line: &Line) {
        self.put(Table::Meta, &line_key(place), encode(line));
    }

    /// Writes that this is the last hour in which something was paid.
    pub fn hour(&mut self, hour: Hour) {
        self.put(Table::Meta, HOUR, encode(&hour));
    }

    /// Writes how long the coordinator looked who is there.
    pub fn attendance(&mut self, attendance: &Attendance) {
        self.put(Table::Meta, UPTIME, encode(attendance));
    }

    /// Writes how long a worker was there.
    pub fn presence(&mut self, worker: WorkerId, presence: &Presence) {
        self.put(Table::Meta, &[UPTIME_OF, worker.as_bytes()].concat(), encode(presence));
    }

    /// Forgets how long a worker was there.
    pub fn no_presence(&mut self, worker: WorkerId) {
        self.0.ops.push(Op::Delete(Key::new(Table::Meta, &[UPTIME_OF, worker.as_bytes()].concat())));
    }

    /// Writes that a run was asked this.
    pub fn asked(&mut self, question: Digest, run: RunId) {
        self.put(Table::Meta, &asked_key(question), encode(&run));
    }

    /// Writes that a worker is the operator's own.
    pub fn trusted(&mut self, worker: WorkerId) {
        self.put(Table::Meta, &trusted_key(worker), Vec::new());
    }

    /// Writes that it is not, or no more.
    pub fn not_trusted(&mut self, worker: WorkerId) {
        self.0.ops.push(Op::Delete(Key::new(Table::Meta, &trusted_key(worker))));
    }

    /// Writes a worker's word that was found wrong; `sequence` orders such records.
    pub fn fault(&mut self, worker: WorkerId, sequence: u64, fault: &FaultRecord) {
        let key = [&fault_key(worker)[..], &(!sequence).to_be_bytes()].concat();
        self.put(Table::Meta, &key, encode(fault));
    }

    /// Writes that an operator pardoned a worker; `sequence` orders such records.
    pub fn pardon(&mut self, worker: WorkerId, sequence: u64, pardon: &PardonRecord) {
        let key = [&pardon_key(worker)[..], &(!sequence).to_be_bytes()].concat();
        self.put(Table::Meta, &key, encode(pardon));
    }

    /// Writes a block list in the place of what it was, and returns its record with the number of those that hold its workers.
    pub fn blocklist(
        &mut self,
        root: Fingerprint,
        record: BlocklistRecord,
        was: Option<&BlocklistRecord>,
        workers: &BTreeMap<WorkerId, Listed>,
    ) -> BlocklistRecord {
        let all: Vec<(&WorkerId, &Listed)> = workers.iter().collect();
        let mut packs = 0;
        for pack in all.chunks(BLOCKED_PACK) {
            self.put(Table::Meta, &blocked_key(root, Some(packs)), encode(&pack));
            packs += 1;
        }
        for beyond in packs..was.map_or(0, |was| was.packs) {
            self.0.ops.push(Op::Delete(Key::new(Table::Meta, &blocked_key(root, Some(beyond)))));
        }
        let record = BlocklistRecord { packs, ..record };
        self.put(Table::Meta, &blocklist_key(root), encode(&record));
        record
    }

    /// Writes what is known of the block lists of a key.
    pub fn blocklist_seen(&mut self, root: Fingerprint, seen: &SeenRecord) {
        self.put(Table::Meta, &seen_key(root), encode(seen));
    }

    /// Removes a block list. What is known of its key's stays.
    pub fn no_blocklist(&mut self, root: Fingerprint, was: &BlocklistRecord) {
        for pack in 0..was.packs {
            self.0.ops.push(Op::Delete(Key::new(Table::Meta, &blocked_key(root, Some(pack)))));
        }
        self.0.ops.push(Op::Delete(Key::new(Table::Meta, &blocklist_key(root))));
    }

    /// Writes the serial of the last block list that was exported.
    pub fn blocklist_serial(&mut self, serial: u64) {
        self.put(Table::Meta, BLOCKLIST_SERIAL, encode(&serial));
    }

    /// Writes an invitation.
    pub fn invitation(&mut self, invitation: Digest, record: &InvitationRecord) {
        self.put(Table::Meta, &invitation_key(invitation), encode(record));
    }

    /// Removes one that nobody came with.
    pub fn no_invitation(&mut self, invitation: Digest) {
        self.0.ops.push(Op::Delete(Key::new(Table::Meta, &invitation_key(invitation))));
    }

    /// Writes with which invitation a worker came.
    pub fn invited(&mut self, worker: WorkerId, invitation: Digest) {
        self.put(Table::Meta, &[INVITED, worker.as_bytes()].concat(), encode(&invitation));
    }

    /// Writes which record of a client counts, if that is still what was read under this version.
    pub fn life(&mut self, place: &held::Place, life: &Life, was: Option<Revision>) {
        let key = Key::new(Table::Meta, &life_key(place));
        self.0.expects.push(match was {
            Some(version) => Expect::Version(key.clone(), version),
            None => Expect::Absent(key.clone()),
        });
        self.0.ops.push(Op::Put(key, encode(life)));
    }

    /// Removes what is known of a client's record.
    pub fn no_life(&mut self, place: &held::Place) {
        self.0.ops.push(Op::Delete(Key::new(Table::Meta, &life_key(place))));
    }

    /// Writes what is known of a worker.
    pub fn worker(&mut self, id: WorkerId, worker: &WorkerRecord) {
        self.put(Table::Workers, id.as_bytes(), encode(worker));
    }

    /// Writes that this submission has happened.
    pub fn submission(&mut self, key: Digest, record: &SubmitRecord) {
        self.put(Table::Meta, &[&b"submit"[..], key.as_bytes()].concat(), encode(record));
    }

    /// As commits of at most about so many bytes, in order. Not for sealed values, which nobody would account for on their way.
    pub fn split(self, bytes: usize) -> Vec<Commit> {
        let mut rest = self.0;
        let mut commits = Vec::new();
        let (mut part, mut size) = (Commit::new(), 0);
        if rest.bytes() > bytes {
            for op in std::mem::take(&mut rest.ops) {
                size += bytes_of(&op);
                part.ops.push(op);
                if size > bytes {
                    commits.push(std::mem::take(&mut part));
                    size = 0;
                }
            }
            rest.ops = part.ops;
        }
        if !rest.ops.is_empty() {
            commits.push(rest);
        }
        commits
    }

    /// Bytes of what was written last.
    pub fn last_bytes(&self) -> usize {
        self.0.ops.last().map_or(0, bytes_of)
    }

    fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.0.ops.push(Op::Put(Key::new(table, key), value));
    }
}

fn bytes_of(op: &Op) -> usize {
    op.key().encoded().len() + if let Op::Put(_, value) = op { value.len() } else { 0 }
}

impl Records {
    /// Records over these. Blobs that fail are counted in `metrics`.
    pub fn new(store: Arc<dyn StateStore>, blobs: Blobs, metrics: Metrics) -> Self {
        Self { store, blobs, metrics }
    }

    /// Reads or writes on a thread that may block.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        let records = self.clone();
        match tokio::task::spawn_blocking(move || work(&records)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The store itself.
    pub fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }

    /// The blobs themselves.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Makes `writes` durable.
    ///
    /// # Errors
    /// [`RecordError::Commit`].
    pub fn commit(&self, writes: Writes) -> Result<(), RecordError> {
        // What was sealed is on its way until then.
        let Writes(commit, _marks) = writes;
        self.store.commit(commit)?;
        Ok(())
    }

    /// Bytes as content: short ones inline, long ones as a blob that is durable when this returns.
    ///
    /// # Errors
    /// [`RecordError::Blob`].
    pub async fn content(&self, bytes: Bytes) -> Result<Content, RecordError> {
        if bytes.len() <= INLINE_BYTES_MAX {
            Ok(Content { digest: Digest::of(&bytes), inline: Some(bytes) })
        } else {
            Ok(Content { digest: self.blob(bytes).await?, inline: None })
        }
    }

    /// Bytes as a blob, however few, that is durable when this returns.
    ///
    /// # Errors
    /// [`RecordError::Blob`].
    pub async fn blob(&self, bytes: impl Into<Bytes>) -> Result<Digest, RecordError> {
        let put = self.blobs.put(bytes).await;
        Ok(put.inspect_err(|_| self.metrics.blob_error(BlobOperation::Write))?)
    }

    /// A blob by its digest.
    ///
    /// # Errors
    /// [`RecordError::Blob`].
    pub async fn read(&self, digest: &Digest) -> Result<Bytes, RecordError> {
        let got = self.blobs.get(digest).await;
        Ok(got.inspect_err(|_| self.metrics.blob_error(BlobOperation::Read))?)
    }

    /// The inputs among which a unit's is.
    ///
    /// # Errors
    /// [`RecordError::Missing`] when there is none for this unit, or any other [`RecordError`].
    pub fn inputs(&self, unit: UnitId) -> Result<Pack, RecordError> {
        let missing = || RecordError::Missing(format!("the input of unit {unit}"));
        self.find_inputs(unit)?.ok_or_else(missing)
    }

    /// A unit's input.
    ///
    /// # Errors
    /// As [`Records::inputs`].
    pub fn input(&self, unit: UnitId) -> Result<Content, RecordError> {
        let missing = || RecordError::Missing(format!("the input of unit {unit}"));
        self.inputs(unit)?.get(unit.index).cloned().ok_or_else(missing)
    }

    /// Whether a unit's input is there.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn has_input(&self, unit: UnitId) -> Result<bool, RecordError> {
        Ok(self.find_inputs(unit)?.is_some())
    }

    /// The first pack that ends at this unit or after it, if it holds the unit.
    fn find_inputs(&self, unit: UnitId) -> Result<Option<Pack>, RecordError> {
        let before = unit.index.checked_sub(1).map(|index| unit_key(UnitId { index, ..unit }));
        let after = before.as_ref().map(|key| &key[..]);
        let Some((key, record)) = self.store.scan(Table::Inputs, unit.run.as_bytes(), after, 1)?.pop() else {
            return Ok(None);
        };
        let inputs: Vec<Content> = decode(Table::Inputs, &record.value)?;
        let count = u32::try_from(inputs.len()).map_err(|_| RecordError::Foreign(Table::Inputs))?;
        let first = (index_of(&key) + 1).checked_sub(count).ok_or(RecordError::Foreign(Table::Inputs))?;
        Ok(Some(Pack { first, inputs }).filter(|pack| pack.get(unit.index).is_some()))
    }

    /// The answers to a unit's request for calls, if it has them.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn answers(&self, unit: UnitId, step: u32) -> Result<Option<AnswersRecord>, RecordError> {
        self.get(Table::Results, &answers_key(unit, step))
    }

    /// What was heard of some calls of a verb that were made for units of this run, the latest more often than others.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn over(&self, run: RunId, verb: &Name) -> Result<Vec<Over>, RecordError> {
        let page = self.store.scan(Table::Results, &over_key(run, verb), None, usize::from(OVER_MAX))?;
        page.into_iter().map(|(_, record)| decode(Table::Results, &record.value)).collect()
    }

    /// A call, if it was asked for.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn call(&self, id: IntentId) -> Result<Option<CallRecord>, RecordError> {
        self.get(Table::Results, &[&b"i"[..], id.as_bytes()].concat())
    }

    /// Up to `limit` calls of which nobody knows whether they were made, after the given one.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn unknown_calls(
        &self,
        after: Option<IntentId>,
        limit: usize,
    ) -> Result<Vec<(IntentId, CallRecord)>, RecordError> {
        let after = after.map(|id| [&b"u"[..], id.as_bytes()].concat());
        let page = self.store.scan(Table::Results, b"u", after.as_deref(), limit)?;
        let ids = page.into_iter().filter_map(|(key, _)| Some(IntentId(key.get(1..)?.try_into().ok()?)));
        ids.filter_map(|id| self.call(id).transpose().map(|call| Ok((id, call?)))).collect()
    }

    /// Up to `limit` calls that a dry run would have sent, in order, after the one with this key; each with its own.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn unsent(
        &self,
        run: RunId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, UnsentRecord, CallRecord)>, RecordError> {
        let page = self.store.scan(Table::Results, &[&b"d"[..], run.as_bytes()].concat(), after, limit)?;
        let call = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let unsent: UnsentRecord = decode(Table::Results, &record.value)?;
            let call = self.call(unsent.call)?.ok_or_else(|| RecordError::Missing(unsent.call.to_string()))?;
            Ok((key, unsent, call))
        };
        page.into_iter().map(call).collect()
    }

    /// The sealed values of a unit, or of all units of a run.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn values(&self, run: RunId, index: Option<u32>) -> Result<Vec<(UnitId, Token, Vec<u8>)>, RecordError> {
        let mut prefix = [&b"v"[..], run.as_bytes()].concat();
        prefix.extend(index.into_iter().flat_map(u32::to_be_bytes));
        let page = self.store.scan(Table::Results, &prefix, None, usize::MAX)?;
        let value = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let (unit, token) = value_place(&key).ok_or(RecordError::Foreign(Table::Results))?;
            Ok((unit, token, record.value))
        };
        page.into_iter().map(value).collect()
    }

    /// One sealed value of a unit.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn value(&self, unit: UnitId, token: &Token) -> Result<Option<Vec<u8>>, RecordError> {
        let key = [&b"v"[..], &unit_key(unit), token.as_str().as_bytes()].concat();
        Ok(self.store.get(Table::Results, &key)?.map(|record| record.value))
    }

    /// Up to `limit` sealed values of all runs, after the one with this key.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn sealed_values(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<SealedValue>, RecordError> {
        let page = self.store.scan(Table::Results, b"v", after, limit)?;
        let value = |(key, manyhands_state::Record { version, value }): (Vec<u8>, _)| {
            let (unit, token) = value_place(&key).ok_or(RecordError::Foreign(Table::Results))?;
            Ok(SealedValue { key, unit, token, version, sealed: value })
        };
        page.into_iter().map(value).collect()
    }

    /// Writes a value that was sealed anew in the place of what it was, and says whether it still was that.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn replace_value(&self, was: &SealedValue, sealed: Sealed) -> Result<bool, RecordError> {
        let key = (Table::Results, &was.key[..]);
        replaced(self.store.commit(Commit::new().expect_version(key, was.version).put(key, sealed.bytes)))
    }

    /// The same of a secret.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn replace_secret(&self, name: &Name, was: &[u8], origin: String, sealed: Sealed) -> Result<bool, RecordError> {
        let place = secret_key(name);
        let Some(record) = self.store.get(Table::Meta, &place)? else { return Ok(false) };
        if decode::<SecretRecord>(Table::Meta, &record.value)?.sealed != was {
            return Ok(false);
        }
        let (key, new) = ((Table::Meta, place), encode(&SecretRecord { origin, sealed: sealed.bytes }));
        replaced(self.store.commit(Commit::new().expect_version(key.clone(), record.version).put(key, new)))
    }

    /// A run that has values, after the given one.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn run_with_values(&self, after: Option<RunId>) -> Result<Option<RunId>, RecordError> {
        self.next_run(b"v", after)
    }

    /// The next run after the given one of which something is under this letter.
    fn next_run(&self, letter: &[u8], after: Option<RunId>) -> Result<Option<RunId>, RecordError> {
        // The last possible place of the one before.
        let after = after.map(|run| [letter, run.as_bytes(), &[0xff; 64]].concat());
        let next = self.store.scan(Table::Results, letter, after.as_deref(), 1)?.pop();
        Ok(next.and_then(|(key, _)| key.get(letter.len()..)?.first_chunk().map(|run| RunId(*run))))
    }

    /// What the requester of a run declared as sensitive, beside the job's manifest; nothing if it declared nothing.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn fields(&self, run: RunId) -> Result<SensitiveFields, RecordError> {
        let Some(record) = self.store.get(Table::Results, &fields_key(run))? else { return Ok(Default::default()) };
        serde_json::from_slice(&record.value).map_err(|_| RecordError::Foreign(Table::Results))
    }

    /// When a run's values were removed for good, if they were.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn forgotten(&self, run: RunId) -> Result<Option<Timestamp>, RecordError> {
        self.get(Table::Meta, &forgotten_key(run))
    }

    /// Removes the values of a run for good: from now on it counts as [forgotten](Self::forgotten).
    ///
    /// # Errors
    /// Any [`RecordError`]; what is left of them is removed when this is called again.
    pub fn forget(&self, run: RunId, now: Timestamp) -> Result<(), RecordError> {
        if self.forgotten(run)?.is_none() {
            let mut writes = Writes::default();
            writes.put(Table::Meta, &forgotten_key(run), encode(&now));
            self.commit(writes)?;
        }
        self.remove_values(run)
    }

    /// Removes the values of a run: its tokens stand for nothing any more.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn remove_values(&self, run: RunId) -> Result<(), RecordError> {
        let prefix = [&b"v"[..], run.as_bytes()].concat();
        loop {
            let page = self.store.scan(Table::Results, &prefix, None, PAGE)?;
            if page.is_empty() {
                return Ok(());
            }
            let delete = |commit: Commit, (key, _): (Vec<u8>, _)| commit.delete((Table::Results, key));
            self.store.commit(page.into_iter().fold(Commit::new(), delete))?;
        }
    }

    /// How often a run called a verb, and all runs of the job did in the last day.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn spent(&self, run: RunId, job: &JobName, verb: &Name) -> Result<(u64, Day), RecordError> {
        let of_run = self.get(Table::Meta, &budget_key(run, verb))?;
        Ok((of_run.unwrap_or_default(), self.get(Table::Meta, &day_key(job, verb))?.unwrap_or_default()))
    }

    /// Who approved a plan, if somebody did.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn approval(&self, plan: Digest) -> Result<Option<ApprovalRecord>, RecordError> {
        self.get(Table::Meta, &[&b"plan"[..], plan.as_bytes()].concat())
    }

    /// A secret of the operator's.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn secret(&self, name: &Name) -> Result<Option<SecretRecord>, RecordError> {
        self.get(Table::Meta, &secret_key(name))
    }

    /// Names of the operator's secrets, and where each is sent.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn secrets(&self) -> Result<Vec<(Name, SecretRecord)>, RecordError> {
        let page = self.store.scan(Table::Meta, b"secret", None, usize::MAX)?;
        let secret = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let name = key.get(6..).and_then(|name| core::str::from_utf8(name).ok()?.parse().ok());
            Ok((name.ok_or(RecordError::Foreign(Table::Meta))?, decode(Table::Meta, &record.value)?))
        };
        page.into_iter().map(secret).collect()
    }

    /// Up to `limit` answers of a run that are not what they were, in order.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn changed(&self, run: RunId, limit: usize) -> Result<Vec<ChangedRecord>, RecordError> {
        let page = self.store.scan(Table::Results, &[&b"x"[..], run.as_bytes()].concat(), None, limit)?;
        page.into_iter().map(|(_, record)| decode(Table::Results, &record.value)).collect()
    }

    /// How many answers of each run are not what they were, where there are any.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn changes(&self) -> Result<BTreeMap<RunId, u64>, RecordError> {
        let (mut changes, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.store.scan(Table::Results, b"x", after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(changes) };
            after = Some(last.clone());
            for (key, _) in page {
                let run = key.get(1..17).and_then(|run| run.try_into().ok());
                *changes.entry(RunId(run.ok_or(RecordError::Foreign(Table::Results))?)).or_default() += 1;
            }
        }
    }

    /// Workers that are the operator's own.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn trusted(&self) -> Result<Vec<WorkerId>, RecordError> {
        let page = self.store.scan(Table::Meta, b"trusted", None, usize::MAX)?;
        let worker = |(key, _): (Vec<u8>, _)| key.last_chunk().copied().map(WorkerId);
        page.into_iter().map(|entry| worker(entry).ok_or(RecordError::Foreign(Table::Meta))).collect()
    }

    /// By which the vault's keys are recognised, if they were ever used.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn vault_key(&self) -> Result<Option<Digest>, RecordError> {
        self.get(Table::Meta, VAULT_KEY)
    }

    /// How old the data is, as the vault counts.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn vault_age(&self) -> Result<u64, RecordError> {
        Ok(self.get(Table::Meta, VAULT_AGE)?.unwrap_or_default())
    }

    /// What the data may have forgotten, if it was ever put back from a copy.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn doubt(&self) -> Result<Option<Doubt>, RecordError> {
        self.get(Table::Meta, DOUBT)
    }

    /// Whether the data was put back from a copy since this was written, if it ever was: then what came after it may be forgotten.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn is_in_doubt(&self, written: Option<Revision>) -> Result<bool, RecordError> {
        let doubt = self.store.get(Table::Meta, DOUBT)?;
        Ok(doubt.is_some_and(|doubt| written.is_none_or(|written| written < doubt.version)))
    }

    /// How often calls were begun to be made.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn starts(&self) -> Result<u64, RecordError> {
        Ok(self.get(Table::Meta, STARTS)?.unwrap_or_default())
    }

    /// Where the audit log ends.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn audit_tail(&self) -> Result<Tail, RecordError> {
        Ok(self.get(Table::Meta, AUDIT_TAIL)?.unwrap_or_default())
    }

    /// Over how many entries of the audit log the last head is that was kept, if there is one.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn audit_head(&self) -> Result<Option<u64>, RecordError> {
        self.get(Table::Meta, SIGNED_LAST)
    }

    /// What an account has, if it ever got or gave anything.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn balance(&self, account: &Account) -> Result<Option<BalanceRecord>, RecordError> {
        self.get(Table::Meta, &[BALANCE, &account_key(account)].concat())
    }

    /// Up to `limit` accounts after the one with this key, in the order of their keys; each with its own.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn balances(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, BalanceRecord)>, RecordError> {
        let page = self.store.scan(Table::Meta, BALANCE, after, limit)?;
        page.into_iter().map(|(key, record)| Ok((key, decode(Table::Meta, &record.value)?))).collect()
    }

    /// What an account got and gave, for one thing in one hour.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn line(&self, place: &Place) -> Result<Option<Line>, RecordError> {
        self.get(Table::Meta, &line_key(place))
    }

    /// Up to `limit` lines of an account, in order: from an hour on, and after one of them.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn lines(
        &self,
        account: &Account,
        from: Hour,
        after: Option<(Hour, Subject)>,
        limit: usize,
    ) -> Result<Vec<(Place, Line)>, RecordError> {
        let prefix = [LINE, &account_key(account)].concat();
        let place = |(hour, subject)| Place { account: account.clone(), hour, subject };
        let after = match after {
            Some(after) => Some(line_key(&place(after))),
            // The last possible place of the hour before.
            None => from.0.checked_sub(1).map(|hour| [&prefix[..], &hour.to_be_bytes(), &[0xff]].concat()),
        };
        let page = self.store.scan(Table::Meta, &prefix, after.as_deref(), limit)?;
        let line = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let at = line_place(&key).ok_or(RecordError::Foreign(Table::Meta))?;
            Ok((place(at), decode(Table::Meta, &record.value)?))
        };
        page.into_iter().map(line).collect()
    }

    /// The last hour in which something was paid.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn hour(&self) -> Result<Hour, RecordError> {
        Ok(self.get(Table::Meta, HOUR)?.unwrap_or_default())
    }

    /// How long the coordinator looked who is there.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn attendance(&self) -> Result<Attendance, RecordError> {
        Ok(self.get(Table::Meta, UPTIME)?.unwrap_or_default())
    }

    /// How long workers were there.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn presences(&self) -> Result<Vec<(WorkerId, Presence)>, RecordError> {
        let page = self.store.scan(Table::Meta, UPTIME_OF, None, usize::MAX)?;
        let presence = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let id = key.get(UPTIME_OF.len()..).and_then(|id| id.try_into().ok()).map(WorkerId);
            Ok((id.ok_or(RecordError::Foreign(Table::Meta))?, decode(Table::Meta, &record.value)?))
        };
        page.into_iter().map(presence).collect()
    }

    /// Whether a commit with this idempotency key is on the disk.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn has_happened(&self, key: &IdempotencyKey) -> Result<bool, RecordError> {
        Ok(self.store.get(Table::Idempotency, &key.0)?.is_some())
    }

    /// Up to `limit` lines of the audit log after so many, and the heads that stand behind them, in order.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn audit(&self, after: u64, limit: usize) -> Result<Vec<Vec<u8>>, RecordError> {
        let from = |prefix| numbered(prefix, after);
        let entries = self.store.scan(Table::Meta, AUDIT, Some(&from(AUDIT)), limit)?;
        let Some(last) = entries.last().map(|(key, _)| number_of(key)) else { return Ok(Vec::new()) };
        let heads = self.store.scan(Table::Meta, SIGNED, Some(&from(SIGNED)), limit)?;
        let mut heads = heads.into_iter().take_while(|(key, _)| number_of(key) <= last).peekable();
        let mut lines = Vec::with_capacity(entries.len());
        for (key, line) in entries {
            let number = number_of(&key);
            lines.push(line.value.to_vec());
            lines.extend(heads.next_if(|(key, _)| number_of(key) == number).map(|(_, head)| head.value.to_vec()));
        }
        Ok(lines)
    }

    /// What a unit reads at this step: its input, and from step 1 on the answers to its requests as well.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn material(&self, unit: UnitId, step: u32, input: &Content) -> Result<Bytes, RecordError> {
        let parts = self.texts(unit, step, input).await?;
        Ok(match &parts[..] {
            [input] => input.clone(),
            parts => manyhands_abi::parts::encode(parts.iter().map(|part| &part[..])).into(),
        })
    }

    /// What a unit reads in this step: its input, then the answers to each of its requests before.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn texts(&self, unit: UnitId, step: u32, input: &Content) -> Result<Vec<Bytes>, RecordError> {
        let mut texts = vec![self.bytes(input).await?];
        for step in 0..step {
            let missing = || RecordError::Missing(format!("the answers to request {step} of unit {unit}"));
            let AnswersRecord { answers, .. } = self.answers(unit, step)?.ok_or_else(missing)?;
            texts.push(self.bytes(&answers).await?);
        }
        Ok(texts)
    }

    /// The bytes of some content.
    ///
    /// # Errors
    /// [`RecordError::Blob`].
    pub async fn bytes(&self, content: &Content) -> Result<Bytes, RecordError> {
        match &content.inline {
            Some(bytes) => Ok(bytes.clone()),
            None => self.read(&content.digest).await,
        }
    }

    /// An output by its digest.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn output(&self, digest: Digest) -> Result<Bytes, RecordError> {
        match self.store.get(Table::Results, &[&b"o"[..], digest.as_bytes()].concat())? {
            Some(record) => Ok(record.value.into()),
            None => self.read(&digest).await,
        }
    }

    /// A run.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn run(&self, run: RunId) -> Result<Option<RunRecord>, RecordError> {
        self.get(Table::Runs, &run_key(run))
    }

    /// Up to `limit` runs, newest first, after the given one.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn runs(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunRecord>, RecordError> {
        let after = after.map(run_key);
        let page = self.store.scan(Table::Runs, &[], after.as_ref().map(|key| &key[..]), limit)?;
        page.into_iter().map(|(_, record)| decode(Table::Runs, &record.value)).collect()
    }

    /// Up to `limit` runs of one owner, newest first, after the given one; and the last of them if there may be
    /// more.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn runs_of(
        &self,
        owner: &str,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<(Vec<RunRecord>, Option<RunId>), RecordError> {
        let prefix = owner_key(owner);
        let after = after.map(|run| [&prefix[..], &run_key(run)].concat());
        let page = self.store.scan(Table::Meta, &prefix, after.as_deref(), limit)?;
        let listed = |(key, _): &(Vec<u8>, _)| key.last_chunk().map(|key: &[u8; 16]| run_key(RunId(*key))).map(RunId);
        let listed: Vec<RunId> = page.iter().filter_map(listed).collect();
        let more = listed.last().copied().filter(|_| page.len() == limit);
        let runs = listed.into_iter().filter_map(|run| self.run(run).transpose());
        Ok((runs.collect::<Result<_, _>>()?, more))
    }

    /// Lists every run with its owner, if that was not done before: older versions did not. Returns how many.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn list_owners(&self) -> Result<u64, RecordError> {
        let mut listed = 0;
        if self.store.get(Table::Meta, RUNS_BY_OWNER)?.is_some() {
            return Ok(listed);
        }
        let mut after = None;
        loop {
            let page = self.runs(after, PAGE)?;
            let mut writes = Writes::default();
            page.iter().for_each(|run| writes.owner(run));
            after = page.last().map(|run| run.spec.id);
            if after.is_none() {
                writes.put(Table::Meta, RUNS_BY_OWNER, Vec::new());
            }
            self.commit(writes)?;
            listed += page.len() as u64;
            if after.is_none() {
                return Ok(listed);
            }
        }
    }

    /// A unit; none until somebody reported on it.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn unit(&self, unit: UnitId) -> Result<Option<UnitRecord>, RecordError> {
        self.get(Table::Units, &unit_key(unit))
    }

    /// All units of a run of which something is known, in order, and its decoys after them.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn units(&self, run: RunId) -> Result<Vec<(u32, UnitRecord)>, RecordError> {
        let mut units: Vec<(u32, UnitRecord)> = Vec::new();
        loop {
            let from = units.last().map_or(0, |(index, _)| index + 1);
            let page = self.units_and_decoys_from(run, from, PAGE)?;
            let last = page.len() < PAGE;
            units.extend(page);
            if last {
                return Ok(units);
            }
        }
    }

    /// Up to `limit` units of a run from `from` on of which something is known, in order.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn units_from(&self, run: RunId, from: u32, limit: usize) -> Result<Vec<(u32, UnitRecord)>, RecordError> {
        let mut page = self.units_and_decoys_from(run, from, limit)?;
        page.retain(|(index, _)| *index < UnitId::FIRST_DECOY);
        Ok(page)
    }

    fn units_and_decoys_from(
        &self,
        run: RunId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<(u32, UnitRecord)>, RecordError> {
        let before = from.checked_sub(1).map(|index| unit_key(UnitId { run, index }));
        let page = self.store.scan(Table::Units, run.as_bytes(), before.as_ref().map(|key| &key[..]), limit)?;
        page.into_iter().map(|(key, record)| Ok((index_of(&key), decode(Table::Units, &record.value)?))).collect()
    }

    /// The units of a run that have ended, in the order in which they did, after `sequence`.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn ended(&self, run: RunId, after: Option<u64>) -> Result<Vec<(u64, Vec<u32>)>, RecordError> {
        let prefix = [&b"a"[..], run.as_bytes()].concat();
        let after = after.map(|sequence| [&prefix[..], &sequence.to_be_bytes()].concat());
        let page = self.store.scan(Table::Results, &prefix, after.as_deref(), PAGE)?;
        let entry = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let sequence = key.last_chunk::<8>().map_or(0, |sequence| u64::from_be_bytes(*sequence));
            Ok((sequence, decode(Table::Results, &record.value)?))
        };
        page.into_iter().map(entry).collect()
    }

    /// How many statements of a worker's about a run are kept as evidence, up to a thousand or so.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn statements(&self, run: RunId, worker: WorkerId) -> Result<usize, RecordError> {
        Ok(self.evidence(run, worker)?.len())
    }

    /// Up to `limit` words of a worker's that were found wrong, the newest first.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn faults(&self, worker: WorkerId, limit: usize) -> Result<Vec<FaultRecord>, RecordError> {
        let page = self.store.scan(Table::Meta, &fault_key(worker), None, limit)?;
        page.into_iter().map(|(_, record)| decode(Table::Meta, &record.value)).collect()
    }

    /// By whom and why a worker was pardoned, up to `limit` times, the newest first.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn pardons(&self, worker: WorkerId, limit: usize) -> Result<Vec<PardonRecord>, RecordError> {
        let page = self.store.scan(Table::Meta, &pardon_key(worker), None, limit)?;
        page.into_iter().map(|(_, record)| decode(Table::Meta, &record.value)).collect()
    }

    /// Whether an operator ever pardoned a worker.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn is_pardoned(&self, worker: WorkerId) -> Result<bool, RecordError> {
        Ok(!self.pardons(worker, 1)?.is_empty())
    }

    /// The block lists that count here.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn blocklists(&self) -> Result<Vec<(Fingerprint, BlocklistRecord)>, RecordError> {
        let page = self.store.scan(Table::Meta, BLOCKLIST, None, usize::MAX)?;
        let entry = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let root = key.get(BLOCKLIST.len()..).and_then(|root| core::str::from_utf8(root).ok()?.parse().ok());
            Ok((root.ok_or(RecordError::Foreign(Table::Meta))?, decode(Table::Meta, &record.value)?))
        };
        page.into_iter().map(entry).collect()
    }

    /// The block list of a key.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn blocklist(&self, root: Fingerprint) -> Result<Option<BlocklistRecord>, RecordError> {
        self.get(Table::Meta, &blocklist_key(root))
    }

    /// What is known of the block lists of a key.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn blocklist_seen(&self, root: Fingerprint) -> Result<SeenRecord, RecordError> {
        Ok(self.get(Table::Meta, &seen_key(root))?.unwrap_or_default())
    }

    /// Who is on the block list of a key, which is kept in so many packs.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn blocked(&self, root: Fingerprint, packs: u32) -> Result<Vec<(WorkerId, Listed)>, RecordError> {
        let page = self.store.scan(Table::Meta, &blocked_key(root, None), None, packs as usize)?;
        let packs = page.into_iter().map(|(_, record)| decode::<Vec<_>>(Table::Meta, &record.value));
        Ok(packs.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The serial of the last block list that was exported; 0 if none was.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn blocklist_serial(&self) -> Result<u64, RecordError> {
        Ok(self.get(Table::Meta, BLOCKLIST_SERIAL)?.unwrap_or_default())
    }

    /// Signed reports of a worker's about a run, up to a thousand or so.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn evidence(&self, run: RunId, worker: WorkerId) -> Result<Vec<Vec<u8>>, RecordError> {
        let prefix = [&b"e"[..], run.as_bytes(), worker.as_bytes()].concat();
        Ok(self.store.scan(Table::Results, &prefix, None, PAGE)?.into_iter().map(|(_, record)| record.value).collect())
    }

    /// All invitations.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn invitations(&self) -> Result<Vec<(Digest, InvitationRecord)>, RecordError> {
        Ok(self.named(INVITATION)?.into_iter().map(|(digest, record)| (Digest(digest), record)).collect())
    }

    /// With which invitation each worker came that came with one.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn invited(&self) -> Result<Vec<(WorkerId, Digest)>, RecordError> {
        Ok(self.named(INVITED)?.into_iter().map(|(worker, invitation)| (WorkerId(worker), invitation)).collect())
    }

    /// All records under this word, each with the 32 bytes behind it.
    fn named<T: DeserializeOwned>(&self, word: &[u8]) -> Result<Vec<([u8; 32], T)>, RecordError> {
        let page = self.store.scan(Table::Meta, word, None, usize::MAX)?;
        let entry = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let name = key.get(word.len()..).and_then(|name| name.try_into().ok());
            Ok((name.ok_or(RecordError::Foreign(Table::Meta))?, decode(Table::Meta, &record.value)?))
        };
        page.into_iter().map(entry).collect()
    }

    /// All published jobs: name, record.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn jobs(&self) -> Result<Vec<JobRecord>, RecordError> {
        let page = self.store.scan(Table::Jobs, &[], None, usize::MAX)?;
        page.into_iter().map(|(_, record)| decode(Table::Jobs, &record.value)).collect()
    }

    /// Which record of a client counts, and since when that is known.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn life(&self, place: &held::Place) -> Result<(Life, Option<Revision>), RecordError> {
        match self.store.get(Table::Meta, &life_key(place))? {
            Some(record) => Ok((decode(Table::Meta, &record.value)?, Some(record.version))),
            None => Ok((Life::NEW, None)),
        }
    }

    /// The run that was asked this last.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn asked(&self, question: Digest) -> Result<Option<RunId>, RecordError> {
        self.get(Table::Meta, &asked_key(question))
    }

    /// What is known of a worker.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn worker(&self, worker: WorkerId) -> Result<Option<WorkerRecord>, RecordError> {
        self.get(Table::Workers, worker.as_bytes())
    }

    /// All workers of which something is known.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn workers(&self) -> Result<Vec<(WorkerId, WorkerRecord)>, RecordError> {
        let page = self.store.scan(Table::Workers, &[], None, usize::MAX)?;
        let known = page.into_iter().filter_map(|(key, record)| Some((WorkerId(key.try_into().ok()?), record)));
        known.map(|(id, record)| Ok((id, decode(Table::Workers, &record.value)?))).collect()
    }

    /// Whether this submission has happened.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn submission(&self, key: Digest) -> Result<Option<SubmitRecord>, RecordError> {
        self.get(Table::Meta, &[&b"submit"[..], key.as_bytes()].concat())
    }

    /// Removes the inputs of submissions that broke off: they have inputs and no run.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn sweep_broken_submissions(&self) -> Result<u64, RecordError> {
        let mut swept = 0;
        let mut after: Option<Vec<u8>> = None;
        while let Some((key, _)) = self.store.scan(Table::Inputs, &[], after.as_deref(), 1)?.pop() {
            let Some(run) = key.first_chunk::<16>().map(|id| RunId(*id)) else { break };
            if self.run(run)?.is_none() {
                swept += self.remove_inputs(run)?;
            }
            // On to the next run: the last possible key of this one.
            after = Some(unit_key(UnitId { run, index: u32::MAX }).to_vec());
        }
        // What was invoked has values and fields before it has anything else.
        for letter in [b"v", b"f"] {
            let mut after = None;
            while let Some(run) = self.next_run(letter, after)? {
                if self.run(run)?.is_none() {
                    self.remove_secrets(run)?;
                }
                after = Some(run);
            }
        }
        Ok(swept)
    }

    /// Removes the values of a run that will not be, and what was declared with it.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn remove_secrets(&self, run: RunId) -> Result<(), RecordError> {
        self.store.commit(Commit::new().delete((Table::Results, fields_key(run))))?;
        self.remove_values(run)
    }

    /// Removes all inputs of a run that will not be, and their values.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn remove_inputs(&self, run: RunId) -> Result<u64, RecordError> {
        let mut removed = 0;
        loop {
            let page = self.store.scan(Table::Inputs, run.as_bytes(), None, PAGE)?;
            if page.is_empty() {
                self.remove_secrets(run)?;
                return Ok(removed);
            }
            removed += page.len() as u64;
            let delete = |commit: Commit, (key, _): (Vec<u8>, _)| commit.delete((Table::Inputs, key));
            self.store.commit(page.into_iter().fold(Commit::new(), delete))?;
        }
    }

    fn get<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, RecordError> {
        self.store.get(table, key)?.map(|record| decode(table, &record.value)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use manyhands_scheduler::{Counts, Decoys, Quorum, Rule, RunSpec, RunStatus};
    use manyhands_state::MemoryStore;

    use super::*;

    fn id(number: u16) -> RunId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        RunId(id)
    }

    fn run_of(owner: &str, number: u16) -> RunRecord {
        let spec = RunSpec {
            id: id(number),
            owner: owner.into(),
            job: "job".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            serial: 1,
            module: Digest::of(b"module"),
            wall_ms: 1_000,
            rule: Rule::Fixed(Quorum { agree: 1, most: 1 }),
            priority: 0,
            reduce: false,
            inputs: 1,
            submitted_at: Timestamp(u64::from(number)),
            is_dry: false,
            decoys: Decoys::default(),
        };
        RunRecord { spec, status: RunStatus::Active, counts: Counts::default(), dissents: 0, finished_at: None }
    }

    #[test]
    fn an_owner_meets_no_runs_of_others_even_where_an_older_version_listed_none() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
        // More than a page of them, and a few of somebody else among them.
        let mut writes = Writes::default();
        for number in 0..=1250 {
            let owner = if number % 500 == 250 { "bob" } else { "ann" };
            writes.run(&run_of(owner, number));
        }
        records.commit(writes).unwrap();
        let of = |owner: &str, after: Option<u16>, limit: usize| {
            let (runs, next) = records.runs_of(owner, after.map(id), limit).unwrap();
            let number = |run: RunId| u16::from_be_bytes([run.0[0], run.0[1]]);
            assert!(runs.iter().all(|run| run.spec.owner == owner));
            let numbers = runs.iter().map(|run| number(run.spec.id)).collect::<Vec<_>>();
            (numbers, next.map(number))
        };
        assert_eq!(of("bob", None, 10), (vec![], None), "nobody has listed them");
        assert_eq!(records.list_owners().unwrap(), 1251);
        assert_eq!(records.list_owners().unwrap(), 0, "once is enough");
        let mut writes = Writes::default();
        writes.owner(&run_of("bob", 1251));
        writes.run(&run_of("bob", 1251));
        records.commit(writes).unwrap();

        assert_eq!(of("bob", None, 10), (vec![1251, 1250, 750, 250], None));
        assert_eq!(of("bob", None, 2), (vec![1251, 1250], Some(1250)));
        assert_eq!(of("bob", Some(1250), 2), (vec![750, 250], Some(250)));
        assert_eq!(of("bob", Some(250), 2), (vec![], None));
        assert_eq!(of("bob", Some(1000), 2), (vec![750, 250], Some(250)), "after one that is another's");
        assert_eq!(of("ann", None, 3), (vec![1249, 1248, 1247], Some(1247)));
        assert_eq!(of("bo", None, 3), (vec![], None));
    }

    #[test]
    fn what_was_declared_with_a_run_that_will_not_be_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
        let fields = r#"[{"at":"/a","class":"email","reveal":"domain"},{"at":"$..b","class":"text"}]"#;
        let fields: SensitiveFields = serde_json::from_str(fields).unwrap();
        let mut writes = Writes::default();
        (1..=3).for_each(|number| writes.fields(id(number), &fields));
        writes.run(&run_of("ann", 2));
        records.commit(writes).unwrap();
        assert_eq!(records.fields(id(1)).unwrap(), fields);
        records.sweep_broken_submissions().unwrap();
        let left = [1, 2, 3, 4].map(|number| records.fields(id(number)).unwrap().is_empty());
        assert_eq!(left, [true, false, true, true]);
    }

    #[tokio::test]
    async fn a_blob_that_cannot_be_read_or_written_is_counted() {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let blobs = dir.path().join("blobs");
        let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(&blobs).unwrap(), metrics.clone());
        let count = |operation: &str| {
            let line = format!("manyhands_blob_errors_total{{operation=\"{operation}\"}} ");
            let page = metrics.text();
            page.lines().find_map(|found| found.strip_prefix(&line)).unwrap().parse::<u64>().unwrap()
        };
        let long = Bytes::from(vec![7; INLINE_BYTES_MAX + 1]);
        let content = records.content(long.clone()).await.unwrap();
        assert_eq!(records.bytes(&content).await.unwrap(), long);
        assert_eq!(records.output(content.digest).await.unwrap(), long);
        assert_eq!((count("read"), count("write")), (0, 0));

        std::fs::remove_dir_all(&blobs).unwrap();
        records.bytes(&content).await.unwrap_err();
        records.output(content.digest).await.unwrap_err();
        assert_eq!((count("read"), count("write")), (2, 0));
        // Where the folder was, nothing can be put.
        std::fs::write(&blobs, b"a file").unwrap();
        records.content(long).await.unwrap_err();
        assert_eq!((count("read"), count("write")), (2, 1));
    }
}
