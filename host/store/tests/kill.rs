//! `kill -9` under load, again and again on the same directory: what was acknowledged is there.

mod rounds;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use manyhands_state::{Commit, StateStore, Table};
use manyhands_store::{Options, Repair, SledStore};

const DIR: &str = "MANYHANDS_STORE_UNDER_LOAD";

fn options() -> Options {
    Options {
        segment_bytes: 64 * 1024,
        compact_bytes_min: 256 * 1024,
        flush_every: Duration::from_millis(10),
        ..Options::default()
    }
}

/// The victim: not a test but the body of the process that is killed. Four writers count up in a key
/// of their own each and say so once it is durable.
#[test]
#[ignore = "run by `kills_under_load` as a process of its own"]
fn the_victim() {
    let dir = std::env::var_os(DIR).unwrap();
    let (store, _) = SledStore::open(dir.as_ref(), options()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            let store = &store;
            scope.spawn(move || {
                loop {
                    let commit =
                        Commit::new().add((Table::Meta, [writer]), 1).put((Table::Units, [writer]), [writer; 500]);
                    store.commit(commit).unwrap();
                    let count = store.get(Table::Meta, &[writer]).unwrap().unwrap().counter().unwrap();
                    // One write: a line is there whole or not at all. Not `println!`, which the harness would hold back.
                    std::io::stdout().write_all(format!("acknowledged {writer} {count}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn kills_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u8, i64> = BTreeMap::new();
    let mut kills = 0;
    rounds::play("kills under load", "kill", "kills_under_load", 12, |dice| {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["the_victim", "--exact", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = victim.stdout.take().unwrap();
        let heard = std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            let counts = lines.filter_map(|line| {
                let (writer, count) = line.split_once("acknowledged ")?.1.split_once(' ')?;
                Some((writer.parse::<u8>().ok()?, count.parse::<i64>().ok()?))
            });
            counts.collect::<Vec<_>>()
        });
        // The moment is the fault: sometimes while it still opens, mostly under load.
        std::thread::sleep(Duration::from_millis(dice.below(300) as u64));
        victim.kill().unwrap();
        victim.wait().unwrap();
        for (writer, count) in heard.join().unwrap() {
            let highest = acknowledged.entry(writer).or_default();
            *highest = count.max(*highest);
        }

        let (store, opened) = SledStore::open(dir.path(), options()).unwrap();
        let unfinished = |repair: &Repair| match repair {
            Repair::TornTail { .. } => true,
            // sled survives most kills, not all of them.
            Repair::IndexRebuilt { reason, .. } => {
                reason.contains("never finished") || reason.contains("the index reports")
            }
            Repair::LogReplaced { .. } => false,
        };
        assert!(opened.repairs.iter().all(unfinished), "a kill damages nothing that was finished: {opened:?}");
        for writer in 0..4 {
            let count = acknowledged.entry(writer).or_default();
            let found = store.get(Table::Meta, &[writer]).unwrap().and_then(|record| record.counter()).unwrap_or(0);
            // One more may have been made durable without the time to say so.
            assert!((*count..=*count + 1).contains(&found), "{count} acknowledged, {found} found; {opened:?}");
            // What was read is as good as acknowledged.
            *count = found;
        }
        let sum: i64 = (0..4).filter_map(|writer| store.get(Table::Meta, &[writer]).unwrap()?.counter()).sum();
        assert_eq!(store.revision().0, sum as u64, "every revision is one count");
        assert_eq!(store.check().unwrap().problems, []);
        drop(store);
        let (_, again) = SledStore::open(dir.path(), options()).unwrap();
        assert_eq!(again.repairs, []);
        kills += 1;
        1
    });
    let all: i64 = acknowledged.values().sum();
    assert!(kills < 10 || all > 100, "the victims were killed before they did anything: {acknowledged:?}");
}
