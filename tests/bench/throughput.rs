//! Verified units a second, end to end: real runners execute, sign and are acknowledged; every input, report and
//! answer is durable; a reader gets every result.

use manyhands_tests::Coordinator;

use crate::cpu::Meter;
use crate::report::Report;
use crate::{load, peers};

const UNITS: u64 = 100_000;
const REPLICAS: u8 = 2;
const WARM: u64 = 2_000;

pub(crate) async fn run(report: &mut Report) {
    let peers = peers::measure(report);
    let coordinator = Coordinator::start().await;
    load::publish_noop(&coordinator).await;
    let _runners = coordinator.runners(2).await;
    let warm = load::submit(&coordinator, WARM, REPLICAS).await;
    load::read(&coordinator, warm, WARM).await;

    report.say(&format!("{UNITS} no-op units with {REPLICAS} replicas each, on two runners"));
    let meter = Meter::start(coordinator.process.pid());
    let run = load::submit(&coordinator, UNITS, REPLICAS).await;
    let submitted = meter.wall();
    let verified = load::read(&coordinator, run, UNITS).await;
    let (wall, cpu, busy) = (meter.wall().as_secs_f64(), meter.cpu(), meter.busy());
    assert_eq!(verified, UNITS, "every unit is verified");

    let replicas = (UNITS * u64::from(REPLICAS)) as f64;
    report.add("replicas per second", replicas / wall, "1/s");
    report.add("verified units per second", UNITS as f64 / wall, "1/s");
    report.add("wall per replica", wall / replicas * 1e6, "us");
    report.add("coordinator CPU per replica", cpu / replicas * 1e6, "us");
    report.add("of the wall, submitting", submitted.as_secs_f64() / wall, "share");
    report.add("processors busy on this computer", busy, "cores");
    for peer in peers {
        let units = UNITS as f64 / wall;
        report.compare(&format!("verified units, to tasks of {}", peer.name), units, "1/s", peer.tasks_per_second);
        report.compare(&format!("replicas, to tasks of {}", peer.name), replicas / wall, "1/s", peer.tasks_per_second);
    }
}
