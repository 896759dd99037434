//! Calls to the outside, end to end: what a job that asks for a hundred of them, one after the other, costs to be executed again for each;
//! and how many a coordinator makes in a second, beside a client that makes them without asking anybody.
//!
//! The outside is a server in this process. Two replicas each, on two runners; every claim, answer and report is durable.

use std::time::Instant;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::StreamExt as _;
use manyhands_api::{PlanView, RecordedUnit};
use manyhands_tests::{Coordinator, Site, jobs};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::cpu::Meter;
use crate::load;
use crate::report::{Report, Table};

/// Calls one after the other in a unit.
const STEPS: [usize; 4] = [1, 10, 30, 100];
/// Units of each, of which the median counts.
const UNITS: usize = 7;
/// Calls of a run whose rate is measured.
const CALLS: usize = 4_000;
/// Calls that a plain client has under way at once.
const AT_ONCE: usize = 64;

pub(crate) async fn run(report: &mut Report) {
    let site = Site::start(Router::new().route("/v1/customers/{id}", get(customer))).await;
    let coordinator = coordinator(&site).await;
    let _runners = coordinator.runners(2).await;
    warm(&coordinator).await;
    sequences(report, &coordinator).await;
    rates(report, &coordinator, &site).await;
}

async fn customer(Path(id): Path<String>) -> Json<Value> {
    Json(json!({ "id": id, "tier": "gold" }))
}

/// A coordinator that may reach the server, as often as it can, with an approved job that calls it.
async fn coordinator(site: &Site) -> Coordinator {
    let origin = site.origin();
    let allow: &'static str = Box::leak(format!("calls.allow={origin}").into_boxed_str());
    let unbounded = ["throttling.requester_calls_per_second=0", "throttling.job_calls_per_second=0"];
    let coordinator = Coordinator::start_with(&[&[allow], &unbounded[..]].concat()).await;
    let verbs = json!({ "lookup": {
        "method": "GET", "origin": origin, "path": "/v1/customers/{id}",
        "slots": { "id": { "type": "id", "bytes_max": 64 } },
        "answer": { "tier": { "at": "/tier", "type": "enum", "values": ["gold", "basic"] } },
        "effect": "safe", "budget": { "per_run": 1_000_000 }
    }});
    let job = jobs::caller("caller", verbs);
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
    let approved = coordinator.request(Method::PUT, &format!("/v1/plans/{}", plan.digest)).send().await;
    assert!(approved.expect("an answer").status().is_success(), "approved");
    coordinator
}

/// A unit's input: so many requests, one after the other, each for so many calls.
fn asks(steps: usize, calls: usize) -> Vec<u8> {
    let call = |at: usize| json!({ "verb": "lookup", "slots": { "id": format!("c-{at}") } });
    let request = |step: usize| Value::from_iter((0..calls).map(|at| call(step * calls + at))).to_string();
    (0..steps).map(request).collect::<Vec<_>>().join("\n").into_bytes()
}

async fn warm(coordinator: &Coordinator) {
    let run = coordinator.submit("caller", &vec![asks(2, 2); 50]).await.expect("submitted");
    assert_eq!(load::read(coordinator, run.id, 50).await, 50);
}

/// What was executed of a unit, by one worker each time.
#[derive(Clone, Copy)]
struct Executed {
    milliseconds: f64,
    fuel: f64,
    fuel_of_last: f64,
    /// Bytes of what was read, that is, sent to a worker.
    read: f64,
}

async fn sequences(report: &mut Report, coordinator: &Coordinator) {
    report.say("calls one after the other, a unit at a time");
    let title = "A unit of calls one after the other, executed again from its beginning for each (two replicas; median of 7 units)";
    let columns = ["ms a unit", "ms a call", "executions", "fuel, all", "to the last's", "KiB read, all"];
    let mut table = Table::new(title, columns);
    for steps in STEPS {
        let mut units = Vec::new();
        for _ in 0..UNITS {
            units.push(sequence(coordinator, steps).await);
        }
        units.sort_by(|one, other| one.milliseconds.total_cmp(&other.milliseconds));
        let Executed { milliseconds, fuel, fuel_of_last, read } = units[UNITS / 2];
        let executions = (steps + 1) as f64;
        let cells = [milliseconds, milliseconds / steps as f64, executions, fuel, fuel / fuel_of_last, read / 1024.0];
        table.row(&format!("{steps} calls"), cells);
    }
    report.table(table);
}

