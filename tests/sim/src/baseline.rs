//! Other people's rules, behind the scheduler's three verbs. They are here to be compared with, and in use nowhere.
//!
//! Only what decides about answers is theirs: the line of units, the leases and the deadlines are as simple as may be.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use manyhands_model::{Judge, LeaseId, Outcome, Timestamp, UnitId, WorkerId};
use manyhands_protocol::{Entry, Receipt};
use manyhands_scheduler::{
    Consequence, Effect, End, Era, Fault, Input, LeaseDraft, Record, Replica, RunSpec, UnitRecord,
};

use crate::random::Random;
use crate::rule::Coordinator;
use crate::world::truth;

/// BOINC: `MIN_CONSECUTIVE_VALID` results in a row until one replica may do.
const CONSECUTIVE_VALID_MIN: u32 = 10;
/// Equal outcomes that BOINC and a majority want.
const AGREE: usize = 2;
/// Replicas after which a unit ends undecided.
const REPLICAS_MAX: usize = 24;
/// Sarmenta: the share of a worker's work that is a quiz.
const QUIZZES: f64 = 0.05;
/// Sarmenta: the share of wrong answers that is aimed at.
const WRONG_MAX: f64 = 1e-4;

/// Whose rule it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// So many replicas at once, and one more at a time until two agree.
    Majority { replicas: usize },
    /// BOINC's adaptive replication (`sched_send.cpp` and `validator.cpp` of 2026): a unit for a host with n valid results in a row, and
    /// at least [`CONSECUTIVE_VALID_MIN`], stays alone with a probability of 1 - 1/n, and its result is taken for valid. A result that
    /// is not valid begins the host's row anew.
    Boinc,
    /// L. F. G. Sarmenta, *Sabotage-tolerance mechanisms for volunteer computing systems*, CCGrid 2001, with the probabilities of
    /// his credibility-based voting: a worker is as credible as the quizzes say that it passed, and a group of equal
    /// outcomes as it follows from its members. Who fails a quiz is on the blacklist, and its votes are taken back. `hostile`
    /// is the share that is assumed; here it is the true one.
    Credibility { hostile: f64 },
}

#[derive(Default)]
struct Host {
    wants: u16,
    is_connected: bool,
    is_in_line: bool,
    is_banned: bool,
    /// BOINC: valid results in a row, of those that were replicated.
    valid: u32,
    /// Sarmenta: quizzes that it passed.
    passed: u32,
    /// Sarmenta: where it voted.
    voted: Vec<UnitId>,
    leases: Vec<LeaseId>,
}

#[derive(Default)]
struct Unit {
    votes: Vec<Replica>,
    out: Vec<WorkerId>,
    /// How many replicas it wants in all.
    target: usize,
    has_ended: bool,
}

impl Unit {
    fn wants(&self) -> bool {
        !self.has_ended && self.votes.len() + self.out.len() < self.target
    }

    fn knows(&self, worker: WorkerId) -> bool {
        self.out.contains(&worker) || self.votes.iter().any(|vote| vote.worker == worker)
    }
}

struct Held {
    unit: UnitId,
    worker: WorkerId,
    is_quiz: bool,
}

/// A coordinator by one of these rules.
pub(crate) struct Baseline {
    kind: Kind,
    random: Random,
    now: Timestamp,
    runs: Vec<RunSpec>,
    units: BTreeMap<UnitId, Unit>,
    hosts: BTreeMap<WorkerId, Host>,
    leases: BTreeMap<LeaseId, Held>,
    deadlines: BinaryHeap<Reverse<(Timestamp, LeaseId)>>,
    /// Units that want another replica.
    again: VecDeque<UnitId>,
    /// The first unit that nobody was given: which run, and which of its units.
    fresh: (usize, u32),
    quizzes: u32,
    hungry: VecDeque<WorkerId>,
    effects: VecDeque<Effect>,
}

