//! Flipping any one byte of what is signed is refused: a test for every byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manyhands_model::{Digest, Timestamp};
use manyhands_protocol::{ClientMessage, Done, Grant, Leases, Receipt, Release, Reports, decode, encode};
use manyhands_signing::{KeyRing, Signed};
use manyhands_tests::{Coordinator, Lost, Unit, Worker, jobs};

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Every way to flip one bit of `bytes`.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

/// A worker with a grant, as a real coordinator signed it.
async fn granted(coordinator: &Coordinator) -> (Worker, Grant, KeyRing) {
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    coordinator.submit("hasher", &jobs::texts(1)).await.expect("submitted");
    let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connects");
    let pinned = coordinator.join().split_once('#').expect("a fingerprint").1.parse().expect("a fingerprint");
    let grant = worker.grant(1).await.expect("granted");
    let ring = KeyRing::open(pinned, worker.root, &worker.trust, now(), 0).expect("the trust list is believed");
    (worker, grant, ring)
}

#[tokio::test]
async fn a_flipped_lease_release_or_trust_list_is_not_believed() {
    let coordinator = Coordinator::start().await;
    let (worker, grant, ring) = granted(&coordinator).await;
    let pinned = worker.root.fingerprint();
    let release = grant.release.expect("the first grant of a job carries its release");
    assert!(ring.verify(&grant.leases, now()).is_ok() && ring.verify(&release, now()).is_ok());

    for flipped in flips(&encode(&grant.leases)) {
        let believed = decode::<Signed<Leases>>(&flipped).is_ok_and(|leases| ring.verify(&leases, now()).is_ok());
        assert!(!believed);
    }
    for flipped in flips(&encode(&release)) {
        let believed = decode::<Signed<Release>>(&flipped).is_ok_and(|release| ring.verify(&release, now()).is_ok());
        assert!(!believed);
    }
    for flipped in flips(&encode(&worker.trust)) {
        let believed = decode(&flipped).is_ok_and(|list| KeyRing::open(pinned, worker.root, &list, now(), 0).is_ok());
        assert!(!believed);
    }
    let other_root = Worker::new_key().public();
    assert!(KeyRing::open(pinned, other_root, &worker.trust, now(), 0).is_err(), "another root is another coordinator");
}

#[tokio::test]
async fn a_flipped_report_counts_for_nothing() {
    let coordinator = Coordinator::start().await;
    let (mut worker, grant, _) = granted(&coordinator).await;
    let unit = Unit::all(&grant).remove(0);
    let output = jobs::hash(&unit.input);
    let seed = worker.key().seed();
    let genuine = worker.done([(&unit, output.clone())], 7);
    let mut sent = 0;
    for (index, flipped) in flips(&encode(&genuine.reports)).enumerate() {
        let Ok(reports) = decode::<Signed<Reports>>(&flipped) else { continue };
        assert!(reports.verify(worker.key().public()).is_err(), "bit {index}");
        // One bit of every third byte goes over the wire as well. Each ends its connection: who cannot sign says
        // nothing that anybody can answer.
        if index % 24 == index / 24 % 8 {
            let outputs = genuine.outputs.clone();
            worker.send(&ClientMessage::Done(Done { reports, outputs })).await.expect("sent");
            assert!(matches!(worker.receipt(unit.lease.id).await, Err(Lost::Refused { .. })), "bit {index}");
            let key = manyhands_signing::Keypair::from_seed(&seed);
            worker = Worker::connect(&coordinator.join(), key).await.expect("connects");
            sent += 1;
        }
    }
    worker.send(&ClientMessage::Done(genuine)).await.expect("sent");
    let receipt = worker.receipt(unit.lease.id).await.expect("an answer");
    assert_eq!(receipt, Receipt::Recorded, "the genuine one still counts");
    assert!(sent > 50, "{sent}");
}

#[tokio::test]
async fn a_flipped_module_or_manifest_is_not_published() {
    let coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    let publication = manyhands_tests::publication(&job.module, &job.manifest);
    let said = publication.verify_any().expect("signed");
    // The manifest is inside the module, so its bytes are among these.
    for flipped in flips(&job.module) {
        assert_ne!(Digest::of(&flipped), said.module);
    }
    for byte in 0..job.module.len() {
        let mut flipped = job.module.clone();
        flipped[byte] ^= 1;
        let refused = coordinator.publish_as(&flipped, &publication).await.expect_err("refused");
        assert_eq!(refused.code(), (403, "untrusted"), "byte {byte}: {refused:?}");
    }
    for flipped in flips(&encode(&publication)) {
        // A flip in the signer's key makes a stranger of the publisher, and then the signature does not fit.
        let believed =
            decode::<Signed<manyhands_protocol::Publication>>(&flipped).is_ok_and(|p| p.verify_any().is_ok());
        assert!(!believed);
    }
    let sealed = manyhands_sealer::seal(&job.module).expect("sealed");
    let view = coordinator.publish(&job.module, &job.manifest).await.expect("published");
    assert_eq!(Digest::of(&sealed.bytes), view.module, "everybody seals the same bytes");
    manyhands_worker::Worker::accepts_module(view.module, &sealed.bytes).expect("what was signed is accepted");
    for flipped in flips(&sealed.bytes) {
        assert!(
            manyhands_worker::Worker::accepts_module(view.module, &flipped).is_err(),
            "a runner compiles nothing else"
        );
    }
}
