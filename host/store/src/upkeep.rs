//! What goes on beside the commits: the index takes over what is recent and is flushed, outgrown files are
//! made smaller, damaged ones made again, and everything is checked or copied when somebody asks.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use manyhands_state::{Checked, CommitError, Key, Problem, ReadError, Revision};

use crate::disk;
use crate::index::{Index, Rot};
use crate::log::{self, AppendError};
use crate::report::{Exported, OpenError};
use crate::snapshot::{self, Extent};
use crate::store::{Inner, Keeper, lock};

/// Records that a snapshot reads while it keeps commits waiting: about a millisecond's worth.
const PAGE_RECORDS: usize = 1000;

/// The log may take this part of what the records take, in percent. A snapshot of them takes 100.
const LOG_PERCENT_MAX: u64 = 40;

/// The index may take this part of what the records take before it is made anew, in percent. A new one takes about 120.
const INDEX_PERCENT_MAX: u64 = 200;

/// Making an index anew may take this part of the time, in percent: where much changes, it soon has grown again.
const SHRINKING_PERCENT_MAX: u32 = 10;

impl Inner {
    /// Moves what is recent into the index.
    pub(crate) fn drain(&self, keeper: &mut Keeper) -> Result<(), ReadError> {
        let (mut index, changes, revision) = {
            let mut state = self.state_mut();
            (state.index.clone(), state.recent.begin_move(), state.revision)
        };
        if changes.is_empty() {
            return Ok(());
        }
        match index.take(&changes, revision) {
            Ok(()) => self.state_mut().index = index,
            Err(rot) => {
                drop(index);
                // What the index does not take would fill the memory.
                self.heal(keeper, &rot).inspect_err(|error| _ = self.failed.set(error.to_string()))?;
            }
        }
        drop(changes);
        // Dropped only after the lock: there may be many.
        let moved = self.state_mut().recent.moved();
        drop(moved);
        Ok(())
    }

    /// Builds a new index from the log in place of one that is damaged. Reads go on, and commits for as long as the memory takes
    /// what is new.
    pub(crate) fn heal(&self, keeper: &mut Keeper, rot: &Rot) -> Result<(), ReadError> {
        let corrupt = |what: String| ReadError::Corrupt { place: self.place.indexes.display().to_string(), what };
        if keeper.incurable {
            return Err(corrupt(rot.to_string()));
        }
        tracing::warn!(reason = %rot, "the index is damaged; rebuilding it from the log");
        // Not further than what is acknowledged: the log may end in what is not on the disk yet.
        let through = self.state().revision;
        let rebuilt = {
            let _no_trimming = lock(&self.trimming);
            let generation = self.place.next_generation();
            generation.and_then(|generation| self.place.rebuild(&self.options, generation, Some(through)))
        };
        let why_not = match rebuilt {
            Ok(rebuilt) if rebuilt.index.applied == through => {
                let old = self.replace_index(keeper, rebuilt.index);
                let records = self.state().index.live.records;
                let aside = self.place.discarded_index();
                match disk::move_aside(&old, &aside) {
                    Ok(()) => tracing::warn!(records, aside = %aside.display(), "the index is whole again"),
                    Err(error) => {
                        tracing::warn!(records, %error, "the index is whole again; the old one could not be moved");
                    }
                }
                return Ok(());
            }
            Ok(rebuilt) => format!("the log ends at {}", rebuilt.index.applied),
            Err(error) => format!("it cannot be rebuilt: {error}"),
        };
        keeper.incurable = true;
        Err(corrupt(format!("{rot}; {why_not}")))
    }

    /// Puts `index` in the place of the present one; returns where that is.
    fn replace_index(&self, keeper: &mut Keeper, index: Index) -> PathBuf {
        keeper.index_bytes = index.disk_bytes();
        let old = std::mem::replace(&mut self.state_mut().index, index);
        old.close()
    }

