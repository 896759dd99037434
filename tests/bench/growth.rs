//! Whether a unit costs more when many wait: the same number of units is taken from a short queue and from a long
//! one.

use manyhands_tests::Coordinator;

use crate::cpu::{Meter, resident_mib};
use crate::load;
use crate::report::Report;

const SHORT: u64 = 10_000;
const LONG: u64 = 1_000_000;
const MEASURED: u64 = 50_000;
const REPLICAS: u8 = 2;

pub(crate) async fn run(report: &mut Report) {
    // Five times the short queue, so that both measure as many units.
    let short = cost(report, SHORT, MEASURED / SHORT).await;
    let long = cost(report, LONG, 1).await;
    report.compare("coordinator CPU per unit, 1 million waiting to 10 thousand", long.cpu, "us", short.cpu);
    report.compare("wall per unit, 1 million waiting to 10 thousand", long.wall, "us", short.wall);
    report.compare("coordinator memory, 1 million waiting to 10 thousand", long.memory, "MiB", short.memory);
}

struct Cost {
    cpu: f64,
    wall: f64,
    memory: f64,
}

async fn cost(report: &Report, waiting: u64, runs: u64) -> Cost {
    let coordinator =
        Coordinator::start_with(&["limits.queued_units_max=2000000", "limits.units_per_run_max=2000000"]).await;
    load::publish_noop(&coordinator).await;
    let _runners = coordinator.runners(2).await;
    let warm = load::submit(&coordinator, 2_000, REPLICAS).await;
    load::read(&coordinator, warm, 2_000).await;
    let pid = coordinator.process.pid();
    let measured = (waiting * runs).min(MEASURED);
    let (mut cpu, mut wall, mut memory) = (0.0, 0.0, 0.0_f64);
    for _ in 0..runs {
        let run = load::submit(&coordinator, waiting, REPLICAS).await;
        memory = memory.max(resident_mib(pid));
        let meter = Meter::start(pid);
        let verified = load::read(&coordinator, run, measured / runs).await;
        assert!(verified >= measured / runs, "{verified} units were verified");
        cpu += meter.cpu() / verified as f64;
        wall += meter.wall().as_secs_f64() / verified as f64;
        memory = memory.max(resident_mib(pid));
    }
    report.say(&format!("{waiting} waiting: {:.1} us of CPU a unit, {memory:.0} MiB", cpu / runs as f64 * 1e6));
    Cost { cpu: cpu / runs as f64 * 1e6, wall: wall / runs as f64 * 1e6, memory }
}
