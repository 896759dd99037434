//! Records that clients keep for a service that keeps nothing about them: tampered with, swapped, rolled back, asked with twice at once,
//! and lost with the answer.

use manyhands_api::{Problem, RecordAnswer, RecordRequest, RunList};
use manyhands_tests::{Coordinator, jobs, run};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::secrets::found;

const EMAIL: &str = "ann.lee@example.com";

/// A coordinator with two jobs that work on records.
async fn coordinator() -> Coordinator {
    let coordinator = Coordinator::start().await;
    let email = json!([{ "at": "$..email", "class": "email" }]);
    for name in ["diary", "basket"] {
        let job = jobs::keeper(name, email.clone());
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
    }
    coordinator
}

/// What a client is told.
#[derive(Debug)]
enum Told {
    Answer(String, Value),
    Nothing,
    Refused(String, String),
}

impl Told {
    /// The next record, and what the job said.
    fn answer(self) -> (String, Value) {
        match self {
            Self::Answer(record, output) => (record, output),
            other => panic!("no answer: {other:?}"),
        }
    }

    #[track_caller]
    fn refused_with(self, code: &str, words: &str) {
        match self {
            Self::Refused(found, detail) if found == code && detail.contains(words) => {}
            other => panic!("not refused as {code} with {words:?}: {other:?}"),
        }
    }
}

/// Asks as a client: `at` is `JOB/clients/CLIENT` with what follows.
async fn ask(coordinator: &Coordinator, at: &str, record: Option<&str>, input: Option<Value>) -> Told {
    let input = input.map(|input| serde_json::value::to_raw_value(&input).expect("JSON"));
    let request = RecordRequest { record: record.map(str::to_owned), input };
    let answer = coordinator.request(Method::POST, &format!("/v1/jobs/{at}")).json(&request).send().await;
    let answer = answer.expect("an answer");
    match answer.status() {
        StatusCode::NO_CONTENT => Told::Nothing,
        status if status.is_success() => {
            assert_eq!(answer.headers()["cache-control"], "no-store");
            let RecordAnswer { record, output } = answer.json().await.expect("an answer");
            Told::Answer(record, serde_json::from_str(output.get()).expect("JSON"))
        }
        _ => {
            let problem: Problem = answer.json().await.expect("a problem");
            let code = problem.kind.trim_start_matches("/problems/").to_owned();
            Told::Refused(code, problem.detail)
        }
    }
}

const ANN: &str = "diary/clients/ann";

