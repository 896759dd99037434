//! What the benchmarks have in common: a job that does nothing, and a run of it.

use futures::StreamExt as _;
use manyhands_model::RunId;
use manyhands_tests::{Coordinator, jobs};
use reqwest::Method;

/// A job that reads nothing and writes nothing.
pub(crate) async fn publish_noop(coordinator: &Coordinator) {
    let job = jobs::noop();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
}

/// So many inputs of eight bytes, no two alike.
pub(crate) fn inputs(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|index| index.to_le_bytes().to_vec()).collect()
}

/// Submits a run of `count` units and returns when all of it is durable.
pub(crate) async fn submit(coordinator: &Coordinator, count: u64, replicas: u8) -> RunId {
    let query = format!("noop&replicas={replicas}");
    coordinator.submit(&query, &inputs(count)).await.expect("submitted").id
}

/// Reads a run's results to the end, or the first `count` of them, and returns how many were verified.
pub(crate) async fn read(coordinator: &Coordinator, run: RunId, count: u64) -> u64 {
    let request = coordinator.request(Method::GET, &format!("/v1/runs/{run}/results?order=accepted"));
    let answer = request.timeout(std::time::Duration::from_secs(3600)).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    let mut stream = answer.bytes_stream();
    let (mut verified, mut rest) = (0, Vec::new());
    while let Some(chunk) = stream.next().await {
        rest.extend_from_slice(&chunk.expect("the results go on"));
        let mut begin = 0;
        while let Some(end) = rest[begin..].iter().position(|byte| *byte == b'\n') {
            let line = &rest[begin..begin + end];
            verified += u64::from(line.windows(13).any(|some| some == br#""status":"ok""#));
            begin += end + 1;
        }
        rest.drain(..begin);
        if verified >= count {
            break;
        }
    }
    verified
}
