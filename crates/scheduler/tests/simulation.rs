//! Promises that hold whatever happens, over many seeded worlds. A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use manyhands_model::{Digest, Fuel, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{Lease, Task, Ticket};
use manyhands_scheduler::{
    Counts, Decoys, Effect, End, Groups, Input, LeaseDraft, Policy, Quorum, Record, Rule, RunRecord, RunSpec,
    RunStatus, Scheduler, Statement, UnitRecord, WorkerRecord,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

const INPUTS: u32 = 40;
const HONEST: u8 = 4;
const LIARS: u8 = 2;

/// What is on disk.
#[derive(Default)]
struct Disk {
    runs: BTreeMap<RunId, RunRecord>,
    units: BTreeMap<UnitId, UnitRecord>,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    inputs: BTreeSet<UnitId>,
    /// Requests for calls that were answered.
    answered: BTreeSet<(UnitId, u32)>,
    /// Steps that were paid for.
    paid: BTreeSet<(UnitId, u32)>,
}

struct World {
    seed: u64,
    random: ChaCha8Rng,
    now: Timestamp,
    scheduler: Scheduler,
    disk: Disk,
    connected: BTreeSet<u8>,
    /// Leases that workers hold, and what they will say.
    held: Vec<LeaseDraft>,
    /// Reports on their way; some of them twice.
    reports: Vec<(LeaseDraft, Outcome)>,
    /// Requests for calls that the coordinator has begun with.
    calls: Vec<(UnitId, u32)>,
    run: RunId,
}

fn worker(index: u8) -> WorkerId {
    WorkerId([index; 32])
}

fn is_liar(id: WorkerId) -> bool {
    id.0[0] >= HONEST
}

/// How often a unit asks for calls.
fn requests(unit: UnitId) -> u32 {
    unit.index % 4
}

fn truth(unit: UnitId, step: u32) -> Outcome {
    let verdict = if step < requests(unit) {
        Verdict::Called {
            calls: Digest::of_parts([&unit.index.to_le_bytes()[..], &step.to_le_bytes()]),
            calls_bytes: 8,
        }
    } else {
        Verdict::Ok { output: Digest::of(&unit.index.to_le_bytes()), output_bytes: 4 }
    };
    Outcome { verdict, fuel: Fuel(u64::from(unit.index)) }
}

/// A run of one unit.
fn spec(id: RunId, quorum: Quorum) -> RunSpec {
    RunSpec {
        id,
        owner: "ann".into(),
        job: "job".parse().expect("a constant"),
        version: "1.0.0".parse().expect("a constant"),
        serial: 1,
        module: Digest::of(b"module"),
        wall_ms: 20_000,
        rule: Rule::Fixed(quorum),
        priority: 0,
        reduce: false,
        inputs: 1,
        submitted_at: Timestamp(0),
        is_dry: false,
        decoys: Decoys::default(),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let run = RunId([1; 16]);
        let spec = RunSpec {
            reduce: random.next_u32().is_multiple_of(2),
            inputs: INPUTS,
            ..spec(run, Quorum { agree: 2, most: 6 })
        };
        let record = RunRecord {
            spec: spec.clone(),
            status: RunStatus::Active,
            counts: Counts::default(),
            dissents: 0,
            finished_at: None,
        };
        let mut world = Self {
            seed,
            scheduler: Scheduler::new(Policy::default(), [seed as u8; 32]),
            now: Timestamp(0),
            disk: Disk { runs: BTreeMap::from([(run, record)]), ..Disk::default() },
            connected: BTreeSet::new(),
            held: Vec::new(),
            reports: Vec::new(),
            calls: Vec::new(),
            random,
            run,
        };
        world.tell(Input::Submitted(spec));
        world
    }

    fn below(&mut self, most: u32) -> u32 {
        self.random.next_u32() % most
    }

    fn tell(&mut self, input: Input) {
        self.scheduler.handle(self.now, input);
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Record(Record::Run(run)) => drop(self.disk.runs.insert(run.spec.id, *run)),
                Effect::Record(Record::Unit(id, unit)) => {
                    let voters: BTreeSet<_> = unit.replicas.iter().map(|replica| replica.worker).collect();
                    assert_eq!(voters.len(), unit.replicas.len(), "seed {}: a worker counts twice on {id}", self.seed);
                    if let (Some(End::Done), Some(before)) = (unit.end, self.disk.units.get(&id)) {
                        assert!(before.end.is_none(), "seed {}: {id} is accepted twice", self.seed);
                    }
                    self.disk.units.insert(id, unit);
                }
                Effect::Record(Record::Paid(id, paid)) => {
                    let unit = &self.disk.units[&id];
                    let accepted = unit.accepted.as_ref().expect("only what is accepted is paid");
                    let agreeing = unit.replicas.iter().filter(|replica| replica.outcome == *accepted);
                    let fair: Vec<_> = agreeing.map(|replica| (replica.worker, accepted.fuel.into())).collect();
                    assert_eq!(paid.to, fair, "seed {}: {id}", self.seed);
                    assert!(self.disk.paid.insert((id, unit.step)), "seed {}: {id} is paid twice", self.seed);
                }
                Effect::Record(Record::Worker(id, record)) => drop(self.disk.workers.insert(id, record)),
                Effect::Grant(draft) => self.held.push(draft),
                Effect::Assemble { unit, parts } => {
                    let done = |index| {
                        self.disk
                            .units
                            .get(&UnitId { run: unit.run, index })
                            .is_some_and(|part| part.end == Some(End::Done))
                    };
                    assert!(parts.into_iter().all(done), "seed {}: {unit} has not all its parts", self.seed);
                    self.disk.inputs.insert(unit);
                    self.scheduler.handle(self.now, Input::InputReady(unit));
                }
                Effect::Call { unit, step, calls } => {
                    assert!(step < requests(unit), "seed {}: {unit} asks for nothing at step {step}", self.seed);
                    let asked = truth(unit, step).verdict.content().map(|(asked, _)| asked);
                    assert_eq!(Some(calls), asked, "seed {}: a lie is called", self.seed);
                    if self.disk.answered.contains(&(unit, step)) {
                        self.scheduler.handle(self.now, Input::Answered { unit, step });
                    } else {
                        self.calls.push((unit, step));
                    }
                }
                Effect::Withdraw { leases, .. } => self.held.retain(|held| !leases.contains(&held.id)),
                Effect::Record(Record::Evidence(..))
                | Effect::Audit { .. }
                | Effect::Recall { .. }
                | Effect::Reopened { .. }
                | Effect::Changed { .. }
                | Effect::Receipts { .. }
                | Effect::Ended(..)
                | Effect::Dissent { .. }
                | Effect::RunEnded(_) => {}
            }
        }
        if let Some(record) = self.scheduler.run(self.run) {
            let Counts { waiting, running, done, failed, cancelled } = record.counts;
            let total = record.spec.reduction().units();
            assert_eq!(waiting + running + done + failed + cancelled, total, "seed {}: counts", self.seed);
        }
    }

    fn crash(&mut self) {
        self.calls.clear();
        self.scheduler = Scheduler::new(Policy::default(), [self.seed as u8 ^ 0x55; 32]);
        for (id, record) in &self.disk.workers {
            self.scheduler.restore_worker(*id, *record);
        }
        let record = self.disk.runs[&self.run].clone();
        if record.status == RunStatus::Active {
            let units: Vec<_> = self.disk.units.iter().map(|(id, unit)| (id.index, unit.clone())).collect();
            let (inputs, run) = (&self.disk.inputs, self.run);
            self.scheduler.restore_run(self.now, record, units, |index| inputs.contains(&UnitId { run, index }));
        }
        self.obey();
        for index in self.connected.clone() {
            self.tell(Input::Connected { worker: worker(index), origin: Groups::default() });
        }
    }

    /// One thing that happens. `trouble` out of 100 of them are bad.
    fn step(&mut self, trouble: u32) {
        self.now = Timestamp(self.now.0 + u64::from(self.below(3_000)));
        let index = self.below(u32::from(HONEST + LIARS)) as u8;
        let who = worker(index);
        if self.below(100) < trouble {
            match self.below(5) {
                0 => self.crash(),
                1 => {
                    self.connected.remove(&index);
                    self.held.retain(|held| held.worker != who);
                    self.tell(Input::Disconnected { worker: who });
                }
                2 if !self.held.is_empty() => {
                    let lost = self.below(self.held.len() as u32) as usize;
                    self.held.swap_remove(lost);
                }
                3 => {
                    if let Some(held) = self.held.iter().find(|held| held.worker == who) {
                        let lease = held.id;
                        self.held.retain(|held| held.id != lease);
                        self.tell(Input::MachineFailed { worker: who, lease });
                    }
                }
                _ => {
                    // A report arrives twice, out of order.
                    if let Some(report) = self.reports.first().cloned() {
                        self.reports.push(report);
                    }
                    self.now = Timestamp(self.now.0 + 40_000);
                }
            }
            return;
        }
        if self.connected.insert(index) {
            self.tell(Input::Connected { worker: who, origin: Groups::default() });
        }
        if let Some((unit, step)) = self.calls.pop() {
            self.disk.answered.insert((unit, step));
            // The process may end before it says so.
            if self.below(100) >= trouble {
                self.tell(Input::Answered { unit, step });
            } else {
                self.crash();
            }
        }
        match self.below(3) {
            0 => {
                let count = self.below(4) as u16 + 1;
                self.tell(Input::Wants { worker: who, count });
            }
            1 => {
                if let Some(at) = self.held.iter().position(|held| held.worker == who) {
                    let draft = self.held.swap_remove(at);
                    let mut outcome = truth(draft.unit, draft.step);
                    if is_liar(who) && self.below(2) == 0 {
                        outcome.fuel = Fuel(1_000 + u64::from(self.below(1_000_000)));
                    }
                    self.reports.push((draft, outcome));
                }
            }
            _ => {
                if !self.reports.is_empty() {
                    let at = self.below(self.reports.len() as u32) as usize;
                    let (draft, outcome) = self.reports.swap_remove(at);
                    let worker = draft.worker;
                    let mut reports = vec![Statement { lease: lease(&draft), outcome, claims: None }];
                    // Some come together, in any order.
                    while self.below(2) == 0 {
                        let Some(at) = self.reports.iter().position(|(draft, _)| draft.worker == worker) else { break };
                        let (draft, outcome) = self.reports.swap_remove(at);
                        reports.push(Statement { lease: lease(&draft), outcome, claims: None });
                    }
                    // The shell knows every worker that reports: it is connected.
                    self.tell(Input::Connected { worker, origin: Groups::default() });
                    self.connected.insert(worker.0[0]);
                    let (run, module) = (self.run, Digest::of(b"module"));
                    self.tell(Input::Reported { worker, run, module, reports, evidence: Bytes::new() });
                }
            }
        }
        if self.scheduler.wake_at().is_some_and(|at| at <= self.now) {
            self.tell(Input::TimePassed);
        }
    }

    fn is_over(&self) -> bool {
        self.disk.runs[&self.run].status != RunStatus::Active
    }
}

