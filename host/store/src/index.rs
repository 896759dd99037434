//! The index: sled, holding every record where it is found quickly, and trusted with nothing.
//!
//! Records lie in blocks of some KiB, those of a table in the order of their keys, each block under a key that is not
//! after its first record and after the last record of the block before. One record of its own for each would cost
//! sled ten times as long to write, and rebuilding an index is writing all of it. Each block lies in an envelope,
//! `schema: u8 | version: u64 | crc32c: u32 | content`, whose checksum covers the key as well, so a block that
//! turns up under another key is noticed too. Two marks lie in envelopes under byte 0, which is no table: `m` moves with
//! every batch (how far the index is, how much it holds), `c` says up to which revision a flush has made it durable.
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
use crate::recent::{Changes, bytes_of};

const SCHEMA: u8 = 2;
const ENVELOPE_BYTES: usize = 13;
const MARK: &[u8] = b"\0m";
const CHECKPOINT: &[u8] = b"\0c";
/// Where the records begin.
const FIRST_TABLE: &[u8] = &[1];

/// A block ends when it has so much and what follows makes half a block, and never has twice as much. In an index that is being
/// built, most of which will never change again, blocks are filled up to there. Unit: bytes.
const BLOCK_BYTES: usize = 4 * 1024;

/// So much is written at once, and readers wait for it. About a millisecond's worth. Unit: bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// So much is written at once into an index that nobody reads yet. With much more, sled's segments would hold keys alone for
/// a while, and it would move their leaves, blocks and all, to clean them. Unit: bytes.
const BUILDING_BYTES: usize = 1024 * 1024;

/// Records that a copy takes over at a time.
const COPIED_RECORDS: usize = 4096;

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
    /// Accounts for a record that comes.
    fn add(&mut self, row: &Row<'_>) {
        // Wrapping: a damaged mark must end in a failed check, not in an overflow.
        self.records = self.records.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add((row.key.len() + row.value.len()) as u64);
        self.sum = self.sum.wrapping_add(row.sum().into());
    }

    /// Accounts for a record that goes.
    fn remove(&mut self, row: &Row<'_>) {
        self.records = self.records.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub((row.key.len() + row.value.len()) as u64);
        self.sum = self.sum.wrapping_sub(row.sum().into());
    }
}

/// Puts the content of `envelope` under its checksum.
fn wrap(key: &[u8], version: Revision, mut envelope: Vec<u8>) -> Vec<u8> {
    envelope[0] = SCHEMA;
    envelope[1..9].copy_from_slice(&version.0.to_le_bytes());
    let crc = checksum(&[key, &envelope[..9], &envelope[ENVELOPE_BYTES..]]);
    envelope[9..ENVELOPE_BYTES].copy_from_slice(&crc.to_le_bytes());
    envelope
}

/// What is in an envelope, if it is right.
fn unwrap<'a>(key: &[u8], envelope: &'a [u8]) -> Option<(Revision, &'a [u8])> {
    let content = envelope.get(ENVELOPE_BYTES..)?;
    let right = envelope[0] == SCHEMA && u32_at(envelope, 9)? == checksum(&[key, &envelope[..9], content]);
    right.then_some((Revision(u64_at(envelope, 1)?), content))
}

/// An envelope with nothing in it yet, and room for so much.
fn envelope(content_bytes: usize) -> Vec<u8> {
    let mut envelope = Vec::with_capacity(ENVELOPE_BYTES + content_bytes);
    envelope.resize(ENVELOPE_BYTES, 0);
    envelope
}

/// A record in a block: `key bytes: u16 | value bytes: u32 | version: u64 | key | value`.
#[derive(Clone, Copy)]
struct Row<'a> {
    key: &'a [u8],
    version: Revision,
    value: &'a [u8],
}

const ROW_BYTES: usize = 14;

impl<'a> Row<'a> {
    /// Reads the first row of `block`, and what comes after.
    fn read(block: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let key_bytes = usize::from(u16::from_le_bytes(*block.first_chunk()?));
        let value_bytes = u32_at(block, 2)? as usize;
        let version = Revision(u64_at(block, 6)?);
        let (key, rest) = block.get(ROW_BYTES..)?.split_at_checked(key_bytes)?;
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        Some((Self { key, version, value }, rest))
    }

