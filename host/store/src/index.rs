//! The index: sled, holding every record where it is found quickly, and trusted with nothing.
//!
//! Each record lies in an envelope, `schema: u8 | version: u64 | crc32c: u32 | value`, whose checksum
//! covers the key as well, so a value that turns up under another key is noticed too. Two marks lie
//! under byte 0, which is no table: `m` moves with every batch (how far the index is, how much it
//! holds), `c` says up to which revision a flush has made it durable.
//!
//! sled is known to panic where it should report, so every call into it is guarded.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use manyhands_state::{Key, Problem, Record, Revision};

use crate::log::{checksum, u32_at, u64_at};

const SCHEMA: u8 = 1;
const ENVELOPE_BYTES: usize = 13;
const MARK: &[u8] = b"\0m";
const CHECKPOINT: &[u8] = b"\0c";

/// How long to wait for sled to let go of its file; milliseconds suffice.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The index does not say, or does not say it rightly. The cure is always the same: build it anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct Rot {
    pub(crate) place: String,
    pub(crate) what: String,
}

/// What the records amount to; kept along with them, so that a lost record is noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The sum of all records' checksums: independent of order, easily kept up to date.
    sum: u64,
}

impl Live {
    /// Accounts for `key` changing from `before` to `after`.
    pub(crate) fn change(&mut self, key: &Key, before: Option<&Record>, after: Option<&Record>) {
        let bytes = |record: &Record| (key.encoded().len() + record.value.len()) as u64;
        // Wrapping: a damaged mark must end in a failed check, not in an overflow.
        if let Some(before) = before {
            self.records = self.records.wrapping_sub(1);
            self.bytes = self.bytes.wrapping_sub(bytes(before));
            self.sum = self.sum.wrapping_sub(seal(key.encoded(), before).into());
        }
        if let Some(after) = after {
            self.records = self.records.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(bytes(after));
            self.sum = self.sum.wrapping_add(seal(key.encoded(), after).into());
        }
    }
}

/// The checksum in a record's envelope.
fn seal(key: &[u8], record: &Record) -> u32 {
    checksum(&[&[SCHEMA], &record.version.0.to_le_bytes(), key, &record.value])
}

fn wrap(key: &[u8], record: &Record) -> Vec<u8> {
    let mut envelope = Vec::with_capacity(ENVELOPE_BYTES + record.value.len());
    envelope.push(SCHEMA);
    envelope.extend_from_slice(&record.version.0.to_le_bytes());
    envelope.extend_from_slice(&seal(key, record).to_le_bytes());
    envelope.extend_from_slice(&record.value);
    envelope
}

fn unwrap(key: &[u8], envelope: &[u8]) -> Option<Record> {
    let schema = *envelope.first()?;
    let record = Record { version: Revision(u64_at(envelope, 1)?), value: envelope.get(ENVELOPE_BYTES..)?.to_vec() };
    (schema == SCHEMA && u32_at(envelope, 9)? == seal(key, &record)).then_some(record)
}

/// One generation of the index.
pub(crate) struct Index {
    pub(crate) dir: PathBuf,
    db: sled::Db,
    /// The last commit it holds.
    pub(crate) applied: Revision,
    /// The last commit it certainly still holds after a power cut; `None` while it is being built.
    pub(crate) checkpoint: Option<Revision>,
    pub(crate) live: Live,
}

