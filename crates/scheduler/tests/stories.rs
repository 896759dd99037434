//! What the scheduler promises, told as stories.
//!
//! Each line is a moment: a time, somebody doing something, and after `=>` everything that follows. Lines
//! without `=>` are followed by nothing.
#![expect(clippy::panic, reason = "a story with a word that nobody knows is wrong")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use manyhands_credit::Amount;
use manyhands_model::{Digest, Fuel, LeaseId, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{Entry, Lease, Receipt, Task, Ticket};
use manyhands_scheduler::{
    Budgets, Consequence, Decoys, Effect, Group, Groups, Input, Kind, Level, Policy, Quorum, Record, Rule, RunRecord,
    RunSpec, RunStatus, Scheduler, Statement, Trust, UnitRecord, WorkerRecord,
};

fn policy() -> Policy {
    // Leases of 20 s of wall time, so 60 s with the margin.
    let first_choice = Duration::ZERO;
    Policy { lease_margin: Duration::from_secs(20), leases_per_newcomer_max: 6, first_choice, ..Policy::default() }
}

/// A scheduler, its disk, and what workers hold.
struct World {
    policy: Policy,
    scheduler: Scheduler,
    leases: BTreeMap<(WorkerId, UnitId), Lease>,
    runs: BTreeMap<RunId, RunRecord>,
    units: BTreeMap<UnitId, UnitRecord>,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    ready: Vec<UnitId>,
    /// What the shell read of a run, and answers with later.
    copy: Option<(RunRecord, Vec<(u32, UnitRecord)>)>,
    /// What owners and workers have, by name.
    balances: BTreeMap<String, Amount>,
    /// For whom something was deposited.
    deposited: Vec<String>,
}

fn name(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn run(name: &str) -> RunId {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    RunId(bytes)
}

fn unit(text: &str) -> UnitId {
    let (run_name, index) = text.split_once('/').expect("RUN/UNIT");
    UnitId { run: run(run_name), index: index.parse().expect("a number") }
}

fn show(unit: UnitId) -> String {
    format!("{}/{}", text(&unit.run.0), unit.index)
}

fn lease(id: LeaseId, (index, step): (u32, u32), entry: Entry, seed: [u8; 32]) -> Lease {
    Lease { id, task: Task { index, step, entry, input: Digest::of(b""), seed }, ticket: Ticket([0; 16]) }
}

/// Runs whose names begin with `long` are of another job than the others.
fn module(run: RunId) -> Digest {
    Digest::of(if text(&run.0).starts_with("long") { b"long" } else { b"module" })
}

/// Lower-case letters are failures, upper-case ones outputs, and requests for calls after a question mark.
fn outcome(letter: &str) -> Outcome {
    let verdict = if let Some(calls) = letter.strip_prefix('?') {
        Verdict::Called { calls: Digest::of(calls.as_bytes()), calls_bytes: 1 }
    } else if letter.chars().all(char::is_uppercase) {
        Verdict::Ok { output: Digest::of(letter.as_bytes()), output_bytes: 1 }
    } else {
        Verdict::Aborted { code: 1, message: letter.to_owned() }
    };
    Outcome { verdict, fuel: Fuel(1) }
}

/// `UNIT OUTCOME for FUEL`, where the outcome does not say what it took.
fn claimed(rest: &str) -> (&str, Option<Fuel>) {
    match rest.split_once(" for ") {
        None => (rest, None),
        Some((rest, fuel)) => (rest, Some(Fuel(fuel.parse().expect("fuel")))),
    }
}

/// An outcome that does not say what it took if that is claimed beside it.
fn said(letter: &str, claims: Option<Fuel>) -> Outcome {
    let said = outcome(letter);
    Outcome { fuel: if claims.is_some() { Fuel(0) } else { said.fuel }, ..said }
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            scheduler: Scheduler::new(policy, [7; 32]),
            leases: BTreeMap::new(),
            runs: BTreeMap::new(),
            units: BTreeMap::new(),
            workers: BTreeMap::new(),
            ready: Vec::new(),
            copy: None,
            balances: BTreeMap::new(),
            deposited: Vec::new(),
        }
    }

    /// `OWNER submits RUN: N inputs[, A of B][, reduce][, priority P][, awaited]`; the run `long` may take a quarter of an hour a unit
    fn submit(&mut self, now: Timestamp, owner: &str, rest: &str) -> Input {
        let (id, options) = rest.split_once(": ").expect("RUN: …");
        let mut spec = RunSpec {
            id: run(id),
            owner: owner.to_owned(),
            job: "job".parse().expect("name"),
            version: "1.0.0".parse().expect("version"),
            serial: 1,
            module: module(run(id)),
            wall_ms: if id == "long" { 1_000_000 } else { 20_000 },
            rule: Rule::Fixed(Quorum { agree: 2, most: 4 }),
            priority: 0,
            reduce: false,
            inputs: 0,
            submitted_at: now,
            is_dry: false,
            decoys: Decoys::default(),
        };
        for option in options.split(", ") {
            match option.split(' ').collect::<Vec<_>>()[..] {
                [count, "inputs" | "input"] => spec.inputs = count.parse().expect("count"),
                [agree, "of", most] => {
                    let (agree, most) = (agree.parse().expect("agree"), most.parse().expect("most"));
                    spec.rule = Rule::Fixed(Quorum { agree, most });
                }
                ["reduce"] => spec.reduce = true,
                ["adaptive"] => spec.rule = Rule::Earned { level: Level::Adaptive, wrong_ppb: 1_000_000 },
                ["full"] => spec.rule = Rule::Earned { level: Level::Full, wrong_ppb: 1_000_000 },
                ["strict"] => spec.rule = Rule::Earned { level: Level::Full, wrong_ppb: 1 },
                ["audited"] => spec.rule = Rule::Earned { level: Level::Audited, wrong_ppb: 1_000_000 },
                ["awaited"] => spec.priority = i8::MAX,
                ["priority", priority] => spec.priority = priority.parse().expect("priority"),
                _ => panic!("unknown option `{option}`"),
            }
        }
        let (status, counts) = (RunStatus::Active, manyhands_scheduler::Counts::default());
        let record = RunRecord { spec: spec.clone(), status, counts, dissents: 0, finished_at: None };
        self.runs.insert(spec.id, record);
        Input::Submitted(spec)
    }

    fn act(&mut self, now: Timestamp, who: &str, verb: &str, rest: &str) {
        let worker = WorkerId(name(who));
        let held = |world: &Self, what: &str| {
            world.leases.get(&(worker, unit(what))).map_or(LeaseId([0; 16]), |lease| lease.id)
        };
        let input = match verb {
            "submits" => self.submit(now, who, rest),
            "cancels" => Input::Cancel(run(rest)),
            "retries" => {
                self.reopen(now, run(rest));
                Input::Retry(run(rest))
            }
            // Under one roof, if anything is said.
            "connects" => {
                let prefix = (!rest.is_empty()).then_some(Group(rest.len() as u64));
                Input::Connected { worker, origin: Groups { prefix, ..Groups::default() } }
            }
            // Whose it is, and from where.
            "connects-for" => {
                let owner = Some(Group(rest.len() as u64));
                Input::Connected { worker, origin: Groups { owner, ..Groups::default() } }
            }
            "connects-with" => {
                let engine = Some(Group(rest.len() as u64));
                Input::Connected { worker, origin: Groups { engine, ..Groups::default() } }
            }
            "visits" => Input::Connected { worker, origin: Groups { kind: Kind::Visitor, ..Groups::default() } },
            // It has a record, as after a long time.
            "returns-established" => {
                let record =
                    WorkerRecord { agreed: 10_000, checks: 1_000, decided: 1_000_000, ..WorkerRecord::default() };
                self.scheduler.restore_worker(worker, record);
                Input::Connected { worker, origin: Groups::default() }
            }
            "returns-young" => {
                let record = WorkerRecord { agreed: 100, checks: 100, ..WorkerRecord::default() };
                self.scheduler.restore_worker(worker, record);
                Input::Connected { worker, origin: Groups::default() }
            }
            "audits" => {
                let (rest, claims) = claimed(rest);
                let (what, letter) = rest.split_once(' ').expect("UNIT OUTCOME");
                let outcome = (letter != "nothing").then(|| said(letter, claims));
                Input::Audited { unit: unit(what), step: 0, outcome, claims }
            }
            // The shell reads all records of a run.
            "reads" => {
                let (run, units) = self.read(run(rest));
                Input::Recalled { run: Box::new(run), units }
            }
            // It reads them now, and answers with that whenever it `repeats` them.
            "copies" => return self.copy = Some(self.read(run(rest))),
            // It makes a run active that it believes has ended.
            "reopens" => {
                let (run, units) = self.copy.clone().expect("a copy");
                return self.scheduler.restore_run(now, run, units, |_| false);
            }
            "repeats" => {
                let (run, units) = self.copy.clone().expect("a copy");
                Input::Recalled { run: Box::new(run), units }
            }
            "pardons" => Input::Pardoned { worker: WorkerId(name(rest)) },
            "leaves" => Input::Disconnected { worker },
            "closes" => Input::Left { worker },
            "wants" => Input::Wants { worker, count: rest.parse().expect("a number") },
            "fails" => Input::MachineFailed { worker, lease: held(self, rest) },
            "gives" => Input::GaveBack { worker, leases: vec![held(self, rest)] },
            "assembles" => {
                self.ready.push(unit(rest));
                Input::InputReady(unit(rest))
            }
            "answers" => {
                let (what, step) = rest.split_once(' ').expect("UNIT STEP");
                Input::Answered { unit: unit(what), step: step.parse().expect("a number") }
            }
            "deposits" => {
                let (owner, amount) = rest.split_once(' ').expect("OWNER FUEL");
                let (owner, amount): (_, Amount) = (owner.to_owned(), amount.parse().expect("an amount"));
                *self.balances.entry(owner.clone()).or_default() += amount;
                self.deposited.push(owner.clone());
                Input::Deposited { owner, amount }
            }
            "passes" => Input::TimePassed,
            "returns" => {
                let (rest, claims) = claimed(rest);
                let (what, letter) = rest.split_once(' ').expect("UNIT OUTCOME");
                let forgotten = || lease(LeaseId([9; 16]), (unit(what).index, 0), Entry::Run, [0; 32]);
                let lease = self.leases.get(&(worker, unit(what))).cloned().unwrap_or_else(forgotten);
                let reports = vec![Statement { lease, outcome: said(letter, claims), claims }];
                let (run, module) = (unit(what).run, module(unit(what).run));
                Input::Reported { worker, run, module, reports, evidence: Bytes::new() }
            }
            "crashes" => return self.restart(now),
            other => panic!("unknown verb `{other}`"),
        };
        self.scheduler.handle(now, input);
    }

    /// All records of a run.
    fn read(&self, id: RunId) -> (RunRecord, Vec<(u32, UnitRecord)>) {
        let units = self.units.iter().filter(|(unit, _)| unit.run == id);
        (self.runs[&id].clone(), units.map(|(unit, record)| (unit.index, record.clone())).collect())
    }

    /// What the shell does before it retries a run that has ended.
    fn reopen(&mut self, now: Timestamp, id: RunId) {
        if self.runs[&id].status != RunStatus::Active {
            let units =
                self.units.iter().filter(|(unit, _)| unit.run == id).map(|(unit, record)| (unit.index, record.clone()));
            let ready = self.ready.clone();
            self.scheduler.restore_run(now, self.runs[&id].clone(), units.collect::<Vec<_>>(), |index| {
                ready.contains(&UnitId { run: id, index })
            });
        }
    }

    /// A new process that knows what is on disk.
    fn restart(&mut self, now: Timestamp) {
        self.scheduler = Scheduler::new(self.policy, [8; 32]);
        for (id, record) in &self.workers {
            self.scheduler.restore_worker(*id, *record);
        }
        for (name, balance) in &self.balances {
            self.scheduler.restore_funds(name, *balance, self.deposited.contains(name));
        }
        for (id, record) in self.runs.clone() {
            if record.status == RunStatus::Active {
                let units = self.units.iter().filter(|(unit, _)| unit.run == id);
                let units: Vec<_> = units.map(|(unit, record)| (unit.index, record.clone())).collect();
                let ready = self.ready.clone();
                self.scheduler.restore_run(now, record, units, |index| ready.contains(&UnitId { run: id, index }));
            }
        }
    }

    fn effects(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Record(Record::Run(record)) => drop(self.runs.insert(record.spec.id, *record)),
                Effect::Record(Record::Unit(id, record)) => drop(self.units.insert(id, record)),
                Effect::Record(Record::Worker(id, record)) => drop(self.workers.insert(id, record)),
                Effect::Record(Record::Evidence(..)) => {}
                Effect::Record(Record::Paid(_, paid)) => {
                    for (worker, amount) in &paid.to {
                        let amount = if paid.is_taken_back { -*amount } else { *amount };
                        *self.balances.entry(text(&worker.0)).or_default() += amount;
                    }
                    let owner = paid.owner.as_ref().expect("no decoys here");
                    *self.balances.entry(owner.to_string()).or_default() += -paid.sum();
                }
                Effect::Grant(draft) => {
                    let step = if draft.step > 0 { format!(" at {}", draft.step) } else { String::new() };
                    said.push(format!("{} gets {}{step}", text(&draft.worker.0), show(draft.unit)));
                    let lease = lease(draft.id, (draft.unit.index, draft.step), draft.entry, draft.seed);
                    self.leases.insert((draft.worker, draft.unit), lease);
                }
                Effect::Receipts { worker, receipts } => {
                    said.extend(receipts.into_iter().map(|(_, receipt)| match receipt {
                        Receipt::Recorded => format!("{} recorded", text(&worker.0)),
                        Receipt::AlreadyRecorded => format!("{} recorded before", text(&worker.0)),
                        Receipt::Refused(reason) => format!("{} refused: {reason}", text(&worker.0)),
                    }));
                }
                Effect::Withdraw { worker, leases } => said.push(format!("{} drops {}", text(&worker.0), leases.len())),
                Effect::Assemble { unit, parts } => said.push(format!("assemble {} from {parts:?}", show(unit))),
                Effect::Call { unit, step, calls } => {
                    said.push(format!("call for {} at {step}: {}", show(unit), &calls.to_string()[..4]));
                }
                Effect::Audit { unit, step: _ } => said.push(format!("audit {}", show(unit))),
                Effect::Recall { run, units } => said.push(format!("recall {} {units:?}", text(&run.0))),
                Effect::Reopened { run, units } => said.push(format!("reopened {} {units:?}", text(&run.0))),
                Effect::Changed { unit, .. } => said.push(format!("{} changed", show(unit))),
                Effect::Ended(unit, end) => said.push(format!("{} {}", show(unit), format!("{end:?}").to_lowercase())),
                Effect::Dissent { worker, fault, consequence } => {
                    let what = match consequence {
                        Consequence::Banned => ", banned",
                        Consequence::Pardoned => ", pardoned",
                        Consequence::Doubt | Consequence::Caught => "",
                    };
                    assert_ne!(fault.said, fault.answer, "a fault");
                    said.push(format!("{} contradicts {}{what}", text(&worker.0), show(fault.unit)));
                }
                Effect::RunEnded(run) => said.push(format!("{} ends", text(&run.0))),
            }
        }
        said
    }
}

