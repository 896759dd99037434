//! Which accepted units rest on whose word.

use std::collections::BTreeMap;

use manyhands_model::{RunId, UnitId, WorkerId};

/// By worker and run, the units that its word decided: four bytes a unit, ended runs included, for as long as the shell
/// keeps them. An entry may have been checked since; the unit's record says so.
#[derive(Default)]
pub(crate) struct History(BTreeMap<WorkerId, BTreeMap<RunId, Vouched>>);

#[derive(Default)]
struct Vouched {
    /// How many units a worker decides in its life if one lie is not to count.
    life: u32,
    units: Vec<u32>,
}

impl History {
    pub(crate) fn note(&mut self, worker: WorkerId, unit: UnitId, life: u32) {
        let vouched = self.0.entry(worker).or_default().entry(unit.run).or_default();
        vouched.life = life;
        vouched.units.push(unit.index);
    }

    /// Whether anything rests on this worker's word.
    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        self.0.contains_key(&worker)
    }

    /// Takes out what rests on this worker's word, in runs that ask for a life of more units than it has decided.
    pub(crate) fn take(&mut self, worker: WorkerId, decided: u32) -> BTreeMap<RunId, Vec<u32>> {
        let Some(runs) = self.0.get_mut(&worker) else { return BTreeMap::new() };
        let taken = runs.extract_if(.., |_, vouched| decided < vouched.life).map(|(run, vouched)| (run, vouched.units));
        let taken = taken.collect();
        if runs.is_empty() {
            self.0.remove(&worker);
        }
        taken
    }

    /// The shell does not keep this run any longer.
    pub(crate) fn forget(&mut self, run: RunId) {
        self.0.retain(|_, runs| {
            runs.remove(&run);
            !runs.is_empty()
        });
    }

    /// Entries, of all workers.
    pub(crate) fn len(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).map(|vouched| vouched.units.len()).sum()
    }
}
