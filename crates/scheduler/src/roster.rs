//! Workers by number.
//!
//! An identity is 32 bytes that its owner chose. Inside, a worker is a number: what is known of it lies at that place of an
//! array, and sets of workers are sets of numbers. So an identity is looked up once for each input.

use core::hash::{BuildHasher, Hasher as _};
use core::ops::{Index, IndexMut};
use std::hash::DefaultHasher;

use manyhands_model::WorkerId;

/// The so-manyth identity that was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerNo(u32);

impl WorkerNo {
    #[cfg(test)]
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }
}

/// Hashes with a secret, so that nobody can choose identities that all fall into one place; the same secret, the same hashes.
#[derive(Clone, Debug)]
pub(crate) struct Keyed(DefaultHasher);

impl Keyed {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(secret);
        Self(hasher)
    }
}

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}

/// A table that is asked by name.
#[expect(clippy::disallowed_types, reason = "its order follows from the secret: the same seed gives the same run")]
pub(crate) type Table<K, V> = std::collections::HashMap<K, V, Keyed>;

/// All workers that were ever heard of. A number that was given out stays good.
#[derive(Debug)]
pub(crate) struct Roster<T> {
    numbers: Table<WorkerId, WorkerNo>,
    workers: Vec<(WorkerId, T)>,
}

impl<T: Default> Roster<T> {
    pub(crate) fn new(hasher: Keyed) -> Self {
        Self { numbers: Table::with_hasher(hasher), workers: Vec::new() }
    }

    /// The number of an identity; a new one gets the next.
    pub(crate) fn enrol(&mut self, id: WorkerId) -> WorkerNo {
        *self.numbers.entry(id).or_insert_with(|| {
            let number = u32::try_from(self.workers.len()).expect("so many workers do not fit into memory");
            self.workers.push((id, T::default()));
            WorkerNo(number)
        })
    }

    /// The number of an identity that was heard of.
    pub(crate) fn find(&self, id: WorkerId) -> Option<WorkerNo> {
        self.numbers.get(&id).copied()
    }

    /// Whose number it is.
    pub(crate) fn id(&self, no: WorkerNo) -> WorkerId {
        self.workers[no.0 as usize].0
    }

    /// What is known of an identity.
    pub(crate) fn get(&self, id: WorkerId) -> Option<&T> {
        Some(&self[self.find(id)?])
    }

    /// All of them, in the order in which they were first heard of.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerId, &T)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    /// The same with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (WorkerNo, &T)> {
        (0..).map(WorkerNo).zip(self.workers.iter().map(|(_, worker)| worker))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.workers.iter_mut().map(|(_, worker)| worker)
    }
}

impl<T> Index<WorkerNo> for Roster<T> {
    type Output = T;

    fn index(&self, no: WorkerNo) -> &T {
        &self.workers[no.0 as usize].1
    }
}

impl<T> IndexMut<WorkerNo> for Roster<T> {
    fn index_mut(&mut self, no: WorkerNo) -> &mut T {
        &mut self.workers[no.0 as usize].1
    }
}
