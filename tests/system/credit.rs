//! What workers earn, against crashes, liars and whoever changes an export; and what happens when a budget is used up.

use std::collections::BTreeMap;
use std::time::Duration;

use manyhands_api::{AccountView, CreditList, NewDeposit, ResultLine, Statement, WorkerDetail, WorkerView};
use manyhands_credit::{Account, Amount};
use manyhands_model::{Manifest, RunId, WorkerId};
use manyhands_protocol::Receipt;
use manyhands_tests::{Coordinator, Liar, Worker, jobs, run, until};
use reqwest::Method;
use serde_json::{Value, json};

async fn balances(coordinator: &Coordinator) -> BTreeMap<Account, Amount> {
    let list: CreditList = coordinator.get("/v1/credit?limit=1000").await.expect("a list");
    list.accounts.into_iter().map(|account| (account.account, account.balance)).collect()
}

/// What those have burnt who gave a run's answers.
async fn fair(coordinator: &Coordinator, id: RunId, units: u64) -> BTreeMap<Account, Amount> {
    let mut fair: BTreeMap<Account, Amount> = BTreeMap::new();
    for unit in 0..units {
        let unit: Value = coordinator.get(&format!("/v1/runs/{id}/units/{unit}")).await.expect("a unit");
        for replica in unit["replicas"].as_array().expect("replicas").iter().filter(|it| it["agrees"] == true) {
            let worker: WorkerId = replica["worker"].as_str().expect("a worker").parse().expect("an id");
            let fuel = Amount(replica["fuel"].as_u64().expect("fuel").into());
            *fair.entry(Account::Worker(worker)).or_default() += fuel;
            *fair.entry(Account::Requester("operator".into())).or_default() += -fuel;
        }
    }
    fair
}

