//! Whoever asks too often, or the same again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use futures::future::join_all;
use manyhands_api::{CreatedToken, NewToken, PlanView, Problem, Role, RunList, RunView};
use manyhands_model::{Codec, RunId};
use manyhands_protocol::{ClientMessage, ServerMessage};
use manyhands_signing::Keypair;
use manyhands_tests::{Coordinator, Lost, Site, Worker, jobs, until};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

/// A requester of that name; returns the token.
async fn requester(coordinator: &Coordinator, name: &str) -> String {
    let new = NewToken { name: name.into(), role: Role::Requester };
    let created = coordinator.request(Method::POST, "/v1/tokens").json(&new).send().await.expect("an answer");
    created.json::<CreatedToken>().await.expect("a token").token
}

/// How many of `answers` are well; the others say that they come too often, and when to come again.
async fn admitted(answers: Vec<Response>) -> u64 {
    let mut admitted = 0;
    for answer in answers {
        if answer.status() != StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.status(), StatusCode::OK);
            admitted += 1;
            continue;
        }
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let after = answer.headers()["retry-after"].to_str().expect("text").parse().ok();
        let problem: Problem = answer.json().await.expect("a problem document");
        assert_eq!(problem.kind, "/problems/too-many-requests");
        assert_eq!((problem.status, problem.retry_after_seconds), (429, after));
        assert!(after.is_some_and(|seconds| seconds >= 1), "{problem:?}");
    }
    admitted
}

const FLOOD: u64 = 100;