impl Baseline {
    pub(crate) fn new(kind: Kind, seed: [u8; 32]) -> Self {
        let mut number = [0; 8];
        number.copy_from_slice(&seed[..8]);
        Self {
            kind,
            random: Random::new(u64::from_le_bytes(number)),
            now: Timestamp(0),
            runs: Vec::new(),
            units: BTreeMap::new(),
            hosts: BTreeMap::new(),
            leases: BTreeMap::new(),
            deadlines: BinaryHeap::new(),
            again: VecDeque::new(),
            fresh: (0, 0),
            quizzes: 0,
            hungry: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    fn wants(&mut self, worker: WorkerId, count: u16) {
        let Some(host) = self.hosts.get_mut(&worker) else { return };
        host.wants = count;
        if count > 0 && !host.is_in_line {
            host.is_in_line = true;
            self.hungry.push_back(worker);
        }
    }

    fn disconnected(&mut self, worker: WorkerId) {
        let Some(host) = self.hosts.get_mut(&worker) else { return };
        host.is_connected = false;
        host.wants = 0;
        for lease in core::mem::take(&mut host.leases) {
            self.release(lease);
        }
    }

    fn release(&mut self, lease: LeaseId) -> Option<Held> {
        let held = self.leases.remove(&lease)?;
        if let Some(host) = self.hosts.get_mut(&held.worker) {
            host.leases.retain(|id| *id != lease);
        }
        if let (false, Some(unit)) = (held.is_quiz, self.units.get_mut(&held.unit)) {
            unit.out.retain(|worker| *worker != held.worker);
            if unit.wants() {
                self.again.push_back(held.unit);
            }
        }
        Some(held)
    }

    // ── Leases ──

    fn dispatch(&mut self) {
        let mut in_vain = 0;
        while in_vain < self.hungry.len() {
            let Some(worker) = self.hungry.pop_front() else { return };
            let Some(host) = self.hosts.get_mut(&worker) else { continue };
            if host.wants == 0 || host.is_banned || !host.is_connected {
                host.is_in_line = false;
                continue;
            }
            in_vain = if self.grant(worker) { 0 } else { in_vain + 1 };
            self.hungry.push_back(worker);
        }
    }

    fn grant(&mut self, worker: WorkerId) -> bool {
        let has_work = self.fresh.0 < self.runs.len() || !self.again.is_empty();
        if matches!(self.kind, Kind::Credibility { .. }) && has_work && self.random.chance(QUIZZES) {
            // Nobody is given it again, and it is numbered like no unit; no strategy looks at that.
            let Some(run) = self.runs.first() else { return false };
            let unit = UnitId { run: run.id, index: run.inputs + self.quizzes };
            self.quizzes += 1;
            self.lease(worker, unit, true);
            return true;
        }
        let Some(unit) = self.take(worker) else { return false };
        self.lease(worker, unit, false);
        true
    }

    fn take(&mut self, worker: WorkerId) -> Option<UnitId> {
        let mut at = 0;
        while let Some(id) = self.again.get(at).copied() {
            match self.units.get(&id) {
                Some(unit) if unit.wants() && unit.knows(worker) => at += 1,
                Some(unit) if unit.wants() => {
                    self.again.remove(at);
                    if unit.votes.is_empty() && unit.out.is_empty() {
                        // Its only replica was lost: it is as if nobody had been given it.
                        self.begin(worker, id);
                    }
                    return Some(id);
                }
                _ => drop(self.again.remove(at)),
            }
        }
        let (run, index) = self.fresh;
        let spec = self.runs.get(run)?;
        let id = UnitId { run: spec.id, index };
        self.fresh = if index + 1 < spec.inputs { (run, index + 1) } else { (run + 1, 0) };
        self.begin(worker, id);
        Some(id)
    }

    /// Decides how many replicas a unit is to have whose first one goes to `worker`.
    fn begin(&mut self, worker: WorkerId, id: UnitId) {
        let target = match self.kind {
            Kind::Majority { replicas } => replicas,
            Kind::Boinc => {
                let valid = self.hosts.get(&worker).map_or(0, |host| host.valid);
                let alone = valid >= CONSECUTIVE_VALID_MIN && self.random.unit() > 1.0 / f64::from(valid);
                if alone { 1 } else { AGREE }
            }
            // One alone is never credible enough: none has passed as many quizzes.
            Kind::Credibility { .. } => 2,
        };
        (1..target).for_each(|_| self.again.push_back(id));
        self.units.insert(id, Unit { target, ..Unit::default() });
    }

    fn lease(&mut self, worker: WorkerId, unit: UnitId, is_quiz: bool) {
        let mut id = [0; 16];
        id.copy_from_slice(&self.random.bytes()[..16]);
        let id = LeaseId(id);
        let wall_ms = self.runs.first().map_or(0, |run| run.wall_ms);
        // As the scheduler's own.
        let expires_at = self.now.after(Duration::from_millis(2 * wall_ms + 60_000));
        self.leases.insert(id, Held { unit, worker, is_quiz });
        self.deadlines.push(Reverse((expires_at, id)));
        if let (false, Some(unit)) = (is_quiz, self.units.get_mut(&unit)) {
            unit.out.push(worker);
        }
        if let Some(host) = self.hosts.get_mut(&worker) {
            host.leases.push(id);
            host.wants -= 1;
        }
        let draft =
            LeaseDraft { id, worker, unit, step: 0, entry: Entry::Run, seed: [0; 32], issued_at: self.now, expires_at };
        self.effects.push_back(Effect::Grant(draft));
    }

    fn expire(&mut self) {
        while let Some(Reverse((at, lease))) = self.deadlines.peek().copied() {
            if at > self.now {
                return;
            }
            self.deadlines.pop();
            if let Some(held) = self.release(lease) {
                self.effects.push_back(Effect::Withdraw { worker: held.worker, leases: vec![lease] });
            }
        }
    }

    // ── Votes ──

    fn reported(&mut self, worker: WorkerId, lease: LeaseId, outcome: Outcome) -> Receipt {
        let refused = || Receipt::Refused(String::new());
        let Some(held) = self.release(lease).filter(|held| held.worker == worker) else { return refused() };
        let banned = self.hosts.get(&worker).is_none_or(|host| host.is_banned);
        if banned {
            return refused();
        }
        if held.is_quiz {
            if outcome == truth(held.unit) {
                if let Some(host) = self.hosts.get_mut(&worker) {
                    host.passed += 1;
                }
            } else {
                self.blacklist(worker, held.unit, outcome);
            }
            return Receipt::Recorded;
        }
        let Some(unit) = self.units.get_mut(&held.unit).filter(|unit| !unit.has_ended) else { return refused() };
        unit.votes.push(Replica { worker, era: Era::default(), outcome, claims: None, is_echo: false });
        if let (Kind::Credibility { .. }, Some(host)) = (self.kind, self.hosts.get_mut(&worker)) {
            host.voted.push(held.unit);
        }
        self.judge(held.unit);
        Receipt::Recorded
    }

    /// Looks at the votes of a unit that has not ended.
    fn judge(&mut self, id: UnitId) {
        let Some(unit) = self.units.get(&id) else { return };
        let votes = |outcome: &Outcome| unit.votes.iter().filter(|vote| vote.outcome == *outcome).count();
        let largest = unit.votes.iter().map(|vote| &vote.outcome).max_by_key(|outcome| votes(outcome));
        let accepted = match self.kind {
            _ if unit.votes.len() < unit.target => return,
            Kind::Majority { .. } => largest.filter(|outcome| votes(outcome) >= AGREE),
            Kind::Boinc => largest.filter(|outcome| votes(outcome) >= AGREE.min(unit.target)),
            Kind::Credibility { hostile } => self.credible(&unit.votes, hostile),
        };
        if let Some(accepted) = accepted.cloned() {
            self.end(id, End::Done, Some(accepted));
        } else if unit.votes.len() >= REPLICAS_MAX {
            self.end(id, End::Undecided, None);
        } else if let Some(unit) = self.units.get_mut(&id) {
            unit.target = unit.target.max(unit.votes.len() + 1);
            if unit.wants() {
                self.again.push_back(id);
            }
        }
    }

    /// The outcome that is wrong with a probability of at most [`WRONG_MAX`].
    fn credible<'a>(&self, votes: &'a [Replica], hostile: f64) -> Option<&'a Outcome> {
        let credit = |vote: &Replica| {
            let passed = self.hosts.get(&vote.worker).map_or(0, |host| host.passed);
            // Theorem 1 with blacklisting; and somebody is not less credible for having passed a quiz.
            let earned = 1.0 - hostile / (1.0 - hostile) / (f64::from(passed) * core::f64::consts::E);
            if passed == 0 { 1.0 - hostile } else { earned.max(1.0 - hostile) }
        };
        let mut groups: Vec<(&Outcome, f64, f64)> = Vec::new();
        for vote in votes {
            let credit = credit(vote);
            match groups.iter_mut().find(|group| *group.0 == vote.outcome) {
                Some((_, good, bad)) => {
                    *good *= credit;
                    *bad *= 1.0 - credit;
                }
                None => groups.push((&vote.outcome, credit, 1.0 - credit)),
            }
        }
        let all_bad: f64 = groups.iter().map(|group| group.2).product();
        let only_good = |&(_, good, bad): &(&Outcome, f64, f64)| good * all_bad / bad;
        let total = all_bad + groups.iter().map(only_good).sum::<f64>();
        groups.iter().find(|group| only_good(group) >= (1.0 - WRONG_MAX) * total).map(|group| group.0)
    }

