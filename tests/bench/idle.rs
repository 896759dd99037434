//! What workers cost that have nothing to do.

use manyhands_tests::{Coordinator, Worker};

use crate::cpu::{Meter, peak_mib, resident_mib};
use crate::report::Report;

const WORKERS: usize = 1_000;
/// Long enough for every worker to send a ping.
const WATCHED: std::time::Duration = std::time::Duration::from_secs(20);

pub(crate) async fn run(report: &mut Report) {
    let coordinator = Coordinator::start_with(&["limits.connections_per_address_max=2000"]).await;
    let pid = coordinator.process.pid();
    let alone = resident_mib(pid);
    let mut workers = Vec::with_capacity(WORKERS);
    for _ in 0..WORKERS {
        let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connects");
        worker.send(&manyhands_protocol::ClientMessage::Want(2)).await.expect("sent");
        workers.push(worker);
    }
    report.compare("coordinator memory with 1,000 idle workers, to none", resident_mib(pid), "MiB", alone);
    let meter = Meter::start(pid);
    tokio::time::sleep(WATCHED).await;
    for worker in &mut workers {
        worker.send(&manyhands_protocol::ClientMessage::Ping).await.expect("sent");
        while worker.receive().await.expect("still there") != manyhands_protocol::ServerMessage::Pong {}
    }
    report.add(
        "coordinator CPU per idle worker and minute",
        meter.cpu() / WORKERS as f64 / WATCHED.as_secs_f64() * 6e7,
        "us",
    );
    report.add("most memory", peak_mib(pid), "MiB");
}
