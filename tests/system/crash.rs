//! What a power cut leaves.

use manyhands_tests::{Coordinator, jobs};

#[tokio::test]
async fn killing_the_coordinator_in_the_middle_of_a_run_loses_nothing() {
    let mut coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let runners = coordinator.runners(3).await;
    let inputs = jobs::texts(80);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");

    for done in [10, 40] {
        coordinator.done(run.id, done).await;
        coordinator.kill();
        coordinator.restart().await;
        assert!(coordinator.run(run.id).await.units.done >= done, "an answer was forgotten");
    }

    let undisturbed: Vec<_> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run.id).await, undisturbed);
    assert_eq!(coordinator.run(run.id).await.dissents, 0);
    drop(runners);
}

#[tokio::test]
async fn a_second_coordinator_over_the_same_folder_says_so_and_harms_nothing() {
    let coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let (code, words) = coordinator.start_a_second().await;
    assert_eq!(code, Some(69), "{words}");
    assert!(words.contains("error:") && !words.contains("panicked"), "{words}");
    coordinator.submit("parrot", &[b"[1]".to_vec()]).await.expect("the first goes on");
}
