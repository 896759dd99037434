//! Calls to the outside: made once, after the quorum, whatever crashes; and only as an operator approved them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use manyhands_api::{PlanView, Problem, RunView, UnknownCalls};
use manyhands_model::{Codec, Manifest};
use manyhands_tests::{Coordinator, Runner, Site, jobs, until};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::Method;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// An API that stands for the outside world, and what it saw.
#[derive(Clone)]
struct Api(Arc<Seen>);

struct Seen {
    /// Requests by their idempotency keys; without one, each is its own.
    letters: Mutex<BTreeMap<String, Vec<(HeaderMap, Value)>>>,
    lookups: Mutex<Vec<HeaderMap>>,
    /// Answers that may be given.
    answers: Semaphore,
}

impl Api {
    fn new(answers: usize) -> Self {
        Self(Arc::new(Seen { letters: Mutex::default(), lookups: Mutex::default(), answers: Semaphore::new(answers) }))
    }

    async fn start(&self) -> Site {
        let routes = Router::new()
            .route("/v1/customers/{id}", get(lookup))
            .route("/v1/messages", post(send))
            .with_state(self.clone());
        Site::start(routes).await
    }

    /// How many letters there are, and how often they were sent.
    fn letters(&self) -> (usize, usize) {
        let letters = self.0.letters.lock().expect("not poisoned");
        (letters.len(), letters.values().map(Vec::len).sum())
    }
}

