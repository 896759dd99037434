//! Decoys of jobs that ask for calls: the outside world hears of none of them, and who executes them cannot tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use manyhands_api::{PlanView, RunState, RunView, UnknownCalls};
use manyhands_model::{Codec, Manifest, RunId, WorkerId};
use manyhands_placeholder::Token;
use manyhands_protocol::{ClientMessage, ServerMessage};
use manyhands_signing::Keypair;
use manyhands_tests::{Coordinator, Site, Unit, Worker, jobs, until};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::decoys::SOON_TRUSTED;

const INPUTS: u32 = 60;

/// What the job asks for last, of whichever unit.
const LAST: &str = r#"[{"verb":"office","slots":{}}]"#;
/// For whom all customers work. A unit that knows it from one answer knows it again in the next.
const COMPANY: &str = "canary works";

/// A CRM that remembers who asked for what: by customer, or for the office, the idempotency keys.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Api {
    async fn start(&self) -> Site {
        let routes = Router::new().route("/customers/{id}", get(lookup)).route("/office", get(office));
        Site::start(routes.with_state(self.clone())).await
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        self.0.lock().expect("not poisoned")
    }
}

fn key(headers: &HeaderMap) -> String {
    headers["idempotency-key"].to_str().expect("text").to_owned()
}

async fn office(State(api): State<Api>, headers: HeaderMap) -> Json<Value> {
    api.seen().entry("office".into()).or_default().insert(key(&headers));
    Json(json!({ "company": COMPANY }))
}

