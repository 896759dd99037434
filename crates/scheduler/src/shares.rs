//! Whose turn it is: owners share the leases evenly, whatever they submit; among one owner's runs the
//! higher priority goes first, and equals take turns.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use manyhands_model::RunId;

/// A run's place among those of its owner: priority, leases given out, name.
type Place = (Reverse<i8>, u64, RunId);

/// Owners with active runs, and which of those have units in line. Every step costs the logarithm of their
/// number.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    owners: BTreeMap<Arc<str>, Owner>,
    /// Owners with units in line, the least served first.
    order: BTreeSet<(u64, Arc<str>)>,
    /// Runs in line for whose answer somebody waits.
    awaited: usize,
    /// Runs in line, by whom they have something for.
    offers: [usize; 4],
    /// Owners who get nothing at present, with active runs or without.
    held: BTreeSet<Arc<str>>,
}

/// For whom a run has units in line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offers {
    /// For everybody: its quorum is fixed.
    pub(crate) everybody: bool,
    /// For workers with a record.
    pub(crate) established: bool,
    /// For those without one as well.
    pub(crate) strangers: bool,
    /// For those as well, if they decide by their number.
    pub(crate) crowd: bool,
}

impl Offers {
    const fn counts(self) -> [usize; 4] {
        [self.everybody as usize, self.established as usize, self.strangers as usize, self.crowd as usize]
    }
}

#[derive(Debug, Default)]
struct Owner {
    served: u64,
    runs: usize,
    waiting: BTreeSet<Place>,
}

/// A run as its owner's share sees it.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    owner: Arc<str>,
    place: Place,
    awaited: bool,
    waiting: bool,
    offers: Offers,
}

impl Share {
    /// Whose run it is.
    pub(crate) const fn owner(&self) -> &Arc<str> {
        &self.owner
    }
}

impl Shares {
    /// Takes in an active run, with nothing in line.
    pub(crate) fn join(&mut self, owner: &str, priority: i8, awaited: bool, run: RunId) -> Share {
        // An owner who comes back does not make up for the time away.
        let least = self.owners.values().map(|owner| owner.served).min().unwrap_or(0);
        let name = self.owners.get_key_value(owner).map_or_else(|| Arc::from(owner), |(name, _)| Arc::clone(name));
        let entry = self.owners.entry(Arc::clone(&name)).or_insert_with(|| Owner { served: least, ..Owner::default() });
        entry.runs += 1;
        Share { owner: name, place: (Reverse(priority), 0, run), awaited, waiting: false, offers: Offers::default() }
    }

    /// Lets a run go that has ended.
    pub(crate) fn leave(&mut self, mut share: Share) {
        self.set_waiting(&mut share, false);
        self.set_offers(&mut share, Offers::default());
        if let Some(owner) = self.owners.get_mut(&share.owner) {
            owner.runs -= 1;
            if owner.runs == 0 {
                self.owners.remove(&share.owner);
            }
        }
    }

    /// Says that an owner gets nothing for now, or something again; and whether that is new. Its runs are to be lined up anew then.
    pub(crate) fn hold(&mut self, owner: &str, is_held: bool) -> bool {
        match self.held.contains(owner) {
            was_held if was_held == is_held => false,
            true => self.held.remove(owner),
            false => self.held.insert(Arc::from(owner)),
        }
    }

    /// Whether a run's owner gets nothing for now.
    pub(crate) fn is_held(&self, share: &Share) -> bool {
        self.held.contains(&share.owner)
    }

    /// Notes whether the run has units in line.
    pub(crate) fn set_waiting(&mut self, share: &mut Share, waiting: bool) {
        if core::mem::replace(&mut share.waiting, waiting) == waiting {
            return;
        }
        let Some(owner) = self.owners.get_mut(&share.owner) else { return };
        if share.awaited {
            self.awaited = if waiting { self.awaited + 1 } else { self.awaited - 1 };
        }
        if waiting {
            owner.waiting.insert(share.place);
            self.order.insert((owner.served, Arc::clone(&share.owner)));
        } else {
            owner.waiting.remove(&share.place);
            if owner.waiting.is_empty() {
                self.order.remove(&(owner.served, Arc::clone(&share.owner)));
            }
        }
    }

    /// Notes for whom the run has units in line.
    pub(crate) fn set_offers(&mut self, share: &mut Share, offers: Offers) {
        let before = core::mem::replace(&mut share.offers, offers).counts();
        let changes = before.into_iter().zip(offers.counts());
        for (count, (before, after)) in self.offers.iter_mut().zip(changes) {
            *count = *count + after - before;
        }
    }

