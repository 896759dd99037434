//! Random harm to the files of a store, in rounds that a seed repeats.
//!
//! Promised after each: it opens; it never has a wrong value; it is at the last acknowledged commit; what it says it
//! repaired is so; a second opening has nothing left to repair; and what is committed then outlives the index.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report, in its helpers too")]

mod rounds;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manyhands_state::conformance::everything;
use manyhands_state::{Commit, Record, Revision, StateStore, Table};
use manyhands_store::{OpenError, Opened, Options, Repair, SledStore};
use rounds::Dice;
use tempfile::TempDir;

type Rows = Vec<(Table, Vec<u8>, Record)>;

const COMMITS: u32 = 40;

/// Small segments, so that there are several; never flushed but on purpose.
fn options() -> Options {
    Options { segment_bytes: 4096, flush_every: Duration::from_secs(3600), ..Options::default() }
}

/// A store with a past.
struct Lived {
    dir: TempDir,
    /// What it held at each revision.
    states: Vec<Rows>,
    /// A copy of its directory at some revisions, closed.
    earlier: Vec<(usize, TempDir)>,
}

impl Lived {
    fn new(compacted_at: Option<u32>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = SledStore::open(dir.path(), options()).unwrap();
        let (mut states, mut earlier) = (vec![Vec::new()], Vec::new());
        for n in 0..COMMITS {
            if Some(n) == compacted_at {
                store.compact().unwrap();
            }
            let commit = Commit::new().put((Table::Units, n.to_be_bytes()), vec![n as u8; 300]);
            let commit = commit.add((Table::Meta, "n"), 1);
            let commit = if n % 5 == 4 { commit.delete((Table::Units, (n - 2).to_be_bytes())) } else { commit };
            store.commit(commit).unwrap();
            states.push(everything(&store));
            if n % 4 == 1 {
                drop(store);
                earlier.push((states.len() - 1, copy_of(dir.path())));
                store = SledStore::open(dir.path(), options()).unwrap().0;
            }
        }
        drop(store);
        Self { dir, states, earlier }
    }

