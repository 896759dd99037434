//! The engine: log first, then memory, and the index when there is time.
//!
//! A commit goes `queue -> resolve -> log, fsync -> recent changes -> answer`, and in the background
//! `recent changes -> index`. One of the callers in the queue leads: it carries out everything that queued up
//! during the fsync before, so that one fsync answers many callers, and hands the lead to the first who came
//! meanwhile. Readers look at the recent changes, then at the index; neither holds anything that is not on the
//! disk in the log.
//!
//! Locks are taken in this order: `compacting`, `writer`, `keeper`, `trimming`, `state`.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use itertools::{EitherOrBoth, Itertools as _};
use manyhands_state::{
    Checked, Commit, CommitError, Key, ReadError, Record, Resolution, Revision, Space, StateStore, Table, View, resolve,
};

use crate::disk::{self, LogFile};
use crate::index::{Index, Rot};
use crate::log::{AppendError, FrameBuilder, Log};
use crate::opening::Place;
use crate::recent::{Changes, Recent};
use crate::report::{Exported, OpenError, Opened};

/// About this much goes to the disk in one frame, under one fsync. Unit: bytes. One commit at most is larger.
const FRAME_BYTES: usize = 4 * 1024 * 1024;

/// With this much of recent changes the background is woken to move them. Unit: bytes.
const RECENT_BYTES: usize = 8 * 1024 * 1024;

/// With this much of them, commits wait until they have been moved. Unit: bytes.
const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What may be tuned. The defaults suit a coordinator on a small server.
#[derive(Clone)]
pub struct Options {
    /// A segment of the log is closed at about this size. Unit: bytes.
    pub segment_bytes: u64,
    /// Memory for the index's pages. Unit: bytes.
    pub cache_bytes: u64,
    /// Below this size the log is left to grow, whatever it holds. Unit: bytes.
    pub compact_bytes_min: u64,
    /// How often the index takes over what is new, and is flushed. A crash costs the replay of as much log.
    pub flush_every: Duration,
    /// Stands between the store and its log files; gives them back unchanged by default.
    pub log_file: Arc<dyn Fn(File) -> Box<dyn LogFile> + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            cache_bytes: 48 * 1024 * 1024,
            compact_bytes_min: 64 * 1024 * 1024,
            flush_every: Duration::from_secs(1),
            log_file: Arc::new(|file| Box::new(file)),
        }
    }
}

/// The embedded engine: an operation log beside a sled index.
pub struct SledStore {
    inner: Arc<Inner>,
    maintenance: Option<JoinHandle<()>>,
}

pub(crate) struct Inner {
    pub(crate) place: Place,
    pub(crate) options: Options,
    /// Held as long as the store is open.
    _lock: File,
    queue: Mutex<Queue>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) keeper: Mutex<Keeper>,
    pub(crate) state: RwLock<State>,
    /// One snapshot at a time.
    pub(crate) compacting: Mutex<()>,
    /// Held while old files of the log go away, and while all of them are read.
    pub(crate) trimming: Mutex<()>,
    /// Why nothing is written any more.
    pub(crate) failed: OnceLock<String>,
    /// Wakes the maintenance thread; gone when it shall end.
    wake: Mutex<Option<mpsc::SyncSender<()>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody leads, or was told to.
    led: bool,
}

/// A caller's commits, and where it waits for the answers.
struct Waiting {
    commits: Vec<Commit>,
    count: usize,
    ticket: Arc<Ticket>,
}

#[derive(Default)]
struct Ticket {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Default)]
enum Turn {
    #[default]
    Waits,
    Leads,
    Answered(Vec<Answer>),
}

impl Ticket {
    fn set(&self, turn: Turn) {
        *lock(&self.turn) = turn;
        self.changed.notify_one();
    }

    /// Waits for the lead or the answers.
    fn wait(&self) -> Turn {
        let turn = self.changed.wait_while(lock(&self.turn), |turn| matches!(turn, Turn::Waits));
        std::mem::take(&mut *turn.unwrap_or_else(PoisonError::into_inner))
    }
}

