//! Looking after the data: what checks it and what makes it smaller, whether the coordinator runs or not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use manyhands_api::{CheckProblem, CheckView, CompactView};
use manyhands_state::{ReadError, StateStore as _};
use manyhands_store::{BlobError, Blobs, SledStore};
use tokio::runtime::Handle;

use crate::census::Census;
use crate::keys::KeyStore;

/// A blob that no record names may belong to something that is arriving, for so long after it was put.
pub const ORPHAN_AGE_MIN: Duration = Duration::from_secs(24 * 3600);

/// Why the data could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The blobs cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What a blob is named by is not known.
    #[error("{0}; the state was compacted, no blob was removed")]
    Unreadable(manyhands_state::Problem),
}

/// Reads everything: each record, each blob that a record names, the keys. Blocks.
///
/// # Errors
/// [`UpkeepError`] when the check itself could not be carried out; what it finds is no error.
pub fn check(store: &SledStore, blobs: &Blobs, keys: &Path, runtime: &Handle) -> Result<CheckView, UpkeepError> {
    // Listed before records are read: what arrives in between is then no orphan.
    let there = runtime.block_on(blobs.list())?;
    let checked = store.check()?;
    let census = Census::take(store)?;
    let problems = checked.problems.iter().chain(&census.problems);
    let mut problems: Vec<_> = problems
        .map(|problem| CheckProblem {
            place: problem.place.clone(),
            what: problem.what.clone(),
            cure: problem.cure.to_owned(),
        })
        .collect();
    let mut right = 0;
    for digest in &census.blobs {
        match runtime.block_on(blobs.get(digest)) {
            Ok(_) => right += 1,
            Err(error) => problems.push(CheckProblem {
                place: format!("blobs/{}", manyhands_store::blob_file(digest)),
                what: match error {
                    BlobError::Missing(_) => "a record names it and it is missing".to_owned(),
                    BlobError::Corrupt { found, .. } => format!("its bytes hash to {found}"),
                    error => error.to_string(),
                },
                cure: "copy the file of this name from the blobs of a backup".to_owned(),
            }),
        }
    }
    if let Err(error) = KeyStore::verify(keys) {
        let cure = "copy the directory from a backup".to_owned();
        problems.push(CheckProblem { place: keys.display().to_string(), what: error.to_string(), cure });
    }
    let orphans = there.iter().filter(|blob| census.blobs.binary_search(&blob.digest).is_err());
    Ok(CheckView {
        revision: store.revision().0,
        records: checked.records,
        blobs: right,
        orphans: orphans.clone().count() as u64,
        orphan_bytes: orphans.map(|blob| blob.bytes).sum(),
        problems,
    })
}

/// Who may come to name blobs that no record names yet.
#[derive(Clone, Copy, Debug)]
pub enum Arriving {
    /// Nobody: the coordinator does not run.
    Nothing,
    /// Whoever put a blob in this last span of time.
    Within(Duration),
}

/// Writes the state anew without what is not needed any more, and removes blobs that no record names. Blocks.
///
/// # Errors
/// [`UpkeepError`]; nothing that is needed is then gone.
pub fn compact(
    store: &SledStore,
    blobs: &Blobs,
    arriving: Arriving,
    runtime: &Handle,
) -> Result<CompactView, UpkeepError> {
    let before = store.space()?.disk_bytes;
    store.compact()?;
    let after = store.space()?.disk_bytes;
    let mut compacted = CompactView {
        state_bytes_before: before,
        state_bytes_after: after,
        blobs_removed: 0,
        blob_bytes_removed: 0,
        orphans_kept: 0,
    };
    let put_before = match arriving {
        // Whatever the clock says.
        Arriving::Nothing => SystemTime::now() + Duration::from_secs(100 * 365 * 24 * 3600),
        Arriving::Within(age) => SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
    };
    // Listed first, then named: a record that comes to name a listed blob in between has put it again, and
    // that shows when it is about to be removed.
    let there = runtime.block_on(blobs.list())?;
    let census = Census::take(store)?;
    if let Some(problem) = census.problems.into_iter().next() {
        return Err(UpkeepError::Unreadable(problem));
    }
    for orphan in there.iter().filter(|blob| census.blobs.binary_search(&blob.digest).is_err()) {
        if runtime.block_on(blobs.remove_old(&orphan.digest, put_before))? {
            compacted.blobs_removed += 1;
            compacted.blob_bytes_removed += orphan.bytes;
        } else {
            compacted.orphans_kept += 1;
        }
    }
    Ok(compacted)
}

/// The submissions that are arriving, since when. Their first blobs may wait long for their record.
#[derive(Clone, Debug, Default)]
pub struct Uploads(Arc<Mutex<BTreeMap<u64, Instant>>>);