    /// One that was compacted on the way, and one that was not.
    fn both() -> [Self; 2] {
        [Self::new(None), Self::new(Some(25))]
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

fn copy_of(dir: &Path) -> TempDir {
    let copied = tempfile::tempdir().unwrap();
    copy(dir, copied.path());
    copied
}

/// The files that matter, relative to the directory.
fn names(dir: &Path) -> Vec<PathBuf> {
    let names = files_below(dir).into_iter().map(|file| file.strip_prefix(dir).unwrap().to_owned());
    names.filter(|file| !file.ends_with("LOCK")).collect()
}

fn garbage(dice: &mut Dice, count: usize) -> Vec<u8> {
    (0..count).map(|_| dice.below(256) as u8).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    files_below(&dir.join("log"))
}

/// Log and snapshots, byte for byte.
fn truth(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = ["log", "snapshot"].map(|folder| files_below(&dir.join(folder))).concat();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Opens what was harmed and holds it to everything that is promised, from revision `at_least` on.
fn hold(lived: &Lived, dir: &Path, at_least: usize, harm: &str) -> Opened {
    hold_or_refuse(lived, dir, at_least, false, harm).unwrap()
}

fn hold_or_refuse(lived: &Lived, dir: &Path, at_least: usize, may_refuse: bool, harm: &str) -> Option<Opened> {
    let (before, had_index) = (truth(dir), dir.join("index").read_dir().is_ok_and(|mut some| some.next().is_some()));
    let (store, opened) = match SledStore::open(dir, options()) {
        Ok(opened) => opened,
        Err(OpenError::Damaged { place, what }) if may_refuse => {
            let error = OpenError::Damaged { place: place.clone(), what }.to_string();
            assert!(place.starts_with(dir) && error.contains("backup"), "{harm}: {error}");
            let indexes = files_below(&dir.join("index")).len();
            let again = SledStore::open(dir, options()).err().unwrap();
            assert!(matches!(again, OpenError::Damaged { .. }), "{harm}: {again}");
            assert_eq!(truth(dir), before, "{harm}: refused, but not left alone");
            assert_eq!(files_below(&dir.join("index")).len(), indexes, "{harm}: a refusal leaves something each time");
            return None;
        }
        Err(error) => panic!("{harm}: {error}"),
    };
    let revision = opened.revision.0 as usize;
    assert!((at_least..=lived.last()).contains(&revision), "{harm}: opened at {revision}: {opened:?}");
    let rows = &lived.states[revision];
    let right = |store: &SledStore, when: &str| {
        assert_eq!(&everything(store), rows, "{harm}, {when}: {opened:?}");
        assert_eq!(store.revision(), opened.revision, "{harm}, {when}");
    };
    right(&store, "opened");
    for repair in &opened.repairs {
        let so = match repair {
            Repair::TornTail { file, offset, bytes, .. } => {
                let now = fs::metadata(file).map_or(0, |meta| meta.len());
                before[file].len() as u64 == offset + bytes && (*offset == 0 || *bytes > 0 && now == *offset)
            }
            Repair::IndexRebuilt { records, aside, .. } => {
                *records == rows.len() as u64
                    && aside.is_some() == had_index
                    && aside.iter().all(|aside| aside.is_dir())
            }
            Repair::LogReplaced { records, aside, .. } => {
                *records == rows.len() as u64 && aside.iter().all(|aside| aside.is_dir())
            }
        };
        assert!(so, "{harm}: reported, but not so: {repair}");
    }
    drop(store);

    let (store, again) = SledStore::open(dir, options()).unwrap();
    assert_eq!(again.repairs, [], "{harm}: to be repaired twice, first {opened:?}");
    right(&store, "opened again");
    // Damage to what nothing needed yet is for a check to find, and for a compaction to cure.
    if !store.check().unwrap().problems.is_empty() {
        store.compact().unwrap();
        assert_eq!(store.check().unwrap().problems, [], "{harm}");
    }
    let next = Revision(revision as u64 + 1);
    assert_eq!(store.commit(Commit::new().put((Table::Meta, "after"), "it")), Ok(next), "{harm}");
    let after = everything(&store);
    drop(store);
    fs::remove_dir_all(dir.join("index")).unwrap();
    let (store, _) = SledStore::open(dir, options()).unwrap_or_else(|error| panic!("{harm}, index lost: {error}"));
    assert_eq!((store.revision(), everything(&store)), (next, after), "{harm}, index lost");
    Some(opened)
}

#[test]
fn flipped_bits() {
    let stores = Lived::both();
    rounds::play("flipped bits", "damage", "flipped_bits", 60, |dice| {
        let lived = &stores[dice.below(2)];
        let dir = copy_of(lived.path());
        let names = names(dir.path());
        let full = names.iter().filter(|name| fs::metadata(dir.path().join(name)).unwrap().len() > 0);
        let full: Vec<_> = full.collect();
        let name = full[dice.below(full.len())];
        let mut bytes = fs::read(dir.path().join(name)).unwrap();
        // Where there is something: empty space is dead, and most of the index is empty space.
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let at = used[dice.below(used.len())];
        bytes[at] ^= 1 << dice.below(8);
        fs::write(dir.path().join(name), bytes).unwrap();
        hold(lived, dir.path(), lived.last(), &format!("a bit of byte {at} in {}", name.display()));
        1
    });
}

#[test]
fn torn_tails() {
    let stores = Lived::both();
    rounds::play("torn tails", "damage", "torn_tails", 50, |dice| {
        let lived = &stores[dice.below(2)];
        let dir = copy_of(lived.path());
        let newest = segments(dir.path()).pop().unwrap();
        let bytes = fs::read(&newest).unwrap();
        match dice.below(6) {
            // What the log lost, the index has.
            0 => {
                let length = dice.below(bytes.len());
                fs::write(&newest, &bytes[..length]).unwrap();
                hold(lived, dir.path(), lived.last(), &format!("the log cut to {length} bytes"));
            }
            // An unfinished write after everything acknowledged.
            1 => {
                let length = 1 + dice.below(600);
                let tail = match dice.below(3) {
                    0 => garbage(dice, length),
                    1 => vec![0; length],
                    _ => {
                        let frame = &bytes[20..];
                        let mut tail = frame[..length.min(300)].to_vec();
                        tail.resize(length, 0);
                        tail
                    }
                };
                let length = tail.len() as u64;
                fs::write(&newest, [bytes, tail].concat()).unwrap();
                if dice.below(2) == 0 {
                    fs::remove_dir_all(dir.path().join("index")).unwrap();
                }
                let opened = hold(lived, dir.path(), lived.last(), &format!("{length} bytes of a tail"));
                let torn = |repair: &Repair| matches!(repair, Repair::TornTail { bytes, .. } if *bytes == length);
                assert!(opened.repairs.iter().any(torn), "a tail of {length} bytes: {opened:?}");
            }
            // The same with the last write itself, where the index knows nothing of it.
            2 => {
                fs::remove_dir_all(dir.path().join("index")).unwrap();
                let length = 20 + dice.below(bytes.len() - 20);
                let filled = if dice.below(2) == 0 { length } else { bytes.len() };
                let mut cut = bytes[..length].to_vec();
                cut.resize(filled, 0);
                fs::write(&newest, cut).unwrap();
                hold(lived, dir.path(), 25, &format!("the log cut to {length} bytes, {filled} with zeros, no index"));
            }
            // A segment that was just begun.
            3 => {
                let header = match dice.below(3) {
                    0 => bytes[..dice.below(20)].to_vec(),
                    1 => vec![0; dice.below(21)],
                    _ => {
                        let count = dice.below(21);
                        garbage(dice, count)
                    }
                };
                let number: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                fs::write(newest.with_file_name(format!("{:08}.log", number + 1)), &header).unwrap();
                if dice.below(2) == 0 {
                    fs::remove_dir_all(dir.path().join("index")).unwrap();
                }
                hold(lived, dir.path(), lived.last(), &format!("a segment of {header:?}"));
            }
            // A header that reads otherwise, of any segment, with the index or without.
            4 => {
                let all = segments(dir.path());
                let segment = &all[dice.below(all.len())];
                let mut bytes = fs::read(segment).unwrap();
                let at = dice.below(20);
                let end = at + 1 + dice.below(20 - at);
                let garbage = if dice.below(2) == 0 { vec![0; end - at] } else { garbage(dice, end - at) };
                bytes[at..end].copy_from_slice(&garbage);
                fs::write(segment, bytes).unwrap();
                let index = dice.below(2) == 0;
                if !index {
                    fs::remove_dir_all(dir.path().join("index")).unwrap();
                }
                let harm = format!("{garbage:?} at {at} in {}, index {index}", segment.display());
                hold(lived, dir.path(), lived.last(), &harm);
            }
            // A snapshot that was being written.
            _ => {
                let snapshots = files_below(&stores[1].path().join("snapshot"));
                let whole = fs::read(&snapshots[0]).unwrap();
                fs::create_dir_all(dir.path().join("snapshot")).unwrap();
                let length = dice.below(whole.len() + 1);
                fs::write(dir.path().join(format!("snapshot/{:020}.partial", 40)), &whole[..length]).unwrap();
                let opened = hold(lived, dir.path(), lived.last(), &format!("{length} bytes of a snapshot"));
                assert_eq!(opened.repairs, [], "what was never finished is nobody's loss");
            }
        }
        1
    });
}

#[test]
fn missing_files() {
    let stores = Lived::both();
    rounds::play("missing files", "damage", "missing_files", 50, |dice| {
        let lived = &stores[dice.below(2)];
        let dir = copy_of(lived.path());
        let mut names = names(dir.path());
        names.push("LOCK".into());
        let newest = segments(dir.path()).pop().unwrap();
        let count = 1 + dice.below(2);
        let gone: Vec<PathBuf> = (0..count).map(|_| names.swap_remove(dice.below(names.len()))).collect();
        for name in &gone {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        let any = |folder: &str| gone.iter().any(|name| name.starts_with(folder));
        let harm = format!("without {gone:?}");
        let both_copies = any("index") && (any("log") || any("snapshot"));
        // Without its newest segment and without an index a directory looks like one from the past.
        let past = both_copies && !newest.exists();
        hold_or_refuse(lived, dir.path(), if past { 25 } else { lived.last() }, both_copies, &harm);
        count as u64
    });
}

#[test]
fn copies_from_the_past() {
    let stores = Lived::both();
    rounds::play("copies from the past", "damage", "copies_from_the_past", 40, |dice| {
        let lived = &stores[dice.below(2)];
        let (revision, earlier) = &lived.earlier[dice.below(lived.earlier.len())];
        let dir = tempfile::tempdir().unwrap();
        let take = |from: &Path, folders: &[&str]| {
            folders.iter().for_each(|folder| copy(&from.join(folder), &dir.path().join(folder)));
        };
        match dice.below(3) {
            0 => {
                copy(earlier.path(), dir.path());
                let opened = hold(lived, dir.path(), *revision, &format!("all of revision {revision}"));
                assert_eq!((opened.revision.0 as usize, opened.repairs), (*revision, Vec::new()));
            }
            1 => {
                take(lived.path(), &["log", "snapshot"]);
                take(earlier.path(), &["index"]);
                hold(lived, dir.path(), lived.last(), &format!("the index of revision {revision}"));
            }
            _ => {
                take(earlier.path(), &["log", "snapshot"]);
                take(lived.path(), &["index"]);
                let opened = hold(lived, dir.path(), lived.last(), &format!("the log of revision {revision}"));
                assert!(matches!(opened.repairs[..], [Repair::LogReplaced { .. }]), "{opened:?}");
            }
        }
        1
    });
}
