//! The same question is answered once.
//!
//! What a *pure* job answers follows from its sealed module and its input alone: it makes no calls, has no sensitive fields
//! (each unit has other tokens in their place), and does not read the seed, which follows from run and unit. An invocation of such
//! a job leaves a note under its question, in the commit that makes its run durable. Whoever asks the same again is told
//! the accepted outcome, if as much stands behind it as they want.
//!
//! A whole run of such a job leaves one as well, under its inputs and rule; who submits the same again may ask for the run that answered it.
//! It costs one look for each submission, and where there is such a run, one for each of its units.
//!
//! The note only says where to look. The answer is the unit's record as it is now, so one that is tried again, opened again
//! or gone answers nobody, and there is nothing to be taken back. A question holds who asks, unless the operator lets everybody
//! share: else one tenant could learn from the time it takes what another asked, and prepare what another is answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use manyhands_abi::SEED_READ;
use manyhands_model::{Digest, UnitId};
use manyhands_scheduler::{End, Rule, RunRecord, RunStatus, UnitRecord};
use manyhands_verifier::module::Module;

use crate::records::{JobRecord, RecordError, Records};
use crate::settings::Repeats;

/// Units that are read at once.
const UNITS_PAGE: usize = 1_000;

/// Knows which questions were asked before. Cheap to clone.
#[derive(Clone)]
pub struct Questions(Arc<Inner>);

struct Inner {
    records: Records,
    whose: Repeats,
    /// By sealed module.
    pure: Mutex<BTreeMap<Digest, bool>>,
}

impl Questions {
    /// Over these.
    pub fn new(records: Records, whose: Repeats) -> Self {
        Self(Arc::new(Inner { records, whose, pure: Mutex::default() }))
    }

    /// Names what a requester asks with an input; none if what is answered depends on more than that, or if nothing is to be
    /// answered again.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn name(&self, job: &JobRecord, owner: &str, input: Digest) -> Result<Option<Digest>, RecordError> {
        let owner = match self.0.whose {
            Repeats::Off => return Ok(None),
            Repeats::Own => owner,
            Repeats::All => "",
        };
        if !self.is_pure(job).await? {
            return Ok(None);
        }
        // Two digests of a known length come first, so the parts cannot be shifted against each other.
        let parts = [&b"manyhands:question\0"[..], job.module.as_bytes(), input.as_bytes(), owner.as_bytes()];
        Ok(Some(Digest::of_parts(parts)))
    }

    /// The unit whose accepted outcome answers a question, if there is one that would be accepted by this rule.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn answer(&self, question: Digest, rule: Rule) -> Result<Option<(UnitId, UnitRecord)>, RecordError> {
        // Most are asked for the first time, and that is known at once.
        let Some(run) = self.0.records.asked(question)? else { return Ok(None) };
        let unit = UnitId { run, index: 0 };
        let find = move |records: &Records| {
            let came_by = records.run(run)?.map(|run| run.spec.rule);
            match records.unit(unit)? {
                Some(record) if is_enough(records, &record, rule, came_by)? => Ok(Some((unit, record))),
                _ => Ok(None),
            }
        };
        self.0.records.blocking(find).await
    }

    /// Names what a requester asks with a whole submission, of which everything but the job is in its fingerprint; none as above. The run that answers
    /// it is the requester's own, also where everybody's answers are shared: nobody else could read its results.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn of_run(
        &self,
        job: &JobRecord,
        owner: &str,
        fingerprint: Digest,
    ) -> Result<Option<Digest>, RecordError> {
        if self.0.whose == Repeats::Off || !self.is_pure(job).await? {
            return Ok(None);
        }
        let parts = [&b"manyhands:submission\0"[..], fingerprint.as_bytes(), owner.as_bytes()];
        Ok(Some(Digest::of_parts(parts)))
    }

    /// The run whose accepted outcomes answer a submission, if there is one and enough workers vouch for each of its units.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn run(&self, question: Digest) -> Result<Option<RunRecord>, RecordError> {
        let Some(run) = self.0.records.asked(question)? else { return Ok(None) };
        let find = move |records: &Records| {
            let Some(record) = records.run(run)?.filter(|run| run.status == RunStatus::Finished) else {
                return Ok(None);
            };
            let rule = record.spec.rule;
            let mut seen = 0;
            while seen < record.spec.reduction().units() {
                let page = records.units_from(run, seen, UNITS_PAGE)?;
                for (index, unit) in &page {
                    if *index != seen || !is_enough(records, unit, rule, Some(rule))? {
                        return Ok(None);
                    }
                    seen += 1;
                }
                if page.is_empty() {
                    return Ok(None);
                }
            }
            Ok(Some(record))
        };
        self.0.records.blocking(find).await
    }

    async fn is_pure(&self, job: &JobRecord) -> Result<bool, RecordError> {
        if !(job.manifest.sensitive.is_empty() && job.manifest.verbs.is_empty()) {
            return Ok(false);
        }
        let known = || self.0.pure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pure) = known().get(&job.module) {
            return Ok(*pure);
        }
        let sealed = self.0.records.read(&job.module).await?;
        // What cannot be read is sealed by nobody, and not taken for pure.
        let pure = Module::read(&sealed).is_ok_and(|module| !module.imports.contains(&SEED_READ));
        known().insert(job.module, pure);
        Ok(pure)
    }
}

