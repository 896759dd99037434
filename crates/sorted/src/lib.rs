//! A map in the order of its keys, for programs that have to be fetched.
//!
//! The standard library's is quicker where there are millions of entries, and every pair of types for which it is used adds some nine
//! kilobytes to a WebAssembly module. This one adds less than one.

#![no_std]

extern crate alloc;
use alloc::vec;
use alloc::vec::Vec;

#[cfg(test)]
extern crate std;

/// Entries that are moved to make room for one more, at most.
const RUN_MAX: usize = 128;

/// A map in the order of its keys: short runs of entries, one after the other, none of them empty.
///
/// Time: that of two binary searches, and to insert or remove that of moving a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sorted<K, V> {
    runs: Vec<Vec<(K, V)>>,
    /// Entries of all of them.
    len: usize,
}

/// Keys in their order.
pub type SortedSet<K> = Sorted<K, ()>;

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self { runs: Vec::new(), len: 0 }
    }
}

impl<K: Ord, V> Sorted<K, V> {
    /// Which run has this key, and where; or where it belongs.
    fn place(&self, key: &K) -> (usize, Result<usize, usize>) {
        let run = self.runs.partition_point(|run| run.last().is_some_and(|(last, _)| last < key));
        let at = self.runs.get(run).map_or(Err(0), |run| run.binary_search_by(|(known, _)| known.cmp(key)));
        (run, at)
    }

    /// What this key has.
    pub fn get(&self, key: &K) -> Option<&V> {
        let (run, at) = self.place(key);
        Some(&self.runs.get(run)?.get(at.ok()?)?.1)
    }

    /// What this key has, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (run, at) = self.place(key);
        Some(&mut self.runs.get_mut(run)?.get_mut(at.ok()?)?.1)
    }

    /// Whether it is there.
    pub fn contains(&self, key: &K) -> bool {
        self.place(key).1.is_ok()
    }

    /// Gives a key a value; returns the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (mut run, place) = self.place(&key);
        let at = match place {
            Ok(at) => return Some(core::mem::replace(&mut self.runs[run][at].1, value)),
            Err(at) => at,
        };
        self.len += 1;
        if run == self.runs.len() {
            // Behind all others: keys that come in order fill one run after the other.
            match self.runs.last_mut() {
                Some(last) if last.len() < RUN_MAX => last.push((key, value)),
                _ => self.runs.push(vec![(key, value)]),
            }
            return None;
        }
        let mut at = at;
        if self.runs[run].len() == RUN_MAX {
            let upper = self.runs[run].split_off(RUN_MAX / 2);
            self.runs.insert(run + 1, upper);
            if at > RUN_MAX / 2 {
                (run, at) = (run + 1, at - RUN_MAX / 2);
            }
        }
        self.runs[run].insert(at, (key, value));
        None
    }

    /// Takes a key and its value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (run, at) = self.place(key);
        let (_, value) = self.runs.get_mut(run)?.remove(at.ok()?);
        self.len -= 1;
        if self.runs[run].is_empty() {
            self.runs.remove(run);
        }
        Some(value)
    }
}

impl<K, V> Sorted<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The entry with the lowest key.
    pub fn first(&self) -> Option<&(K, V)> {
        self.runs.first()?.first()
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.runs.iter().flatten()
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.runs.iter_mut().flatten().map(|(_, value)| value)
    }

    /// Keeps the entries for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        for run in &mut self.runs {
            run.retain(|(key, value)| keep(key, value));
        }
        self.runs.retain(|run| !run.is_empty());
        self.len = self.runs.iter().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::prelude::v1::*;

    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng as _, SeedableRng as _};

    use super::*;

    /// Whatever is done to both, they hold the same in the same order.
    #[test]
    fn it_does_what_the_standard_librarys_does() {
        for (seed, keys) in [(1, 10), (2, 300), (3, 5_000), (4, u32::MAX)] {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (mut ours, mut theirs) = (Sorted::default(), BTreeMap::new());
            for step in 0..20_000 {
                // It grows for a while, then it shrinks.
                let grows = step / 4_000 % 2 == 0;
                let (key, value) = (random.next_u32() % keys, random.next_u32());
                if (random.next_u32() % 4 > 0) == grows {
                    assert_eq!(ours.insert(key, value), theirs.insert(key, value));
                } else {
                    let key = theirs.range(key..).next().map_or(key, |(key, _)| *key);
                    assert_eq!(ours.remove(&key), theirs.remove(&key));
                }
                assert_eq!(ours.get(&key), theirs.get(&key));
                assert_eq!(ours.contains(&key), theirs.contains_key(&key));
                assert_eq!(ours.first().map(|(key, _)| key), theirs.keys().next());
                if step % 1_000 == 0 {
                    assert!(ours.iter().map(|(key, value)| (key, value)).eq(&theirs));
                    assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
                    assert!(ours.runs.iter().all(|run| (1..=RUN_MAX).contains(&run.len())));
                }
            }
            ours.retain(|key, _| key % 3 == 0);
            theirs.retain(|key, _| key % 3 == 0);
            ours.values_mut().chain(theirs.values_mut()).for_each(|value| *value ^= 1);
            assert!(ours.iter().map(|(key, value)| (key, value)).eq(&theirs));
            if let (Some(ours), Some(theirs)) = (ours.get_mut(&9), theirs.get_mut(&9)) {
                assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn keys_that_come_in_order_fill_their_runs() {
        let mut sorted = SortedSet::default();
        for key in 0..10 * RUN_MAX {
            assert_eq!(sorted.insert(key, ()), None);
        }
        assert_eq!(sorted.runs.len(), 10);
    }
}