fn lease(draft: &LeaseDraft) -> Lease {
    let LeaseDraft { id, unit, step, entry, seed, .. } = *draft;
    Lease { id, task: Task { index: unit.index, step, entry, input: Digest::of(b""), seed }, ticket: Ticket([0; 16]) }
}

/// Safety at every step; liveness and truth once there is no more trouble than liars.
#[test]
fn whatever_happens_every_unit_ends_with_the_truth() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step(30);
        }
        let mut steps = 0;
        while !world.is_over() {
            world.step(0);
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: units are stuck: {:?}", world.scheduler.run(world.run));
        }
        let units = world.disk.runs[&world.run].spec.reduction().units();
        for index in 0..units {
            let unit = UnitId { run: world.run, index };
            let record = &world.disk.units[&unit];
            match record.end {
                Some(End::Done) => {
                    assert_eq!(record.accepted, Some(truth(unit, requests(unit))), "seed {seed}: a lie was accepted");
                    assert_eq!(record.step, requests(unit), "seed {seed}: a step was left out");
                }
                // Too many machines failed, or too many lies: allowed, never a wrong answer.
                Some(End::Undecided | End::Skipped) => {}
                other => panic!("seed {seed}: {unit} ended as {other:?}"),
            }
        }
    }
}

/// People who wait for one answer each, a few honest workers, and many who take leases and keep them.
struct Counter {
    seed: u64,
    random: ChaCha8Rng,
    now: u64,
    scheduler: Scheduler,
    /// Leases that are out, with the moment of their report if there will be one.
    held: Vec<(LeaseDraft, Option<u64>)>,
    /// When each run was submitted, and what it asks for.
    waiting: BTreeMap<RunId, (u64, Quorum)>,
    /// When each was submitted that has its answer, and how long that took.
    waited: Vec<(u64, u64)>,
    /// Whether the sleeper answers, which it does in the beginning.
    awake: bool,
    /// When it first kept something.
    asleep_since: Option<u64>,
}

