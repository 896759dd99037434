//! What the coordinator keeps, as typed records over the state store and the blobs.
//!
//! | table | key | value |
//! |---|---|---|
//! | jobs | name, 0, serial | [`JobRecord`] |
//! | runs | run id, inverted, so that a scan meets the newest first | `RunRecord` |
//! | units | run id, index | `UnitRecord`; none until somebody reports |
//! | inputs | run id, index | [`Content`] |
//! | results | `a`, run id, sequence | index of the unit that ended |
//! | results | `e`, run id, index, worker | the worker's signed report |
//! | results | `o`, digest | a short output; a long one is a blob |
//! | workers | worker id | `WorkerRecord` |
//! | meta | `submit`, digest of owner and idempotency key | [`SubmitRecord`] |

use std::sync::Arc;

use bytes::Bytes;
use manyhands_api::JobView;
use manyhands_model::{Digest, JobName, Manifest, RunId, Timestamp, UnitId, WorkerId};
use manyhands_protocol::Publication;
use manyhands_scheduler::{RunRecord, UnitRecord, WorkerRecord};
use manyhands_signing::{PublicKey, Signed};
use manyhands_state::{Commit, CommitError, ReadError, StateStore, Table, commit::INLINE_BYTES_MAX};
use manyhands_store::{BlobError, Blobs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Inputs or units read at once from the store.
const PAGE: usize = 1_000;

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
    pub inline: Option<Vec<u8>>,
}

/// A submission that must not happen twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitRecord {
    /// The run that the first request made.
    pub run: RunId,
    /// SHA-256 of its body and parameters.
    pub fingerprint: Digest,
}

/// The coordinator's memory.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn StateStore>,
    blobs: Blobs,
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

fn unit_key(unit: UnitId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(unit.run.as_bytes());
    key[16..].copy_from_slice(&unit.index.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> u32 {
    key.last_chunk::<4>().map_or(0, |index| u32::from_be_bytes(*index))
}

fn job_key(name: &JobName, serial: u64) -> Vec<u8> {
    [name.as_str().as_bytes(), &[0], &serial.to_be_bytes()].concat()
}

/// Writes of typed records, to be committed together.
#[derive(Debug, Default)]
pub struct Writes(pub Commit);

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

    /// Writes a unit; `sequence` orders the units that have ended.
    pub fn unit(&mut self, id: UnitId, unit: &UnitRecord, sequence: u64) {
        self.put(Table::Units, &unit_key(id), encode(unit));
        if unit.end.is_some() {
            let key = [&b"a"[..], id.run.as_bytes(), &sequence.to_be_bytes()].concat();
            self.put(Table::Results, &key, id.index.to_be_bytes().to_vec());
        }
    }

    /// Writes a unit's input.
    pub fn input(&mut self, unit: UnitId, content: &Content) {
        self.put(Table::Inputs, &unit_key(unit), encode(content));
    }

    /// Writes a worker's signed report.
    pub fn evidence(&mut self, unit: UnitId, worker: WorkerId, report: Vec<u8>) {
        let key = [&b"e"[..], &unit_key(unit), worker.as_bytes()].concat();
        self.put(Table::Results, &key, report);
    }

    /// Writes a short output.
    pub fn output(&mut self, digest: Digest, bytes: Vec<u8>) {
        self.put(Table::Results, &[&b"o"[..], digest.as_bytes()].concat(), bytes);
    }

    /// Writes what is known of a worker.
    pub fn worker(&mut self, id: WorkerId, worker: &WorkerRecord) {
        self.put(Table::Workers, id.as_bytes(), encode(worker));
    }

    /// Writes that this submission has happened.
    pub fn submission(&mut self, key: Digest, record: &SubmitRecord) {
        self.put(Table::Meta, &[&b"submit"[..], key.as_bytes()].concat(), encode(record));
    }

    fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.0 = std::mem::take(&mut self.0).put((table, key), value);
    }
}

