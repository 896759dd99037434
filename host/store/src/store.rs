//! The engine: log first, then index, and whichever is damaged is made again from the other.
//!
//! A commit goes `queue -> resolve -> log, fsync -> index -> answer`. One of the callers in the queue
//! leads: it carries out everything that queued up during the fsync before, so that one fsync answers
//! many callers, and hands the lead to the first who came meanwhile. Readers look only at the index,
//! which holds nothing that is not on the disk in the log.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use manyhands_state::{
    Change, Checked, Commit, CommitError, Key, Problem, ReadError, Record, Resolution, Revision, Space, StateStore,
    Table, View, resolve,
};

use crate::disk::{self, LogFile};
use crate::index::{Index, Live, Rot};
use crate::log::{self, AppendError, Log, Torn};
use crate::report::{Exported, OpenError, Opened, Repair};
use crate::snapshot::{self, Extent};

/// About this much goes to the disk in one frame, under one fsync. Unit: bytes. One commit at most is larger.
const FRAME_BYTES: usize = 4 * 1024 * 1024;

/// Records that a snapshot reads while it keeps commits waiting: about a millisecond's worth.
const PAGE_RECORDS: usize = 1000;

/// The log, and the index, may be this many times as large as what they hold.
const BLOAT_MAX: u64 = 4;

/// What may be tuned. The defaults suit a coordinator on a small server.
#[derive(Clone)]
pub struct Options {
    /// A segment of the log is closed at about this size. Unit: bytes.
    pub segment_bytes: u64,
    /// Memory for the index's pages. Unit: bytes.
    pub cache_bytes: u64,
    /// Below this size the log is left to grow, whatever it holds. Unit: bytes.
    pub compact_bytes_min: u64,
    /// How often the index is flushed. A crash costs the replay of as much log.
    pub flush_every: Duration,
    /// Stands between the store and its log files; gives them back unchanged by default.
    pub log_file: Arc<dyn Fn(File) -> Box<dyn LogFile> + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            compact_bytes_min: 64 * 1024 * 1024,
            flush_every: Duration::from_secs(1),
            log_file: Arc::new(|file| Box::new(file)),
        }
    }
}

/// The embedded engine: an operation log beside a sled index.
pub struct SledStore {
    inner: Arc<Inner>,
    /// Dropped to stop the maintenance thread.
    stop: Option<mpsc::Sender<()>>,
    maintenance: Option<JoinHandle<()>>,
}

struct Inner {
    place: Place,
    options: Options,
    /// Held as long as the store is open.
    _lock: File,
    queue: Mutex<Queue>,
    /// Locked before `state` where both are.
    writer: Mutex<Writer>,
    state: RwLock<State>,
    /// Locked before `writer`: one snapshot at a time.
    compacting: Mutex<()>,
}

/// Where everything is.
struct Place {
    dir: PathBuf,
    log: PathBuf,
    snapshots: PathBuf,
    indexes: PathBuf,
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

struct Writer {
    log: Log,
    revision: Revision,
    /// Why nothing is written any more.
    failed: Option<String>,
    /// Left behind by a panic in the middle of a write.
    writing: bool,
    /// The index was found damaged and could not be rebuilt; there is no second try.
    incurable: bool,
    /// Bytes of the index when it was new.
    index_bytes: u64,
}

struct State {
    index: Index,
    /// The index lacks acknowledged commits and could not be rebuilt, so it must not be read.
    broken: Option<ReadError>,
}

impl SledStore {
    /// Opens the store in `dir`, or begins one there, and repairs what it finds damaged.
    ///
    /// # Errors
    /// [`OpenError`], which names the file and the cure.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Opened), OpenError> {
        let place = Place {
            dir: dir.to_owned(),
            log: dir.join("log"),
            snapshots: dir.join("snapshot"),
            indexes: dir.join("index"),
        };
        disk::create_dir(dir).map_err(OpenError::io(dir))?;
        let lock = lock_dir(dir)?;
        place.refuse_newer()?;
        disk::create_dir(&place.indexes).map_err(OpenError::io(&place.indexes))?;

