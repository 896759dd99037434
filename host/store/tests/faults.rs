//! What a disk, an operator or a power cut may do to a store, and what it makes of that.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, in its helpers too")]

mod rounds;

use std::fs;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use manyhands_state::conformance::everything;
use manyhands_state::{Commit, CommitError, Record, Revision, StateStore, Table};
use manyhands_store::{LogFile, OpenError, Opened, Options, Repair, SledStore};
use tempfile::TempDir;

type Rows = Vec<(Table, Vec<u8>, Record)>;

/// Small segments, so that there are several.
fn options() -> Options {
    Options { segment_bytes: 4096, ..Options::default() }
}

fn open(dir: &Path) -> (SledStore, Opened) {
    SledStore::open(dir, options()).unwrap()
}

/// A store with a past: forty commits over several segments, deletions among them.
fn lived_in() -> (TempDir, Rows) {
    lived_in_and_compacted_at(None)
}

fn lived_in_and_compacted_at(compacted_at: Option<u32>) -> (TempDir, Rows) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for n in 0..40_u32 {
        if Some(n) == compacted_at {
            store.compact().unwrap();
        }
        let commit = Commit::new().put((Table::Units, n.to_be_bytes()), vec![n as u8; 300]).add((Table::Meta, "n"), 1);
        let commit = if n % 5 == 4 { commit.delete((Table::Units, (n - 2).to_be_bytes())) } else { commit };
        store.commit(commit).unwrap();
    }
    let rows = everything(&store);
    drop(store);
    (dir, rows)
}

fn newest_segment(dir: &Path) -> PathBuf {
    let segments = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    segments.max().unwrap()
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// Copies `from`, lets `harm` loose on the copy, and opens it.
fn after(from: &Path, harm: impl FnOnce(&Path)) -> (TempDir, SledStore, Opened) {
    let dir = tempfile::tempdir().unwrap();
    copy(from, dir.path());
    harm(dir.path());
    let (store, opened) = open(dir.path());
    (dir, store, opened)
}

fn assert_whole(store: &SledStore, rows: &Rows, what: &str) {
    assert_eq!(&everything(store), rows, "{what}");
    assert_eq!(store.revision(), Revision(40), "{what}");
    assert_eq!(store.check().unwrap().problems, [], "{what}");
    assert_eq!(store.commit(Commit::new().add((Table::Meta, "n"), 1)), Ok(Revision(41)), "{what}");
}

#[test]
fn a_second_opener_is_told_who_has_the_directory() {
    let (dir, _) = lived_in();
    let (store, _) = open(dir.path());
    let error = SledStore::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&dir.path().display().to_string()), "{message}");
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    drop(store);
    open(dir.path());
}

#[test]
fn an_unfinished_commit_at_the_end_of_the_log_is_cut_off_and_reported() {
    let (lived, rows) = lived_in();
    let segment = fs::read(newest_segment(lived.path())).unwrap();
    let frame = segment[20..].to_vec();
    // The beginning of a frame, a frame of which the rest is zeros, and plain zeros.
    let mut hollow = frame.clone();
    hollow[60..].fill(0);
    let tails = [frame[..7].to_vec(), frame[..25].to_vec(), hollow, vec![0; 4096]];
    for tail in tails {
        let length = tail.len();
        let (_dir, store, opened) = after(lived.path(), |dir| {
            let bytes = [segment.clone(), tail].concat();
            fs::write(newest_segment(dir), bytes).unwrap();
        });
        assert!(matches!(opened.repairs[..], [Repair::TornTail { bytes, .. }] if bytes == length as u64), "{opened:?}");
        assert_whole(&store, &rows, "torn tail");
    }
}

/// A crash and a flipped bit in the last commit look alike; the report says that it may have been either.
#[test]
fn a_last_commit_of_full_length_and_a_wrong_checksum_is_reported_as_what_it_may_be() {
    let (lived, _) = lived_in();
    let (_dir, _store, opened) = after(lived.path(), |dir| {
        fs::remove_dir_all(dir.join("index")).unwrap();
        let segment = newest_segment(dir);
        let mut bytes = fs::read(&segment).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(segment, bytes).unwrap();
    });
    assert!(opened.repairs.iter().any(|repair| matches!(repair, Repair::TornTail { whole: true, .. })), "{opened:?}");
    assert!(opened.repairs.iter().any(|repair| repair.to_string().contains("acknowledged")), "{opened:?}");
}