    /// Copies the index, most of whose `bytes` are waste, into a new one. Reads go on, and commits for as long as the memory takes
    /// what is new.
    fn shrink(&self, keeper: &mut Keeper, bytes: u64) -> Result<(), OpenError> {
        let old = self.state().index.clone();
        let dir = self.place.index(self.place.next_generation()?);
        let copy = old.copy(&dir, self.options.cache_bytes).inspect_err(|_| _ = fs::remove_dir_all(&dir))?;
        drop(old);
        let old = self.replace_index(keeper, copy);
        fs::remove_dir_all(&old).map_err(OpenError::io(&old))?;
        tracing::info!(before = bytes, after = keeper.index_bytes, "the index was built anew to make it smaller");
        Ok(())
    }

    /// Makes everything durable in the index, so that the log up to here need not be replayed.
    pub(crate) fn checkpoint(&self) {
        let mut keeper = lock(&self.keeper);
        let flushed = self.drain(&mut keeper).map_err(|error| error.to_string()).and_then(|()| {
            let mut index = self.state().index.clone();
            if index.checkpoint != Some(index.applied) {
                index.flush().map_err(|rot| rot.to_string())?;
                self.state_mut().index = index;
            }
            Ok(())
        });
        // The log is the truth, so nothing is lost: the next opening replays more of it.
        if let Err(error) = flushed {
            tracing::warn!(error, "the index could not be flushed");
        }
    }

    pub(crate) fn compact(&self) -> Result<(), ReadError> {
        let storage = |error: &dyn ToString| ReadError::Storage(error.to_string());
        let _one_at_a_time = lock(&self.compacting);
        let (first_kept, start) = {
            let mut writer = lock(&self.writer);
            if let Some(reason) = self.failed.get() {
                return Err(storage(reason));
            }
            let revision = writer.revision;
            match writer.log.rotate(revision) {
                Ok(number) => (number, revision),
                Err(AppendError::Full(path)) => return Err(storage(&CommitError::Full(path.display().to_string()))),
                Err(AppendError::Failed(reason)) => return Err(storage(self.failed.get_or_init(|| reason))),
            }
        };
        self.snapshot(&self.place.snapshots, start).map_err(|error| storage(&error))?;
        // An opening replays from the checkpoint on, so it must have passed what is about to go.
        self.checkpoint();
        let durable = self.state().index.checkpoint;
        if durable.is_none_or(|durable| durable < start) {
            return Err(ReadError::Storage("the index could not be flushed, so the log is kept".to_owned()));
        }
        let mut writer = lock(&self.writer);
        let _trimming = lock(&self.trimming);
        snapshot::forget_before(&self.place.snapshots, start).map_err(|error| storage(&error))?;
        let forgotten = writer.log.forget_before(first_kept);
        forgotten.map_err(|error| storage(&OpenError::io(&self.place.log)(error)))
    }

    /// Writes all records into a snapshot that begins at `start`, while commits go on.
    fn snapshot(&self, dir: &Path, start: Revision) -> Result<u64, OpenError> {
        let mut after: Option<Key> = None;
        let mut checkpointed = Instant::now();
        snapshot::write(dir, start, || {
            // What a crash costs does not grow with what the snapshot takes.
            if checkpointed.elapsed() >= self.options.flush_every {
                self.checkpoint();
                checkpointed = Instant::now();
            }
            let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let page = self.read(|state| Ok((state.scan(b"", from, PAGE_RECORDS)?, state.revision)));
            let page =
                page.map_err(|error| OpenError::Index { place: self.place.indexes.clone(), what: error.to_string() })?;
            after = page.0.last().map(|(key, _)| key.clone());
            Ok(page)
        })
    }

