//! Attacks on the whole that belong to no single part: leases and greetings of others, echoes, and URLs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, HOST, LOCATION};
use axum::http::{HeaderMap, Uri};
use axum::response::IntoResponse;
use axum::routing::{any, post};
use flate2::Compression;
use flate2::write::GzEncoder;
use manyhands_api::PlanView;
use manyhands_canaries::all_forms;
use manyhands_model::{Codec, Digest, Fuel, Manifest, Outcome, Verdict};
use manyhands_protocol::{ClientMessage, Done, Greeting, Hello, Receipt, Report, Reports};
use manyhands_signing::Signed;
use manyhands_tests::{Coordinator, Lost, Site, Unit, Worker, jobs};
use reqwest::Method;
use serde_json::{Value, json};

/// The next unit that a worker gets. One at a time: whoever is new gets few at once.
async fn next(worker: &mut Worker) -> Unit {
    worker.units(1).await.expect("a grant").remove(0)
}

async fn put(coordinator: &Coordinator, path: &str, body: Value) {
    let answer = coordinator.request(Method::PUT, path).json(&body).send().await.expect("an answer");
    let status = answer.status();
    assert!(status.is_success(), "{path}: {status}: {}", answer.text().await.unwrap_or_default());
}

/// A coordinator that may reach `site`, with an approved job; `crm_key` is sent there.
async fn calling(site: &Site, job: &jobs::Job, secret: &str) -> Coordinator {
    let setting: &'static str = Box::leak(format!("calls.allow={}", site.origin()).into_boxed_str());
    let coordinator = Coordinator::start_with(&[setting]).await;
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let plan: PlanView = coordinator.get(&format!("/v1/jobs/{}/plan", job.manifest.name)).await.expect("a plan");
    put(&coordinator, &format!("/v1/plans/{}", plan.digest), Value::Null).await;
    put(&coordinator, "/v1/secrets/crm_key", json!({ "origin": site.origin(), "secret": secret })).await;
    coordinator
}

#[tokio::test]
async fn attack_41_a_lease_serves_nobody_but_the_worker_to_whom_it_was_given() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let run = coordinator.submit("hasher&replicas=2&replicas_max=2", &jobs::texts(2)).await.expect("submitted");
    let connect = async || Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
    let (mut alice, mut bob) = (connect().await, connect().await);
    let (unit, second) = (&next(&mut alice).await, &next(&mut alice).await);
    let other = coordinator.submit("hasher&replicas=2&replicas_max=2", &jobs::texts(1)).await.expect("submitted");
    let lie = vec![7; 8];
    let refused = |receipt: Receipt| match receipt {
        Receipt::Refused(reason) => assert!(reason.contains("gave no such lease to this worker"), "{reason}"),
        other => panic!("{other:?}"),
    };

    // Stolen as it is.
    refused(bob.report(unit, &lie, 7).await.expect("a receipt"));
    // Changed: every part of it is in the coordinator's code.
    let changed = |change: &dyn Fn(&mut Unit)| {
        let mut unit = unit.clone();
        change(&mut unit);
        unit
    };
    for forged in [
        changed(&|unit| unit.lease.id = second.lease.id),
        changed(&|unit| unit.lease.ticket = second.lease.ticket),
        changed(&|unit| unit.lease.task.index = 1),
        changed(&|unit| unit.lease.task.step = 1),
        changed(&|unit| unit.lease.task.seed[0] ^= 1),
        changed(&|unit| unit.lease.task.input = Digest::of(b"another input")),
        changed(&|unit| unit.run = other.id),
        changed(&|unit| unit.module = Digest::of(b"another module")),
    ] {
        refused(alice.report(&forged, &lie, 7).await.expect("a receipt"));
        refused(bob.report(&forged, &lie, 7).await.expect("a receipt"));
    }
    // Somebody else's word, passed on: it is not signed by who says it.
    let genuine = alice.done([(unit, lie.clone())], 7);
    bob.send(&ClientMessage::Done(genuine)).await.expect("sent");
    assert!(matches!(bob.receive().await, Err(Lost::Refused { .. })), "the connection ends");

    // None of that was a vote, and a vote counts once, however often it is said.
    let right = jobs::hash(&unit.input);
    for expected in [Receipt::Recorded, Receipt::AlreadyRecorded, Receipt::AlreadyRecorded] {
        assert_eq!(alice.report(unit, &right, 7).await.expect("a receipt"), expected);
    }
    let seen: manyhands_api::UnitView =
        coordinator.get(&format!("/v1/runs/{}/units/{}", run.id, unit.lease.task.index)).await.expect("a unit");
    assert_eq!((seen.replicas.len(), seen.replicas[0].worker, seen.replicas[0].agrees), (1, alice.id(), None));
    assert_eq!(alice.report(second, &jobs::hash(&second.input), 7).await.expect("a receipt"), Receipt::Recorded);
    let mut carol = connect().await;
    for (worker, units) in [(&mut alice, 1), (&mut carol, 3)] {
        for _ in 0..units {
            let unit = next(worker).await;
            let right = jobs::hash(&unit.input);
            assert_eq!(worker.report(&unit, &right, 7).await.expect("a receipt"), Receipt::Recorded);
        }
    }
    for (run, texts) in [(run.id, jobs::texts(2)), (other.id, jobs::texts(1))] {
        let right: Vec<_> = texts.iter().map(|text| jobs::hash(text)).collect();
        assert_eq!(coordinator.outputs(run).await, right);
    }
}

