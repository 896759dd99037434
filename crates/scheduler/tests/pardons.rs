//! What a pardon promises, whatever happens around it: nothing that the worker did before counts against it again, and nothing wrong that it
//! said stays. Many worlds, each from a seed.

use std::collections::BTreeMap;

use bytes::Bytes;
use manyhands_model::{Digest, Fuel, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{Lease, Task, Ticket};
use manyhands_scheduler::{
    Consequence, Counts, Decoys, Effect, Groups, Input, LeaseDraft, Level, Policy, Quorum, Record, Rule, RunRecord,
    RunSpec, RunStatus, Scheduler, Statement, Trust, UnitRecord, WorkerRecord,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

const WORKERS: u8 = 8;
const RUNS: u8 = 6;
const INPUTS: u32 = 10;
/// Its memory was bad, and is mended when it is pardoned.
const MENDED: WorkerId = WorkerId([0; 32]);

struct World {
    seed: u64,
    random: ChaCha8Rng,
    now: Timestamp,
    scheduler: Scheduler,
    runs: BTreeMap<RunId, RunRecord>,
    units: BTreeMap<UnitId, UnitRecord>,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    held: Vec<LeaseDraft>,
    /// What the operator's machine, and the disk, are still to answer.
    audits: Vec<(UnitId, u32)>,
    recalls: Vec<(RunId, Vec<u32>)>,
    is_pardoned: bool,
    /// Lies that came out after they were pardoned.
    came_out: u32,
}

fn policy() -> Policy {
    // Everything that is accepted is executed by the operator's machine as well, some time.
    let trust = Trust { audit_share: 1.5, audits_in_flight_max: 3, core_min: 2, ..Trust::default() };
    Policy { trust, ..Policy::default() }
}

fn truth(unit: UnitId) -> Outcome {
    let verdict = Verdict::Ok { output: Digest::of(&unit.index.to_le_bytes()), output_bytes: 4 };
    Outcome { verdict, fuel: Fuel(u64::from(unit.index)) }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            seed,
            random: ChaCha8Rng::seed_from_u64(seed),
            now: Timestamp(0),
            scheduler: Scheduler::new(policy(), [seed as u8; 32]).with_lottery([7; 32]),
            runs: BTreeMap::new(),
            units: BTreeMap::new(),
            workers: BTreeMap::new(),
            held: Vec::new(),
            audits: Vec::new(),
            recalls: Vec::new(),
            is_pardoned: false,
            came_out: 0,
        };
        // All of them have a record, so their word alone is the answer at times.
        for number in 0..WORKERS {
            let record = WorkerRecord { agreed: 10_000, checks: 1_000, decided: 1_000_000, ..WorkerRecord::default() };
            world.workers.insert(WorkerId([number; 32]), record);
        }
        world.crash();
        world
    }

    fn below(&mut self, most: usize) -> usize {
        self.random.next_u32() as usize % most
    }

    fn tell(&mut self, input: Input) {
        self.scheduler.handle(self.now, input);
        self.obey();
    }

    fn obey(&mut self) {
        let seed = self.seed;
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Record(Record::Run(run)) => drop(self.runs.insert(run.spec.id, *run)),
                Effect::Record(Record::Unit(id, unit)) => drop(self.units.insert(id, unit)),
                Effect::Record(Record::Worker(id, record)) => {
                    if id == MENDED && self.is_pardoned {
                        let WorkerRecord { banned, faults, dissents, .. } = record;
                        assert_eq!(
                            (banned, faults, dissents),
                            (false, 0, 0),
                            "seed {seed}: it said nothing wrong since"
                        );
                    }
                    self.workers.insert(id, record);
                }
                Effect::Grant(draft) => self.held.push(draft),
                Effect::Withdraw { leases, .. } => self.held.retain(|held| !leases.contains(&held.id)),
                Effect::Audit { unit, step } => self.audits.push((unit, step)),
                Effect::Recall { run, units } => self.recalls.push((run, units)),
                Effect::Dissent { worker, consequence, .. } if worker == MENDED && self.is_pardoned => {
                    assert_eq!(consequence, Consequence::Pardoned, "seed {seed}");
                    self.came_out += 1;
                }
                _ => {}
            }
        }
    }

    /// A new process knows what is on disk. Workers keep what they hold.
    fn crash(&mut self) {
        self.scheduler = Scheduler::new(policy(), [self.seed as u8; 32]).with_lottery([7; 32]);
        self.audits.clear();
        self.recalls.clear();
        for (id, record) in &self.workers {
            self.scheduler.restore_worker(*id, *record);
        }
        for run in self.runs.clone().into_values() {
            let units = self.units_of(run.spec.id);
            if run.status == RunStatus::Active {
                self.scheduler.restore_run(self.now, run, units, |_| false);
            } else {
                self.scheduler.restore_history(&run.spec, units);
            }
        }
        for number in 0..WORKERS {
            self.tell(Input::Connected { worker: WorkerId([number; 32]), origin: Groups::default() });
        }
    }

    fn units_of(&self, run: RunId) -> Vec<(u32, UnitRecord)> {
        let units = self.units.iter().filter(|(unit, _)| unit.run == run);
        units.map(|(unit, record)| (unit.index, record.clone())).collect()
    }

    fn submit(&mut self) {
        let rule = match self.below(3) {
            0 => Rule::Fixed(Quorum { agree: 2, most: 6 }),
            1 => Rule::Earned { level: Level::Adaptive, wrong_ppb: 1_000_000 },
            _ => Rule::Earned { level: Level::Full, wrong_ppb: 1_000_000 },
        };
        let spec = RunSpec {
            id: RunId([self.runs.len() as u8 + 1; 16]),
            owner: "ann".into(),
            job: "job".parse().expect("a constant"),
            version: "1.0.0".parse().expect("a constant"),
            serial: 1,
            module: Digest::of(b"module"),
            wall_ms: 60_000,
            rule,
            priority: 0,
            reduce: false,
            inputs: INPUTS,
            submitted_at: self.now,
            is_dry: false,
            decoys: Decoys::default(),
        };
        let (status, counts) = (RunStatus::Active, Counts::default());
        self.runs.insert(spec.id, RunRecord { spec: spec.clone(), status, counts, dissents: 0, finished_at: None });
        self.tell(Input::Submitted(spec));
    }

    fn report(&mut self, draft: &LeaseDraft) {
        let LeaseDraft { id, worker, unit, step, entry, seed, .. } = *draft;
        let mut outcome = truth(unit);
        if worker == MENDED && !self.is_pardoned && self.below(2) == 0 {
            outcome.fuel = Fuel(1_000);
        }
        let task = Task { index: unit.index, step, entry, input: Digest::of(b""), seed };
        let reports = vec![Statement { lease: Lease { id, task, ticket: Ticket([0; 16]) }, outcome, claims: None }];
        let (run, module) = (unit.run, Digest::of(b"module"));
        self.tell(Input::Reported { worker, run, module, reports, evidence: Bytes::new() });
    }

    fn answer_audit(&mut self, at: usize) {
        let (unit, step) = self.audits.swap_remove(at);
        self.tell(Input::Audited { unit, step, outcome: Some(truth(unit)), claims: None });
    }

    fn answer_recall(&mut self, at: usize) {
        let (run, units) = self.recalls.swap_remove(at);
        let known = self.units_of(run).into_iter().filter(|(index, _)| units.contains(index)).collect();
        self.tell(Input::Recalled { run: Box::new(self.runs[&run].clone()), units: known });
    }

    fn step(&mut self) {
        self.now = Timestamp(self.now.0 + self.below(200) as u64);
        match self.below(40) {
            0 if self.runs.len() < usize::from(RUNS) => self.submit(),
            1 => self.crash(),
            2..=3 if !self.audits.is_empty() => {
                let at = self.below(self.audits.len());
                self.answer_audit(at);
            }
            5..=8 if !self.recalls.is_empty() => {
                let at = self.below(self.recalls.len());
                self.answer_recall(at);
            }
            9..=20 if !self.held.is_empty() => {
                let at = self.below(self.held.len());
                let draft = self.held.swap_remove(at);
                self.report(&draft);
            }
            _ => {
                let worker = WorkerId([self.below(WORKERS.into()) as u8; 32]);
                self.tell(Input::Wants { worker, count: 3 });
            }
        }
        if self.scheduler.wake_at().is_some_and(|at| at <= self.now) {
            self.tell(Input::TimePassed);
        }
    }

    fn is_over(&self) -> bool {
        let is_active = self.runs.values().any(|run| run.status == RunStatus::Active);
        !is_active && self.audits.is_empty() && self.recalls.is_empty() && self.scheduler.audits() == (0, 0)
    }
}

#[test]
fn what_was_done_before_a_pardon_never_counts_again_and_nothing_of_it_stays() {
    let mut came_out = 0;
    for seed in 0..200 {
        let mut world = World::new(seed);
        let pardon_at = 50 + world.below(250);
        for step in 0..1_500 {
            if step == pardon_at {
                world.is_pardoned = true;
                world.tell(Input::Pardoned { worker: MENDED });
            }
            world.step();
        }
        // All that was drawn is audited in the end, whatever was lost on the way.
        world.crash();
        let mut steps = 0;
        while !world.is_over() {
            world.step();
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: it does not end");
        }
        for (unit, record) in &world.units {
            assert_eq!(record.accepted, Some(truth(*unit)), "seed {seed}: {unit}");
        }
        assert!(!world.scheduler.is_banned(MENDED), "seed {seed}");
        came_out += world.came_out;
    }
    assert!(came_out > 100, "{came_out} lies came out too late to count, which is what this is about");
}
