//! Workers that take and do not bring.

use std::collections::BTreeSet;

use manyhands_model::RunId;
use manyhands_protocol::{ClientMessage, Receipt, ServerMessage};
use manyhands_signing::Keypair;
use manyhands_tests::{Coordinator, Unit, Worker, jobs, until};
use reqwest::{Method, StatusCode};

#[tokio::test]
async fn who_invokes_does_not_wait_for_a_worker_that_keeps_the_unit() {
    // Whoever waited for the lease to end would still be waiting.
    let coordinator = Coordinator::start_with(&["scheduling.lease_ms=3600000"]).await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let invoke = async || {
        let path = "/v1/jobs/parrot/invoke?replicas=1&timeout_ms=120000";
        // Executed each time, not answered from the first.
        let request = coordinator.request(Method::POST, path).header("cache-control", "no-cache");
        let answer = request.body("[1]").send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let id = answer.headers()["manyhands-run"].to_str().expect("text").parse::<RunId>().expect("a run");
        (id, answer.text().await.expect("a body"))
    };
    let connect = async || Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connects");
    let work = async |worker: &mut Worker| {
        let unit = worker.units(1).await.expect("granted").remove(0);
        worker.report(&unit, b"[1]", 7).await.expect("a receipt");
    };
    // One earns a record while nobody else is there.
    let mut honest = connect().await;
    tokio::join!(invoke(), work(&mut honest));

    let mut taker = connect().await;
    let keep = async {
        let kept = taker.units(9).await.expect("granted").remove(0);
        // Only now somebody else has time.
        work(&mut honest).await;
        let mut cancelled = None;
        while cancelled.is_none() {
            if let ServerMessage::Cancel(leases) = taker.receive().await.expect("still there") {
                cancelled = leases.into_iter().find(|lease| *lease == kept.lease.id);
            }
        }
        let receipt = taker.report(&kept, b"[1]", 7).await.expect("a receipt");
        (kept.run, receipt)
    };
    let ((run, answer), (kept, receipt)) = tokio::join!(invoke(), keep);
    assert_eq!((run, answer.as_str()), (kept, "[1]"));
    assert!(matches!(&receipt, Receipt::Refused(why) if why.contains("has ended")), "{receipt:?}");
    assert_eq!(coordinator.metric("manyhands_leases_spare_total").await, 1);
    for worker in coordinator.workers().await {
        assert_eq!((worker.dissents, worker.lost, worker.leases), (0, 0, 0), "nobody is blamed: {worker:?}");
    }
}

/// `VmRSS` or `VmHWM`, its highest, in MiB.
fn memory_mib(coordinator: &Coordinator, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", coordinator.process.id())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim_matches([':', '\t', ' ']).split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}

#[tokio::test]
async fn who_asks_for_much_and_does_not_read_fills_no_memory_and_gets_all_in_the_end() {
    const UNITS: u16 = 48;
    let mut coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let connect = async |coordinator: &Coordinator, seed: u8| {
        let key = Keypair::from_seed(&[seed; 32]);
        Worker::connect(&coordinator.join(), key).await.expect("connects")
    };
    // A newcomer would get little, so both earn a record.
    for seed in [1, 2] {
        let mut worker = connect(&coordinator, seed).await;
        coordinator.submit("hasher&replicas=1", &jobs::texts(1)).await.expect("submitted");
        let unit = worker.units(1).await.expect("granted").remove(0);
        worker.report(&unit, b"answer", 7).await.expect("a receipt");
    }
    let inputs: Vec<Vec<u8>> = (0..UNITS).map(|index| vec![index.to_le_bytes()[0]; 2 << 20]).collect();
    let run = coordinator.submit("hasher&replicas=2", &inputs).await.expect("submitted");
    // What the submission took is not to be mistaken for what the workers take.
    coordinator.kill();
    coordinator.restart().await;
    let mut workers = [connect(&coordinator, 1).await, connect(&coordinator, 2).await];
    let before = memory_mib(&coordinator, "VmRSS");
    workers[0].send(&ClientMessage::Want(UNITS)).await.expect("sent");
    let leased = async || (coordinator.run(run.id).await.units.running == u64::from(UNITS)).then_some(());
    until("all units are leased", leased).await;
    workers[1].send(&ClientMessage::Want(UNITS)).await.expect("sent");
    // By the time that one has all its inputs, the other's would have been read as well.
    for worker in workers.iter_mut().rev() {
        let mut met = BTreeSet::new();
        while met.len() < usize::from(UNITS) {
            if let ServerMessage::Grant(grant) = worker.receive().await.expect("it is not cut off") {
                for unit in Unit::all(&grant) {
                    assert_eq!(unit.input, inputs[unit.lease.task.index as usize]);
                    met.insert(unit.lease.task.index);
                }
            }
        }
    }
    let grown = memory_mib(&coordinator, "VmHWM").saturating_sub(before);
    assert!(grown < u64::from(UNITS), "{grown} MiB for {UNITS} inputs of 2 MiB each");
}
