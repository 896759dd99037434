//! A store with one log segment of any bytes.
//!
//! `how | bytes of the segment`. With an odd `how` every checksum is made right before the store sees it, because
//! a fuzzer finds everything but that.

use std::fs;
use std::path::Path;

use manyhands_state::{Commit, StateStore, Table};
use manyhands_store::{Options, SledStore};

use crate::promise;

/// What an index takes in memory with nothing in it, and what sled writes at a time. Unit: bytes.
const INDEX_BYTES: u64 = 48 << 20;
/// Header of a segment and of a snapshot: magic, revision, checksum.
pub(crate) const HEADER_BYTES: usize = 20;

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let [how, segment @ ..] = bytes else { return false };
    let mut segment = segment.to_vec();
    if how % 2 == 1 {
        seal(&mut segment);
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    fs::write(dir.path().join("log/00000001.log"), &segment).unwrap();
    store(dir.path(), segment.len())
}

/// A log with puts, deletes, counters and several commits in one frame.
pub fn seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    some_commits(dir.path());
    let segment = fs::read(dir.path().join("log/00000001.log")).unwrap();
    (0..2).map(|how| [&[how], &*segment].concat()).collect()
}

/// A store with something of everything in it.
pub(crate) fn some_commits(dir: &Path) -> SledStore {
    let (store, _) = SledStore::open(dir, options()).unwrap();
    store.commit(Commit::new().put((Table::Runs, "run"), "waits").add((Table::Meta, "count"), 2)).unwrap();
    let batch = vec![
        Commit::new().put((Table::Runs, "run"), "done").idempotency("once"),
        Commit::new().delete((Table::Meta, "count")).put((Table::Units, [0, 1, 2]), vec![7; 100]),
    ];
    assert!(store.commit_all(batch).iter().all(Result::is_ok));
    store
}

/// Makes the checksums of header and frames right, as far as lengths make sense.
fn seal(segment: &mut [u8]) {
    seal_header(segment);
    let mut at = HEADER_BYTES;
    while let Some(frame) = segment.get_mut(at..).filter(|rest| rest.len() >= 20) {
        let length = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]) as usize;
        let Some(frame) = frame.get_mut(..20 + length) else { return };
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame[4..8]), &frame[12..]);
        frame[8..12].copy_from_slice(&checksum.to_le_bytes());
        at += frame.len();
    }
}

pub(crate) fn seal_header(file: &mut [u8]) {
    if let Some(header) = file.get_mut(..HEADER_BYTES) {
        let checksum = crc32c::crc32c(&header[..16]);
        header[16..].copy_from_slice(&checksum.to_le_bytes());
    }
}

pub(crate) fn options() -> Options {
    Options { cache_bytes: 1 << 20, ..Options::default() }
}

/// Opens the store in `dir`, of `bytes` bytes. It opens whole and works, or is refused with file and cure.
pub(crate) fn store(dir: &Path, bytes: usize) -> bool {
    let open = || SledStore::open(dir, options());
    let (store, opened) = match promise::bounded_by(16 * bytes as u64 + INDEX_BYTES, open) {
        Ok(opened) => opened,
        Err(error) => {
            let told = error.to_string();
            assert!(told.contains(&*dir.to_string_lossy()), "which file? {told}");
            assert!(told.contains(';'), "what to do? {told}");
            return false;
        }
    };
    let found = records(&store);
    assert_eq!(store.space().unwrap().records, found.len() as u64, "records are missing");
    assert_eq!(store.check().unwrap().problems, [], "opened with damage in it");
    let revision = store.commit(Commit::new().put((Table::Meta, "afterwards"), "works")).unwrap();
    assert_eq!(revision.0, opened.revision.0 + 1, "a revision twice, or none");
    let written = records(&store);
    drop(store);

    let (store, again) = SledStore::open(dir, options()).unwrap();
    assert_eq!(again.repairs, [], "one opening does not repair what it finds");
    assert_eq!(again.revision, revision, "an acknowledged commit is lost");
    assert_eq!(records(&store), written, "other records came back");
    !found.is_empty()
}

type Row = (Table, Vec<u8>, Vec<u8>);

fn records(store: &SledStore) -> Vec<Row> {
    let rows = |table: &Table| {
        let rows = store.scan(*table, &[], None, usize::MAX).unwrap();
        let table = *table;
        rows.into_iter().map(move |(key, record)| (table, key, record.value))
    };
    Table::ALL.iter().flat_map(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_known_here() {
        let [_, seed] = &*seeds() else { unreachable!("two seeds") };
        let mut spoilt = seed[1..].to_vec();
        spoilt[17] ^= 1;
        spoilt[HEADER_BYTES + 9] ^= 1;
        seal(&mut spoilt);
        assert_eq!(spoilt, seed[1..], "`seal` has to follow the log's format");
    }
}
