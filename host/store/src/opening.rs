//! Opening: brings log and index to the same end, whichever of them was damaged, and says what it did.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::thread::Builder;

use manyhands_state::{Key, Record, Revision};

use crate::disk;
use crate::index::{Index, Rot};
use crate::log::{self, Frame, Torn};
use crate::recent::{Changes, bytes_of};
use crate::report::{OpenError, Repair};
use crate::snapshot::{self, Extent};
use crate::store::Options;

/// Records in a page of a snapshot.
const PAGE_RECORDS: usize = 1000;

/// So much of a log or a snapshot is gathered before the index takes it over. Unit: bytes.
const PORTION_BYTES: usize = 8 * 1024 * 1024;

/// Why an index without a checkpoint is made anew.
pub(crate) const UNFINISHED: &str = "it was never finished, or files of it are gone";

/// Where everything is.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) snapshots: PathBuf,
    pub(crate) indexes: PathBuf,
}

/// A new index, and what the log it came from was like.
pub(crate) struct Rebuilt {
    pub(crate) index: Index,
    torn: Option<Torn>,
    /// What is wrong with the log, though nothing is missing.
    fault: Option<String>,
}

impl Place {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), log: dir.join("log"), snapshots: dir.join("snapshot"), indexes: dir.join("index") }
    }

    /// Keeps other processes out for as long as the file returned is open.
    pub(crate) fn lock(&self) -> Result<File, OpenError> {
        disk::create_dir(&self.dir).map_err(OpenError::io(&self.dir))?;
        let path = self.dir.join("LOCK");
        let fail = OpenError::io;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(fail(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let holder =
                    if holder.is_empty() { "unknown".to_owned() } else { format!("process {}", holder.trim()) };
                return Err(OpenError::InUse { dir: self.dir.clone(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(fail(&path)(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fail(&path))?;
        Ok(file)
    }

    pub(crate) fn discarded_index(&self) -> PathBuf {
        self.dir.join("index.discarded")
    }

    pub(crate) fn index(&self, generation: u64) -> PathBuf {
        self.indexes.join(format!("{generation:08}"))
    }

    /// The number of the next index.
    pub(crate) fn next_generation(&self) -> Result<u64, OpenError> {
        let generations = disk::numbered(&self.indexes, "").map_err(OpenError::io(&self.indexes))?;
        Ok(generations.last().map_or(1, |(number, _)| number + 1))
    }

    /// Looks at every header before anything is repaired: what is unknown must not be taken for damage.
    pub(crate) fn refuse_newer(&self) -> Result<(), OpenError> {
        let both = [(&self.log, "log", log::SEGMENT_MAGIC), (&self.snapshots, "snapshot", snapshot::MAGIC)];
        for (dir, extension, magic) in both {
            for (_, place) in disk::numbered(dir, extension).map_err(OpenError::io(dir))? {
                if let Some(found) = log::newer(&place, magic).map_err(OpenError::io(&place))? {
                    return Err(OpenError::Newer { place, found, known: magic[7] });
                }
            }
        }
        Ok(())
    }

    /// Opens the index and brings it to the end of the log; makes a new one if that cannot be done.
    pub(crate) fn open_index(&self, options: &Options, repairs: &mut Vec<Repair>) -> Result<(Index, u64), OpenError> {
        disk::create_dir(&self.indexes).map_err(OpenError::io(&self.indexes))?;
        let generations = disk::numbered(&self.indexes, "").map_err(OpenError::io(&self.indexes))?;
        let segments = disk::numbered(&self.log, "log").map_err(OpenError::io(&self.log))?;
        let snapshot = snapshot::newest(&self.snapshots).map_err(OpenError::io(&self.snapshots))?;
        let mut finished = generations.len();
        let mut reason = (!segments.is_empty() || snapshot.is_some()).then(|| "there was none".to_owned());
        for (_, dir) in generations.iter().rev() {
            match self.catch_up(dir, options, repairs) {
                Ok(Some(opened)) => {
                    for (_, other) in generations.iter().filter(|(_, other)| other != dir) {
                        fs::remove_dir_all(other).map_err(OpenError::io(other))?;
                    }
                    return Ok(opened);
                }
                // The one whose place it was to take may still be there.
                Ok(None) => {
                    finished -= 1;
                    reason = Some(UNFINISHED.to_owned());
                }
                Err(OpenError::Index { what, .. }) => {
                    reason = Some(what);
                    break;
                }
                Err(error) => return Err(error),
            }
        }

        let Rebuilt { mut index, torn, fault } = self.rebuild(options, self.next_generation()?, None)?;
        if fault.is_none() {
            self.cut(torn, repairs)?;
        }
        let mut aside = None;
        // The newest that was finished last, so that it is the one that is kept.
        let (finished, unfinished) = generations.split_at(finished);
        for (_, old) in unfinished.iter().chain(finished) {
            let discarded = self.discarded_index();
            disk::move_aside(old, &discarded).map_err(OpenError::io(old))?;
            aside = Some(discarded);
        }
        if let Some(reason) = reason {
            repairs.push(Repair::IndexRebuilt { reason, records: index.live.records, aside });
        }
        // Nothing is acknowledged into a log that an opening could not read without the index.
        if let Some(reason) = fault {
            repairs.push(self.replace_log(&mut index, reason)?);
        }
        Ok((index, 0))
    }

    /// Opens the index in `dir` and gives it what the log has beyond it; nothing if the index was never finished.
    /// [`OpenError::Index`] when it needs rebuilding.
    fn catch_up(
        &self,
        dir: &Path,
        options: &Options,
        repairs: &mut Vec<Repair>,
    ) -> Result<Option<(Index, u64)>, OpenError> {
        let mut index = Index::open(dir, options.cache_bytes)?;
        let Some(checkpoint) = index.checkpoint else { return Ok(None) };
        let held = index.applied;
        let survey = log::read(&self.log, checkpoint, |_| Ok(()))?;
        if let Some(damage) = survey.damage.iter().find(|damage| damage.through > held) {
            // Neither has it, unless the index has fallen back to a past that a snapshot covers.
            let what = format!("it ends at commit {held}, and {}: {}", damage.file.display(), damage.what);
            return Err(OpenError::Index { place: dir.to_owned(), what });
        }
        let fault = match survey.damage.first() {
            Some(damage) => Some(format!("{}: {}", damage.file.display(), damage.what)),
            None if survey.end < held => {
                Some(format!("{}: it ends at commit {}, the index at {held}", self.log.display(), survey.end))
            }
            None => None,
        };

        // With the log whole, what was not flushed for certain is replayed once more. With a hole in
        // it, only what is new: replaying what is before the hole would undo what was in it.
        let from = if fault.is_some() { held } else { checkpoint };
        feed(&mut index, |portions| log::read(&self.log, from, |frame| portions.add_frame(frame)))?;
        let replayed = index.applied.0.saturating_sub(held.0);
        match fault {
            None => self.cut(survey.torn, repairs)?,
            Some(reason) => repairs.push(self.replace_log(&mut index, reason)?),
        }
        index.flush()?;
        Ok(Some((index, replayed)))
    }

    /// Puts a snapshot of `index` in the place of a damaged log.
    fn replace_log(&self, index: &mut Index, reason: String) -> Result<Repair, OpenError> {
        // It is about to become the only copy, so all of it has to be right, and only then may an opening skip the damaged log.
        let mut flushed = index.clone();
        let wrong = |rot: Rot| OpenError::Damaged { place: self.log.clone(), what: format!("{reason}; and {rot}") };
        let records = {
            let mut rows = index.all().map_err(wrong)?;
            let pages = || {
                let page: Result<Vec<_>, Rot> = rows.by_ref().take(PAGE_RECORDS).collect();
                let page = page.map_err(wrong)?;
                if page.is_empty() {
                    flushed.flush()?;
                }
                Ok((page, index.applied))
            };
            snapshot::write(&self.snapshots, index.applied, pages)?
        };
        *index = flushed;
        snapshot::forget_before(&self.snapshots, index.applied)?;
        let aside = self.dir.join("log.discarded");
        let aside = match disk::move_aside(&self.log, &aside) {
            Ok(()) => Some(aside),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(OpenError::io(&self.log)(error)),
        };
        Ok(Repair::LogReplaced { reason, records, aside })
    }

    /// Makes an index from snapshot and log, up to `through` if given.
    pub(crate) fn rebuild(
        &self,
        options: &Options,
        generation: u64,
        through: Option<Revision>,
    ) -> Result<Rebuilt, OpenError> {
        let dir = self.index(generation);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(OpenError::io(&dir)(error)),
            _ => {}
        }
        let mut index = Index::open(&dir, options.cache_bytes)?;
        match self.fill(&mut index, through) {
            Ok((torn, fault)) => Ok(Rebuilt { index, torn, fault }),
            Err(error) => {
                // Or each attempt would leave one more. What cannot be removed is in the way of the next one, which says so.
                let _ = fs::remove_dir_all(index.close());
                Err(error)
            }
        }
    }

    /// Gives an empty index what snapshot and log have; returns what is wrong with the log's end, and with the rest.
    fn fill(&self, index: &mut Index, through: Option<Revision>) -> Result<(Option<Torn>, Option<String>), OpenError> {
        let (extent, survey) = feed(index, |portions| {
            let mut extent = Extent::default();
            if let Some(path) = snapshot::newest(&self.snapshots).map_err(OpenError::io(&self.snapshots))? {
                let read = snapshot::read(&path, |rows| portions.add_rows(rows));
                extent = read?.map_err(|what| OpenError::Damaged { place: path, what })?;
            }
            portions.reach(extent.start)?;
            let survey = log::read(&self.log, extent.start, |frame| match through {
                Some(through) if frame.first > through => Ok(()),
                _ => portions.add_frame(frame),
            })?;
            Ok((extent, survey))
        })?;
        let fault = survey.damage.first().map(|damage| format!("{}: {}", damage.file.display(), damage.what));
        if let Some(damage) = survey.damage.into_iter().find(|damage| damage.through > extent.start) {
            return Err(OpenError::Damaged { place: damage.file, what: damage.what });
        }
        if index.applied < extent.complete_at {
            let what = format!("it ends at commit {}, the snapshot needs {}", index.applied, extent.complete_at);
            return Err(OpenError::Damaged { place: self.log.clone(), what });
        }
        index.flush()?;
        Ok((survey.torn, fault))
    }

    /// Removes an unfinished write from the end of the log.
    fn cut(&self, torn: Option<Torn>, repairs: &mut Vec<Repair>) -> Result<(), OpenError> {
        if let Some(torn) = torn {
            log::cut(&self.log, &torn).map_err(OpenError::io(&torn.file))?;
            let Torn { file, offset, bytes, whole } = torn;
            repairs.push(Repair::TornTail { file, offset, bytes, whole });
        }
        Ok(())
    }
}

/// Gives an index what `read` finds in a log or a snapshot: the one is read while the other writes.
fn feed<T>(index: &mut Index, read: impl FnOnce(&mut Portions) -> Result<T, OpenError>) -> Result<T, OpenError> {
    let (last, dir) = (index.applied, index.dir.clone());
    std::thread::scope(|scope| {
        let (sender, portions) = mpsc::sync_channel::<(Changes, Revision)>(1);
        let write = move || portions.into_iter().try_for_each(|(some, last)| index.take(&some, last));
        let writer = Builder::new().spawn_scoped(scope, write).map_err(OpenError::io(&dir))?;
        let mut portions = Portions { sender, changes: Changes::new(), bytes: 0, last };
        let read = read(&mut portions).and_then(|read| portions.give().map(|()| read));
        drop(portions);
        match writer.join() {
            Ok(Ok(())) => read,
            Ok(Err(rot)) => Err(rot.into()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// What is read, much of it at a time: most records change more than once.
struct Portions {
    sender: SyncSender<(Changes, Revision)>,
    changes: Changes,
    /// What they take in memory, about. Unit: bytes.
    bytes: usize,
    last: Revision,
}

impl Portions {
    fn add_frame(&mut self, frame: Frame) -> Result<(), OpenError> {
        self.last = frame.last();
        let mut version = frame.first;
        for commit in frame.commits {
            for change in commit {
                self.add(change.key, change.value.map(|value| Record { version, value }));
            }
            version = version.next();
        }
        self.give_if_many()
    }

    fn add_rows(&mut self, rows: Vec<(Key, Record)>) -> Result<(), OpenError> {
        rows.into_iter().for_each(|(key, record)| self.add(key, Some(record)));
        self.give_if_many()
    }

    /// With everything so far, the index is at that revision.
    fn reach(&mut self, revision: Revision) -> Result<(), OpenError> {
        self.last = revision;
        self.give()
    }

    fn add(&mut self, key: Key, record: Option<Record>) {
        self.bytes += bytes_of(&key, record.as_ref());
        self.changes.insert(key, record);
    }

    fn give_if_many(&mut self) -> Result<(), OpenError> {
        if self.bytes >= PORTION_BYTES { self.give() } else { Ok(()) }
    }

    fn give(&mut self) -> Result<(), OpenError> {
        self.bytes = 0;
        // Only a writer that failed is gone, and it says why.
        let gone = |_| OpenError::Index { place: PathBuf::new(), what: "it takes nothing any more".to_owned() };
        self.sender.send((std::mem::take(&mut self.changes), self.last)).map_err(gone)
    }
}

impl From<Rot> for OpenError {
    fn from(rot: Rot) -> Self {
        Self::Index { place: PathBuf::from(rot.place), what: rot.what }
    }
}

#[cfg(test)]
mod tests {
    use manyhands_state::Table;

    use super::*;

    #[test]
    fn what_is_not_all_right_does_not_take_the_place_of_a_damaged_log_nor_let_it_be_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let record = |number: u64| Record { version: Revision(number), value: vec![1; 10] };
        let changes = |number: u64| Changes::from([(Key::from((Table::Units, "u1")), Some(record(number)))]);
        let mut index = Index::open(&place.index(1), 1 << 20).unwrap();
        index.take(&changes(1), Revision(1)).unwrap();
        index.flush().unwrap();
        index.take(&changes(2), Revision(2)).unwrap();
        let whole = index.get(&Key::from((Table::Units, "u1"))).unwrap();
        assert_eq!(whole, Some(record(2)));
        index.spoil(&Key::from((Table::Units, "u1")));
        for _ in 0..2 {
            let error = place.replace_log(&mut index, "a hole".to_owned()).unwrap_err();
            assert!(matches!(&error, OpenError::Damaged { what, .. } if what.contains("a hole")), "{error}");
            assert_eq!(index.checkpoint, Some(Revision(1)));
            assert_eq!(fs::read_dir(&place.snapshots).unwrap().count(), 0);
        }
    }
}