    fn end(&mut self, id: UnitId, end: End, accepted: Option<Outcome>) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        unit.has_ended = true;
        for vote in &unit.votes {
            let Some(host) = self.hosts.get_mut(&vote.worker) else { continue };
            if Some(&vote.outcome) == accepted.as_ref() {
                // One that stayed alone counts for nothing.
                host.valid += u32::from(unit.target > 1);
            } else if let Some(answer) = accepted.clone() {
                host.valid = 0;
                let (judge, era) = (Judge::Quorum, Era::default());
                let fault = Fault { unit: id, step: 0, said: vote.outcome.clone(), answer, judge, era };
                let consequence = Consequence::Doubt;
                self.effects.push_back(Effect::Dissent { worker: vote.worker, fault, consequence });
            }
        }
        let record = UnitRecord { end: Some(end), accepted, replicas: unit.votes.clone(), ..UnitRecord::default() };
        self.effects.push_back(Effect::Record(Record::Unit(id, record)));
    }

    /// Whoever failed a quiz has said nothing.
    fn blacklist(&mut self, worker: WorkerId, quiz: UnitId, said: Outcome) {
        let Some(host) = self.hosts.get_mut(&worker) else { return };
        host.is_banned = true;
        let voted = core::mem::take(&mut host.voted);
        let (judge, era) = (Judge::Operator, Era::default());
        let fault = Fault { unit: quiz, step: 0, said, answer: truth(quiz), judge, era };
        self.effects.push_back(Effect::Dissent { worker, fault, consequence: Consequence::Banned });
        for id in voted {
            let Some(unit) = self.units.get_mut(&id) else { continue };
            unit.votes.retain(|vote| vote.worker != worker);
            if core::mem::take(&mut unit.has_ended) {
                let record = UnitRecord { replicas: unit.votes.clone(), ..UnitRecord::default() };
                self.effects.push_back(Effect::Record(Record::Unit(id, record)));
            }
            if unit.wants() {
                self.again.push_back(id);
            }
            self.judge(id);
        }
    }
}