#[test]
fn a_crash_before_the_first_flush_costs_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let never = Options { flush_every: Duration::from_secs(3600), ..options() };
    let (store, _) = SledStore::open(dir.path(), never).unwrap();
    for n in 0..40_u32 {
        store.commit(Commit::new().put((Table::Runs, n.to_be_bytes()), "x")).unwrap();
    }
    copy(dir.path(), crashed.path());
    let (recovered, opened) = open(crashed.path());
    assert_eq!(everything(&recovered), everything(&store));
    assert_eq!((opened.revision, opened.repairs), (Revision(40), Vec::new()));
    // sled writes some of it out unasked; never the last commit.
    assert!((1..=40).contains(&opened.replayed), "{}", opened.replayed);
}

#[test]
fn whatever_is_missing_is_made_again_from_what_is_there() {
    let (lived, rows) = lived_in();
    let (dir, store, opened) = after(lived.path(), |dir| fs::remove_dir_all(dir.join("index")).unwrap());
    assert!(matches!(opened.repairs[..], [Repair::IndexRebuilt { aside: None, .. }]), "{opened:?}");
    assert_whole(&store, &rows, "no index");
    drop((store, dir));

    let (dir, store, opened) = after(lived.path(), |dir| fs::remove_dir_all(dir.join("log")).unwrap());
    assert!(matches!(opened.repairs[..], [Repair::LogReplaced { .. }]), "{opened:?}");
    assert_whole(&store, &rows, "no log");
    drop(store);
    let (_, opened) = open(dir.path());
    assert_eq!(opened.repairs, [], "repaired once and for all");

    let (_dir, store, opened) = after(lived.path(), |dir| fs::remove_file(newest_segment(dir)).unwrap());
    assert!(matches!(opened.repairs[..], [Repair::LogReplaced { .. }]), "{opened:?}");
    assert_whole(&store, &rows, "no newest segment");
}

#[test]
fn a_snapshot_and_the_log_after_it_are_enough() {
    let (dir, _) = lived_in();
    let (store, _) = open(dir.path());
    store.compact().unwrap();
    store.commit(Commit::new().put((Table::Runs, "r"), "late").delete((Table::Units, 0_u32.to_be_bytes()))).unwrap();
    let rows = everything(&store);
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!(everything(&store), rows);
    assert_eq!(store.revision(), Revision(41));
    assert!(matches!(opened.repairs[..], [Repair::IndexRebuilt { .. }]), "{opened:?}");
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_left_alone() {
    for (folder, magic) in [("log", b"MHlog\0\0\x02"), ("snapshot", b"MHsnp\0\0\x02")] {
        let (lived, rows) = lived_in_and_compacted_at(Some(25));
        let path = files_below(&lived.path().join(folder)).pop().unwrap();
        let known = fs::read(&path).unwrap();
        let mut bytes = known.clone();
        bytes[..8].copy_from_slice(magic);
        let crc = crc32c::crc32c(&bytes[..16]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let before = files_below(lived.path());
        let error = SledStore::open(lived.path(), options()).err().unwrap();
        assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&path.display().to_string()) && message.contains("upgrade"), "{message}");
        assert_eq!((files_below(lived.path()), fs::read(&path).unwrap()), (before, bytes));
        fs::write(&path, known).unwrap();
        let (store, opened) = open(lived.path());
        assert_eq!(opened.repairs, []);
        assert_whole(&store, &rows, "the newer version is back");
    }
}

/// A commit into a segment that only the index makes readable would be lost with it.
#[test]
fn nothing_is_acknowledged_into_a_segment_whose_header_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.commit(Commit::new().put((Table::Runs, "r"), "early")).unwrap();
    drop(store);
    let segment = newest_segment(dir.path());
    let mut bytes = fs::read(&segment).unwrap();
    bytes[3] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, opened) = open(dir.path());
    let repairs = &opened.repairs[..];
    assert!(matches!(repairs, [Repair::IndexRebuilt { .. }, Repair::LogReplaced { aside: Some(_), .. }]), "{opened:?}");
    store.commit(Commit::new().put((Table::Runs, "r"), "late")).unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _) = open(dir.path());
    assert_eq!(store.get(Table::Runs, b"r").unwrap().unwrap().value, b"late");
}

/// Both copies gone in the same place: that, and only that, is refused, with file and cure.
#[test]
fn what_no_copy_has_is_never_made_up() {
    let (lived, _) = lived_in();
    fs::remove_dir_all(lived.path().join("index")).unwrap();
    let first = lived.path().join("log/00000001.log");
    let mut bytes = fs::read(&first).unwrap();
    bytes[100] ^= 1;
    fs::write(&first, bytes).unwrap();
    for _ in 0..2 {
        let error = SledStore::open(lived.path(), options()).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("00000001.log") && message.contains("backup"), "{message}");
    }
}

/// A disk that misbehaves on command.
struct Fickle {
    file: File,
    mood: Arc<AtomicU8>,
}

const WELL: u8 = 0;
const FULL: u8 = 1;
const SYNC_FAILS: u8 = 2;