impl Records {
    /// Records over these.
    pub fn new(store: Arc<dyn StateStore>, blobs: Blobs) -> Self {
        Self { store, blobs }
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
        self.store.commit(writes.0)?;
        Ok(())
    }

    /// Bytes as content: short ones inline, long ones as a blob that is durable when this returns.
    ///
    /// # Errors
    /// [`RecordError::Blob`].
    pub async fn content(&self, bytes: Bytes) -> Result<Content, RecordError> {
        if bytes.len() <= INLINE_BYTES_MAX {
            Ok(Content { digest: Digest::of(&bytes), inline: Some(bytes.into()) })
        } else {
            Ok(Content { digest: self.blobs.put(bytes).await?, inline: None })
        }
    }

    /// A unit's input.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn input(&self, unit: UnitId) -> Result<(Digest, Bytes), RecordError> {
        let content: Content = self
            .get(Table::Inputs, &unit_key(unit))?
            .ok_or_else(|| RecordError::Missing(format!("the input of unit {unit}")))?;
        let bytes = match content.inline {
            Some(bytes) => bytes.into(),
            None => self.blobs.get(&content.digest).await?,
        };
        Ok((content.digest, bytes))
    }

    /// Whether a unit's input is there.
    ///
    /// # Errors
    /// [`RecordError::Read`].
    pub fn has_input(&self, unit: UnitId) -> Result<bool, RecordError> {
        Ok(self.store.get(Table::Inputs, &unit_key(unit))?.is_some())
    }

    /// An output by its digest.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn output(&self, digest: Digest) -> Result<Bytes, RecordError> {
        match self.store.get(Table::Results, &[&b"o"[..], digest.as_bytes()].concat())? {
            Some(record) => Ok(record.value.into()),
            None => Ok(self.blobs.get(&digest).await?),
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

    /// A unit; none until somebody reported on it.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn unit(&self, unit: UnitId) -> Result<Option<UnitRecord>, RecordError> {
        self.get(Table::Units, &unit_key(unit))
    }

    /// All units of a run of which something is known, in order.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn units(&self, run: RunId) -> Result<Vec<(u32, UnitRecord)>, RecordError> {
        let mut units = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store.scan(Table::Units, run.as_bytes(), after.as_deref(), PAGE)?;
            let last = page.len() < PAGE;
            for (key, record) in page {
                units.push((index_of(&key), decode(Table::Units, &record.value)?));
                after = Some(key);
            }
            if last {
                return Ok(units);
            }
        }
    }

    /// The units of a run that have ended, in the order in which they did, after `sequence`.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn ended(&self, run: RunId, after: Option<u64>) -> Result<Vec<(u64, u32)>, RecordError> {
        let prefix = [&b"a"[..], run.as_bytes()].concat();
        let after = after.map(|sequence| [&prefix[..], &sequence.to_be_bytes()].concat());
        let page = self.store.scan(Table::Results, &prefix, after.as_deref(), PAGE)?;
        let entry = |(key, record): (Vec<u8>, manyhands_state::Record)| {
            let sequence = key.last_chunk::<8>().map_or(0, |sequence| u64::from_be_bytes(*sequence));
            (sequence, index_of(&record.value))
        };
        Ok(page.into_iter().map(entry).collect())
    }

    /// All published jobs: name, record.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn jobs(&self) -> Result<Vec<JobRecord>, RecordError> {
        let page = self.store.scan(Table::Jobs, &[], None, usize::MAX)?;
        page.into_iter().map(|(_, record)| decode(Table::Jobs, &record.value)).collect()
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
        Ok(swept)
    }

    /// Removes all inputs of a run that will not be.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn remove_inputs(&self, run: RunId) -> Result<u64, RecordError> {
        let mut removed = 0;
        loop {
            let page = self.store.scan(Table::Inputs, run.as_bytes(), None, PAGE)?;
            if page.is_empty() {
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
