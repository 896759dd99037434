//! Workers that report what they should not.

use manyhands_api::RunState;
use manyhands_model::LeaseId;
use manyhands_protocol::{ClientMessage, Grant, Lease, Receipt, ServerMessage};
use manyhands_signing::{Signed, Verified};
use manyhands_tests::{Coordinator, Lost, Worker, jobs};

async fn worker(coordinator: &Coordinator) -> Worker {
    Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connects")
}

fn lease(grant: &Grant) -> Verified<Lease> {
    grant.lease.verify_any().expect("signed")
}

/// Reports `output` under `signed`, calling it `lease`, and returns what became of it.
async fn report(worker: &mut Worker, lease: LeaseId, signed: &Signed<Lease>, output: &[u8]) -> Receipt {
    let report = worker.report(signed, output, 7);
    let message = ClientMessage::Done { lease, report, output: output.to_vec() };
    worker.send(&message).await.expect("sent");
    receipt(worker, lease).await
}

async fn receipt(worker: &mut Worker, lease: LeaseId) -> Receipt {
    loop {
        match worker.receive().await.expect("an answer") {
            ServerMessage::Receipt { lease: of, receipt } if of == lease => return receipt,
            _ => {}
        }
    }
}

fn assert_refused(receipt: Receipt, word: &str) {
    match receipt {
        Receipt::Refused(reason) => assert!(reason.contains(word), "no `{word}` in: {reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn results_count_once_and_only_for_whom_the_lease_is() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    // A second unit keeps the run open: of one that has ended, nothing is remembered.
    let run = coordinator.submit("hasher", &jobs::texts(2)).await.expect("submitted");

    let mut honest = worker(&coordinator).await;
    let mut stranger = worker(&coordinator).await;
    let grants = honest.grants(1).await.expect("granted");
    let (signed, id) = (&grants[0].lease, lease(&grants[0]).id);
    let output = jobs::hash(&grants[0].input);

    // Leased to another.
    assert_refused(report(&mut stranger, id, signed, &output).await, "belongs to");
    // Never leased: signed by the worker itself instead of the coordinator.
    let mut invented = lease(&grants[0]).into_inner();
    invented.id = LeaseId([9; 16]);
    invented.worker = stranger.id();
    let forged = Signed::new(stranger.key(), &invented);
    assert_refused(report(&mut stranger, invented.id, &forged, &output).await, "signed by");
    // Another output than the one that was signed.
    let mismatch = honest.report(signed, &output, 7);
    let message = ClientMessage::Done { lease: id, report: mismatch, output: b"else".to_vec() };
    honest.send(&message).await.expect("sent");
    assert_refused(receipt(&mut honest, id).await, "not the one that was signed");
    // Under the name of another lease.
    assert_refused(report(&mut honest, LeaseId([1; 16]), signed, &output).await, "not");

    // None of that spoiled anything.
    assert_eq!(report(&mut honest, id, signed, &output).await, Receipt::Recorded);
    assert_eq!(report(&mut honest, id, signed, &output).await, Receipt::AlreadyRecorded);
    assert_eq!(coordinator.run(run.id).await.units.done, 0, "twice the same worker is one word");

    // The stranger's own lease counts, and then the unit needs nothing more.
    let unit = lease(&grants[0]).unit;
    let own = stranger.grants(2).await.expect("granted");
    let own = own.iter().find(|grant| lease(grant).unit == unit).expect("the unit that needs another word goes first");
    assert_eq!(report(&mut stranger, lease(own).id, &own.lease, &output).await, Receipt::Recorded);
    let view = coordinator.done(run.id, 1).await;
    assert_eq!((view.state, view.units.done, view.dissents), (RunState::Active, 1, 0));
    assert_refused(report(&mut honest, id, signed, &output).await, "already has its answer");
}

#[tokio::test]
async fn one_worker_is_never_two_replicas() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let run = coordinator.submit("hasher", &jobs::texts(1)).await.expect("submitted");
    let mut worker = worker(&coordinator).await;
    let grants = worker.grants(5).await.expect("granted");
    assert_eq!(grants.len(), 1, "one unit, one replica of it");
    let id = lease(&grants[0]).id;
    assert_eq!(report(&mut worker, id, &grants[0].lease, b"answer").await, Receipt::Recorded);
    // A pong after the request shows that nothing was granted in between.
    worker.send(&ClientMessage::Want(5)).await.expect("sent");
    worker.send(&ClientMessage::Ping).await.expect("sent");
    loop {
        match worker.receive().await.expect("an answer") {
            ServerMessage::Pong => break,
            ServerMessage::Grants(grants) => panic!("{grants:?}"),
            _ => {}
        }
    }
    assert_eq!(coordinator.run(run.id).await.units.done, 0);
}

#[tokio::test]
async fn noise_ends_the_connection_and_nobody_elses() {
    let coordinator = Coordinator::start().await;
    let mut noisy = worker(&coordinator).await;
    let mut quiet = worker(&coordinator).await;
    noisy.send_bytes(vec![0xff; 1000]).await.expect("sent");
    let lost = loop {
        match noisy.receive().await {
            Ok(_) => {}
            Err(lost) => break lost,
        }
    };
    assert!(matches!(&lost, Lost::Refused { reason, .. } if reason.contains("not a message")), "{lost}");
    quiet.send(&ClientMessage::Ping).await.expect("sent");
    while quiet.receive().await.expect("still there") != ServerMessage::Pong {}
}
