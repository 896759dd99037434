//! Modules that must not be executed any more.
//!
//! Kept in the store's table of marks, each under `revoked` and its digest, so that a revocation is as
//! durable as what it revokes. They are few, and every trust list names all of them.

use std::collections::BTreeSet;

use manyhands_model::{Digest, JobName, Timestamp, Version};
use manyhands_state::{Commit, StateStore, Table};
use serde::{Deserialize, Serialize};

use crate::records::RecordError;

const PREFIX: &[u8] = b"revoked";
/// Read at once from the store.
const PAGE: usize = 1_000;

/// A revoked module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The job's name.
    pub name: JobName,
    /// Its version.
    pub version: Version,
    /// When.
    pub at: Timestamp,
}

/// All revoked modules.
///
/// # Errors
/// Any [`RecordError`].
pub fn load(store: &dyn StateStore) -> Result<BTreeSet<Digest>, RecordError> {
    let mut revoked = BTreeSet::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(Table::Meta, PREFIX, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(revoked) };
        after = Some(last.clone());
        for (key, _) in page {
            let digest = key.strip_prefix(PREFIX).and_then(|digest| digest.try_into().ok());
            revoked.insert(Digest(digest.ok_or(RecordError::Foreign(Table::Meta))?));
        }
    }
}

/// Remembers that `module` is revoked; durable when this returns. The first date stays.
///
/// # Errors
/// [`RecordError`].
pub fn add(store: &dyn StateStore, module: Digest, revocation: &Revocation) -> Result<(), RecordError> {
    let key = [PREFIX, module.as_bytes()].concat();
    if store.get(Table::Meta, &key)?.is_none() {
        store.commit(Commit::new().put((Table::Meta, key), manyhands_protocol::encode(revocation)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use manyhands_state::MemoryStore;

    use super::*;

    #[test]
    fn what_is_revoked_stays_revoked_and_is_revoked_once() {
        let store = MemoryStore::new();
        let word = |at| Revocation { name: "a".parse().unwrap(), version: Version::new(1, 0, 0), at: Timestamp(at) };
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        assert!(load(&store).unwrap().is_empty());
        for (module, at) in [(one, 1), (two, 2), (one, 3)] {
            add(&store, module, &word(at)).unwrap();
        }
        assert_eq!(load(&store).unwrap(), BTreeSet::from([one, two]));
        assert_eq!(store.revision().0, 2, "the first word stands");
    }
}