#[tokio::test]
async fn attack_45_a_record_that_was_changed_swapped_or_rolled_back_is_refused_with_the_reason() {
    let coordinator = coordinator().await;
    let _runners = coordinator.runners(2).await;
    let first = json!({ "email": EMAIL, "items": [1, 2.50] });
    let (one, output) = ask(&coordinator, ANN, None, Some(first.clone())).await.answer();
    assert_eq!(output, Value::Null, "there was no record before");
    let (two, output) = ask(&coordinator, ANN, Some(&one), Some(json!({ "items": [] }))).await.answer();
    assert_eq!(output, first, "the job reads what it wrote, with the values in it");

    let changed = format!("{}{}{}", &two[..80], if two.as_bytes()[80] == b'A' { 'B' } else { 'A' }, &two[81..]);
    let more = || Some(json!("more"));
    ask(&coordinator, ANN, Some(&changed), more()).await.refused_with("record-untrusted", "was changed");
    ask(&coordinator, "diary/clients/bob", Some(&two), more()).await.refused_with("record-untrusted", "another client");
    ask(&coordinator, "basket/clients/ann", Some(&two), more()).await.refused_with("record-untrusted", "another job");
    ask(&coordinator, ANN, Some("two"), more()).await.refused_with("malformed", "no record");
    ask(&coordinator, "diary/clients/a%20b", None, more()).await.refused_with("invalid", "a client's name");
    // One step back is the same answer again, and nothing else.
    ask(&coordinator, ANN, Some(&one), more()).await.refused_with("record-outdated", "record 2 was answered");
    let (again, output) = ask(&coordinator, ANN, Some(&one), None).await.answer();
    assert_eq!(output, first);
    ask(&coordinator, ANN, None, more()).await.refused_with("record-outdated", "has record 2");
    // What is shown is received: then there is no way back at all.
    assert!(matches!(ask(&coordinator, ANN, Some(&again), None).await, Told::Nothing));
    ask(&coordinator, ANN, Some(&one), None).await.refused_with("record-outdated", "older than record 2");
    // Another key for values opens it as well: nobody could seal anew what clients keep.
    let _rotated: manyhands_api::RotatedVault = coordinator.post("/v1/vault/rotate", "").await.expect("rotated");
    let (three, output) = ask(&coordinator, ANN, Some(&two), more()).await.answer();
    assert_eq!(output, json!({ "items": [] }));

    // A job that fails changes nothing.
    ask(&coordinator, ANN, Some(&three), Some(json!(0))).await.refused_with("job-failed", "");
    let (four, output) = ask(&coordinator, ANN, Some(&three), Some(Value::Null)).await.answer();
    assert_eq!(output, json!("more"));
    ask(&coordinator, ANN, Some(&four), Some(json!("x".repeat(2000)))).await.refused_with("job-failed", "record_bytes");

    // Nobody makes records up, and what is deleted does not come back.
    let made_up = br#"{"record":{"rich":true},"input":1}"#.to_vec();
    let refused = coordinator.submit("diary", &[made_up]).await.expect_err("refused");
    assert_eq!(refused.code(), (422, "invalid"));
    let invoked = coordinator.request(Method::POST, "/v1/jobs/diary/invoke").body("{}").send().await;
    assert_eq!(invoked.expect("an answer").status(), 422);
    let delete = async || {
        let deleted = coordinator.request(Method::DELETE, &format!("/v1/jobs/{ANN}")).send().await;
        deleted.expect("an answer").status().as_u16()
    };
    assert_eq!((delete().await, delete().await), (204, 404));
    ask(&coordinator, ANN, Some(&four), more()).await.refused_with("record-outdated", "newer than any");
    let (other, _) = ask(&coordinator, ANN, None, more()).await.answer();
    ask(&coordinator, ANN, Some(&one), more()).await.refused_with("record-outdated", "before the client was deleted");
    ask(&coordinator, ANN, Some(&other), more()).await.answer();

    let dir = coordinator.data_dir();
    assert_eq!(found(&dir, EMAIL.as_bytes()), None, "no value of it lies on the disk");
    assert_eq!(found(&dir, b"clients/ann"), None, "nor who the client is");
}

#[tokio::test]
async fn attack_45_two_tabs_at_once_and_answers_that_are_lost_make_one_line_of_records() {
    let mut coordinator = coordinator().await;
    let runners = coordinator.runners(2).await;
    let (one, _) = ask(&coordinator, ANN, None, Some(json!({ "email": EMAIL }))).await.answer();
    let tab = |number: u32| ask(&coordinator, ANN, Some(&one), Some(json!({ "tab": number })));
    let both = tokio::join!(tab(1), tab(2));
    let (refused, (two, _)) = match both {
        (Told::Answer(record, output), refused) | (refused, Told::Answer(record, output)) => {
            (refused, (record, output))
        }
        other => panic!("nobody was answered: {other:?}"),
    };
    refused.refused_with("record-outdated", "without an input");
    // The same from both is one request.
    let same = || ask(&coordinator, ANN, Some(&two), Some(json!("same")));
    let (left, right) = tokio::join!(same(), same());
    let ((three, left), (also_three, right)) = (left.answer(), right.answer());
    assert_eq!(left, right);
    let (_, output) = ask(&coordinator, ANN, Some(&also_three), Some(json!("next"))).await.answer();
    assert_eq!(output, json!("same"));
    let lost = ask(&coordinator, ANN, Some(&three), Some(json!("next"))).await.answer();
    drop(runners);

    // The answer is lost with the coordinator that gave it, and given again by the next one.
    coordinator.kill();
    coordinator.restart().await;
    let again = ask(&coordinator, ANN, Some(&three), Some(json!("next"))).await.answer();
    assert_eq!(again.1, lost.1);
    assert!(matches!(ask(&coordinator, ANN, Some(&again.0), None).await, Told::Nothing));
    // Nobody works, the client's patience ends, and so does the coordinator.
    let impatient = format!("{ANN}?timeout_ms=200");
    let asked = || Some(json!({ "email": EMAIL, "last": true }));
    ask(&coordinator, &impatient, Some(&again.0), asked()).await.refused_with("timeout", "send the same again");
    coordinator.kill();
    coordinator.restart().await;
    ask(&coordinator, ANN, Some(&again.0), Some(json!("other")))
        .await
        .refused_with("record-outdated", "is being executed");
    let _runners = coordinator.runners(2).await;
    let (last, output) = ask(&coordinator, ANN, Some(&again.0), asked()).await.answer();
    assert_eq!(output, json!("next"));
    let (_, output) = ask(&coordinator, ANN, Some(&last), Some(json!("end"))).await.answer();
    assert_eq!(output, asked().expect("JSON"));
    assert_eq!(found(&coordinator.data_dir(), EMAIL.as_bytes()), None);
}

