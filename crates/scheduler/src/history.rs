//! Which accepted units rest on whose word.

use std::collections::BTreeMap;

use manyhands_model::{RunId, UnitId};

use crate::record::Era;
use crate::roster::{Keyed, Table, WorkerNo};

/// By worker, the units that its word decided: eight bytes a unit, ended runs included, for as long as the shell
/// keeps them. An entry may have been checked since; the unit's record says so.
pub(crate) struct History {
    vouched: Table<WorkerNo, Vec<InEra>>,
    numbers: Table<RunId, RunNo>,
    /// Those that the shell keeps.
    runs: Table<RunNo, Run>,
    next: RunNo,
    /// Entries, and those among them of runs that the shell does not keep any longer.
    entries: usize,
    forgotten: usize,
}

/// The so-manyth run in which something rests on a worker's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RunNo(u32);

struct Run {
    id: RunId,
    /// How many units a worker decides in its life if one lie is not to count.
    life: u32,
    entries: usize,
}

/// What a worker decided in one of its eras; there are as few as an operator pardoned it.
struct InEra {
    era: Era,
    units: Vec<Vouched>,
}

struct Vouched {
    run: RunNo,
    index: u32,
}

impl History {
    pub(crate) fn new(hasher: &Keyed) -> Self {
        Self {
            vouched: Table::with_hasher(hasher.clone()),
            numbers: Table::with_hasher(hasher.clone()),
            runs: Table::with_hasher(hasher.clone()),
            next: RunNo(0),
            entries: 0,
            forgotten: 0,
        }
    }

    pub(crate) fn note(&mut self, (worker, era): (WorkerNo, Era), unit: UnitId, life: u32) {
        let run = *self.numbers.entry(unit.run).or_insert_with(|| {
            let next = RunNo(self.next.0.wrapping_add(1));
            core::mem::replace(&mut self.next, next)
        });
        let known = self.runs.entry(run).or_insert(Run { id: unit.run, life, entries: 0 });
        known.life = life;
        known.entries += 1;
        self.entries += 1;
        let eras = self.vouched.entry(worker).or_default();
        let vouched = Vouched { run, index: unit.index };
        match eras.iter_mut().rfind(|it| it.era == era) {
            Some(it) => it.units.push(vouched),
            None => eras.push(InEra { era, units: vec![vouched] }),
        }
    }

    /// Whether anything rests on this worker's word.
    pub(crate) fn has(&self, worker: WorkerNo) -> bool {
        self.vouched.contains_key(&worker)
    }

    /// Takes out what rests on what this worker said up to an era, in runs that ask for a life of more units than it has decided.
    pub(crate) fn take(&mut self, worker: WorkerNo, until: Era, decided: u32) -> BTreeMap<RunId, Vec<u32>> {
        let mut taken: BTreeMap<RunId, Vec<u32>> = BTreeMap::new();
        let Some(eras) = self.vouched.get_mut(&worker) else { return taken };
        for InEra { units, .. } in eras.iter_mut().filter(|it| it.era <= until) {
            let before = units.len();
            units.retain(|entry| {
                let Some(run) = self.runs.get_mut(&entry.run) else {
                    self.forgotten -= 1;
                    return false;
                };
                let stays = decided >= run.life;
                if !stays {
                    run.entries -= 1;
                    taken.entry(run.id).or_default().push(entry.index);
                }
                stays
            });
            self.entries -= before - units.len();
        }
        eras.retain(|it| !it.units.is_empty());
        if eras.is_empty() {
            self.vouched.remove(&worker);
        }
        taken
    }

    /// The shell does not keep this run any longer.
    pub(crate) fn forget(&mut self, run: RunId) {
        let Some(run) = self.numbers.remove(&run).and_then(|run| self.runs.remove(&run)) else { return };
        self.forgotten += run.entries;
        // So that each entry is looked at a few times at most, however runs come and go.
        if self.forgotten > self.entries / 2 {
            self.vouched.retain(|_, eras| {
                eras.iter_mut().for_each(|it| it.units.retain(|entry| self.runs.contains_key(&entry.run)));
                eras.retain(|it| !it.units.is_empty());
                !eras.is_empty()
            });
            self.entries -= core::mem::take(&mut self.forgotten);
        }
    }

    /// Entries, of all workers.
    pub(crate) const fn len(&self) -> usize {
        self.entries - self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_not_taken_and_takes_no_room() {
        let mut history = History::new(&Keyed::new(&[7; 32]));
        let now = Era::default();
        let (ann, bob) = (WorkerNo::new(1), WorkerNo::new(2));
        let unit = |run: u8, index| UnitId { run: RunId([run; 16]), index };
        for index in 0..10 {
            history.note((ann, now), unit(1, index), 100);
            history.note((bob, now), unit(2, index), 1_000);
        }
        history.note((ann, now), unit(2, 77), 1_000);
        assert_eq!(history.take(ann, now, 500), BTreeMap::from([(RunId([2; 16]), vec![77])]));
        assert_eq!(history.len(), 20);
        history.forget(RunId([1; 16]));
        assert_eq!((history.len(), history.take(ann, now, 0)), (10, BTreeMap::new()));
        assert!(!history.has(ann) && history.has(bob));
        history.forget(RunId([2; 16]));
        assert!(history.vouched.is_empty() && history.len() == 0 && history.entries == 0);
        // A run of the same name is another one.
        history.note((ann, now), unit(1, 3), 100);
        assert_eq!(history.take(ann, now, 0), BTreeMap::from([(RunId([1; 16]), vec![3])]));
    }

    #[test]
    fn what_was_decided_after_a_pardon_is_not_taken_with_what_was_before() {
        let mut history = History::new(&Keyed::new(&[7; 32]));
        let (ann, before, after) = (WorkerNo::new(1), Era::default(), Era::default().next());
        let (old, new) = (RunId([1; 16]), RunId([2; 16]));
        for index in 0..3 {
            history.note((ann, after), UnitId { run: new, index }, 100);
            // The unit ended late.
            history.note((ann, before), UnitId { run: old, index }, 100);
        }
        assert_eq!(history.take(ann, before, 0), BTreeMap::from([(old, vec![0, 1, 2])]));
        assert_eq!((history.take(ann, before, 0), history.len()), (BTreeMap::new(), 3));
        history.note((ann, before), UnitId { run: old, index: 9 }, 100);
        assert_eq!(history.take(ann, after, 0), BTreeMap::from([(new, vec![0, 1, 2]), (old, vec![9])]));
        assert!(!history.has(ann) && history.len() == 0);
    }
}
