//! From a module to verified results.

use manyhands_api::{CreatedToken, NewToken, Role, RunList, RunState, RunView};
use manyhands_model::RunId;
use manyhands_tests::{Coordinator, Liar, jobs, until};
use reqwest::Method;

fn answers(inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| jobs::hash(input)).collect()
}

#[tokio::test]
async fn inputs_go_in_and_verified_answers_come_out() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    let view = coordinator.publish(&job.module, &job.manifest).await.expect("published");
    assert_eq!((view.name, view.serial), (job.manifest.name.clone(), 1));
    let _runners = coordinator.runners(3).await;

    let inputs = jobs::texts(30);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");
    assert_eq!((run.inputs, run.replicas, run.state), (30, 2, RunState::Active));
    assert_eq!(coordinator.outputs(run.id).await, answers(&inputs));

    let lines = coordinator.results(run.id).await;
    assert!(lines.iter().all(|line| line.replicas >= 2 && line.fuel > 0), "two workers stand behind each answer");
    assert_eq!(coordinator.run(run.id).await.dissents, 0);
}

#[tokio::test]
async fn a_liar_is_caught_and_every_answer_is_right() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _liar = Liar::start(&coordinator.join());
    until("the liar connects", async || (coordinator.connected().await == 1).then_some(())).await;
    let inputs = jobs::texts(40);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");
    // The liar has answered before anybody honest is there, so it takes part for sure.
    let lied = async || {
        let workers = coordinator.workers().await;
        let unit: manyhands_api::UnitView = coordinator.get(&format!("/v1/runs/{}/units/0", run.id)).await.ok()?;
        (!unit.replicas.is_empty()).then(|| workers[0].id)
    };
    let liar = until("the liar answers", lied).await;
    let _runners = coordinator.runners(3).await;

    assert_eq!(coordinator.outputs(run.id).await, answers(&inputs));
    assert!(coordinator.run(run.id).await.dissents >= 1);
    for worker in coordinator.workers().await {
        assert_eq!(worker.dissents > 0, worker.id == liar, "{worker:?}");
        assert!(worker.id != liar || worker.agreed == 0, "{worker:?}");
    }
}

#[tokio::test]
async fn a_runner_that_dies_leaves_its_units_to_others() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let mut runners = coordinator.runners(3).await;
    let inputs = jobs::texts(60);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");
    coordinator.done(run.id, 5).await;
    runners[0].process.kill();
    assert_eq!(coordinator.outputs(run.id).await, answers(&inputs));
}

#[tokio::test]
async fn the_same_key_submits_once_and_another_body_is_refused() {
    let coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let submit = async |body: &'static str| {
        let request = coordinator.request(Method::POST, "/v1/runs?job=parrot").header("idempotency-key", "once");
        request.body(body).send().await.expect("an answer")
    };
    let first = submit("[1]\n[2]\n").await;
    assert_eq!(first.status().as_u16(), 201);
    let first: RunView = first.json().await.expect("a run");
    let second: RunView = submit("[1]\n[2]\n").await.json().await.expect("a run");
    assert_eq!(first.id, second.id);
    let other = submit("[1]\n[3]\n").await;
    assert_eq!(other.status().as_u16(), 422);
    let problem: manyhands_api::Problem = other.json().await.expect("a problem");
    assert!(problem.kind.ends_with("idempotency-key-reused"), "{problem:?}");
}

#[tokio::test]
async fn a_job_can_be_called_like_a_function() {
    let coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let invoke = async |query: &str, input: &'static str| {
        let path = format!("/v1/jobs/parrot/invoke{query}");
        coordinator.request(Method::POST, &path).body(input).send().await.expect("an answer")
    };
    // Nobody is there to execute it: the answer says where it will be.
    let late = invoke("?timeout_ms=50", "[0]").await;
    assert_eq!(late.status().as_u16(), 504);

    let _runners = coordinator.runners(2).await;
    let answer = invoke("", r#"{"hello": "world"}"#).await;
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["manyhands-replicas"], "2");
    assert_eq!(answer.text().await.expect("a body"), r#"{"hello": "world"}"#);

    let failed = invoke("", "1").await;
    assert_eq!(failed.status().as_u16(), 422);
    let problem: manyhands_api::Problem = failed.json().await.expect("a problem");
    assert!(problem.kind.ends_with("job-failed") && problem.detail.contains("too short"), "{problem:?}");
}

#[tokio::test]
async fn a_unit_without_an_answer_says_what_it_waits_for() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let run = coordinator.submit("hasher", &jobs::texts(2)).await.expect("submitted");
    let _runners = coordinator.runners(1).await;
    let why = async || {
        let why: manyhands_api::Why = coordinator.get(&format!("/v1/runs/{}/why", run.id)).await.expect("why");
        why.reasons.iter().all(|reason| reason.sentence.contains("independent worker")).then_some(why)
    };
    let why = until("one worker has answered all it can", why).await;
    assert_eq!(why.reasons.iter().map(|reason| reason.units).sum::<u64>(), 2);

    let cancelled: RunView = coordinator.post(&format!("/v1/runs/{}/cancel", run.id), "").await.expect("cancelled");
    assert_eq!(cancelled.id, run.id);
    let state = async || (coordinator.run(run.id).await.state == RunState::Cancelled).then_some(());
    until("the run is cancelled", state).await;
}

#[tokio::test]
async fn each_owner_finds_their_own_runs_and_an_operator_all() {
    let mut coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let new = NewToken { name: "bob".into(), role: Role::Requester };
    let created = coordinator.request(Method::POST, "/v1/tokens").json(&new).send().await.expect("an answer");
    let bob = created.json::<CreatedToken>().await.expect("a token").token;
    let mut of_bob = Vec::new();
    for number in 0..6 {
        let request = match number % 2 {
            0 => coordinator.request(Method::POST, "/v1/runs?job=parrot"),
            _ => coordinator.anonymous(Method::POST, "/v1/runs?job=parrot").bearer_auth(&bob),
        };
        let run: RunView = request.body("[1]").send().await.expect("an answer").json().await.expect("a run");
        if run.owner == "bob" {
            of_bob.push(run.id);
        }
    }
    // What is invoked is listed as well, as soon as somebody is told of it.
    let invoke = coordinator.anonymous(Method::POST, "/v1/jobs/parrot/invoke?timeout_ms=0").bearer_auth(&bob);
    assert_eq!(invoke.body("[1]").send().await.expect("an answer").status().as_u16(), 504);
    let all: RunList = coordinator.get("/v1/runs").await.expect("a list");
    let invoked = all.runs.iter().find(|run| run.priority == i8::MAX).expect("it is on the disk");
    of_bob.push(invoked.id);
    assert_eq!((all.runs.len(), all.next), (7, None));
    coordinator.kill();
    coordinator.restart().await;

    of_bob.sort_unstable();
    let mut found: Vec<RunId> = Vec::new();
    let mut path = "/v1/runs?limit=3".to_owned();
    let next = loop {
        let page: RunList = coordinator
            .anonymous(Method::GET, &path)
            .bearer_auth(&bob)
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("a list");
        found.extend(page.runs.iter().map(|run| run.id));
        match page.next {
            Some(next) if found.len() < 7 => path = format!("/v1/runs?limit=3&after={next}"),
            next => break next,
        }
    };
    assert_eq!(next, None);
    assert!(found.is_sorted_by(|newer, older| newer > older), "the newest first: {found:?}");
    found.reverse();
    assert_eq!(found, of_bob);
}