#[tokio::test]
async fn attack_41_a_greeting_answers_one_challenge_of_one_coordinator() {
    let (coordinator, elsewhere) = (Coordinator::start().await, Coordinator::start().await);
    let body = || manyhands_protocol::Body { engine: "wasmtime 48".into(), runtime: "manyhands-tests".into() };
    let mut overheard: Vec<Hello> = Vec::new();
    let greeting =
        |challenge: &manyhands_protocol::Challenge| Greeting { nonce: challenge.nonce, coordinator: challenge.root };
    let (here, there) = (coordinator.join(), elsewhere.join());
    for join in [&here, &there] {
        let connected = Worker::connect_with(join, Worker::new_key(), |key, challenge| {
            let greeting = Signed::new(key, &greeting(challenge));
            let hello = Hello { greeting, body: body(), slots: 2, is_watched: false, invitation: None };
            overheard.push(hello.clone());
            hello
        });
        connected.await.expect("connected");
    }
    let refused = |lost: Lost| match lost {
        Lost::Refused { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    // What somebody said before, here or elsewhere.
    for hello in overheard {
        let again = Worker::connect_with(&here, Worker::new_key(), |_, _| hello);
        assert!(refused(again.await.err().expect("refused")).contains("another challenge"));
    }
    // This challenge, signed for another coordinator, who passes it on.
    let relayed = Worker::connect_with(&here, Worker::new_key(), |key, challenge| {
        let wrong = Greeting { coordinator: Worker::new_key().public(), ..greeting(challenge) };
        Hello { greeting: Signed::new(key, &wrong), body: body(), slots: 2, is_watched: false, invitation: None }
    });
    assert!(refused(relayed.await.err().expect("refused")).contains("another challenge"));
    assert_eq!(coordinator.connected().await, 0);
}

const EMAIL: &str = "ann.lee+7@mail.example.com";
const CARD: &str = "4111111111111111";
const SECRET: &str = "sk_live_9aZ/b+Q=Tail51xk";
/// Whatever it is: an id that says nothing, by which is seen that ids are shown.
const HARMLESS: &str = "m-20261122";

/// Every coding of everything that must not be seen.
fn echoes() -> Vec<(String, Vec<u8>)> {
    let mut echoes = Vec::new();
    for canary in [EMAIL, CARD, SECRET] {
        echoes.extend(all_forms(canary).into_iter().map(|(coding, bytes)| (format!("{canary} {coding}"), bytes)));
        echoes.push((format!("{canary} in capitals"), canary.to_uppercase().into_bytes()));
    }
    echoes
}

/// Repeats what it was told in the coding that the path says, in every field and header that there is.
async fn echo(Path(how): Path<String>, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let told: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&told["to"], &told["card"]), (&json!(EMAIL), &json!(CARD)), "what was in the slots");
    assert_eq!(headers[AUTHORIZATION], format!("Bearer {SECRET}"));
    let echo = how.parse().ok().and_then(|at: usize| echoes().into_iter().nth(at)).map(|(_, bytes)| bytes);
    // Bytes as characters, so that any of them can stand in JSON.
    let echo = echo.map(|bytes| bytes.iter().map(|byte| char::from(*byte)).collect::<String>());
    let number = echo.as_deref().and_then(|echo| echo.parse::<u64>().ok());
    let echo = echo.unwrap_or_else(|| HARMLESS.to_owned());
    let half = echo.char_indices().nth(echo.chars().count() / 2).map_or(0, |(at, _)| at);
    let answer = json!({
        "id": echo, "a": echo[..half], "b": echo[half..], "text": echo, "number": number.unwrap_or(20_261_122),
        echo.as_str(): echo,
    });
    let plain = answer.to_string().into_bytes();
    let link = [("link", format!("<https://evil.example/{SECRET}>; rel=next")), ("set-cookie", format!("a={SECRET}"))];
    if how.len() % 2 == 0 {
        return (link, plain).into_response();
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&plain).expect("into memory");
    (link, [(CONTENT_ENCODING, "gzip")], gzip.finish().expect("into memory")).into_response()
}