        let mut repairs = Vec::new();
        let (index, replayed) = place.open_index(&options, &mut repairs)?;
        let revision = index.applied;
        let log = Log::open(&place.log, revision, options.segment_bytes, Arc::clone(&options.log_file))?;
        let index_bytes = index.disk_bytes();
        let writer = Writer { log, revision, failed: None, writing: false, incurable: false, index_bytes };
        let inner = Arc::new(Inner {
            place,
            options,
            _lock: lock,
            queue: Mutex::default(),
            writer: Mutex::new(writer),
            state: RwLock::new(State { index, broken: None }),
            compacting: Mutex::default(),
        });

        let (stop, stopped) = mpsc::channel();
        let maintained = Arc::clone(&inner);
        let maintenance = std::thread::Builder::new().name("store-maintenance".to_owned());
        let maintenance = maintenance.spawn(move || maintained.maintain(&stopped)).map_err(OpenError::io(dir))?;
        Ok((Self { inner, stop: Some(stop), maintenance: Some(maintenance) }, Opened { revision, replayed, repairs }))
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
        drop(self.stop.take());
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
        self.inner.read(|index| index.get(&key))
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
        let from = match &after {
            Some(after) => Bound::Excluded(after.encoded()),
            None => Bound::Included(prefix.encoded()),
        };
        let rows = self.inner.read(|index| index.scan(prefix.encoded(), from, limit))?;
        Ok(rows.into_iter().map(|(key, record)| (key.bytes().to_vec(), record)).collect())
    }

    fn revision(&self) -> Revision {
        self.inner.state().index.applied
    }

    fn check(&self) -> Result<Checked, ReadError> {
        self.inner.check()
    }

    fn space(&self) -> Result<Space, ReadError> {
        let live = self.inner.state().index.live;
        Ok(Space { records: live.records, live_bytes: live.bytes, disk_bytes: disk::bytes_in(&self.inner.place.dir) })
    }
}

const INTERRUPTED: &str = "a write was interrupted by a panic, so the store is read-only now; restart";