/// Nobody waits for ever: commits dropped by a panic are answered as well.
impl Drop for Waiting {
    fn drop(&mut self) {
        if self.count > 0 {
            self.ticket.set(Turn::Answered(vec![Err(CommitError::Storage(INTERRUPTED.to_owned())); self.count]));
        }
    }
}

/// The lead, handed on when it ends, however it ends.
struct Lead<'a>(&'a Mutex<Queue>);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut queue = lock(self.0);
        match queue.waiting.first() {
            Some(next) => next.ticket.set(Turn::Leads),
            None => queue.led = false,
        }
    }
}

type Answer = Result<Revision, CommitError>;

pub(crate) struct Writer {
    pub(crate) log: Log,
    pub(crate) revision: Revision,
    /// Left behind by a panic in the middle of a write.
    writing: bool,
}

/// Who holds it is the only one to change the index.
pub(crate) struct Keeper {
    /// The index was found damaged and could not be rebuilt; there is no second try.
    pub(crate) incurable: bool,
    /// Bytes of the index when it was new.
    pub(crate) index_bytes: u64,
}

/// What readers see.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) recent: Recent,
    /// The last commit in both.
    pub(crate) revision: Revision,
}

impl State {
    fn get(&self, key: &Key) -> Result<Option<Record>, Rot> {
        match self.recent.get(key) {
            Some(record) => Ok(record.cloned()),
            None => self.index.get(key),
        }
    }

    /// Up to `limit` records from `from` on whose keys begin with `prefix`.
    pub(crate) fn scan(&self, prefix: &[u8], from: Bound<&Key>, limit: usize) -> Result<Vec<(Key, Record)>, Rot> {
        let within = |key: &Key| key.encoded().starts_with(prefix);
        let recent = self.recent.range(from).take_while(|(key, _)| within(key));
        let stored = self.index.rows(from)?.take_while(|row| row.as_ref().map_or(true, |(key, _)| within(key)));
        let rows = recent.merge_join_by(stored, |(key, _), row| match row {
            Ok((stored, _)) => key.cmp(&stored),
            // At once: nothing behind it is known.
            Err(_) => std::cmp::Ordering::Greater,
        });
        let rows = rows.filter_map(|row| match row {
            EitherOrBoth::Left((key, record)) | EitherOrBoth::Both((key, record), _) => {
                record.map(|record| Ok((key.clone(), record.clone())))
            }
            EitherOrBoth::Right(row) => Some(row),
        });
        rows.take(limit).collect()
    }
}

impl SledStore {
    /// Opens the store in `dir`, or begins one there, and repairs what it finds damaged.
    ///
    /// # Errors
    /// [`OpenError`], which names the file and the cure.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Opened), OpenError> {
        let place = Place::new(dir);
        let lock = place.lock()?;
        place.refuse_newer()?;
        let mut repairs = Vec::new();
        let (index, replayed) = place.open_index(&options, &mut repairs)?;
        let revision = index.applied;
        let log = Log::open(&place.log, revision, options.segment_bytes, Arc::clone(&options.log_file))?;
        let keeper = Keeper { incurable: false, index_bytes: index.disk_bytes() };
        // One waking that is not yet heard is as good as many.
        let (wake, woken) = mpsc::sync_channel(1);
        let inner = Arc::new(Inner {
            place,
            options,
            _lock: lock,
            queue: Mutex::default(),
            writer: Mutex::new(Writer { log, revision, writing: false }),
            keeper: Mutex::new(keeper),
            state: RwLock::new(State { index, recent: Recent::default(), revision }),
            compacting: Mutex::default(),
            trimming: Mutex::default(),
            failed: OnceLock::new(),
            wake: Mutex::new(Some(wake)),
        });