impl LogFile for Fickle {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.mood.load(Ordering::SeqCst) == FULL {
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.mood.load(Ordering::SeqCst) == SYNC_FAILS {
            return Err(io::Error::other("the disk does not answer"));
        }
        self.file.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

fn fickle(dir: &Path) -> (SledStore, Arc<AtomicU8>) {
    let mood = Arc::new(AtomicU8::new(WELL));
    let shared = Arc::clone(&mood);
    let log_file = move |file| Box::new(Fickle { file, mood: Arc::clone(&shared) }) as Box<dyn LogFile>;
    let (store, _) = SledStore::open(dir, Options { log_file: Arc::new(log_file), ..Options::default() }).unwrap();
    (store, mood)
}

#[test]
fn a_full_disk_refuses_commits_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mood) = fickle(dir.path());
    let count = || Commit::new().add((Table::Meta, "n"), 1);
    assert_eq!(store.commit(count()), Ok(Revision(1)));
    mood.store(FULL, Ordering::SeqCst);
    assert!(matches!(store.commit(count()), Err(CommitError::Full(_))));
    assert_eq!(store.get(Table::Meta, b"n").unwrap().unwrap().counter(), Some(1));
    mood.store(WELL, Ordering::SeqCst);
    assert_eq!(store.commit(count()), Ok(Revision(2)));
    drop(store);
    let (store, opened) = open(dir.path());
    assert_eq!(opened.repairs, []);
    assert_eq!(store.get(Table::Meta, b"n").unwrap().unwrap().counter(), Some(2));
}

#[test]
fn after_a_failed_fsync_nothing_is_acknowledged_until_the_store_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mood) = fickle(dir.path());
    let count = |request: &str| Commit::new().add((Table::Meta, "n"), 1).idempotency(request);
    assert_eq!(store.commit(count("a")), Ok(Revision(1)));
    mood.store(SYNC_FAILS, Ordering::SeqCst);
    let Err(CommitError::Storage(message)) = store.commit(count("b")) else { panic!("acknowledged") };
    assert!(message.contains("00000001.log") && message.contains("restart"), "{message}");
    mood.store(WELL, Ordering::SeqCst);
    assert!(matches!(store.commit(count("c")), Err(CommitError::Storage(_))), "a second fsync proves nothing");
    assert_eq!(
        store.get(Table::Meta, b"n").unwrap().unwrap().counter(),
        Some(1),
        "what was not acknowledged is not read"
    );
    drop(store);
    let (store, _) = open(dir.path());
    // Whether `b` happened was open; asking again settles it without counting twice.
    store.commit(count("b")).unwrap();
    assert_eq!(store.get(Table::Meta, b"n").unwrap().unwrap().counter(), Some(2));
}

/// Both in turn, at moments that the seed draws, each followed by the cure that the store names.
#[test]
fn failing_disks() {
    rounds::play("failing disks", "faults", "failing_disks", 30, |dice| {
        let dir = tempfile::tempdir().unwrap();
        let (mut acknowledged, mut open_questions, mut faults) = (0, 0, 0);
        for _ in 0..2 {
            let (store, mood) = fickle(dir.path());
            let count = || store.commit(Commit::new().add((Table::Meta, "n"), 1));
            let found = || store.get(Table::Meta, b"n").unwrap().and_then(|record| record.counter()).unwrap_or(0);
            assert!((acknowledged..=acknowledged + open_questions).contains(&found()), "{acknowledged}, {}", found());
            acknowledged = found();
            for _ in 0..dice.below(20) {
                if dice.below(3) == 0 {
                    mood.store(FULL, Ordering::SeqCst);
                    assert!(matches!(count(), Err(CommitError::Full(_))));
                    mood.store(WELL, Ordering::SeqCst);
                    faults += 1;
                }
                count().unwrap();
                acknowledged += 1;
                assert_eq!(found(), acknowledged);
            }
            mood.store(SYNC_FAILS, Ordering::SeqCst);
            assert!(matches!(count(), Err(CommitError::Storage(_))));
            mood.store(WELL, Ordering::SeqCst);
            assert!(matches!(count(), Err(CommitError::Storage(_))), "a second fsync proves nothing");
            assert_eq!(found(), acknowledged, "what was not acknowledged is not read");
            open_questions = 1;
            faults += 1;
        }
        let (store, opened) = open(dir.path());
        assert_eq!(opened.repairs, []);
        let found = store.get(Table::Meta, b"n").unwrap().and_then(|record| record.counter()).unwrap_or(0);
        assert!((acknowledged..=acknowledged + 1).contains(&found), "{acknowledged} acknowledged, {found} found");
        assert_eq!(store.check().unwrap().problems, []);
        faults
    });
}