/// Workers that answer.
const BUSY: u8 = 4;
/// One that answered once and then only takes, and those who do nothing else.
const SLEEPER: u8 = BUSY;
const TAKERS: u8 = BUSY + 7;

impl Counter {
    fn new(seed: u64) -> Self {
        let policy = Policy { leases_per_newcomer_max: 50, ..Policy::default() };
        let mut counter = Self {
            seed,
            random: ChaCha8Rng::seed_from_u64(seed),
            now: 1_000,
            scheduler: Scheduler::new(policy, [seed as u8; 32]),
            held: Vec::new(),
            waiting: BTreeMap::new(),
            waited: Vec::new(),
            awake: true,
            asleep_since: None,
        };
        // Each brings something before there is anybody else; after the second time it is known what is usual.
        for index in (0..=SLEEPER).chain(0..=SLEEPER) {
            counter.tell(Input::Connected { worker: worker(index), origin: Groups::default() });
            counter.submit(Quorum { agree: 1, most: 1 });
            counter.tell(Input::Wants { worker: worker(index), count: 1 });
            counter.pass(10);
            counter.report();
            counter.tell(Input::Wants { worker: worker(index), count: 0 });
        }
        counter.awake = false;
        counter
    }

    fn below(&mut self, most: u32) -> u32 {
        self.random.next_u32() % most
    }

