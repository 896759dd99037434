//! What a power cut leaves.

use manyhands_tests::{Coordinator, jobs, until};

#[tokio::test]
async fn killing_the_coordinator_in_the_middle_of_a_run_loses_nothing() {
    let mut coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let runners = coordinator.runners(3).await;
    let inputs = jobs::texts(80);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");

    for count in [10, 40] {
        // Counts may run ahead of the disk; an answer that was served may not.
        let look = async || Some(coordinator.served(run.id, run.inputs).await).filter(|served| served.len() >= count);
        let before = until("answers are served", look).await;
        coordinator.kill();
        coordinator.restart().await;
        let after = coordinator.served(run.id, run.inputs).await;
        assert!(before.iter().all(|(unit, output)| after.get(unit) == Some(output)), "an answer was forgotten");
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