#[tokio::test]
async fn attack_45_a_value_is_written_to_a_record_only_where_it_is_taken_out_again() {
    let coordinator = Coordinator::start().await;
    let (card, made_up) = ("4111111111111111", json!({ "card": "4111111111111111" }));
    for (name, fields) in [
        (
            "leaky",
            json!([{ "at": "/input/email", "class": "email" }, { "at": "/input/card", "class": "card", "surrogate": true }]),
        ),
        ("wallet", json!([{ "at": "$..card", "class": "card", "surrogate": true }])),
    ] {
        let job = jobs::keeper(name, fields);
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
    }
    let _runners = coordinator.runners(2).await;
    // It keeps what it is asked, and says what it kept: so where it is asked it is a token, and where it is kept it would not be.
    let leaky = |input| ask(&coordinator, "leaky/clients/ann", None, Some(input));
    leaky(json!({ "email": EMAIL })).await.refused_with("job-failed", "a sensitive value at `/record/email`");
    leaky(json!({ "card": card })).await.refused_with("job-failed", "a sensitive value at `/record/card`");
    let (_, output) = leaky(json!({ "note": "nobody's" })).await.answer();
    assert_eq!(output, Value::Null, "nothing came of what was refused");
    // No token is in what comes back, only a card that nobody has.
    let (one, _) = ask(&coordinator, "wallet/clients/ann", None, Some(made_up.clone())).await.answer();
    let (_, output) = ask(&coordinator, "wallet/clients/ann", Some(&one), Some(json!(1))).await.answer();
    assert_eq!(output, made_up);
}

#[tokio::test]
async fn attack_45_what_was_answered_is_not_executed_again_once_its_values_are_gone() {
    let coordinator = coordinator().await;
    let impatient = format!("{ANN}?timeout_ms=50");
    let first = || Some(json!({ "email": EMAIL }));
    ask(&coordinator, &impatient, None, first()).await.refused_with("timeout", "send the same again");
    let runs = async || coordinator.get::<RunList>("/v1/runs").await.expect("runs").runs;
    let run = runs().await.pop().expect("a run").id;
    let _runners = coordinator.runners(2).await;
    coordinator.outputs(run).await;
    let forgotten = coordinator.request(Method::DELETE, &format!("/v1/runs/{run}/values")).send().await;
    assert_eq!(forgotten.expect("an answer").status(), 204);
    ask(&coordinator, ANN, None, first()).await.refused_with("conflict", "delete the client");
    ask(&coordinator, ANN, None, None).await.refused_with("conflict", "delete the client");
    ask(&coordinator, ANN, None, Some(json!("other"))).await.refused_with("record-outdated", "without an input");
    assert_eq!(runs().await.len(), 1);
    let deleted = coordinator.request(Method::DELETE, &format!("/v1/jobs/{ANN}")).send().await;
    assert_eq!(deleted.expect("an answer").status(), 204);
    ask(&coordinator, ANN, None, first()).await.answer();
}

