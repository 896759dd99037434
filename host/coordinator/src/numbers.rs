//! Which unit a worker speaks of: where a run has decoys, workers are told other numbers than requesters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use manyhands_model::{RunId, UnitId};
use manyhands_scheduler::Numbers;

use crate::records::{RecordError, Records};

/// Runs whose numbers are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// The numbers of runs' units. Cheap to clone.
#[derive(Clone)]
pub struct Numbering(Arc<Inner>);

struct Inner {
    records: Records,
    known: Mutex<BTreeMap<RunId, Numbers>>,
}

impl Numbering {
    /// As the records say.
    pub fn new(records: Records) -> Self {
        Self(Arc::new(Inner { records, known: Mutex::default() }))
    }

    /// The unit of which a worker was told this number.
    ///
    /// # Errors
    /// Any [`RecordError`]; [`RecordError::Missing`] if there is no such unit.
    pub fn meant(&self, run: RunId, told: u32) -> Result<UnitId, RecordError> {
        let unit = |index| UnitId { run, index };
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner).get(&run).copied();
        let numbers = match known {
            Some(numbers) => numbers,
            None => {
                let Some(record) = self.0.records.run(run)? else {
                    // One that was invoked is not on the disk yet, and has no decoys.
                    return Ok(unit(told));
                };
                let numbers = record.spec.numbers();
                self.remember(run, numbers);
                numbers
            }
        };
        numbers.meant(told).map(unit).ok_or_else(|| RecordError::Missing(format!("unit {told} of run {run}")))
    }

    fn remember(&self, run: RunId, numbers: Numbers) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            // Ids begin with a time, so it is the oldest.
            known.pop_first();
        }
        known.insert(run, numbers);
    }
}