    fn submit(&mut self, quorum: Quorum) {
        let mut id = [0; 16];
        self.random.fill_bytes(&mut id);
        let spec = RunSpec { priority: i8::MAX, submitted_at: Timestamp(self.now), ..spec(RunId(id), quorum) };
        self.waiting.insert(spec.id, (self.now, quorum));
        self.tell(Input::Submitted(spec));
    }

    fn tell(&mut self, input: Input) {
        self.scheduler.handle(Timestamp(self.now), input);
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Grant(draft) => {
                    let answers = draft.worker.0[0] < BUSY || self.awake;
                    let due = answers.then(|| self.now + 1 + u64::from(self.random.next_u32() % 5));
                    if draft.worker == worker(SLEEPER) && !self.awake {
                        self.asleep_since.get_or_insert(self.now);
                    }
                    self.held.push((draft, due));
                }
                Effect::Withdraw { leases, .. } => self.held.retain(|(held, _)| !leases.contains(&held.id)),
                Effect::Ended(unit, end) => {
                    assert_eq!(end, End::Done, "seed {}", self.seed);
                    let waiting = self.waiting.remove(&unit.run);
                    assert!(waiting.is_some(), "seed {}: {unit} is accepted twice", self.seed);
                    let since = waiting.map_or(0, |(since, _)| since);
                    self.waited.push((since, self.now - since));
                }
                _ => {}
            }
        }
        let mut out: BTreeMap<RunId, usize> = BTreeMap::new();
        for (draft, _) in &self.held {
            *out.entry(draft.unit.run).or_default() += 1;
        }
        for (run, (_, quorum)) in &self.waiting {
            let out = out.get(run).copied().unwrap_or_default();
            assert!(out <= 2 * usize::from(quorum.agree), "seed {}: {out} replicas are out", self.seed);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        if self.scheduler.wake_at().is_some_and(|at| at.0 <= self.now) {
            self.tell(Input::TimePassed);
        }
    }

    fn report(&mut self) {
        while let Some(at) = self.held.iter().position(|(_, due)| due.is_some_and(|due| due <= self.now)) {
            let (draft, _) = self.held.swap_remove(at);
            let reports =
                vec![Statement { lease: lease(&draft), outcome: truth(draft.unit, draft.step), claims: None }];
            let (worker, run, module) = (draft.worker, draft.unit.run, Digest::of(b"module"));
            self.tell(Input::Reported { worker, run, module, reports, evidence: Bytes::new() });
        }
    }

    /// One millisecond.
    fn step(&mut self) {
        self.pass(1);
        self.report();
        let index = self.below(u32::from(TAKERS)) as u8;
        let who = worker(index);
        if index >= BUSY {
            self.tell(Input::Connected { worker: who, origin: Groups::default() });
            self.tell(Input::Wants { worker: who, count: 9 });
        } else if self.below(100) == 0 {
            // Its connection breaks, and it forgets.
            self.held.retain(|(held, _)| held.worker != who);
            self.tell(Input::Disconnected { worker: who });
            self.tell(Input::Connected { worker: who, origin: Groups::default() });
        } else if !self.held.iter().any(|(held, _)| held.worker == who) {
            self.tell(Input::Wants { worker: who, count: 1 });
        }
    }
}

/// However many take leases and keep them, nobody waits for them much longer than it takes to see that, and nobody
/// is given more than twice what a unit needs. One who had a record keeps some for a moment, and then has none.
#[test]
fn takers_keep_nobody_waiting() {
    for seed in 0..50 {
        let mut counter = Counter::new(seed);
        for _ in 0..100 {
            let agree = counter.below(2) as u8 + 1;
            counter.submit(Quorum { agree, most: 4 });
            for _ in 0..counter.below(40) {
                counter.step();
            }
        }
        for _ in 0..300 {
            counter.step();
        }
        let now = counter.now;
        // The patience of 50 ms, and a step.
        let seen_through = counter.asleep_since.map_or(0, |since| since + 51);
        let still = counter.waiting.values().map(|(since, _)| (*since, now - since));
        for (since, ms) in counter.waited.iter().copied().chain(still) {
            assert!(ms < 250 || since < seen_through, "seed {seed}: somebody waits from {since} on for {ms} ms");
        }
        assert!(counter.waited.len() > 90, "seed {seed}: {} answers", counter.waited.len());
    }
}
