//! Answers that have to be earned: who may begin, what words amount to, and what the operator's machine says.

use manyhands_model::{Digest, Fuel, Judge, Outcome, Timestamp, UnitId, Verdict};

use super::{Class, Crowd, Effect, Record, Scheduler, State, Worker};
use crate::audit::{Draw, Need, Purpose};
use crate::groups::Kind;
use crate::record::{Era, Fault, Replica, UnitRecord};
use crate::roster::{Roster, WorkerNo};
use crate::trust::{Level, Rule, Standing, share};
use crate::unit::{End, Open, Word};
use crate::weigh::{Again, Ask, Court, Finding, Voice};

/// How often somebody is drawn who may not have a unit, before whoever comes may.
const DRAWS_MAX: usize = 64;
/// Units for which one worker is drawn at a time.
const DRAWN_MAX: usize = 32;

impl Open {
    /// Whether one of those who have had their say, or are about to, is one voice with this worker.
    pub(super) fn hears(&self, worker: &Worker, workers: &Roster<Worker>) -> bool {
        self.workers().any(|other| workers[other].origin.is_one_voice_with(&worker.origin))
    }

    /// Whether all of them use the engine of this one: what is wrong with an engine is seen where there are two.
    pub(super) fn knows_engine(&self, worker: &Worker, workers: &Roster<Worker>) -> bool {
        let engine = worker.origin.engine;
        engine.is_some() && self.workers().all(|other| workers[other].origin.engine == engine)
    }

    /// Whether the operator's machine should say more about it, those with a record speak in its place, and this worker has none.
    pub(super) fn is_too_grave_for(&self, worker: &Worker, rule: Rule) -> bool {
        let is_audited = matches!(rule, Rule::Earned { level: Level::Audited, .. });
        is_audited && self.ask == Ask::Established && !self.reports.is_empty() && !worker.is_in_core
    }

    /// What is known of it, without an end.
    pub(super) fn record(&self, workers: &Roster<Worker>) -> UnitRecord {
        let replica = |word: &Word| {
            let Word { by, era, outcome, claims, is_echo } = word.clone();
            Replica { worker: workers.id(by), era, outcome, claims, is_echo }
        };
        UnitRecord {
            step: self.step,
            end: None,
            accepted: None,
            replicas: self.reports.iter().map(replica).collect(),
            audited: self.audited.clone(),
            vouched: None,
            recalled: self.recalled.clone(),
            worth: None,
        }
    }
}

impl Scheduler {
    // ── Who may begin ──

    pub(super) fn is_thin(&self) -> bool {
        self.core.len() < self.policy.trust.core_min
    }

    /// How those without a record may decide by their number at present, if they may.
    pub(super) fn crowd(&self) -> Option<Crowd> {
        self.policy.trust.crowd(self.strangers.count(), self.core.len())
    }

    /// Takes note of what changed about a worker: whether it has a record, and whether it may have another lease.
    pub(super) fn rank(&mut self, id: WorkerNo) {
        let is_thin = self.is_thin();
        let worker = &mut self.workers[id];
        let is_there = worker.connected && !worker.record.banned;
        // Nobody waits for one that is given nothing any more.
        let is_able = is_there && worker.record.lapses < self.policy.trust.lapses_max;
        let has_record = is_able && worker.standing(&self.policy.trust) >= Standing::Established;
        let was_in_core = core::mem::replace(&mut worker.is_in_core, has_record);
        // A connection costs nothing: whoever has and wants nothing is nobody.
        let is_at_work = worker.is_at_work() || !worker.open_reports.is_empty();
        let in_crowd = (is_able && !has_record && is_at_work).then_some(worker.origin);
        let was_in_crowd = core::mem::replace(&mut worker.in_crowd, in_crowd);
        if was_in_crowd != in_crowd {
            was_in_crowd.iter().for_each(|origin| self.strangers.leave(origin));
            in_crowd.iter().for_each(|origin| self.strangers.join(origin));
        }
        let is_runner = is_there && worker.origin.kind == Kind::Runner;
        let was_runner = core::mem::replace(&mut worker.is_runner, is_runner);
        self.runners = self.runners + usize::from(is_runner) - usize::from(was_runner);
        let was_in_line = worker.in_line;
        let may = worker.may_join(&self.policy);
        let wants = is_there && worker.wants > 0 && worker.is_hungry && may;
        if was_in_core != has_record {
            let did = worker.effort.at(self.now, self.policy.trust.effort_half_life());
            if has_record {
                self.core.insert(id);
                self.note_effort(did);
            } else {
                self.core.remove(id);
                self.note_effort(-did);
            }
        }
        let has_left = (has_record || !is_able) && self.candidates.remove(&id);
        let in_line = match (wants, has_record) {
            (false, _) => None,
            (true, true) => Some(Class::First),
            (true, false) if is_thin && self.is_tried(id) => Some(Class::First),
            (true, false) => Some(Class::Stranger),
        };
        if in_line != was_in_line {
            self.workers[id].in_line = in_line;
            self.hungry.line_up(id, was_in_line, in_line);
            self.stirred |= in_line.is_some();
        }
        if !has_record || !is_at_work {
            self.draw_anew(id);
        }
        let is_alone = self.is_thin() && self.crowd().is_none();
        let was_alone = core::mem::replace(&mut self.is_alone, is_alone);
        if self.is_thin() != is_thin {
            self.thinned();
        } else if is_alone && !was_alone {
            self.ask_again();
        } else if has_left && is_thin {
            self.fill_candidates();
        }
    }

