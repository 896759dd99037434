//! The reference engine: the shortest program that does what [`StateStore`] promises, but for
//! surviving its process. Tests compare real engines with it, and use it where nothing must last.

use core::ops::Bound;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::commit::{Commit, CommitError};
use crate::resolve::{Resolution, View, resolve};
use crate::store::{Checked, ReadError, Record, Revision, Space, StateStore};
use crate::table::{Key, Table};

/// Keeps everything in memory, and nothing longer than itself.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    records: BTreeMap<Key, Record>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave half a commit behind: changes are applied after everything that can fail.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View for State {
    fn record(&self, key: &Key) -> Result<Option<Record>, ReadError> {
        Ok(self.records.get(key).cloned())
    }
}

impl State {
    fn commit(&mut self, commit: Commit) -> Result<Revision, CommitError> {
        match resolve(self, commit)? {
            Resolution::Unchanged(answered) => Ok(answered.unwrap_or(self.revision)),
            Resolution::Changes(changes) => {
                let version = self.revision.next();
                for change in changes {
                    match change.value {
                        Some(value) => self.records.insert(change.key, Record { version, value }),
                        None => self.records.remove(&change.key),
                    };
                }
                self.revision = version;
                Ok(version)
            }
        }
    }
}

impl StateStore for MemoryStore {
    fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<Revision, CommitError>> {
        let mut state = self.state();
        commits.into_iter().map(|commit| state.commit(commit)).collect()
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Record>, ReadError> {
        self.state().record(&Key::new(table, key))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Record)>, ReadError> {
        let prefix = Key::new(table, prefix);
        let after = after.map(|key| Key::new(table, key)).filter(|after| *after >= prefix);
        let from = after.map_or(Bound::Included(prefix.clone()), Bound::Excluded);
        let state = self.state();
        let rows = state.records.range((from, Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.encoded().starts_with(prefix.encoded())).take(limit);
        Ok(rows.map(|(key, record)| (key.bytes().to_vec(), record.clone())).collect())
    }

    fn revision(&self) -> Revision {
        self.state().revision
    }

    fn check(&self) -> Result<Checked, ReadError> {
        Ok(Checked { records: self.state().records.len() as u64, problems: Vec::new() })
    }

    fn space(&self) -> Result<Space, ReadError> {
        let state = self.state();
        let live = state.records.iter().map(|(key, record)| (key.encoded().len() + record.value.len()) as u64);
        Ok(Space { records: state.records.len() as u64, live_bytes: live.sum(), disk_bytes: 0 })
    }
}