#[track_caller]
fn check(story: &str) {
    check_with(policy(), story);
}

#[track_caller]
fn check_with(policy: Policy, story: &str) {
    let mut world = World::new(policy);
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (moment, expected) =
            line.split_once("=>").map_or((line, ""), |(moment, expected)| (moment, expected.trim()));
        let (time, action) = moment.trim().split_once("s ").expect("a time in seconds");
        let now = Timestamp((time.trim().parse::<f64>().expect("seconds") * 1e3).round() as u64);
        let action = action.trim();
        if let Some(asked) = action.strip_prefix("status ") {
            assert_eq!(format!("{:?}", world.runs[&run(asked)].status), expected, "in `{line}`");
            continue;
        }
        if let Some(name) = action.strip_prefix("balance ") {
            assert_eq!(world.balances.get(name).copied().unwrap_or_default().to_string(), expected, "in `{line}`");
            continue;
        }
        if let Some(who) = action.strip_prefix("worker ") {
            let WorkerRecord { faults, lapses, lost, .. } =
                world.scheduler.worker(WorkerId(name(who))).expect("a worker").record;
            assert_eq!(format!("{faults} faults, {lapses} lapses, {lost} lost"), expected, "in `{line}`");
            continue;
        }
        if let Some(question) = action.strip_prefix("why ") {
            let why = world.scheduler.why(now, unit(question)).expect("an active run");
            assert_eq!(why.reason.to_string(), expected, "in `{line}`");
            continue;
        }
        let mut words = action.splitn(3, ' ');
        let (who, verb, rest) = (words.next().expect("who"), words.next().expect("verb"), words.next().unwrap_or(""));
        world.act(now, who, verb, rest);
        assert_eq!(world.effects().join("; "), expected, "in `{line}`");
    }
}

#[test]
fn two_workers_that_agree_make_an_answer() {
    check(
        "
         0s ann submits r: 1 input
         1s w1 connects
         1s w1 wants 1        => w1 gets r/0
         2s w2 connects
         2s w2 wants 1        => w2 gets r/0
         3s w1 returns r/0 A  => w1 recorded
         4s w2 returns r/0 A  => r/0 done; r ends; w2 recorded
        ",
    );
}