    /// For whom there is anything.
    pub(crate) fn offers(&self) -> Offers {
        let [everybody, established, strangers, crowd] = self.offers.map(|count| count > 0);
        Offers { everybody, established, strangers, crowd }
    }

    /// Notes that the run got a lease; it has to be in line.
    pub(crate) fn serve(&mut self, share: &mut Share) {
        let Some(owner) = self.owners.get_mut(&share.owner) else { return };
        self.order.remove(&(owner.served, Arc::clone(&share.owner)));
        owner.served += 1;
        self.order.insert((owner.served, Arc::clone(&share.owner)));
        owner.waiting.remove(&share.place);
        share.place.1 += 1;
        owner.waiting.insert(share.place);
    }

    /// Whether a run is in line for whose answer somebody waits.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// The run whose turn it is after `before`, or the very first.
    pub(crate) fn next(&self, before: Option<&Share>) -> Option<RunId> {
        use core::ops::Bound::{Excluded, Unbounded};
        let owner_of = |name: &Arc<str>| self.owners.get(name);
        let Some(before) = before else {
            let (_, name) = self.order.first()?;
            return Some(owner_of(name)?.waiting.first()?.2);
        };
        let owner = owner_of(&before.owner)?;
        if let Some((_, _, run)) = owner.waiting.range((Excluded(before.place), Unbounded)).next() {
            return Some(*run);
        }
        let here = (owner.served, Arc::clone(&before.owner));
        let (_, name) = self.order.range((Excluded(here), Unbounded)).next()?;
        Some(owner_of(name)?.waiting.first()?.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u8) -> RunId {
        RunId([number; 16])
    }

    /// Who gets each of so many leases, when every run has units without end.
    fn turns(runs: &[(&str, i8)], leases: usize) -> Vec<u8> {
        let mut shares = Shares::default();
        let mut joined: BTreeMap<RunId, Share> = BTreeMap::new();
        for (number, (owner, priority)) in runs.iter().enumerate() {
            let id = run(number as u8);
            let mut share = shares.join(owner, *priority, false, id);
            shares.set_waiting(&mut share, true);
            joined.insert(id, share);
        }
        let mut turns = Vec::new();
        for _ in 0..leases {
            let next = shares.next(None).expect("somebody waits");
            shares.serve(joined.get_mut(&next).expect("it joined"));
            turns.push(next.0[0]);
        }
        turns
    }

    #[test]
    fn owners_share_evenly_whatever_they_submit() {
        assert_eq!(turns(&[("ann", 0), ("ann", 0), ("ann", 0), ("bob", 0)], 8), [0, 3, 1, 3, 2, 3, 0, 3]);
    }

    #[test]
    fn priority_decides_within_an_owner_and_not_between_owners() {
        assert_eq!(turns(&[("ann", 0), ("ann", 9), ("bob", 0)], 4), [1, 2, 1, 2]);
    }

    #[test]
    fn one_after_the_other_meets_everybody_in_line_once() {
        let mut shares = Shares::default();
        let mut joined = BTreeMap::new();
        for (number, owner) in ["ann", "bob", "ann", "cid"].into_iter().enumerate() {
            let id = run(number as u8);
            let mut share = shares.join(owner, 0, owner == "bob", id);
            shares.set_waiting(&mut share, owner != "cid");
            joined.insert(id, share);
        }
        let mut met = Vec::new();
        let mut before = None;
        while let Some(next) = shares.next(before.as_ref()) {
            met.push(next.0[0]);
            before = joined.get(&next).cloned();
        }
        assert_eq!(met, [0, 2, 1]);
        assert!(shares.is_awaited());
        shares.set_waiting(joined.get_mut(&run(1)).expect("it joined"), false);
        assert!(!shares.is_awaited());
    }

    #[test]
    fn who_comes_back_does_not_make_up_for_the_time_away() {
        let mut shares = Shares::default();
        let mut ann = shares.join("ann", 0, false, run(1));
        shares.set_waiting(&mut ann, true);
        for _ in 0..100 {
            shares.serve(&mut ann);
        }
        let mut bob = shares.join("bob", 0, false, run(2));
        shares.set_waiting(&mut bob, true);
        let mut to_bob = 0;
        for _ in 0..10 {
            let next = shares.next(None).expect("somebody waits");
            to_bob += u32::from(next == run(2));
            shares.serve(if next == run(2) { &mut bob } else { &mut ann });
        }
        assert_eq!(to_bob, 5);
        shares.leave(ann);
        shares.leave(bob);
        assert!(shares.order.is_empty() && shares.owners.is_empty());
    }
}
