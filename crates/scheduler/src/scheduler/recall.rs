//! Taking back what rested on the word of somebody who was caught.
//!
//! The scheduler keeps no records of units that have ended; it knows whose word they rest on, and asks the shell for the
//! records when that word turns out to be worth nothing. What others said is kept. A request for calls that was agreed on is
//! not taken back: the calls may have been made.

use std::collections::{BTreeMap, BTreeSet};

use manyhands_model::{Outcome, RunId, Timestamp, UnitId};

use super::{Effect, Record, Run, Scheduler, heard};
use crate::decoys::Tallies;
use crate::queue::Queue;
use crate::record::{Era, Replica, RunRecord, RunSpec, RunStatus, UnitRecord, WorkerRecord};
use crate::roster::{Keyed, WorkerNo};
use crate::trust::{Rule, share};
use crate::unit::{End, Open, State};

/// What is asked about a run.
#[derive(Default)]
pub(super) struct Recall {
    /// Answers that are still to come.
    asked: usize,
    /// Who was caught.
    by: Worthless,
    /// Who has been silent for too long.
    silent: Worthless,
    /// Units whose answer is wrong, with the step at which that is so and what the operator's machine says.
    wrong: BTreeMap<u32, (u32, Outcome)>,
    /// Units that began anew since it was first asked: their records may have been read before that.
    anew: BTreeSet<u32>,
    /// Those among them that are to be read once more.
    doubtful: BTreeSet<u32>,
}

impl Recall {
    /// Notes whose word is worth nothing; says whether somebody new is among them.
    fn add(&mut self, id: WorkerNo, until: Era, why: Why) -> bool {
        let was_known = self.by.0.contains_key(&id) || self.silent.0.contains_key(&id);
        match why {
            Why::Caught => self.by.add(id, until),
            Why::Silent => self.silent.add(id, until),
        }
        !was_known
    }

    fn workers(self) -> BTreeSet<WorkerNo> {
        self.by.0.into_keys().chain(self.silent.0.into_keys()).collect()
    }
}

/// Whose word is worth nothing, each up to an era of its own.
#[derive(Clone, Default)]
struct Worthless(BTreeMap<WorkerNo, Era>);

impl Worthless {
    fn add(&mut self, id: WorkerNo, until: Era) {
        let known = self.0.entry(id).or_insert(until);
        *known = until.max(*known);
    }

    fn has(&self, id: WorkerNo, era: Era) -> bool {
        self.0.get(&id).is_some_and(|until| era <= *until)
    }

    fn with(&self, others: &Self) -> Self {
        let mut all = self.clone();
        others.0.iter().for_each(|(id, until)| all.add(*id, *until));
        all
    }
}

/// Who does less than the average by this factor is as good as silent.
const IDLE: f64 = 8.0;

/// Why what a worker said is asked again.
#[derive(Clone, Copy)]
enum Why {
    Caught,
    Silent,
}

/// A unit that is opened again.
struct Reopening {
    index: u32,
    unit: UnitRecord,
    truth: Option<Outcome>,
    /// Whose word does not count.
    without: Worthless,
    asked_again: bool,
}

impl Scheduler {
    /// Asks for everything that rests on what a worker said up to an era.
    pub(super) fn recall(&mut self, id: WorkerNo, until: Era) {
        self.recall_of(id, until, 0, Why::Caught);
    }

    /// Has somebody look whether a worker, on whose word something rests, is silent for too long.
    pub(super) fn watch(&mut self, id: WorkerNo) {
        let worker = &mut self.workers[id];
        if !worker.is_watched && self.history.has(id) {
            worker.is_watched = true;
            let until = worker.counted_at.after(self.policy.trust.absence_of(&worker.record));
            self.watched.insert((until, id));
        }
    }

    /// If a worker has been silent for so long that it may be gone for good, and was young, that may have been its plan: what it
    /// decided is asked once more. So it is if it does next to nothing, beside the others: one computer could keep up any number of
    /// identities like that.
    pub(super) fn look_after(&mut self, now: Timestamp, id: WorkerNo) {
        let is_idle = self.is_idle(now, id);
        let worker = &mut self.workers[id];
        worker.is_watched = false;
        let was_idle = core::mem::replace(&mut worker.was_idle, is_idle);
        let is_silent = worker.counted_at.after(self.policy.trust.absence_of(&worker.record)) <= now;
        let is_kept_up = is_idle && was_idle;
        if !is_silent && !is_kept_up {
            return self.watch(id);
        }
        let WorkerRecord { decided, era, .. } = worker.record;
        self.recall_of(id, era, decided, Why::Silent);
        if self.workers[id].record.recalling.is_some() {
            self.note_worker(id);
        }
    }