/// A verb for each way in which an answer could be shown.
fn echo_verbs(origin: &str) -> Value {
    let id = |at: &str| json!({ "at": at, "type": "id", "bytes_max": 256 });
    let answers = [
        ("ids", json!({ "id": id("/id") })),
        ("halves", json!({ "a": id("/a"), "b": id("/b") })),
        (
            "numbers",
            json!({ "number": { "at": "/number", "type": "integer", "min": 0, "max": 9_000_000_000_000_000_u64 } }),
        ),
        ("texts", json!({ "text": { "at": "/text", "type": "text", "class": "text" } })),
    ];
    let verb = |answer: &Value| {
        json!({
            "method": "POST", "origin": origin, "path": "/echo/{how}",
            "headers": { "authorization": "Bearer {secret:crm_key}" },
            "json": { "to": "{to}", "card": "{card}" },
            "slots": {
                "how": { "type": "id", "bytes_max": 8 },
                "to": { "type": "token", "classes": ["email"] },
                "card": { "type": "token", "classes": ["card"] },
            },
            "answer": answer, "effect": "safe", "budget": { "per_run": 1_000 },
        })
    };
    answers.iter().map(|(name, answer)| ((*name).to_owned(), verb(answer))).collect::<serde_json::Map<_, _>>().into()
}

/// A signed report that a unit asks for calls.
fn asks(worker: &Worker, unit: &Unit, request: &[u8]) -> ClientMessage {
    let verdict = Verdict::Called { calls: Digest::of(request), calls_bytes: request.len() as u64 };
    let report = Report { lease: unit.lease.clone(), outcome: Outcome { verdict, fuel: Fuel(7) } };
    let reports = Reports { run: unit.run, module: unit.module, reports: vec![report] };
    ClientMessage::Done(Done { reports: Signed::new(worker.key(), &reports), outputs: vec![request.to_vec().into()] })
}

