//! Fields that a requester declares with a run: what no manifest names is a token to workers all the same, and a value to the requester.

use std::process::Output;

use manyhands_api::{RunSensitive, RunView};
use manyhands_model::Manifest;
use manyhands_protocol::Receipt;
use manyhands_tests::{Coordinator, Refused, Worker, jobs, run, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::secrets::found;

const EMAIL: &str = "ann.lee@example.com";
const NAME: &str = "Ann Lee-Rosenthal";
const NOTE: &str = "owes 42 to bob";

fn input() -> Value {
    json!({ "id": 7, "email": EMAIL, "who": { "name": NAME }, "notes": [NOTE] })
}

/// What stands in a query, whatever it is.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn with(job: &str, fields: &Value) -> String {
    format!("{job}&sensitive={}", escaped(&fields.to_string()))
}

/// Two parrots: `parrot` declares nothing, `discreet` an address.
async fn world() -> Coordinator {
    let coordinator = Coordinator::start().await;
    let (open, parrot) = (jobs::parrot(), jobs::parrot());
    let sensitive = json!([{ "at": "/email", "class": "email" }]);
    let sensitive = serde_json::from_value(sensitive).expect("fields");
    let name = "discreet".parse().expect("a name");
    let discreet = jobs::parrot_of(Manifest { name, sensitive, ..parrot.manifest });
    for job in [open, discreet] {
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
    }
    coordinator
}

/// What the job answers, and whether it was known before.
async fn invoke(coordinator: &Coordinator, query: &str) -> (Value, bool) {
    let (job, query) = query.split_once('&').unwrap_or((query, ""));
    let request = coordinator.request(Method::POST, &format!("/v1/jobs/{job}/invoke?{query}"));
    let answer = request.body(input().to_string()).send().await.expect("an answer");
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
    let known = answer.headers().contains_key("cache-status");
    (answer.json().await.expect("JSON"), known)
}

