//! What the scheduler costs: `cargo run --release -p manyhands-scheduler --example decisions [adaptive|full|fixed] [WORKERS] [UNITS]`.
//!
//! Without WORKERS it measures 10, 1,000 and 100,000 of them, each in a process of its own.
//!
//! Every worker holds one lease, and brings its answer in turn; a decision is a report that is counted and a lease that is
//! given out. One in ten workers has no record. Effects are taken and thrown away; memory is what the process has more of,
//! records of ended units not included, which a shell writes to the disk.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it says what it measured, each in a process of its own"
)]

use std::collections::VecDeque;

use bytes::Bytes;
use manyhands_model::{Digest, Fuel, Outcome, RunId, Timestamp, Verdict, WorkerId};
use manyhands_protocol::{Lease, Task, Ticket};
use manyhands_scheduler::{
    Decoys, Effect, Groups, Input, LeaseDraft, Level, Policy, Quorum, Rule, RunSpec, Scheduler, Statement, WorkerRecord,
};

fn spec(rule: Rule, inputs: u32) -> RunSpec {
    RunSpec {
        id: RunId([1; 16]),
        owner: "ann".into(),
        job: "job".parse().expect("a constant"),
        version: "1.0.0".parse().expect("a constant"),
        serial: 1,
        module: Digest::of(b"module"),
        wall_ms: 60_000,
        rule,
        priority: 0,
        reduce: false,
        inputs,
        submitted_at: Timestamp(0),
        is_dry: false,
        decoys: Decoys::default(),
    }
}

fn report(draft: &LeaseDraft, module: Digest) -> Input {
    let LeaseDraft { id, worker, unit, step, entry, seed, .. } = *draft;
    let verdict = Verdict::Ok { output: Digest([unit.index as u8; 32]), output_bytes: 4 };
    let outcome = Outcome { verdict, fuel: Fuel(u64::from(unit.index)) };
    let task = Task { index: unit.index, step, entry, input: Digest([0; 32]), seed };
    let reports = vec![Statement { lease: Lease { id, task, ticket: Ticket([0; 16]) }, outcome, claims: None }];
    Input::Reported { worker, run: unit.run, module, reports, evidence: Bytes::new() }
}

/// Seconds for which the process had a core: others may want it too.
fn busy() -> f64 {
    let times = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    times.split(' ').next().and_then(|time| time.parse::<f64>().ok()).unwrap_or_default() * 1e-9
}

/// Bytes of memory that the process uses.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}

fn main() {
    let mut args = std::env::args().skip(1);
    let rule = args.next().unwrap_or_else(|| "adaptive".to_owned());
    if args.len() == 0 {
        for workers in ["10", "1000", "100000"] {
            let program = std::env::current_exe().expect("a program knows where it is");
            std::process::Command::new(program).args([&rule, workers]).status().expect("it began once");
        }
        return;
    }
    let rule = match rule.as_str() {
        "fixed" => Rule::Fixed(Quorum { agree: 2, most: 4 }),
        "full" => Rule::Earned { level: Level::Full, wrong_ppb: 10_000 },
        _ => Rule::Earned { level: Level::Adaptive, wrong_ppb: 100_000 },
    };
    let mut number = |otherwise: u32| args.next().and_then(|number| number.parse().ok()).unwrap_or(otherwise);
    let (workers, units) = (number(100_000), number(1_000_000));
    measure(rule, workers, units);
}

fn measure(rule: Rule, workers: u32, units: u32) {
    let before = resident();
    let mut scheduler = Scheduler::new(Policy::default(), [7; 32]);
    let mut now = 0;
    let mut held = VecDeque::new();
    let mut audits = Vec::new();
    let mut drain = |scheduler: &mut Scheduler, held: &mut VecDeque<LeaseDraft>, now: u64| {
        while let Some(effect) = scheduler.poll_effect() {
            match effect {
                Effect::Grant(draft) => held.push_back(draft),
                Effect::Audit { unit, step } => audits.push((unit, step)),
                _ => {}
            }
        }
        for (unit, step) in audits.drain(..) {
            let verdict = Verdict::Ok { output: Digest([unit.index as u8; 32]), output_bytes: 4 };
            let outcome = Some(Outcome { verdict, fuel: Fuel(u64::from(unit.index)) });
            scheduler.handle(Timestamp(now), Input::Audited { unit, step, outcome, claims: None });
        }
    };
    for number in 0..workers {
        let worker = WorkerId(Digest::of(&number.to_le_bytes()).0);
        if number % 10 > 0 || workers <= 10 {
            let record = WorkerRecord { agreed: 10_000, checks: 2_000, decided: 8_000, ..WorkerRecord::default() };
            scheduler.restore_worker(worker, record);
        }
        scheduler.handle(Timestamp(now), Input::Connected { worker, origin: Groups::default() });
        scheduler.handle(Timestamp(now), Input::Wants { worker, count: 1 });
    }
    drain(&mut scheduler, &mut held, now);
    let with_workers = resident();
    scheduler.handle(Timestamp(now), Input::Submitted(spec(rule, units)));
    drain(&mut scheduler, &mut held, now);
    let module = Digest::of(b"module");
    let begun = busy();
    let mut decisions = 0_u64;
    // The last units of a run are not what it is about.
    let most = u64::from(units) * 9 / 10;
    while decisions < most {
        let Some(draft) = held.pop_front() else { break };
        now += 1;
        decisions += 1;
        scheduler.handle(Timestamp(now), report(&draft, module));
        scheduler.handle(Timestamp(now), Input::Wants { worker: draft.worker, count: 1 });
        drain(&mut scheduler, &mut held, now);
    }
    let rate = decisions as f64 / (busy() - begun);
    let with_units = resident();
    println!(
        "{rule:?}, {workers} workers, {units} units: {rate:.0} decisions a second of a core, {} bytes a worker, {} bytes a unit",
        with_workers.saturating_sub(before) / u64::from(workers),
        with_units.saturating_sub(with_workers) / u64::from(units),
    );
}