    fn bytes(&self) -> usize {
        ROW_BYTES + self.key.len() + self.value.len()
    }

    fn write(&self, block: &mut Vec<u8>) {
        // Keys and values have limits far below.
        block.extend_from_slice(&u16::try_from(self.key.len()).unwrap_or(u16::MAX).to_le_bytes());
        block.extend_from_slice(&u32::try_from(self.value.len()).unwrap_or(u32::MAX).to_le_bytes());
        block.extend_from_slice(&self.version.0.to_le_bytes());
        block.extend_from_slice(self.key);
        block.extend_from_slice(self.value);
    }

    /// What it adds to [`Live::sum`].
    fn sum(&self) -> u32 {
        checksum(&[&self.version.0.to_le_bytes(), self.key, self.value])
    }

    fn record(&self) -> Record {
        Record { version: self.version, value: self.value.to_vec() }
    }
}

/// The rows of a block; `None` among them where it cannot be read.
fn rows_of(mut block: &[u8]) -> impl Iterator<Item = Option<Row<'_>>> {
    std::iter::from_fn(move || {
        if block.is_empty() {
            return None;
        }
        let read = Row::read(block);
        block = read.as_ref().map_or(&[], |(_, rest)| rest);
        Some(read.map(|(row, _)| row))
    })
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
        if let Some((applied, sums)) = index.mark(MARK)? {
            let field = |at: usize| u64_at(&sums, at).unwrap_or_default();
            index.live = Live { records: field(0), bytes: field(8), sum: field(16) };
            index.applied = applied;
        }
        index.checkpoint = index.mark(CHECKPOINT)?.map(|(checkpoint, _)| checkpoint);
        Ok(index)
    }

    fn mark(&self, key: &[u8]) -> Result<Option<(Revision, Vec<u8>)>, Rot> {
        let Some(found) = guarded(&self.dir, || self.db.get(key))? else { return Ok(None) };
        let (revision, content) = unwrap(key, &found).ok_or_else(|| self.rot(key))?;
        Ok(Some((revision, content.to_vec())))
    }

    /// The record at `key`.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Record>, Rot> {
        let Some((place, block)) = self.block(key.encoded())? else { return Ok(None) };
        for row in rows_of(self.content(&place, &block)?) {
            let row = row.ok_or_else(|| self.rot(&place))?;
            if row.key >= key.encoded() {
                return Ok((row.key == key.encoded()).then(|| row.record()));
            }
        }
        Ok(None)
    }

    /// The block in which `key` is, if it is anywhere.
    fn block(&self, key: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, Rot> {
        guarded(&self.dir, || self.db.range(FIRST_TABLE..=key).next_back().transpose())
    }

    fn content<'a>(&self, place: &[u8], block: &'a [u8]) -> Result<&'a [u8], Rot> {
        unwrap(place, block).map(|(_, content)| content).ok_or_else(|| self.rot(place))
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }

    fn rot(&self, key: &[u8]) -> Rot {
        let what = match Key::decode(key.to_vec()) {
            Some(key) => format!("the checksum of the records from {key} on is wrong"),
            None => "the checksum of a mark is wrong".to_owned(),
        };
        Rot { place: self.place(), what }
    }

    /// The records from `from` on, in the order of their keys.
    pub(crate) fn rows(&self, from: Bound<&Key>) -> Result<impl Iterator<Item = Result<(Key, Record), Rot>>, Rot> {
        let (first, from) = match from {
            Bound::Unbounded => (None, Bound::Unbounded),
            Bound::Included(key) => (self.block(key.encoded())?, Bound::Included(key.encoded().to_vec())),
            Bound::Excluded(key) => (self.block(key.encoded())?, Bound::Excluded(key.encoded().to_vec())),
        };
        let begin = first.map_or_else(|| FIRST_TABLE.into(), |(place, _)| place);
        let blocks = guarded(&self.dir, || Ok(self.db.range(begin..)))?;
        let mut blocks = Blocks { index: self, blocks };
        let within = move |key: &[u8]| match &from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= from.as_slice(),
            Bound::Excluded(from) => key > from.as_slice(),
        };
        let mut block: std::vec::IntoIter<(Key, Record)> = Vec::new().into_iter();
        Ok(std::iter::from_fn(move || {
            loop {
                if let Some(row) = block.next() {
                    return Some(Ok(row));
                }
                match blocks.next()?.and_then(|(place, bytes)| self.records(&place, &bytes, &within)) {
                    Ok(records) => block = records.into_iter(),
                    Err(rot) => return Some(Err(rot)),
                }
            }
        }))
    }

    /// The records of a block whose keys are `within` what is asked for.
    fn records(&self, place: &[u8], block: &[u8], within: &impl Fn(&[u8]) -> bool) -> Result<Vec<(Key, Record)>, Rot> {
        let mut records = Vec::new();
        for row in rows_of(self.content(place, block)?) {
            let row = row.ok_or_else(|| self.rot(place))?;
            if within(row.key) {
                records.push((Key::decode(row.key.to_vec()).ok_or_else(|| self.rot(place))?, row.record()));
            }
        }
        Ok(records)
    }

    /// Takes over `changes`, which bring it to the revision `applied`. Not durable before the next [`flush`](Self::flush).
    ///
    /// What a crash leaves of it is right again once the log is replayed from the revision that its mark names.
    pub(crate) fn take(&mut self, changes: &Changes, applied: Revision) -> Result<(), Rot> {
        let mut changes = changes.iter().peekable();
        let most = if self.is_new() { BUILDING_BYTES } else { BATCH_BYTES };
        loop {
            let mut draft = Draft { writes: Vec::new(), bytes: 0, live: self.live, is_dense: self.is_new() };
            while draft.bytes < most
                && let Some((first, _)) = changes.peek()
            {
                // A change belongs to the block before it, up to where the next one begins.
                let first = first.encoded();
                let found = self.block(first)?;
                let next = guarded(&self.dir, || self.db.get_gt(first))?;
                let (mut bytes, mut whole) = (0, true);
                let here = changes.peeking_take_while(|(key, record)| {
                    let here = next.as_ref().is_none_or(|(next, _)| key.encoded() < next.as_ref());
                    whole &= !here || bytes < most;
                    bytes += bytes_of(key, record.as_ref());
                    here && whole
                });
                match &found {
                    Some((place, block)) => draft.rewrite(place, self.content(place, block)?, here),
                    None => draft.rewrite(first, &[], here),
                }
                .ok_or_else(|| self.rot(first))?;
                if !whole {
                    // What is left of this block's changes needs it as it will be.
                    break;
                }
            }
            let all = changes.peek().is_none();
            let applied = if all { applied } else { self.applied };
            let live = draft.live;
            let mut sums = envelope(size_of::<Live>());
            [live.records, live.bytes, live.sum].iter().for_each(|sum| sums.extend_from_slice(&sum.to_le_bytes()));
            let mark = wrap(MARK, applied, sums);
            guarded(
                &self.dir,
                || if self.is_new() { draft.build(&self.db, mark) } else { draft.apply(&self.db, mark) },
            )?;
            self.live = live;
            self.applied = applied;
            if all {
                return Ok(());
            }
        }
    }

    /// Whether it is still being made: nobody reads it, and a crash leaves nothing of it.
    fn is_new(&self) -> bool {
        self.checkpoint.is_none()
    }

    /// Makes everything taken so far durable.
    pub(crate) fn flush(&mut self) -> Result<(), Rot> {
        guarded(&self.dir, || self.db.flush())?;
        guarded(&self.dir, || self.db.insert(CHECKPOINT, wrap(CHECKPOINT, self.applied, envelope(0))))?;
        guarded(&self.dir, || self.db.flush())?;
        self.checkpoint = Some(self.applied);
        Ok(())
    }

    /// A new index in `dir` with the same records, durable.
    pub(crate) fn copy(&self, dir: &Path, cache_bytes: u64) -> Result<Self, Rot> {
        let mut copy = Self::open(dir, cache_bytes)?;
        let mut rows = self.rows(Bound::Unbounded)?.map_ok(|(key, record)| (key, Some(record))).peekable();
        while rows.peek().is_some() {
            copy.take(&rows.by_ref().take(COPIED_RECORDS).collect::<Result<_, _>>()?, Revision(0))?;
        }
        copy.take(&Changes::new(), self.applied)?;
        if copy.live != self.live {
            return Err(self.not_all(copy.live));
        }
        copy.flush()?;
        Ok(copy)
    }

    /// Every record; an error takes the place of the end if they are not the ones that were written.
    pub(crate) fn all(&self) -> Result<impl Iterator<Item = Result<(Key, Record), Rot>>, Rot> {
        let mut rows = self.rows(Bound::Unbounded)?;
        let mut found = Some(Live::default());
        Ok(std::iter::from_fn(move || match rows.next() {
            Some(row) => Some(row.inspect(|(key, record)| {
                let row = Row { key: key.encoded(), version: record.version, value: &record.value };
                found.iter_mut().for_each(|found| found.add(&row));
            })),
            None => found.take().filter(|found| *found != self.live).map(|found| Err(self.not_all(found))),
        }))
    }

    fn not_all(&self, found: Live) -> Rot {
        let what = format!("{} records, {} expected, or not the same", found.records, self.live.records);
        Rot { place: self.place(), what }
    }

    /// Reads every record: how many are right, and what is wrong.
    pub(crate) fn check(&self) -> (u64, Vec<Problem>) {
        let cure = "it is rebuilt from the log when next read or opened";
        let mut records = 0;
        let all = self.all().and_then(|mut all| all.try_for_each(|row| row.map(|_| records += 1)));
        let problem = |rot: Rot| Problem { place: rot.place, what: rot.what, cure };
        (records, all.err().map(problem).into_iter().collect())
    }

    /// Turns one bit of the block in which `key` is, as a bad disk would.
    #[cfg(test)]
    pub(crate) fn spoil(&self, key: &Key) {
        let (place, block) = self.block(key.encoded()).unwrap().unwrap();
        let mut block = block.to_vec();
        *block.last_mut().unwrap() ^= 1;
        self.db.insert(place, block).unwrap();
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

/// Blocks as sled has them.
struct Blocks<'a> {
    index: &'a Index,
    blocks: sled::Iter,
}