impl Coordinator for Baseline {
    fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = now;
        match input {
            Input::Submitted(spec) => self.runs.push(spec),
            Input::Connected { worker, .. } => {
                let host = self.hosts.entry(worker).or_default();
                host.is_connected = true;
                host.wants = 0;
            }
            Input::Disconnected { worker } | Input::Left { worker } => self.disconnected(worker),
            Input::Wants { worker, count } => self.wants(worker, count),
            Input::Reported { worker, reports, .. } => {
                let receipts = reports
                    .into_iter()
                    .map(|report| (report.lease.id, self.reported(worker, report.lease.id, report.outcome)))
                    .collect();
                self.effects.push_back(Effect::Receipts { worker, receipts });
            }
            Input::GaveBack { leases, .. } => {
                for lease in leases {
                    self.release(lease);
                }
            }
            Input::TimePassed
            | Input::Cancel(_)
            | Input::Retry(_)
            | Input::InputReady(_)
            | Input::InputImpossible(_)
            | Input::Answered { .. }
            | Input::MachineFailed { .. }
            | Input::Audited { .. }
            | Input::Recalled { .. }
            | Input::Forgotten(_)
            | Input::Pardoned { .. }
            | Input::Deposited { .. }
            | Input::Progress { .. } => {}
        }
        self.expire();
        self.dispatch();
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn wake_at(&self) -> Option<Timestamp> {
        // A lease that has ended needs nobody to wake for it.
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }
}
