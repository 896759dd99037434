//! What an operator can prove later: the audit log against whoever can write to the disk, and recordings against whoever says
//! that something else came out.

use std::path::Path;
use std::process::Output;

use axum::Router;
use axum::extract::Path as Segment;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use manyhands_api::{PlanView, RecordedUnit, RunView, UnsentCall};
use manyhands_tests::{Coordinator, Runner, Site, jobs, run};
use reqwest::Method;
use serde_json::{Value, json};

/// Secrets and what stands for the world's own words: none of it belongs into the log.
const SECRET: &str = "crm-secret";
const WORDS: &str = "words of the upstream";

/// An API that stands for the outside world.
async fn api() -> Site {
    let lookup = async |Segment(id): Segment<String>| axum::Json(json!({ "name": WORDS, "id": id }));
    let send = async || axum::Json(json!({ "id": "m-1" }));
    Site::start(Router::new().route("/v1/customers/{id}", get(lookup)).route("/v1/messages", post(send))).await
}

fn verbs(origin: &str) -> Value {
    json!({
        "lookup": {
            "method": "GET", "origin": origin, "path": "/v1/customers/{id}",
            "headers": { "authorization": "Bearer {secret:crm_key}" },
            "slots": { "id": { "type": "id", "bytes_max": 64 } },
            "answer": { "name": { "at": "/name", "type": "text", "class": "name" } },
            "effect": "safe", "budget": { "per_run": 5 }
        },
        "send": {
            "method": "POST", "origin": origin, "path": "/v1/messages",
            "json": { "text": "{text}" },
            "slots": { "text": { "type": "text", "bytes_max": 200 } },
            "answer": { "message": { "at": "/id", "type": "id", "bytes_max": 64 } },
            "effect": "keyed", "idempotency_header": "idempotency-key", "budget": { "per_run": 20 }
        }
    })
}

/// A coordinator that may reach `site`, with a job that calls it, and workers.
async fn world(site: &Site) -> (Coordinator, Vec<Runner>) {
    let allow: &'static str = Box::leak(format!("calls.allow={}", site.origin()).into_boxed_str());
    let coordinator = Coordinator::start_with(&[allow]).await;
    let job = jobs::caller("caller", verbs(&site.origin()));
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let runners = coordinator.runners(2).await;
    (coordinator, runners)
}

async fn approve(coordinator: &Coordinator, origin: &str) {
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
    change(coordinator, Method::PUT, "/v1/secrets/crm_key", json!({ "origin": origin, "secret": SECRET })).await;
    change(coordinator, Method::PUT, &format!("/v1/plans/{}", plan.digest), Value::Null).await;
}

async fn change(coordinator: &Coordinator, method: Method, path: &str, body: Value) {
    let answer = coordinator.request(method, path).json(&body).send().await.expect("an answer");
    let status = answer.status();
    assert!(status.is_success(), "{path}: {status}: {}", answer.text().await.unwrap_or_default());
}

/// A lookup, then a letter.
fn asks(customer: &str) -> Vec<u8> {
    let lookup = json!([{ "verb": "lookup", "slots": { "id": customer } }]);
    let letter = json!([{ "verb": "send", "slots": { "text": format!("Dear {customer}") } }]);
    format!("{lookup}\n{letter}").into_bytes()
}

async fn finished(coordinator: &Coordinator, query: &str, inputs: &[Vec<u8>]) -> (RunView, Vec<Vec<u8>>) {
    let run = coordinator.submit(query, inputs).await.expect("submitted");
    let outputs = coordinator.outputs(run.id).await;
    (coordinator.run(run.id).await, outputs)
}

/// `manyhands`, with the operator's token.
fn manyhands(coordinator: &Coordinator, arguments: &[&str]) -> Output {
    let token = coordinator.data_dir().join("operator.token").display().to_string();
    let url = coordinator.url("");
    run("manyhands", [&["--server", &url, "--token-file", &token], arguments].concat())
}

/// `manyhands` without a coordinator: its exit code, and what it says.
fn offline(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run("manyhands", [&["--server", "http://127.0.0.1:1"], arguments].concat());
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
}

fn events(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter_map(|line| line.get("event").cloned()).collect()
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a name")
}