#[tokio::test]
async fn attack_15_16_and_17_no_coding_of_what_was_sent_reaches_a_worker() {
    let site = Site::start(Router::new().route("/echo/{how}", post(echo))).await;
    let sensitive = json!([{ "at": "/to", "class": "email" }, { "at": "/card", "class": "card" }]);
    let manifest = Manifest {
        name: "echoer".parse().expect("a name"),
        codec: Codec::Json,
        verbs: serde_json::from_value(echo_verbs(&site.origin())).expect("verbs"),
        sensitive: serde_json::from_value(sensitive).expect("fields"),
        ..jobs::parrot().manifest
    };
    let coordinator = calling(&site, &jobs::caller_of(manifest), SECRET).await;

    // A unit for each verb and some codings, as many as one request may have calls.
    let codings: Vec<String> = (0..echoes().len()).map(|at| at.to_string()).chain(["none".to_owned()]).collect();
    let kinds = ["ids", "halves", "numbers", "texts"];
    let pieces: Vec<(&str, &[String])> =
        kinds.iter().flat_map(|kind| codings.chunks(48).map(|piece| (*kind, piece))).collect();
    let input = json!({ "to": EMAIL, "card": CARD }).to_string().into_bytes();
    let run = coordinator.submit("echoer&replicas=2&replicas_max=2", &vec![input; pieces.len()]).await;
    let run = run.expect("submitted");

    // Whatever could give one of them away, and each half of it.
    let mut patterns = BTreeMap::new();
    for (name, bytes) in echoes() {
        let (one, other) = bytes.split_at(bytes.len() / 2);
        for (what, part) in [("", &bytes[..]), (", the first half", one), (", the second half", other)] {
            if part.len() >= 8 {
                patterns.insert(part.to_ascii_lowercase(), format!("{name}{what}"));
            }
        }
    }
    let work = async || {
        let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
        let (mut withheld, mut shown) = (0, BTreeSet::new());
        // Each unit asks for calls, and gets their answers.
        for _ in 0..2 * pieces.len() {
            let unit = next(&mut worker).await;
            let seen = unit.input.to_ascii_lowercase();
            for (pattern, name) in &patterns {
                assert!(!seen.windows(pattern.len()).any(|part| part == &pattern[..]), "a worker sees {name}");
            }
            let (kind, codings) = pieces[unit.lease.task.index as usize];
            if unit.lease.task.step == 0 {
                let read: Value = serde_json::from_slice(&unit.input).expect("JSON");
                let slots = |how: &String| json!({ "how": how, "to": read["to"], "card": read["card"] });
                let calls: Vec<_> = codings.iter().map(|how| json!({ "verb": kind, "slots": slots(how) })).collect();
                let asked = asks(&worker, &unit, Value::from(calls).to_string().as_bytes());
                worker.send(&asked).await.expect("sent");
                assert_eq!(worker.receipt(unit.lease.id).await.expect("a receipt"), Receipt::Recorded);
                continue;
            }
            let parts = manyhands_abi::parts::decode(&unit.input).expect("an input and answers");
            let answers: Vec<Value> = serde_json::from_slice(parts[1]).expect("a list");
            assert_eq!(answers.len(), codings.len());
            for (how, answer) in codings.iter().zip(&answers) {
                match how.as_str() {
                    // Control: where nothing is repeated, something is shown.
                    "none" => assert_eq!(answer["status"], 200, "{kind}: {answer}"),
                    _ if answer["fault"] == "withheld" => withheld += 1,
                    _ => drop(shown.insert(kind)),
                }
            }
            assert_eq!(worker.report(&unit, b"{}", 7).await.expect("a receipt"), Receipt::Recorded);
        }
        (withheld, shown)
    };
    let ((withheld, shown), same) = tokio::join!(work(), work());
    assert_eq!((withheld, &shown), (same.0, &same.1));
    assert!(shown.contains("texts"), "as tokens");
    assert!(withheld > codings.len(), "{withheld} of {} were withheld", 4 * codings.len());
    assert_eq!(coordinator.outputs(run.id).await, vec![b"{}".to_vec(); pieces.len()]);
    assert_eq!(site.asked().len(), kinds.len() * codings.len(), "each was made once");
}

/// What parsers disagree about, in a slot.
const SLOTS: [&str; 44] = [
    "ann",
    "A-1_2",
    "a.b",
    "~a",
    "0",
    "",
    ".",
    "..",
    "...",
    "%2e",
    "%2e%2e",
    "..%2f..",
    "a/b",
    "/",
    "//evil.example",
    "a//b",
    "\\",
    "\\@evil.example",
    "@evil.example",
    "#@evil.example",
    "#",
    "?",
    "?x=1",
    "&x=1",
    "&",
    "=",
    "a=b",
    "a+b",
    "a b",
    "%",
    "%00",
    "%0d%0aHost: evil.example",
    "a\r\nHost: evil.example",
    "a\n",
    "a\tb",
    "a\0b",
    "a;b",
    "http://evil.example",
    "evil\u{3002}example",
    "\u{ff41}nn",
    "a\u{ad}b",
    "\u{202e}a",
    "xn--a",
    "[::1]",
];