#[test]
fn a_lie_costs_one_more_replica_and_is_laid_to_the_liar() {
    check(
        "
         0s ann submits r: 1 input
         1s w1 connects
         1s w1 wants 1        => w1 gets r/0
         1s liar connects
         1s liar wants 1      => liar gets r/0
         2s w3 connects
         2s w3 wants 1
         3s liar returns r/0 X => liar recorded
         4s w1 returns r/0 A  => w1 recorded; w3 gets r/0
         5s w3 returns r/0 A  => r/0 done; liar contradicts r/0; r ends; w3 recorded
        ",
    );
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting() {
    check(
        "
         90000s ann submits r: 1 input, 1 of 1
         90001s w1 connects
         90001s w1 wants 1      => w1 gets r/0
         90002s w2 connects
         90002s w2 wants 1
         3602s time passes
         3661s time passes      => w1 drops 1; w2 gets r/0
         3662s w2 returns r/0 A => r/0 done; r ends; w2 recorded
        ",
    );
}

#[test]
fn nobody_answers_a_unit_twice() {
    check(
        "
         0s ann submits r: 1 input
         0s why r/0           => no worker is connected; start a runner with the join link
         1s w1 connects
         1s why r/0           => waits for its turn; 1 connected worker may take it
         1s w1 wants 5        => w1 gets r/0
         2s w1 returns r/0 A  => w1 recorded
         2s why r/0           => needs 1 more independent worker; 1 connected, and none of them may answer again
         3s w1 wants 5
         4s w1 returns r/0 A  => w1 recorded before
        ",
    );
}

#[test]
fn a_failure_of_the_job_is_an_answer_too() {
    check(
        "
         0s ann submits r: 1 input
         1s w1 connects
         1s w1 wants 1        => w1 gets r/0
         1s w2 connects
         1s w2 wants 1        => w2 gets r/0
         2s w1 returns r/0 e  => w1 recorded
         2s w2 returns r/0 e  => r/0 failed; r ends; w2 recorded
        ",
    );
}

#[test]
fn four_workers_that_all_differ_leave_a_unit_undecided() {
    check(
        "
         0s ann submits r: 1 input
         1s w1 connects
         1s w1 wants 1        => w1 gets r/0
         1s w2 connects
         1s w2 wants 1        => w2 gets r/0
         1s w3 connects
         1s w3 wants 1
         1s w4 connects
         1s w4 wants 1
         2s w1 returns r/0 A  => w1 recorded
         2s w2 returns r/0 B  => w2 recorded; w3 gets r/0
         2s w3 returns r/0 C  => w3 recorded; w4 gets r/0
         2s w4 returns r/0 D  => r/0 undecided; r ends; w4 recorded
        ",
    );
}

#[test]
fn a_worker_that_vanishes_loses_its_lease_and_may_still_be_in_time() {
    check(
        "
          0s ann submits r: 1 input, 1 of 1
          1s w1 connects
          1s w1 wants 1        => w1 gets r/0
          2s w2 connects
          2s w2 wants 1
         60s time passes
         61s time passes       => w1 drops 1; w2 gets r/0
         62s w1 returns r/0 A  => w2 drops 1; r/0 done; r ends; w1 recorded
         63s w2 returns r/0 A  => w2 refused: the run has ended; nothing was needed any more
        ",
    );
}

#[test]
fn a_lost_connection_gives_the_worker_a_short_time_to_come_back() {
    check(
        "
          0s ann submits r: 2 inputs, 1 of 1
          1s w1 connects
          1s w1 wants 2        => w1 gets r/0; w1 gets r/1
          2s w1 leaves
          3s w2 connects
          3s w2 wants 2
         10s w1 connects
         10s w1 returns r/0 A  => r/0 done; w1 recorded
         17s time passes       => w1 drops 1; w2 gets r/1
        ",
    );
}

#[test]
fn a_closed_page_is_not_waited_for_and_may_still_come_back_with_its_result() {
    check(
        "
          0s ann submits r: 2 inputs, 1 of 1
          1s w1 connects
          1s w1 wants 2        => w1 gets r/0; w1 gets r/1
          2s w2 connects
          2s w2 wants 1
          3s w1 closes         => w2 gets r/1
          4s w1 connects
          4s w1 returns r/1 A  => w2 drops 1; r/1 done; w1 recorded
          5s w2 wants 1        => w2 gets r/0
        ",
    );
}

#[test]
fn work_given_back_and_machines_that_fail_go_to_others() {
    check(
        "
         0s ann submits r: 1 input, 1 of 1
         1s w1 connects
         1s w1 wants 1    => w1 gets r/0
         2s w2 connects
         2s w2 wants 1
         3s w1 gives r/0  => w2 gets r/0
         4s w1 wants 1
         5s w2 fails r/0  => w1 gets r/0
         6s w2 fails r/0
        ",
    );
}

#[test]
fn cancelling_takes_everything_back() {
    check(
        "
         0s ann submits r: 2 inputs
         1s w1 connects
         1s w1 wants 1        => w1 gets r/0
         2s ann cancels r     => w1 drops 1; r/0 cancelled; r/1 cancelled; r ends
         2s status r          => Cancelled
         3s w1 returns r/0 A  => w1 refused: the run has ended; nothing was needed any more
        ",
    );
}

#[test]
fn retrying_asks_again_for_what_has_no_output_only() {
    check(
        "
         0s ann submits r: 2 inputs, 1 of 1
         1s w1 connects
         1s w1 wants 9        => w1 gets r/0; w1 gets r/1
         2s w1 returns r/0 A  => r/0 done; w1 recorded
         2s w1 returns r/1 e  => r/1 failed; r ends; w1 recorded
         3s ann retries r     => w1 gets r/1
         4s w1 returns r/1 B  => r/1 done; r ends; w1 recorded
        ",
    );
}

#[test]
fn who_retries_twice_at_once_disturbs_nothing() {
    check(
        "
         0s ann submits r: 1 input, 1 of 1
         1s w1 connects
         1s w1 wants 1        => w1 gets r/0
         2s w1 returns r/0 e  => r/0 failed; r ends; w1 recorded
         3s disk copies r
         3s ann retries r
         4s w1 wants 2        => w1 gets r/0
         5s disk reopens r
         5s ann retries r
         6s w1 returns r/0 A  => r/0 done; r ends; w1 recorded
        ",
    );
}

#[test]
fn outputs_are_reduced_to_one_once_all_of_them_are_there() {
    check(
        "
         0s ann submits r: 33 inputs, 1 of 1, reduce
         0s why r/35          => combines the outputs of other units; 2 of them have none yet
         1s ann cancels r     => r/0 cancelled; r/1 cancelled; r/2 cancelled; r/3 cancelled; r/4 cancelled; r/5 cancelled; r/6 cancelled; r/7 cancelled; r/8 cancelled; r/9 cancelled; r/10 cancelled; r/11 cancelled; r/12 cancelled; r/13 cancelled; r/14 cancelled; r/15 cancelled; r/16 cancelled; r/17 cancelled; r/18 cancelled; r/19 cancelled; r/20 cancelled; r/21 cancelled; r/22 cancelled; r/23 cancelled; r/24 cancelled; r/25 cancelled; r/26 cancelled; r/27 cancelled; r/28 cancelled; r/29 cancelled; r/30 cancelled; r/31 cancelled; r/32 cancelled; r/33 cancelled; r/34 cancelled; r/35 cancelled; r ends
         2s bob submits s: 2 inputs, 1 of 1, reduce
         3s w1 connects
         3s w1 wants 9        => w1 gets s/0; w1 gets s/1
         4s w1 returns s/1 B  => s/1 done; w1 recorded
         4s w1 returns s/0 A  => s/0 done; assemble s/2 from 0..2; w1 recorded
         5s why s/2           => its parts are done; its input is being put together
         6s bob assembles s/2 => w1 gets s/2
         7s w1 returns s/2 C  => s/2 done; s ends; w1 recorded
        ",
    );
}

#[test]
fn a_reduce_step_is_skipped_when_a_part_fails_and_comes_back_with_it() {
    check(
        "
         0s ann submits r: 2 inputs, 1 of 1, reduce
         1s w1 connects
         1s w1 wants 9        => w1 gets r/0; w1 gets r/1
         2s w1 returns r/0 A  => r/0 done; w1 recorded
         2s w1 returns r/1 e  => r/1 failed; r/2 skipped; r ends; w1 recorded
         3s ann retries r     => w1 gets r/1
         4s w1 returns r/1 B  => r/1 done; assemble r/2 from 0..2; w1 recorded
         5s ann assembles r/2 => w1 gets r/2
         6s w1 returns r/2 C  => r/2 done; r ends; w1 recorded
        ",
    );
}

#[test]
fn owners_share_evenly_and_priorities_count_within_an_owner() {
    check(
        "
         0s ann submits a: 9 inputs, 1 of 1
         0s ann submits b: 9 inputs, 1 of 1, priority 5
         0s bob submits c: 9 inputs, 1 of 1
         1s w1 connects
         1s w1 wants 6 => w1 gets b/0; w1 gets c/0; w1 gets b/1; w1 gets c/1; w1 gets b/2; w1 gets c/2
        ",
    );
}

#[test]
fn those_who_have_all_they_want_do_not_stand_before_others() {
    check(
        "
         1s w1 connects
         1s w1 wants 1
         1s w2 connects
         1s w2 wants 1
         1s w4 connects
         1s w4 wants 1
         2s ann submits r: 3 inputs, 1 of 1 => w1 gets r/0; w2 gets r/1; w4 gets r/2
         3s w3 connects
         3s w3 wants 1
         4s ann submits s: 1 input, 1 of 1  => w3 gets s/0
        ",
    );
}

/// Two workers with a record of a millisecond each, then a taker who is nobody yet and never answers.
const TAKER: &str = "
         1s ann submits a: 1 input, awaited
         1s w1 connects
         1s w1 wants 1           => w1 gets a/0
         1s w2 connects
         1s w2 wants 1           => w2 gets a/0
         1.001s w1 returns a/0 A => w1 recorded
         1.001s w2 returns a/0 A => a/0 done; a ends; w2 recorded
         2s ann submits b: 1 input, awaited
         2s w1 wants 1           => w1 gets b/0
         2s w2 wants 1           => w2 gets b/0
         2.001s w1 returns b/0 A => w1 recorded
         2.001s w2 returns b/0 A => b/0 done; b ends; w2 recorded
         3s taker connects
";

/// After [`TAKER`]: a third worker that answers, and a second that takes; both take what they can get.
const ANOTHER_TAKER: &str = "
         3s ann submits c: 1 input, 1 of 1
         3s w3 connects
         3s w3 wants 1          => w3 gets c/0
         3s w3 returns c/0 A    => c/0 done; c ends; w3 recorded
         3s taker wants 9
         3s other connects
         3s other wants 9
";

/// The same for a world where newcomers wait a moment.
const TAKER_LATER: &str = "
         1s ann submits a: 2 inputs, 1 of 1
         1s w1 connects
         1s w1 wants 1           => w1 gets a/0
         1s w1 returns a/0 A     => a/0 done; w1 recorded
         1s w1 wants 1           => w1 gets a/1
         1s w1 returns a/1 A     => a/1 done; a ends; w1 recorded
         3s taker connects
";

#[test]
fn what_somebody_waits_for_goes_first_to_those_who_brought_something() {
    check(
        &[
            TAKER,
            "
         3s taker wants 9
         3s w2 wants 1
         4s ann submits r: 1 input, 1 of 1, awaited => w2 gets r/0
         4s ann submits s: 1 input, 1 of 1, awaited => taker gets s/0
         5s ann submits t: 3 inputs, 1 of 1         => taker gets t/0; taker gets t/1; taker gets t/2
        ",
        ]
        .concat(),
    );
}

#[test]
fn a_moment_is_left_for_those_who_brought_something_once_somebody_waited_in_vain() {
    let story = "
         4s taker wants 9
         4s ann submits q: 1 input, 1 of 1, awaited => taker gets q/0
         4.01s w1 wants 1
         5s time passes           => w1 gets q/0
         5.001s w1 returns q/0 A  => taker drops 1; q/0 done; q ends; w1 recorded
         5.1s ann submits r: 1 input, 1 of 1, awaited
         5.104s w1 wants 1        => w1 gets r/0
         5.105s time passes
         5.106s w1 returns r/0 A  => r/0 done; r ends; w1 recorded
         6s ann submits s: 1 input, 1 of 1, awaited
         6.004s time passes
         6.005s time passes       => taker gets s/0
         7s ann submits t: 1 input, 1 of 1 => taker gets t/0
         8s ann submits u: 1 input, 1 of 1, awaited
         0.8s time passes
         0.805s time passes       => taker gets u/0
        ";
    let first_choice = Duration::from_millis(5);
    check_with(Policy { first_choice, ..policy() }, &[TAKER_LATER, story].concat());
}

#[test]
fn somebody_who_waits_does_not_wait_for_one_who_takes_and_is_silent() {
    check(
        &[
            TAKER,
            "
         3s taker wants 9
         4s ann submits r: 1 input, 1 of 1, awaited => taker gets r/0
         4.01s w1 wants 1
         4.049s time passes
         4.05s time passes        => w1 gets r/0
         4.051s w1 returns r/0 A  => taker drops 1; r/0 done; r ends; w1 recorded
         4.06s taker returns r/0 A => taker refused: the run has ended; nothing was needed any more
        ",
        ]
        .concat(),
    );
}

#[test]
fn one_who_is_late_may_still_be_first_and_counts_once() {
    check(
        &[
            TAKER,
            "
         3s taker wants 9
         4s ann submits r: 1 input, awaited => taker gets r/0
         4s w1 wants 1                 => w1 gets r/0
         4.01s w1 returns r/0 A        => w1 recorded
         4.02s w2 wants 1
         4.05s time passes             => w2 gets r/0
         4.06s taker returns r/0 A     => w2 drops 1; r/0 done; r ends; taker recorded
         4.07s w2 returns r/0 A        => w2 refused: the run has ended; nothing was needed any more
         5s taker wants 0
         5s w2 wants 1
         5s ann submits s: 1 input, 1 of 1, awaited => w2 gets s/0
        ",
        ]
        .concat(),
    );
}

#[test]
fn somebody_who_waits_does_not_wait_for_one_whose_connection_broke() {
    check(
        &[
            TAKER,
            "
         4s ann submits r: 1 input, 1 of 1, awaited
         4s w1 wants 1         => w1 gets r/0
         4s w2 wants 1
         4.01s w1 leaves       => w2 gets r/0
         4.02s w1 connects
         4.03s w1 returns r/0 A => w2 drops 1; r/0 done; r ends; w1 recorded
        ",
        ]
        .concat(),
    );
}

#[test]
fn spares_are_no_more_than_what_the_quorum_takes_and_only_for_those_who_brought_something() {
    check(
        &[
            TAKER,
            ANOTHER_TAKER,
            "
         4s ann submits r: 1 input, 1 of 1, awaited => other gets r/0
         4.05s time passes
         4.06s w1 wants 1       => w1 gets r/0
         4.06s w2 wants 1
         4.06s w3 wants 1
         4.2s time passes
         9s time passes
         9s w1 returns r/0 A    => other drops 1; r/0 done; r ends; w1 recorded
        ",
        ]
        .concat(),
    );
}

#[test]
fn both_replicas_of_a_unit_may_be_late() {
    check(
        &[
            TAKER,
            ANOTHER_TAKER,
            "
         4s ann submits r: 1 input, awaited => other gets r/0; taker gets r/0
         4.01s w1 wants 1
         4.05s time passes      => w1 gets r/0
         4.06s w1 returns r/0 A => w1 recorded
         4.07s w2 wants 1       => w2 gets r/0
         4.07s w3 wants 1
         4.2s time passes       => w3 gets r/0
         4.4s w2 returns r/0 A  => other drops 1; taker drops 1; w3 drops 1; r/0 done; r ends; w2 recorded
        ",
        ]
        .concat(),
    );
}

#[test]
fn a_run_of_many_inputs_gets_no_spares_whatever_its_priority() {
    check(
        &[
            TAKER,
            "
         3s taker wants 1
         4s ann submits r: 2 inputs, 1 of 1, priority 127 => taker gets r/0
         4.01s w1 wants 9       => w1 gets r/1
         4.02s w2 wants 1
         9s time passes
        ",
        ]
        .concat(),
    );
}

#[test]
fn patience_grows_with_what_is_usual_for_a_job() {
    check(
        "
         1s ann submits a: 1 input, 1 of 1
         1s w1 connects
         1s w1 wants 1           => w1 gets a/0
         1s w1 returns a/0 A     => a/0 done; a ends; w1 recorded
         1s w2 connects
         2s ann submits b: 1 input, 1 of 1, awaited
         2s w1 wants 1           => w1 gets b/0
         2.3s w1 returns b/0 A   => b/0 done; b ends; w1 recorded
         3s ann submits c: 1 input, 1 of 1, awaited
         3s w2 wants 1           => w2 gets c/0
         3.1s w1 wants 1
         4.199s time passes
         4.2s time passes        => w1 gets c/0
        ",
    );
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_more_patient() {
    check(
        &[
            TAKER,
            "
         3s taker wants 9
         4000s ann submits r: 1 input, 1 of 1, awaited => taker gets r/0
         4000s w1 wants 1
         400.02s time passes
         400.07s time passes     => w1 gets r/0
        ",
        ]
        .concat(),
    );
}

#[test]
fn a_newcomer_gets_little_until_it_has_brought_something() {
    check(
        "
         0s ann submits r: 8 inputs, 1 of 1
         1s w1 connects
         1s w1 wants 9 => w1 gets r/0; w1 gets r/1; w1 gets r/2; w1 gets r/3; w1 gets r/4; w1 gets r/5
         2s w1 returns r/0 A => r/0 done; w1 recorded; w1 gets r/6; w1 gets r/7
        ",
    );
}

#[test]
fn three_contradictions_end_a_workers_part() {
    check(
        "
         0s ann submits r: 4 inputs
         1s liar connects
         1s liar wants 4        => liar gets r/0; liar gets r/1; liar gets r/2; liar gets r/3
         2s liar returns r/0 X  => liar recorded
         2s liar returns r/1 X  => liar recorded
         2s liar returns r/2 X  => liar recorded
         2s liar returns r/3 X  => liar recorded
         3s w1 connects
         3s w1 wants 9          => w1 gets r/0; w1 gets r/1; w1 gets r/2; w1 gets r/3
         4s w2 connects
         4s w1 returns r/0 A    => w1 recorded
         4s w1 returns r/1 A    => w1 recorded
         4s w1 returns r/2 A    => w1 recorded
         4s w2 wants 9          => w2 gets r/0; w2 gets r/1; w2 gets r/2
         5s w2 returns r/0 A    => r/0 done; liar contradicts r/0; w2 recorded
         5s w2 returns r/1 A    => r/1 done; liar contradicts r/1; w2 recorded
         5s w2 returns r/2 A    => r/2 done; liar contradicts r/2, banned; w2 recorded; w2 gets r/3
         6s liar wants 9
         6s liar returns r/3 X  => liar refused: this worker contradicted verified answers too often; its reports do not count any more
         7s w1 returns r/3 A    => w1 recorded
         7s w2 returns r/3 A    => r/3 done; r ends; w2 recorded
        ",
    );
}

#[test]
fn whoever_is_pardoned_works_again_and_has_no_record() {
    check(
        "
         0s ann submits r: 4 inputs
         1s liar connects
         1s liar wants 3        => liar gets r/0; liar gets r/1; liar gets r/2
         2s liar returns r/0 X  => liar recorded
         2s liar returns r/1 X  => liar recorded
         2s liar returns r/2 X  => liar recorded
         3s w1 connects
         3s w1 wants 3          => w1 gets r/0; w1 gets r/1; w1 gets r/2
         4s w2 connects
         4s w1 returns r/0 A    => w1 recorded
         4s w1 returns r/1 A    => w1 recorded
         4s w1 returns r/2 A    => w1 recorded
         4s w2 wants 3          => w2 gets r/0; w2 gets r/1; w2 gets r/2
         5s w2 returns r/0 A    => r/0 done; liar contradicts r/0; w2 recorded
         5s w2 returns r/1 A    => r/1 done; liar contradicts r/1; w2 recorded
         5s w2 returns r/2 A    => r/2 done; liar contradicts r/2, banned; w2 recorded
         6s all crashes
         7s liar connects
         7s liar wants 1
         8s op pardons liar     => liar gets r/3
         9s all crashes
        10s liar connects
        10s liar wants 1        => liar gets r/3
        ",
    );
}

#[test]
fn what_was_said_before_a_pardon_is_no_fault_and_what_is_said_after_it_is() {
    check(
        "
         0s ann submits r: 7 inputs
         1s odd connects
         1s odd wants 4         => odd gets r/0; odd gets r/1; odd gets r/2; odd gets r/3
         2s odd returns r/0 X   => odd recorded
         2s odd returns r/1 X   => odd recorded
         2s odd returns r/2 X   => odd recorded
         3s op pardons odd
         4s odd returns r/3 X   => odd recorded
         5s w1 connects
         5s w1 wants 4          => w1 gets r/0; w1 gets r/1; w1 gets r/2; w1 gets r/3
         6s w1 returns r/0 A    => w1 recorded
         6s w1 returns r/1 A    => w1 recorded
         6s w1 returns r/2 A    => w1 recorded
         6s w1 returns r/3 A    => w1 recorded
         7s w2 connects
         7s w2 wants 4          => w2 gets r/0; w2 gets r/1; w2 gets r/2; w2 gets r/3
         8s w2 returns r/0 A    => r/0 done; odd contradicts r/0, pardoned; w2 recorded
         8s w2 returns r/1 A    => r/1 done; odd contradicts r/1, pardoned; w2 recorded
         8s w2 returns r/2 A    => r/2 done; odd contradicts r/2, pardoned; w2 recorded
         8s w2 returns r/3 A    => r/3 done; odd contradicts r/3, pardoned; w2 recorded
         9s odd wants 3         => odd gets r/4; odd gets r/5; odd gets r/6
        10s odd returns r/4 X   => odd recorded
        10s odd returns r/5 X   => odd recorded
        10s odd returns r/6 X   => odd recorded
        11s w1 wants 3          => w1 gets r/4; w1 gets r/5; w1 gets r/6
        11s w2 wants 3
        12s w1 returns r/4 A    => w1 recorded; w2 gets r/4
        12s w1 returns r/5 A    => w1 recorded; w2 gets r/5
        12s w1 returns r/6 A    => w1 recorded; w2 gets r/6
        13s w2 returns r/4 A    => r/4 done; odd contradicts r/4; w2 recorded
        13s w2 returns r/5 A    => r/5 done; odd contradicts r/5; w2 recorded
        13s w2 returns r/6 A    => r/6 done; odd contradicts r/6, banned; r ends; w2 recorded
        ",
    );
}

#[test]
fn a_lease_from_before_a_pardon_is_no_lapse_and_its_report_is_not_heard_once_it_is_forgotten() {
    check(
        "
         0s ann submits r: 2 inputs
         1s odd connects
         1s odd wants 2         => odd gets r/0; odd gets r/1
         2s op pardons odd
        61s time passes         => odd drops 1; odd drops 1
        62s worker odd          => 0 faults, 0 lapses, 0 lost
        63s odd returns r/0 X   => odd refused: the lease ran out, or is from before this worker was pardoned
        64s odd wants 1         => odd gets r/0
        65s odd returns r/0 A   => odd recorded
        66s all crashes
        67s odd connects
        68s odd returns r/0 A   => odd recorded before
        69s odd returns r/1 X   => odd refused: the lease ran out, or is from before this worker was pardoned
        70s odd wants 1         => odd gets r/1
       131s time passes         => odd drops 1
       132s worker odd          => 0 faults, 1 lapses, 1 lost
        ",
    );
}

#[test]
fn what_a_pardoned_worker_decided_is_still_taken_back_and_what_it_decides_since_is_not() {
    // Every accepted unit is audited, in time.
    let trust = Trust { audit_share: 1.5, audits_in_flight_max: 1, ..sober().trust };
    check_with(
        Policy { trust, ..sober() },
        "
         0s sleeper returns-established
         0s w2 returns-established
         1s ann submits r: 3 inputs, adaptive
         1s sleeper wants 2       => sleeper gets r/1; sleeper gets r/0
         2s sleeper returns r/0 X => r/0 done; sleeper recorded; audit r/0
         3s sleeper returns r/1 Y => r/1 done; sleeper recorded
         4s op pardons sleeper
         5s sleeper wants 1       => sleeper gets r/2
         6s sleeper returns r/2 C => r/2 done; r ends; sleeper recorded
         7s op audits r/0 A       => recall r [0]; recall r [0, 1]; sleeper contradicts r/0, pardoned; audit r/1
         7s worker sleeper        => 0 faults, 0 lapses, 0 lost
         8s disk reads r          => reopened r [0, 1]; r/0 done; r/0 changed
         9s disk reads r
        10s sleeper wants 1       => sleeper gets r/1
        11s op audits r/1 B       => sleeper drops 1; r/1 done; r/1 changed; r ends; sleeper contradicts r/1, pardoned; audit r/2
        12s op audits r/2 C
        ",
    );
}

#[test]
fn a_crash_loses_no_report_and_leases_from_before_still_count() {
    check(
        "
         0s ann submits r: 2 inputs
         1s w1 connects
         1s w1 wants 2        => w1 gets r/0; w1 gets r/1
         2s w1 returns r/0 A  => w1 recorded
         3s all crashes
         4s w1 connects
         4s w1 returns r/1 B  => w1 recorded
         5s w1 returns r/0 A  => w1 recorded before
         6s w2 connects
         6s w2 wants 9        => w2 gets r/0; w2 gets r/1
         7s w2 returns r/0 A  => r/0 done; w2 recorded
         7s all crashes
         8s w2 connects
         8s w2 returns r/1 B  => r/1 done; r ends; w2 recorded
        ",
    );
}

#[test]
fn a_unit_that_asks_for_calls_goes_on_with_the_answers() {
    check(
        "
         0s ann submits r: 1 input
         1s w1 connects
         1s w1 wants 1         => w1 gets r/0
         1s w2 connects
         1s w2 wants 1         => w2 gets r/0
         2s w1 returns r/0 ?A  => w1 recorded
         2s w2 returns r/0 ?A  => call for r/0 at 0: 559a; w2 recorded
         2s why r/0            => waits for the answers to the calls that it asked for
         3s w1 wants 1
         4s hand answers r/0 0 => w1 gets r/0 at 1
         5s w1 returns r/0 B   => w1 recorded
         5s w2 wants 1         => w2 gets r/0 at 1
         6s w2 returns r/0 B   => r/0 done; r ends; w2 recorded
        ",
    );
}

#[test]
fn attack_29_nothing_is_called_before_workers_agree_on_it() {
    check(
        "
         0s ann submits r: 1 input
         1s liar connects
         1s liar wants 1         => liar gets r/0
         1s w2 connects
         1s w2 wants 1           => w2 gets r/0
         1s w3 connects
         1s w3 wants 1
         2s liar returns r/0 ?X  => liar recorded
         2s w2 returns r/0 ?A    => w2 recorded; w3 gets r/0
         3s w3 returns r/0 ?A    => call for r/0 at 0: 559a; liar contradicts r/0; w3 recorded
        ",
    );
}

#[test]
fn who_comes_too_late_for_a_step_does_not_count_for_the_next() {
    check(
        "
         0s ann submits r: 1 input, 1 of 2
         1s w1 connects
         1s w1 wants 1         => w1 gets r/0
         2s w1 returns r/0 ?A  => call for r/0 at 0: 559a; w1 recorded
         2s w9 connects
         3s w9 returns r/0 ?A  => w9 refused: workers agreed on this step of the unit already
         4s hand answers r/0 7
         4s hand answers r/0 0
         5s w9 returns r/0 ?A  => w9 refused: the unit is at another step by now
         5s hand answers r/0 0
         6s w1 wants 1         => w1 gets r/0 at 1
         7s w1 returns r/0 ?B  => call for r/0 at 1: df7e; w1 recorded
         8s hand answers r/0 0
         8s hand answers r/0 1
         9s w1 wants 1         => w1 gets r/0 at 2
        10s w1 returns r/0 C   => r/0 done; r ends; w1 recorded
        ",
    );
}

#[test]
fn a_crash_asks_for_the_same_calls_again_and_keeps_the_step() {
    check(
        "
         0s ann submits r: 2 inputs, 1 of 2
         1s w1 connects
         1s w1 wants 2         => w1 gets r/0; w1 gets r/1
         2s w1 returns r/0 ?A  => call for r/0 at 0: 559a; w1 recorded
         3s w1 returns r/1 ?B  => call for r/1 at 0: df7e; w1 recorded
         4s hand answers r/0 0
         5s the crashes        => call for r/1 at 0: df7e
         6s w1 connects
         6s w1 wants 1         => w1 gets r/0 at 1
         7s the crashes        => call for r/1 at 0: df7e
         8s w1 returns r/0 C   => r/0 done; w1 recorded
        ",
    );
}

#[test]
fn a_unit_that_waits_for_answers_can_be_cancelled_and_retried() {
    check(
        "
         0s ann submits r: 1 input, 1 of 2
         1s w1 connects
         1s w1 wants 1         => w1 gets r/0
         2s w1 returns r/0 ?A  => call for r/0 at 0: 559a; w1 recorded
         3s ann cancels r      => r/0 cancelled; r ends
         4s hand answers r/0 0
         5s ann retries r
         6s w1 wants 1         => w1 gets r/0
         7s w1 returns r/0 ?A  => call for r/0 at 0: 559a; w1 recorded
        ",
    );
}

/// Nothing is drawn: who has a record is believed, nothing is audited but what has to be, and two are enough to lean on.
fn sober() -> Policy {
    let trust = Trust { checked_min: 0.0, audit_share: 0.0, tried_share: 0.0, core_min: 2, ..Trust::default() };
    Policy { trust, ..policy() }
}

/// Nobody ever decides so much that one lie does not count, and no machine is the operator's.
fn for_life() -> Policy {
    let trust = Trust { life_units: 2_000_000_000, audits_in_flight_max: 0, ..sober().trust };
    Policy { trust, ..sober() }
}

#[test]
fn another_engine_is_asked_where_there_is_one() {
    check(
        "
         0s ann submits r: 2 inputs
         1s v1 connects-with v8
         1s v1 wants 2         => v1 gets r/0; v1 gets r/1
         1s fox connects-with gecko
         1s fox wants 1        => fox gets r/0
         2s v1 gives r/0
         3s v2 connects-with v8
         3s v2 wants 2         => v2 gets r/0; v2 gets r/1
        ",
    );
}

#[test]
fn who_stays_a_minute_gets_nothing_that_takes_ten() {
    check_with(
        Policy { lease_margin: Duration::from_secs(2_000), ..policy() },
        "
            0s ann submits long: 3 inputs, 1 of 1
            1s w1 connects
            1s w1 wants 1            => w1 gets long/0
          601s w1 returns long/0 A   => long/0 done; w1 recorded
          601s w1 wants 1            => w1 gets long/1
         1201s w1 returns long/1 A   => long/1 done; w1 recorded
         1202s w1 closes
         1300s page visits
         1300s page wants 1
         1300s why long/2            => takes longer than workers like the 1 connected ones usually stay; one that has stayed for so long gets it
         1310s ann submits r: 1 input, 1 of 1 => page gets r/0
         1314s page returns r/0 A    => r/0 done; r ends; page recorded
         1314s page wants 1
         1899s time passes
         1900s time passes           => page gets long/2
        ",
    );
}

/// Nobody has a record, and the operator's machine executes nothing. One in ten is hostile, so three who agree are one in a thousand.
fn crowd() -> Policy {
    let trust = Trust { hostile: 0.1, audits_in_flight_max: 0, ..sober().trust };
    Policy { trust, ..sober() }
}

#[test]
fn many_visitors_decide_by_their_number() {
    let story = format!(
        "{}
         1s ann submits r: 1 input, adaptive
         2s p1 wants 1         => p1 gets r/0
         3s p1 returns r/0 A   => p1 recorded
         4s p2 wants 1         => p2 gets r/0
         5s p2 returns r/0 A   => p2 recorded
         6s p3 wants 1         => p3 gets r/0
         7s p3 returns r/0 A   => r/0 done; r ends; p3 recorded
         8s ann submits s: 1 input, adaptive
         8s p2 wants 1         => p2 gets s/0
         8s p2 returns s/0 X   => p2 recorded
         9s p1 wants 1         => p1 gets s/0
         9s p1 returns s/0 A   => p1 recorded
         9s p3 wants 1         => p3 gets s/0
         9s p3 returns s/0 A   => p3 recorded
         9s p4 wants 1         => p4 gets s/0
         9s p4 returns s/0 A   => p4 recorded
         9s p5 wants 1         => p5 gets s/0
         9s p5 returns s/0 A   => p5 recorded
         9s p6 wants 1         => p6 gets s/0
         9s p6 returns s/0 A   => s/0 done; p2 contradicts s/0; s ends; p6 recorded
        ",
        visitors_at_work()
    );
    check_with(crowd(), &story);
}

/// Eight pages that hold something else. Whoever is only connected is nobody.
fn visitors_at_work() -> String {
    let come = |number| {
        let unit = number - 1;
        format!("0s p{number} visits\n0s p{number} wants 1 => p{number} gets other/{unit}\n")
    };
    format!("0s bob submits other: 8 inputs, 1 of 1\n{}", (1..=8).map(come).collect::<String>())
}

#[test]
fn connections_that_do_nothing_are_no_crowd() {
    let come: Vec<String> = (1..=8).map(|number| format!("0s p{number} visits")).collect();
    let story = format!(
        "{}
         1s ann submits r: 1 input, adaptive
         2s p1 wants 1         => p1 gets r/0
         3s p1 returns r/0 A   => p1 recorded; audit r/0
        ",
        come.join("\n")
    );
    check_with(Policy { trust: Trust { audits_in_flight_max: 1, ..crowd().trust }, ..crowd() }, &story);
}

#[test]
fn many_names_under_one_roof_are_no_crowd() {
    check_with(
        Policy { trust: Trust { audits_in_flight_max: 1, ..crowd().trust }, ..crowd() },
        "
         0s p1 connects roof
         0s p2 connects roof
         0s p3 connects roof
         0s p4 connects roof
         0s p5 connects roof
         0s p6 connects roof
         0s p7 connects roof
         0s p8 connects roof
         1s ann submits r: 1 input, adaptive
         2s p1 wants 1         => p1 gets r/0
         2s p2 wants 1
         3s p1 returns r/0 A   => p1 recorded; audit r/0
        ",
    );
}

#[test]
fn who_has_a_record_is_believed_alone() {
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         1s ann submits r: 1 input, adaptive
         1s w1 wants 1         => w1 gets r/0
         2s w1 returns r/0 A   => r/0 done; r ends; w1 recorded
        ",
    );
}

#[test]
fn attack_32_nobody_knows_who_comes_after_it() {
    // Two are needed, and the second is asked only when the first has spoken.
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         1s ann submits r: 1 input, full
         1s w1 wants 1         => w1 gets r/0
         1s w2 wants 1
         2s w1 returns r/0 A   => w1 recorded; w2 gets r/0
         3s w2 returns r/0 A   => r/0 done; r ends; w2 recorded
        ",
    );
}