    /// Whether a worker without a record is tried on its own; it is from now on if there is room.
    fn is_tried(&mut self, id: WorkerNo) -> bool {
        let may = self.candidates.contains(&id) || self.may_try(&self.workers[id]);
        if may {
            self.candidates.insert(id);
        }
        may
    }

    /// Whether a worker without a record may be tried on its own, while there are few with one. Who stays is tried first: a
    /// visitor is gone before it has earned anything.
    fn may_try(&self, worker: &Worker) -> bool {
        if !self.policy.trust.has_audits() {
            return true;
        }
        if worker.origin.kind == Kind::Visitor && self.runners >= self.policy.trust.core_min {
            return false;
        }
        let is_one_voice = |id: &WorkerNo| self.workers[*id].origin.is_one_voice_with(&worker.origin);
        self.candidates.len() < self.policy.trust.candidates_max && !self.candidates.iter().any(is_one_voice)
    }

    fn fill_candidates(&mut self) {
        let free = self.policy.trust.candidates_max.saturating_sub(self.candidates.len());
        // As many again, in case that some are one voice.
        let next: Vec<WorkerNo> = self.hungry.strangers.iter().take(2 * free).copied().collect();
        next.into_iter().for_each(|id| self.rank(id));
    }

    /// Workers with a record have become too few to lean on, or enough.
    fn thinned(&mut self) {
        if self.is_thin() {
            self.fill_candidates();
            self.ask_again();
        } else {
            core::mem::take(&mut self.candidates).into_iter().for_each(|id| self.rank(id));
        }
    }

    /// Draws who with a record executes a unit next that is asked again, whether it has time now or not; says whether there is somebody.
    /// If whoever comes first could have it, that would be an accomplice of the one whose word it rested on: a gang knows the moment, asks for
    /// work just then, and gives back what it does not want.
    pub(super) fn draw(&mut self, unit: UnitId) -> bool {
        let Some(run) = self.runs.get(&unit.run) else { return false };
        let Some(State::Open(open)) = run.units.get(unit.index) else { return false };
        let mut drawn = None;
        for _ in 0..DRAWS_MAX {
            let Some(no) = self.core.draw(&mut self.random) else { return false };
            let worker = &self.workers[no];
            let stays =
                self.paces.not_before(self.now, &worker.pace, worker.origin.kind, &run.spec.module, run.spec.wall());
            let is_fit = worker.is_at_work()
                && worker.drawn_for.len() < DRAWN_MAX
                && !open.knows(no)
                && !open.hears(worker, &self.workers)
                && open.failed_last != Some(no)
                && stays.is_none();
            if is_fit && !open.knows_engine(worker, &self.workers) {
                drawn = Some(no);
                break;
            }
            drawn = drawn.or(is_fit.then_some(no));
        }
        let Some(no) = drawn else { return false };
        self.workers[no].drawn_for.push(unit);
        if let Some(open) = self.open_mut(unit) {
            open.drawn = Some(no);
        }
        self.look_at_drawn(no);
        true
    }