/// `manyhands` with the operator's token, which has to succeed.
fn manyhands(coordinator: &Coordinator, arguments: &[&str]) -> String {
    let token = coordinator.data_dir().join("operator.token").display().to_string();
    let url = coordinator.url("");
    let output = run("manyhands", [&["--server", &url, "--token-file", &token], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn deposit(coordinator: &Coordinator, name: &str, amount: &str, key: &str) -> AccountView {
    let path = format!("/v1/credit/requesters/{name}");
    let request = coordinator.request(Method::POST, &path).header("idempotency-key", key);
    let answer = request.json(&NewDeposit { amount: amount.into() }).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    answer.json().await.expect("an account")
}

#[tokio::test]
async fn whoever_is_killed_and_whoever_lies_workers_have_what_their_answers_cost() {
    let mut coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runners = coordinator.runners(3).await;
    let liar = Liar::start(&coordinator.join());
    let run = coordinator.submit("hasher&replicas=2&replicas_max=6", &jobs::texts(60)).await.expect("submitted");
    for count in [5, 20, 40] {
        coordinator.done(run.id, count).await;
        coordinator.kill();
        coordinator.restart().await;
    }
    coordinator.outputs(run.id).await;

    let fair = fair(&coordinator, run.id, 60).await;
    let have = balances(&coordinator).await;
    assert_eq!(have, fair);
    assert_eq!(have.values().copied().sum::<Amount>(), Amount::ZERO);
    let liars: Vec<_> = coordinator.workers().await.into_iter().filter(|worker| worker.dissents > 0).collect();
    assert!(!liars.is_empty(), "nobody lied: {}", liar.process.log());
    assert!(liars.iter().all(|liar| !have.contains_key(&Account::Worker(liar.id))), "a liar earned something");

    // Statements say the same, and so does a check of the data.
    for (account, balance) in &have {
        let path = match account {
            Account::Worker(id) => format!("/v1/credit/workers/{id}"),
            Account::Requester(name) => format!("/v1/credit/requesters/{name}"),
            Account::Operator => continue,
        };
        let mut lines = Vec::new();
        let mut page: Statement = coordinator.get(&format!("{path}?limit=1")).await.expect("a statement");
        loop {
            lines.append(&mut page.lines);
            let Some(after) = page.next else { break };
            page = coordinator.get(&format!("{path}?limit=1&after={after}")).await.expect("a statement");
        }
        assert!(lines.iter().all(|line| line.run == Some(run.id)));
        assert_eq!((lines.iter().map(|line| line.amount).sum::<Amount>(), page.balance), (*balance, *balance));
    }
    let problems: Value = coordinator.post("/v1/check", "").await.expect("a check");
    assert_eq!(problems["problems"], json!([]));
    assert!(manyhands(&coordinator, &["credit"]).contains("requester  operator"));
    let best = have.iter().filter(|(account, _)| matches!(account, Account::Worker(_)));
    let (best, balance) = best.max_by_key(|(_, balance)| **balance).expect("a worker");
    let Account::Worker(best) = best else { panic!("{best:?} is no worker") };
    let detail: WorkerDetail = coordinator.get(&format!("/v1/workers/{best}")).await.expect("a worker");
    assert_eq!((detail.worker.id, detail.balance, detail.exposure), (*best, *balance, vec![]), "no run is active");
}

#[tokio::test]
async fn a_budget_that_is_used_up_stops_a_run_and_a_deposit_lets_it_go_on() {
    let mut coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let account = deposit(&coordinator, "operator", "1", "first").await;
    assert_eq!((account.balance, account.has_deposited), (Amount(1), true));
    assert_eq!(deposit(&coordinator, "operator", "1", "first").await.balance, Amount(1), "it happens once");
    let _runners = coordinator.runners(2).await;
    // More than two runners hold at once.
    let inputs = jobs::texts(400);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");
    let stopped = async || {
        let why: Value = coordinator.get(&format!("/v1/runs/{}/why", run.id)).await.expect("an answer");
        let reasons = why["reasons"].as_array().expect("reasons");
        let stopped = reasons.iter().all(|reason| reason["reason"] == "out_of_budget");
        Some(why["run"]["units"]["done"].as_u64().expect("a count")).filter(|_| stopped && !reasons.is_empty())
    };
    let done = until("the run stops", stopped).await;
    assert!(0 < done && done < 300, "{done} of 400 are done: what was out, and no more");
    let spent = Amount(1) + -balances(&coordinator).await[&Account::Requester("operator".into())];
    assert_eq!(-fair(&coordinator, run.id, 400).await[&Account::Requester("operator".into())], spent);
    coordinator.kill();
    coordinator.restart().await;
    until("runners are back", async || (coordinator.connected().await == 2).then_some(())).await;
    let stopped = async || {
        let why: Value = coordinator.get(&format!("/v1/runs/{}/why", run.id)).await.expect("an answer");
        let first = why["units"][0]["sentence"].as_str().unwrap_or_default().to_owned();
        first.contains("its owner's budget is used up: -").then_some(why["run"]["units"]["done"].as_u64())
    };
    assert_eq!(until("it is still stopped", stopped).await, Some(done));

    // Who has seen how much of it is known as well.
    for worker in coordinator.workers().await {
        let detail: WorkerDetail = coordinator.get(&format!("/v1/workers/{}", worker.id)).await.expect("a worker");
        let [seen] = detail.exposure[..] else { panic!("{:?}", detail.exposure) };
        assert!(seen.run == run.id && seen.of == 400 && u64::from(seen.units) >= done, "{seen:?}");
    }

    let said = manyhands(&coordinator, &["credit", "deposit", "operator", "1000000000000"]);
    assert!(said.starts_with("operator has "), "{said}");
    let results: Vec<ResultLine> = coordinator.results(run.id).await;
    assert_eq!(results.len(), 400);
    let audit =
        coordinator.request(Method::GET, "/v1/audit").send().await.expect("an answer").text().await.expect("text");
    assert_eq!(audit.matches("\"deposited\"").count(), 2, "{audit}");
    let statement = manyhands(&coordinator, &["credit", "statement", "operator"]);
    assert!(statement.contains("deposit") && statement.contains(&run.id.to_string()), "{statement}");
}

#[tokio::test]
async fn whoever_may_not_or_asks_for_nonsense_is_told_so() {
    let coordinator = Coordinator::start().await;
    let created = coordinator.request(Method::POST, "/v1/tokens").json(&json!({ "name": "ann", "role": "requester" }));
    let created: Value = created.send().await.expect("an answer").json().await.expect("a token");
    let token = created["token"].as_str().expect("a secret").to_owned();
    let as_ann = async |method: Method, path: &str, body: Value| {
        let request = coordinator.anonymous(method, path).bearer_auth(&token);
        request.json(&body).send().await.expect("an answer").status().as_u16()
    };
    let own: Value = coordinator
        .anonymous(Method::GET, "/v1/credit")
        .bearer_auth(&token)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("a list");
    assert_eq!(own["accounts"], json!([{ "account": { "requester": "ann" }, "balance": "0", "has_deposited": false }]));
    let more = json!({ "amount": "5" });
    for (method, path, body, status) in [
        (Method::GET, "/v1/credit/requesters/ann", Value::Null, 200),
        (Method::GET, "/v1/credit/requesters/operator", Value::Null, 404),
        (Method::GET, "/v1/credit/export", Value::Null, 403),
        (Method::POST, "/v1/credit/requesters/ann", more.clone(), 403),
    ] {
        assert_eq!(as_ann(method, path, body).await, status, "{path}");
    }
    for (path, body, code) in [
        ("/v1/credit/requesters/nobody", more, (404, "not-found")),
        ("/v1/credit/requesters/ann", json!({ "amount": "0" }), (422, "invalid")),
        ("/v1/credit/requesters/ann", json!({ "amount": "1.5" }), (422, "invalid")),
        ("/v1/credit/requesters/ann", json!({ "amount": "9".repeat(40) }), (422, "invalid")),
    ] {
        let answer = coordinator.request(Method::POST, path).json(&body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.expect("a problem");
        assert_eq!((status, &problem["type"]), (code.0, &json!(format!("/problems/{}", code.1))), "{problem}");
    }
    for path in [
        "/v1/credit/workers/w_short",
        "/v1/credit?after=%21",
        "/v1/credit/requesters/ann?after=x",
        "/v1/credit/export?from=9000000000000000",
    ] {
        assert_eq!(coordinator.get::<Value>(path).await.expect_err("refused").code(), (422, "invalid"), "{path}");
    }
}

#[tokio::test]
async fn an_export_is_what_was_earned_and_a_changed_byte_is_found() {
    let coordinator = Coordinator::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, changed) = (folder.path().join("export"), folder.path().join("changed"));
    let (file, changed) = (file.to_str().expect("a name"), changed.to_str().expect("a name"));
    // The present hour is not over, so it is not in it.
    let said = manyhands(&coordinator, &["credit", "export", file]);
    assert!(said.contains("0 lines") && said.contains("balanced"), "{said}");
    let root = coordinator.join().split_once('#').expect("the key's fingerprint").1.to_owned();
    let offline = |file: &str, root: &str| {
        let output = run("manyhands", ["--server", "http://127.0.0.1:1", "credit", "verify", file, "--root", root]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(offline(file, &root).0, Some(0));
    let text = std::fs::read_to_string(file).expect("the export");
    std::fs::write(changed, text.replacen("\"lines\":0", "\"lines\":1", 1)).expect("written");
    let (code, said) = offline(changed, &root);
    assert!(code == Some(2) && said.contains("not what was signed"), "{said}");
    let (code, said) = offline(file, "key_aaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert!(code == Some(2) && said.contains("expected key_aaaa"), "{said}");
}

#[tokio::test]
async fn workers_that_stay_have_all_the_time_that_the_coordinator_was_there() {
    let mut coordinator = Coordinator::start().await;
    let mut runners = coordinator.runners(2).await;
    let uptimes = async |coordinator: &Coordinator| -> Vec<(WorkerView, u32)> {
        let workers = coordinator.workers().await.into_iter();
        let shares = workers.filter_map(|worker| Some((worker.clone(), worker.uptime?.thirty_days?.0)));
        shares.collect()
    };
    let both =
        until("somebody has looked", async || Some(uptimes(&coordinator).await).filter(|all| all.len() == 2)).await;
    assert!(both.iter().all(|(_, share)| *share == 1_000_000), "{both:?}");
    drop(runners.pop());
    let less = async || {
        let all = uptimes(&coordinator).await;
        let gone = all.iter().any(|(worker, share)| !worker.connected && *share < 1_000_000);
        (gone && all.iter().all(|(worker, share)| !worker.connected || *share == 1_000_000)).then_some(all)
    };
    let before = until("one is missed", less).await;
    assert!(manyhands(&coordinator, &["workers"]).contains("UPTIME"));
    // It writes down what it saw when it is asked to stop.
    coordinator.process.terminate();
    while coordinator.process.ended().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    coordinator.restart().await;
    // Who brought nothing yet is known again when it comes, and since when it is.
    let back = until("the other is back", async || uptimes(&coordinator).await.pop()).await.0;
    let known = before.iter().find(|(worker, _)| worker.id == back.id).expect("it was there before");
    assert_eq!(known.0.uptime.map(|it| it.since), back.uptime.map(|it| it.since));
}

#[tokio::test]
async fn units_with_tokens_are_paid_by_the_least_that_is_claimed_also_after_a_crash() {
    let mut coordinator = Coordinator::start().await;
    let parrot = jobs::parrot();
    let sensitive = serde_json::from_value(json!([{ "at": "/email", "class": "email" }])).expect("fields");
    let discreet = jobs::parrot_of(Manifest { sensitive, ..parrot.manifest });
    coordinator.publish(&discreet.module, &discreet.manifest).await.expect("published");
    let input = json!({ "email": "ann.lee@example.com" }).to_string().into_bytes();
    let run = coordinator.submit("parrot&replicas=2", &[input]).await.expect("submitted");
    let mut workers = Vec::new();
    for fuel in [70_000, 90_000] {
        let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
        let unit = worker.units(1).await.expect("granted").remove(0);
        let answer = unit.input.clone();
        assert_eq!(worker.report(&unit, &answer, fuel).await.expect("a receipt"), Receipt::Recorded);
        workers.push(Account::Worker(worker.id()));
        coordinator.kill();
        coordinator.restart().await;
    }
    let balances = balances(&coordinator).await;
    assert!(workers.iter().all(|worker| balances[worker] == Amount(70_000)), "{balances:?}");
    assert_eq!(balances[&Account::Requester("operator".into())], Amount(-140_000));
    // What each claimed is there to be seen.
    let unit: Value = coordinator.get(&format!("/v1/runs/{}/units/0", run.id)).await.expect("a unit");
    assert_eq!([&unit["replicas"][0]["fuel"], &unit["replicas"][1]["fuel"]], [&json!(70_000), &json!(90_000)]);
}

#[tokio::test]
async fn nobody_is_paid_more_than_a_job_may_burn() {
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    let most = job.manifest.limits.fuel.0;
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    coordinator.submit("hasher", &jobs::texts(1)).await.expect("submitted");
    for fuel in [most, most + 1, u64::MAX] {
        let mut worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
        let unit = worker.units(1).await.expect("granted").remove(0);
        match worker.report(&unit, b"an answer", fuel).await.expect("an answer") {
            Receipt::Recorded => assert_eq!(fuel, most),
            Receipt::Refused(reason) => assert!(fuel > most && reason.contains(&format!("{most} fuel")), "{reason}"),
            Receipt::AlreadyRecorded => panic!("it is new"),
        }
    }
}