#[tokio::test]
async fn attack_45_data_that_was_put_back_believes_no_record_of_a_client_that_was_deleted_since() {
    let mut coordinator = coordinator().await;
    let data = coordinator.data_dir();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let operate = |words: &[&str]| {
        let dir = ["--data-dir", data.to_str().expect("a path in UTF-8")];
        let output = run("manyhands-coordinator", [&dir[..], words].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let runners = coordinator.runners(2).await;
    let (one, _) = ask(&coordinator, ANN, None, Some(json!(1))).await.answer();
    let backup = operate(&["backup", "--to", elsewhere.path().to_str().expect("a path")]);
    let (two, _) = ask(&coordinator, ANN, Some(&one), Some(json!(2))).await.answer();
    let (three, _) = ask(&coordinator, ANN, Some(&two), Some(json!(3))).await.answer();
    drop(runners);
    coordinator.kill();
    std::fs::rename(&data, data.with_extension("lost")).expect("moved");
    operate(&["restore", backup.lines().next().expect("its path")]);
    operate(&["vault", "accept-older-data"]);
    coordinator.restart().await;
    let _runners = coordinator.runners(2).await;

    // What was handed out since the copy was made is believed, until something was done with it.
    let (four, output) = ask(&coordinator, ANN, Some(&two), Some(json!(4))).await.answer();
    assert_eq!(output, json!(2));
    ask(&coordinator, ANN, Some(&three), Some(json!(5))).await.refused_with("record-outdated", "before the client");
    let (five, _) = ask(&coordinator, ANN, Some(&four), Some(json!(5))).await.answer();
    let delete = async || {
        let deleted = coordinator.request(Method::DELETE, &format!("/v1/jobs/{ANN}")).send().await;
        deleted.expect("an answer").status().as_u16()
    };
    assert_eq!((delete().await, delete().await), (204, 404));
    for record in [&one, &three, &five] {
        ask(&coordinator, ANN, Some(record), Some(json!(6))).await.refused_with("record-outdated", "newer than any");
    }
    let (_, output) = ask(&coordinator, ANN, None, Some(json!(6))).await.answer();
    assert_eq!(output, Value::Null);
}

#[tokio::test]
async fn the_tool_keeps_the_record_of_a_client_in_a_file() {
    let coordinator = coordinator().await;
    let _runners = coordinator.runners(2).await;
    let dir = tempfile::tempdir().expect("a folder");
    let (input, record) = (dir.path().join("input.json"), dir.path().join("record"));
    let text = |path: &std::path::Path| path.to_str().expect("a path in UTF-8").to_owned();
    let (url, token) = (coordinator.url(""), text(&coordinator.data_dir().join("operator.token")));
    let asks = |asked: &str| {
        std::fs::write(&input, asked).expect("written");
        let of = ["invoke", "diary", "--client", "ann", "--record", &text(&record), "--input", &text(&input)];
        let output = run("manyhands", [&["--server", &url, "--token-file", &token][..], &of].concat());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let (done, said) = asks(r#"{"email":"ann.lee@example.com"}"#);
    assert!(done && said.contains("null"), "{said}");
    let first = std::fs::read(&record).expect("a record");
    let (done, said) = asks("[2]");
    assert!(done && said.contains(EMAIL), "{said}");
    // The disk was put back: the same is answered the same, and nothing else is.
    std::fs::write(&record, &first).expect("written");
    let (done, said) = asks("[3]");
    assert!(!done && said.contains("record 2 was answered to this one"), "{said}");
    assert_eq!(std::fs::read(&record).expect("a record"), first, "it is left as it was");
    let (done, said) = asks("[2]");
    assert!(done && said.contains(EMAIL), "{said}");
    let (done, said) = asks("[3]");
    assert!(done && said.contains("[2]"), "{said}");
}
