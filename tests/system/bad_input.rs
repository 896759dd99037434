//! Each of these gets an error that says whose fault it is, and nothing is lost for the others.

use manyhands_api::{JobView, RunView};
use manyhands_model::{Codec, Version};
use manyhands_tests::{Coordinator, Refused, jobs};
use reqwest::Method;

/// `expected` is the status, the code, and a word that the detail must hold.
pub(crate) fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Refused>, expected: (u16, &str, &str)) {
    let (status, code, word) = expected;
    let refused = answer.expect_err("refused");
    assert_eq!(refused.code(), (status, code), "{refused:?}");
    assert_eq!(refused.problem.status, status);
    assert!(refused.problem.detail.contains(word), "no `{word}` in: {}", refused.problem.detail);
}

#[tokio::test]
async fn a_bad_module_is_refused_with_place_and_cure() {
    let coordinator = Coordinator::start().await;
    let good = jobs::parrot();
    let publish = async |module: &[u8]| coordinator.publish(module, &good.manifest).await;
    let of = |body: &str| jobs::assemble(&good.manifest, body);

    let truncated = &good.module[..good.module.len() / 2];
    assert_refused(publish(truncated).await, (422, "module-refused", ""));
    assert_refused(publish(b"#!/bin/sh\n").await, (422, "module-refused", ""));
    assert_refused(publish(b"").await, (422, "module-refused", ""));
    let foreign = r#"(import "env" "clock" (func)) (memory (export "memory") 1) (func (export "manyhands_run"))"#;
    assert_refused(publish(&of(foreign)).await, (422, "module-refused", "env"));
    let lacking = r#"(memory (export "memory") 1)"#;
    assert_refused(publish(&of(lacking)).await, (422, "module-refused", "manyhands_run"));
    let starting = r#"(memory (export "memory") 1) (func $f (export "manyhands_run")) (start $f)"#;
    assert_refused(publish(&of(starting)).await, (422, "module-refused", "start"));

    // After all that, the good one is as welcome as before.
    publish(&good.module).await.expect("published");
}

#[tokio::test]
async fn bad_inputs_and_bad_questions_are_the_requesters_fault() {
    let coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let submit =
        async |query: &str, body: &'static str| coordinator.post::<RunView>(&format!("/v1/runs?{query}"), body).await;
    assert_refused(submit("job=parrot", "[1]\n{oops\n").await, (422, "invalid", "input 2"));
    assert_refused(submit("job=parrot", "").await, (422, "invalid", "no input"));
    assert_refused(submit("job=parrot", "\n\n").await, (422, "invalid", "input"));
    assert_refused(submit("job=nobody", "[1]").await, (404, "not-found", "nobody"));
    assert_refused(submit("job=parrot&replicas=0", "[1]").await, (422, "invalid", "replicas"));
    assert_refused(submit("job=parrot&replicas=9&replicas_max=3", "[1]").await, (422, "invalid", "replicas"));
    assert_refused(submit("job=parrot&reduce=true", "[1]").await, (422, "invalid", "manyhands_reduce"));
    assert_refused(submit("job=parrot&colour=red", "[1]").await, (400, "malformed", "colour"));
    let list: manyhands_api::RunList = coordinator.get("/v1/runs").await.expect("a list");
    assert!(list.runs.is_empty(), "nothing of a refused run stays");
}

#[tokio::test]
async fn a_wrong_token_opens_nothing() {
    let coordinator = Coordinator::start().await;
    for path in ["/v1/jobs", "/v1/runs", "/v1/workers", "/v1/tokens", "/v1/keys"] {
        for token in [None, Some("wrong"), Some("mh_0000000000000000000000000000000000000000")] {
            let request = coordinator.anonymous(Method::GET, path);
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 401, "{path} {token:?}");
            assert!(answer.headers().contains_key("www-authenticate"));
        }
    }
    let refused = coordinator.get::<RunView>("/v1/runs/not-an-id").await;
    assert_refused(refused, (422, "invalid", "not-an-id"));
}

#[tokio::test]
async fn a_requester_cannot_publish_nor_see_the_keys() {
    let coordinator = Coordinator::start().await;
    let new = manyhands_api::NewToken { name: "ann".into(), role: manyhands_api::Role::Requester };
    let created = coordinator.request(Method::POST, "/v1/tokens").json(&new).send().await.expect("an answer");
    assert_eq!(created.status().as_u16(), 201);
    let created: manyhands_api::CreatedToken = created.json().await.expect("a token");
    let as_ann = |method, path| coordinator.anonymous(method, path).bearer_auth(&created.token);
    assert_eq!(as_ann(Method::GET, "/v1/runs").send().await.expect("an answer").status().as_u16(), 200);
    for (method, path) in [(Method::POST, "/v1/jobs"), (Method::GET, "/v1/tokens"), (Method::POST, "/v1/keys/rotate")] {
        let answer = as_ann(method, path).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 403, "{path}");
    }
    let revoked = coordinator.request(Method::DELETE, &format!("/v1/tokens/{}", created.id)).send().await;
    assert_eq!(revoked.expect("an answer").status().as_u16(), 204);
    assert_eq!(as_ann(Method::GET, "/v1/runs").send().await.expect("an answer").status().as_u16(), 401);
}

#[tokio::test]
async fn a_published_version_is_never_replaced() {
    let coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    let first: JobView = coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let again = coordinator.publish(&job.module, &job.manifest).await.expect("the same is fine");
    assert_eq!(first.serial, again.serial);

    let body = r#"(memory (export "memory") 1) (func (export "manyhands_run"))"#;
    let other = jobs::assemble(&job.manifest, body);
    assert_refused(coordinator.publish(&other, &job.manifest).await, (409, "version-exists", "version"));

    let mut older = jobs::manifest("parrot", Codec::Json);
    older.version = Version::new(0, 9, 0);
    let module = jobs::assemble(&older, body);
    assert_refused(coordinator.publish(&module, &older).await, (409, "conflict", "older"));
}