#[test]
fn attack_32_who_waits_to_see_who_else_is_asked_is_not_heard() {
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         0s w3 returns-established
         1s ann submits r: 1 input, full
         1s w1 wants 1         => w1 gets r/0
         2s w2 wants 1
        61s time passes        => w1 drops 1; w2 gets r/0
        62s w2 returns r/0 X   => w2 recorded
        63s w1 returns r/0 X   => w1 refused: the lease ran out, and others have been asked since
        64s w3 wants 1         => w3 gets r/0
        65s w3 returns r/0 A   => w3 recorded; audit r/0
        66s op audits r/0 A    => r/0 done; w2 contradicts r/0; r ends
        ",
    );
}

#[test]
fn attack_33_a_sleeper_that_is_found_out_takes_its_answers_with_it() {
    // Every accepted unit is audited, in time. Its run has ended by then.
    let trust = Trust { audit_share: 1.5, audits_in_flight_max: 1, ..sober().trust };
    check_with(
        Policy { trust, ..sober() },
        "
         0s sleeper returns-established
         0s w2 returns-established
         1s ann submits r: 3 inputs, adaptive
         1s sleeper wants 3       => sleeper gets r/1; sleeper gets r/0; sleeper gets r/2
         2s sleeper returns r/0 A => r/0 done; sleeper recorded; audit r/0
         3s sleeper returns r/1 X => r/1 done; sleeper recorded
         4s sleeper returns r/2 Y => r/2 done; r ends; sleeper recorded
         4s status r              => Finished
         5s op audits r/0 A       => audit r/1
         6s w2 wants 5
         7s op audits r/1 A       => recall r [1]; recall r [0, 1, 2]; sleeper contradicts r/1; audit r/2
         8s disk reads r          => reopened r [1, 2]; r/1 done; r/1 changed; w2 gets r/2
         8s status r              => Active
         9s disk reads r
        10s w2 returns r/2 C      => r/2 done; r/2 changed; r ends; w2 recorded
        10s status r              => Finished
        ",
    );
}

