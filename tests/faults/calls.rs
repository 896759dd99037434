//! `kill -9` in the middle of calls: one effect where the other end honours keys, at most one where it does not, and whatever nobody
//! knows of is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use manyhands_api::{PlanView, UnknownCalls};
use manyhands_model::RunId;
use manyhands_tests::{Coordinator, Site, jobs, until};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::round::Dice;

/// Units of a run; each asks for a call with a key, then for one without.
const UNITS: usize = 12;
/// Kills of one round.
const KILLS: u64 = 5;

/// An API that does something for each letter, and loses its head at times.
struct Api {
    dice: Mutex<Dice>,
    /// What was done, by letter: once for each key, or each time.
    done: Mutex<BTreeMap<String, Done>>,
    /// Requests that came, and those that were answered.
    arrived: watch::Sender<u64>,
    answered: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Done {
    keys: BTreeSet<String>,
    times: u32,
}

impl Api {
    fn done(&self, verb: &str, letter: &str) -> Done {
        self.done.lock().unwrap().get(&format!("{verb} {letter}")).cloned().unwrap_or_default()
    }
}

async fn letter(
    State(api): State<Arc<Api>>,
    Path(verb): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> impl IntoResponse {
    api.arrived.send_modify(|count| *count += 1);
    let (fate, pause) = {
        let mut dice = api.dice.lock().unwrap();
        (dice.below(16), dice.moment(20))
    };
    tokio::time::sleep(pause).await;
    let status = match fate {
        0 => StatusCode::SERVICE_UNAVAILABLE,
        // It did it, and cannot say so.
        1 => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::OK,
    };
    if status != StatusCode::SERVICE_UNAVAILABLE {
        let mut done = api.done.lock().unwrap();
        let done = done.entry(format!("{verb} {}", body["letter"].as_str().unwrap())).or_default();
        let new = match headers.get("idempotency-key") {
            Some(key) => done.keys.insert(key.to_str().unwrap().to_owned()),
            None => true,
        };
        done.times += u32::from(new);
    }
    api.answered.send_modify(|count| *count += 1);
    (status, Json(json!({ "id": "m" })))
}

/// Waits for the next time that a number grows, if it does soon.
async fn next(number: &watch::Sender<u64>) {
    let mut number = number.subscribe();
    let _in_time = tokio::time::timeout(Duration::from_secs(2), number.changed()).await;
}

#[tokio::test]
async fn calls_have_one_effect_whatever_is_killed() {
    let test = "calls::calls_have_one_effect_whatever_is_killed";
    let (first, count) = (crate::number("MANYHANDS_FAULTS_SEED").unwrap_or(1), crate::rounds(1));
    let api = Arc::new(Api {
        dice: Mutex::new(Dice::new(first)),
        done: Mutex::default(),
        arrived: watch::Sender::new(0),
        answered: watch::Sender::new(0),
    });
    let site = Site::start(Router::new().route("/{verb}", post(letter)).with_state(Arc::clone(&api))).await;
    let mut coordinator = coordinator(&site.origin()).await;
    let runners = coordinator.runners(3).await;
    let (mut kills, mut settled, began) = (0, 0, Instant::now());
    for seed in first..first + count {
        let mut dice = Dice::new(seed);
        let inputs: Vec<Vec<u8>> = (0..UNITS).map(|unit| input(&format!("r{seed}u{unit}"))).collect();
        let run = coordinator.submit("caller&replicas=2&replicas_max=8", &inputs).await.unwrap();
        for _ in 0..KILLS {
            match dice.below(3) {
                0 => tokio::time::sleep(dice.moment(400)).await,
                1 => next(&api.arrived).await,
                _ => next(&api.answered).await,
            }
            coordinator.kill();
            coordinator.restart().await;
            kills += 1;
        }
        settled += settle_until_ended(&coordinator, &api, run.id, seed).await;
        for (unit, output) in coordinator.outputs(run.id).await.iter().enumerate() {
            let letter = format!("r{seed}u{unit}");
            let lines: Vec<&str> = std::str::from_utf8(output).unwrap().lines().collect();
            for (verb, heard) in ["keyed", "once"].into_iter().zip(&lines) {
                let Done { keys, times } = api.done(verb, &letter);
                let again = format!("{test}, seed {seed}: {verb} {letter} was done {times} times, and heard {heard}");
                assert!(times <= 1 && keys.len() <= 1, "{again}");
                let heard: Value = serde_json::from_str(heard).unwrap();
                match (heard[0]["status"].as_u64(), heard[0]["fault"].as_str()) {
                    (Some(200), None) => assert_eq!(times, 1, "{again}"),
                    (_, Some("unknown")) => {}
                    _ => assert_eq!(times, 0, "{again}"),
                }
            }
            assert_eq!(lines.len(), 2, "{letter}: {lines:?}");
        }
        let done = seed - first + 1;
        if done.is_multiple_of(20) || done == count {
            let (arrived, seconds) = (*api.arrived.borrow(), began.elapsed().as_secs());
            let calls = done * 2 * UNITS as u64;
            eprintln!(
                "{test}: {done} rounds, {kills} faults, {calls} calls, {arrived} requests, {settled} settled by hand, {seconds} s"
            );
        }
    }
    drop(runners);
}

/// Tells of each unknown what the other end knows, until the run has ended; returns how many there were.
async fn settle_until_ended(coordinator: &Coordinator, api: &Api, run: RunId, seed: u64) -> u64 {
    let settled = Mutex::new(BTreeSet::new());
    until("the run ends", async || {
        let unknown: UnknownCalls = coordinator.get("/v1/calls/unknown").await.unwrap();
        for call in unknown.calls {
            let done = api.done(&call.verb, &format!("r{seed}u{}", call.unit)).times > 0;
            let found = json!({ "found": if done { "let_go" } else { "not_made" } });
            let path = format!("/v1/calls/{}", call.id);
            let answer = coordinator.request(Method::PUT, &path).json(&found).send().await.unwrap();
            assert!(answer.status().is_success() || answer.status() == StatusCode::CONFLICT, "{}", answer.status());
            settled.lock().unwrap().insert(call.id);
        }
        let units = coordinator.run(run).await.units;
        (units.done == units.total).then_some(())
    })
    .await;
    settled.into_inner().unwrap().len() as u64
}

async fn coordinator(origin: &str) -> Coordinator {
    let verb = |effect: &str| {
        json!({
            "method": "POST", "origin": origin, "path": if effect == "keyed" { "/keyed" } else { "/once" },
            "json": { "letter": "{letter}" }, "slots": { "letter": { "type": "id", "bytes_max": 64 } },
            "answer": { "message": { "at": "/id", "type": "id", "bytes_max": 64 } },
            "effect": effect, "budget": { "per_run": 1000 },
        })
    };
    let mut verbs = json!({ "keyed": verb("keyed"), "once": verb("at_most_once") });
    verbs["keyed"]["idempotency_header"] = "idempotency-key".into();
    // A test's settings live as long as its process.
    let allow: &'static str = Box::leak(format!("calls.allow={origin}").into_boxed_str());
    let coordinator = Coordinator::start_with(&[allow, "scheduling.lease_ms=2000"]).await;
    let job = jobs::caller("caller", verbs);
    coordinator.publish(&job.module, &job.manifest).await.unwrap();
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.unwrap();
    let approved = coordinator.request(Method::PUT, &format!("/v1/plans/{}", plan.digest)).send().await.unwrap();
    assert!(approved.status().is_success());
    coordinator
}

fn input(letter: &str) -> Vec<u8> {
    let call = |verb: &str| json!([{ "verb": verb, "slots": { "letter": letter } }]).to_string();
    format!("{}\n{}", call("keyed"), call("once")).into_bytes()
}
