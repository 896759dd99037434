//! Values that must not be seen are looked for wherever a real coordinator leaves something, in every coding. The long form, over a million made-up
//! records and without processes, is `cargo xtask canaries`.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use manyhands_api::{PlanView, RunView};
use manyhands_canaries::{Detector, all_forms};
use manyhands_model::{Codec, Manifest, RunId};
use manyhands_tests::{Coordinator, Site, jobs};
use reqwest::Method;
use serde_json::{Value, json};

/// A value of each class, as JSON.
const VALUES: [(&str, &str); 10] = [
    ("email", r#""ann.lee+7@mail.example.com""#),
    ("phone", r#""+493012345678""#),
    ("card", r#""4111111111111111""#),
    ("iban", r#""GB82WEST12345698765432""#),
    ("name", r#""Annabel \"Lee\" Örtel""#),
    ("address", r#""12 Harbour Lane, Oxford, GB""#),
    ("date", r#""1985-04-05T10:11:12""#),
    ("number", "918273645546372"),
    ("text", r#""owes 42 to bob\nuntil spring / <b>""#),
    ("secret", r#""hunter2/b+Q=Tail51xk""#),
];
/// The operator's.
const KEY: &str = "sk_live_9aZ/b+Q=Tail77mn";
/// What nobody declared, by which is seen that there is something to be found.
const OPEN: &str = "in-the-open-20261122";

fn value(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

fn texts() -> Vec<String> {
    let text = |json: &str| match value(json) {
        Value::String(text) => text,
        other => other.to_string(),
    };
    VALUES.iter().map(|(_, json)| text(json)).chain([KEY.to_owned()]).collect()
}

/// An API that repeats whatever it was told, in the way that the path says.
async fn tell(extract::Path(how): extract::Path<String>, body: Bytes) -> Response {
    let told: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(told["key"], KEY, "what the operator gave goes to whom it is for");
    for (class, json) in VALUES {
        assert_eq!(told[class], value(json), "so does what the requester did");
    }
    let all = told.to_string();
    match how.as_str() {
        "500" => (StatusCode::INTERNAL_SERVER_ERROR, all).into_response(),
        "302" => (StatusCode::FOUND, [(LOCATION, format!("https://evil.example/{KEY}"))], all).into_response(),
        "garbage" => all.replace(['{', '"'], "").into_response(),
        "cut" => {
            let parts = [Err::<Bytes, _>(std::io::Error::other("the line is cut"))];
            Body::from_stream(futures::stream::iter(parts)).into_response()
        }
        "id" => axum::Json(json!({ "id": KEY, "said": all })).into_response(),
        _ => axum::Json(json!({ "id": "m-1", "said": all })).into_response(),
    }
}

fn job(origin: &str) -> jobs::Job {
    let token = |class: &str| json!({ "type": "token", "classes": [class] });
    let mut slots: serde_json::Map<_, _> =
        VALUES.iter().map(|(class, _)| ((*class).to_owned(), token(class))).collect();
    slots.insert("how".into(), json!({ "type": "id", "bytes_max": 32 }));
    let mut body: serde_json::Map<_, Value> =
        VALUES.iter().map(|(class, _)| ((*class).to_owned(), format!("{{{class}}}").into())).collect();
    body.insert("key".into(), "{secret:api_key}".into());
    let verbs = json!({ "tell": {
        "method": "POST", "origin": origin, "path": "/tell/{how}", "json": body, "slots": slots,
        "answer": {
            "id": { "at": "/id", "type": "id", "bytes_max": 64 }, "said": { "at": "/said", "type": "text", "class": "text" },
        },
        "effect": "at_most_once", "budget": { "per_run": 1_000 },
    } });
    let fields: Vec<Value> =
        VALUES.iter().map(|(class, _)| json!({ "at": format!("$[*].slots.{class}"), "class": class })).collect();
    jobs::caller_of(Manifest {
        name: "teller".parse().expect("a name"),
        codec: Codec::Json,
        verbs: serde_json::from_value(verbs).expect("verbs"),
        sensitive: serde_json::from_value(fields.into()).expect("fields"),
        ..jobs::parrot().manifest
    })
}

/// One call with all values, as an input.
fn call(how: &str) -> Value {
    let mut slots: serde_json::Map<_, _> =
        VALUES.iter().map(|(class, json)| ((*class).to_owned(), value(json))).collect();
    slots.insert("how".into(), how.into());
    json!([{ "verb": "tell", "slots": slots }])
}

/// All files in a folder that show a value, with the first that each shows.
fn shown(folder: &Path, detector: &Detector) -> Vec<(PathBuf, usize, &'static str)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            files.extend(shown(&entry, detector));
        } else if let Some((which, coding)) = detector.find(&std::fs::read(&entry).expect("a file")) {
            files.push((entry, which, coding));
        }
    }
    files
}

/// What was heard of the coordinator: where it was said, and what.
struct Heard(Vec<(String, Vec<u8>)>);

impl Heard {
    /// Asks and keeps the answer. Says its status.
    async fn ask(&mut self, what: &str, request: reqwest::RequestBuilder) -> StatusCode {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let body = answer.bytes().await.expect("a body");
        self.0.push((what.to_owned(), [headers.as_bytes(), b"\n", &body].concat()));
        status
    }

    fn of(&self, what: &str) -> &[u8] {
        &self.0.iter().find(|(known, _)| known == what).expect("it was asked").1
    }
}

/// Whatever can go wrong with values in it, on their way in.
async fn provoke(coordinator: &Coordinator, heard: &mut Heard) {
    let good = call("open").to_string();
    let cut = &good[..good.len() - 3];
    let composed = good.replace(VALUES[0].1, &format!(r#"{{"of":[{}]}}"#, VALUES[0].1));
    let with_token = good.replace(OPEN, "").replace("\"how\":\"open\"", &format!("\"how\":\"dtk1{}\"", "a".repeat(29)));
    let requests: [(&str, &str, String); 7] = [
        ("a cut input", "/v1/runs?job=teller", cut.to_owned()),
        ("an input with a byte too much", "/v1/runs?job=teller", good.replace("\",", "\"\u{1},")),
        ("an input that holds a token", "/v1/runs?job=teller", with_token),
        ("an input for nobody", "/v1/runs?job=nobody", good.clone()),
        ("an invocation that is cut", "/v1/jobs/teller/invoke", cut.to_owned()),
        ("an invocation of nobody", "/v1/jobs/nobody/invoke", good.clone()),
        ("fields that are none", "/v1/runs?job=teller&sensitive=%5B%7B%22at%22%3A7%7D%5D", good.clone()),
    ];
    for (what, path, body) in requests {
        let request = coordinator.request(Method::POST, path).header("content-type", "application/x-ndjson");
        let status = heard.ask(what, request.body(body)).await;
        assert!(status.is_client_error(), "{what}: {status}");
    }
    // A key that is used again for something else.
    for (what, body) in [("a first question", format!("{good}\n")), ("another with its key", format!("{composed}\n"))] {
        let request = coordinator.request(Method::POST, "/v1/runs?job=teller").header("idempotency-key", "k");
        heard.ask(what, request.header("content-type", "application/x-ndjson").body(body)).await;
    }
    for (what, secret) in [
        ("a secret for no origin", json!({ "origin": "nowhere", "secret": KEY })),
        ("a secret that is too long", json!({ "origin": "https://a.example", "secret": KEY.repeat(300) })),
        ("a secret that is none", json!({ "origin": "https://a.example", "secret": [KEY] })),
    ] {
        let status = heard.ask(what, coordinator.request(Method::PUT, "/v1/secrets/api_key").json(&secret)).await;
        assert!(status.is_client_error(), "{what}: {status}");
    }
    let stranger = coordinator.anonymous(Method::POST, "/v1/runs?job=teller").bearer_auth(KEY).body(good);
    assert_eq!(heard.ask("a stranger", stranger).await, StatusCode::UNAUTHORIZED);
}

async fn finished(coordinator: &Coordinator, query: &str, inputs: &[Vec<u8>]) -> (RunId, Vec<Value>) {
    let run: RunView = coordinator.submit(query, inputs).await.expect("submitted");
    let outputs = coordinator.outputs(run.id).await;
    (run.id, outputs.iter().map(|output| serde_json::from_slice(output).expect("JSON")).collect())
}

#[tokio::test]
async fn attack_42_nothing_that_a_coordinator_leaves_behind_shows_a_value_in_any_coding() {
    let site = Site::start(Router::new().route("/tell/{how}", post(tell))).await;
    let allow: &'static str = Box::leak(format!("calls.allow={}", site.origin()).into_boxed_str());
    let log = "log.filter=debug,manyhands_coordinator=trace,manyhands_egress=trace,manyhands_store=trace";
    let coordinator = Coordinator::start_with(&[allow, log, "calls.unknown_ms=0"]).await;
    let job = job(&site.origin());
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let plan: PlanView = coordinator.get("/v1/jobs/teller/plan").await.expect("a plan");
    let mut heard = Heard(Vec::new());
    let secret = json!({ "origin": site.origin(), "secret": KEY });
    let set = heard.ask("a secret", coordinator.request(Method::PUT, "/v1/secrets/api_key").json(&secret)).await;
    let approve = coordinator.request(Method::PUT, &format!("/v1/plans/{}", plan.digest));
    assert!(set.is_success() && heard.ask("an approval", approve).await.is_success());
    let runners = coordinator.runners(2).await;

    provoke(&coordinator, &mut heard).await;
    // Calls that go well, and calls that go wrong in every way that there is.
    let ways = [OPEN, "id", "500", "302", "garbage", "cut"];
    let inputs: Vec<Vec<u8>> = ways.iter().map(|how| call(how).to_string().into_bytes()).collect();
    let composed = String::from_utf8_lossy(&inputs[0]).replace(VALUES[0].1, &format!(r#"{{"of":[{}]}}"#, VALUES[0].1));
    let inputs = [&inputs[..], &[composed.into_bytes()]].concat();
    let (run, outputs) = finished(&coordinator, "teller", &inputs).await;
    // The control: who submitted them has them back, and in the answer as well.
    let said: Value = outputs[0][0]["answer"]["said"].as_str().map(value).expect("what the API said");
    assert!(VALUES.iter().all(|(class, json)| said[class] == value(json)), "{said}");
    assert_eq!(outputs[1], json!([{ "fault": "withheld" }]), "an id that is the operator's key");
    let faults: Vec<&str> = outputs[2..].iter().map(|output| output[0]["fault"].as_str().unwrap_or("none")).collect();
    assert_eq!(faults, ["status", "status", "withheld", "unknown", "refused"]);
    let (dry, outputs) = finished(&coordinator, "teller&dry_run=true", &inputs[..1]).await;
    assert_eq!(outputs[0], json!([{ "fault": "dry_run" }]));

    for (what, path) in [
        ("metrics", "/metrics".to_owned()),
        ("the audit log", "/v1/audit".into()),
        ("a recording", format!("/v1/runs/{run}/recording")),
        ("what was not sent", format!("/v1/runs/{dry}/unsent")),
        ("fields", format!("/v1/runs/{run}/sensitive")),
        ("a run", format!("/v1/runs/{run}")),
        ("a unit", format!("/v1/runs/{run}/units/2")),
        ("why", format!("/v1/runs/{run}/why")),
        ("calls", "/v1/calls/unknown".into()),
        ("secrets", "/v1/secrets".into()),
        ("the plan", "/v1/jobs/teller/plan".into()),
    ] {
        let status = heard.ask(what, coordinator.request(Method::GET, &path)).await;
        assert!(status.is_success(), "{what}: {status}");
    }
    let forget = coordinator.request(Method::DELETE, &format!("/v1/runs/{run}/values"));
    assert!(heard.ask("values that are removed", forget).await.is_success());
    let retry = coordinator.request(Method::POST, &format!("/v1/runs/{run}/retry"));
    heard.ask("a run that is tried again", retry).await;
    heard.ask("results without values", coordinator.request(Method::GET, &format!("/v1/runs/{run}/results"))).await;
    heard.0.push(("the coordinator's log".into(), coordinator.process.log().into_bytes()));
    for runner in &runners {
        heard.0.push(("a runner's log".into(), runner.process.log().into_bytes()));
    }

    let detector = Detector::of(&texts());
    for (what, text) in &heard.0 {
        if let Some((which, coding)) = detector.find(text) {
            panic!("{what} shows {} {coding}:\n{}", texts()[which], String::from_utf8_lossy(text));
        }
        // The control: it would be found there.
        for (which, canary) in texts().iter().enumerate() {
            for (coding, form) in all_forms(canary).into_iter().filter(|(_, form)| form.len() >= 8) {
                let planted = [text, &form[..]].concat();
                assert_eq!(detector.find(&planted).map(|(found, _)| found), Some(which), "{canary} {coding} in {what}");
            }
        }
    }
    // There was something to be found.
    let open = Detector::of(&[OPEN.to_owned()]);
    for what in ["a recording", "what was not sent"] {
        assert!(open.find(heard.of(what)).is_some(), "{what} has nothing of the run");
    }
    let log = String::from_utf8_lossy(heard.of("the coordinator's log")).into_owned();
    assert!(log.contains("a call was not answered") && log.contains("DEBUG"), "{log}");
    assert!(
        String::from_utf8_lossy(heard.of("the audit log")).contains("\"answered\":500"),
        "calls are in the audit log"
    );

    let data = coordinator.data_dir();
    assert_eq!(shown(&data, &detector), [], "no file shows a value");
    assert!(!shown(&data, &open).is_empty(), "control: inputs lie there");
    let planted = data.join("planted");
    std::fs::create_dir(&planted).expect("a folder");
    let mut expected = Vec::new();
    for (which, canary) in texts().iter().enumerate() {
        for (number, (_, form)) in all_forms(canary).into_iter().filter(|(_, form)| form.len() >= 8).enumerate() {
            let file = planted.join(format!("{which}-{number}"));
            std::fs::write(&file, [b"before", &form[..], b"after"].concat()).expect("written");
            expected.push((file, which));
        }
    }
    let mut found: Vec<_> = shown(&data, &detector).into_iter().map(|(file, which, _)| (file, which)).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "control: each coding is found in a file");
}