impl Iterator for Blocks<'_> {
    type Item = Result<(sled::IVec, sled::IVec), Rot>;

    fn next(&mut self) -> Option<Self::Item> {
        guarded(&self.index.dir, || self.blocks.next().transpose()).transpose()
    }
}

/// Blocks that are about to be written, in the order of their places, and what they make of the whole.
struct Draft {
    writes: Vec<Write>,
    bytes: usize,
    live: Live,
    /// Blocks are as few as may be.
    is_dense: bool,
}

/// A block as it is to be.
struct Write {
    place: sled::IVec,
    /// None to remove it.
    block: Option<Vec<u8>>,
    /// There was none at this place.
    is_new: bool,
}

impl Draft {
    /// Writes it at once or not at all.
    fn apply(self, db: &sled::Db, mark: Vec<u8>) -> sled::Result<()> {
        let mut batch = sled::Batch::default();
        for Write { place, block, .. } in self.writes {
            match block {
                Some(block) => batch.insert(place, block),
                None => batch.remove(place),
            }
        }
        batch.insert(MARK, mark);
        db.apply_batch(batch)
    }

    /// Writes it where nobody reads yet.
    ///
    /// sled writes a leaf of its tree anew when it divides, which is after every ninth key. So the keys come first, with
    /// nothing behind them, and the blocks once the leaves are divided: a third as much is written.
    fn build(self, db: &sled::Db, mark: Vec<u8>) -> sled::Result<()> {
        for Write { place, .. } in self.writes.iter().filter(|write| write.is_new) {
            db.insert(place, &[])?;
        }
        for Write { place, block, .. } in self.writes {
            match block {
                Some(block) => db.insert(place, block)?,
                None => db.remove(place)?,
            };
        }
        db.insert(MARK, mark).map(drop)
    }

