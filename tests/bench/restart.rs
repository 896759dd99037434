//! How long a start takes after `kill -9`, with a million units stored.

use std::time::Instant;

use manyhands_tests::Coordinator;

use crate::cpu::resident_mib;
use crate::load;
use crate::report::Report;

const UNITS: u64 = 1_000_000;
/// Units that have an answer when it is killed.
const DONE: u64 = 20_000;
const STARTS: usize = 5;

pub(crate) async fn run(report: &mut Report) {
    let mut coordinator =
        Coordinator::start_with(&["limits.queued_units_max=2000000", "limits.units_per_run_max=2000000"]).await;
    let empty = started(&mut coordinator).await;
    load::publish_noop(&coordinator).await;
    report.say(&format!("{UNITS} units are submitted, {DONE} of them executed"));
    let run = load::submit(&coordinator, UNITS, 2).await;
    {
        let _runners = coordinator.runners(2).await;
        load::read(&coordinator, run, DONE).await;
    }
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(started(&mut coordinator).await);
    }
    times.sort_by(f64::total_cmp);
    assert_eq!(coordinator.run(run).await.units.total, UNITS, "the run goes on");
    report.compare("median start after kill -9, to an empty coordinator", times[STARTS / 2], "s", empty);
    report.compare("longest start after kill -9, to an empty coordinator", times[STARTS - 1], "s", empty);
    report.add("coordinator memory after the start", resident_mib(coordinator.process.pid()), "MiB");
}

/// Kills the coordinator, and times from the start to the first answer that it is ready.
async fn started(coordinator: &mut Coordinator) -> f64 {
    coordinator.kill();
    let began = Instant::now();
    coordinator.restart().await;
    began.elapsed().as_secs_f64()
}