fn manyhands(coordinator: &Coordinator, arguments: &[&str]) -> Output {
    let token = coordinator.data_dir().join("operator.token").display().to_string();
    let url = coordinator.url("");
    run("manyhands", [&["--server", &url, "--token-file", &token], arguments].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn what_a_run_declares_reaches_no_worker_also_after_a_restart() {
    let mut coordinator = world().await;
    let fields = json!([
        { "at": "$.who.name", "class": "name" },
        { "at": "$.notes[*]", "class": "text", "reveal": "length_bucket" },
    ]);
    let inputs = vec![input().to_string().into_bytes(); 3];
    let submitted = coordinator.submit(&with("discreet&replicas=2", &fields), &inputs).await.expect("submitted");
    coordinator.kill();
    coordinator.restart().await;

    let (mut seen, mut workers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
        let units = worker.units(3).await.expect("units");
        let shown = text(&units[0].input);
        for value in [EMAIL, "ann.lee", "Rosenthal", "owes"] {
            assert!(!shown.contains(value), "{shown}");
        }
        let read: Value = serde_json::from_slice(&units[0].input).expect("JSON");
        assert_eq!((&read["id"], &read["notes"][0]["length_bucket"]), (&json!(7), &json!(16)), "{shown}");
        let token = |place: &str| read.pointer(place).and_then(Value::as_str).expect("a token").to_owned();
        let tokens = ["/email", "/who/name", "/notes/0/token"].map(token);
        assert_eq!(tokens.each_ref().map(|token| &token[..5]), ["dtk1e", "dtk1n", "dtk1t"]);
        seen.push(tokens);
        workers.push((worker, units));
    }
    assert!(seen[0].iter().all(|token| !seen[1].contains(token)), "each worker sees others");
    // What they say is put into one form again, although the restart has forgotten all leases.
    for (worker, units) in &mut workers {
        for unit in units.iter() {
            let output = unit.input.clone();
            assert_eq!(worker.report(unit, &output, 7).await.expect("a receipt"), Receipt::Recorded);
        }
    }
    drop(workers);
    until("they are gone", async || (coordinator.connected().await == 0).then_some(())).await;
    let _runners = coordinator.runners(2).await;
    for output in coordinator.outputs(submitted.id).await {
        assert_eq!(serde_json::from_slice::<Value>(&output).expect("JSON"), input());
    }
    for value in [EMAIL, "Rosenthal", "owes"] {
        assert_eq!(found(&coordinator.data_dir(), value.as_bytes()), None, "{value}");
    }
    let told: RunSensitive = coordinator.get(&format!("/v1/runs/{}/sensitive", submitted.id)).await.expect("a list");
    assert_eq!(serde_json::to_value(&told.declared).expect("JSON"), fields);
    let places: Vec<String> = told.fields.iter().map(|field| field.at.to_string()).collect();
    assert_eq!(places, ["$.who.name", "/email", "$.notes[*]"], "what is shown comes last");
    assert!(told.page.contains("/email") && told.bits > 4.0 && told.bits < 4.2, "{} {}", told.bits, told.page);

    // A run beside it that declares nothing is seen whole, as before.
    let plain = coordinator.submit("parrot&replicas=2", &[input().to_string().into_bytes()]).await.expect("submitted");
    assert_eq!(coordinator.outputs(plain.id).await, [input().to_string().into_bytes()]);
    let told: RunSensitive = coordinator.get(&format!("/v1/runs/{}/sensitive", plain.id)).await.expect("a list");
    assert!(told.fields.is_empty() && told.declared.is_empty());
}

#[tokio::test]
async fn what_cannot_be_declared_is_refused_with_its_place() {
    let coordinator = world().await;
    let raw = jobs::noop();
    coordinator.publish(&raw.module, &raw.manifest).await.expect("published");
    let many: Vec<Value> = (0..256).map(|number| json!({ "at": format!("/x{number}"), "class": "text" })).collect();
    for (job, fields, reason) in [
        ("parrot", json!("x"), "sensitive: invalid type"),
        ("parrot", json!([{ "at": "/who/na~me", "class": "name" }]), "`/who/na~me` is not a place: at character 9"),
        ("parrot", json!([{ "at": "/a", "class": "mail" }]), "unknown variant `mail`"),
        ("parrot", json!([{ "at": "/a", "class": "email", "shows": "domain" }]), "unknown field `shows`"),
        ("parrot", json!([{ "at": "/a", "class": "email", "reveal": "last4" }]), "`/a`: `email` has no `last4`"),
        ("parrot", json!([{ "at": "/a", "class": "text" }, { "at": "/a", "class": "text" }]), "`/a` is declared twice"),
        ("discreet", json!([{ "at": "/email", "class": "text" }]), "`/email` is `email` in the job's manifest"),
        ("discreet", json!([{ "at": "/email", "class": "email", "reveal": "domain" }]), "`/email` is `email`"),
        ("discreet", Value::Array(many), "257 sensitive fields, at most 256"),
        ("noop", json!([{ "at": "/a", "class": "text" }]), "inputs of `noop` are not JSON"),
    ] {
        let check = |refused: Refused| {
            assert_eq!(refused.status, 422, "{refused:?}");
            let detail = &refused.problem.detail;
            assert!(detail.starts_with("sensitive: ") && detail.contains(reason), "{reason}: {detail}");
        };
        let body = vec![input().to_string().into_bytes()];
        check(coordinator.submit(&with(job, &fields), &body).await.expect_err("refused"));
        let path = format!("/v1/jobs/{job}/invoke?{}", &with("", &fields)[1..]);
        check(coordinator.post::<Value>(&path, input().to_string()).await.expect_err("refused"));
    }
    let runs: manyhands_api::RunList = coordinator.get("/v1/runs").await.expect("a list");
    assert!(runs.runs.is_empty(), "nothing was begun");
}

#[tokio::test]
async fn attack_43_what_was_asked_in_the_open_does_not_answer_what_is_asked_with_tokens() {
    let coordinator = world().await;
    let _runners = coordinator.runners(2).await;
    assert_eq!(invoke(&coordinator, "parrot").await, (input(), false));
    assert_eq!(invoke(&coordinator, "parrot").await, (input(), true), "control: it is known");
    let fields = json!([{ "at": "/email", "class": "email" }]);
    for _ in 0..2 {
        assert_eq!(invoke(&coordinator, &with("parrot", &fields)).await, (input(), false));
    }
    assert_eq!(invoke(&coordinator, "parrot").await, (input(), true));

    // Nor is it the same submission.
    let submit = async |query: &str| {
        let request = coordinator.request(Method::POST, &format!("/v1/runs?job={query}"));
        let request = request.header("idempotency-key", "k").header("content-type", "application/x-ndjson");
        request.body(format!("{}\n", input())).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(submit(&with("parrot", &fields)).await, 201);
    assert_eq!(submit(&with("parrot", &fields)).await, 200);
    assert_eq!(submit("parrot").await, 422);
    assert_eq!(submit(&with("parrot", &json!([{ "at": "/email", "class": "text" }]))).await, 422);
}

#[tokio::test]
async fn values_are_declared_and_forgotten_by_command() {
    let coordinator = world().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("input.json");
    std::fs::write(&file, input().to_string()).expect("written");
    let file = file.to_str().expect("a path");
    let submit = |job: &str, field: &str| {
        manyhands(&coordinator, &["submit", job, "--replicas", "1", "--input", file, "--sensitive", field])
    };
    let refused = submit("discreet", "/email=text");
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(1) || refused.status.code() == Some(2), "{said}");
    assert!(said.contains("`/email` is `email` in the job's manifest"), "{said}");

    let submitted = submit("discreet", "/who/name=name");
    assert!(submitted.status.success(), "{}", text(&submitted.stderr));
    let id = text(&submitted.stdout).trim().to_owned();
    let early = manyhands(&coordinator, &["forget", &id]);
    assert!(!early.status.success() && text(&early.stderr).contains("cancel it first"), "{}", text(&early.stderr));
    let shown = manyhands(&coordinator, &["sensitive", &id]);
    assert!(text(&shown.stderr).contains("declared with the run: `/who/name`"), "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("/email"), "{}", text(&shown.stdout));

    // It ends without an output, so that somebody could want to try it again.
    let cancelled: RunView = coordinator.post(&format!("/v1/runs/{id}/cancel"), "").await.expect("cancelled");
    assert_eq!(cancelled.units.cancelled, 1);
    let forgotten = manyhands(&coordinator, &["forget", &id]);
    assert!(forgotten.status.success(), "{}", text(&forgotten.stderr));
    assert!(text(&forgotten.stderr).contains("show tokens from now on"), "{}", text(&forgotten.stderr));
    assert!(manyhands(&coordinator, &["forget", &id]).status.success(), "once more is no harm");
    let shown = manyhands(&coordinator, &["sensitive", &id]);
    assert!(text(&shown.stderr).contains("the values were removed"), "{}", text(&shown.stderr));
    let again = coordinator.post::<RunView>(&format!("/v1/runs/{id}/retry"), "").await.expect_err("refused");
    assert_eq!(again.status, 409);
    assert!(again.problem.detail.contains("values of this run were removed"), "{}", again.problem.detail);

    // Where nothing was sensitive there is nothing that would be missed.
    let open = manyhands(&coordinator, &["submit", "parrot", "--replicas", "1", "--input", file]);
    let id = text(&open.stdout).trim().to_owned();
    coordinator.post::<RunView>(&format!("/v1/runs/{id}/cancel"), "").await.expect("cancelled");
    assert!(manyhands(&coordinator, &["forget", &id]).status.success());
    let again: RunView = coordinator.post(&format!("/v1/runs/{id}/retry"), "").await.expect("tried again");
    assert_eq!(again.units.cancelled, 0);
}
