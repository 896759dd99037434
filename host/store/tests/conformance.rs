//! The embedded engine does what every engine must, and is right under contention.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, in its helpers too")]

use std::path::Path;
use std::time::Duration;

use manyhands_state::conformance::{self, Subject};
use manyhands_state::{Commit, Revision, StateStore, Table};
use manyhands_store::{Options, SledStore};
use tempfile::TempDir;

struct OnDisk {
    dir: TempDir,
    store: Option<SledStore>,
    options: Options,
}

impl OnDisk {
    fn new(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(open(dir.path(), &options));
        Self { dir, store, options }
    }
}

impl Subject for OnDisk {
    fn store(&self) -> &dyn StateStore {
        self.store.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.store = None;
        self.store = Some(open(self.dir.path(), &self.options));
    }
}

fn open(dir: &Path, options: &Options) -> SledStore {
    let (store, opened) = SledStore::open(dir, options.clone()).unwrap();
    assert_eq!(opened.repairs, [], "nothing was damaged");
    store
}

#[test]
fn the_embedded_engine_conforms() {
    conformance::run(|| OnDisk::new(Options::default()), 6);
}

/// The same, with every chore of a long life squeezed into a short one.
#[test]
fn it_conforms_while_it_flushes_rotates_and_compacts_all_the_time() {
    let hurried = Options {
        segment_bytes: 2048,
        compact_bytes_min: 4096,
        flush_every: Duration::from_millis(2),
        ..Options::default()
    };
    conformance::run(|| OnDisk::new(hurried.clone()), 6);
}

#[test]
fn many_writers_share_one_store_and_nothing_is_lost_or_doubled() {
    let subject = OnDisk::new(Options::default());
    let store = subject.store();
    let winners: Vec<usize> = std::thread::scope(|scope| {
        let writer = |number: u8| {
            move || {
                let take = |round: u8| {
                    let unit = (Table::Units, [round]);
                    Commit::new().expect_absent(unit).put(unit, [number]).add((Table::Meta, "taken"), 1)
                };
                (0..50).filter(|round| store.commit(take(*round)).is_ok()).count()
            }
        };
        let writers: Vec<_> = (0..8).map(|number| scope.spawn(writer(number))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(winners.iter().sum::<usize>(), 50, "each unit was taken once");
    assert_eq!(store.get(Table::Meta, b"taken").unwrap().unwrap().counter(), Some(50));
    assert_eq!(store.revision(), Revision(50));
}

#[test]
fn churn_leaves_no_more_than_a_bounded_multiple_of_what_is_alive() {
    let options = Options {
        segment_bytes: 64 * 1024,
        compact_bytes_min: 256 * 1024,
        flush_every: Duration::from_millis(5),
        ..Options::default()
    };
    let mut subject = OnDisk::new(options);
    for round in 0..200_u32 {
        let commits = (0..50_u32)
            .map(|key| Commit::new().put((Table::Units, key.to_be_bytes()), [round.to_be_bytes(); 100].concat()));
        assert!(subject.store().commit_all(commits.collect()).iter().all(Result::is_ok));
    }
    subject.store.as_ref().unwrap().compact().unwrap();
    let log: u64 =
        std::fs::read_dir(subject.dir.path().join("log")).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(log < 4096, "4 MB were written, {log} bytes of log are left");
    subject.restart();
    assert_eq!(subject.store().check().unwrap().problems, []);
    assert_eq!(subject.store().revision(), Revision(10_000));
    assert_eq!(subject.store().space().unwrap().records, 50);
}
