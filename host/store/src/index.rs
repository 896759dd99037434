//! The index: sled, holding every record where it is found quickly, and trusted with nothing.
//!
//! Each record lies in an envelope, `schema: u8 | version: u64 | crc32c: u32 | value`, whose checksum
//! covers the key as well, so a value that turns up under another key is noticed too. Two marks lie
//! under byte 0, which is no table: `m` moves with every batch (how far the index is, how much it
//! holds), `c` says up to which revision a flush has made it durable.
//!
//! Whoever holds an [`Index`] may read it. It is changed by one at a time, who owns a clone and puts it
//! in the place of the old one afterwards.
//!
//! sled is known to panic where it should report, so every call into it is guarded.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use itertools::Itertools as _;
use manyhands_state::{Key, Problem, Record, Revision};

use crate::log::{checksum, u32_at, u64_at};
use crate::recent::Changes;

const SCHEMA: u8 = 1;
const ENVELOPE_BYTES: usize = 13;
const MARK: &[u8] = b"\0m";
const CHECKPOINT: &[u8] = b"\0c";
/// Where the records begin.
const FIRST_TABLE: &[u8] = &[1];

/// Records that are changed at once, and for which readers wait. About a millisecond's worth.
const BATCH_RECORDS: usize = 256;

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
#[derive(Clone)]
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

    /// The records from `from` on, in the order of their keys.
    pub(crate) fn rows(&self, from: Bound<&Key>) -> Result<impl Iterator<Item = Result<(Key, Record), Rot>>, Rot> {
        let from = match from {
            Bound::Unbounded => Bound::Included(FIRST_TABLE),
            Bound::Included(key) => Bound::Included(key.encoded()),
            Bound::Excluded(key) => Bound::Excluded(key.encoded()),
        };
        let mut range = guarded(&self.dir, || Ok(self.db.range::<&[u8], _>((from, Bound::Unbounded))))?;
        let read = |key: sled::IVec, envelope: sled::IVec| {
            let record = unwrap(&key, &envelope).ok_or_else(|| self.rot(&key))?;
            Ok((Key::decode(key.to_vec()).ok_or_else(|| self.rot(&key))?, record))
        };
        Ok(std::iter::from_fn(move || {
            let row = guarded(&self.dir, || range.next().transpose()).transpose()?;
            Some(row.and_then(|(key, envelope)| read(key, envelope)))
        }))
    }

    /// Takes over `changes`, which bring it to the revision `applied`. Not durable before the next [`flush`](Self::flush).
    ///
    /// What a crash leaves of it is right again once the log is replayed from the revision that its mark names.
    pub(crate) fn take(&mut self, changes: &Changes, applied: Revision) -> Result<(), Rot> {
        let mut changes = changes.iter().peekable();
        loop {
            let mut batch = sled::Batch::default();
            let mut live = self.live;
            for (key, after) in changes.by_ref().take(BATCH_RECORDS) {
                live.change(key, self.get(key)?.as_ref(), after.as_ref());
                match after {
                    Some(record) => batch.insert(key.encoded(), wrap(key.encoded(), record)),
                    None => batch.remove(key.encoded()),
                }
            }
            let all = changes.peek().is_none();
            let applied = if all { applied } else { self.applied };
            let sums = [live.records.to_le_bytes(), live.bytes.to_le_bytes(), live.sum.to_le_bytes()].concat();
            batch.insert(MARK, wrap(MARK, &Record { version: applied, value: sums }));
            guarded(&self.dir, || self.db.apply_batch(batch))?;
            self.live = live;
            self.applied = applied;
            if all {
                return Ok(());
            }
        }
    }

    /// Makes everything taken so far durable.
    pub(crate) fn flush(&mut self) -> Result<(), Rot> {
        guarded(&self.dir, || self.db.flush())?;
        let mark = wrap(CHECKPOINT, &Record { version: self.applied, value: Vec::new() });
        guarded(&self.dir, || self.db.insert(CHECKPOINT, mark))?;
        guarded(&self.dir, || self.db.flush())?;
        self.checkpoint = Some(self.applied);
        Ok(())
    }

    /// A new index in `dir` with the same records, durable.
    pub(crate) fn copy(&self, dir: &Path, cache_bytes: u64) -> Result<Self, Rot> {
        let mut copy = Self::open(dir, cache_bytes)?;
        let mut rows = self.rows(Bound::Unbounded)?.map_ok(|(key, record)| (key, Some(record))).peekable();
        while rows.peek().is_some() {
            copy.take(&rows.by_ref().take(BATCH_RECORDS).collect::<Result<_, _>>()?, Revision(0))?;
        }
        copy.take(&Changes::new(), self.applied)?;
        if copy.live != self.live {
            let what = format!("{} records, {} expected, or not the same", copy.live.records, self.live.records);
            return Err(Rot { place: self.place(), what });
        }
        copy.flush()?;
        Ok(copy)
    }

    /// Reads every record: how many are right, and what is wrong.
    pub(crate) fn check(&self) -> (u64, Vec<Problem>) {
        let cure = "it is rebuilt from the log when next read or opened";
        let problem = |what: String| Problem { place: self.place(), what, cure };
        let mut found = Live::default();
        let all = self.rows(Bound::Unbounded).and_then(|mut rows| {
            rows.try_for_each(|row| row.map(|(key, record)| found.change(&key, None, Some(&record))))
        });
        let what = match all {
            Err(rot) => Some(rot.what),
            Ok(()) if found != self.live => {
                Some(format!("{} records, {} expected, or not the same", found.records, self.live.records))
            }
            Ok(()) => None,
        };
        (found.records, what.map(problem).into_iter().collect())
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