#[tokio::test]
async fn the_log_tells_of_every_decision_and_call_and_nobody_can_change_it_unnoticed() {
    let site = api().await;
    let (mut coordinator, _runners) = world(&site).await;
    approve(&coordinator, &site.origin()).await;
    // Six units, and five lookups are in the budget: many write at once, and after a crash as well.
    let customers: Vec<_> = (0..6).map(|number| asks(&format!("c{number}"))).collect();
    let (first, _) = finished(&coordinator, "caller", &customers).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (log, kept) = (folder.path().join("log"), folder.path().join("head"));
    succeeded(&manyhands(&coordinator, &["audit", "head", "--out", name(&kept)]));
    coordinator.kill();
    coordinator.restart().await;
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
    change(&coordinator, Method::DELETE, &format!("/v1/plans/{}", plan.digest), Value::Null).await;
    change(&coordinator, Method::DELETE, "/v1/secrets/crm_key", Value::Null).await;
    let (second, _) = finished(&coordinator, "caller", &[asks("late")]).await;
    succeeded(&manyhands(&coordinator, &["audit", "export", name(&log)]));

    let exported = std::fs::read_to_string(&log).expect("the log");
    let told = events(&exported);
    let count = |kind: &str| told.iter().filter(|event| event.get(kind).is_some()).count();
    assert_eq!((count("secret_set"), count("plan_approved")), (1, 1));
    assert_eq!((count("plan_withdrawn"), count("secret_removed")), (1, 1));
    assert_eq!((count("claimed"), count("ended")), (5 + 6, 6 + 6 + 2), "a claim is there for each call that was sent");
    let ended = |end: Value| told.iter().filter(|event| event["ended"]["end"] == end).count();
    assert_eq!(ended(json!({ "answered": 200 })), 5 + 6);
    assert_eq!((ended(json!("over_budget")), ended(json!("refused"))), (1, 2));
    let set = json!({ "name": "crm_key", "origin": site.origin(), "by": "operator" });
    assert_eq!(told[0]["secret_set"], set);
    let mut of: Vec<&Value> = told.iter().map(|event| &event["claimed"]["call"]["unit"]["run"]).collect();
    of.retain(|run| run.is_string());
    assert!(of.iter().all(|run| **run == first.id.to_string()) && second.id != first.id);
    for private in [SECRET, WORDS, "Dear"] {
        assert!(!exported.contains(private), "{private}");
    }

    let root = coordinator.join().split_once('#').expect("the key's fingerprint").1.to_owned();
    for more in [&[][..], &["--head", name(&kept)], &["--root", &root]] {
        let (code, said) = offline(&[&["audit", "verify", name(&log)], more].concat());
        assert!(code == Some(0) && said.contains(&format!("{} entries, unbroken", told.len())), "{said}");
    }
    // An entry that says something else; and the end, cut off.
    let changed = folder.path().join("changed");
    std::fs::write(&changed, exported.replacen("plan_approved", "plan_withdrawn", 1)).expect("written");
    let (code, said) = offline(&["audit", "verify", name(&changed)]);
    assert!(code == Some(2) && said.contains("entry 2: changed"), "{code:?} {said}");
    let lines: Vec<&str> = exported.lines().collect();
    std::fs::write(&changed, lines[..5].join("\n")).expect("written");
    let (code, said) = offline(&["audit", "verify", name(&changed), "--head", name(&kept)]);
    assert!(code == Some(2) && said.contains("cut off"), "{code:?} {said}");
    let stranger = offline(&["audit", "verify", name(&log), "--root", "key_aaaaaaaaaaaaaaaaaaaaaaaaaa"]);
    assert!(stranger.0 == Some(2) && stranger.1.contains("expected key_aaaa"), "{}", stranger.1);

    let checked = run("manyhands-coordinator", ["--data-dir", name(&coordinator.data_dir()), "check"]);
    succeeded(&checked);
    let requester = coordinator.anonymous(Method::GET, "/v1/audit").send().await.expect("an answer");
    assert_eq!(requester.status(), 401);
}

