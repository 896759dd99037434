//! Whoever asks for more than there is gets a clear answer, and others what they asked for.

use std::time::{Duration, Instant};

use manyhands_api::RunView;
use manyhands_tests::{Coordinator, Lost, Worker, jobs, until};
use reqwest::Method;

use crate::bad_input::assert_refused;

#[tokio::test]
async fn every_limit_on_what_is_sent_is_named_when_it_is_met() {
    let coordinator = Coordinator::start_with(&[
        "limits.module_bytes_max=2000",
        "limits.input_bytes_max=100",
        "limits.run_body_bytes_max=1024",
        "limits.units_per_run_max=3",
        "limits.queued_units_max=4",
        "limits.body_bytes_max=1024",
    ])
    .await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let long = jobs::assemble(
        &job.manifest,
        &format!("(memory (export \"memory\") 1) (data (i32.const 0) \"{}\")", "x".repeat(3000)),
    );
    assert_refused(coordinator.publish(&long, &job.manifest).await, (413, "too-large", "longer"));

    let submit = async |body: String| coordinator.post::<RunView>("/v1/runs?job=parrot", body).await;
    assert_refused(submit(format!("\"{}\"", "x".repeat(200))).await, (413, "too-large", "100"));
    assert_refused(submit(format!("\"{}\"\n", "x".repeat(90)).repeat(20)).await, (413, "too-large", ""));
    assert_refused(submit("1\n2\n3\n4\n".into()).await, (413, "too-large", "3"));
    submit("1\n2\n3\n".into()).await.expect("three are allowed");
    // Three wait already, and four may.
    assert_refused(submit("1\n2\n".into()).await, (429, "queue-full", "4"));
    submit("1\n".into()).await.expect("one more is allowed");

    let name = format!("{{\"name\":\"{}\",\"role\":\"developer\"}}", "x".repeat(2000));
    let request = coordinator.request(Method::POST, "/v1/tokens").header("content-type", "application/json");
    let answer = request.body(name).send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn a_worker_too_many_is_told_to_come_back() {
    let coordinator = Coordinator::start_with(&["limits.workers_max=1"]).await;
    let join = coordinator.join();
    let first = Worker::connect(&join, Worker::new_key()).await;
    assert!(first.is_ok(), "the first is welcome");
    let second = Worker::connect(&join, Worker::new_key()).await;
    assert!(second.is_err(), "there is room for one");
    assert_eq!(coordinator.connected().await, 1);
}

#[tokio::test]
async fn a_worker_that_is_silent_for_three_heartbeats_is_gone() {
    let coordinator = Coordinator::start_with(&["limits.heartbeat_ms=1000"]).await;
    let mut silent = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("welcome");
    let began = Instant::now();
    let lost = silent.receive().await.expect_err("nobody has anything to say to it");
    assert!(matches!(lost, Lost::Broken(_)), "{lost}");
    // Three of the default's would be 60 s.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(45), "{took:?}");
    until("it is not counted any more", async || (coordinator.connected().await == 0).then_some(())).await;
}
