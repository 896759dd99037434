//! What owners and operators do while runs go on.

use manyhands_api::{KeysView, RunState, RunView};
use manyhands_tests::{Coordinator, jobs};

#[tokio::test]
async fn rotating_the_key_in_the_middle_of_a_run_loses_nothing() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runners = coordinator.runners(3).await;
    let inputs = jobs::texts(60);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");
    coordinator.done(run.id, 5).await;

    let before: KeysView = coordinator.get("/v1/keys").await.expect("the keys");
    let after: KeysView = coordinator.post("/v1/keys/rotate", "").await.expect("rotated");
    assert_eq!(after.root, before.root);
    assert_ne!(after.current, before.current);
    assert_eq!(after.revoked, [before.current]);
    assert!(after.trust_version > before.trust_version);

    let expected: Vec<Vec<u8>> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run.id).await, expected);
}

#[tokio::test]
async fn a_cancelled_run_can_be_taken_up_again() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let inputs = jobs::texts(6);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");
    let cancelled: RunView = coordinator.post(&format!("/v1/runs/{}/cancel", run.id), "").await.expect("cancelled");
    assert_eq!((cancelled.state, cancelled.units.cancelled), (RunState::Cancelled, 6));
    let again: RunView = coordinator.post(&format!("/v1/runs/{}/retry", run.id), "").await.expect("taken up");
    assert_eq!(again.state, RunState::Active);
    let _runners = coordinator.runners(2).await;
    let expected: Vec<Vec<u8>> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run.id).await, expected);
}