        let maintained = Arc::clone(&inner);
        let maintenance = std::thread::Builder::new().name("store-maintenance".to_owned());
        let maintenance = maintenance.spawn(move || maintained.maintain(&woken)).map_err(OpenError::io(dir))?;
        Ok((Self { inner, maintenance: Some(maintenance) }, Opened { revision, replayed, repairs }))
    }

    /// Writes a snapshot and drops the log before it. Commits go on meanwhile. Happens by itself
    /// when the log has outgrown its content; by hand it also replaces a log that a check found damaged.
    ///
    /// # Errors
    /// [`ReadError`]; the log is then as it was.
    pub fn compact(&self) -> Result<(), ReadError> {
        self.inner.compact()
    }

    /// Writes a store of its own into `dir`, which must be new or empty: a snapshot and the log that completes
    /// it, as of the last commit, durable when this returns. Commits go on meanwhile. It is opened like any
    /// other, which makes an index; nothing else has to be repaired.
    ///
    /// # Errors
    /// [`OpenError`]; what was written by then is of no use.
    pub fn export(&self, dir: &Path) -> Result<Exported, OpenError> {
        self.inner.export(dir)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        drop(lock(&self.inner.wake).take());
        if let Some(maintenance) = self.maintenance.take() {
            // Its panic has been printed; the log is enough to open again.
            let _ = maintenance.join();
        }
        self.inner.checkpoint();
    }
}

impl StateStore for SledStore {
    fn commit_all(&self, commits: Vec<Commit>) -> Vec<Answer> {
        let count = commits.len();
        if count == 0 {
            return Vec::new();
        }
        let ticket = Arc::new(Ticket::default());
        let led = {
            let mut queue = lock(&self.inner.queue);
            queue.waiting.push(Waiting { commits, count, ticket: Arc::clone(&ticket) });
            std::mem::replace(&mut queue.led, true)
        };
        if led && let Turn::Answered(answers) = ticket.wait() {
            return answers;
        }
        let lead = Lead(&self.inner.queue);
        {
            let mut writer = lock(&self.inner.writer);
            // Taken only now: while a repair held the writer, more have come.
            let waiting = std::mem::take(&mut lock(&self.inner.queue).waiting);
            self.inner.write(&mut writer, waiting);
        }
        drop(lead);
        // Ours were among those, so this does not wait.
        match ticket.wait() {
            Turn::Answered(answers) => answers,
            Turn::Waits | Turn::Leads => vec![Err(CommitError::Storage(INTERRUPTED.to_owned())); count],
        }
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Record>, ReadError> {
        let key = Key::new(table, key);
        self.inner.read(|state| state.get(&key))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Record)>, ReadError> {
        let prefix = Key::new(table, prefix);
        let after = after.map(|key| Key::new(table, key)).filter(|after| *after >= prefix);
        let from = after.as_ref().map_or(Bound::Included(&prefix), Bound::Excluded);
        let rows = self.inner.read(|state| state.scan(prefix.encoded(), from, limit))?;
        Ok(rows.into_iter().map(|(key, record)| (key.bytes().to_vec(), record)).collect())
    }

    fn revision(&self) -> Revision {
        self.inner.state().revision
    }

    fn check(&self) -> Result<Checked, ReadError> {
        self.inner.check()
    }

    fn space(&self) -> Result<Space, ReadError> {
        self.inner.drain(&mut lock(&self.inner.keeper))?;
        let live = self.inner.state().index.live;
        Ok(Space { records: live.records, live_bytes: live.bytes, disk_bytes: disk::bytes_in(&self.inner.place.dir) })
    }
}

const INTERRUPTED: &str = "a write was interrupted by a panic, so the store is read-only now; restart";

impl Inner {
    /// Carries out what is waiting, a frame at a time, and gives each caller its answers.
    fn write(&self, writer: &mut Writer, mut waiting: Vec<Waiting>) {
        if writer.writing {
            self.failed.get_or_init(|| INTERRUPTED.to_owned());
        }
        writer.writing = true;
        let commits: Vec<Commit> = waiting.iter_mut().flat_map(|waiting| waiting.commits.drain(..)).collect();
        let mut answers = Vec::with_capacity(commits.len());
        let mut commits = commits.into_iter();
        while commits.len() > 0 {
            self.write_frame(writer, &mut commits, &mut answers);
        }
        let mut answers = answers.into_iter();
        writer.writing = false;
        for mut waiting in waiting {
            let count = std::mem::take(&mut waiting.count);
            waiting.ticket.set(Turn::Answered(answers.by_ref().take(count).collect()));
        }
    }