async fn sequence(coordinator: &Coordinator, steps: usize) -> Executed {
    let path = "/v1/jobs/caller/invoke?replicas=2&timeout_ms=60000";
    let request = coordinator.request(Method::POST, path).body(asks(steps, 1));
    let began = Instant::now();
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    let run = answer.headers()["manyhands-run"].to_str().expect("text").to_owned();
    let output = answer.text().await.expect("the whole answer");
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    let gold = r#"[{"status":200,"answer":{"tier":"gold"}}]"#;
    assert!(output.lines().count() == steps && output.lines().all(|line| line == gold), "{output}");

    let recording = coordinator.request(Method::GET, &format!("/v1/runs/{run}/recording")).send().await;
    let recording = recording.expect("an answer").text().await.expect("the whole recording");
    let unit: RecordedUnit = serde_json::from_str(recording.lines().nth(1).expect("a unit")).expect("a recorded unit");
    let bytes = |text: &str| BASE64.decode(text).expect("base64").len();
    let input = bytes(&unit.input_base64.expect("an input"));
    // What each execution reads, framed as in `manyhands_abi::parts`.
    let (mut framed, mut read) = (4 + 4 + input, input);
    for answers in &unit.answers_base64 {
        framed += 4 + bytes(answers);
        read += framed;
    }
    let fuel: Vec<f64> = unit.outcomes.iter().map(|outcome| outcome.fuel.expect("no tokens") as f64).collect();
    assert_eq!(fuel.len(), steps + 1, "executed once more for each call");
    let fuel_of_last = fuel.last().copied().unwrap_or_default();
    Executed { milliseconds, fuel: fuel.iter().sum(), fuel_of_last, read: read as f64 }
}

async fn rates(report: &mut Report, coordinator: &Coordinator, site: &Site) {
    report.say(&format!("{CALLS} calls each way"));
    let mut table =
        Table::new("Calls a second, to one server on this computer", ["calls/s", "coordinator CPU, us a call"]);
    let client = |idle| Client::builder().no_proxy().pool_max_idle_per_host(idle).build().expect("a client");
    for (name, client, at_once) in [
        ("reqwest, one after the other", client(1), 1),
        ("reqwest, 64 at once", client(AT_ONCE), AT_ONCE),
        ("reqwest, 64 at once, a connection for each", client(0), AT_ONCE),
    ] {
        table.row(name, [plain(&client, site, at_once).await, f64::NAN]);
    }
    for calls in [1, 8, 64] {
        let units = CALLS / calls;
        let inputs: Vec<Vec<u8>> = (0..units).map(|_| asks(1, calls)).collect();
        let meter = Meter::start(coordinator.process.pid());
        let run = coordinator.submit("caller&replicas=2", &inputs).await.expect("submitted");
        assert_eq!(load::read(coordinator, run.id, units as u64).await, units as u64, "every unit is verified");
        let made = (units * calls) as f64;
        let (wall, cpu) = (meter.wall().as_secs_f64(), meter.cpu());
        table.row(&format!("units with {calls} side by side, verified"), [made / wall, cpu / made * 1e6]);
    }
    report.table(table);
}

/// Calls a second of a client that asks nobody.
async fn plain(client: &Client, site: &Site, at_once: usize) -> f64 {
    let origin = site.origin();
    let call = |at: usize| {
        let request = client.get(format!("{origin}/v1/customers/c-{at}"));
        async move {
            let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
            assert_eq!(answer["tier"], "gold");
        }
    };
    let began = Instant::now();
    futures::stream::iter(0..CALLS).map(call).buffer_unordered(at_once).count().await;
    CALLS as f64 / began.elapsed().as_secs_f64()
}
