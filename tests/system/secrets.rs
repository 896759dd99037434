//! Sensitive values: no worker sees them, replicas agree all the same, and who submitted them gets them back.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use manyhands_api::PlanView;
use manyhands_model::{Codec, Manifest};
use manyhands_protocol::Receipt;
use manyhands_tests::{Coordinator, Site, Worker, jobs};
use serde_json::{Value, json};

const EMAIL: &str = "ann.lee@example.com";
const NOTE: &str = "owes \"42\" to bob\u{e9}";

/// The parrot, with fields that workers must not see.
fn parrot(sensitive: Value) -> jobs::Job {
    let parrot = jobs::parrot();
    let sensitive = serde_json::from_value(sensitive).expect("fields");
    let name = "secretive".parse().expect("a name");
    jobs::parrot_of(Manifest { name, sensitive, ..parrot.manifest })
}

fn fields() -> Value {
    json!([
        { "at": "/email", "class": "email" },
        { "at": "$.notes[*]", "class": "text" },
        { "at": "/card", "class": "card", "surrogate": true },
    ])
}

fn input() -> Value {
    json!({ "id": 7, "email": EMAIL, "notes": [NOTE, NOTE], "card": "4111111111111111" })
}

#[tokio::test]
async fn replicas_with_other_tokens_agree_and_the_requester_gets_the_values_back() {
    let coordinator = Coordinator::start().await;
    let job = parrot(fields());
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runners = coordinator.runners(3).await;
    let inputs: Vec<Vec<u8>> = vec![input().to_string().into_bytes(); 5];
    let run = coordinator.submit("secretive&replicas=3&replicas_max=3", &inputs).await.expect("submitted");
    for output in coordinator.outputs(run.id).await {
        assert_eq!(serde_json::from_slice::<Value>(&output).expect("JSON"), input());
    }
    let invoked = coordinator.request(reqwest::Method::POST, "/v1/jobs/secretive/invoke").body(input().to_string());
    let answer = invoked.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    assert_eq!(answer.json::<Value>().await.expect("JSON"), input());
    // Nothing of it lies on the disk as it is.
    for value in [EMAIL, "owes", "4111111111111111"] {
        assert_eq!(found(&coordinator.data_dir(), value.as_bytes()), None, "{value}");
    }
    assert!(found(&coordinator.data_dir(), b"secretive").is_some(), "control: it would be found");
}

#[tokio::test]
async fn a_submission_that_is_repeated_is_recognised_by_its_values() {
    let coordinator = Coordinator::start().await;
    let job = parrot(fields());
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let submit = async |input: Value| {
        let request = coordinator.request(reqwest::Method::POST, "/v1/runs?job=secretive");
        let request = request.header("idempotency-key", "k").header("content-type", "application/x-ndjson");
        let answer = request.body(format!("{input}\n")).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON")["id"].clone())
    };
    let (status, first) = submit(input()).await;
    assert_eq!(status, 201);
    assert_eq!(submit(input()).await, (200, first));
    assert_eq!(submit(json!({ "email": "eve@example.com" })).await.0, 422);
}

/// A file in which these bytes are.
pub(crate) fn found(dir: &std::path::Path, bytes: &[u8]) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            if let Some(found) = found(&entry, bytes) {
                return Some(found);
            }
        } else if std::fs::read(&entry).expect("a file").windows(bytes.len()).any(|window| window == bytes) {
            return Some(entry);
        }
    }
    None
}

#[tokio::test]
async fn attack_13_each_worker_sees_tokens_of_its_own_and_no_value() {
    let coordinator = Coordinator::start().await;
    let job = parrot(fields());
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let run = coordinator.submit("secretive&replicas=2", &[input().to_string().into_bytes()]).await.expect("submitted");
    let mut seen = Vec::new();
    let mut workers = Vec::new();
    for _ in 0..2 {
        let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
        let unit = worker.units(1).await.expect("a unit").remove(0);
        let text: Value = serde_json::from_slice(&unit.input).expect("JSON");
        let shown = text.to_string();
        for value in [EMAIL, "ann.lee", "owes", "4111111111111111"] {
            assert!(!shown.contains(value), "{shown}");
        }
        assert_eq!(text["id"], 7, "what is not declared is there");
        assert!(text["email"].as_str().is_some_and(|token| token.starts_with("dtk1e") && token.len() == 33), "{shown}");
        assert_ne!(text["notes"][0], text["notes"][1], "equal values have other tokens");
        assert!(text["card"].as_str().is_some_and(|card| card.len() == 16), "{shown}");
        seen.push(text);
        workers.push((worker, unit));
    }
    assert_ne!(seen[0]["email"], seen[1]["email"], "nobody knows by tokens that both have the same unit");
    assert_eq!(seen[0]["card"], seen[1]["card"]);
    // They agree, although they use other fuel: to look at other letters may take other steps.
    for (fuel, (worker, unit)) in (1000..).zip(&mut workers) {
        let output = unit.input.clone();
        assert_eq!(worker.report(unit, &output, fuel).await.expect("a receipt"), Receipt::Recorded);
    }
    let outputs = coordinator.outputs(run.id).await;
    assert_eq!(serde_json::from_slice::<Value>(&outputs[0]).expect("JSON"), input());
}