    /// Takes as many of `commits` as make a frame and answers each.
    fn write_frame(&self, writer: &mut Writer, commits: &mut impl Iterator<Item = Commit>, answers: &mut Vec<Answer>) {
        if let Some(reason) = self.failed.get() {
            answers.extend(commits.map(|_| Err(CommitError::Storage(reason.clone()))));
            return;
        }
        let answered = answers.len();
        let mut batch = Batch::new(self, writer.revision);
        for commit in commits {
            answers.push(batch.add(commit));
            if batch.frame.len() >= FRAME_BYTES {
                break;
            }
        }
        let Batch { frame, changed, revision, .. } = batch;
        if frame.is_empty() {
            return;
        }
        if let Err(error) = self.append(writer, frame) {
            // Refusals go with the rest: they may rest on a commit that has just failed.
            answers[answered..].fill(Err(error));
            return;
        }
        writer.revision = revision;
        let recent_bytes = {
            let mut state = self.state_mut();
            state.recent.add(changed);
            state.revision = revision;
            state.recent.bytes()
        };
        // The commits are durable whatever becomes of the index, so they are acknowledged in any case.
        if recent_bytes > RECENT_BYTES_MAX {
            let _ = self.drain(&mut lock(&self.keeper));
        } else if recent_bytes > RECENT_BYTES
            && let Some(wake) = &*lock(&self.wake)
        {
            let _ = wake.try_send(());
        }
    }

    /// Makes a frame durable in the log.
    fn append(&self, writer: &mut Writer, mut frame: FrameBuilder) -> Result<(), CommitError> {
        let frame = frame.finish(writer.revision.next()).map_err(|error| unwritable(&error))?;
        writer.log.append(frame, writer.revision).map_err(|error| match error {
            AppendError::Full(path) => CommitError::Full(path.display().to_string()),
            AppendError::Failed(reason) => {
                tracing::error!(reason, "the log cannot be written");
                CommitError::Storage(self.failed.get_or_init(|| reason).clone())
            }
        })
    }

    /// Looks, and looks once more at a new index if the first was damaged.
    pub(crate) fn read<T>(&self, look: impl Fn(&State) -> Result<T, Rot>) -> Result<T, ReadError> {
        let attempt = || look(&self.state());
        if let Ok(found) = attempt() {
            return Ok(found);
        }
        let mut keeper = lock(&self.keeper);
        // Another reader may have come here first.
        let rot = match attempt() {
            Ok(found) => return Ok(found),
            Err(rot) => rot,
        };
        self.heal(&mut keeper, &rot)?;
        attempt().map_err(|rot| ReadError::Corrupt { place: rot.place, what: rot.what })
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        // Nothing panics between two changes that belong together: sled's panics are caught in the index.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks without regard to panics elsewhere; `Writer::writing` tells of those that matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unwritable(error: &postcard::Error) -> CommitError {
    CommitError::Storage(format!("a commit cannot be written: {error}; report this"))
}

/// Commits decided but not yet durable, and what they change.
struct Batch<'a> {
    inner: &'a Inner,
    frame: FrameBuilder,
    changed: Changes,
    revision: Revision,
}

impl<'a> Batch<'a> {
    fn new(inner: &'a Inner, revision: Revision) -> Self {
        Self { inner, frame: FrameBuilder::new(), changed: BTreeMap::new(), revision }
    }

