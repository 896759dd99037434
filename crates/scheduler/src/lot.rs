//! A set of workers of which one can be drawn.

use std::collections::BTreeMap;

use rand_core::Rng;

use crate::roster::WorkerNo;

/// Adding, removing and looking up cost the logarithm of their number; drawing nothing.
#[derive(Debug, Default)]
pub(crate) struct Lot {
    members: Vec<WorkerNo>,
    places: BTreeMap<WorkerNo, usize>,
}

impl Lot {
    pub(crate) fn insert(&mut self, worker: WorkerNo) {
        if let std::collections::btree_map::Entry::Vacant(place) = self.places.entry(worker) {
            place.insert(self.members.len());
            self.members.push(worker);
        }
    }

    pub(crate) fn remove(&mut self, worker: WorkerNo) {
        let Some(place) = self.places.remove(&worker) else { return };
        self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(*moved, place);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = WorkerNo> + '_ {
        self.members.iter().copied()
    }

    /// One of them, each as likely as any other; more likely by less than one in 2³².
    pub(crate) fn draw(&self, random: &mut impl Rng) -> Option<WorkerNo> {
        let place = (u128::from(random.next_u64()) * self.members.len() as u128) >> 64;
        self.members.get(place as usize).copied()
    }
}