#[tokio::test]
async fn attack_3_what_is_sent_is_what_was_judged_whatever_stands_in_a_slot() {
    type Sent = Arc<Mutex<Vec<(String, String)>>>;
    let sent = Sent::default();
    let kept = Arc::clone(&sent);
    let take = move |uri: Uri, headers: HeaderMap| async move {
        let host = headers[HOST].to_str().expect("text").to_owned();
        kept.lock().expect("not poisoned").push((host, uri.to_string()));
        axum::Json(json!({ "id": "m-1" }))
    };
    let site = Site::start(Router::new().fallback(any(take))).await;
    let lookup = |path: &str, kind: Value| {
        json!({
            "method": "GET", "origin": site.origin(), "path": path,
            "query": { "q": "{q}", "n": "{n}" },
            "slots": {
                "id": { "type": "id", "bytes_max": 64 }, "q": kind, "n": { "type": "integer", "min": 0, "max": 1_000 },
            },
            "answer": { "id": { "at": "/id", "type": "id", "bytes_max": 9 } }, "effect": "safe", "budget": { "per_run": 1_000 },
        })
    };
    let verbs = json!({ "lookup": lookup("/v1/customers/{id}/mail", json!({ "type": "token", "classes": ["text"] })) });
    let manifest = Manifest {
        name: "looker".parse().expect("a name"),
        codec: Codec::Json,
        verbs: serde_json::from_value(verbs).expect("verbs"),
        sensitive: serde_json::from_value(json!([{ "at": "$[*].slots.q", "class": "text" }])).expect("fields"),
        ..jobs::parrot().manifest
    };
    let coordinator = calling(&site, &jobs::caller_of(manifest), "unused").await;
    let _runners = coordinator.runners(2).await;

    // Each of them as what the job says in the path, and as the value of a token in the query.
    let in_path = SLOTS.iter().map(|slot| (*slot, "plain"));
    let asked: Vec<(&str, &str)> = in_path.chain(SLOTS.iter().map(|slot| ("ann", *slot))).collect();
    let call =
        |(n, (id, q)): (usize, &(&str, &str))| json!([{ "verb": "lookup", "slots": { "id": id, "q": q, "n": n } }]);
    let inputs: Vec<Vec<u8>> = asked.iter().enumerate().map(|one| call(one).to_string().into_bytes()).collect();
    let run = coordinator.submit("looker", &inputs).await.expect("submitted");
    let outputs = coordinator.outputs(run.id).await;

    let sent = sent.lock().expect("not poisoned").clone();
    let mut by_number: BTreeMap<usize, Vec<reqwest::Url>> = BTreeMap::new();
    let authority = site.origin().replace("http://", "");
    for (host, target) in sent {
        assert_eq!(host, authority);
        let url = reqwest::Url::parse(&format!("http://{authority}{target}")).expect("a URL");
        let shown = url.as_str().strip_prefix(&site.origin());
        assert_eq!(shown, Some(&*target), "nobody reads it otherwise");
        let number = url.query_pairs().find(|(key, _)| key == "n").expect("a number").1.parse().expect("a number");
        by_number.entry(number).or_default().push(url);
    }
    let mut admitted = 0;
    for (number, ((id, q), output)) in asked.iter().zip(&outputs).enumerate() {
        let output: Value = serde_json::from_slice(output).expect("JSON");
        let requests = by_number.remove(&number).unwrap_or_default();
        match output[0]["status"].as_u64() {
            Some(200) => {
                admitted += 1;
                assert_eq!(requests.len(), 1, "{id:?} {q:?}");
                assert_eq!(
                    requests[0].path(),
                    format!("/v1/customers/{id}/mail"),
                    "as it was asked for, and in one segment"
                );
                let pairs: Vec<(String, String)> = requests[0].query_pairs().into_owned().collect();
                let expected = [("n".to_owned(), number.to_string()), ("q".to_owned(), (*q).to_owned())];
                assert_eq!(pairs, expected, "{q:?}");
            }
            _ => {
                assert_eq!(output, json!([{ "fault": "refused" }]), "{id:?} {q:?}");
                assert_eq!(requests, [], "{id:?} {q:?}");
            }
        }
    }
    assert!(by_number.is_empty(), "nobody asked for {by_number:?}");
    assert!(admitted > SLOTS.len() / 2, "{admitted} of {} were admitted", asked.len());
}