    /// Rewrites the block at `place` with the changes that belong there; `None` if it cannot be read.
    fn rewrite<'a>(
        &mut self,
        place: &[u8],
        block: &[u8],
        changes: impl Iterator<Item = (&'a Key, &'a Option<Record>)>,
    ) -> Option<()> {
        let before: Vec<Row<'_>> = rows_of(block).collect::<Option<_>>()?;
        let mut after = Vec::with_capacity(before.len());
        let merged = before.iter().merge_join_by(changes, |row, (key, _)| row.key.cmp(key.encoded()));
        for either in merged {
            let (row, change) = either.left_and_right();
            let Some((key, record)) = change else {
                after.extend(row);
                continue;
            };
            row.into_iter().for_each(|row| self.live.remove(row));
            if let Some(record) = record {
                let row = Row { key: key.encoded(), version: record.version, value: &record.value };
                self.live.add(&row);
                after.push(row);
            }
        }

        let mut rest: usize = after.iter().map(Row::bytes).sum();
        let enough =
            if self.is_dense { rest / rest.div_ceil(2 * BLOCK_BYTES - ENVELOPE_BYTES).max(1) } else { BLOCK_BYTES };
        let room = |rest: usize| envelope(rest.min(2 * BLOCK_BYTES));
        let (mut at, mut bytes, mut table) = (place, room(rest), None);
        let mut is_new = block.is_empty();
        for row in &after {
            // The rest stays together if it is not worth two blocks. Tables are never mixed: they are read differently.
            let full = bytes.len() >= enough && rest >= BLOCK_BYTES / 2;
            let other = table.is_some_and(|table| table != row.key.first());
            if full || other || (bytes.len() > ENVELOPE_BYTES && bytes.len() + row.bytes() > 2 * BLOCK_BYTES) {
                self.write(at, std::mem::replace(&mut bytes, room(rest)), is_new);
                (at, is_new) = (row.key, true);
            }
            row.write(&mut bytes);
            rest -= row.bytes();
            table = Some(row.key.first());
        }
        if bytes.len() > ENVELOPE_BYTES {
            self.write(at, bytes, is_new);
        } else {
            self.writes.push(Write { place: place.into(), block: None, is_new: false });
        }
        Some(())
    }

    fn write(&mut self, place: &[u8], block: Vec<u8>, is_new: bool) {
        self.bytes += place.len() + block.len();
        self.writes.push(Write { place: place.into(), block: Some(wrap(place, Revision(0), block)), is_new });
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use manyhands_state::Table;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn blocks_divide_shrink_and_vanish_and_nothing_is_lost_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::open(&dir.path().join("1"), 1 << 20).unwrap();
        let mut model: BTreeMap<Key, Record> = BTreeMap::new();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut below = |bound: u64| rng.next_u64() % bound;
        for round in 1..=60_u64 {
            let mut changes = Changes::new();
            // Now and then a crowd that needs several batches, all behind the last block.
            let crowd = round % 20 == 0;
            for number in 0..if crowd { 2000 } else { 1 + below(200) } {
                let table = if below(3) == 0 { Table::Results } else { Table::Units };
                let key = if crowd { 10_000 * round + number } else { below(3000) };
                let bytes = if below(50) == 0 { 20_000 } else { below(1200) as usize };
                let record = Record { version: Revision(round), value: vec![round as u8; bytes] };
                // Every third round rather removes, until blocks are empty.
                let stays = crowd || below(10) < if round % 3 == 0 { 1 } else { 8 };
                changes.insert(Key::new(table, &key.to_be_bytes()), stays.then_some(record));
            }
            for (key, record) in &changes {
                match record {
                    Some(record) => model.insert(key.clone(), record.clone()),
                    None => model.remove(key),
                };
            }
            index.take(&changes, Revision(round)).unwrap();
            assert_eq!(index.check(), (model.len() as u64, Vec::new()), "round {round}");
            if round == 30 {
                // From now on it is no longer new.
                index.flush().unwrap();
            }
            for (key, record) in &changes {
                assert_eq!(index.get(key).unwrap(), *record, "round {round}, {key}");
            }
            let from = Key::new(Table::Units, &below(3000).to_be_bytes());
            for from in [Bound::Unbounded, Bound::Included(&from), Bound::Excluded(&from)] {
                let rows: Vec<_> = index.rows(from).unwrap().map(Result::unwrap).collect();
                let expected = model.range((from, Bound::Unbounded)).map(|(key, record)| (key.clone(), record.clone()));
                assert!(rows == expected.collect::<Vec<_>>(), "round {round}, from {from:?}");
            }
        }
        assert!(model.len() > 2000, "it was about many blocks");
        let copy = index.copy(&dir.path().join("2"), 1 << 20).unwrap();
        assert_eq!((copy.live, copy.applied, copy.check().1), (index.live, index.applied, Vec::new()));
    }
}