    /// Decides `commit` after those before it.
    fn add(&mut self, commit: Commit) -> Answer {
        let changes = match resolve(self, commit)? {
            Resolution::Unchanged(answered) => return Ok(answered.unwrap_or(self.revision)),
            Resolution::Changes(changes) => changes,
        };
        self.frame.add(&changes).map_err(|error| unwritable(&error))?;
        let version = self.revision.next();
        let records = changes.into_iter().map(|change| {
            let record = change.value.map(|value| Record { version, value });
            (change.key, record)
        });
        self.changed.extend(records);
        self.revision = version;
        Ok(version)
    }
}

impl View for Batch<'_> {
    fn record(&self, key: &Key) -> Result<Option<Record>, ReadError> {
        match self.changed.get(key) {
            Some(record) => Ok(record.clone()),
            None => self.inner.read(|state| state.get(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::opening::UNFINISHED;
    use crate::report::Repair;

    const UNIT: (Table, &str) = (Table::Units, "u1");

    fn spoilt() -> (tempfile::TempDir, SledStore) {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = SledStore::open(dir.path(), Options::default()).unwrap();
        store.commit(Commit::new().put(UNIT, "right").add((Table::Meta, "n"), 1)).unwrap();
        store.space().unwrap();
        store.inner.state().index.spoil(&UNIT.into());
        (dir, store)
    }

    #[test]
    fn a_record_that_rots_is_found_by_a_check_and_replaced_by_a_read() {
        let (dir, store) = spoilt();
        let problems = store.check().unwrap().problems;
        assert!(problems[0].to_string().contains("units/u1"), "{problems:?}");
        assert_eq!(store.get(Table::Units, b"u1").unwrap().unwrap().value, b"right");
        assert_eq!(store.check().unwrap().problems, []);
        assert!(dir.path().join("index.discarded").is_dir());
    }

    #[test]
    fn a_commit_never_decides_by_a_record_that_rotted() {
        let (_dir, store) = spoilt();
        let commit = Commit::new().expect_version(UNIT, Revision(1)).put(UNIT, "new");
        assert_eq!(store.commit(commit), Ok(Revision(2)));
        assert_eq!(store.scan(Table::Units, b"", None, 9).unwrap()[0].1.value, b"new");
    }

    #[test]
    fn a_record_that_no_copy_has_is_an_error_and_the_others_are_still_served() {
        let (dir, store) = spoilt();
        let segment = dir.path().join("log/00000001.log");
        let mut bytes = fs::read(&segment).unwrap();
        bytes[50] ^= 1;
        fs::write(&segment, bytes).unwrap();
        for _ in 0..2 {
            let error = store.get(Table::Units, b"u1").unwrap_err();
            assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
        }
        assert_eq!(store.get(Table::Meta, b"n").unwrap().unwrap().counter(), Some(1));
    }

    #[test]
    fn a_new_index_that_was_cut_short_costs_nothing_while_the_old_one_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = SledStore::open(dir.path(), Options::default()).unwrap();
        store.commit(Commit::new().put(UNIT, "right")).unwrap();
        drop(store);
        let unfinished = dir.path().join("index/00000002");
        let mut index = Index::open(&unfinished, 1 << 20).unwrap();
        let half = [(UNIT.into(), Some(Record { version: Revision(1), value: b"half".to_vec() }))];
        index.take(&half.into(), Revision(1)).unwrap();
        index.close();
        let (store, opened) = SledStore::open(dir.path(), Options::default()).unwrap();
        assert_eq!((opened.revision, opened.repairs), (Revision(1), vec![]));
        assert_eq!(store.get(Table::Units, b"u1").unwrap().unwrap().value, b"right");
        assert!(!unfinished.exists());
        drop(store);

        // Without the old one it is made again.
        fs::remove_dir_all(dir.path().join("index/00000001")).unwrap();
        Index::open(&unfinished, 1 << 20).unwrap().close();
        let (store, opened) = SledStore::open(dir.path(), Options::default()).unwrap();
        let [Repair::IndexRebuilt { reason, records: 1, .. }] = &opened.repairs[..] else { panic!("{opened:?}") };
        assert_eq!(reason, UNFINISHED);
        assert_eq!(store.get(Table::Units, b"u1").unwrap().unwrap().value, b"right");
    }
}