/// On a host that may be called: a path that sends anybody anywhere, one that repeats what it is told, and one that a verb declares.
#[tokio::test]
async fn attack_20_a_path_that_no_verb_declares_is_not_called_and_a_redirect_is_not_followed() {
    let evil = Site::start(Router::new().fallback(any(async || "caught"))).await;
    let elsewhere = format!("{}/caught", evil.origin());
    let redirect = |uri: Uri| async move {
        let to = uri.query().and_then(|query| query.strip_prefix("to=")).unwrap_or_default().to_owned();
        let to = to.replace("%3A", ":").replace("%2F", "/");
        (axum::http::StatusCode::FOUND, [(LOCATION, to.clone())], axum::Json(json!({ "id": to })))
    };
    let site = Site::start(
        Router::new()
            .route("/v1/customers/{id}", any(async || axum::Json(json!({ "id": "m-1" }))))
            .route("/redirect", any(redirect))
            .fallback(any(async |uri: Uri| axum::Json(json!({ "id": uri.to_string() })))),
    )
    .await;
    let verb = |path: &str, query: Value, slots: Value| {
        json!({
            "method": "GET", "origin": site.origin(), "path": path, "query": query, "slots": slots,
            "answer": { "id": { "at": "/id", "type": "id", "bytes_max": 9 } }, "effect": "safe", "budget": { "per_run": 1_000 },
        })
    };
    let token = json!({ "type": "token", "classes": ["text"] });
    let verbs = json!({
        "lookup": verb("/v1/customers/{id}", json!({ "q": "{q}" }), json!({ "id": { "type": "id", "bytes_max": 64 }, "q": token })),
        // An author's mistake that an operator overlooked: here anybody is sent where they say.
        "follow": verb("/redirect", json!({ "to": "{q}" }), json!({ "q": token })),
    });
    let manifest = Manifest {
        name: "wanderer".parse().expect("a name"),
        codec: Codec::Json,
        verbs: serde_json::from_value(verbs).expect("verbs"),
        sensitive: serde_json::from_value(json!([{ "at": "$[*].slots.q", "class": "text" }])).expect("fields"),
        ..jobs::parrot().manifest
    };
    let coordinator = calling(&site, &jobs::caller_of(manifest), "unused").await;
    let _runners = coordinator.runners(2).await;

    let lookup = |id: &str, q: &str| json!({ "verb": "lookup", "slots": { "id": id, "q": q } });
    let refused = [
        lookup("../../redirect", "x"),
        lookup("..%2f..%2fredirect", "x"),
        lookup("..", "x"),
        lookup(&format!("x?to={elsewhere}"), "x"),
        lookup("x/../../../redirect", "x"),
        lookup("/redirect", "x"),
        lookup("//evil.example", "x"),
        json!({ "verb": "redirect", "slots": { "q": "x" } }),
        json!({ "verb": "lookup", "slots": { "id": "a", "q": "x", "path": "/redirect" } }),
        json!({ "verb": "follow", "slots": { "q": "x", "path": "/echo" } }),
        json!({ "verb": "follow", "slots": { "q": "x" }, "path": "/echo" }),
        json!({ "verb": "follow", "slots": { "q": "x" }, "origin": evil.origin() }),
    ];
    let inputs: Vec<Vec<u8>> = refused.iter().map(|call| json!([call]).to_string().into_bytes()).collect();
    let run = coordinator.submit("wanderer", &inputs).await.expect("submitted");
    for (call, output) in refused.iter().zip(coordinator.outputs(run.id).await) {
        let output = String::from_utf8(output).expect("text");
        assert!(!output.contains("\"status\":200") && output.contains("\"refused\""), "{call}: {output}");
    }
    assert_eq!(site.asked(), Vec::<String>::new(), "nothing of it was sent");

    let allowed = [lookup("redirect", &elsewhere), json!({ "verb": "follow", "slots": { "q": elsewhere } })];
    let run = coordinator.submit("wanderer", &[Value::from(allowed.to_vec()).to_string().into_bytes()]).await;
    let output = coordinator.outputs(run.expect("submitted").id).await.remove(0);
    let output: Value = serde_json::from_slice(&output).expect("JSON");
    // What stands in a slot of a path stays where the slot is; and of a redirect a job hears its status, and not where it leads.
    assert_eq!(output, json!([{ "status": 200, "answer": { "id": "m-1" } }, { "fault": "status", "status": 302 }]));
    let mut asked = site.asked();
    asked.sort_unstable();
    assert_eq!(asked, ["/redirect", "/v1/customers/redirect"]);
    assert_eq!(evil.asked(), Vec::<String>::new(), "nobody was sent there");
}