    /// Whether a worker did far less of late than others with a record do on the average.
    fn is_idle(&self, now: Timestamp, id: WorkerNo) -> bool {
        let half_life = self.policy.trust.effort_half_life();
        let mean = self.effort.at(now, half_life) / self.core.len().max(1) as f64;
        self.workers[id].effort.at(now, half_life) < mean / IDLE
    }

    /// Asks for what rests on a worker's word in runs that want it to have decided more.
    fn recall_of(&mut self, id: WorkerNo, until: Era, decided: u32, why: Why) {
        for (run, units) in self.history.take(id, until, decided) {
            self.recall_in(run, units, (id, until), why);
        }
    }

    /// Asks for units of a run that rest on what a worker said up to an era.
    fn recall_in(&mut self, run: RunId, units: Vec<u32>, (id, until): (WorkerNo, Era), why: Why) {
        let is_new = self.recalls.entry(run).or_default().add(id, until, why);
        let worker = &mut self.workers[id];
        worker.recalls += usize::from(is_new);
        worker.record.recalling = worker.record.recalling.max(Some(until));
        self.ask_for(run, units);
    }

    /// A unit's answer is wrong, whoever gave it.
    pub(super) fn refute(&mut self, unit: UnitId, step: u32, truth: Outcome) {
        // Nobody was handed a decoy's answer.
        if unit.is_decoy() {
            return;
        }
        self.recalls.entry(unit.run).or_default().wrong.insert(unit.index, (step, truth));
        self.ask_for(unit.run, vec![unit.index]);
    }

    fn ask_for(&mut self, run: RunId, units: Vec<u32>) {
        self.recalls.entry(run).or_default().asked += 1;
        self.effects.push_back(Effect::Recall { run, units });
    }

    /// Takes in what the records of a run say of its answers: whose word they rest on, and which were drawn to be audited and
    /// have not been.
    pub(super) fn take_in(&mut self, run: RunId, rule: Rule, units: impl IntoIterator<Item = (u32, UnitRecord)>) {
        let Rule::Earned { wrong_ppb, .. } = rule else { return };
        let life = self.policy.trust.life(share(wrong_ppb));
        let mut recalled: BTreeMap<WorkerNo, Vec<u32>> = BTreeMap::new();
        for (index, unit) in units.into_iter().filter(|(index, _)| *index < UnitId::FIRST_DECOY) {
            if let Some(Replica { worker, era, .. }) = unit.vouched_by() {
                let worker = self.workers.enrol(*worker);
                // It was caught before the last process ended, and that was not seen through.
                let record = self.workers[worker].record;
                if record.is_recalled(*era) || record.banned {
                    recalled.entry(worker).or_default().push(index);
                    continue;
                }
                self.history.note((worker, *era), UnitId { run, index }, life);
            }
            if unit.audited.is_none() {
                self.draw_audit(UnitId { run, index }, &unit);
            }
        }
        for (id, units) in recalled {
            let WorkerRecord { banned, recalling, era, .. } = self.workers[id].record;
            let until = if banned { era } else { recalling.unwrap_or(era) };
            self.recall_in(run, units, (id, until), Why::Caught);
        }
    }

    /// Takes back whose word the units of a run rest on that has ended.
    pub fn restore_history(&mut self, run: &RunSpec, units: impl IntoIterator<Item = (u32, UnitRecord)>) {
        self.take_in(run.id, run.rule, units);
    }

