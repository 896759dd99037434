//! A store with a snapshot of any bytes, and the log that goes on from it.
//!
//! `how | revision: u8 | bytes of the snapshot`. With an odd `how` every checksum is made right before the store
//! sees it. The log is empty and begins at `revision`.

use std::fs;

use crate::store_log::{self, HEADER_BYTES};

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let [how, revision, snapshot @ ..] = bytes else { return false };
    let mut snapshot = snapshot.to_vec();
    if how % 2 == 1 {
        seal(&mut snapshot);
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["log", "snapshot"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let mut log = [&b"MHlog\0\0\x01"[..], &u64::from(*revision).to_le_bytes(), &[0; 4]].concat();
    store_log::seal_header(&mut log);
    fs::write(dir.path().join("log/00000002.log"), log).unwrap();
    fs::write(dir.path().join(format!("snapshot/{revision:020}.snapshot")), &snapshot).unwrap();
    store_log::store(dir.path(), snapshot.len())
}

/// A snapshot as a compaction leaves it.
pub fn seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let store = store_log::some_commits(dir.path());
    store.compact().unwrap();
    let snapshot = fs::read_dir(dir.path().join("snapshot")).unwrap().next().unwrap().unwrap().path();
    let revision: u8 = snapshot.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let snapshot = fs::read(snapshot).unwrap();
    (0..2).map(|how| [&[how, revision], &*snapshot].concat()).collect()
}

/// Makes the checksums of header and chunks right, as far as lengths make sense.
fn seal(snapshot: &mut [u8]) {
    store_log::seal_header(snapshot);
    let mut at = HEADER_BYTES;
    while let Some(chunk) = snapshot.get_mut(at..).filter(|rest| rest.len() >= 8) {
        let length = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) as usize;
        let Some(chunk) = chunk.get_mut(..8 + length) else { return };
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&chunk[..4]), &chunk[8..]);
        chunk[4..8].copy_from_slice(&checksum.to_le_bytes());
        at += chunk.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_known_here() {
        let [_, seed] = &*seeds() else { unreachable!("two seeds") };
        let mut spoilt = seed[2..].to_vec();
        spoilt[17] ^= 1;
        spoilt[HEADER_BYTES + 5] ^= 1;
        seal(&mut spoilt);
        assert_eq!(spoilt, seed[2..], "`seal` has to follow the snapshot's format");
    }
}
