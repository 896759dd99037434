//! How long a store needs to be back, for each GiB in it: after a crash, without its index, without its log.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use manyhands_state::{Commit, StateStore as _, Table};
use manyhands_store::{Options, SledStore};

use crate::report::Report;

const RECORDS: u64 = 500_000;
/// About what a unit takes with its reports.
const RECORD_BYTES: usize = 1000;
const COMMITS_AT_ONCE: usize = 1000;
const AFTER_KILL: &str = "after kill -9";
const GIB: f64 = (1_u64 << 30) as f64;

/// The word that makes this program one that fills a store and waits to be killed.
pub(crate) const VICTIM: &str = "fill-a-store-until-killed";

/// Fills the store in `dir`, says so on standard output, and waits.
pub(crate) fn fill(dir: &Path) {
    let (store, _) = SledStore::open(dir, Options::default()).expect("a new store");
    let began = Instant::now();
    let numbers: Vec<u64> = (0..RECORDS).collect();
    for some in numbers.chunks(COMMITS_AT_ONCE) {
        let put =
            |number: &u64| Commit::new().put((Table::Units, number.to_be_bytes()), vec![*number as u8; RECORD_BYTES]);
        let answers = store.commit_all(some.iter().map(put).collect());
        assert!(answers.iter().all(Result::is_ok), "every commit is acknowledged");
    }
    println!("{}", RECORDS as f64 / began.elapsed().as_secs_f64());
    std::io::stdin().read_line(&mut String::new()).expect("killed before");
}

pub(crate) fn run(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let home = dir.path().join("store");
    report.say(&format!("{RECORDS} records of {RECORD_BYTES} bytes are written"));
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args([OsStr::new(VICTIM), home.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut rate = String::new();
    BufReader::new(victim.stdout.take().expect("piped")).read_line(&mut rate).expect("it is full");
    victim.kill().expect("it still runs");
    victim.wait().expect("it is gone");
    report.add("commits per second, a thousand at once", rate.trim().parse().expect("a number"), "1/s");
    let crashed = copy(&home, &dir.path().join("crashed"));
    let (store, _) = SledStore::open(&home, Options::default()).expect("it always opens");
    let space = store.space().expect("its size is known");
    drop(store);

    let gib = space.live_bytes as f64 / GIB;
    let reading = Instant::now();
    let checksum = files(&home.join("log"))
        .chain(files(&home.join("snapshot")))
        .fold(0, |sum, file| sum ^ crc32c::crc32c(&fs::read(file).expect("it can be read")));
    assert_ne!(checksum, 0, "something was read");
    let reading = reading.elapsed().as_secs_f64() / gib;
    let no_index = copy(&home, &dir.path().join("no-index"));
    fs::remove_dir_all(no_index.join("index")).expect("it was there");
    let no_log = copy(&home, &dir.path().join("no-log"));
    fs::remove_dir_all(no_log.join("log")).expect("it was there");
    for (what, home) in [(AFTER_KILL, crashed), ("index lost", no_index), ("log lost", no_log)] {
        let began = Instant::now();
        let (store, opened) = SledStore::open(&home, Options::default()).expect("it always opens");
        let took = began.elapsed().as_secs_f64();
        assert_eq!(store.space().expect("its size is known").records, RECORDS, "{what}: {opened:?}");
        report.compare(&format!("{what}, to reading it once"), took / gib, "s/GiB", reading);
        if what == AFTER_KILL {
            report.add("of the commits, new to the index then", opened.replayed as f64 / RECORDS as f64, "share");
        }
    }
    report.add("on the disk, of what lives", space.disk_bytes as f64 / space.live_bytes as f64, "times");
}

fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.expect("it can be listed").path())
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).expect("a new folder");
    for path in files(from) {
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("it can be copied");
            // Or the disk would still be at it while the time is taken.
            File::open(&target).and_then(|file| file.sync_all()).expect("it can be written");
        }
    }
    to.to_owned()
}
