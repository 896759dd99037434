//! Answers whose words have to be earned: rules that people say, the operator's own machines, and liars who are caught.

use std::collections::BTreeSet;

use manyhands_api::{ChangedList, RunState, RunView, Standing, UnitView, VerificationView, Why, WorkerView};
use manyhands_model::{RunId, WorkerId};
use manyhands_tests::{Coordinator, Liar, Runner, jobs, until};
use reqwest::Method;

use crate::console::Browser;

/// Whoever is right ten times has a record, and two of these are enough to lean on. All of them are on this computer, which says nothing.
const SMALL: &[&str] = &[
    "verification.record_checks=10",
    "verification.records_min=2",
    "verification.ipv4_bits=0",
    "verification.audits_permille=200",
];

async fn with_hasher(settings: &[&'static str]) -> Coordinator {
    let coordinator = Coordinator::start_with(settings).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    coordinator
}

fn with(settings: &[&'static str], more: &[&'static str]) -> Vec<&'static str> {
    [settings, more].concat()
}

fn answers(inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| jobs::hash(input)).collect()
}

async fn verification(coordinator: &Coordinator) -> VerificationView {
    coordinator.get("/v1/verification").await.expect("a view")
}

async fn why(coordinator: &Coordinator, run: RunId) -> Why {
    coordinator.get(&format!("/v1/runs/{run}/why")).await.expect("why")
}

async fn changed(coordinator: &Coordinator, run: RunId) -> ChangedList {
    coordinator.get(&format!("/v1/runs/{run}/changed")).await.expect("a list")
}

/// Those who are not the operator's.
async fn strangers(coordinator: &Coordinator) -> Vec<WorkerView> {
    let workers = coordinator.workers().await;
    workers.into_iter().filter(|worker| worker.standing != Standing::Trusted).collect()
}

#[tokio::test]
async fn a_rule_is_said_refused_or_kept() {
    let mut coordinator = with_hasher(&["verification.rule=full:1e-5"]).await;
    let inputs = jobs::texts(1);
    let usual = coordinator.submit("hasher", &inputs).await.expect("submitted");
    let adaptive = coordinator.submit("hasher&verify=adaptive", &inputs).await.expect("submitted");
    let fixed = coordinator.submit("hasher&verify=2of3", &inputs).await.expect("submitted");
    let older = coordinator.submit("hasher&replicas=3", &inputs).await.expect("submitted");
    let said = [&usual, &adaptive, &fixed, &older].map(|run| run.verify.clone());
    assert_eq!(said, ["full:1e-5", "adaptive:1e-4", "2of3", "3of4"]);
    assert_eq!((fixed.replicas, fixed.replicas_max), (2, 3));
    for (query, expected) in [
        ("hasher&verify=majority", "adaptive:1e-4"),
        ("hasher&verify=adaptive:0.5", "1e-9 to 0.1"),
        ("hasher&verify=full&replicas=2", "`replicas` cannot as well"),
    ] {
        let refused = coordinator.submit(query, &inputs).await.expect_err(query);
        assert_eq!(refused.code().0, 422, "{query}");
        assert!(refused.problem.detail.contains(expected), "{}", refused.problem.detail);
    }
    coordinator.kill();
    coordinator.restart().await;
    for run in [usual, adaptive, fixed, older] {
        assert_eq!(coordinator.run(run.id).await.verify, run.verify);
    }
    assert_eq!(verification(&coordinator).await.rule, "full:1e-5");
}