#[tokio::test]
async fn attack_3_no_verb_and_no_secret_has_an_origin_that_is_read_in_two_ways() {
    let evil = Site::start(Router::new()).await;
    let site = Site::start(Router::new()).await;
    let (host, other) = (site.origin().replace("http://", ""), evil.origin().replace("http://", ""));
    let port = host.rsplit_once(':').expect("a port").1.to_owned();
    let setting: &'static str = Box::leak(format!("calls.allow={}", site.origin()).into_boxed_str());
    let coordinator = Coordinator::start_with(&[setting]).await;
    for origin in [
        format!("http://{host}\\@{other}"),
        format!("http://{other}@{host}"),
        format!("http://{host}@{other}"),
        format!("http://{host}#@{other}"),
        format!("http://127.0.0.1.:{port}"),
        format!("http://127%2e0.0.1:{port}"),
        format!("http://127\u{3002}0\u{3002}0\u{3002}1:{port}"),
        format!("http://\u{ff11}27.0.0.1:{port}"),
        format!("http://127.0.0.1:0{port}"),
        format!("http://127.0.\t0.1:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://{host}/a/../../"),
        format!("http://{host}/a/%2e%2e/"),
        format!("http://{host}//"),
        format!("http:{host}"),
        format!("HTTP://{host}"),
        format!("http://xn--a:{port}"),
        format!("http://127.0.0.1\u{ad}:{port}"),
        format!("http://2130706433:{port}"),
        format!("http://0x7f.1:{port}"),
        format!("http://0177.0.0.1:{port}"),
        format!("http://127.1:{port}"),
    ] {
        let job = |origin: &str| {
            let verbs = json!({ "ask": {
                "method": "GET", "origin": origin, "path": "/", "slots": {}, "answer": {}, "effect": "safe", "budget": { "per_run": 1 },
            } });
            jobs::caller("asker", verbs)
        };
        // A module as text has no place for what JSON escapes; those are in the model's own tests.
        if serde_json::to_string(&origin).is_ok_and(|json| !json.contains('\\')) {
            let job = job(&origin);
            let refused = coordinator.publish(&job.module, &job.manifest).await.expect_err(&origin);
            assert!(refused.status < 500 && refused.problem.detail.contains("origin"), "{origin}: {refused:?}");
        }
        // These are written in one way, and a secret for them goes nowhere: no verb has them.
        if origin.contains("[::ffff") || origin.contains("xn--") {
            continue;
        }
        let secret = json!({ "origin": origin, "secret": "hunter2hunter2" });
        let refused = coordinator.request(Method::PUT, "/v1/secrets/crm_key").json(&secret).send().await;
        let refused = refused.expect("an answer");
        assert!(refused.status().is_client_error(), "{origin}: {}", refused.status());
        assert!(!refused.text().await.expect("text").contains("hunter2"), "no secret is in a message");
    }
    let secrets: manyhands_api::SecretList = coordinator.get("/v1/secrets").await.expect("a list");
    assert!(secrets.secrets.is_empty() && site.asked().is_empty() && evil.asked().is_empty());
}
