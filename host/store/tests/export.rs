//! A store exported while commits go on is a store of its own, whole up to the revision that it says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::sync::atomic::{AtomicBool, Ordering};

use manyhands_state::{Commit, StateStore, Table};
use manyhands_store::{Options, Repair, SledStore};

fn open(dir: &std::path::Path) -> (SledStore, manyhands_store::Opened) {
    // Small segments, so that an export spans some.
    SledStore::open(dir, Options { segment_bytes: 64 * 1024, ..Options::default() }).unwrap()
}

#[test]
fn an_export_under_load_holds_every_commit_up_to_its_revision() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir.path().join("store"));
    for number in 0..3000_u64 {
        store.commit(Commit::new().put((Table::Units, number.to_be_bytes()), vec![7; 100])).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Commit number n writes n under one key and removes another, so that the state tells the revision.
        scope.spawn(|| {
            let mut removed = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let next = store.revision().0 + 1;
                let commit = Commit::new().put((Table::Meta, "last"), next.to_be_bytes().to_vec());
                store.commit(commit.delete((Table::Units, removed.to_be_bytes()))).unwrap();
                removed += 1;
            }
        });
        for round in 0..5 {
            let before = store.revision();
            let to = dir.path().join(format!("export{round}"));
            let exported = store.export(&to).unwrap();
            assert!(exported.revision >= before);
            let (copy, opened) = open(&to);
            assert_eq!(opened.revision, exported.revision);
            let only_the_index = |repair: &Repair| matches!(repair, Repair::IndexRebuilt { aside: None, .. });
            assert!(opened.repairs.iter().all(only_the_index), "{:?}", opened.repairs);
            let last = copy.get(Table::Meta, b"last").unwrap().unwrap();
            assert_eq!(last.value, exported.revision.0.to_be_bytes());
            let removed = exported.revision.0 - 3000;
            let left = copy.scan(Table::Units, b"", None, 9999).unwrap();
            assert_eq!(left.len() as u64, 3000_u64.saturating_sub(removed), "round {round}");
            assert!(left.iter().all(|(_, record)| record.value == [7; 100]));
            assert_eq!(copy.check().unwrap().problems, []);
            // It goes on like any other.
            copy.commit(Commit::new().put((Table::Meta, "mine"), "1")).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.check().unwrap().problems, []);
    store.compact().unwrap();
    assert!(store.export(&dir.path().join("export0")).is_err(), "a directory with something in it is left alone");
}