    pub(crate) fn export(&self, dir: &Path) -> Result<Exported, OpenError> {
        let fail = OpenError::io;
        disk::create_dir(dir).map_err(fail(dir))?;
        if fs::read_dir(dir).map_err(fail(dir))?.next().is_some() {
            return Err(fail(dir)(io::ErrorKind::DirectoryNotEmpty.into()));
        }
        // Neither snapshot nor log goes away under the copying.
        let _no_compaction = lock(&self.compacting);
        let (first, start) = {
            let writer = lock(&self.writer);
            (writer.log.number(), writer.revision)
        };
        let records = self.snapshot(&dir.join("snapshot"), start)?;
        // What the snapshot may lack is in closed segments from here on.
        let (end, revision) = {
            let mut writer = lock(&self.writer);
            let revision = writer.revision;
            let number = writer.log.rotate(revision).map_err(|error| match error {
                AppendError::Full(path) => fail(&path)(io::ErrorKind::StorageFull.into()),
                AppendError::Failed(reason) => {
                    fail(&self.place.log)(io::Error::other(self.failed.get_or_init(|| reason).clone()))
                }
            })?;
            (number, revision)
        };
        let log = dir.join("log");
        disk::create_dir(&log).map_err(fail(&log))?;
        let segments = disk::numbered(&self.place.log, "log").map_err(fail(&self.place.log))?;
        for (_, path) in segments.into_iter().filter(|(number, _)| (first..end).contains(number)) {
            let copy = log.join(path.file_name().unwrap_or_default());
            fs::copy(&path, &copy).and_then(|_| File::open(&copy)?.sync_all()).map_err(fail(&copy))?;
        }
        disk::sync_dir(&log).and_then(|()| disk::sync_dir(dir)).map_err(fail(dir))?;
        Ok(Exported { revision, records, bytes: disk::bytes_in(dir) })
    }

    pub(crate) fn check(&self) -> Result<Checked, ReadError> {
        const COMPACT: &str = "compact: a snapshot of the index takes its place";
        let storage = |error: OpenError| ReadError::Storage(error.to_string());
        let _no_compaction = lock(&self.compacting);
        let (records, mut problems) = {
            let mut keeper = lock(&self.keeper);
            self.drain(&mut keeper)?;
            let index = self.state().index.clone();
            index.check()
        };
        let revision = self.state().revision;
        let mut extent = Extent::default();
        let newest = snapshot::newest(&self.place.snapshots).map_err(OpenError::io(&self.place.snapshots));
        if let Some(path) = newest.map_err(storage)? {
            match snapshot::read(&path, |_| Ok(())).map_err(storage)? {
                Ok(read) => extent = read,
                Err(what) => {
                    problems.push(Problem { place: path.display().to_string(), what, cure: COMPACT });
                    // Its name says where the log goes on.
                    let start = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                    extent.start = Revision(start.unwrap_or_default());
                }
            }
        }
        let survey = log::read(&self.place.log, extent.start, |_| Ok(())).map_err(storage)?;
        let problem = |file: &Path, what| Problem { place: file.display().to_string(), what, cure: COMPACT };
        problems.extend(survey.damage.into_iter().map(|damage| problem(&damage.file, damage.what)));
        if survey.end < revision {
            let what = format!("it ends at commit {}, the last one is {revision}", survey.end);
            problems.push(problem(&self.place.log, what));
        }
        Ok(Checked { records, problems })
    }

    /// What goes on in the background until the store is dropped.
    pub(crate) fn maintain(&self, woken: &Receiver<()>) {
        let mut next = Instant::now() + self.options.flush_every;
        let mut shrink_from = Instant::now();
        loop {
            match woken.recv_timeout(next.saturating_duration_since(Instant::now())) {
                // It says itself what went wrong.
                Ok(()) => _ = self.drain(&mut lock(&self.keeper)),
                Err(RecvTimeoutError::Timeout) => {
                    self.checkpoint();
                    self.trim(&mut shrink_from);
                    next = Instant::now() + self.options.flush_every;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Gives back room on the disk; in the index only from `shrink_from` on.
    fn trim(&self, shrink_from: &mut Instant) {
        let live = self.state().index.live.bytes;
        let limit = |percent: u64| self.options.compact_bytes_min.max(live / 100 * percent);
        if self.failed.get().is_some() {
            return;
        }
        if lock(&self.writer).log.bytes() > limit(LOG_PERCENT_MAX)
            && let Err(error) = self.compact()
        {
            tracing::warn!(%error, "the log could not be compacted");
        }
        // sled does not give back all space by itself; a new index does.
        let mut keeper = lock(&self.keeper);
        let bytes = self.state().index.disk_bytes();
        let grown = bytes > limit(INDEX_PERCENT_MAX) && bytes > keeper.index_bytes / 8 * 9;
        if grown && Instant::now() >= *shrink_from {
            let began = Instant::now();
            if let Err(error) = self.shrink(&mut keeper, bytes) {
                tracing::warn!(%error, "the index could not be made smaller");
            }
            *shrink_from = Instant::now() + began.elapsed() * (100 / SHRINKING_PERCENT_MAX);
        }
    }
}