#[test]
fn what_was_read_before_a_unit_was_opened_again_opens_nothing() {
    let trust = Trust { audit_share: 1.5, audits_in_flight_max: 1, ..sober().trust };
    check_with(
        Policy { trust, ..sober() },
        "
         0s sleeper returns-established
         0s w2 returns-established
         1s ann submits r: 2 inputs, adaptive
         1s sleeper wants 3       => sleeper gets r/0; sleeper gets r/1
         2s sleeper returns r/0 X => r/0 done; sleeper recorded; audit r/0
         3s sleeper returns r/1 Y => r/1 done; r ends; sleeper recorded
         3s balance sleeper       => 2
         4s w2 wants 1
         5s op audits r/0 A       => recall r [0]; recall r [0, 1]; sleeper contradicts r/0; audit r/1
         5s disk copies r
         6s disk repeats r        => reopened r [0, 1]; r/0 done; r/0 changed; w2 gets r/1
         7s w2 returns r/1 B      => r/1 done; r/1 changed; r ends; w2 recorded
         7s balance sleeper       => 0
         8s disk repeats r        => recall r [0, 1]
         9s disk reads r
         9s balance sleeper       => 0
         9s balance w2            => 1
         9s status r              => Finished
        ",
    );
}

#[test]
fn what_is_opened_again_while_it_is_verified_waits_for_nothing_else() {
    let trust = Trust { audit_share: 1.5, audits_in_flight_max: 2, ..sober().trust };
    check_with(
        Policy { trust, ..sober() },
        "
         0s sleeper returns-established
         1s ann submits r: 2 inputs, adaptive
         1s sleeper wants 3       => sleeper gets r/0; sleeper gets r/1
         2s sleeper returns r/0 X => r/0 done; sleeper recorded; audit r/0
         3s sleeper returns r/1 Y => r/1 done; r ends; sleeper recorded; audit r/1
         4s w2 connects
         4s w2 wants 1
         5s op audits r/0 A       => recall r [0]; recall r [0, 1]; sleeper contradicts r/0
         6s disk reads r          => reopened r [0, 1]; r/0 done; r/0 changed; w2 gets r/1
         7s w2 returns r/1 B      => w2 recorded
         8s op audits r/1 B       => r/1 done; r/1 changed; r ends; sleeper contradicts r/1, banned
        ",
    );
}

