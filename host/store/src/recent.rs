//! What the log has and the index has not got yet: kept in memory, looked at before the index, and
//! moved into it in the background.
//!
//! So an answer waits for the log alone, and a record that changes ten times in a second is written
//! into the index once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use itertools::Itertools as _;
use manyhands_state::{Key, Record};

/// Records as they became last; `None` where one was removed.
pub(crate) type Changes = BTreeMap<Key, Option<Record>>;

/// What a change takes in memory besides its key and its value, about. Unit: bytes.
const CHANGE_BYTES: usize = 128;

/// What `changes` take in memory, about. Unit: bytes.
pub(crate) fn bytes_of(key: &Key, record: Option<&Record>) -> usize {
    CHANGE_BYTES + key.encoded().len() + record.map_or(0, |record| record.value.len())
}

/// The newest changes.
#[derive(Default)]
pub(crate) struct Recent {
    /// Those that nobody moves yet.
    active: Changes,
    /// About how much memory they take; those that were overwritten are counted too. Unit: bytes.
    bytes: usize,
    /// Older ones that are on their way into the index.
    moving: Arc<Changes>,
}

impl Recent {
    /// What became of `key`; `None` if nothing lately.
    pub(crate) fn get(&self, key: &Key) -> Option<Option<&Record>> {
        self.active.get(key).or_else(|| self.moving.get(key)).map(Option::as_ref)
    }

    /// What became of the keys from `from` on, in their order.
    pub(crate) fn range(&self, from: Bound<&Key>) -> impl Iterator<Item = (&Key, Option<&Record>)> {
        let range = (from, Bound::Unbounded);
        let both =
            self.active.range(range).merge_join_by(self.moving.range(range), |newer, older| newer.0.cmp(older.0));
        both.map(|either| either.reduce(|newer, _| newer)).map(|(key, record)| (key, record.as_ref()))
    }

    /// Adds what is newer than anything in it.
    pub(crate) fn add(&mut self, changes: Changes) {
        for (key, record) in changes {
            self.bytes += bytes_of(&key, record.as_ref());
            self.active.insert(key, record);
        }
    }

    /// About how much memory the changes take that nobody moves yet. Unit: bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything in it, to be moved; it stays readable here until [`moved`](Self::moved).
    pub(crate) fn begin_move(&mut self) -> Arc<Changes> {
        let active = std::mem::take(&mut self.active);
        self.bytes = 0;
        if self.moving.is_empty() {
            self.moving = Arc::new(active);
        } else {
            // What an earlier move did not come through with.
            Arc::make_mut(&mut self.moving).extend(active);
        }
        Arc::clone(&self.moving)
    }

    /// Forgets what the index has now.
    pub(crate) fn moved(&mut self) -> Arc<Changes> {
        std::mem::take(&mut self.moving)
    }
}

#[cfg(test)]
mod tests {
    use manyhands_state::{Revision, Table};

    use super::*;

    fn key(name: &str) -> Key {
        Key::from((Table::Units, name))
    }

    fn change(name: &str, version: u64, text: Option<&str>) -> (Key, Option<Record>) {
        (key(name), text.map(|text| Record { version: Revision(version), value: text.into() }))
    }

    #[test]
    fn the_newest_is_found_wherever_it_is() {
        let mut recent = Recent::default();
        recent.add([change("a", 1, Some("old")), change("b", 1, Some("b")), change("c", 1, Some("c"))].into());
        assert_eq!(recent.begin_move().len(), 3);
        recent.add([change("a", 2, Some("new")), change("c", 2, None)].into());
        let text = |found: Option<&Record>| found.map(|record| String::from_utf8(record.value.clone()).unwrap());
        let all = |recent: &Recent| {
            recent.range(Bound::Unbounded).map(|(key, record)| (key.to_string(), text(record))).collect::<Vec<_>>()
        };
        let row = |key: &str, text: Option<&str>| (format!("units/{key}"), text.map(str::to_owned));
        assert_eq!(all(&recent), [row("a", Some("new")), row("b", Some("b")), row("c", None)]);
        assert_eq!(recent.get(&key("c")), Some(None), "removed is not the same as unknown");
        assert_eq!(recent.get(&key("d")), None);
        assert_eq!(text(recent.get(&key("b")).unwrap()).unwrap(), "b");

        // A move that failed is made once more, together with what came since.
        assert_eq!(recent.begin_move().len(), 3);
        assert_eq!((recent.bytes(), text(recent.get(&key("a")).unwrap())), (0, Some("new".to_owned())));
        recent.moved();
        assert_eq!(all(&recent), []);
    }
}