#[tokio::test]
async fn the_coordinators_own_auditor_comes_when_it_is_needed_and_goes_with_it() {
    let mut coordinator = with_hasher(SMALL).await;
    let _runners = coordinator.runners(2).await;
    let inputs = jobs::texts(5);
    let fixed = coordinator.submit("hasher", &inputs).await.expect("submitted");
    assert_eq!(coordinator.outputs(fixed.id).await, answers(&inputs));
    assert_eq!(verification(&coordinator).await.auditors, 0, "nobody has needed it");

    let run = coordinator.submit("hasher&verify=audited", &inputs).await.expect("submitted");
    assert_eq!(coordinator.outputs(run.id).await, answers(&inputs));
    assert_eq!(verification(&coordinator).await.auditors, 1);
    let own: Vec<WorkerView> =
        coordinator.workers().await.into_iter().filter(|worker| worker.standing == Standing::Trusted).collect();
    assert!(own.len() == 1 && own[0].connected && own[0].engine.contains("wasmtime"), "{own:?}");
    // Whatever kills the coordinator, nothing is left behind that holds the auditor's folder.
    coordinator.kill();
    coordinator.restart().await;
    let again = coordinator.submit("hasher&verify=audited", &inputs).await.expect("submitted");
    assert_eq!(coordinator.outputs(again.id).await, answers(&inputs));
}

#[tokio::test]
async fn a_runner_that_the_operator_trusts_says_what_is_so() {
    let coordinator = with_hasher(&with(SMALL, &["verification.auditor=trusted"])).await;
    let _runners = coordinator.runners(1).await;
    let mine = coordinator.workers().await[0].id;
    let inputs = jobs::texts(3);
    let run = coordinator.submit("hasher&verify=audited", &inputs).await.expect("submitted");
    let _others = coordinator.runners(1).await;
    let waits = async || {
        let why = why(&coordinator, run.id).await;
        why.reasons.iter().all(|reason| reason.reason == "needs_audit").then_some(why)
    };
    let waiting = until("everything waits for an auditor", waits).await;
    let said = &waiting.reasons[0].sentence;
    assert!(said.contains("no machine of the operator's is connected") && said.contains("workers trust"), "{said}");
    // What is asked for is under way until that is on the disk.
    let in_line = async || {
        let view = verification(&coordinator).await;
        ((view.auditors, view.audits_in_line) == (0, 3) && view.notice.is_some()).then_some(())
    };
    until("all of it is in line for an auditor that is not there", in_line).await;

    let trust = format!("/v1/workers/{mine}/trust");
    let trusted = coordinator.request(Method::PUT, &trust).send().await.expect("an answer");
    assert_eq!(trusted.status().as_u16(), 204);
    assert_eq!(coordinator.outputs(run.id).await, answers(&inputs));
    let log = coordinator.request(Method::GET, "/v1/audit?after=0").send().await.expect("an answer");
    let log = log.text().await.expect("a log");
    assert!(log.contains("worker_trusted") && log.contains(&mine.to_string()), "{log}");

    let distrusted = coordinator.request(Method::DELETE, &trust).send().await.expect("an answer");
    assert_eq!(distrusted.status().as_u16(), 204);
    let back = async || strangers(&coordinator).await.iter().any(|it| it.id == mine && it.connected).then_some(());
    until("it is a worker like any other", back).await;
}

#[tokio::test]
async fn liars_are_many_and_every_answer_is_right() {
    let coordinator = with_hasher(SMALL).await;
    let _runners = coordinator.runners(4).await;
    let join = coordinator.join();
    let _liars = [Liar::start(&join), Liar::start_with(&join, &["--permille", "300"])];
    until("everybody is there", async || (coordinator.connected().await == 6).then_some(())).await;
    let inputs = jobs::texts(150);
    for rule in ["adaptive:1e-4", "full:1e-6"] {
        let run = coordinator.submit(&format!("hasher&verify={rule}"), &inputs).await.expect("submitted");
        assert_eq!(coordinator.outputs(run.id).await, answers(&inputs), "{rule}");
    }
    let caught = strangers(&coordinator).await.iter().filter(|worker| worker.dissents > 0).count();
    assert!(caught >= 1, "somebody lied");
    assert!(
        strangers(&coordinator).await.iter().filter(|worker| worker.banned).count() <= 2,
        "nobody honest is banned"
    );
}

