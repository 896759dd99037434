//! Who has seen how much of whose work.

use std::collections::BTreeMap;

use manyhands_model::RunId;

use crate::groups::Group;
use crate::roster::{Keyed, Table, WorkerNo};

/// Leases of one requester after which half of what was counted is forgotten: it is about what was given out lately.
const WINDOW: u64 = 1 << 16;

/// How much of a run a worker has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// An active run.
    pub run: RunId,
    /// Units of it that the worker was given.
    pub units: u32,
    /// Units that all workers of its owner were given together, where it is known whose it is.
    pub owner_units: Option<u32>,
    /// Units that the run has.
    pub of: u32,
}

impl Exposure {
    /// The share of the run's units, 0 to 1; more where some were opened again.
    pub fn share(&self) -> f64 {
        f64::from(self.units) / f64::from(self.of.max(1))
    }
}

/// How much of one requester's work a worker has seen lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequesterExposure {
    /// Whose runs.
    pub requester: String,
    /// Leases of their units that the worker was given lately.
    pub leases: u32,
    /// Leases of their units that anybody was given lately, or the units of their active runs, whichever is more.
    pub of: u64,
}

/// To whom the units of one run were given, where it has more than one.
pub(crate) struct Given {
    by: Table<WorkerNo, u32>,
    by_owner: BTreeMap<Group, u32>,
    leases: u64,
}

impl Given {
    pub(crate) fn new(hasher: Keyed) -> Self {
        Self { by: Table::with_hasher(hasher), by_owner: BTreeMap::new(), leases: 0 }
    }

    /// A worker was given one more, of whose owner that is known.
    pub(crate) fn note(&mut self, worker: WorkerNo, owner: Option<Group>) {
        self.leases += 1;
        *self.by.entry(worker).or_default() += 1;
        if let Some(owner) = owner {
            *self.by_owner.entry(owner).or_default() += 1;
        }
    }

    /// A worker is another owner's now, and so is what it was given.
    pub(crate) fn pass(&mut self, worker: WorkerNo, was: Option<Group>, is: Option<Group>) {
        let Some(given) = self.of(worker) else { return };
        if let Some(theirs) = was.and_then(|was| self.by_owner.get_mut(&was)) {
            *theirs = theirs.saturating_sub(given);
        }
        if let Some(is) = is {
            *self.by_owner.entry(is).or_default() += given;
        }
    }

    /// How many a worker was given, if it was given any.
    pub(crate) fn of(&self, worker: WorkerNo) -> Option<u32> {
        self.by.get(&worker).copied()
    }

    /// How many all workers of an owner were given.
    pub(crate) fn of_owner(&self, owner: Group) -> u32 {
        self.by_owner.get(&owner).copied().unwrap_or_default()
    }

    /// How many were given out.
    pub(crate) const fn leases(&self) -> u64 {
        self.leases
    }
}

/// To whom the work of one requester was given lately.
pub(crate) struct Seen {
    /// Units of active runs.
    units: u64,
    leases: u64,
    by: Table<WorkerNo, u32>,
}

impl Seen {
    pub(crate) fn new(hasher: Keyed) -> Self {
        Self { units: 0, leases: 0, by: Table::with_hasher(hasher) }
    }

    /// A run of so many units is active.
    pub(crate) fn join(&mut self, units: u32) {
        self.units += u64::from(units);
    }

    /// One that was is not any more.
    pub(crate) fn leave(&mut self, units: u32) {
        self.units = self.units.saturating_sub(u64::from(units));
    }

    /// A worker was given one more unit.
    pub(crate) fn note(&mut self, worker: WorkerNo) {
        self.leases += 1;
        *self.by.entry(worker).or_default() += 1;
        if self.leases >= WINDOW {
            self.leases /= 2;
            self.by.retain(|_, leases| {
                *leases /= 2;
                *leases > 0
            });
        }
    }

    /// How many it was given.
    pub(crate) fn of(&self, worker: WorkerNo) -> u32 {
        self.by.get(&worker).copied().unwrap_or_default()
    }

    /// How many there are: were given out lately, or are to be.
    pub(crate) fn all(&self) -> u64 {
        // No more than is remembered, or beside a large run nobody would ever have a share of the small ones.
        self.leases.max(self.units.min(WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_long_ago_is_forgotten_and_takes_no_room() {
        let mut seen = Seen::new(Keyed::new(&[7; 32]));
        let (early, steady) = (WorkerNo::new(0), WorkerNo::new(1));
        (0..1_000).for_each(|_| seen.note(early));
        for number in 0..1_000_000 {
            seen.note(if number % 10 == 0 { steady } else { WorkerNo::new(2 + number) });
        }
        assert_eq!(seen.of(early), 0);
        let share = f64::from(seen.of(steady)) / seen.all() as f64;
        assert!((0.09..0.11).contains(&share), "{share}");
        assert!(seen.all() <= WINDOW && seen.by.len() as u64 <= WINDOW);
    }
}