/// Every tenth customer is unknown.
async fn lookup(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    api.seen().entry(format!("{id} {}", query["email"])).or_default().insert(key(&headers));
    match id[1..].parse().ok().and_then(found) {
        Some(found) => Json(found).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn found(number: u32) -> Option<Value> {
    let tier = if number.is_multiple_of(4) { "gold" } else { "basic" };
    let found = json!({ "email": email(number), "company": COMPANY, "tier": tier, "number": format!("n{number}") });
    (number % 10 != 3).then_some(found)
}

fn email(number: u32) -> String {
    format!("canary{number}@crm.example")
}

fn verbs(origin: &str) -> Value {
    json!({
        "lookup": {
            "method": "GET", "origin": origin, "path": "/customers/{id}", "query": { "email": "{email}", "again": "{again}" },
            "slots": {
                "id": { "type": "id", "bytes_max": 64 },
                "again": { "type": "id", "bytes_max": 64 },
                "email": { "type": "token", "classes": ["email"] }
            },
            "answer": {
                "company": { "at": "/company", "type": "text", "class": "name" },
                "email": { "at": "/email", "type": "text", "class": "email" },
                "number": { "at": "/number", "type": "id", "bytes_max": 64 },
                "tier": { "at": "/tier", "type": "enum", "values": ["gold", "basic"] }
            },
            "effect": "keyed", "idempotency_header": "idempotency-key", "budget": { "per_run": 2 * INPUTS }
        },
        "office": {
            "method": "GET", "origin": origin, "path": "/office",
            "answer": { "company": { "at": "/company", "type": "text", "class": "name" } },
            "effect": "keyed", "idempotency_header": "idempotency-key", "budget": { "per_run": INPUTS }
        }
    })
}

/// What the job asks for first, as its input says it: of the same customer in all four places, if it is real.
fn input(number: u32) -> Vec<u8> {
    let id = format!("c{number}");
    let call = json!({ "verb": "lookup", "slots": { "id": id, "again": id, "email": email(number) } });
    json!([call, call]).to_string().into_bytes()
}

fn inputs() -> Vec<Vec<u8>> {
    (0..INPUTS).map(input).collect()
}

/// A coordinator that may reach `site`, with the job, approved.
async fn start(site: &Site) -> Coordinator {
    let origin = site.origin();
    let allow: &'static str = Box::leak(format!("calls.allow={origin}").into_boxed_str());
    let settings = ["verification.decoys_permille=400", allow];
    let coordinator = Coordinator::start_with(&[SOON_TRUSTED, &settings].concat()).await;
    let verbs = serde_json::from_value(verbs(&origin)).expect("verbs");
    let sensitive = json!([{ "at": "$[*].slots.email", "class": "email" }]);
    let sensitive = serde_json::from_value(sensitive).expect("fields");
    let name = "letters".parse().expect("a name");
    let caller = jobs::caller("letters", json!({})).manifest;
    let job = jobs::caller_then(Manifest { name, codec: Codec::Json, verbs, sensitive, ..caller }, LAST);
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let plan: PlanView = coordinator.get("/v1/jobs/letters/plan").await.expect("a plan");
    let approved = coordinator.request(Method::PUT, &format!("/v1/plans/{}", plan.digest)).send().await;
    assert!(approved.expect("an answer").status().is_success());
    coordinator
}

/// What a worker was given to read in a step of a unit.
struct Read {
    worker: WorkerId,
    unit: Unit,
    /// The input, then answers.
    texts: Vec<Vec<u8>>,
}

impl Read {
    fn number(&self) -> u32 {
        self.unit.lease.task.index
    }

    /// Whether it was made up: nobody but who submitted the inputs knows by what. Four places are the same by chance in one of 200,000.
    fn is_made_up(&self) -> bool {
        let calls: Value = serde_json::from_slice(&self.texts[0]).expect("JSON");
        let places = [0, 1].map(|call| ["id", "again"].map(|slot| &calls[call]["slots"][slot]));
        places.iter().flatten().any(|id| *id != places[0][0])
    }

    /// To each of its requests, if it has been answered.
    fn answers(&self) -> Option<Vec<Value>> {
        let answers = |text: &Vec<u8>| serde_json::from_slice(text).expect("JSON");
        (self.texts.len() > 2).then(|| self.texts[1..].iter().map(answers).collect())
    }
}

/// An honest worker with the job in its head, which keeps all that it sees, and comes back when the coordinator does.
async fn lend_a_hand(join: String, seed: [u8; 32], seen: mpsc::UnboundedSender<Read>) {
    loop {
        let connect = async || Worker::connect(&join, Keypair::from_seed(&seed)).await.ok();
        let mut worker = until("the coordinator is there", connect).await;
        let mut alive = worker.send(&ClientMessage::Want(4)).await;
        while alive.is_ok() {
            alive = match worker.receive().await {
                Ok(ServerMessage::Grant(grant)) => {
                    let mut sent = Ok(());
                    for unit in Unit::all(&grant) {
                        let texts = match unit.lease.task.step {
                            0 => vec![unit.input.to_vec()],
                            _ => {
                                let texts = manyhands_abi::parts::decode(&unit.input).expect("a frame");
                                texts.into_iter().map(<[u8]>::to_vec).collect()
                            }
                        };
                        let done = match &texts[..] {
                            [input] => worker.asked(&unit, input.clone(), 1_000),
                            [_, _] => worker.asked(&unit, LAST.into(), 1_000),
                            [_, first, last, ..] => {
                                let output = [&b"["[..], first, b",", last, b"]"].concat();
                                worker.done([(&unit, output)], 1_000)
                            }
                            [] => unreachable!("it has an input"),
                        };
                        sent = worker.send(&ClientMessage::Done(done)).await;
                        seen.send(Read { worker: worker.id(), unit, texts }).expect("the test goes on");
                    }
                    sent
                }
                Ok(ServerMessage::Receipts(_)) => worker.send(&ClientMessage::Want(4)).await,
                Ok(_) => Ok(()),
                Err(lost) => Err(lost),
            };
        }
    }
}

struct Workers {
    tasks: JoinSet<()>,
    seen: mpsc::UnboundedReceiver<Read>,
    all: Vec<Read>,
}

impl Workers {
    fn start(coordinator: &Coordinator) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for number in 0..6 {
            let mut seed = [number; 32];
            getrandom::fill(&mut seed).expect("random bytes");
            tasks.spawn(lend_a_hand(coordinator.join(), seed, sender.clone()));
        }
        Self { tasks, seen, all: Vec::new() }
    }

    /// Waits until somebody was given this.
    async fn until(&mut self, is_it: impl Fn(&Read) -> bool) {
        loop {
            let read = tokio::time::timeout(manyhands_tests::PATIENCE, self.seen.recv()).await;
            let read = read.expect("it comes in time").expect("workers are there");
            let found = is_it(&read);
            self.all.push(read);
            if found {
                return;
            }
        }
    }

    async fn ended(mut self) -> Vec<Read> {
        self.tasks.shutdown().await;
        while let Some(read) = self.seen.recv().await {
            self.all.push(read);
        }
        self.all
    }
}

/// The answers that a unit got, of each of these.
fn answered(seen: &[Read], is_made_up: bool) -> BTreeMap<u32, Vec<(&Read, Vec<Value>)>> {
    let mut answered: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for read in seen.iter().filter(|read| read.is_made_up() == is_made_up) {
        if let Some(answers) = read.answers() {
            answered.entry(read.number()).or_default().push((read, answers));
        }
    }
    answered
}

/// The answers to its requests.
fn output(number: u32) -> Value {
    let heard = match found(number) {
        Some(found) => json!({ "status": 200, "answer": found }),
        None => json!({ "fault": "status", "status": 404 }),
    };
    json!([[heard, heard], [{ "status": 200, "answer": { "company": COMPANY } }]])
}

async fn audit(coordinator: &Coordinator) -> String {
    let log = coordinator.request(Method::GET, "/v1/audit").send().await.expect("an answer");
    log.text().await.expect("the log")
}

async fn finished(coordinator: &Coordinator, run: RunId) {
    let ended: RunView = coordinator.done(run, INPUTS.into()).await;
    assert_eq!((ended.units.total, ended.units.done, ended.dissents), (INPUTS.into(), INPUTS.into(), 0));
    let ended = async || (coordinator.run(run).await.state == RunState::Finished).then_some(());
    until("the run has ended", ended).await;
}

#[tokio::test]
async fn attack_34_what_is_made_up_asks_and_is_answered_and_nobody_outside_hears_of_it() {
    let api = Api::default();
    let site = api.start().await;
    let mut coordinator = start(&site).await;
    let _runners = coordinator.runners(1).await;
    let run = coordinator.submit("letters&verify=full:1e-3", &inputs()).await.expect("submitted");
    let mut workers = Workers::start(&coordinator);
    // In the middle: some decoys have their answers, some are asking, some wait.
    workers.until(|read| read.is_made_up() && read.answers().is_some()).await;
    coordinator.kill();
    coordinator.restart().await;
    finished(&coordinator, run.id).await;
    let seen = workers.ended().await;

    let (made_up, real) = (answered(&seen, true), answered(&seen, false));
    assert!(made_up.len() >= 5, "{} decoys were answered", made_up.len());

    // What was submitted was sent, and nothing else: whoever asked besides would have had a key of its own.
    let office = api.seen().remove("office").expect("it was asked for");
    assert_eq!(office.len(), INPUTS as usize);
    let customers: BTreeSet<String> = (0..INPUTS).map(|number| format!("c{number} {}", email(number))).collect();
    assert_eq!(api.seen().keys().cloned().collect::<BTreeSet<_>>(), customers);
    for (customer, keys) in &*api.seen() {
        assert_eq!(keys.len(), 2, "{customer} was asked for with {keys:?}");
    }

    // Every replica is given the same, in its own tokens, before and after the crash.
    for replicas in made_up.values().chain(real.values()) {
        let forms: BTreeSet<String> = replicas.iter().map(|(read, _)| form(&read.texts)).collect();
        assert_eq!(forms.len(), 1, "{forms:?}");
    }
    // What they read is what real ones read: answers of the same form, the same values, and tokens that stand where they do in those.
    let mut known_again = 0;
    let mut tokens: BTreeMap<Token, (u32, WorkerId)> = BTreeMap::new();
    for (units, is_made_up) in [(&made_up, true), (&real, false)] {
        for (number, replicas) in units {
            for (read, answers) in replicas {
                let calls: Value = serde_json::from_slice(&read.texts[0]).expect("JSON");
                let mut companies = Vec::new();
                for (call, heard) in list(&calls).iter().zip(list(&answers[0])) {
                    let Some(found) = heard.get("answer") else {
                        assert_eq!(*heard, json!({ "fault": "status", "status": 404 }));
                        continue;
                    };
                    assert_eq!(heard["status"], 200);
                    let text = |name: &str| found[name].as_str().expect("text");
                    // What a unit knew it knows again.
                    let known = [0, 1].map(|call| &calls[call]["slots"]["email"]);
                    assert!(known.contains(&&found["email"]), "{calls} {answers:?}");
                    assert!(["gold", "basic"].contains(&text("tier")), "{found}");
                    companies.push(text("company").parse::<Token>().expect("a token"));
                    let of: u32 = text("number")[1..].parse().expect("a number");
                    assert!(of < INPUTS && of % 10 != 3, "{found}");
                    assert!(is_made_up || call["slots"]["id"] == format!("c{of}"), "{calls} {answers:?}");
                }
                let company = answers[1][0]["answer"]["company"].as_str().expect("text").parse::<Token>();
                let company = company.expect("a token");
                let is_known = companies.contains(&company);
                if is_made_up {
                    // Its answers hang together as those of the units do of which they are drawn: mostly.
                    known_again += u32::from(is_known);
                } else {
                    assert!(is_known != companies.is_empty(), "what it was told before it knows again: {answers:?}");
                }
                for text in &read.texts {
                    assert!(!String::from_utf8_lossy(text).contains("canary"));
                    for (_, token) in manyhands_placeholder::token::find(text) {
                        let whose = *tokens.entry(token).or_insert((*number, read.worker));
                        assert_eq!(
                            whose,
                            (*number, read.worker),
                            "a token of a unit and a worker is another's as well"
                        );
                    }
                }
            }
        }
    }

    assert!(known_again > 0, "no decoy knows again what it was told");

    // Nobody who asks about calls hears of one, and all of them are in the log.
    let unknown: UnknownCalls = coordinator.get("/v1/calls/unknown").await.expect("a list");
    assert!(unknown.calls.is_empty());
    let log = audit(&coordinator).await;
    let mut claimed = BTreeSet::new();
    for line in log.lines().filter(|line| line.contains("\"verb\":")) {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        claimed.insert(find(&entry, "unit").expect("a unit").to_string());
    }
    assert_eq!(claimed.len(), INPUTS as usize, "{claimed:?}");
    assert!(claimed.iter().all(|unit| !unit.contains("21474836")), "{claimed:?}");

    let outputs = coordinator.outputs(run.id).await;
    for (number, text) in (0..).zip(&outputs) {
        assert_eq!(serde_json::from_slice::<Value>(text).expect("JSON"), output(number));
    }
    let problems: Value = coordinator.post("/v1/check", "").await.expect("a check");
    assert_eq!(problems["problems"], json!([]));
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// Texts with the numbers of their tokens, in order, in the place of these.
fn form(texts: &[Vec<u8>]) -> String {
    let mut text = texts.iter().map(|text| String::from_utf8_lossy(text)).collect::<Vec<_>>().join("\n");
    let mut known: Vec<Token> = Vec::new();
    for (_, token) in manyhands_placeholder::token::find(text.clone().as_bytes()) {
        if !known.contains(&token) {
            known.push(token);
        }
    }
    for (number, token) in known.iter().enumerate() {
        text = text.replace(token.as_str(), &format!("token {number}"));
    }
    text
}

/// The first value under this key, wherever it is.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|value| find(value, key))),
        Value::Array(list) => list.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

#[tokio::test]
async fn in_a_dry_run_decoys_hear_what_the_others_hear() {
    let api = Api::default();
    let site = api.start().await;
    let coordinator = start(&site).await;
    let run = coordinator.submit("letters&verify=full:1e-3&dry_run=true", &inputs()).await.expect("submitted");
    let workers = Workers::start(&coordinator);
    finished(&coordinator, run.id).await;
    let seen = workers.ended().await;
    let made_up = answered(&seen, true);
    assert!(made_up.len() >= 5, "{} decoys were answered", made_up.len());
    for (_, answers) in made_up.values().flatten() {
        let dry = json!({ "fault": "dry_run" });
        assert_eq!(*answers, [json!([dry, dry]), json!([dry])]);
    }
    assert!(api.seen().is_empty());
    let unsent = coordinator.request(Method::GET, &format!("/v1/runs/{}/unsent", run.id)).send().await;
    let unsent = unsent.expect("an answer").text().await.expect("lines");
    let calls: Vec<Value> = unsent.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(calls.len(), 3 * INPUTS as usize);
    assert!(calls.iter().all(|call| call["unit"].as_u64().is_some_and(|unit| unit < INPUTS.into())));
}