/// Whether an answer is what would be one by this rule: so many vouch for it, or it came about by the same rule, where words have to be
/// earned; or the operator's own machine said it.
fn is_enough(records: &Records, unit: &UnitRecord, rule: Rule, came_by: Option<Rule>) -> Result<bool, RecordError> {
    let is_proven = unit.audited.is_some() && unit.audited == unit.accepted;
    Ok(match rule {
        _ if !matches!(unit.end, Some(End::Done | End::Failed)) => false,
        _ if is_proven => true,
        Rule::Fixed(quorum) => vouchers(records, unit)? >= usize::from(quorum.agree),
        Rule::Earned { .. } => came_by == Some(rule),
    })
}

/// How many workers vouch for the outcome with which a unit ended. Whoever was banned since vouches for nothing.
fn vouchers(records: &Records, unit: &UnitRecord) -> Result<usize, RecordError> {
    let (Some(End::Done | End::Failed), Some(accepted)) = (unit.end, &unit.accepted) else { return Ok(0) };
    let mut vouchers = 0;
    for replica in unit.replicas.iter().filter(|replica| replica.outcome == *accepted) {
        let is_banned = records.worker(replica.worker)?.is_some_and(|worker| worker.banned);
        vouchers += usize::from(!is_banned);
    }
    Ok(vouchers)
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Fuel, Outcome, RunId, Verdict, WorkerId};
    use manyhands_scheduler::{Era, Quorum, Replica, WorkerRecord};
    use manyhands_state::MemoryStore;
    use manyhands_store::Blobs;

    use super::*;
    use crate::metrics::Metrics;
    use crate::records::Writes;

    fn outcome(text: &str) -> Outcome {
        let verdict = Verdict::Ok { output: Digest::of(text.as_bytes()), output_bytes: text.len() as u64 };
        Outcome { verdict, fuel: Fuel(7) }
    }

    fn fixed(agree: u8) -> Rule {
        Rule::Fixed(Quorum { agree, most: 16 })
    }

    /// A unit on which the first three workers agree, and the fourth does not.
    fn unit(end: Option<End>) -> UnitRecord {
        let replica = |(worker, text)| {
            let (worker, era) = (WorkerId([worker; 32]), Era::default());
            Replica { worker, era, outcome: outcome(text), claims: None, is_echo: false }
        };
        let replicas = [(1, "a"), (2, "a"), (3, "a"), (4, "b")].map(replica).to_vec();
        UnitRecord { end, accepted: end.map(|_| outcome("a")), replicas, ..UnitRecord::default() }
    }

    #[tokio::test]
    async fn a_unit_answers_as_its_record_stands_and_the_banned_vouch_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
        let questions = Questions::new(records.clone(), Repeats::Own);
        let (question, run) = (Digest::of(b"question"), RunId([9; 16]));
        let id = UnitId { run, index: 0 };
        let vouchers = async || {
            let mut agree = 1;
            while questions.answer(question, fixed(agree)).await.unwrap().is_some() {
                agree += 1;
            }
            agree - 1
        };
        let write = |change: &dyn Fn(&mut Writes)| {
            let mut writes = Writes::default();
            change(&mut writes);
            records.commit(writes).unwrap();
        };

        assert_eq!(vouchers().await, 0, "nobody asked");
        write(&|writes| writes.asked(question, run));
        assert_eq!(vouchers().await, 0, "nobody has reported");
        for (end, expected) in [(None, 0), (Some(End::Done), 3), (Some(End::Cancelled), 0), (Some(End::Failed), 3)] {
            write(&|writes| writes.unit(id, &unit(end)));
            assert_eq!(vouchers().await, expected, "{end:?}");
        }
        assert_eq!(questions.answer(question, fixed(3)).await.unwrap(), Some((id, unit(Some(End::Failed)))));
        write(&|writes| {
            writes.worker(WorkerId([2; 32]), &WorkerRecord { banned: true, ..WorkerRecord::default() });
            writes.worker(WorkerId([3; 32]), &WorkerRecord::default());
        });
        assert_eq!(vouchers().await, 2);
        let audited = UnitRecord { audited: Some(outcome("a")), ..unit(Some(End::Done)) };
        write(&|writes| writes.unit(id, &audited));
        assert!(
            questions.answer(question, "full".parse().unwrap()).await.unwrap().is_some(),
            "the operator's word is enough"
        );
        write(&|writes| writes.unit(id, &UnitRecord { audited: Some(outcome("b")), ..audited.clone() }));
        assert!(questions.answer(question, "full".parse().unwrap()).await.unwrap().is_none());
        write(&|writes| writes.unit(id, &unit(None)));
        assert_eq!(vouchers().await, 0, "it was opened again");
    }
}