#[tokio::test]
async fn whoever_earned_a_record_and_lies_then_is_caught_and_its_answers_are_put_right() {
    // A fourth of all units is looked at, so that it does not take long; and the rule is so mild that one with a record is believed alone.
    let mut coordinator = with_hasher(&with(SMALL, &["verification.audits_permille=400"])).await;
    // Alone with the operator's machine, so it does earn one.
    let liar = Liar::start_with(&coordinator.join(), &["--after", "60"]);
    until("the liar connects", async || (coordinator.connected().await == 1).then_some(())).await;
    let early = jobs::texts(50);
    let before = coordinator.submit("hasher&verify=adaptive:1e-1", &early).await.expect("submitted");
    assert_eq!(coordinator.outputs(before.id).await, answers(&early));
    let it = strangers(&coordinator).await[0].clone();
    assert_eq!((it.standing, it.dissents), (Standing::Established, 0), "{it:?}");

    let inputs: Vec<Vec<u8>> = (0..100).map(|number| format!("another text {number}").into_bytes()).collect();
    let run = coordinator.submit("hasher&verify=adaptive:1e-1", &inputs).await.expect("submitted");
    let lied = async || {
        let workers = strangers(&coordinator).await;
        workers.iter().any(|worker| worker.id == it.id && worker.dissents > 0).then_some(())
    };
    until("it is caught", lied).await;
    // The liar leaves meanwhile, so nobody counts who is there.
    let _runners = [Runner::start(&coordinator.join()), Runner::start(&coordinator.join())];
    let right = async || {
        let run = coordinator.run(run.id).await;
        if run.state != RunState::Finished {
            return None;
        }
        (coordinator.outputs(run.id).await == answers(&inputs)).then_some(run)
    };
    let ended = until("all of its answers are put right", right).await;
    assert_eq!(coordinator.outputs(before.id).await, answers(&early));
    let list = changed(&coordinator, run.id).await.changed;
    assert_eq!(list.len() as u64, ended.changed);
    assert!(!list.is_empty(), "it was believed for a while");
    for change in &list {
        let (was, is) = (change.was.as_ref().expect("an answer"), change.is.as_ref().expect("another answer"));
        assert!(
            was.output != is.output
                && is.output == Some(manyhands_model::Digest::of(&jobs::hash(&inputs[change.unit as usize])))
        );
    }
    let log = coordinator.request(Method::GET, "/v1/audit?after=0").send().await.expect("an answer");
    let log = log.text().await.expect("a log");
    assert_eq!(log.matches("result_changed").count(), list.len());
    let mut caught = log.lines().filter(|line| line.contains("worker_caught") && line.contains(&it.id.to_string()));
    assert!(caught.next().is_some_and(|line| line.contains(r#""by":"operator""#)), "{log}");
    assert_eq!(coordinator.metric("manyhands_results_changed_total").await, list.len() as u64);
    let browser = Browser::signed_in(&coordinator).await;
    let page = browser.page(&format!("/operator/runs/{}", run.id)).await;
    let first = list[0].is.as_ref().and_then(|is| is.output).expect("an output").short();
    assert!(page.contains("Results that are not what they were") && page.contains(&format!("ok {first}")), "{page}");
    let runs = browser.page("/operator/runs").await;
    assert!(runs.contains(&format!("<td class=\"bad\">{}</td>", list.len())), "{runs}");
    drop(liar);
    coordinator.kill();
    coordinator.restart().await;
    assert_eq!(coordinator.run(run.id).await.changed, ended.changed);
    assert_eq!(coordinator.outputs(run.id).await, answers(&inputs));
}

#[tokio::test]
async fn metrics_say_how_audits_stand_what_words_are_worth_and_who_says_that_they_are_worth_nothing() {
    let coordinator = with_hasher(SMALL).await;
    let _runners = coordinator.runners(2).await;
    let metric = async |name: &str| coordinator.metric(&format!("manyhands_{name}")).await;
    assert_eq!(metric("disputes_left").await, 2_000);
    let inputs = jobs::texts(36);
    for rule in ["2of4", "audited"] {
        let run = coordinator.submit(&format!("hasher&verify={rule}"), &inputs[..6]).await.expect("submitted");
        assert_eq!(coordinator.outputs(run.id).await, answers(&inputs[..6]));
    }
    // Whoever begins by lying to the operator's machine is gone at once.
    let _liar = Liar::start(&coordinator.join());
    until("the liar is there", async || (coordinator.connected().await == 4).then_some(())).await;
    let run = coordinator.submit("hasher&verify=audited", &inputs).await.expect("submitted");
    assert_eq!(coordinator.outputs(run.id).await, answers(&inputs));
    let banned = async || (metric(r#"workers{standing="banned"}"#).await == 1).then_some(());
    until("it is banned", banned).await;
    let idle = async || (metric(r#"audits{state="running"}"#).await == 0).then_some(());
    until("the last audit is done", idle).await;
    assert_eq!(metric(r#"audits{state="waiting"}"#).await, 0);
    for (reason, units) in [("rule", 42), ("dispute", 0), ("alone", 0), ("drawn", 0)] {
        assert_eq!(metric(&format!("audits_asked_total{{reason=\"{reason}\"}}")).await, units, "{reason}");
        assert_eq!(metric(&format!("audits_done_total{{reason=\"{reason}\"}}")).await, units, "{reason}");
    }
    for (rule, units) in [("fixed", 6), ("adaptive", 0), ("full", 0), ("audited", 42)] {
        assert_eq!(metric(&format!("units_decided_total{{rule=\"{rule}\"}}")).await, units, "{rule}");
    }
    let lies = metric(r#"dissents_total{by="operator"}"#).await;
    assert!((1..=2).contains(&lies), "it asks for two units at a time: {lies}");
    assert_eq!(metric(r#"dissents_total{by="quorum"}"#).await + metric(r#"dissents_total{by="peers"}"#).await, 0);
    assert_eq!(metric(r#"workers{standing="trusted"}"#).await, 1);
    let known = metric(r#"workers{standing="established"}"#).await;
    assert!(known >= 1, "42 units make a record of ten checks for somebody");
    assert_eq!(known + metric(r#"workers{standing="stranger"}"#).await, 2);
    assert_eq!(metric("results_changed_total").await, 0);
    assert!(metric("disputes_left").await >= 2_000);
}

#[tokio::test]
async fn audits_go_on_where_a_power_cut_left_them() {
    let mut coordinator = with_hasher(SMALL).await;
    let _runners: Vec<Runner> = coordinator.runners(2).await;
    let inputs = jobs::texts(60);
    let run = coordinator.submit("hasher&verify=audited", &inputs).await.expect("submitted");
    for done in [5, 20, 40] {
        coordinator.done(run.id, done).await;
        coordinator.kill();
        coordinator.restart().await;
    }
    assert_eq!(coordinator.outputs(run.id).await, answers(&inputs));
    let none = async || {
        let view = verification(&coordinator).await;
        (view.audits_under_way + view.audits_in_line == 0).then_some(())
    };
    until("no audit is left over", none).await;
}

#[tokio::test]
async fn a_flood_from_one_address_is_one_voice() {
    let settings = ["verification.auditor=off", "verification.proxies=127.0.0.1", "verification.record_checks=10"];
    let coordinator = with_hasher(&settings).await;
    let join = coordinator.join();
    let flood: Vec<Liar> =
        (1..=5).map(|number| Liar::start_with(&join, &["--from", &format!("198.51.100.{number}")])).collect();
    until("the flood is there", async || (coordinator.connected().await == 5).then_some(())).await;
    let run: RunView = coordinator.submit("hasher&verify=full", &jobs::texts(1)).await.expect("submitted");
    let unit = async || -> UnitView { coordinator.get(&format!("/v1/runs/{}/units/0", run.id)).await.expect("a unit") };
    let alone = async || {
        let unit = unit().await;
        (unit.replicas.len() == 1 && unit.state == "needs_independent_worker").then_some(())
    };
    until("one has spoken and the others may not", alone).await;
    let _others: Vec<Liar> =
        ["203.0.113.9", "192.0.2.7"].into_iter().map(|from| Liar::start_with(&join, &["--from", from])).collect();
    until("others are heard", async || (unit().await.replicas.len() == 3).then_some(())).await;
    let voices: BTreeSet<WorkerId> = unit().await.replicas.iter().map(|replica| replica.worker).collect();
    assert_eq!(voices.len(), 3);
    assert_eq!(unit().await.replicas.len(), 3, "of the flood, one");
    drop(flood);
}
