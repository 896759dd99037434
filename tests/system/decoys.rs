//! Decoys: what is made up looks like what was submitted to everybody who executes it, and to nobody else is it there.

use std::collections::{BTreeMap, BTreeSet};

use manyhands_api::{AccountView, CreditList, ResultLine, RunState, RunView, Why};
use manyhands_credit::{Account, Amount};
use manyhands_model::{Digest, Manifest, RunId, UnitId, WorkerId};
use manyhands_protocol::{ClientMessage, ServerMessage};
use manyhands_tests::{Coordinator, Unit, Worker, jobs};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Whoever is right ten times has a record, and all are on this computer, which says nothing.
pub(crate) const SOON_TRUSTED: &[&str] = &[
    "verification.record_checks=10",
    "verification.records_min=2",
    "verification.ipv4_bits=0",
    "verification.audits_permille=200",
    "verification.auditor_slots=4",
];
const INPUTS: u32 = 120;
const DECOYS: u32 = 36;

/// A person of whom workers must not know who it is. Number and twin are the same in all that are real.
fn person(number: u32) -> Value {
    let email = format!("canary{number}@site{}.example", number % 3);
    let names = vec![format!("canary{number}"); (number % 3) as usize];
    let size = "x".repeat((number % 5) as usize);
    let mut person = json!({ "number": number, "email": email, "names": names, "size": size, "twin": number });
    if number.is_multiple_of(4) {
        person["note"] = json!("x".repeat((number % 7) as usize));
    }
    person
}

fn inputs() -> Vec<Vec<u8>> {
    (0..INPUTS).map(|number| person(number).to_string().into_bytes()).collect()
}

async fn start() -> Coordinator {
    let coordinator = Coordinator::start_with(&[SOON_TRUSTED, &["verification.decoys_permille=300"]].concat()).await;
    let sensitive = json!([
        { "at": "/email", "class": "email", "reveal": "domain" },
        { "at": "$.names[*]", "class": "name" },
    ]);
    let sensitive = serde_json::from_value(sensitive).expect("fields");
    let job =
        jobs::parrot_of(Manifest { name: "people".parse().expect("a name"), sensitive, ..jobs::parrot().manifest });
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    coordinator
}

/// An honest worker that does what it is given and keeps all that it sees, until nobody hears it any more.
async fn lend_a_hand(join: String, seen: tokio::sync::mpsc::UnboundedSender<(WorkerId, Unit)>) {
    let mut worker = Worker::connect(&join, Worker::new_key()).await.expect("connected");
    worker.send(&ClientMessage::Want(4)).await.expect("sent");
    while let Ok(message) = worker.receive().await {
        match message {
            ServerMessage::Grant(grant) => {
                for unit in Unit::all(&grant) {
                    let done = worker.done([(&unit, unit.input.to_vec())], 1_000);
                    worker.send(&ClientMessage::Done(done)).await.expect("sent");
                    seen.send((worker.id(), unit)).expect("the test goes on");
                }
            }
            ServerMessage::Receipts(_) => worker.send(&ClientMessage::Want(4)).await.expect("sent"),
            _ => {}
        }
    }
}

/// Has workers do a run, and returns all that they were given.
async fn done_by_workers(coordinator: &Coordinator, run: RunId) -> Vec<(WorkerId, Unit)> {
    let (seen, mut all) = tokio::sync::mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for _ in 0..6 {
        workers.spawn(lend_a_hand(coordinator.join(), seen.clone()));
    }
    coordinator.done(run, INPUTS.into()).await;
    workers.shutdown().await;
    drop(seen);
    let mut units = Vec::new();
    while let Some(unit) = all.recv().await {
        units.push(unit);
    }
    units
}

/// Whether it was made up: nobody but who submitted the inputs knows by what.
fn is_made_up(unit: &Unit) -> bool {
    let input: Value = serde_json::from_slice(&unit.input).expect("JSON");
    input["number"] != input["twin"]
}