impl Index {
    /// Opens the index in `dir`, or begins an empty one there.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Rot> {
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None);
        let mut patience = LOCK_PATIENCE;
        let db = loop {
            match guarded(dir, || config.open()) {
                // The directory is ours alone, so this is an earlier opening in this very process:
                // sled's threads let go of the file only a moment after the last handle is dropped.
                Err(rot) if rot.what.contains("could not acquire lock") && !patience.is_zero() => {
                    std::thread::sleep(LOCK_PAUSE);
                    patience = patience.saturating_sub(LOCK_PAUSE);
                }
                opened => break opened?,
            }
        };
        let mut index = Self { dir: dir.to_owned(), db, applied: Revision(0), checkpoint: None, live: Live::default() };
        if let Some(mark) = index.read(MARK)? {
            let field = |at: usize| u64_at(&mark.value, at).unwrap_or_default();
            index.live = Live { records: field(0), bytes: field(8), sum: field(16) };
            index.applied = mark.version;
        }
        if let Some(mark) = index.read(CHECKPOINT)? {
            index.checkpoint = Some(mark.version);
        }
        Ok(index)
    }

    /// The record at `key`.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Record>, Rot> {
        self.read(key.encoded())
    }

    fn read(&self, key: &[u8]) -> Result<Option<Record>, Rot> {
        let envelope = guarded(&self.dir, || self.db.get(key))?;
        envelope.map(|envelope| unwrap(key, &envelope).ok_or_else(|| self.rot(key))).transpose()
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }

    fn rot(&self, key: &[u8]) -> Rot {
        let name = Key::decode(key.to_vec()).map_or_else(|| "a mark".to_owned(), |key| key.to_string());
        Rot { place: self.place(), what: format!("the checksum of {name} is wrong") }
    }

    /// Up to `limit` records from `from` on whose keys begin with `prefix`.
    pub(crate) fn scan(&self, prefix: &[u8], from: Bound<&[u8]>, limit: usize) -> Result<Vec<(Key, Record)>, Rot> {
        let mut rows = Vec::new();
        let mut range = guarded(&self.dir, || Ok(self.db.range::<&[u8], _>((from, Bound::Unbounded))))?;
        while rows.len() < limit {
            let Some((key, envelope)) = guarded(&self.dir, || range.next().transpose())? else { break };
            if !key.starts_with(prefix) {
                break;
            }
            let record = unwrap(&key, &envelope).ok_or_else(|| self.rot(&key))?;
            rows.push((Key::decode(key.to_vec()).ok_or_else(|| self.rot(&key))?, record));
        }
        Ok(rows)
    }

    /// Carries out `changes` at once. Not durable before the next [`flush`](Self::flush).
    pub(crate) fn apply(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Record>)>,
        live: Live,
        applied: Revision,
    ) -> Result<(), Rot> {
        let mut batch = sled::Batch::default();
        for (key, record) in changes {
            match record {
                Some(record) => batch.insert(key.encoded(), wrap(key.encoded(), &record)),
                None => batch.remove(key.encoded()),
            }
        }
        let sums = [live.records.to_le_bytes(), live.bytes.to_le_bytes(), live.sum.to_le_bytes()].concat();
        batch.insert(MARK, wrap(MARK, &Record { version: applied, value: sums }));
        guarded(&self.dir, || self.db.apply_batch(batch))?;
        self.live = live;
        self.applied = applied;
        Ok(())
    }

    /// Carries out `changes`, in order, looking up what they replace.
    pub(crate) fn replay(&mut self, changes: Vec<(Key, Option<Record>)>, applied: Revision) -> Result<(), Rot> {
        let mut live = self.live;
        let mut last: BTreeMap<Key, Option<Record>> = BTreeMap::new();
        for (key, after) in changes {
            let before = match last.get(&key) {
                Some(before) => before.clone(),
                None => self.get(&key)?,
            };
            live.change(&key, before.as_ref(), after.as_ref());
            last.insert(key, after);
        }
        self.apply(last, live, applied)
    }

    /// What makes everything applied so far durable, to be run without a lock on the index.
    pub(crate) fn flusher(&self) -> impl FnOnce() -> Result<Revision, Rot> + use<> {
        let (db, dir, applied) = (self.db.clone(), self.dir.clone(), self.applied);
        move || {
            guarded(&dir, || db.flush())?;
            let mark = wrap(CHECKPOINT, &Record { version: applied, value: Vec::new() });
            guarded(&dir, || db.insert(CHECKPOINT, mark))?;
            guarded(&dir, || db.flush())?;
            Ok(applied)
        }
    }

    /// Makes everything applied so far durable.
    pub(crate) fn flush(&mut self) -> Result<(), Rot> {
        self.checkpoint = Some(self.flusher()()?);
        Ok(())
    }

    /// Reads every record: how many are right, and what is wrong.
    pub(crate) fn check(&self) -> (u64, Vec<Problem>) {
        let cure = "it is rebuilt from the log when next read or opened";
        let problem = |what: String| Problem { place: self.place(), what, cure };
        let mut found = Live::default();
        let mut problems = Vec::new();
        let first_table: &[u8] = &[1];
        let mut after: Option<Key> = None;
        loop {
            let from = after.as_ref().map_or(Bound::Included(first_table), |key| Bound::Excluded(key.encoded()));
            match self.scan(b"", from, 1000) {
                Ok(rows) => {
                    let Some((last, _)) = rows.last() else { break };
                    after = Some(last.clone());
                    rows.iter().for_each(|(key, record)| found.change(key, None, Some(record)));
                }
                Err(rot) => {
                    problems.push(problem(rot.what));
                    break;
                }
            }
        }
        if problems.is_empty() && found != self.live {
            problems
                .push(problem(format!("{} records, {} expected, or not the same", found.records, self.live.records)));
        }
        (found.records, problems)
    }

    /// Turns one bit of the value stored at `key`, as a bad disk would.
    #[cfg(test)]
    pub(crate) fn spoil(&self, key: &Key) {
        let mut envelope = self.db.get(key.encoded()).unwrap().unwrap().to_vec();
        *envelope.last_mut().unwrap() ^= 1;
        self.db.insert(key.encoded(), envelope).unwrap();
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        crate::disk::bytes_in(&self.dir)
    }

    /// Closes it, whatever state it is in; returns its directory.
    pub(crate) fn close(self) -> PathBuf {
        let dir = self.dir.clone();
        // A damaged index may panic even while it is dropped; it is going to be discarded anyway.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(self)));
        dir
    }
}

/// Calls into sled, and turns both of its ways to fail into one.
fn guarded<T>(dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, Rot> {
    let rot = |what: String| Rot { place: dir.display().to_string(), what };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(rot(format!("the index reports: {error}"))),
        Err(_) => Err(rot("the index panicked, as sled does over damaged files".to_owned())),
    }
}