    /// Lets a worker have a unit for which it was drawn, if it wants one.
    pub(super) fn look_at_drawn(&mut self, id: WorkerNo) {
        let worker = &self.workers[id];
        if worker.is_hungry && !worker.drawn_for.is_empty() {
            self.called.insert(id);
            self.stirred = true;
        }
    }

    /// Others are drawn for what this worker was: it is not there any more, or has no record.
    fn draw_anew(&mut self, id: WorkerNo) {
        for unit in core::mem::take(&mut self.workers[id].drawn_for) {
            if let Some(open) = self.open_mut(unit).filter(|open| open.drawn == Some(id)) {
                open.drawn = None;
                self.enqueue(unit);
            }
        }
    }

    /// Looks at what waits for those of whom there are too few by now.
    fn ask_again(&mut self) {
        let kept = |(id, run): (&manyhands_model::RunId, &super::Run)| {
            run.queue.kept().map(|index| UnitId { run: *id, index }).collect::<Vec<_>>()
        };
        let drawn = self.core.iter().flat_map(|no| self.workers[no].drawn_for.iter().copied());
        let kept: Vec<UnitId> = self.runs.iter().flat_map(kept).chain(drawn).collect();
        kept.into_iter().for_each(|unit| self.judge(self.now, unit));
    }

    // ── What words amount to ──

