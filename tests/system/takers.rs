//! Workers that take and do not bring.

use manyhands_model::RunId;
use manyhands_protocol::{Receipt, ServerMessage};
use manyhands_tests::{Coordinator, Worker, jobs};
use reqwest::{Method, StatusCode};

#[tokio::test]
async fn who_invokes_does_not_wait_for_a_worker_that_keeps_the_unit() {
    // Whoever waited for the lease to end would still be waiting.
    let coordinator = Coordinator::start_with(&["scheduling.lease_ms=3600000"]).await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let invoke = async || {
        let path = "/v1/jobs/parrot/invoke?replicas=1&timeout_ms=120000";
        let answer = coordinator.request(Method::POST, path).body("[1]").send().await.expect("an answer");
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
    for worker in coordinator.workers().await {
        assert_eq!((worker.dissents, worker.lost, worker.leases), (0, 0, 0), "nobody is blamed: {worker:?}");
    }
}