    pub(super) fn recalled(&mut self, now: Timestamp, record: RunRecord, units: Vec<(u32, UnitRecord)>) {
        let id = record.spec.id;
        let Some(recall) = self.recalls.get_mut(&id) else { return };
        if !self.runs.contains_key(&id) && record.status == RunStatus::Active {
            // It ended after the records were read.
            let units = units.into_iter().map(|(index, _)| index).collect();
            return self.effects.push_back(Effect::Recall { run: id, units });
        }
        recall.asked -= 1;
        let mut again = Vec::new();
        for (index, unit) in units {
            let truth = match recall.wrong.get(&index) {
                Some((step, truth)) if *step == unit.step && unit.accepted.as_ref() != Some(truth) => {
                    Some(truth.clone())
                }
                _ => None,
            };
            let anchor = unit.vouched_by().and_then(|replica| Some((self.workers.find(replica.worker)?, replica.era)));
            let rests_on = |words: &Worthless| anchor.is_some_and(|(worker, era)| words.has(worker, era));
            let (is_loose, is_silent) = (rests_on(&recall.by), rests_on(&recall.silent));
            if truth.is_none() && !is_loose && !is_silent {
                continue;
            }
            if recall.anew.contains(&index) {
                recall.doubtful.insert(index);
            } else {
                let without = recall.by.with(&recall.silent);
                let asked_again = is_silent && !is_loose;
                again.push(Reopening { index, unit, truth, without, asked_again });
            }
        }
        if record.status != RunStatus::Cancelled {
            recall.anew.extend(again.iter().map(|again| again.index));
            self.reopen(now, record, again);
        }
        self.see_through(id);
    }

    /// Ends what is asked about a run, once all of that has been answered with records that are new enough.
    fn see_through(&mut self, run: RunId) {
        let Some(recall) = self.recalls.get_mut(&run).filter(|recall| recall.asked == 0) else { return };
        if recall.doubtful.is_empty() {
            let by = self.recalls.remove(&run).map(Recall::workers);
            return self.saw_through(by);
        }
        recall.anew.clear();
        let units = core::mem::take(&mut recall.doubtful).into_iter().collect();
        self.ask_for(run, units);
    }

    /// What those said who were caught has been taken back in one more run.
    fn saw_through(&mut self, by: Option<BTreeSet<WorkerNo>>) {
        for id in by.into_iter().flatten() {
            let worker = &mut self.workers[id];
            worker.recalls = worker.recalls.saturating_sub(1);
            if worker.recalls == 0 {
                worker.record.recalling = None;
                self.note_worker(id);
                self.rank(id);
            }
        }
    }

    fn reopen(&mut self, now: Timestamp, record: RunRecord, units: Vec<Reopening>) {
        let id = record.spec.id;
        if units.is_empty() {
            return;
        }
        let had_ended = !self.runs.contains_key(&id);
        if had_ended {
            let run = Run::ended(record, &mut self.shares, self.hasher.clone());
            self.insert_run(run);
        }
        let Some(run) = self.runs.get_mut(&id) else { return };
        let (mut reopened, mut unpaid) = (Vec::new(), Vec::new());
        for Reopening { index, unit, truth, without, asked_again } in units {
            let Some(end @ (End::Done | End::Failed)) = unit.end else { continue };
            let Some(state @ State::Ended(End::Done | End::Failed)) = run.units.get_mut(index) else {
                continue;
            };
            unpaid.push(unit.clone());
            let mut reports = heard(&mut self.workers, unit.replicas);
            match &truth {
                Some(truth) => reports.retain(|word| word.outcome == *truth),
                None => reports.retain(|word| !without.has(word.by, word.era)),
            }
            let unit_id = UnitId { run: id, index };
            for word in &mut reports {
                word.is_echo = true;
                self.workers[word.by].open_reports.insert(unit_id);
            }
            // What stands there for a run that had ended need not be how the unit ended.
            *state = State::Ended(end);
            *run.counts.at(index).of(state) -= 1;
            let (step, recalled) = (unit.step, unit.accepted);
            *state =
                State::Open(Box::new(Open { step, reports, audited: truth, recalled, asked_again, ..Open::default() }));
            *run.counts.at(index).of(state) += 1;
            if let Some(parent) = run.shape.parent(index)
                && let Some(State::Blocked { missing }) = run.units.get_mut(parent)
                && end == End::Done
            {
                *missing += 1;
            }
            reopened.push(index);
        }
        if reopened.is_empty() {
            self.finish_if_empty(id, had_ended);
            return;
        }
        if had_ended {
            let record = run.record(RunStatus::Active, None);
            self.effects.push_back(Effect::Record(Record::Run(Box::new(record))));
        }
        for (index, was) in reopened.iter().zip(&unpaid) {
            let unit = UnitId { run: id, index: *index };
            if let Some(record) = self.open(unit).map(|open| open.record(&self.workers)) {
                self.effects.push_back(Effect::Record(Record::Unit(unit, record)));
                // Those of them who were right get it again with the next answer.
                let due = self.due(was);
                self.pay(unit, due, true);
            }
        }
        self.effects.push_back(Effect::Reopened { run: id, units: reopened.clone() });
        for index in reopened {
            self.judge(now, UnitId { run: id, index });
        }
    }