#[tokio::test]
async fn attack_34_workers_are_given_decoys_that_look_like_what_was_submitted() {
    let coordinator = start().await;
    let run = coordinator.submit("people&verify=adaptive:1e-3", &inputs()).await.expect("submitted");
    let seen = done_by_workers(&coordinator, run.id).await;
    let (made_up, real): (Vec<_>, Vec<_>) = seen.iter().partition(|(_, unit)| is_made_up(unit));
    let of = |seen: &[&(WorkerId, Unit)]| seen.iter().map(|(_, unit)| unit.lease.task.index).collect::<BTreeSet<_>>();
    let (decoys, units) = (of(&made_up), of(&real));
    // Two numbers may be the same by chance.
    assert!(decoys.len() >= 10, "{} decoys were given out", decoys.len());
    assert!(units.len() >= INPUTS as usize, "all inputs were given out");

    // Numbers: each is one unit's, none is beyond the others, and decoys stand anywhere among them.
    assert!(decoys.is_disjoint(&units));
    assert!(decoys.iter().chain(&units).all(|number| *number < INPUTS + DECOYS), "{decoys:?}");
    let below = |most: u32| decoys.iter().filter(|number| **number < most).count();
    assert!(below(INPUTS / 2) > 0 && below(INPUTS / 2) < decoys.len(), "{decoys:?}");
    let mut by_number: BTreeMap<u32, BTreeSet<WorkerId>> = BTreeMap::new();
    for (worker, unit) in &seen {
        assert!(by_number.entry(unit.lease.task.index).or_default().insert(*worker), "twice to one worker");
    }
    // Everything else that a lease says, and anybody can compute.
    for (_, Unit { run: of, lease, input, module, .. }) in &seen {
        assert_eq!((*of, *module), (run.id, seen[0].1.module));
        let number = lease.task.index.to_le_bytes();
        assert_eq!(lease.task.seed, Digest::of_parts([&b"manyhands:seed\0"[..], run.id.as_bytes(), &number]).0);
        assert_eq!((lease.task.step, lease.task.input), (0, Digest::of(input)));
        assert_eq!(lease.task.entry, seen[0].1.lease.task.entry);
    }

    // What they read: the same keys in the same order, tokens of the same form where values are sensitive, and values that inputs have.
    let texts = |seen: &[&(WorkerId, Unit)]| -> BTreeSet<String> {
        seen.iter().map(|(_, unit)| String::from_utf8(unit.input.to_vec()).expect("UTF-8")).map(shape).collect()
    };
    let known: BTreeSet<String> = (0..INPUTS).flat_map(|number| shapes_of(&person(number))).collect();
    let unknown: Vec<_> = texts(&made_up).difference(&known).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let unknown: Vec<_> = texts(&real).difference(&known).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for (_, unit) in &seen {
        let text = String::from_utf8_lossy(&unit.input);
        assert!(!text.contains("canary"), "{text}");
        let input: Value = serde_json::from_str(&text).expect("JSON");
        for number in [&input["number"], &input["twin"]] {
            assert!(number.as_u64().is_some_and(|number| number < INPUTS.into()), "{text}");
        }
    }
    let mut tokens = BTreeSet::new();
    for (_, unit) in &seen {
        for (_, token) in manyhands_placeholder::token::find(&unit.input) {
            assert!(tokens.insert(token), "a token of a unit and a worker is another's as well");
        }
    }
}

/// The text with a letter for each value, so that only its form is left.
fn shape(text: String) -> String {
    let mut shape = text;
    for (_, token) in manyhands_placeholder::token::find(shape.clone().as_bytes()) {
        shape = shape.replace(token.as_str(), "T");
    }
    let mut value: Value = serde_json::from_str(&shape).expect("JSON");
    let keys: Vec<usize> = ["number", "email", "names", "size", "twin", "note"]
        .map(|key| shape.find(&format!("\"{key}\":")).unwrap_or(usize::MAX))
        .into_iter()
        .collect();
    let order: Vec<usize> = {
        let mut order: Vec<usize> = (0..keys.len()).filter(|at| keys[*at] != usize::MAX).collect();
        order.sort_by_key(|at| keys[*at]);
        order
    };
    (value["number"], value["twin"]) = (json!(0), json!(0));
    value["email"]["domain"] = json!("");
    value["size"] = json!("");
    if let Some(note) = value.get_mut("note") {
        *note = json!("");
    }
    format!("{order:?} {value}")
}

/// The forms of what can be drawn where this is the template: with as many names as any other has.
fn shapes_of(person: &Value) -> Vec<String> {
    let mut person = person.clone();
    person["email"] = json!({ "token": "T", "domain": "" });
    let with = |count: usize| {
        let mut person = person.clone();
        person["names"] = json!(vec!["T"; count]);
        shape(person.to_string())
    };
    (0..3).map(with).collect()
}