async fn lookup(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> axum::response::Response {
    api.0.lookups.lock().expect("not poisoned").push(headers);
    match id.as_str() {
        "nobody" => StatusCode::NOT_FOUND.into_response(),
        _ => axum::Json(json!({ "id": id, "tier": "gold", "secret": "not declared" })).into_response(),
    }
}

async fn send(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> axum::Json<Value> {
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    {
        let mut letters = api.0.letters.lock().expect("not poisoned");
        let key = headers.get("idempotency-key").map(|key| key.to_str().expect("text").to_owned());
        let key = key.unwrap_or_else(|| format!("without a key {}", letters.len()));
        letters.entry(key).or_default().push((headers, body));
    }
    api.0.answers.acquire().await.expect("never closed").forget();
    axum::Json(json!({ "id": "m-1" }))
}

fn verbs(origin: &str, effect: &str) -> Value {
    let mut verbs = json!({
        "lookup": {
            "method": "GET", "origin": origin, "path": "/v1/customers/{id}",
            "headers": { "authorization": "Bearer {secret:crm_key}" },
            "slots": { "id": { "type": "id", "bytes_max": 64 } },
            "answer": { "tier": { "at": "/tier", "type": "enum", "values": ["gold", "basic"] } },
            "effect": "safe", "budget": { "per_run": 1000 }
        },
        "send": {
            "method": "POST", "origin": origin, "path": "/v1/messages",
            "json": { "to": "{to}", "text": "{text}" },
            "slots": { "to": { "type": "id", "bytes_max": 64 }, "text": { "type": "text", "bytes_max": 200 } },
            "answer": { "message": { "at": "/id", "type": "id", "bytes_max": 64 } },
            "effect": effect, "limits": { "total_ms": 120000 }, "budget": { "per_run": 20 }
        }
    });
    if effect == "keyed" {
        verbs["send"]["idempotency_header"] = "idempotency-key".into();
    }
    verbs
}

/// A coordinator that may reach `site`, with a job that calls it, approved.
async fn coordinator(site: &Site, effect: &str, unknown_ms: u64) -> Coordinator {
    let origin = site.origin();
    let allow: &'static str = Box::leak(format!("calls.allow={origin}").into_boxed_str());
    let wait: &'static str = Box::leak(format!("calls.unknown_ms={unknown_ms}").into_boxed_str());
    let coordinator = Coordinator::start_with(&[allow, wait]).await;
    let job = jobs::caller("caller", verbs(&origin, effect));
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    coordinator
}

async fn approve(coordinator: &Coordinator, origin: &str) {
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
    assert!(plan.page.contains("lookup") && plan.page.contains(origin), "{}", plan.page);
    put(coordinator, &format!("/v1/plans/{}", plan.digest), Value::Null).await;
    let secret = json!({ "origin": origin, "secret": "crm-secret" });
    put(coordinator, "/v1/secrets/crm_key", secret).await;
}

async fn put(coordinator: &Coordinator, path: &str, body: Value) {
    let answer = coordinator.request(Method::PUT, path).json(&body).send().await.expect("an answer");
    let status = answer.status();
    assert!(status.is_success(), "{path}: {status}: {}", answer.text().await.unwrap_or_default());
}

fn letter(to: &str) -> String {
    json!([{ "verb": "send", "slots": { "to": to, "text": "Dear \"you\",\nhello" } }]).to_string()
}

#[tokio::test]
async fn attack_28_replicas_ask_and_each_call_is_made_once() {
    let api = Api::new(usize::MAX >> 3);
    let site = api.start().await;
    let coordinator = coordinator(&site, "keyed", 0).await;
    approve(&coordinator, &site.origin()).await;
    let runners = coordinator.runners(3).await;
    let lookups = json!([
        { "verb": "lookup", "slots": { "id": "ann" } },
        { "verb": "lookup", "slots": { "id": "nobody" } },
        { "verb": "lookup", "slots": { "id": "a/../b" } },
        { "verb": "shutdown", "slots": {} },
    ]);
    let inputs: Vec<Vec<u8>> =
        (0..10).map(|number| format!("{lookups}\n{}", letter(&format!("c{number}"))).into_bytes()).collect();
    let run = coordinator.submit("caller&replicas=3&replicas_max=5", &inputs).await.expect("submitted");
    for output in coordinator.outputs(run.id).await {
        let output = String::from_utf8(output).expect("text");
        let mut lines = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let looked_up = lines.next().expect("the first answers");
        let expected = json!([
            { "status": 200, "answer": { "tier": "gold" } },
            { "fault": "status", "status": 404 },
            { "fault": "refused" },
            { "fault": "refused" },
        ]);
        assert_eq!(looked_up, expected);
        assert_eq!(lines.next(), Some(json!([{ "status": 200, "answer": { "message": "m-1" } }])));
        assert_eq!(lines.next(), None);
    }
    assert_eq!(api.letters(), (10, 10), "one call for each letter, of three replicas");
    let lookups = api.0.lookups.lock().expect("not poisoned");
    assert_eq!(lookups.len(), 20);
    assert!(lookups.iter().all(|headers| headers["authorization"] == "Bearer crm-secret"));
    drop(runners);
}

#[tokio::test]
async fn attack_14_nothing_is_called_that_no_operator_approved_or_more_often_than_its_budget_says() {
    let api = Api::new(usize::MAX >> 3);
    let site = api.start().await;
    let coordinator = coordinator(&site, "keyed", 0).await;
    let _runners = coordinator.runners(2).await;
    let alone = coordinator.submit("caller&replicas=1", &[letter("ann").into_bytes()]).await.expect_err("refused");
    assert!(alone.status == 422 && alone.problem.detail.contains("no single worker"), "{}", alone.problem.detail);
    let refused = b"[{\"fault\":\"refused\"}]".to_vec();
    let run = coordinator.submit("caller", &[letter("ann").into_bytes()]).await.expect("submitted");
    assert_eq!(coordinator.outputs(run.id).await, std::slice::from_ref(&refused));
    assert_eq!(api.letters(), (0, 0));

    approve(&coordinator, &site.origin()).await;
    let inputs: Vec<Vec<u8>> = (0..25).map(|number| letter(&format!("c{number}")).into_bytes()).collect();
    let run = coordinator.submit("caller", &inputs).await.expect("submitted");
    let outputs = coordinator.outputs(run.id).await;
    let over = outputs.iter().filter(|output| **output == b"[{\"fault\":\"budget\"}]").count();
    assert_eq!((over, api.letters()), (5, (20, 20)));

    // Taken back, and at once.
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
    assert!(plan.approved);
    let taken = coordinator.request(Method::DELETE, &format!("/v1/plans/{}", plan.digest)).send().await;
    assert!(taken.expect("an answer").status().is_success());
    let run = coordinator.submit("caller", &[letter("bob").into_bytes()]).await.expect("submitted");
    assert_eq!(coordinator.outputs(run.id).await, [refused]);
    assert_eq!(api.letters(), (20, 20));
}

/// Many units ask at the same moment, of several runs, and every share is used up to the last call and not one further.
#[tokio::test]
async fn attack_14_of_many_calls_at_once_exactly_as_many_are_made_as_the_budgets_say() {
    const RUNS: usize = 3;
    const PER_DAY: usize = 50;
    let api = Api::new(usize::MAX >> 3);
    let site = api.start().await;
    let origin = site.origin();
    let allow: &'static str = Box::leak(format!("calls.allow={origin}").into_boxed_str());
    let coordinator = Coordinator::start_with(&[allow]).await;
    let mut verbs = verbs(&origin, "keyed");
    verbs["send"]["budget"]["per_day"] = PER_DAY.into();
    let job = jobs::caller("caller", verbs);
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    approve(&coordinator, &origin).await;
    // Each unit asks for three in one breath, so that a share ends in the middle of some.
    let inputs = |run: usize| -> Vec<Vec<u8>> {
        let call = |unit: usize, number: usize| json!({ "verb": "send", "slots": { "to": format!("c{run}-{unit}-{number}"), "text": "hello" } });
        let request = |unit| Value::from((0..3).map(|number| call(unit, number)).collect::<Vec<_>>());
        (0..60).map(|unit| request(unit).to_string().into_bytes()).collect()
    };
    let mut runs = Vec::new();
    for run in 0..RUNS {
        runs.push(coordinator.submit("caller&replicas=2", &inputs(run)).await.expect("submitted"));
    }
    let _runners = coordinator.runners(4).await;
    let mut answered = Vec::new();
    for run in runs {
        let outputs = coordinator.outputs(run.id).await;
        let outputs = outputs.iter().map(|output| serde_json::from_slice::<Vec<Value>>(output).expect("a list"));
        let answers: Vec<Value> = outputs.flatten().collect();
        assert_eq!(answers.len(), 180);
        let sent = answers.iter().filter(|answer| answer["status"] == 200).count();
        let over = answers.iter().filter(|answer| **answer == json!({ "fault": "budget" })).count();
        assert_eq!(sent + over, 180, "each has one of two ends");
        assert!(sent <= 20, "{sent} of one run");
        answered.push(sent);
    }
    assert_eq!(answered.iter().sum::<usize>(), PER_DAY, "{answered:?}");
    assert_eq!(api.letters(), (PER_DAY, PER_DAY));
}

/// A unit whose call has its turn only after the values that its tokens stood for were removed.
#[tokio::test]
async fn attack_14_no_call_is_made_once_the_values_are_gone_that_its_tokens_stood_for() {
    const EMAIL: &str = "ann.lee@mail.example";
    let api = Api::new(usize::MAX >> 3);
    let site = api.start().await;
    let origin = site.origin();
    let allow: &'static str = Box::leak(format!("calls.allow={origin}").into_boxed_str());
    let one_a_second = ["throttling.requester_calls_per_second=1", "throttling.burst_seconds=1"];
    let mut coordinator = Coordinator::start_with(&[allow, one_a_second[0], one_a_second[1]]).await;
    let mut verbs = verbs(&origin, "keyed");
    verbs["send"]["slots"]["to"] = json!({ "type": "token", "classes": ["email"] });
    let manifest = Manifest {
        codec: Codec::Json,
        verbs: serde_json::from_value(verbs).expect("verbs"),
        sensitive: serde_json::from_value(json!([{ "at": "$[*].slots.to", "class": "email" }])).expect("fields"),
        ..jobs::parrot().manifest
    };
    let job = jobs::caller_of(Manifest { name: "caller".parse().expect("a name"), ..manifest });
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    approve(&coordinator, &origin).await;
    let runners = coordinator.runners(2).await;
    let inputs: Vec<Vec<u8>> = (0..30).map(|_| letter(EMAIL).into_bytes()).collect();
    let run = coordinator.submit("caller", &inputs).await.expect("submitted");
    until("some letters are written", async || (api.letters().0 > 0).then_some(())).await;
    let _cancelled: RunView = coordinator.post(&format!("/v1/runs/{}/cancel", run.id), "").await.expect("cancelled");
    let values = format!("/v1/runs/{}/values", run.id);
    let gone = coordinator.request(Method::DELETE, &values).send().await.expect("an answer");
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    let again = coordinator.post::<RunView>(&format!("/v1/runs/{}/retry", run.id), "").await.expect_err("refused");
    assert!(again.status == 409 && again.problem.detail.contains("stand for nothing"), "{}", again.problem.detail);
    // Whoever was behind those in the row has had a turn, before the coordinator is started again and after.
    let (made, keyed) = api.letters();
    assert!(made < 30 && made == keyed, "{made}");
    let mut others = 0;
    for _ in 0..2 {
        let other = coordinator.submit("caller", &[letter("bob@mail.example").into_bytes()]).await.expect("submitted");
        coordinator.outputs(other.id).await;
        others += 1;
        coordinator.kill();
        coordinator.restart().await;
    }
    let letters = api.0.letters.lock().expect("not poisoned");
    let to = |who: &str| letters.values().flatten().filter(|(_, body)| body["to"] == who).count();
    assert_eq!((to("bob@mail.example"), to(EMAIL) + others), (others, letters.len()), "and no token was sent as it is");
    // One may have been on its way when the run was cancelled.
    assert!(to(EMAIL) <= made + 1, "{} of {made}", to(EMAIL));
    drop(runners);
}

#[tokio::test]
async fn attack_46_no_call_is_on_its_way_once_an_approval_was_taken_back() {
    let api = Api::new(0);
    let site = api.start().await;
    let coordinator = coordinator(&site, "keyed", 0).await;
    approve(&coordinator, &site.origin()).await;
    let _runners = coordinator.runners(2).await;
    let inputs: Vec<Vec<u8>> = (0..8).map(|number| letter(&format!("c{number}")).into_bytes()).collect();
    let run = coordinator.submit("caller", &inputs).await.expect("submitted");
    until("a call is on its way", async || (api.letters().0 > 0).then_some(())).await;
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
    let taken = coordinator.request(Method::DELETE, &format!("/v1/plans/{}", plan.digest)).send();
    let taken = tokio::spawn(taken);
    let withdrawn = async || {
        let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
        (!plan.approved).then_some(())
    };
    until("it is taken back", withdrawn).await;
    assert!(!taken.is_finished(), "a call is on its way, and it said that none was");
    api.0.answers.add_permits(1000);
    let taken = taken.await.expect("no panic").expect("an answer");
    assert!(taken.status().is_success(), "{}", taken.status());
    let (letters, _) = api.letters();
    let outputs = coordinator.outputs(run.id).await;
    let refused = outputs.iter().filter(|output| **output == b"[{\"fault\":\"refused\"}]").count();
    assert_eq!((letters + refused, api.letters().0), (8, letters), "nothing was sent after the answer");
}

/// A coordinator that was killed while a call was on its way, and has started again; its runners, and the run that asked.
async fn interrupted(api: &Api, site: &Site, effect: &str, unknown_ms: u64) -> (Coordinator, Vec<Runner>, RunView) {
    let mut coordinator = coordinator(site, effect, unknown_ms).await;
    approve(&coordinator, &site.origin()).await;
    let runners = coordinator.runners(2).await;
    let run = coordinator.submit("caller", &[letter("ann").into_bytes()]).await.expect("submitted");
    until("the call is on its way", async || (api.letters() == (1, 1)).then_some(())).await;
    coordinator.kill();
    coordinator.restart().await;
    (coordinator, runners, run)
}

/// What a command of the coordinator's program says, with its exit code.
fn operate(data: &std::path::Path, words: &[&str]) -> (Option<i32>, String) {
    let dir = ["--data-dir", data.to_str().expect("a path in UTF-8")];
    let output = manyhands_tests::run("manyhands-coordinator", [&dir[..], words].concat());
    let said = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn attack_28_data_that_was_put_back_makes_no_call_again_that_it_has_forgotten() {
    let api = Api::new(usize::MAX >> 3);
    let site = api.start().await;
    let mut coordinator = coordinator(&site, "at_most_once", 3_600_000).await;
    approve(&coordinator, &site.origin()).await;
    let asked: Vec<Vec<u8>> = ["ann", "bob"].map(|to| letter(to).into_bytes()).to_vec();
    let run = coordinator.submit("caller", &asked).await.expect("submitted");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (code, backup) =
        operate(&coordinator.data_dir(), &["backup", "--to", elsewhere.path().to_str().expect("a path")]);
    assert_eq!(code, Some(0), "{backup}");
    let backup = backup.lines().next().expect("its path").to_owned();
    let runners = coordinator.runners(2).await;
    assert_eq!(coordinator.outputs(run.id).await.len(), 2);
    assert_eq!(api.letters(), (2, 2));
    drop(runners);
    coordinator.kill();

    let data = coordinator.data_dir();
    std::fs::rename(&data, data.with_extension("lost")).expect("moved");
    let (code, said) = operate(&data, &["restore", &backup]);
    assert!(code == Some(0) && said.contains("accept-older-data"), "{said}");
    let (code, said) = operate(&data, &[]);
    assert!(code == Some(65) && said.contains("older than these keys"), "{said}");
    let (code, said) = operate(&data, &["vault", "accept-older-data"]);
    assert!(code == Some(0) && said.contains("/v1/calls/unknown"), "{said}");
    coordinator.restart().await;
    let log = coordinator.request(Method::GET, "/v1/audit").send().await.expect("an answer");
    assert!(log.text().await.expect("the log").contains("{\"older_data_accepted\":{\"before\":"), "it is in the log");
    let _runners = coordinator.runners(2).await;
    let both = async || {
        let unknown: UnknownCalls = coordinator.get("/v1/calls/unknown").await.expect("a list");
        (unknown.calls.len() == 2).then_some(unknown.calls)
    };
    let calls = until("both calls are listed", both).await;
    assert_eq!(api.letters(), (2, 2), "no letter was sent again");
    // The same, a page at a time.
    let first: UnknownCalls = coordinator.get("/v1/calls/unknown?limit=1").await.expect("a page");
    let after = first.next.expect("there is another");
    let second: UnknownCalls =
        coordinator.get(&format!("/v1/calls/unknown?limit=2&after={after}")).await.expect("a page");
    let ids = |calls: &[manyhands_api::CallView]| calls.iter().map(|call| call.id.clone()).collect::<Vec<_>>();
    assert_eq!([ids(&first.calls), ids(&second.calls)].concat(), ids(&calls));
    assert_eq!(second.next, None);
    for call in calls {
        put(&coordinator, &format!("/v1/calls/{}", call.id), json!({ "found": "let_go" })).await;
    }
    let unknown = b"[{\"fault\":\"unknown\"}]".to_vec();
    assert_eq!(coordinator.outputs(run.id).await, [unknown.clone(), unknown]);
    // What is asked for from now on is known.
    let run = coordinator.submit("caller", &[letter("eve").into_bytes()]).await.expect("submitted");
    coordinator.outputs(run.id).await;
    assert_eq!(api.letters(), (3, 3));
}

#[tokio::test]
async fn attack_28_a_call_that_a_crash_interrupts_has_one_effect_where_keys_are_honoured() {
    let api = Api::new(0);
    let site = api.start().await;
    let (coordinator, _runners, run) = interrupted(&api, &site, "keyed", 0).await;
    until("it is made again", async || (api.letters().1 == 2).then_some(())).await;
    api.0.answers.add_permits(1000);
    let answered = b"[{\"status\":200,\"answer\":{\"message\":\"m-1\"}}]".to_vec();
    assert_eq!(coordinator.outputs(run.id).await, [answered]);
    assert_eq!(api.letters().0, 1, "with one and the same key");
}

#[tokio::test]
async fn attack_28_a_call_that_a_crash_interrupts_is_not_made_again_where_it_must_not_be() {
    let api = Api::new(0);
    let site = api.start().await;
    let (coordinator, _runners, run) = interrupted(&api, &site, "at_most_once", 3_600_000).await;
    let listed = async || {
        let unknown: UnknownCalls = coordinator.get("/v1/calls/unknown").await.expect("a list");
        unknown.calls.into_iter().next()
    };
    let call = until("it is listed", listed).await;
    assert_eq!((call.run, call.unit, call.verb.as_str()), (run.id, 0, "send"));
    assert!(call.canonical.contains("\"to\":\"ann\""), "{}", call.canonical);
    let path = format!("/v1/calls/{}", call.id);
    put(&coordinator, &path, json!({ "found": "let_go" })).await;
    assert_eq!(coordinator.outputs(run.id).await, [b"[{\"fault\":\"unknown\"}]".to_vec()]);
    assert_eq!(api.letters(), (1, 1));
    let again = coordinator.request(Method::PUT, &path).json(&json!({ "found": "not_made" })).send().await;
    let again = again.expect("an answer");
    assert_eq!(again.status(), 409);
    let problem: Problem = again.json().await.expect("a problem");
    assert!(problem.detail.contains("over"));
}

/// An authority that no operating system knows.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }
}

/// An API on this computer whose certificate is `authority`'s.
struct Private {
    origin: String,
    /// Connections on which TLS was not agreed on, and requests that were heard.
    strangers: Arc<AtomicUsize>,
    letters: Arc<AtomicUsize>,
}

impl Private {
    fn start(authority: &Authority) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
        let certificate = params.signed_by(&key, &authority.issuer).expect("signed").der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key);
        let config = Arc::new(config.expect("a certificate with its key"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let origin = format!("https://{}", listener.local_addr().expect("an address"));
        let (strangers, letters) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = (Arc::clone(&strangers), Arc::clone(&letters));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
                let mut tls = StreamOwned::new(connection, stream.expect("a connection"));
                let (mut request, mut some) = (Vec::new(), [0; 4096]);
                // The body is the end of it: an object in an object.
                while !request.ends_with(b"\"}") {
                    match tls.read(&mut some) {
                        Ok(count) if count > 0 => request.extend_from_slice(&some[..count]),
                        _ => break,
                    }
                }
                if request.is_empty() {
                    seen.0.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                seen.1.fetch_add(1, Ordering::SeqCst);
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"id\":\"m-1\"}";
                drop(tls.write_all(answer.as_bytes()));
                tls.conn.send_close_notify();
                drop(tls.flush());
                drop(tls.sock.shutdown(Shutdown::Write));
            }
        });
        Self { origin, strangers, letters }
    }

    fn letters(&self) -> usize {
        self.letters.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_server_under_an_authority_of_the_operators_is_called_once_that_is_named() {
    let (ours, other) = (Authority::new(), Authority::new());
    let api = Private::start(&ours);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, &other.pem).expect("written");
    let allow: &'static str = Box::leak(format!("calls.allow={}", api.origin).into_boxed_str());
    let roots: &'static str = Box::leak(format!("calls.roots={}", file.display()).into_boxed_str());
    let mut coordinator = Coordinator::start_with(&[allow, roots]).await;
    let job = jobs::caller("caller", verbs(&api.origin, "keyed"));
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    approve(&coordinator, &api.origin).await;
    let _runners = coordinator.runners(2).await;
    let run = coordinator.submit("caller", &[letter("ann").into_bytes()]).await.expect("submitted");
    let refused = async || (api.strangers.load(Ordering::SeqCst) > 0).then_some(());
    until("a certificate of nobody's that it knows is refused", refused).await;
    let said = async || coordinator.process.log().contains("no trusted TLS connection").then_some(());
    until("the operator is told why", said).await;
    assert_eq!(api.letters(), 0, "nothing is said before trust");
    coordinator.kill();

    // A file that cannot be used is refused with its place, before anything is served.
    std::fs::write(&file, [&other.pem[..], &ours.pem[..ours.pem.len() - 40]].concat()).expect("written");
    let place = format!("roots.pem:{}: the certificate that begins here was cut", other.pem.lines().count() + 1);
    for words in [&["--set", roots][..], &["config", "check", "--set", roots]] {
        let (code, said) = operate(&coordinator.data_dir(), words);
        assert!(code == Some(65) && said.contains(&place), "{code:?}: {said}");
    }

    std::fs::write(&file, [&other.pem[..], &ours.pem[..]].concat()).expect("written");
    let (code, said) = operate(&coordinator.data_dir(), &["config", "check", "--set", roots]);
    assert_eq!((code, said.trim()), (Some(0), "the configuration is usable"));
    coordinator.restart().await;
    let answered = b"[{\"status\":200,\"answer\":{\"message\":\"m-1\"}}]".to_vec();
    assert_eq!(coordinator.outputs(run.id).await, [answered]);
    assert_eq!(api.letters(), 1);
}
