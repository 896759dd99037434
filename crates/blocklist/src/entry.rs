//! A worker that was banned, and for what.

use data_encoding::BASE64;
use manyhands_model::{Judge, Outcome, RunId, Timestamp, WorkerId};
use manyhands_protocol::Reports;
use manyhands_signing::Signed;
use serde::{Deserialize, Serialize};

/// A worker that gets no more work where the list comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which.
    pub worker: WorkerId,
    /// What it said that was wrong, the last first; some of it, where there is much.
    pub charges: Vec<Charge>,
}

/// A word of a worker's that was found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// The run, as its coordinator calls it.
    pub run: RunId,
    /// The unit.
    pub unit: u32,
    /// How many answers there were with the unit's input.
    pub step: u32,
    /// When it was found.
    pub found_at: Timestamp,
    /// What the worker said.
    pub said: Outcome,
    /// What is so instead, as the issuer says.
    pub answer: Outcome,
    /// Who found it.
    pub judge: Judge,
    /// The worker's signed reports, one of which says that: base64 of their bytes. None where the issuer does not show them, or
    /// where what was signed stands for other values at each worker.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<String>,
}

/// The evidence is none: the worker's signature is not under what it is said to have said, or that is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no evidence: the worker did not sign what it is said to have said")]
pub struct Forged;

impl Charge {
    /// The same with these reports as evidence, if they are some.
    #[must_use]
    pub fn with(self, worker: WorkerId, reports: &[u8]) -> Self {
        let shown = Self { evidence: Some(BASE64.encode(reports)), ..self };
        if shown.check(worker) == Ok(true) { shown } else { Self { evidence: None, ..shown } }
    }

    /// Whether the worker's own signature proves that it said this; not where there is no evidence.
    ///
    /// # Errors
    /// [`Forged`].
    pub fn check(&self, worker: WorkerId) -> Result<bool, Forged> {
        if self.said == self.answer {
            return Err(Forged);
        }
        let Some(evidence) = &self.evidence else { return Ok(false) };
        let bytes = BASE64.decode(evidence.as_bytes()).map_err(|_| Forged)?;
        let Ok((signed, [])) = postcard::take_from_bytes::<Signed<Reports>>(&bytes) else { return Err(Forged) };
        let reports = signed.verify(worker.into()).map_err(|_| Forged)?;
        let is_it = reports.reports.iter().any(|report| {
            let task = &report.lease.task;
            (task.index, task.step) == (self.unit, self.step) && report.outcome == self.said
        });
        if is_it && reports.run == self.run { Ok(true) } else { Err(Forged) }
    }
}

impl Entry {
    /// The one way to write it, without a line break.
    pub(crate) fn line(&self) -> Vec<u8> {
        // Numbers and texts can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The entry of a line, if it is written in the one way.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(line).ok()?;
        (entry.line() == line).then_some(entry)
    }

    /// Whether the worker's own signature is under at least one of the charges.
    pub fn is_proven(&self) -> bool {
        self.charges.iter().any(|charge| charge.check(self.worker) == Ok(true))
    }
}