    /// Looks at the words about an open unit and does what they ask for.
    pub(super) fn weigh(&mut self, now: Timestamp, unit: UnitId, level: Level, wrong_ppb: u32) {
        let Some(open) = self.open(unit) else { return };
        if let Some(truth) = open.audited.clone() {
            return self.accept(now, unit, truth, None);
        }
        let crowd = self.crowd().filter(|crowd| self.runs.get(&unit.run).is_some_and(|run| run.is_for(Some(*crowd))));
        let trust = &self.policy.trust;
        let mut voices: Vec<(usize, Voice<'_>)> = Vec::with_capacity(open.reports.len());
        let mut heard: Vec<&Worker> = Vec::with_capacity(open.reports.len());
        for (at, word) in open.reports.iter().enumerate() {
            let worker = &self.workers[word.by];
            // Where it comes from may have changed since it was asked.
            if heard.iter().any(|other| other.origin.is_one_voice_with(&worker.origin)) {
                continue;
            }
            heard.push(worker);
            let (standing, credit) = worker.worth(word.era, trust);
            voices.push((at, Voice { outcome: &word.outcome, standing, credit, is_echo: word.is_echo }));
        }
        let can_audit = trust.has_audits() && !open.unauditable;
        // Nobody with a record is left to be asked: the operator's machine may say what they would.
        let is_exhausted = !self.core.iter().any(|no| {
            let worker = &self.workers[no];
            !open.knows(no) && !heard.iter().any(|it| it.origin.is_one_voice_with(&worker.origin))
        });
        let court = Court {
            trust,
            level,
            wrong: share(wrong_ppb),
            can_audit,
            is_given_up: open.unauditable,
            may_settle: self.audits.is_affordable(trust, Need::Dispute),
            may_stand_in: self.audits.is_affordable(trust, Need::Alone),
            is_thin: self.is_thin() || (can_audit && is_exhausted),
            is_alone: !can_audit && (self.is_thin() || is_exhausted),
            newcomers: self.newcomers,
            heard: self.newcomers.heard(trust.strangers_heard(self.strangers.count(), self.core.len())),
            crowd,
            has_strangers: !self.hungry.strangers.is_empty(),
            again: match &open.recalled {
                _ if open.asked_again => Some(Again::Silent),
                was => was.as_ref().map(Again::Caught),
            },
        };
        let words: Vec<Voice<'_>> = voices.iter().map(|(_, voice)| *voice).collect();
        let step = open.step;
        let finding = court.weigh(&words, |what, said| self.lottery.draw(what, unit, step, said));
        let (ask, audit) = match finding {
            Finding::Accepted { by, vouched } => {
                let Some((at, voice)) = voices.get(by) else { return };
                let is_confirmed = open.asked_again && open.recalled.as_ref() == Some(voice.outcome);
                let vouched = (vouched && !is_confirmed).then_some(*at).and_then(|at| u8::try_from(at).ok());
                let outcome = voice.outcome.clone();
                return self.accept(now, unit, outcome, vouched);
            }
            Finding::Hopeless => return self.end(now, unit, End::Undecided, None, None),
            Finding::Wanted(ask) => (ask, None),
            Finding::Audit(need) => (Ask::Nobody, Some(need)),
        };
        let Some(open) = self.open_mut(unit) else { return };
        open.ask = ask;
        let Some(record) = self.open(unit).map(|open| open.record(&self.workers)) else { return };
        if record != UnitRecord::default() {
            self.effects.push_back(Effect::Record(Record::Unit(unit, record)));
        }
        if let Some(need) = audit {
            self.audits.decide(unit, step, need);
        } else {
            self.enqueue(unit);
        }
    }

    /// Somebody without a record took a unit that anybody might have, and said nothing. Strangers go first there; so that it does not go
    /// from one who is silent to the next, those with a record have it now, if any are left.
    pub(super) fn turn_to_those_with_a_record(&mut self, unit: UnitId) {
        let Some(open) = self.open(unit).filter(|open| open.ask == Ask::Anybody && !self.is_thin()) else { return };
        let is_left = |no: WorkerNo| !open.knows(no) && !open.hears(&self.workers[no], &self.workers);
        if self.core.iter().any(is_left)
            && let Some(open) = self.open_mut(unit)
        {
            open.ask = Ask::Established;
        }
    }

    fn accept(&mut self, now: Timestamp, unit: UnitId, outcome: Outcome, vouched: Option<u8>) {
        match outcome.verdict {
            Verdict::Called { .. } => self.called(now, unit, outcome, vouched),
            _ => {
                let end = if outcome.verdict.is_ok() { End::Done } else { End::Failed };
                self.end(now, unit, end, Some(outcome), vouched);
            }
        }
    }

    /// Whether an answer is the operator's word.
    pub(super) fn is_proven(&self, open: &Open, accepted: Option<&Outcome>) -> bool {
        let is_trusted = |word: &Word| self.workers[word.by].worth(word.era, &self.policy.trust).0 == Standing::Trusted;
        open.audited.is_some() || open.reports.iter().any(|word| Some(&word.outcome) == accepted && is_trusted(word))
    }

    /// Credits those whose word was the answer. It rests on the anchor's, if there is one.
    pub(super) fn credit(
        &mut self,
        module: Digest,
        open: &Open,
        accepted: Option<&Outcome>,
        is_earned: bool,
        anchor: Option<WorkerNo>,
    ) {
        let Some(accepted) = accepted else { return };
        let trust = self.policy.trust;
        let work = if accepted.fuel > Fuel(0) { accepted.fuel } else { self.paces.cost(&module) };
        let work = work.0.max(1) as f64;
        let mut with_record_did = 0.0;
        let mut with_record = 0;
        for word in &open.reports {
            let is_right = word.outcome == *accepted;
            match self.workers[word.by].worth(word.era, &trust).0 {
                Standing::Stranger => self.newcomers.note(is_right),
                Standing::Established | Standing::Trusted => with_record += usize::from(is_right),
            }
        }
        // So many strangers that nobody with a record was needed.
        let by_numbers = is_earned && with_record == 0;
        for word in open.reports.iter().filter(|word| word.outcome == *accepted) {
            let worker = &mut self.workers[word.by];
            if worker.record.era != word.era {
                continue;
            }
            let has_record = worker.standing(&trust) >= Standing::Established;
            if open.audited.is_some() || by_numbers || with_record > usize::from(has_record) {
                worker.record.passed(&trust);
            }
            if anchor == Some(word.by) {
                worker.record.decided = worker.record.decided.saturating_add(1);
            }
            worker.record.lapses = worker.record.lapses.saturating_sub(1);
            // What it said long ago says nothing of its being there.
            if !word.is_echo {
                worker.counted_at = self.now;
                worker.effort.add(self.now, trust.effort_half_life(), work);
                with_record_did += if worker.is_in_core { work } else { 0.0 };
            }
            worker.quota = worker.quota.saturating_add(1);
        }
        self.note_effort(with_record_did);
    }

    /// Those with a record did so much more, or are so much fewer.
    fn note_effort(&mut self, work: f64) {
        self.effort.add(self.now, self.policy.trust.effort_half_life(), work);
    }

    /// A unit has an answer that had to be earned.
    pub(super) fn accepted(&mut self, unit: UnitId, record: &UnitRecord, judge: Judge) {
        self.audits.note_accepted();
        if judge != Judge::Operator {
            self.draw_audit(unit, record);
        }
        // Nothing rests on a decoy.
        let Some(Replica { worker, era, .. }) = record.vouched_by().filter(|_| !unit.is_decoy()) else { return };
        let Some(Rule::Earned { wrong_ppb, .. }) = self.runs.get(&unit.run).map(|run| run.spec.rule) else { return };
        let anchor = self.workers.enrol(*worker);
        self.history.note((anchor, *era), unit, self.policy.trust.life(share(wrong_ppb)));
        self.watch(anchor);
    }

    /// Draws whether an accepted unit is audited without any reason.
    pub(super) fn draw_audit(&mut self, unit: UnitId, record: &UnitRecord) {
        let Some(said) = &record.accepted else { return };
        if self.lottery.draw(Draw::Audit, unit, record.step, said) < self.policy.trust.audited() {
            self.audits.verify(unit, record.step, record.clone());
        }
    }

    // ── What the operator's machine says ──

    pub(super) fn begin_audits(&mut self) {
        while let Some((unit, step, purpose)) = self.audits.begin(&self.policy.trust) {
            let is_needed = match purpose {
                Purpose::Decide(_) => self.open(unit).is_some_and(|open| open.step == step && open.audited.is_none()),
                Purpose::Verify(_) => true,
            };
            if is_needed && self.audits.began(unit, step, purpose) {
                self.effects.push_back(Effect::Audit { unit, step });
            }
        }
    }

    pub(super) fn audited(
        &mut self,
        now: Timestamp,
        (unit, step): (UnitId, u32),
        outcome: Option<Outcome>,
        claims: Option<Fuel>,
    ) {
        let Some(purpose) = self.audits.done(unit, step, outcome.is_some()) else { return };
        // One that was to be verified may have been opened again meanwhile, and wait for this.
        let waits = |open: &&mut Open| open.step == step && open.audited.is_none();
        let open = self.open_mut(unit).filter(waits).map(|open| {
            open.unauditable = outcome.is_none();
            open.audited.clone_from(&outcome);
            open.audit_claims = claims;
            open.reports.iter().map(|word| word.by).collect::<Vec<_>>()
        });
        if open.is_some() {
            self.judge(now, unit);
        }
        let (Purpose::Verify(record), Some(truth)) = (purpose, outcome) else { return };
        if let (Some(run), Some(claims)) = (self.runs.get(&unit.run), claims) {
            self.paces.note_cost(run.spec.module, claims);
        }
        // Of those who are heard in the open unit all follows from its end.
        let heard = open.as_deref().unwrap_or_default();
        let agreeing = record.agreeing().filter_map(|word| Some((self.workers.find(word.worker)?, word.era)));
        let agreeing: Vec<(WorkerNo, Era)> = agreeing.filter(|(worker, _)| !heard.contains(worker)).collect();
        if record.accepted.as_ref() == Some(&truth) {
            for (no, _) in
                agreeing.into_iter().filter(|(no, era)| self.workers[*no].record.era == *era).collect::<Vec<_>>()
            {
                self.workers[no].record.passed(&self.policy.trust);
                self.note_worker(no);
                self.rank(no);
            }
            // If it was opened again meanwhile, this is no longer its record.
            if open.is_none() && self.is_settled(unit, step, &record) {
                let record = UnitRecord { audited: Some(truth), vouched: None, ..*record };
                self.effects.push_back(Effect::Record(Record::Unit(unit, record)));
            }
        } else if let Some(said) = record.accepted {
            let (answer, judge) = (truth.clone(), Judge::Operator);
            let fault = |era| Fault { unit, step, said: said.clone(), answer: answer.clone(), judge, era };
            if open.is_none() {
                self.refute(unit, step, truth);
            }
            for (no, era) in agreeing {
                self.dissent(now, no, fault(era));
            }
        }
    }

    pub(super) fn open(&self, unit: UnitId) -> Option<&Open> {
        match self.runs.get(&unit.run)?.units.get(unit.index)? {
            super::State::Open(open) => Some(open),
            _ => None,
        }
    }
}
