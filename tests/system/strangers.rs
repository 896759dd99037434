//! Workers that report what they should not.

use manyhands_api::RunState;
use manyhands_model::LeaseId;
use manyhands_protocol::{ClientMessage, Lease, Receipt, ServerMessage, Ticket};
use manyhands_tests::{Coordinator, Lost, Unit, Worker, jobs};

async fn worker(coordinator: &Coordinator) -> Worker {
    Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connects")
}

async fn report(worker: &mut Worker, unit: &Unit, output: &[u8]) -> Receipt {
    worker.report(unit, output, 7).await.expect("an answer")
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
    let unit = honest.units(1).await.expect("granted").remove(0);
    let output = jobs::hash(&unit.input);

    // Leased to another.
    assert_refused(report(&mut stranger, &unit, &output).await, "gave no such lease to this worker");
    // Never leased, and leased for something else.
    let lease = Lease { id: LeaseId([9; 16]), ..unit.lease.clone() };
    assert_refused(report(&mut honest, &Unit { lease, ..unit.clone() }, &output).await, "no such lease");
    let lease = Lease { ticket: Ticket([0; 16]), ..unit.lease.clone() };
    assert_refused(report(&mut honest, &Unit { lease, ..unit.clone() }, &output).await, "no such lease");
    let mut other = unit.clone();
    other.lease.task.index += 1;
    assert_refused(report(&mut honest, &other, &output).await, "no such lease");
    // Another output than the one that was signed.
    let mut mismatch = honest.done([(&unit, output.clone())], 7);
    mismatch.outputs = vec![b"else".to_vec().into()];
    honest.send(&ClientMessage::Done(mismatch)).await.expect("sent");
    assert_refused(honest.receipt(unit.lease.id).await.expect("an answer"), "not the one that was signed");

    // One that is wrong does not spoil those that are right and came with it.
    let more = honest.units(1).await.expect("granted").remove(0);
    let mut mixed = honest.done([(&unit, output.clone()), (&more, b"what was signed".to_vec())], 7);
    mixed.outputs[1] = b"what was sent".to_vec().into();
    honest.send(&ClientMessage::Done(mixed)).await.expect("sent");
    assert_refused(honest.receipt(more.lease.id).await.expect("an answer"), "not the one that was signed");
    assert_eq!(honest.receipt(unit.lease.id).await.expect("an answer"), Receipt::Recorded);
    // None of that spoiled anything.
    assert_eq!(report(&mut honest, &unit, &output).await, Receipt::AlreadyRecorded);
    assert_eq!(coordinator.run(run.id).await.units.done, 0, "twice the same worker is one word");

    // The stranger's own lease counts, and then the unit needs nothing more.
    let own = stranger.units(2).await.expect("granted");
    let own = own.iter().find(|own| own.lease.task.index == unit.lease.task.index);
    let own = own.expect("the unit that needs another word goes first");
    assert_eq!(report(&mut stranger, own, &output).await, Receipt::Recorded);
    let view = coordinator.done(run.id, 1).await;
    assert_eq!((view.state, view.units.done, view.dissents), (RunState::Active, 1, 0));
    assert_refused(report(&mut honest, &unit, &output).await, "already has its answer");
}

#[tokio::test]
async fn one_worker_is_never_two_replicas() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let run = coordinator.submit("hasher", &jobs::texts(1)).await.expect("submitted");
    let mut worker = worker(&coordinator).await;
    let units = worker.units(5).await.expect("granted");
    assert_eq!(units.len(), 1, "one unit, one replica of it");
    assert_eq!(report(&mut worker, &units[0], b"answer").await, Receipt::Recorded);
    // A pong after the request shows that nothing was granted in between.
    worker.send(&ClientMessage::Want(5)).await.expect("sent");
    worker.send(&ClientMessage::Ping).await.expect("sent");
    loop {
        match worker.receive().await.expect("an answer") {
            ServerMessage::Pong => break,
            ServerMessage::Grant(grant) => panic!("{grant:?}"),
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
