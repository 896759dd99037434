//! One unit at a time, from the request to the verified answer.

use std::time::Instant;

use manyhands_tests::Coordinator;
use reqwest::{Client, Method, Request};

use crate::load;
use crate::report::Report;

const WARM: usize = 200;
const CALLS: usize = 2_000;

pub(crate) async fn run(report: &mut Report) {
    let coordinator = Coordinator::start().await;
    load::publish_noop(&coordinator).await;
    let _runners = coordinator.runners(2).await;
    for replicas in [1_u8, 2] {
        let path = format!("/v1/jobs/noop/invoke?replicas={replicas}");
        let request = coordinator.request(Method::POST, &path).header("cache-control", "no-cache");
        let request = request.build().expect("a request");
        // A thread of its own: what a client's threads need to wake each other is not to be measured.
        let times = tokio::task::spawn_blocking(move || alone(calls(&request))).await.expect("it does not panic");
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let at = (times.len() as f64 * share) as usize;
            report.add(&format!("{name}, {replicas} replica(s)"), times[at], "ms");
        }
    }
}

fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// How long each call took, in milliseconds, the shortest first.
async fn calls(request: &Request) -> Vec<f64> {
    let client = Client::builder().no_proxy().build().expect("a client");
    let mut times = Vec::with_capacity(CALLS);
    for call in 0..WARM + CALLS {
        let mut request = request.try_clone().expect("it has no body yet");
        *request.body_mut() = Some((call as u64).to_le_bytes().to_vec().into());
        let began = Instant::now();
        let answer = client.execute(request).await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        let _output = answer.bytes().await.expect("the whole answer");
        if call >= WARM {
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    times
}
