//! Which accepted units rest on whose word.

use std::collections::BTreeMap;

use manyhands_model::{RunId, UnitId, WorkerId};

/// By worker and run, the units that its word decided: four bytes a unit, ended runs included, for as long as the shell
/// keeps them. An entry may have been checked since; the unit's record says so.
#[derive(Default)]
pub(crate) struct History(BTreeMap<WorkerId, BTreeMap<RunId, Vec<u32>>>);

impl History {
    pub(crate) fn note(&mut self, worker: WorkerId, unit: UnitId) {
        self.0.entry(worker).or_default().entry(unit.run).or_default().push(unit.index);
    }

    /// Takes out everything that rests on this worker's word.
    pub(crate) fn take(&mut self, worker: WorkerId) -> BTreeMap<RunId, Vec<u32>> {
        self.0.remove(&worker).unwrap_or_default()
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
        self.0.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }
}
