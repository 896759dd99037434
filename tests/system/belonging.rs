//! Who is let back and who is kept out.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use data_encoding::BASE32_NOPAD;
use manyhands_api::{CreatedInvitation, FaultView, NewInvitation, NewPardon, UnitView, WorkerDetail};
use manyhands_blocklist::{Draft, Entry};
use manyhands_model::{Judge, RunId, Timestamp, WorkerId};
use manyhands_protocol::{Balance, Body, ClientMessage, Greeting, Hello, Invitation, Receipt, ServerMessage};
use manyhands_signing::{Attested, Keypair, Signed, Validity};
use manyhands_tests::{Coordinator, Lost, Runner, Unit, Worker, jobs, run, until};
use reqwest::Method;

use crate::console::Browser;

async fn with_hasher(settings: &[&'static str]) -> Coordinator {
    let coordinator = Coordinator::start_with(settings).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    coordinator
}

/// `manyhands` with the operator's token: whether it succeeded, and all that it said.
fn manyhands(coordinator: &Coordinator, arguments: &[&str]) -> (bool, String) {
    let token = coordinator.data_dir().join("operator.token").display().to_string();
    let output = run("manyhands", [&["--server", &coordinator.url(""), "--token-file", &token], arguments].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

async fn detail(coordinator: &Coordinator, worker: WorkerId) -> WorkerDetail {
    coordinator.get(&format!("/v1/workers/{worker}")).await.expect("a worker")
}

async fn pardon(coordinator: &Coordinator, worker: &str, reason: Option<&str>) -> u16 {
    let request = coordinator.request(Method::POST, &format!("/v1/workers/{worker}/pardon"));
    let request = request.json(&NewPardon { reason: reason.map(str::to_owned) });
    request.send().await.expect("an answer").status().as_u16()
}

async fn log(coordinator: &Coordinator) -> String {
    let log = coordinator.request(Method::GET, "/v1/audit?after=0").send().await.expect("an answer");
    log.text().await.expect("a log")
}

/// Connects again and again, until that is what comes of it.
async fn connects(coordinator: &Coordinator, key: &Keypair, expected: bool) -> Option<Lost> {
    let connects = async || {
        let connected = Worker::connect(&coordinator.join(), Keypair::from_seed(&key.seed())).await;
        (connected.is_ok() == expected).then(|| connected.err())
    };
    until("it is let in, or is not", connects).await
}

/// Has a worker say something wrong about each of a run's units, and two runners what is right.
async fn contradicted(coordinator: &Coordinator, mut liar: Worker, units: u32) -> RunId {
    let run = coordinator.submit("hasher&verify=2of4", &jobs::texts(units)).await.expect("submitted");
    for _ in 0..units {
        let unit: Unit = liar.units(1).await.expect("granted").remove(0);
        assert_eq!(liar.report(&unit, b"a lie", 7).await.expect("an answer"), Receipt::Recorded);
    }
    let _runners = [Runner::start(&coordinator.join()), Runner::start(&coordinator.join())];
    coordinator.done(run.id, u64::from(units)).await;
    run.id
}

#[tokio::test]
async fn who_is_banned_is_told_whom_to_ask_and_whoever_is_pardoned_starts_with_nothing() {
    let settings = ["volunteers.contact=mailto:ann@example.org", "verification.auditor=off"];
    let mut coordinator = with_hasher(&settings).await;
    let key = Worker::new_key();
    let id = WorkerId::from(key.public());
    assert_eq!(pardon(&coordinator, &id.to_string(), None).await, 404, "nobody knows it");
    let liar = Worker::connect(&coordinator.join(), Keypair::from_seed(&key.seed())).await.expect("connected");
    let run = contradicted(&coordinator, liar, 3).await;
    let Some(Lost::Refused { reason, retry_after: None }) = connects(&coordinator, &key, false).await else {
        panic!("it is refused for good")
    };
    for word in ["mailto:ann@example.org", &id.to_string(), "memory", "overclocking"] {
        assert!(reason.contains(word), "{reason}");
    }

    let before = detail(&coordinator, id).await;
    assert!(before.worker.banned && before.pardons.is_empty(), "{before:?}");
    let mut wrong: Vec<_> = before.faults.iter().map(|fault| (fault.run, fault.unit, fault.judge)).collect();
    wrong.sort_by_key(|(_, unit, _)| *unit);
    assert_eq!(wrong, [0, 1, 2].map(|unit| (run, unit, Judge::Quorum)));
    assert!(before.faults.iter().all(|fault| fault.said.contains("ok: 5 bytes") && fault.said != fault.answer));

    for (worker, reason, status) in [
        ("nobody", None, 422),
        (&*id.to_string(), Some(""), 422),
        (&*id.to_string(), Some("two\nlines"), 422),
        (&*id.to_string(), Some(&*"x".repeat(201)), 422),
    ] {
        assert_eq!(pardon(&coordinator, worker, reason).await, status, "{worker} {reason:?}");
    }
    let stranger = coordinator.anonymous(Method::POST, &format!("/v1/workers/{id}/pardon"));
    let stranger = stranger.json(&NewPardon::default()).send().await.expect("an answer");
    assert_eq!(stranger.status().as_u16(), 401);
    assert!(!log(&coordinator).await.contains("worker_pardoned"), "none of that was a pardon");

    let browser = Browser::signed_in(&coordinator).await;
    let path = format!("/operator/workers/{id}");
    let page = browser.page(&path).await;
    for word in ["Found wrong", "a quorum", "manyhands workers pardon", &run.to_string()] {
        assert!(page.contains(word), "{word} in {page}");
    }
    assert!(!page.contains("Pardoned by") && !page.contains("a lie"), "{page}");

    let (done, said) =
        manyhands(&coordinator, &["workers", "pardon", &id.to_string(), "--reason", "bad memory, replaced"]);
    assert!(done, "{said}");
    // Whoever was told so finds it so, whatever comes right after.
    coordinator.kill();
    coordinator.restart().await;
    connects(&coordinator, &key, true).await;
    let page = Browser::signed_in(&coordinator).await.page(&path).await;
    assert!(page.contains("Pardoned by operator") && page.contains("bad memory, replaced"), "{page}");
    assert_eq!(page.matches("(pardoned)").count(), 3, "{page}");
    for _ in 0..2 {
        let after = detail(&coordinator, id).await;
        assert!(!after.worker.banned && after.worker.checks == 0, "{after:?}");
        let listed = before.faults.iter().cloned().map(|fault| FaultView { pardoned: true, ..fault });
        assert_eq!(after.faults, listed.collect::<Vec<_>>(), "what it signed stays listed");
        let pardons: Vec<_> = after.pardons.iter().map(|pardon| (&*pardon.by, pardon.reason.as_deref())).collect();
        assert_eq!(pardons, [("operator", Some("bad memory, replaced"))]);
        coordinator.kill();
        coordinator.restart().await;
    }
    connects(&coordinator, &key, true).await;
    let log = log(&coordinator).await;
    assert!(log.contains("worker_pardoned") && log.contains("bad memory, replaced"), "{log}");
    let (_, shown) = manyhands(&coordinator, &["workers", &id.to_string()]);
    assert!(shown.contains("WRONG IN RUN") && shown.contains("pardoned by operator"), "{shown}");
}

#[tokio::test]
async fn an_honest_computer_that_errs_is_told_so_and_goes_on() {
    let coordinator = with_hasher(&["verification.auditor=off"]).await;
    let run = coordinator.submit("hasher&verify=2of4", &jobs::texts(1)).await.expect("submitted");
    let join = coordinator.join();
    let weak = Worker::connect_with(&join, Worker::new_key(), |key, challenge| {
        let greeting = Greeting { nonce: challenge.nonce, coordinator: challenge.root };
        let body = Body { engine: "wasmtime 48".into(), runtime: "manyhands-tests".into() };
        Hello { greeting: Signed::new(key, &greeting), body, slots: 1, is_watched: true, invitation: None }
    });
    let mut weak = weak.await.expect("connected");
    let flipped = weak.units(1).await.expect("granted").remove(0);
    assert_eq!(weak.report(&flipped, b"a bit fell over", 7).await.expect("an answer"), Receipt::Recorded);
    for _ in 0..2 {
        let mut sound = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
        let unit = sound.units(1).await.expect("granted").remove(0);
        assert_eq!(sound.report(&unit, b"right", 7).await.expect("an answer"), Receipt::Recorded);
    }
    coordinator.done(run.id, 1).await;
    let told = loop {
        if let ServerMessage::Balance(balance) = weak.receive().await.expect("it stays connected") {
            break balance;
        }
    };
    assert_eq!(told, Balance { fuel: 0, contradicted: 1, settled: 1 });
    let more = coordinator.submit("hasher&verify=2of4", &jobs::texts(2)).await.expect("submitted");
    assert_eq!(weak.units(1).await.expect("granted")[0].run, more.id, "it may go on");
}

async fn invite(coordinator: &Coordinator, owner: Option<&str>, uses: u32) -> CreatedInvitation {
    let new = NewInvitation { owner: owner.map(str::to_owned), uses: Some(uses), days: Some(1) };
    let request = coordinator.request(Method::POST, "/v1/invitations").json(&new);
    request.send().await.expect("an answer").json().await.expect("an invitation")
}

/// Connects from that address, and shows an invitation.
async fn comes(coordinator: &Coordinator, key: &Keypair, from: &str, shown: Option<&str>) -> Result<Worker, Lost> {
    let shown = shown.map(|shown| Invitation(shown.to_owned()));
    Worker::connect_invited(&coordinator.join(), Keypair::from_seed(&key.seed()), from, shown).await
}

#[tokio::test]
async fn where_only_the_invited_may_join_others_are_told_what_to_ask_for() {
    let mut coordinator = with_hasher(&["workers.join=invited"]).await;
    let stranger = RefCell::new(Runner::start(&coordinator.join()));
    let ended = async || stranger.borrow_mut().process.ended();
    let ended = until("a runner without an invitation ends", ended).await;
    let said = stranger.borrow().process.log();
    assert!(ended.code() == Some(77) && said.contains("takes invited workers only"), "{said}");
    assert!(said.contains("--invitation FILE"), "{said}");

    let invited = invite(&coordinator, Some("ann"), 1).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{}\n", invited.invitation)).expect("written");
    let path = file.path().display().to_string();
    let _runner = Runner::start_with(&coordinator.join(), &["--invitation", &path]);
    until("it is let in", async || (coordinator.connected().await == 1).then_some(())).await;
    let worker = coordinator.workers().await.remove(0);
    assert_eq!((worker.owner.as_deref(), worker.invitation.as_deref()), (Some("ann"), Some(&*invited.id)));
    // What it needed once it needs no more.
    std::fs::write(file.path(), "mhi_gone").expect("written");
    coordinator.kill();
    coordinator.restart().await;
    until("it comes again", async || (coordinator.connected().await == 1).then_some(())).await;

    let key = Worker::new_key();
    for (shown, word) in [
        (None, "invited workers only"),
        (Some(&*invited.invitation), "as many workers as it is for"),
        (Some("mhi_nonsense"), "knows no such invitation"),
    ] {
        match comes(&coordinator, &key, "192.0.2.1", shown).await.err() {
            Some(Lost::Refused { reason, retry_after: None }) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{shown:?}: {other:?}"),
        }
    }
    let (done, said) = manyhands(&coordinator, &["invite", "revoke", &invited.id]);
    assert!(done, "{said}");
    until("it is sent away", async || (coordinator.connected().await == 0).then_some(())).await;
    let page = Browser::signed_in(&coordinator).await.page("/operator/joining").await;
    for word in [&*invited.id, "1 of 1", "revoked", "Only invited workers may join"] {
        assert!(page.contains(word), "{word} in {page}");
    }
    assert!(!page.contains("mhi_"), "{page}");
    let (_, listed) = manyhands(&coordinator, &["invite", "list"]);
    assert!(listed.contains("1 of 1") && listed.contains("revoked"), "{listed}");
    let (done, made) = manyhands(&coordinator, &["invite", "create", "--owner", "bob", "--uses", "3"]);
    assert!(done && made.contains("mhi_") && made.contains("bob"), "{made}");
    let secret = made.split_whitespace().find(|word| word.starts_with("mhi_")).expect("an invitation");
    comes(&coordinator, &key, "192.0.2.1", Some(secret)).await.expect("let in");
    let log = log(&coordinator).await;
    for (event, count) in [("invitation_created", 2), ("invitation_revoked", 1)] {
        assert_eq!(log.matches(event).count(), count, "{log}");
    }
    assert!(log.contains(&invited.id) && !log.contains("mhi_"), "{log}");
    let anybody = coordinator.anonymous(Method::GET, "/v1/invitations").send().await.expect("an answer");
    assert_eq!(anybody.status().as_u16(), 401);
}

#[tokio::test]
async fn who_came_with_one_invitation_or_for_one_owner_is_one_voice() {
    let settings = ["verification.auditor=off", "verification.proxies=127.0.0.1", "verification.record_checks=10"];
    let coordinator = with_hasher(&settings).await;
    let shared = invite(&coordinator, None, 2).await;
    let (one, other) = (invite(&coordinator, Some("ann"), 1).await, invite(&coordinator, Some("ann"), 1).await);
    let run = coordinator.submit("hasher&verify=full", &jobs::texts(1)).await.expect("submitted");
    let path = format!("/v1/runs/{}/units/0", run.id);
    let unit = async || -> UnitView { coordinator.get(&path).await.expect("a unit") };
    // Each from elsewhere; of two that belong together, one is heard.
    let guests = [(&shared, true), (&shared, false), (&one, true), (&other, false)];
    let guests = guests.map(|(invitation, is_heard)| (Some(&*invitation.invitation), is_heard));
    let mut voices = 0;
    for (number, (shown, is_heard)) in guests.into_iter().chain([(None, true)]).enumerate() {
        let from = format!("198.51.{number}.1");
        let mut worker = comes(&coordinator, &Worker::new_key(), &from, shown).await.expect("let in");
        if is_heard {
            let unit = worker.units(1).await.expect("granted").remove(0);
            let said = worker.report(&unit, number.to_string().as_bytes(), 7).await.expect("an answer");
            assert_eq!(said, Receipt::Recorded);
            voices += 1;
        } else {
            worker.send(&ClientMessage::Want(1)).await.expect("sent");
            let waits = async || {
                let is_there = coordinator.workers().await.iter().any(|it| it.id == worker.id() && it.connected);
                (is_there && unit().await.state == "needs_independent_worker").then_some(())
            };
            until("it may not answer", waits).await;
        }
        assert_eq!(unit().await.replicas.len(), voices, "after {number}");
    }
}

#[tokio::test]
async fn a_block_list_keeps_those_out_whom_another_coordinator_has_banned_until_an_operator_pardons_them() {
    let (issuer, mut other) = tokio::join!(with_hasher(&["verification.auditor=off"]), Coordinator::start());
    let key = Worker::new_key();
    let id = WorkerId::from(key.public());
    let liar = Worker::connect(&issuer.join(), Keypair::from_seed(&key.seed())).await.expect("connected");
    contradicted(&issuer, liar, 3).await;
    connects(&issuer, &key, false).await;
    connects(&other, &key, true).await;

    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (first, second) = (file("first"), file("second"));
    let (done, said) = manyhands(&issuer, &["blocklist", "export", &first]);
    assert!(done && said.contains("1 workers, 0 of them"), "{said}");
    let (done, said) = manyhands(&issuer, &["blocklist", "export", &second, "--evidence", "--days", "2"]);
    assert!(done && said.contains("1 workers, 1 of them with their own signature"), "{said}");
    let root = issuer.join().split('#').nth(1).expect("a fingerprint").to_owned();
    let stranger = other.join().split('#').nth(1).expect("a fingerprint").to_owned();

    // Not what was signed, somebody else's, or none of a coordinator.
    let list = std::fs::read_to_string(&first).expect("a list");
    let put = async |root: &str, text: String| {
        let request = other.request(Method::PUT, &format!("/v1/blocklists/{root}?name=neighbours"));
        request.body(text).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(put(&root, list.replacen("\"unit\":0", "\"unit\":1", 1)).await, 422);
    assert_eq!(put(&root, String::new()).await, 422);
    assert_eq!(put(&stranger, list.clone()).await, 422);
    assert_eq!(put("nobody", list.clone()).await, 422);
    connects(&other, &key, true).await;

    let mut there = Worker::connect(&other.join(), Keypair::from_seed(&key.seed())).await.expect("connected");
    let (done, said) = manyhands(&other, &["blocklist", "subscribe", &root, &second, "--name", "neighbours"]);
    assert!(done && said.contains("1 workers are refused"), "{said}");
    let lost = loop {
        if let Err(lost) = there.receive().await {
            break lost;
        }
    };
    assert!(matches!(lost, Lost::Refused { retry_after: Some(_), .. }), "it is sent away: {lost}");
    assert_eq!(put(&root, list).await, 409, "an earlier one does not take the place of a later one");
    for _ in 0..2 {
        let Some(Lost::Refused { reason, retry_after: None }) = connects(&other, &key, false).await else {
            panic!("it is refused for good")
        };
        for word in ["neighbours", &root, "3 wrong answers", "its signature", &id.to_string()] {
            assert!(reason.contains(word), "{reason}");
        }
        connects(&other, &Worker::new_key(), true).await;
        other.kill();
        other.restart().await;
    }
    let page = Browser::signed_in(&other).await.page("/operator/joining").await;
    for word in ["neighbours", &root, "for 48"] {
        assert!(page.contains(word), "{word} in {page}");
    }
    let (_, listed) = manyhands(&other, &["blocklist", "list"]);
    assert!(listed.contains("neighbours") && listed.contains("for 2 d"), "{listed}");

    assert_eq!(pardon(&other, &id.to_string(), Some("an old machine of ours")).await, 204);
    connects(&other, &key, true).await;
    assert_eq!(pardon(&issuer, &id.to_string(), None).await, 204);
    let (done, said) = manyhands(&issuer, &["blocklist", "export", &first]);
    assert!(done && said.contains("0 workers"), "{said}");
    let (done, said) = manyhands(&other, &["blocklist", "unsubscribe", &root]);
    assert!(done, "{said}");
    // What was left cannot be rolled back, after a crash neither.
    other.kill();
    other.restart().await;
    for (file, taken) in [(&first, true), (&second, false), (&first, true)] {
        let (done, said) = manyhands(&other, &["blocklist", "subscribe", &root, file]);
        assert!(done == taken && (taken || said.contains("a later one was taken here before")), "{file}: {said}");
        manyhands(&other, &["blocklist", "unsubscribe", &root]);
    }
    let log = log(&other).await;
    for word in ["blocklist_subscribed", "blocklist_dropped", "worker_pardoned"] {
        assert!(log.contains(word), "{log}");
    }
}

/// The signing key of a coordinator, as somebody has it who read its disk.
fn stolen(coordinator: &Coordinator) -> Keypair {
    let files = std::fs::read_dir(coordinator.data_dir().join("keys")).expect("keys");
    let mut paths = files.map(|file| file.expect("a file").path());
    let signing = paths.find(|path| !path.ends_with("root.key") && !path.ends_with("trust")).expect("a signing key");
    let text = std::fs::read_to_string(signing).expect("read");
    let (_, seed) = text.trim_end().split_once(' ').expect("fingerprint and seed");
    let seed = BASE32_NOPAD.decode(seed.as_bytes()).expect("base32");
    Keypair::from_seed(&seed.try_into().expect("32 bytes"))
}

#[tokio::test]
async fn attack_39_what_a_stolen_key_signs_is_refused_once_its_issuer_is_seen_to_have_replaced_it() {
    let (issuer, mut other) = tokio::join!(Coordinator::start(), Coordinator::start());
    let seen = Worker::connect(&issuer.join(), Worker::new_key()).await.expect("connected");
    let (root, key) = (seen.root, stolen(&issuer));
    let victim = WorkerId::from(Worker::new_key().public());
    let forged = |ahead: Duration| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let now = Timestamp(now.as_millis().try_into().expect("a date"));
        let draft = Draft::new(vec![Entry { worker: victim, charges: Vec::new() }]);
        let validity = Validity { issued_at: now, expires_at: now.after(Duration::from_secs(86_400)) };
        let seal = draft.seal(now.after(ahead).0, validity);
        let seal = Attested::new(root, seen.trust.clone(), Signed::new(&key, &seal)).expect("the key was in force");
        draft.sealed(&seal)
    };
    let path = format!("/v1/blocklists/{}", root.fingerprint());
    let put = async |other: &Coordinator, list: Vec<u8>| {
        let answer = other.request(Method::PUT, &path).body(list).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    let (status, said) = put(&other, forged(Duration::ZERO)).await;
    assert_eq!(status, 200, "nobody can know yet: {said}");

    let _keys: manyhands_api::KeysView = issuer.post("/v1/keys/rotate", "").await.expect("rotated");
    let export = issuer.request(Method::GET, "/v1/blocklists/export").send().await.expect("an answer");
    let (status, said) = put(&other, export.bytes().await.expect("a list").to_vec()).await;
    assert_eq!(status, 200, "{said}");
    for _ in 0..2 {
        let (status, said) = put(&other, forged(Duration::from_secs(600))).await;
        assert!(status == 409 && said.contains("revoked") && said.contains("exported now"), "{status} {said}");
        other.request(Method::DELETE, &path).send().await.expect("an answer");
        other.kill();
        other.restart().await;
    }
}