    /// Lets a run go again that was taken back for nothing.
    fn finish_if_empty(&mut self, id: RunId, had_ended: bool) {
        if had_ended && let Some(run) = self.runs.remove(&id) {
            self.part_with(run);
        }
    }

    /// Begins a reduce step anew, and all those that build on it: one of its parts has another output, or none.
    pub(super) fn invalidate(&mut self, unit: UnitId) {
        let mut next = Some(unit.index);
        // The part that changed is counted as missing until it is said to have ended.
        let mut missing_more = 1;
        while let Some(index) = next {
            let Some(run) = self.runs.get_mut(&unit.run) else { return };
            let missing = run.missing(index) + core::mem::take(&mut missing_more);
            let Some(state) = run.units.get_mut(index) else { return };
            let unit = UnitId { run: unit.run, index };
            let was = match state {
                State::Blocked { .. } => return,
                State::Ended(End::Undecided | End::Skipped | End::Cancelled) => return,
                _ => {
                    *run.counts.at(index).of(state) -= 1;
                    let was = core::mem::replace(state, State::Blocked { missing });
                    *run.counts.at(index).of(state) += 1;
                    was
                }
            };
            next = run.shape.parent(index);
            self.begin_anew(unit.run, [index]);
            self.effects.push_back(Effect::Record(Record::Unit(unit, UnitRecord::default())));
            match was {
                State::Ended(_) => self.effects.push_back(Effect::Changed { unit, was: None }),
                State::Open(open) => {
                    for word in &open.reports {
                        self.workers[word.by].open_reports.remove(&unit);
                    }
                    for (lease, worker) in open.leases {
                        self.forget(lease);
                        self.withdraw(worker, vec![lease]);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// Whether this is what is recorded of a unit's step, and nobody asks for it again.
    pub(super) fn is_settled(&self, unit: UnitId, step: u32, record: &UnitRecord) -> bool {
        if self.recalls.contains_key(&unit.run) {
            return false;
        }
        // A unit that asked for calls goes on: its later record is not to be lost for what it was.
        let asks = record.calls().is_some();
        let Some(run) = self.runs.get(&unit.run) else { return !asks };
        match run.units.get(unit.index) {
            Some(State::Ended(End::Done | End::Failed)) => !asks,
            Some(State::Calling { step: now }) => asks && *now == step,
            _ => false,
        }
    }

    /// Takes note of units that begin anew.
    pub(super) fn begin_anew(&mut self, run: RunId, units: impl IntoIterator<Item = u32>) {
        if let Some(recall) = self.recalls.get_mut(&run) {
            recall.anew.extend(units);
        }
    }

    pub(super) fn forgotten(&mut self, run: RunId) {
        self.history.forget(run);
        let by = self.recalls.remove(&run).map(Recall::workers);
        self.saw_through(by);
    }

    pub(super) fn pardon(&mut self, id: WorkerNo) {
        let worker = &mut self.workers[id];
        let WorkerRecord { banned, recalling, era, agreed, checks, decided, .. } = worker.record;
        let anew = WorkerRecord { recalling, era: era.next(), ..WorkerRecord::default() };
        worker.record = if banned { anew } else { WorkerRecord { agreed, checks, decided, ..anew } };
        worker.kept_waiting = false;
        worker.answers_for_leaving = false;
        if banned {
            worker.quota = 0;
        }
        self.note_worker(id);
        self.look_at_wants(id);
        self.rank(id);
    }
}

impl Run {
    /// One that has ended, of whose units only those matter that are opened again.
    fn ended(record: RunRecord, shares: &mut super::Shares, hasher: Keyed) -> Self {
        let (counts, dissents) = (Tallies::of_own(record.counts), record.dissents);
        let mut run = Self::new(record.spec, shares, hasher);
        run.queue = Queue::fresh(0);
        run.units.iter_mut().for_each(|(_, state)| *state = State::Ended(End::Done));
        Self { counts, dissents, ..run }
    }
}