/// A submission that is arriving, until this is dropped.
#[derive(Debug)]
pub struct Upload {
    uploads: Uploads,
    number: u64,
}

impl Uploads {
    /// One more begins.
    pub fn begin(&self) -> Upload {
        let mut uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = uploads.last_key_value().map_or(0, |(last, _)| last + 1);
        uploads.insert(number, Instant::now());
        Upload { uploads: self.clone(), number }
    }

    /// Who may come to name blobs now: twice as long back as the longest of them takes already, and a day at least.
    pub fn arriving(&self) -> Arriving {
        let uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = uploads.values().map(Instant::elapsed).max().unwrap_or_default();
        Arriving::Within(ORPHAN_AGE_MIN.max(2 * longest))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use manyhands_model::RunId;
    use manyhands_store::{Options, blob_file};

    use super::*;
    use crate::clock::DAY;
    use crate::keys::system_entropy;
    use crate::records::{Content, Pack, Writes};

    struct World {
        dir: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
        store: SledStore,
        blobs: Blobs,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let (store, _) = SledStore::open(&dir.path().join("state"), Options::default()).unwrap();
            let blobs = Blobs::local(&dir.path().join("blobs")).unwrap();
            KeyStore::open_or_create(&dir.path().join("keys"), system_entropy, Default::default()).unwrap();
            Self { dir, runtime, store, blobs }
        }

        fn put(&self, bytes: &'static [u8], age: Duration) -> manyhands_model::Digest {
            let digest = self.runtime.block_on(self.blobs.put(bytes)).unwrap();
            let file = fs::File::options().write(true).open(self.file(&digest)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            digest
        }

        fn name(&self, digest: manyhands_model::Digest) {
            let mut writes = Writes::default();
            writes.inputs(RunId([1; 16]), &Pack { first: 0, inputs: vec![Content { digest, inline: None }] });
            self.store.commit(writes.0).unwrap();
        }

        fn file(&self, digest: &manyhands_model::Digest) -> std::path::PathBuf {
            self.dir.path().join("blobs").join(blob_file(digest))
        }

        fn check(&self) -> CheckView {
            check(&self.store, &self.blobs, &self.dir.path().join("keys"), self.runtime.handle()).unwrap()
        }

        fn compact(&self, arriving: Arriving) -> CompactView {
            compact(&self.store, &self.blobs, arriving, self.runtime.handle()).unwrap()
        }
    }

    #[test]
    fn only_blobs_that_nothing_can_come_to_name_are_removed() {
        let world = World::new();
        let named = world.put(b"named", 9 * DAY);
        world.name(named);
        world.put(b"old", 2 * DAY);
        world.put(b"young", Duration::ZERO);
        assert_eq!((world.check().orphans, world.check().orphan_bytes), (2, 8));

        let uploads = Uploads::default();
        let within = |arriving| world.compact(arriving);
        let first = within(uploads.arriving());
        assert_eq!((first.blobs_removed, first.blob_bytes_removed, first.orphans_kept), (1, 3, 1));
        let second = within(Arriving::Nothing);
        assert_eq!((second.blobs_removed, second.orphans_kept), (1, 0));
        let check = world.check();
        assert_eq!((check.blobs, check.orphans, check.problems.len()), (1, 0, 0));
    }

    #[test]
    fn a_submission_that_takes_days_keeps_its_blobs() {
        let uploads = Uploads::default();
        let slow = uploads.begin();
        let begun = Instant::now().checked_sub(3 * DAY);
        // A computer that has just started cannot look back so far.
        if let Some(begun) = begun {
            uploads.0.lock().unwrap().insert(slow.number, begun);
            assert!(matches!(uploads.arriving(), Arriving::Within(age) if age >= 6 * DAY));
        }
        drop(slow);
        assert!(matches!(uploads.arriving(), Arriving::Within(age) if age == ORPHAN_AGE_MIN));
    }

    #[test]
    fn a_check_names_what_is_missing_and_what_is_damaged() {
        let world = World::new();
        let digest = world.put(b"named", DAY);
        world.name(digest);
        assert!(world.check().problems.is_empty());
        fs::write(world.file(&digest), b"other").unwrap();
        let damaged = world.check();
        assert_eq!((damaged.blobs, damaged.problems.len()), (0, 1));
        assert!(damaged.problems[0].place.contains(&blob_file(&digest)) && damaged.problems[0].what.contains("hash"));
        fs::remove_file(world.file(&digest)).unwrap();
        assert!(world.check().problems[0].what.contains("missing"));
        fs::remove_file(world.dir.path().join("keys/trust")).unwrap();
        assert_eq!(world.check().problems.len(), 2);
    }
}