#[tokio::test]
async fn nobody_who_asks_about_the_run_finds_a_decoy() {
    let mut coordinator = start().await;
    let run = coordinator.submit("people&verify=adaptive:1e-3", &inputs()).await.expect("submitted");
    assert_eq!((run.inputs, run.units.total, run.units.waiting), (INPUTS.into(), INPUTS.into(), INPUTS.into()));
    // All of it is on the disk.
    coordinator.kill();
    coordinator.restart().await;
    let why: Why = coordinator.get(&format!("/v1/runs/{}/why", run.id)).await.expect("why");
    assert_eq!(why.reasons.iter().map(|reason| reason.units).sum::<u64>(), u64::from(INPUTS));
    let seen = done_by_workers(&coordinator, run.id).await;
    assert!(seen.iter().filter(|(_, unit)| is_made_up(unit)).count() >= 10, "they are there all the same");

    let ended: RunView = coordinator.run(run.id).await;
    assert_eq!(ended.state, RunState::Finished);
    assert_eq!((ended.units.total, ended.units.done, ended.dissents), (INPUTS.into(), INPUTS.into(), 0));
    let results: Vec<ResultLine> = coordinator.results(run.id).await;
    assert_eq!(results.iter().map(|line| line.unit).collect::<Vec<_>>(), (0..INPUTS).collect::<Vec<_>>());
    let outputs = coordinator.outputs(run.id).await;
    for (number, output) in (0..).zip(&outputs) {
        assert_eq!(serde_json::from_slice::<Value>(output).expect("JSON"), person(number));
    }
    let path = format!("/v1/runs/{}/results?order=accepted", run.id);
    let accepted = coordinator.request(reqwest::Method::GET, &path).send().await.expect("an answer");
    assert_eq!(accepted.text().await.expect("results").lines().count(), INPUTS as usize);
    for beyond in [INPUTS, UnitId::FIRST_DECOY] {
        for path in ["", "/output"] {
            let path = format!("/v1/runs/{}/units/{beyond}{path}", run.id);
            assert_eq!(coordinator.get::<Value>(&path).await.expect_err("refused").code().0, 404, "{path}");
        }
    }

    // Whoever submitted the run pays for its own units, and the operator for the rest.
    let list: CreditList = coordinator.get("/v1/credit?limit=1000").await.expect("a list");
    let balance = |is: &dyn Fn(&Account) -> bool| -> Amount {
        list.accounts.iter().filter(|it| is(&it.account)).map(|AccountView { balance, .. }| *balance).sum()
    };
    let cost = |line: &ResultLine| Amount(i128::from(line.fuel) * i128::from(line.replicas));
    let own: Amount = results.iter().map(cost).sum();
    assert!(own > Amount::ZERO);
    assert_eq!(balance(&|account| matches!(account, Account::Requester(_))), -own);
    assert_eq!(balance(&|_| true), Amount::ZERO);
    let problems: Value = coordinator.post("/v1/check", "").await.expect("a check");
    assert_eq!(problems["problems"], json!([]));
}

#[tokio::test]
async fn there_are_none_where_nothing_can_be_made_up() {
    let coordinator = start().await;
    let drawn = json!([{ "at": "/email", "class": "email", "surrogate": true }, { "at": "/twin", "class": "number" }]);
    for (name, sensitive) in [("single", json!([{ "at": "", "class": "text" }])), ("drawn", drawn)] {
        let sensitive = serde_json::from_value(sensitive).expect("fields");
        let manifest = Manifest { name: name.parse().expect("a name"), sensitive, ..jobs::parrot().manifest };
        let job = jobs::parrot_of(manifest);
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
    }
    let texts: Vec<Vec<u8>> = (0..INPUTS).map(|number| format!("\"town{number}\"").into_bytes()).collect();
    for (query, inputs) in [
        // One value in each; some that nothing tells from others in the open; and a rule by which nobody is checked in secret.
        ("single&verify=adaptive:1e-3", texts),
        ("drawn&verify=adaptive:1e-3", inputs()),
        ("people&replicas=1", inputs()),
    ] {
        let run = coordinator.submit(query, &inputs).await.expect("submitted");
        let seen = done_by_workers(&coordinator, run.id).await;
        let numbers: BTreeSet<u32> = seen.iter().map(|(_, unit)| unit.lease.task.index).collect();
        assert_eq!(numbers, (0..INPUTS).collect(), "{query}");
    }
}