#[tokio::test]
async fn attack_31_a_flood_by_one_identity_is_refused_and_others_are_served() {
    let settings = ["throttling.requester_per_second=5", "throttling.burst_seconds=2"];
    let coordinator = Coordinator::start_with(&settings).await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runners = coordinator.runners(2).await;
    let (mallory, ada) = (requester(&coordinator, "mallory").await, requester(&coordinator, "ada").await);
    let invoke = async |token: &str, number: u64| {
        let request = coordinator.anonymous(Method::POST, "/v1/jobs/parrot/invoke").bearer_auth(token);
        request.body(format!("[{number}]")).send().await.expect("an answer")
    };

    let began = Instant::now();
    let flood = join_all((0..FLOOD).map(|number| invoke(&mallory, number)));
    // As many as ada may: none of them is refused, from the same address and at the same time.
    let honest = join_all((0..10).map(|number| invoke(&ada, number)));
    let (flood, honest) = tokio::join!(flood, honest);
    let most = 10 + 5 * (began.elapsed().as_secs() + 1);
    assert_eq!(admitted(honest).await, 10, "ada is served");
    let of_mallory = admitted(flood).await;
    assert!((10..=most).contains(&of_mallory), "{of_mallory} of at most {most}");

    // What was refused was not begun either.
    let runs: RunList = coordinator.get("/v1/runs?limit=1000").await.expect("a list");
    let runs_of = |owner: &str| runs.runs.iter().filter(|run| run.owner == owner).count() as u64;
    assert_eq!((runs_of("mallory"), runs_of("ada")), (of_mallory, 10));
    assert_eq!(coordinator.metric(r#"manyhands_throttled_total{who="requester"}"#).await, FLOOD - of_mallory);
    let log = coordinator.process.log();
    assert_eq!(log.matches("a token is used too often").count(), 1, "{log}");
    assert!(!log.contains(&mallory), "the log names the token and does not hold it");
    // Nobody is shut out for good.
    let again = async || (invoke(&mallory, FLOOD).await.status() == StatusCode::OK).then_some(());
    until("mallory may come again", again).await;
}

#[tokio::test]
async fn attack_31_strangers_answer_with_their_address_and_tokens_for_themselves() {
    let settings = ["throttling.address_per_second=1", "throttling.burst_seconds=3"];
    let coordinator = Coordinator::start_with(&settings).await;
    let began = Instant::now();
    let ask = async |path: &str| coordinator.anonymous(Method::GET, path).send().await.expect("an answer");
    let answers = join_all((0..40).map(|_| ask("/join"))).await;
    let (served, most) = (admitted(answers).await, 3 + began.elapsed().as_secs() + 1);
    // The harness may have asked for something itself.
    assert!((1..=most).contains(&served), "{served} of at most {most}");
    let guess = coordinator.anonymous(Method::GET, "/v1/runs").bearer_auth(format!("mht_{}", "a".repeat(52)));
    let refused = async || {
        let answer = guess.try_clone().expect("no body").send().await.expect("an answer");
        (answer.status() == StatusCode::TOO_MANY_REQUESTS).then_some(())
    };
    until("guesses are throttled as well", refused).await;
    let (healthy, operators) = tokio::join!(
        join_all((0..20).map(|_| ask("/readyz"))),
        join_all((0..20).map(|_| coordinator.get::<RunList>("/v1/runs"))),
    );
    assert!(healthy.iter().all(|answer| answer.status() == StatusCode::OK), "{healthy:?}");
    assert!(operators.iter().all(Result::is_ok), "{operators:?}");
}

#[tokio::test]
async fn a_worker_that_connects_too_often_is_told_when_to_come_and_then_let_in() {
    let settings = ["throttling.worker_connections_per_second=1", "throttling.burst_seconds=1"];
    let coordinator = Coordinator::start_with(&settings).await;
    let (join, key) = (coordinator.join(), || Keypair::from_seed(&[31; 32]));
    let refused = async || match Worker::connect(&join, key()).await {
        Ok(_) => None,
        Err(Lost::Refused { reason, retry_after }) => Some((reason, retry_after)),
        Err(lost) => panic!("{lost}"),
    };
    let (reason, retry_after) = until("it comes too often", refused).await;
    assert!(reason.contains("more often") && retry_after.is_some(), "{reason}: {retry_after:?}");
    Worker::connect(&join, Worker::new_key()).await.expect("another one is welcome");
    until("it may come again", async || Worker::connect(&join, key()).await.ok()).await;
    assert!(coordinator.metric(r#"manyhands_throttled_total{who="worker"}"#).await >= 1);
    assert!(coordinator.metric(r#"manyhands_workers_refused_total{reason="throttled"}"#).await >= 1);
}

#[tokio::test]
async fn a_worker_that_says_too_much_is_heard_later_and_nothing_is_lost() {
    let coordinator = Coordinator::start_with(&["throttling.worker_messages_per_second=200"]).await;
    let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("welcome");
    const PINGS: usize = 400;
    for _ in 0..PINGS {
        worker.send(&ClientMessage::Ping).await.expect("connected");
    }
    for _ in 0..PINGS {
        assert_eq!(worker.receive().await.expect("connected"), ServerMessage::Pong);
    }
    assert!(coordinator.metric(r#"manyhands_delayed_total{what="message"}"#).await > 0);
}

/// To whom letters were sent, in order.
type Letters = Arc<Mutex<Vec<String>>>;

async fn send(State(letters): State<Letters>, axum::Json(letter): axum::Json<Value>) -> axum::Json<Value> {
    letters.lock().expect("not poisoned").push(letter["to"].as_str().expect("text").to_owned());
    axum::Json(json!({ "id": "m-1" }))
}

#[tokio::test]
async fn attack_31_a_flood_of_calls_waits_its_turn_and_others_need_not() {
    let letters = Letters::default();
    let site = Site::start(Router::new().route("/v1/messages", post(send)).with_state(Arc::clone(&letters))).await;
    let allow: &'static str = Box::leak(format!("calls.allow={}", site.origin()).into_boxed_str());
    let settings = [allow, "throttling.requester_calls_per_second=5", "throttling.burst_seconds=1"];
    let coordinator = Coordinator::start_with(&settings).await;
    let verbs = json!({ "send": {
        "method": "POST", "origin": site.origin(), "path": "/v1/messages", "json": { "to": "{to}" },
        "slots": { "to": { "type": "id", "bytes_max": 64 } },
        "answer": { "message": { "at": "/id", "type": "id", "bytes_max": 64 } },
        "effect": "keyed", "idempotency_header": "idempotency-key", "budget": { "per_run": 100 }
    } });
    let job = jobs::caller("caller", verbs);
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let plan: PlanView = coordinator.get("/v1/jobs/caller/plan").await.expect("a plan");
    let approved = coordinator.request(Method::PUT, &format!("/v1/plans/{}", plan.digest)).send().await;
    assert!(approved.expect("an answer").status().is_success());
    let _runners = coordinator.runners(2).await;
    let (mallory, ada) = (requester(&coordinator, "mallory").await, requester(&coordinator, "ada").await);
    let submit = async |token: &str, body: String| {
        let request = coordinator.anonymous(Method::POST, "/v1/runs?job=caller").bearer_auth(token);
        request.body(body).send().await.expect("an answer").json::<RunView>().await.expect("a run").id
    };
    let letter = |to: &str| json!([{ "verb": "send", "slots": { "to": to } }]).to_string() + "\n";

    // Ten times what may be sent in a second.
    let began = Instant::now();
    let flood = submit(&mallory, (0..50).map(|number| letter(&format!("m{number}"))).collect()).await;
    let of_mallory = || letters.lock().expect("not poisoned").iter().filter(|to| to.starts_with('m')).count();
    until("the flood has begun", async || (of_mallory() > 0).then_some(())).await;
    let run = submit(&ada, letter("ada")).await;
    let answered = b"[{\"status\":200,\"answer\":{\"message\":\"m-1\"}}]\n".to_vec();
    let output = coordinator.outputs(run).await;
    assert_eq!(output.iter().map(|output| output.trim_ascii()).collect::<Vec<_>>(), [answered.trim_ascii()]);
    let (sent, most) = (of_mallory(), 5 + 5 * (began.elapsed().as_secs() as usize + 1));
    assert!(sent <= most, "{sent} of at most {most}");

    // Nothing of the flood fails for it; the rest only comes later than what others want.
    for output in coordinator.outputs(flood).await {
        assert_eq!(output.trim_ascii(), answered.trim_ascii());
    }
    assert!(began.elapsed().as_secs() >= 8, "forty-five of them wait, a fifth of a second each");
    let sent = letters.lock().expect("not poisoned").clone();
    assert_eq!(sent.len(), 51, "each once");
    assert_ne!(sent.last().map(String::as_str), Some("ada"), "{sent:?}");
    assert!(coordinator.metric(r#"manyhands_delayed_total{what="calls"}"#).await > 0);
}

/// A raw job whose answer is its seed.
fn seeded() -> jobs::Job {
    let manifest = jobs::manifest("seeded", Codec::Raw);
    let body = r#"
        (import "manyhands_v1" "seed_read" (func $seed_read (param i32)))
        (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "manyhands_run")
          (call $seed_read (i32.const 0))
          (call $output_write (i32.const 0) (i32.const 32)))"#;
    jobs::Job { module: jobs::assemble(&manifest, body), manifest }
}

/// What an invocation is answered with.
#[derive(Debug, PartialEq)]
struct Told {
    status: u16,
    /// Of the run that answered.
    run: Option<String>,
    /// Whether it was known.
    known: bool,
    body: Vec<u8>,
}

struct Asker<'a> {
    coordinator: &'a Coordinator,
    tokens: BTreeMap<&'static str, String>,
}

impl Asker<'_> {
    async fn ask(&self, who: &str, job: &str, input: &'static str, headers: &[(&'static str, &'static str)]) -> Told {
        let path = format!("/v1/jobs/{job}");
        let mut request = self.coordinator.anonymous(Method::POST, &path).bearer_auth(&self.tokens[who]).body(input);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let (run, known) = (header("manyhands-run"), header("cache-status").as_deref() == Some("manyhands; hit"));
        let status = answer.status().as_u16();
        Told { status, run, known, body: answer.bytes().await.expect("a body").to_vec() }
    }
}

async fn askers(coordinator: &Coordinator) -> Asker<'_> {
    for job in [jobs::parrot(), seeded()] {
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
    }
    let (ada, bob) = (requester(coordinator, "ada").await, requester(coordinator, "bob").await);
    Asker { coordinator, tokens: BTreeMap::from([("ada", ada), ("bob", bob)]) }
}

#[tokio::test]
async fn attack_43_a_repeated_question_is_answered_from_its_own_tenants_result_alone() {
    let mut coordinator = Coordinator::start().await;
    let runners = coordinator.runners(2).await;
    let asker = askers(&coordinator).await;
    let parrot = async |who, replicas: u8, input, headers| {
        let told = asker.ask(who, &format!("parrot/invoke?replicas={replicas}"), input, headers).await;
        assert_eq!((told.status, &*told.body), (200, input.as_bytes()));
        (told.run, told.known)
    };

    let (first, known) = parrot("ada", 1, "[1]", &[]).await;
    assert!(!known && first.is_some());
    assert_eq!(parrot("ada", 1, "[1]", &[]).await, (first.clone(), true));
    // Other questions: another input, more workers that have to agree, one that wants to have it executed.
    assert!(!parrot("ada", 1, "[ 1]", &[]).await.1);
    let (second, known) = parrot("ada", 2, "[1]", &[]).await;
    assert!(!known && second != first);
    assert_eq!(parrot("ada", 1, "[1]", &[]).await, (second.clone(), true), "two vouch for more than one");
    let (third, known) = parrot("ada", 2, "[1]", &[("cache-control", "no-cache")]).await;
    assert!(!known && third != second);
    // Another tenant, whoever asked the same before.
    let (of_bob, known) = parrot("bob", 1, "[1]", &[]).await;
    assert!(!known && of_bob.is_some() && of_bob != third);
    assert_eq!(parrot("bob", 1, "[1]", &[]).await, (of_bob, true));

    // What depends on more than the input is executed each time.
    let seeded = async || asker.ask("ada", "seeded/invoke", "x", &[]).await;
    let (one, other) = (seeded().await, seeded().await);
    assert_eq!((one.status, one.body.len(), one.known, other.known), (200, 32, false, false));
    assert_ne!(one.body, other.body);

    // A failure is a fact as well.
    let fails = async |query: &str| asker.ask("ada", &format!("parrot/invoke{query}"), "1", &[]).await.status;
    assert_eq!(fails("").await, 422);
    let newest: RunList = coordinator.get("/v1/runs?limit=1").await.expect("a list");
    let failed = newest.runs[0].id;
    drop(runners);
    until("nobody executes anything", async || (coordinator.connected().await == 0).then_some(())).await;
    assert_eq!(fails("?timeout_ms=100").await, 422);
    assert_eq!(coordinator.metric("manyhands_repeats_total").await, 4);
    // What is tried again answers nobody.
    let _retried: RunView = coordinator.post(&format!("/v1/runs/{failed}/retry"), "").await.expect("tried again");
    assert_eq!(fails("?timeout_ms=100").await, 504);

    assert_eq!(parrot("ada", 2, "[1]", &[]).await, (third.clone(), true), "without anybody who executes it");
    assert_eq!(asker.ask("bob", "parrot/invoke?timeout_ms=100", "[ 1]", &[]).await.status, 504);
    let tokens = asker.tokens;
    coordinator.kill();
    coordinator.restart().await;
    let asker = Asker { coordinator: &coordinator, tokens };
    let told = asker.ask("ada", "parrot/invoke?replicas=2", "[1]", &[]).await;
    assert_eq!((told.status, told.run, told.known), (200, third, true), "it is on the disk");
}

#[tokio::test]
async fn attack_43_tenants_share_answers_only_where_the_operator_says_so() {
    for (setting, own, others) in [("scheduling.repeats=off", false, false), ("scheduling.repeats=all", true, true)] {
        let coordinator = Coordinator::start_with(&[setting]).await;
        let _runners = coordinator.runners(2).await;
        let asker = askers(&coordinator).await;
        let ask = async |who| asker.ask(who, "parrot/invoke", "[1]", &[]).await;
        let first = ask("ada").await;
        assert_eq!((first.status, first.known, first.run.is_some()), (200, false, true), "{setting}");
        assert_eq!(ask("ada").await.known, own, "{setting}");
        let of_bob = ask("bob").await;
        assert_eq!((of_bob.status, of_bob.known, &of_bob.body), (200, others, &first.body), "{setting}");
        assert_eq!(of_bob.run.is_some(), !others, "{setting}: another's run has no name");
    }
}

/// Submits a run of lines, and says how that was answered: status, run, whether it was known.
async fn submits(asker: &Asker<'_>, who: &str, query: &str, lines: &'static str) -> (u16, RunId, bool) {
    let request =
        asker.coordinator.anonymous(Method::POST, &format!("/v1/runs?{query}")).bearer_auth(&asker.tokens[who]);
    let answer = request.header("content-type", "application/x-ndjson").body(lines).send().await.expect("an answer");
    let (status, known) = (answer.status().as_u16(), answer.headers().get("cache-status").cloned());
    let run: RunView = answer.json().await.expect("a run");
    (status, run.id, known.is_some_and(|known| known == "manyhands; hit"))
}

#[tokio::test]
async fn a_run_that_is_submitted_again_is_answered_with_the_one_before_if_that_is_asked_for() {
    let mut coordinator = Coordinator::start().await;
    let runners = coordinator.runners(2).await;
    let asker = askers(&coordinator).await;
    let again = "job=parrot&replicas=2&reuse=true";
    let lines = "[1]\n[2]\n3\n";
    let (status, first, known) = submits(&asker, "ada", again, lines).await;
    assert_eq!((status, known), (201, false));
    assert_eq!(coordinator.results(first).await.len(), 3);
    assert_eq!(submits(&asker, "ada", again, lines).await, (200, first, true));
    // Who does not ask for it, asks something else, or is somebody else, gets a run of their own.
    for (who, query, lines) in [
        ("ada", "job=parrot&replicas=2", lines),
        ("ada", "job=parrot&replicas=1&reuse=true", lines),
        ("ada", again, "[2]\n[1]\n3\n"),
        ("bob", again, lines),
        ("ada", "job=seeded&reuse=true", "x\n"),
        ("ada", "job=seeded&reuse=true", "x\n"),
    ] {
        let (status, run, known) = submits(&asker, who, query, lines).await;
        assert!((status, known) == (201, false) && run != first, "{who} {query}");
        coordinator.results(run).await;
    }
    // The newest answers.
    let (_, newest, known) = submits(&asker, "ada", again, lines).await;
    assert!(known && newest != first);
    drop(runners);
    until("nobody executes anything", async || (coordinator.connected().await == 0).then_some(())).await;
    let (_, unanswered, known) = submits(&asker, "ada", again, "[9]\n").await;
    assert!(!known);
    let (_, other, known) = submits(&asker, "ada", again, "[9]\n").await;
    assert!(!known && other != unanswered, "what is not answered yet answers nobody");
    let tokens = asker.tokens;
    coordinator.kill();
    coordinator.restart().await;
    let asker = Asker { coordinator: &coordinator, tokens };
    assert_eq!(submits(&asker, "ada", again, lines).await, (200, newest, true), "it is on the disk");
}