#[tokio::test]
async fn a_recorded_run_comes_out_the_same_and_a_changed_answer_is_found() {
    let site = api().await;
    let (coordinator, _runners) = world(&site).await;
    approve(&coordinator, &site.origin()).await;
    let inputs = [asks("ann"), asks("bob"), b"[{\"verb\":\"none\"}]".to_vec()];
    let (run, _) = finished(&coordinator, "caller&replicas=2", &inputs).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, changed) = (folder.path().join("recording"), folder.path().join("changed"));
    succeeded(&manyhands(&coordinator, &["record", &run.id.to_string(), name(&file)]));
    let recording = std::fs::read_to_string(&file).expect("the recording");
    drop((coordinator, site));

    let (code, said) = offline(&["replay", name(&file)]);
    // Two units ask twice, and one asks once.
    assert!(code == Some(0) && said.contains("3 units, 8 executions"), "{code:?} {said}");

    let mut lines: Vec<String> = recording.lines().map(str::to_owned).collect();
    let mut unit: RecordedUnit = serde_json::from_str(&lines[2]).expect("a unit");
    assert_eq!((unit.unit, unit.answers_base64.len(), unit.outcomes.len()), (1, 2, 3));
    // What the upstream said is a token.
    assert!(!recording.contains(SECRET));
    let answer = text(&BASE64.decode(&unit.answers_base64[0]).expect("base64"));
    assert!(answer.contains("dtk1n") && !answer.contains(WORDS), "{answer}");

    // One byte of the second answer.
    let answer = text(&BASE64.decode(&unit.answers_base64[1]).expect("base64"));
    unit.answers_base64[1] = BASE64.encode(answer.replace("m-1", "m-2"));
    lines[2] = serde_json::to_string(&unit).expect("JSON");
    std::fs::write(&changed, lines.join("\n")).expect("written");
    let (code, said) = offline(&["replay", name(&changed)]);
    assert!(code == Some(3) && said.contains("unit 1, step 2: the outputs part at byte"), "{code:?} {said}");
    assert!(said.contains("recorded was `1\\\"") && said.contains("now it is `2\\\""), "{said}");

    std::fs::write(&changed, lines[..3].join("\n")).expect("written");
    let (code, said) = offline(&["replay", name(&changed)]);
    assert_eq!(code, Some(3), "the change comes first: {said}");
    std::fs::write(&changed, recording.lines().take(3).collect::<Vec<_>>().join("\n")).expect("written");
    let (code, said) = offline(&["replay", name(&changed)]);
    assert!(code == Some(2) && said.contains("should have 3 units and has 2"), "{code:?} {said}");
}

#[tokio::test]
async fn a_dry_run_does_everything_but_the_sending() {
    let site = api().await;
    let (coordinator, _runners) = world(&site).await;
    let inputs: Vec<_> = (0..8).map(|number| asks(&format!("c{number}"))).collect();
    let faults = |output: &[u8]| -> Vec<String> {
        let lines =
            text(output).lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect::<Vec<_>>();
        lines.iter().map(|answers| answers[0]["fault"].as_str().expect("a fault").to_owned()).collect()
    };
    // Whatever would be refused is: nobody approved the plan; then a secret is missing.
    let (_, outputs) = finished(&coordinator, "caller&dry_run=true", &inputs[..1]).await;
    assert_eq!(faults(&outputs[0]), ["refused", "refused"]);
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
    change(&coordinator, Method::PUT, &format!("/v1/plans/{}", plan.digest), Value::Null).await;
    let (_, outputs) = finished(&coordinator, "caller&dry_run=true", &inputs[..1]).await;
    assert_eq!(faults(&outputs[0]), ["refused", "dry_run"]);
    approve(&coordinator, &site.origin()).await;
    let (dry, outputs) = finished(&coordinator, "caller&dry_run=true", &inputs).await;
    assert!(dry.dry_run && outputs.iter().all(|output| faults(output) == ["dry_run", "dry_run"]));
    assert_eq!(site.asked(), [""; 0], "nothing was sent");

    let id = dry.id.to_string();
    let list = manyhands(&coordinator, &["--json", "unsent", &id]);
    succeeded(&list);
    let calls: Vec<UnsentCall> =
        text(&list.stdout).lines().map(|line| serde_json::from_str(line).expect("a call")).collect();
    assert_eq!(calls.len(), 16);
    let letter = &calls[7];
    assert_eq!((letter.unit, letter.step, letter.verb.as_str(), letter.method.as_str()), (3, 1, "send", "POST"));
    assert_eq!((letter.origin.as_str(), letter.path.as_str()), (&*site.origin(), "/v1/messages"));
    assert_eq!(letter.canonical, r#"{"slots":{"text":"Dear c3"},"verb":"send"}"#);
    assert_eq!((letter.target_bytes, letter.body_bytes), (12, r#"{"text":"Dear c3"}"#.len() as u64));
    assert_eq!((calls[6].path.as_str(), calls[6].target_bytes), ("/v1/customers/{id}", 16));
    let shown = manyhands(&coordinator, &["runs"]);
    assert!(text(&shown.stdout).contains("finished, dry run"), "{}", text(&shown.stdout));

    // Nothing of the budget is used up, and the next run is none.
    let (run, outputs) = finished(&coordinator, "caller", &inputs[..5]).await;
    assert!(!run.dry_run && outputs.iter().all(|output| text(output).contains("m-1")));
    assert_eq!(site.asked().len(), 10);
    let none = manyhands(&coordinator, &["unsent", &run.id.to_string()]);
    assert!(none.status.code() == Some(2) && text(&none.stderr).contains("no dry run"), "{}", text(&none.stderr));
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    succeeded(&manyhands(&coordinator, &["audit", "export", name(&log)]));
    let told = events(&std::fs::read_to_string(&log).expect("the log"));
    let count = |kind: &str| told.iter().filter(|event| event.get(kind).is_some()).count();
    assert_eq!((count("unsent"), count("claimed")), (1 + 16, 10));
}