#[test]
fn a_crash_does_not_keep_a_liars_answers() {
    let trust = Trust { audit_share: 1.5, audits_in_flight_max: 1, ..sober().trust };
    check_with(
        Policy { trust, ..sober() },
        "
         0s sleeper returns-established
         0s w2 returns-established
         1s ann submits r: 3 inputs, adaptive
         1s sleeper wants 2       => sleeper gets r/1; sleeper gets r/0
         2s sleeper returns r/0 X => r/0 done; sleeper recorded; audit r/0
         3s sleeper returns r/1 Y => r/1 done; sleeper recorded
         4s op audits r/0 A       => recall r [0]; recall r [0, 1]; sleeper contradicts r/0; audit r/1
         5s op crashes            => recall r [0, 1]
         6s disk reads r          => reopened r [0, 1]
         7s w2 returns-established
         7s w2 wants 9            => w2 gets r/0; w2 gets r/1; w2 gets r/2
        ",
    );
}

#[test]
fn attack_33_who_leaves_young_is_asked_in_its_absence() {
    let absence = Duration::from_secs(3_600);
    let trust = Trust { life_units: 2_000_000_000, audits_in_flight_max: 0, absence, ..sober().trust };
    check_with(
        Policy { trust, ..sober() },
        "
            0s w1 returns-young
            0s w2 returns-established
            0s w3 returns-established
            1s ann submits r: 1 input, strict
            1s w1 wants 1         => w1 gets r/0
            2s w1 returns r/0 X   => w1 recorded
            3s w2 wants 1         => w2 gets r/0
            4s w2 returns r/0 X   => r/0 done; r ends; w2 recorded
         3639s time passes
         3640s time passes        => recall r [0]
         3641s disk reads r       => reopened r [0]
         3642s w3 wants 1         => w3 gets r/0
         3643s w3 returns r/0 A   => w3 recorded
         3644s w4 returns-established
         3644s w4 wants 1         => w4 gets r/0
         3645s w4 returns r/0 A   => w4 recorded
        ",
    );
}

#[test]
fn attack_33_who_confirmed_a_lie_does_not_decide_when_it_is_asked_again() {
    // Its accomplice stands by it, and is worth nothing: as many are asked as of a unit that nobody has had, and one more.
    check_with(
        for_life(),
        "
            0s w1 returns-young
            0s w2 returns-established
            0s w3 returns-established
            0s w4 returns-established
            0s w5 returns-established
            1s ann submits r: 1 input, full
            1s w1 wants 1         => w1 gets r/0
            2s w1 returns r/0 X   => w1 recorded
            3s w2 wants 1         => w2 gets r/0
            4s w2 returns r/0 X   => r/0 done; r ends; w2 recorded
          912s time passes
          913s time passes        => recall r [0]
          914s disk reads r       => reopened r [0]
          915s w3 wants 1         => w3 gets r/0
          916s w3 returns r/0 X   => w3 recorded
          917s w4 wants 1         => w4 gets r/0
          918s w4 returns r/0 X   => w4 recorded
          919s w5 wants 1         => w5 gets r/0
          920s w5 returns r/0 X   => r/0 done; r ends; w5 recorded
        ",
    );
}

#[test]
fn attack_33_what_is_asked_again_is_for_whoever_is_drawn() {
    // Its accomplices know when it is asked again. They ask for work in that moment, give it back and ask again; and it waits for one who has
    // something else to do.
    check_with(
        for_life(),
        "
            0s w1 returns-young
            0s w2 returns-established
            0s w3 returns-established
            1s ann submits r: 1 input, full
            1s w1 wants 1         => w1 gets r/0
            2s w1 returns r/0 X   => w1 recorded
            3s w2 wants 1         => w2 gets r/0
            4s w2 returns r/0 X   => r/0 done; r ends; w2 recorded
          880s bob submits s: 3 inputs, full
          881s w3 wants 1         => w3 gets s/2
          912s time passes
          913s time passes        => recall r [0]
          914s disk reads r       => reopened r [0]
          915s w4 returns-established
          915s w4 wants 1         => w4 gets s/1
          916s w4 gives s/1
          917s w4 wants 1         => w4 gets s/0
          918s w4 gives s/0
          919s w3 returns s/2 A   => w3 recorded
          920s w3 wants 1         => w3 gets r/0
        ",
    );
}

#[test]
fn attack_33_who_hardly_does_anything_is_as_good_as_silent() {
    // Each says something every five minutes. That keeps up the one who did no more before, and does not the one beside whom others do far more.
    for (others_do, is_asked_again) in [(1, false), (30, true)] {
        let mut world = World::new(for_life());
        for who in ["w1", "w2", "w3"] {
            let how = if who == "w1" { "returns-young" } else { "returns-established" };
            world.act(Timestamp(0), who, how, "");
        }
        world.act(Timestamp(0), "ann", "submits", "s: 1000 inputs, full");
        let mut said = Vec::new();
        for minute in (5..=60).step_by(5) {
            let now = Timestamp(60_000 * minute);
            for (who, count) in [("w1", 1), ("w2", others_do), ("w3", others_do)] {
                world.act(now, who, "wants", &count.to_string());
                let effects = world.effects();
                for unit in effects.iter().filter_map(|effect| effect.strip_prefix(&format!("{who} gets "))) {
                    world.act(now, who, "returns", &format!("{unit} A"));
                }
                said.extend(effects.into_iter().chain(world.effects()));
            }
        }
        assert_eq!(said.iter().any(|effect| effect.starts_with("recall s")), is_asked_again, "{said:?}");
    }
}

#[test]
fn what_is_asked_again_does_not_wait_where_nobody_is_left() {
    check_with(
        for_life(),
        "
            0s w1 returns-young
            0s w2 returns-established
            0s w3 returns-established
            1s ann submits r: 1 input, full
            1s w1 wants 1         => w1 gets r/0
            2s w1 returns r/0 A   => w1 recorded
            3s w2 wants 1         => w2 gets r/0
            4s w2 returns r/0 A   => r/0 done; r ends; w2 recorded
            5s w1 leaves
          913s time passes        => recall r [0]
          914s disk reads r       => reopened r [0]
          915s w3 wants 1         => w3 gets r/0
          916s w3 returns r/0 A   => r/0 done; r ends; w3 recorded
        ",
    );
}

#[test]
fn attack_33_what_somebody_else_confirmed_who_was_not_caught_takes_one_voice_more() {
    check_with(
        sober(),
        "
         0s liar returns-established
         0s w2 returns-established
         0s w3 returns-established
         1s ann submits r: 2 inputs, full
         1s liar wants 2          => liar gets r/0; liar gets r/1
         2s liar returns r/1 A    => liar recorded
         2s w2 wants 1            => w2 gets r/1
         3s w2 returns r/1 A      => r/1 done; w2 recorded
         4s liar returns r/0 X    => liar recorded
         4s w2 wants 1            => w2 gets r/0
         5s w2 returns r/0 B      => w2 recorded; audit r/0
         7s op audits r/0 B       => r/0 done; recall r [1]; liar contradicts r/0; r ends
         8s disk reads r          => reopened r [1]
         9s w3 wants 1            => w3 gets r/1
        10s w3 returns r/1 A      => r/1 done; r ends; w3 recorded
        ",
    );
}