#[tokio::test]
async fn keys_are_rotated_while_runs_go_on_and_the_old_one_is_gone() {
    let mut coordinator = Coordinator::start().await;
    let job = parrot(fields());
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let inputs: Vec<Vec<u8>> = vec![input().to_string().into_bytes(); 5];
    let run = coordinator.submit("secretive&replicas=2", &inputs).await.expect("submitted");
    let keys = coordinator.data_dir().with_added_extension("vault-key");
    let before = std::fs::read_to_string(&keys).expect("keys");
    for number in 1..=2 {
        let rotated: manyhands_api::RotatedVault = coordinator.post("/v1/vault/rotate", "").await.expect("rotated");
        assert_eq!((rotated.key, rotated.sealed, rotated.gone, rotated.kept), (number, 20, 1, 1));
    }
    let after = std::fs::read_to_string(&keys).expect("keys");
    let key = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    assert!(key(&before, "key 0 ").is_some() && key(&after, "key 0 ").is_none() && key(&after, "key 2 ").is_some());
    assert_eq!(key(&before, "root "), key(&after, "root "));
    coordinator.kill();
    coordinator.restart().await;
    let _runners = coordinator.runners(2).await;
    for output in coordinator.outputs(run.id).await {
        assert_eq!(serde_json::from_slice::<Value>(&output).expect("JSON"), input());
    }
}

#[tokio::test]
async fn a_requester_has_the_values_of_a_run_forgotten_once_it_has_ended() {
    let coordinator = Coordinator::start().await;
    let job = parrot(fields());
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let run = coordinator.submit("secretive&replicas=1", &[input().to_string().into_bytes()]).await.expect("submitted");
    let forget = async || {
        let path = format!("/v1/runs/{}/values", run.id);
        let answer = coordinator.request(reqwest::Method::DELETE, &path).send().await.expect("an answer");
        answer.status().as_u16()
    };
    assert_eq!(forget().await, 409);
    let _runners = coordinator.runners(1).await;
    coordinator.outputs(run.id).await;
    assert_eq!(forget().await, 204);
    let output: Value = serde_json::from_slice(&coordinator.outputs(run.id).await[0]).expect("JSON");
    assert_eq!(output["id"], 7);
    assert!(output["email"].as_str().is_some_and(|token| token.starts_with("dtk1e")), "{output}");
}

#[tokio::test]
async fn attack_8_inputs_that_hold_tokens_are_refused_with_their_place() {
    let coordinator = Coordinator::start().await;
    let job = parrot(fields());
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let run = coordinator.submit("secretive&replicas=1", &[input().to_string().into_bytes()]).await.expect("submitted");
    let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
    let unit = worker.units(1).await.expect("a unit").remove(0);
    let token: Value = serde_json::from_slice(&unit.input).expect("JSON");
    let again = json!({ "id": token["email"] }).to_string().into_bytes();
    let refused = coordinator.submit("secretive", &[again]).await.expect_err("refused");
    let said = refused.problem.detail;
    assert!(said.contains("input 1: line 1, column") && said.contains("looks like a token"), "{said}");
    drop(run);
}

/// The whole chain: a job asks for a letter to somebody whose address it never sees.
#[tokio::test]
async fn values_go_where_the_verb_says_and_come_back_to_whom_they_belong() {
    let letters: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&letters);
    let take = move |axum::Json(letter): axum::Json<Value>| async move {
        let echo = json!({ "id": "m-1", "to": letter["to"], "sender": "The \"Office\"" });
        kept.lock().expect("not poisoned").push(letter);
        axum::Json(echo)
    };
    let site = Site::start(Router::new().route("/letters", post(take))).await;
    let origin = site.origin();
    let setting: &'static str = Box::leak(format!("calls.allow={origin}").into_boxed_str());
    let coordinator = Coordinator::start_with(&[setting]).await;
    let verbs = json!({ "send": {
        "method": "POST", "origin": origin, "path": "/letters",
        "json": { "to": "{to}", "text": "{text}" },
        "slots": {
            "to": { "type": "token", "classes": ["email"] },
            "text": { "type": "text", "bytes_max": 200, "classes": ["name"] },
        },
        "answer": {
            "message": { "at": "/id", "type": "id", "bytes_max": 10 },
            "to": { "at": "/to", "type": "text", "class": "email" },
            "sender": { "at": "/sender", "type": "text", "class": "name" },
        },
        "effect": "keyed", "idempotency_header": "idempotency-key", "budget": { "per_run": 10 },
    } });
    let sensitive = json!([
        { "at": "$[*].slots.to", "class": "email" },
        { "at": "$[*].slots.text", "class": "name" },
    ]);
    let manifest = Manifest {
        name: "writer".parse().expect("a name"),
        codec: Codec::Json,
        verbs: serde_json::from_value(verbs).expect("verbs"),
        sensitive: serde_json::from_value(sensitive).expect("fields"),
        ..jobs::parrot().manifest
    };
    let job = jobs::caller_of(manifest);
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let plan: PlanView = coordinator.get("/v1/jobs/writer/plan").await.expect("a plan");
    let approved = coordinator.request(reqwest::Method::PUT, &format!("/v1/plans/{}", plan.digest)).send().await;
    assert!(approved.expect("an answer").status().is_success());
    let _runners = coordinator.runners(3).await;

    let calls = json!([{ "verb": "send", "slots": { "to": EMAIL, "text": NOTE } }]);
    let run = coordinator.submit("writer&replicas=3&replicas_max=3", &[calls.to_string().into_bytes()]).await;
    let outputs = coordinator.outputs(run.expect("submitted").id).await;
    let expected = json!([{ "status": 200, "answer": { "message": "m-1", "to": EMAIL, "sender": "The \"Office\"" } }]);
    assert_eq!(serde_json::from_slice::<Value>(&outputs[0]).expect("JSON"), expected);
    assert_eq!(*letters.lock().expect("not poisoned"), [json!({ "to": EMAIL, "text": NOTE })]);
    for value in [EMAIL, "owes", "Office"] {
        assert_eq!(found(&coordinator.data_dir(), value.as_bytes()), None, "{value}");
    }
}
