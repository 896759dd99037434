//! Promises that hold whatever happens, over many seeded worlds. A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use manyhands_model::{Digest, Fuel, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{Lease, Report, Task, Ticket};
use manyhands_scheduler::{
    Counts, Effect, End, Input, LeaseDraft, Policy, Quorum, Record, RunRecord, RunSpec, RunStatus, Scheduler,
    UnitRecord, WorkerRecord,
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
    run: RunId,
}

fn worker(index: u8) -> WorkerId {
    WorkerId([index; 32])
}

fn is_liar(id: WorkerId) -> bool {
    id.0[0] >= HONEST
}

fn truth(unit: UnitId) -> Outcome {
    let output = Digest::of(&unit.index.to_le_bytes());
    Outcome { verdict: Verdict::Ok { output, output_bytes: 4 }, fuel: Fuel(u64::from(unit.index)) }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let run = RunId([1; 16]);
        let spec = RunSpec {
            id: run,
            owner: "ann".into(),
            job: "job".parse().expect("a constant"),
            version: "1.0.0".parse().expect("a constant"),
            serial: 1,
            module: Digest::of(b"module"),
            wall_ms: 20_000,
            quorum: Quorum { agree: 2, most: 6 },
            priority: 0,
            reduce: random.next_u32().is_multiple_of(2),
            inputs: INPUTS,
            submitted_at: Timestamp(0),
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
                Effect::Withdraw { leases, .. } => self.held.retain(|held| !leases.contains(&held.id)),
                Effect::Record(Record::Evidence(..))
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
            self.tell(Input::Connected { worker: worker(index) });
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
            self.tell(Input::Connected { worker: who });
        }
        match self.below(3) {
            0 => {
                let count = self.below(4) as u16 + 1;
                self.tell(Input::Wants { worker: who, count });
            }
            1 => {
                if let Some(at) = self.held.iter().position(|held| held.worker == who) {
                    let draft = self.held.swap_remove(at);
                    let mut outcome = truth(draft.unit);
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
                    let mut reports = vec![Report { lease: lease(&draft), outcome }];
                    // Some come together, in any order.
                    while self.below(2) == 0 {
                        let Some(at) = self.reports.iter().position(|(draft, _)| draft.worker == worker) else { break };
                        let (draft, outcome) = self.reports.swap_remove(at);
                        reports.push(Report { lease: lease(&draft), outcome });
                    }
                    // The shell knows every worker that reports: it is connected.
                    self.tell(Input::Connected { worker });
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
    let LeaseDraft { id, unit, entry, seed, .. } = *draft;
    Lease { id, task: Task { index: unit.index, entry, input: Digest::of(b""), seed }, ticket: Ticket([0; 16]) }
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
                Some(End::Done) => assert_eq!(record.accepted, Some(truth(unit)), "seed {seed}: a lie was accepted"),
                // Too many machines failed, or too many lies: allowed, never a wrong answer.
                Some(End::Undecided | End::Skipped) => {}
                other => panic!("seed {seed}: {unit} ended as {other:?}"),
            }
        }
    }
}