#[test]
fn attack_35_a_flood_of_new_names_gets_nothing_to_begin_with() {
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         0s new1 connects
         0s new1 wants 9
         0s new2 connects
         0s new2 wants 9
         1s ann submits r: 1 input, adaptive
         2s w1 wants 1         => w1 gets r/0
         3s w1 returns r/0 A   => r/0 done; r ends; w1 recorded
        ",
    );
}

#[test]
fn attack_35_names_under_one_roof_are_one_voice() {
    let trust = Trust { audits_in_flight_max: 0, hostile: 0.1, ..sober().trust };
    // Nobody has a record and nothing can be audited, so it takes five strangers.
    check_with(
        Policy { trust, ..sober() },
        "
         0s a connects roof
         0s b connects roof
         0s c connects
         1s ann submits r: 1 input, adaptive
         1s a wants 1         => a gets r/0
         1s b wants 1
         2s a returns r/0 A   => a recorded
         3s c wants 1         => c gets r/0
         4s c returns r/0 A   => c recorded
         5s b wants 1
        ",
    );
}

#[test]
fn attack_36_a_unit_does_not_go_from_one_who_is_silent_to_the_next() {
    let trust = Trust { tried_share: 1.0, ..sober().trust };
    check_with(
        Policy { trust, ..sober() },
        "
         0s w1 returns-established
         0s w2 returns-established
         0s w3 returns-established
         0s mute1 connects
         0s mute2 connects
         0s mute1 wants 1
         1s ann submits r: 1 input, adaptive
         1s w1 wants 1         => w1 gets r/0
         2s w1 returns r/0 A   => w1 recorded; mute1 gets r/0
         3s mute2 wants 1
         3s w2 wants 1
        62s time passes        => mute1 drops 1; w2 gets r/0
        63s w2 returns r/0 A   => r/0 done; r ends; w2 recorded
        ",
    );
}

#[test]
fn attack_36_who_is_silent_is_asked_less_and_less_and_then_no_more() {
    // Twelve leases run out, whatever is done in between, and none is given after that.
    let mut story = String::from(
        "
         0s w1 returns-established
         0s w2 returns-established
         1s ann submits r: 1 input, adaptive
        ",
    );
    story += "1s w1 wants 1 => w1 gets r/0\n";
    let mut at = 1;
    for lapse in 1..=12 {
        at += 60;
        story += &format!("{at}s time passes => w1 drops 1\n");
        if lapse < 12 {
            story += &format!("{at}s w1 wants 1 => w1 gets r/0\n");
        }
    }
    story += &format!("{at}s w1 wants 1\n");
    story += &format!("{at}s op pardons w1 => w1 gets r/0\n");
    check_with(sober(), &story);
}

#[test]
fn nobody_waits_for_one_that_is_asked_no_more() {
    // Too few are left to lean on, so somebody else is tried.
    let mut story = String::from(
        "
         0s w1 returns-established
         0s w2 returns-established
         0s new connects
         0s new wants 1
         1s ann submits r: 1 input, adaptive
         1s w1 wants 1 => w1 gets r/0
        ",
    );
    let mut at = 1;
    for lapse in 1..=12 {
        at += 60;
        let next = if lapse < 12 { "" } else { "; new gets r/0" };
        story += &format!("{at}s time passes => w1 drops 1{next}\n");
        if lapse < 12 {
            story += &format!("{at}s w1 wants 1 => w1 gets r/0\n");
        }
    }
    check_with(sober(), &story);
}

#[test]
fn a_broken_connection_is_one_lapse_however_much_was_in_hand() {
    let all = (0..14).map(|unit| format!("w1 gets r/{unit}")).collect::<Vec<_>>().join("; ");
    let drops = ["w1 drops 1"; 14].join("; ");
    let story = format!(
        "
         0s ann submits r: 14 inputs, 1 of 1
         0s w1 returns-established
         0s w1 wants 14        => {all}
         1s w1 leaves
        16s time passes        => {drops}
        17s ann cancels r      => {}; r ends
        18s ann submits s: 1 input, adaptive
        18s w1 connects
        18s w1 wants 1         => w1 gets s/0
        ",
        (0..14).map(|unit| format!("r/{unit} cancelled")).collect::<Vec<_>>().join("; ")
    );
    check_with(Policy { trust: Trust { core_min: 1, ..sober().trust }, ..sober() }, &story);
}

#[test]
fn what_a_crowd_decided_and_was_drawn_is_audited_after_a_crash() {
    let trust = Trust { audit_share: 1.5, audits_in_flight_max: 1, ..crowd().trust };
    let story = format!(
        "{}
         1s ann submits r: 2 inputs, adaptive
         2s p1 wants 1         => p1 gets r/0
         3s p1 returns r/0 A   => p1 recorded
         4s p2 wants 2         => p2 gets r/1; p2 gets r/0
         5s p2 returns r/0 A   => p2 recorded
         6s p3 wants 1         => p3 gets r/0
         7s p3 returns r/0 A   => r/0 done; p3 recorded; audit r/0
         8s it crashes
         9s time passes        => audit r/0
        10s op audits r/0 A
        11s it crashes
        12s time passes
        ",
        visitors_at_work()
    );
    check_with(Policy { trust, ..crowd() }, &story);
}

#[test]
fn what_cannot_be_taken_back_waits_for_the_operators_machine() {
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         1s ann submits r: 1 input, audited
         1s w1 wants 1          => w1 gets r/0
         2s w1 returns r/0 ?A   => w1 recorded; audit r/0
         3s op audits r/0 ?A    => call for r/0 at 0: 559a
        ",
    );
}

#[test]
fn attack_33_strangers_do_not_stand_for_an_operators_machine_that_is_off() {
    // However many agree, and few as those with a record are: three of those are one in a thousand.
    check_with(
        crowd(),
        "
         0s p1 connects
         0s p2 connects
         0s p3 connects
         0s p4 connects
         0s w1 returns-established
         1s ann submits r: 1 input, audited
         1s w1 wants 1          => w1 gets r/0
         2s w1 returns r/0 ?A   => w1 recorded
         3s p1 wants 1
         3s p2 wants 1
         3s p3 wants 1
         3s p4 wants 1
         4s why r/0             => waits for a worker with a record who has not answered yet and shares neither owner nor address with those who have; 5 connected
         5s w2 returns-established
         5s w2 wants 1          => w2 gets r/0
         6s w2 returns r/0 ?A   => w2 recorded
         7s w3 returns-established
         7s w3 wants 1          => w3 gets r/0
         8s w3 returns r/0 ?A   => call for r/0 at 0: 559a; w3 recorded
        ",
    );
}

#[test]
fn what_the_operators_machine_cannot_execute_does_not_wait_for_strangers_for_ever() {
    check_with(
        sober(),
        "
         0s p1 connects
         1s ann submits r: 1 input, audited
         1s p1 wants 1           => p1 gets r/0
         2s p1 returns r/0 A     => p1 recorded; audit r/0
         3s op audits r/0 nothing => r/0 undecided; r ends
        ",
    );
}

#[test]
fn while_nobody_has_a_record_the_operators_machine_decides() {
    check_with(
        sober(),
        "
         0s w1 connects
         1s ann submits r: 1 input, adaptive
         1s w1 wants 1         => w1 gets r/0
         2s w1 returns r/0 A   => w1 recorded; audit r/0
         3s op audits r/0 A    => r/0 done; r ends
        ",
    );
}

#[test]
fn what_only_others_say_bans_nobody() {
    // The operator's machine cannot execute it.
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         0s w3 returns-established
         1s ann submits r: 1 input, full
         1s w1 wants 1           => w1 gets r/0
         2s w1 returns r/0 X     => w1 recorded
         2s w2 wants 1           => w2 gets r/0
         3s w2 returns r/0 A     => w2 recorded; audit r/0
         4s op audits r/0 nothing
         5s w3 wants 1           => w3 gets r/0
         6s w3 returns r/0 A     => w3 recorded
         7s w4 returns-established
         7s w4 wants 1           => w4 gets r/0
         8s w4 returns r/0 A     => r/0 done; w1 contradicts r/0; r ends; w4 recorded
         9s bob submits s: 1 input, adaptive
         9s w1 wants 1           => w1 gets s/0
        ",
    );
}

#[test]
fn those_who_agree_are_paid_once_and_nobody_else_is() {
    check(
        "
          0s ann submits r: 1 input
          1s w1 connects
          1s w1 wants 1         => w1 gets r/0
          1s liar connects
          1s liar wants 1       => liar gets r/0
          2s w3 connects
          2s w3 wants 1
          3s liar returns r/0 X => liar recorded
          4s w1 returns r/0 A   => w1 recorded; w3 gets r/0
          4s balance w1         => 0
          5s w3 returns r/0 A   => r/0 done; liar contradicts r/0; r ends; w3 recorded
          5s balance w1         => 1
          5s balance w3         => 1
          5s balance liar       => 0
          5s balance ann        => -2
          6s w3 returns r/0 A   => w3 refused: the run has ended; nothing was needed any more
          7s it crashes
          8s balance ann        => -2
        ",
    );
}

#[test]
fn a_failure_that_was_agreed_on_is_work_and_stays_paid_when_it_is_tried_again() {
    check(
        "
         0s ann submits r: 1 input, 1 of 1
         1s w1 connects
         1s w1 wants 1        => w1 gets r/0
         2s w1 returns r/0 e  => r/0 failed; r ends; w1 recorded
         3s ann retries r
         4s w1 wants 1        => w1 gets r/0
         5s w1 returns r/0 e  => r/0 failed; r ends; w1 recorded
         5s balance w1        => 2
        ",
    );
}

#[test]
fn where_tokens_make_replicas_burn_other_amounts_each_gets_the_least_that_is_claimed() {
    check(
        "
         0s ann submits r: 1 input, 2 of 3
         1s w1 connects
         1s w1 wants 1               => w1 gets r/0
         1s greedy connects
         1s greedy wants 1           => greedy gets r/0
         2s greedy returns r/0 A for 900 => greedy recorded
         3s it crashes
         4s w1 connects
         4s w1 returns r/0 A for 70  => r/0 done; r ends; w1 recorded
         4s balance w1               => 70
         4s balance greedy           => 70
         4s balance ann              => -140
        ",
    );
    // Only those who give the answer say what it cost.
    check(
        "
         0s ann submits r: 1 input, 2 of 3
         1s w1 connects
         1s w1 wants 1               => w1 gets r/0
         1s liar connects
         1s liar wants 1             => liar gets r/0
         2s w3 connects
         2s w3 wants 1
         3s liar returns r/0 X for 1 => liar recorded
         4s w1 returns r/0 A for 70  => w1 recorded; w3 gets r/0
         5s w3 returns r/0 A for 80  => r/0 done; liar contradicts r/0; r ends; w3 recorded
         5s balance w1               => 70
         5s balance w3               => 70
        ",
    );
}

