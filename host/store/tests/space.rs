//! A week of churn in a minute: what is on the disk stays a bounded multiple of what is alive.

mod rounds;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use manyhands_state::{Commit, StateStore, Table};
use manyhands_store::{Options, SledStore};

const HOURS: u32 = 7 * 24;
/// Units that live as long as the store.
const STANDING: usize = 10_000;
/// Units of a run, all removed with it.
const UNITS: u32 = 100;
/// Runs that are kept, the oldest making room for the next.
const RUNS: u32 = 24;
/// The most on the disk at the end, as a multiple of the live data: a log of 0.4, a snapshot, and an index of 1.2 to 2.5.
const BOUND: f64 = 4.0;
/// For the work in the background to catch up, which rests between two times that it makes the index anew.
const PATIENCE: Duration = Duration::from_secs(60);

fn unit(run: u32, unit: u32) -> (Table, Vec<u8>) {
    (Table::Units, [b"r".as_slice(), &run.to_be_bytes(), &unit.to_be_bytes()].concat())
}

#[test]
fn weeks_of_churn() {
    let options = Options {
        segment_bytes: 512 * 1024,
        compact_bytes_min: 1024 * 1024,
        flush_every: Duration::from_millis(5),
        ..Options::default()
    };
    rounds::play("weeks of churn", "space", "weeks_of_churn", 1, |dice| {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = SledStore::open(dir.path(), options.clone()).unwrap();
        let all = |commits: Vec<Commit>| assert!(store.commit_all(commits).iter().all(Result::is_ok));
        let standing = |number: usize, byte: usize| {
            Commit::new().put((Table::Units, (number as u64).to_be_bytes()), vec![byte as u8; 1000])
        };
        all((0..STANDING).map(|number| standing(number, number)).collect());
        let ratio = || {
            let space = store.space().unwrap();
            space.disk_bytes as f64 / space.live_bytes as f64
        };
        let mut highest = 0_f64;
        for hour in 0..HOURS {
            all((0..1000).map(|_| standing(dice.below(STANDING), dice.below(256))).collect());
            all((0..UNITS)
                .map(|number| Commit::new().put(unit(hour, number), vec![1; 500 + dice.below(2000)]))
                .collect());
            if let Some(old) = hour.checked_sub(RUNS) {
                all((0..UNITS).map(|number| Commit::new().delete(unit(old, number))).collect());
            }
            highest = highest.max(ratio());
        }
        let began = Instant::now();
        while ratio() > BOUND && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let space = store.space().unwrap();
        eprintln!("weeks of churn: {:.2} times the live data, {highest:.2} on the way ({space:?})", ratio());
        let part = |name: &str| (name.to_owned(), bytes_below(&dir.path().join(name)));
        let parts = ["index", "index.discarded", "log", "snapshot"].map(part);
        assert!(ratio() <= BOUND, "{space:?}, {parts:?}");
        assert_eq!(store.check().unwrap().problems, []);
        0
    });
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}
