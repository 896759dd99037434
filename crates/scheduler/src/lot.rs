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

    /// One of them, each as likely as any other.
    pub(crate) fn draw(&self, random: &mut impl Rng) -> Option<WorkerNo> {
        self.members.get(place(random, self.members.len())).copied()
    }
}

/// A place among so many; none is more likely than another by more than one in 2³². 0 if there are none.
pub(crate) fn place(random: &mut impl Rng, count: usize) -> usize {
    ((u128::from(random.next_u64()) * count as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn everybody_is_drawn_as_often_whoever_came_and_went() {
        let mut lot = Lot::default();
        let mut random = ChaCha8Rng::from_seed([1; 32]);
        assert_eq!(lot.draw(&mut random), None);
        (0..20).chain(5..25).for_each(|number| lot.insert(WorkerNo::new(number)));
        (0..10).chain([3, 24, 99]).for_each(|number| lot.remove(WorkerNo::new(number)));
        let mut drawn: BTreeMap<WorkerNo, u32> = lot.iter().map(|worker| (worker, 0)).collect();
        assert_eq!((lot.len(), drawn.len()), (14, 14));
        for _ in 0..14_000 {
            *drawn.get_mut(&lot.draw(&mut random).expect("some are there")).expect("a member") += 1;
        }
        assert!(drawn.values().all(|times| (850..1_150).contains(times)), "{drawn:?}");
    }
}