#[test]
fn who_is_believed_alone_gets_no_more_for_units_with_tokens_than_others_agreed_on() {
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         0s ann submits one: 1 input, adaptive
         1s w1 wants 1                 => w1 gets one/0
         2s w1 returns one/0 A for 900 => one/0 done; one ends; w1 recorded
         2s balance w1                 => 0
         3s ann submits two: 1 input, full
         3s w2 wants 1                 => w2 gets two/0
         4s w1 wants 1
         4s w2 returns two/0 A for 60  => w2 recorded; w1 gets two/0
         5s w1 returns two/0 A for 900 => two/0 done; two ends; w1 recorded
         5s balance w1                 => 60
         6s ann submits three: 1 input, adaptive
         6s w1 wants 1                 => w1 gets three/0
         7s w1 returns three/0 A for 900 => three/0 done; three ends; w1 recorded
         7s balance w1                 => 120
         8s ann submits four: 1 input, adaptive
         8s w1 wants 1                 => w1 gets four/0
         9s w1 returns four/0 A for 50 => four/0 done; four ends; w1 recorded
         9s balance w1                 => 170
        ",
    );
}

#[test]
fn nobody_is_paid_more_for_units_with_tokens_than_the_operators_machine_took() {
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         0s ann submits r: 1 input, audited
         1s w1 wants 1                => w1 gets r/0
         2s w1 returns r/0 A for 900  => w1 recorded; audit r/0
         3s op audits r/0 A for 60    => r/0 done; r ends
         3s balance w1                => 60
         4s ann submits s: 1 input, adaptive
         4s w2 wants 1                => w2 gets s/0
         5s w2 returns s/0 A for 900  => s/0 done; s ends; w2 recorded
         5s balance w2                => 60
        ",
    );
}

#[test]
fn accomplices_who_claim_too_much_hardly_raise_what_others_get_alone() {
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s w2 returns-established
         0s ann submits r: 1 input, full
         1s w1 wants 1                => w1 gets r/0
         2s w1 returns r/0 A for 80   => w1 recorded
         2s w2 wants 1                => w2 gets r/0
         3s w2 returns r/0 A for 80   => r/0 done; r ends; w2 recorded
         4s ann submits s: 1 input, full
         4s w1 wants 1                => w1 gets s/0
         5s w1 returns s/0 A for 80000 => w1 recorded
         5s w2 wants 1                => w2 gets s/0
         6s w2 returns s/0 A for 80000 => s/0 done; s ends; w2 recorded
         6s balance w1                => 80080
         7s ann submits t: 1 input, adaptive
         7s w1 wants 1                => w1 gets t/0
         8s w1 returns t/0 A for 80000 => t/0 done; t ends; w1 recorded
         8s balance w1                => 80170
        ",
    );
    // Whoever is alone by a fixed rule is believed in its own run, and says nothing about those of others.
    check_with(
        sober(),
        "
         0s w1 returns-established
         0s ann submits r: 1 input, 1 of 1
         1s w1 wants 1                => w1 gets r/0
         2s w1 returns r/0 A for 900  => r/0 done; r ends; w1 recorded
         2s balance w1                => 900
         3s bob submits s: 1 input, adaptive
         3s w1 wants 1                => w1 gets s/0
         4s w1 returns s/0 A for 900  => s/0 done; s ends; w1 recorded
         4s balance w1                => 900
        ",
    );
}

#[test]
fn each_step_of_a_unit_that_calls_is_paid() {
    check(
        "
         0s ann submits r: 1 input, 1 of 1
         1s w1 connects
         1s w1 wants 2         => w1 gets r/0
         2s w1 returns r/0 ?Q  => call for r/0 at 0: 4ae8; w1 recorded
         2s balance w1         => 1
         3s it crashes         => call for r/0 at 0: 4ae8
         4s it answers r/0 0
         5s w1 connects
         5s w1 wants 1         => w1 gets r/0 at 1
         6s w1 returns r/0 A   => r/0 done; r ends; w1 recorded
         6s balance w1         => 2
        ",
    );
}

#[test]
fn a_budget_that_is_used_up_stops_its_owners_runs_until_there_is_more() {
    check(
        "
          0s op deposits ann 2
          0s ann submits r: 3 inputs
          0s bob submits s: 1 input
          1s w1 connects
          1s w1 wants 9        => w1 gets r/0; w1 gets s/0; w1 gets r/1; w1 gets r/2
          2s w2 connects
          2s w2 wants 2        => w2 gets s/0; w2 gets r/0
          3s w1 returns r/0 A  => w1 recorded
          3s w1 returns r/1 A  => w1 recorded
          4s w2 returns r/0 A  => r/0 done; w2 recorded
          4s why r/1           => its owner's budget is used up: 0 fuel left; ask the operator for a deposit, or cancel the run
          4s why r/2           => is being executed by 1 worker; the first lease ends in 57 s
          5s w2 wants 9
          6s w1 returns r/2 A  => w1 recorded
          7s it crashes
          8s w2 connects
          8s w2 wants 9        => w2 gets s/0
          8s why r/1           => its owner's budget is used up: 0 fuel left; ask the operator for a deposit, or cancel the run
          9s op deposits ann 1 => w2 gets r/1; w2 gets r/2
         10s w2 returns r/1 A  => r/1 done; w2 recorded
         10s balance ann       => -1
         11s w2 returns r/2 A  => r/2 done; r ends; w2 recorded
         11s balance ann       => -3
        ",
    );
}

#[test]
fn who_is_not_given_a_budget_has_none_unless_everybody_needs_one() {
    let story = "
         0s ann submits r: 1 input, 1 of 1
         1s w1 connects
         1s w1 wants 1        => w1 gets r/0
        ";
    check(story);
    check_with(Policy { budgets: Budgets::Off, ..policy() }, &format!("0s op deposits ann -5\n{story}"));
    check_with(
        Policy { budgets: Budgets::All, ..policy() },
        "
         0s ann submits r: 1 input, 1 of 1
         1s w1 connects
         1s w1 wants 1
         2s op deposits ann 1 => w1 gets r/0
        ",
    );
}

#[test]
fn nobody_sees_more_of_a_run_than_its_share_unless_few_are_there() {
    let trust = Trust { run_share_max: 0.25, run_units_min: 1, ..sober().trust };
    let others: Vec<String> = (2..=17).map(|number| format!("w{number}")).collect();
    // They are busy elsewhere. While all of them are, a fourth is more than four times what each has to do.
    let come: Vec<String> = others
        .iter()
        .map(|name| format!("0s {name} returns-established\n0s bob submits b{name}: 1 input, 1 of 1\n0s {name} wants 1 => {name} gets b{name}/0"))
        .collect();
    let go: Vec<String> = others[..8].iter().map(|name| format!("4s {name} leaves")).collect();
    let story = format!(
        "{}
         0s ann submits r: 8 inputs, adaptive
         1s w1 returns-established
         1s w1 wants 5        => w1 gets r/6; w1 gets r/7
         2s w1 returns r/6 A  => r/6 done; w1 recorded
         3s w1 returns r/7 A  => r/7 done; w1 recorded; w1 gets r/4
         {}
         4s w10 leaves        => w1 gets r/1
        ",
        come.join("\n"),
        go.join("\n")
    );
    check_with(Policy { trust, ..sober() }, &story);
}

#[test]
fn all_workers_of_one_owner_together_see_no_more_of_a_run_than_their_share() {
    let trust = Trust { owner_share_max: 0.25, run_units_min: 1, ..sober().trust };
    // They are busy elsewhere.
    let come: Vec<String> = (3..=22)
        .map(|number| format!("0s w{number} returns-established\n0s bob submits b{number}: 1 input, 1 of 1\n0s w{number} wants 1 => w{number} gets b{number}/0"))
        .collect();
    let story = |third: &str, gets: &str| {
        format!(
            "{}
             0s ann submits r: 8 inputs, adaptive
             1s w1 returns-established
             1s w1 connects-for ann
             1s w2 returns-established
             1s w2 connects-for ann
             1s w1 wants 1        => w1 gets r/1
             2s w2 wants 1        => w2 gets r/0
             3s w23 returns-established
             3s w23 connects-for {third}
             3s w23 wants 1       {gets}
            ",
            come.join("\n"),
        )
    };
    check_with(Policy { trust, ..sober() }, &story("ann", ""));
    check_with(Policy { trust, ..sober() }, &story("robert", "=> w23 gets r/3"));
}

#[test]
fn nobody_sees_more_of_a_requesters_work_than_its_share_in_however_many_runs() {
    let trust = Trust { requester_share_max: 0.25, run_units_min: 2, ..sober().trust };
    let come: Vec<String> = (2..=17)
        .map(|number| format!("0s w{number} returns-established\n0s bob submits b{number}: 1 input, 1 of 1\n0s w{number} wants 1 => w{number} gets b{number}/0"))
        .collect();
    // Nobody may see more than two of the eight; the other two runs go on without w1.
    let story = format!(
        "{}
         0s w1 returns-established
         0s w18 returns-established
         1s ann submits r1: 4 inputs, adaptive
         1s ann submits r2: 4 inputs, adaptive
         2s w18 wants 2       => w18 gets r1/3; w18 gets r2/0
         3s w1 wants 2        => w1 gets r1/2; w1 gets r2/2
         4s w1 wants 1
         5s cid submits s: 4 inputs, adaptive => w1 gets s/3
        ",
        come.join("\n"),
    );
    check_with(Policy { trust, ..sober() }, &story);
}

#[test]
fn a_limit_on_what_one_sees_stops_no_run() {
    let trust = Trust { run_share_max: 0.25, run_units_min: 1, ..sober().trust };
    // Nobody else wants anything.
    let idle: Vec<String> = (2..=40).map(|number| format!("0s w{number} returns-established")).collect();
    for (rule, order) in [("1 of 1", [0, 1, 2, 3]), ("adaptive", [1, 3, 2, 0])] {
        let all = order.map(|unit| format!("w1 gets r/{unit}")).join("; ");
        let story = format!(
            "{}
             0s ann submits r: 4 inputs, {rule}
             1s w1 returns-established
             1s w1 wants 9        => {all}
            ",
            idle.join("\n")
        );
        check_with(Policy { trust, ..sober() }, &story);
    }
}
