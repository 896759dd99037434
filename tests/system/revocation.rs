//! An operator takes a job back.

use manyhands_api::{RevokedView, RunState, RunView};
use manyhands_tests::{Coordinator, Worker, jobs, run};

use crate::bad_input::assert_refused;

#[tokio::test]
async fn a_revoked_job_ends_its_runs_and_begins_no_more() {
    let mut coordinator = Coordinator::start().await;
    for job in [jobs::hasher(), jobs::parrot()] {
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
    }
    let run_of_it = coordinator.submit("hasher", &jobs::texts(10)).await.expect("submitted");
    let other = coordinator.submit("parrot", &[b"[1]".to_vec()]).await.expect("submitted");

    let data = coordinator.data_dir();
    let words = ["--data-dir", data.to_str().expect("a path in UTF-8"), "jobs", "revoke", "hasher", "1.0.0"];
    let output = run("manyhands-coordinator", words);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 active runs were cancelled"), "{said}");

    assert_eq!(coordinator.run(run_of_it.id).await.state, RunState::Cancelled);
    assert_eq!(coordinator.run(other.id).await.state, RunState::Active);
    for _ in 0..2 {
        let submitted = coordinator.submit("hasher", &jobs::texts(1)).await;
        assert_refused(submitted, (409, "conflict", "revoked"));
        let named = coordinator.submit("hasher&version=1.0.0", &jobs::texts(1)).await;
        assert_refused(named, (409, "conflict", "revoked"));
        let retried = coordinator.post::<RunView>(&format!("/v1/runs/{}/retry", run_of_it.id), "").await;
        assert_refused(retried, (409, "conflict", "revoked"));
        let job = jobs::hasher();
        assert_refused(coordinator.publish(&job.module, &job.manifest).await, (409, "conflict", "revoked"));
        // What workers are told to believe.
        let worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connects");
        let trust = worker.trust.verify(worker.root).expect("signed by the root key");
        assert_eq!(trust.revoked_modules.len(), 1);
        coordinator.kill();
        coordinator.restart().await;
    }
    // Twice is once.
    let again: RevokedView = coordinator.post("/v1/jobs/hasher/revoke?version=1.0.0", "").await.expect("revoked");
    assert_eq!(again.runs_cancelled, 0);
    let _runners = coordinator.runners(2).await;
    assert_eq!(coordinator.outputs(other.id).await, [b"[1]".to_vec()]);
}