impl Inner {
    /// Carries out what is waiting, a frame at a time, and gives each caller its answers.
    fn write(&self, writer: &mut Writer, mut waiting: Vec<Waiting>) {
        if writer.writing {
            writer.failed.get_or_insert_with(|| INTERRUPTED.to_owned());
        }
        writer.writing = true;
        let commits: Vec<Commit> = waiting.iter_mut().flat_map(|waiting| waiting.commits.drain(..)).collect();
        let mut commits = commits.into_iter().peekable();
        let mut answers = Vec::with_capacity(commits.len());
        while commits.peek().is_some() {
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
        if let Some(reason) = &writer.failed {
            answers.extend(commits.map(|_| Err(CommitError::Storage(reason.clone()))));
            return;
        }
        let answered = answers.len();
        let mut batch = Batch::new(writer.revision, self.state().index.live);
        for commit in commits {
            let answer = self.load(&mut batch, writer, &commit).and_then(|()| batch.add(commit));
            answers.push(answer);
            if batch.bytes >= FRAME_BYTES {
                break;
            }
        }
        if batch.commits.is_empty() {
            return;
        }
        if let Err(error) = append(writer, &batch.commits) {
            // Refusals go with the rest: they may rest on a commit that has just failed.
            answers[answered..].fill(Err(error));
            return;
        }
        writer.revision = batch.revision;
        let changes =
            batch.known.into_iter().filter(|(_, known)| known.changed).map(|(key, known)| (key, known.record));
        let applied = self.state_mut().index.apply(changes, batch.live, batch.revision);
        // The commits are durable whatever becomes of the index, so they are acknowledged in any
        // case; but an index without them must not be read.
        if let Err(rot) = applied
            && let Err(error) = self.heal(writer, &rot.to_string())
        {
            writer.failed = Some(error.to_string());
            self.state_mut().broken = Some(error);
        }
    }

    /// Reads what `commit` speaks of, so that it can be decided without the index.
    fn load(&self, batch: &mut Batch, writer: &mut Writer, commit: &Commit) -> Result<(), CommitError> {
        let storage = |error: ReadError| CommitError::Storage(error.to_string());
        let idempotency = commit.idempotency.as_ref().map(|key| key.place());
        let spoken_of = commit.expects.iter().map(|expect| expect.key()).chain(commit.ops.iter().map(|op| op.key()));
        for key in spoken_of.chain(&idempotency) {
            if batch.known.contains_key(key) {
                continue;
            }
            let found = self.state().index.get(key);
            let record = match found {
                Ok(record) => record,
                Err(rot) => {
                    self.heal(writer, &rot.to_string()).map_err(storage)?;
                    self.state().index.get(key).map_err(|rot| storage(corrupt(rot)))?
                }
            };
            batch.known.insert(key.clone(), Known { record, changed: false });
        }
        Ok(())
    }

    /// Reads from the index, and once more from a new one if the first was damaged.
    fn read<T>(&self, look: impl Fn(&Index) -> Result<T, Rot>) -> Result<T, ReadError> {
        let attempt = || {
            let state = self.state();
            match &state.broken {
                Some(error) => Err(error.clone()),
                None => Ok(look(&state.index)),
            }
        };
        if let Ok(found) = attempt()? {
            return Ok(found);
        }
        let mut writer = lock(&self.writer);
        // Another reader may have come here first.
        let rot = match attempt()? {
            Ok(found) => return Ok(found),
            Err(rot) => rot,
        };
        self.heal(&mut writer, &rot.to_string())?;
        attempt()?.map_err(corrupt)
    }

    /// Builds a new index from the log in place of one that is damaged. Commits wait, reads go on.
    fn heal(&self, writer: &mut Writer, reason: &str) -> Result<(), ReadError> {
        let corrupt = |what: String| ReadError::Corrupt { place: self.place.indexes.display().to_string(), what };
        if writer.incurable {
            return Err(corrupt(reason.to_owned()));
        }
        tracing::warn!(reason, "the index is damaged; rebuilding it from the log");
        let old = self.renew(writer, reason)?;
        let records = self.state().index.live.records;
        let aside = self.place.discarded_index();
        match disk::move_aside(&old, &aside) {
            Ok(()) => tracing::warn!(records, aside = %aside.display(), "the index is whole again"),
            Err(error) => tracing::warn!(records, %error, "the index is whole again; the old one could not be moved"),
        }
        Ok(())
    }

    /// Builds a new index in place of one of `bytes`, most of which is waste.
    fn shrink(&self, writer: &mut Writer, bytes: u64) -> Result<(), ReadError> {
        let old = self.renew(writer, &format!("the index takes {bytes} bytes"))?;
        fs::remove_dir_all(&old).map_err(|error| ReadError::Storage(OpenError::io(&old)(error).to_string()))?;
        tracing::info!(before = bytes, after = writer.index_bytes, "the index was built anew to make it smaller");
        Ok(())
    }

    /// Puts a new index, made from the log, in the place of the old one; returns where that is.
    fn renew(&self, writer: &mut Writer, reason: &str) -> Result<PathBuf, ReadError> {
        let corrupt = |what: String| ReadError::Corrupt { place: self.place.indexes.display().to_string(), what };
        let generations = disk::numbered(&self.place.indexes, "").map_err(|error| corrupt(error.to_string()))?;
        let generation = generations.last().map_or(1, |(number, _)| number + 1);
        let rebuilt = self.place.rebuild(&self.options, generation, Some(writer.revision));
        let index = match rebuilt {
            Ok(rebuilt) if rebuilt.index.applied == writer.revision => rebuilt.index,
            Ok(rebuilt) => {
                writer.incurable = true;
                return Err(corrupt(format!("{reason}; the log ends at {}", rebuilt.index.applied)));
            }
            Err(error) => {
                writer.incurable = true;
                return Err(corrupt(format!("{reason}; it cannot be rebuilt: {error}")));
            }
        };
        writer.index_bytes = index.disk_bytes();
        Ok(std::mem::replace(&mut self.state_mut().index, index).close())
    }

    /// Makes the index durable, so that the log up to here need not be replayed.
    fn checkpoint(&self) {
        let state = self.state();
        if state.index.checkpoint == Some(state.index.applied) {
            return;
        }
        let (flush, dir) = (state.index.flusher(), state.index.dir.clone());
        drop(state);
        match flush() {
            Ok(revision) => {
                let mut state = self.state_mut();
                if state.index.dir == dir {
                    state.index.checkpoint = Some(revision);
                }
            }
            // The log is the truth, so nothing is lost: the next opening replays more of it.
            Err(rot) => tracing::warn!(%rot, "the index could not be flushed"),
        }
    }

    fn compact(&self) -> Result<(), ReadError> {
        let storage = |error: &dyn ToString| ReadError::Storage(error.to_string());
        let _one_at_a_time = lock(&self.compacting);
        let (first_kept, start) = {
            let mut writer = lock(&self.writer);
            if let Some(reason) = &writer.failed {
                return Err(ReadError::Storage(reason.clone()));
            }
            let revision = writer.revision;
            match writer.log.rotate(revision) {
                Ok(number) => (number, revision),
                Err(AppendError::Full(path)) => return Err(storage(&CommitError::Full(path.display().to_string()))),
                Err(AppendError::Failed(reason)) => {
                    writer.failed = Some(reason.clone());
                    return Err(ReadError::Storage(reason));
                }
            }
        };
        self.snapshot(&self.place.snapshots, start).map_err(|error| storage(&error))?;
        // An opening replays from the checkpoint on, so it must have passed what is about to go.
        self.checkpoint();
        let durable = self.state().index.checkpoint;
        if durable.is_none_or(|durable| durable < start) {
            return Err(ReadError::Storage("the index could not be flushed, so the log is kept".to_owned()));
        }
        lock(&self.writer)
            .log
            .forget_before(first_kept)
            .map_err(|error| storage(&OpenError::io(&self.place.log)(error)))
    }

    /// Writes all records into a snapshot that begins at `start`, while commits go on.
    fn snapshot(&self, dir: &Path, start: Revision) -> Result<u64, OpenError> {
        let mut after: Option<Key> = None;
        snapshot::write(dir, start, || {
            let from = match &after {
                Some(key) => Bound::Excluded(key.encoded()),
                None => Bound::Included(FIRST_TABLE),
            };
            let page = self.read(|index| Ok((index.scan(b"", from, PAGE_RECORDS)?, index.applied)));
            let page =
                page.map_err(|error| OpenError::Index { place: self.place.indexes.clone(), what: error.to_string() })?;
            after = page.0.last().map(|(key, _)| key.clone());
            Ok(page)
        })
    }

    fn export(&self, dir: &Path) -> Result<Exported, OpenError> {
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
                    writer.failed = Some(reason.clone());
                    fail(&self.place.log)(io::Error::other(reason))
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

    fn check(&self) -> Result<Checked, ReadError> {
        const COMPACT: &str = "compact: a snapshot of the index takes its place";
        let storage = |error: OpenError| ReadError::Storage(error.to_string());
        let _no_compaction = lock(&self.compacting);
        let writer = lock(&self.writer);
        let (records, mut problems) = self.state().index.check();
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
        if survey.end < writer.revision {
            let what = format!("it ends at commit {}, the last one is {}", survey.end, writer.revision);
            problems.push(problem(&self.place.log, what));
        }
        Ok(Checked { records, problems })
    }

    /// What goes on in the background until the store is dropped.
    fn maintain(&self, stopped: &mpsc::Receiver<()>) {
        while stopped.recv_timeout(self.options.flush_every) == Err(RecvTimeoutError::Timeout) {
            self.checkpoint();
            let limit = self.options.compact_bytes_min.max(BLOAT_MAX * self.state().index.live.bytes);
            let writer = lock(&self.writer);
            if writer.failed.is_some() || writer.log.bytes() <= limit {
                continue;
            }
            drop(writer);
            if let Err(error) = self.compact() {
                tracing::warn!(%error, "the log could not be compacted");
                continue;
            }
            // sled does not give back all space by itself; a new index does.
            let mut writer = lock(&self.writer);
            let bytes = self.state().index.disk_bytes();
            if bytes > limit
                && bytes > 2 * writer.index_bytes
                && let Err(error) = self.shrink(&mut writer, bytes)
            {
                tracing::warn!(%error, "the index could not be made smaller");
            }
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // Nothing panics between two changes that belong together: sled's panics are caught below.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

const FIRST_TABLE: &[u8] = &[1];

/// Locks without regard to panics elsewhere; `Writer::writing` tells of those that matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn corrupt(rot: Rot) -> ReadError {
    ReadError::Corrupt { place: rot.place, what: rot.what }
}

/// Makes `commits` durable in the log.
fn append(writer: &mut Writer, commits: &[Vec<Change>]) -> Result<(), CommitError> {
    let frame = log::encode(writer.revision.next(), commits);
    let frame = frame.map_err(|error| CommitError::Storage(format!("a commit cannot be written: {error}")))?;
    writer.log.append(&frame, writer.revision).map_err(|error| match error {
        AppendError::Full(path) => CommitError::Full(path.display().to_string()),
        AppendError::Failed(reason) => {
            tracing::error!(reason, "the log cannot be written");
            CommitError::Storage(writer.failed.insert(reason).clone())
        }
    })
}

/// Commits decided but not yet durable, and the state as they leave it.
struct Batch {
    known: BTreeMap<Key, Known>,
    live: Live,
    revision: Revision,
    commits: Vec<Vec<Change>>,
    bytes: usize,
}

struct Known {
    record: Option<Record>,
    changed: bool,
}

impl Batch {
    fn new(revision: Revision, live: Live) -> Self {
        Self { known: BTreeMap::new(), live, revision, commits: Vec::new(), bytes: 0 }
    }

    /// Decides `commit`, all of whose keys are known.
    fn add(&mut self, commit: Commit) -> Answer {
        let bytes = commit.bytes();
        let changes = match resolve(self, commit)? {
            Resolution::Unchanged(answered) => return Ok(answered.unwrap_or(self.revision)),
            Resolution::Changes(changes) => changes,
        };
        self.revision = self.revision.next();
        for change in &changes {
            let after = change.value.clone().map(|value| Record { version: self.revision, value });
            let before = self.known.remove(&change.key).and_then(|known| known.record);
            self.live.change(&change.key, before.as_ref(), after.as_ref());
            self.known.insert(change.key.clone(), Known { record: after, changed: true });
        }
        self.commits.push(changes);
        self.bytes += bytes;
        Ok(self.revision)
    }
}

impl View for Batch {
    fn record(&self, key: &Key) -> Result<Option<Record>, ReadError> {
        Ok(self.known.get(key).and_then(|known| known.record.clone()))
    }
}

/// A new index, and what the log it came from was like.
struct Rebuilt {
    index: Index,
    torn: Option<Torn>,
    /// What is wrong with the log, though nothing is missing.
    fault: Option<String>,
}

impl Place {
    fn discarded_index(&self) -> PathBuf {
        self.dir.join("index.discarded")
    }

    fn index(&self, generation: u64) -> PathBuf {
        self.indexes.join(format!("{generation:08}"))
    }

    /// Looks at every header before anything is repaired: what is unknown must not be taken for damage.
    fn refuse_newer(&self) -> Result<(), OpenError> {
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
    fn open_index(&self, options: &Options, repairs: &mut Vec<Repair>) -> Result<(Index, u64), OpenError> {
        let generations = disk::numbered(&self.indexes, "").map_err(OpenError::io(&self.indexes))?;
        let segments = disk::numbered(&self.log, "log").map_err(OpenError::io(&self.log))?;
        let snapshot = snapshot::newest(&self.snapshots).map_err(OpenError::io(&self.snapshots))?;
        let (generation, reason) = match generations.last() {
            None => (1, (!segments.is_empty() || snapshot.is_some()).then(|| "there was none".to_owned())),
            Some((generation, dir)) => match self.catch_up(dir, options, repairs) {
                Ok(opened) => {
                    for (_, old) in &generations[..generations.len() - 1] {
                        fs::remove_dir_all(old).map_err(OpenError::io(old))?;
                    }
                    return Ok(opened);
                }
                Err(OpenError::Index { what, .. }) => (generation + 1, Some(what)),
                Err(error) => return Err(error),
            },
        };

        let Rebuilt { mut index, torn, fault } = self.rebuild(options, generation, None)?;
        if fault.is_none() {
            self.cut(torn, repairs)?;
        }
        let mut aside = None;
        // The newest last, so that it is the one that is kept.
        for (_, old) in &generations {
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

    /// Opens the index in `dir` and gives it what the log has beyond it. [`OpenError::Index`] when it needs rebuilding.
    fn catch_up(&self, dir: &Path, options: &Options, repairs: &mut Vec<Repair>) -> Result<(Index, u64), OpenError> {
        let mut index = Index::open(dir, options.cache_bytes)?;
        let Some(checkpoint) = index.checkpoint else {
            return Err(OpenError::Index { place: dir.to_owned(), what: "its making was cut short".to_owned() });
        };
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
        log::read(&self.log, from, |frame| replay(&mut index, frame))?;
        let replayed = index.applied.0.saturating_sub(held.0);
        match fault {
            None => self.cut(survey.torn, repairs)?,
            Some(reason) => repairs.push(self.replace_log(&mut index, reason)?),
        }
        index.flush()?;
        Ok((index, replayed))
    }

    /// Puts a snapshot of `index` in the place of a damaged log.
    fn replace_log(&self, index: &mut Index, reason: String) -> Result<Repair, OpenError> {
        // It is about to become the only copy.
        if let Some(problem) = index.check().1.into_iter().next() {
            let what = format!("{reason}; and {}: {}", problem.place, problem.what);
            return Err(OpenError::Damaged { place: self.log.clone(), what });
        }
        index.flush()?;
        let mut after: Option<Key> = None;
        let pages = || {
            let from = after.as_ref().map_or(Bound::Included(FIRST_TABLE), |key| Bound::Excluded(key.encoded()));
            let page = index.scan(b"", from, PAGE_RECORDS)?;
            after = page.last().map(|(key, _)| key.clone());
            Ok((page, index.applied))
        };
        let records = snapshot::write(&self.snapshots, index.applied, pages)?;
        let aside = self.dir.join("log.discarded");
        let aside = match disk::move_aside(&self.log, &aside) {
            Ok(()) => Some(aside),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(OpenError::io(&self.log)(error)),
        };
        Ok(Repair::LogReplaced { reason, records, aside })
    }

    /// Makes an index from snapshot and log, up to `through` if given.
    fn rebuild(&self, options: &Options, generation: u64, through: Option<Revision>) -> Result<Rebuilt, OpenError> {
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
        let mut extent = Extent::default();
        if let Some(path) = snapshot::newest(&self.snapshots).map_err(OpenError::io(&self.snapshots))? {
            let read = snapshot::read(&path, |rows| {
                let changes = rows.into_iter().map(|(key, record)| (key, Some(record))).collect();
                Ok(index.replay(changes, Revision(0))?)
            });
            extent = read?.map_err(|what| OpenError::Damaged { place: path, what })?;
        }
        index.replay(Vec::new(), extent.start)?;
        let survey = log::read(&self.log, extent.start, |frame| match through {
            Some(through) if frame.first > through => Ok(()),
            _ => replay(index, frame),
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

/// Gives the index the commits of `frame`.
fn replay(index: &mut Index, frame: log::Frame) -> Result<(), OpenError> {
    let last = frame.last();
    let mut version = frame.first;
    let mut changes = Vec::new();
    for commit in frame.commits {
        changes.extend(commit.into_iter().map(|change| {
            let record = change.value.map(|value| Record { version, value });
            (change.key, record)
        }));
        version = version.next();
    }
    Ok(index.replay(changes, last)?)
}

impl From<Rot> for OpenError {
    fn from(rot: Rot) -> Self {
        Self::Index { place: PathBuf::from(rot.place), what: rot.what }
    }
}

/// Keeps other processes out of `dir` for as long as the file returned is open.
fn lock_dir(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("LOCK");
    let fail = OpenError::io;
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = options.map_err(fail(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "unknown".to_owned() } else { format!("process {}", holder.trim()) };
            return Err(OpenError::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(fail(&path)(error)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fail(&path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: (Table, &str) = (Table::Units, "u1");

    fn spoilt() -> (tempfile::TempDir, SledStore) {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = SledStore::open(dir.path(), Options::default()).unwrap();
        store.commit(Commit::new().put(UNIT, "right").add((Table::Meta, "n"), 1)).unwrap();
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
}
