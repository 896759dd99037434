//! The operator's pages, as a browser sees them.

use futures::StreamExt as _;
use manyhands_api::{ConsoleLink, CreatedToken, RunState, Standing};
use manyhands_model::{Fuel, Outcome, Verdict};
use manyhands_protocol::{Body, ClientMessage, Done, Report, Reports};
use manyhands_signing::Signed;
use manyhands_tests::{Coordinator, Liar, PATIENCE, Unit, Worker, jobs, run, until};
use reqwest::header::{ACCEPT_ENCODING, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Method, Response, StatusCode, redirect};

/// Somebody's browser: it keeps a cookie, says where its forms come from and follows nothing by itself.
pub(crate) struct Browser {
    http: Client,
    base: String,
    cookie: String,
}

impl Browser {
    fn of(coordinator: &Coordinator) -> Self {
        let http = Client::builder().no_proxy().timeout(PATIENCE).redirect(redirect::Policy::none()).build();
        let base = coordinator.join().split("/join#").next().expect("a base").to_owned();
        Self { http: http.expect("a client"), base, cookie: String::new() }
    }

    /// Signs in with a link of the operator whose token the coordinator has.
    pub(crate) async fn signed_in(coordinator: &Coordinator) -> Self {
        let link: ConsoleLink = coordinator.post("/v1/console-links", "").await.expect("a link");
        let mut browser = Self::of(coordinator);
        let entered = browser.enter(&link.link).await;
        assert_eq!(entered.status(), StatusCode::SEE_OTHER);
        browser
    }

    /// Sends the form for signing in as the page does, and keeps the cookie.
    async fn enter(&mut self, link: &str) -> Response {
        let entered = self.form("/operator/enter", &self.base, link.split('#').next_back().expect("a code")).await;
        if let Some(cookie) = entered.headers().get(SET_COOKIE) {
            self.cookie = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        }
        entered
    }

    async fn form(&self, path: &str, origin: &str, code: &str) -> Response {
        let request =
            self.http.post(format!("{}{path}", self.base)).header(ORIGIN, origin).header(COOKIE, &self.cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(format!("code={code}")).send().await.expect("an answer")
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.base)).header(COOKIE, &self.cookie);
        request.send().await.expect("an answer")
    }

    /// A page that is there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.expect("a page")
    }

    /// Follows events until one fits, and returns all until then.
    async fn events(&self, path: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut stream = self.get(path).await.bytes_stream();
        let mut seen = String::new();
        while !fits(&seen) {
            let more = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
            let Some(Ok(more)) = more else { panic!("the events ended with\n{seen}") };
            seen.push_str(&String::from_utf8_lossy(&more));
        }
        seen
    }
}

/// Whether somebody was sent to the door.
fn is_sent_away(answer: &Response) -> bool {
    answer.status() == StatusCode::SEE_OTHER && answer.headers()[LOCATION] == "/operator/enter"
}

const PAGES: &[&str] = &["/operator", "/operator/runs", "/operator/workers", "/operator/joining", "/operator/units"];

#[tokio::test]
async fn an_operator_signs_in_with_a_link_from_the_command_and_out_again() {
    let coordinator = Coordinator::start().await;
    let data = coordinator.data_dir().display().to_string();
    let printed = run("manyhands-coordinator", ["--data-dir", &data, "console"]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let link = String::from_utf8(printed.stdout).expect("text");
    let link = link.trim();
    let mut browser = Browser::of(&coordinator);
    assert!(link.starts_with(&format!("{}/operator/enter#mhc_", browser.base)), "{link}");
    for page in PAGES {
        assert!(is_sent_away(&browser.get(page).await), "{page} is for operators");
    }
    let door = browser.page("/operator/enter").await;
    assert!(door.contains("manyhands-coordinator console"), "{door}");

    let entered = browser.enter(link).await;
    assert_eq!(
        (entered.status(), &entered.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/operator".parse().unwrap())
    );
    let cookie = entered.headers()[SET_COOKIE].to_str().expect("text").to_owned();
    for part in ["manyhands=", "Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    for page in PAGES {
        let answer = browser.get(page).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers().clone();
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            (&headers["cache-control"], &headers["referrer-policy"]),
            (&"no-store".parse().unwrap(), &"same-origin".parse().unwrap())
        );
        let html = answer.text().await.expect("a page");
        assert!(!html.contains(" style=") && !html.contains("<style") && !html.contains("onclick"), "{html}");
    }
    let secret = browser.cookie.trim_start_matches("manyhands=").to_owned();
    let left = browser.form("/operator/leave", &browser.base, "").await;
    assert!(is_sent_away(&left) && left.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert!(is_sent_away(&browser.get("/operator").await), "the cookie is worth nothing any more");
    let log = coordinator.process.log();
    assert!(!log.contains(&secret) && !log.contains("mhc_"), "no secret is in the log");
}

#[tokio::test]
async fn attack_a_used_code_a_guess_a_foreign_form_and_a_lower_role() {
    let coordinator = Coordinator::start().await;
    let link: ConsoleLink = coordinator.post("/v1/console-links", "").await.expect("a link");
    let mut thief = Browser::of(&coordinator);
    // A page elsewhere that knows a code could sign its visitor in as somebody else.
    let elsewhere =
        thief.form("/operator/enter", "https://evil.example", link.link.split('#').next_back().unwrap()).await;
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN);
    assert!(!elsewhere.headers().contains_key(SET_COOKIE));
    let operator = Browser::of(&coordinator).enter(&link.link).await;
    assert_eq!(operator.status(), StatusCode::SEE_OTHER, "the foreign form used nothing up");
    for code in [&*link.link, "mhc_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""] {
        let refused = thief.enter(code).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{code}");
        assert!(!refused.headers().contains_key(SET_COOKIE));
        assert!(!refused.text().await.expect("a page").contains("mhc_"), "what was tried is not said again");
    }
    thief.cookie = "manyhands=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into();
    assert!(is_sent_away(&thief.get("/operator").await));
    assert_eq!(thief.get("/operator/events?replicas=true").await.status(), StatusCode::UNAUTHORIZED);

    let new = r#"{"name":"ann","role":"developer"}"#;
    let request = coordinator.request(Method::POST, "/v1/tokens").header("content-type", "application/json").body(new);
    let ann: CreatedToken = request.send().await.expect("an answer").json().await.expect("a token");
    let request = coordinator.anonymous(Method::POST, "/v1/console-links").bearer_auth(&ann.token);
    assert_eq!(request.send().await.expect("an answer").status(), StatusCode::FORBIDDEN);
    let nobody = coordinator.anonymous(Method::POST, "/v1/console-links").send().await.expect("an answer");
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn attack_a_revoked_operator_goes_on_looking() {
    let coordinator = Coordinator::start().await;
    let new = r#"{"name":"bob","role":"operator"}"#;
    let request = coordinator.request(Method::POST, "/v1/tokens").header("content-type", "application/json").body(new);
    let bob: CreatedToken = request.send().await.expect("an answer").json().await.expect("a token");
    let request = coordinator.anonymous(Method::POST, "/v1/console-links").bearer_auth(&bob.token);
    let link: ConsoleLink = request.send().await.expect("an answer").json().await.expect("a link");
    let mut browser = Browser::of(&coordinator);
    browser.enter(&link.link).await;
    browser.page("/operator").await;
    let begun = tokio::sync::Notify::new();
    let following = browser.events("/operator/events?replicas=true", |seen| {
        if seen.contains("event: scene") {
            begun.notify_one();
        }
        seen.contains("event: bye")
    });
    let revoking = async {
        begun.notified().await;
        let path = format!("/v1/tokens/{}", bob.id);
        let revoked = coordinator.request(Method::DELETE, &path).send().await.expect("an answer");
        assert_eq!(revoked.status(), StatusCode::NO_CONTENT);
    };
    let (seen, ()) = tokio::join!(following, revoking);
    assert!(seen.contains("event: scene"), "{seen}");
    assert!(is_sent_away(&browser.get("/operator").await));
}

#[tokio::test]
async fn the_pages_show_who_works_who_lies_and_why_a_run_is_not_done() {
    let coordinator = Coordinator::start().await;
    let browser = Browser::signed_in(&coordinator).await;
    assert!(browser.page("/operator/workers").await.contains("Nobody has joined yet"));
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let submitted = coordinator.submit("hasher", &jobs::texts(40)).await.expect("submitted");
    let path = format!("/operator/runs/{}", submitted.id);
    for page in ["/operator/runs", &path] {
        let html = browser.page(page).await;
        assert!(html.contains("no worker is connected") && html.contains("0 of 40"), "{html}");
    }

    // Whoever looks from now on sees all of it.
    let following = browser.events("/operator/events?replicas=true", |seen| {
        // A bar's seventh figure is what became of it.
        let stage = |wanted: &str| {
            let bars =
                seen.lines().filter_map(|line| line.split_once("\"bars\":")).flat_map(|(_, bars)| bars.split("],["));
            bars.filter(|bar| bar.split(',').nth(6) == Some(wanted)).count()
        };
        stage("3") >= 20 && stage("4") >= 1
    });
    let working = async {
        let liar = Liar::start(&coordinator.join());
        let runners = coordinator.runners(3).await;
        coordinator.done(submitted.id, 40).await;
        (liar, runners)
    };
    let (seen, _workers) = tokio::join!(following, working);
    assert!(seen.contains("event: scene") && seen.contains("event: bars") && seen.contains("\"hasher\""), "{seen}");
    assert!(seen.contains("wasmtime") && seen.contains("\"native\""), "{seen}");

    let finished = coordinator.run(submitted.id).await;
    assert!(finished.state == RunState::Finished && finished.dissents > 0, "{finished:?}");
    let html = browser.page(&path).await;
    for words in [
        "It is done: every unit has an output",
        "40 of 40",
        "contradicts the answer",
        "(native)",
        "Time from lease to report",
    ] {
        assert!(html.contains(words), "{words} in\n{html}");
    }
    let units = browser.page("/operator/units").await;
    assert!(units.contains("✗") && units.contains("●") && units.contains("native · wasmtime"), "{units}");
    let workers = browser.page("/operator/workers").await;
    for words in ["proven", "native", "<td class=\"bad\">", "manyhands-runner"] {
        assert!(workers.contains(words), "{words} in\n{workers}");
    }
    let overview = browser.page("/operator").await;
    assert!(overview.contains("hasher 1.0.0") && overview.contains("<td>40</td>"), "{overview}");
    assert_eq!(browser.get("/operator/runs/run_aaaaaaaaaaaaaaaaaaaaaaaaaa").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_operators_own_machines_are_marked_and_what_they_looked_at_as_well() {
    let coordinator = Coordinator::start().await;
    let browser = Browser::signed_in(&coordinator).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runners = coordinator.runners(1).await;
    let run = coordinator.submit("hasher&verify=audited", &jobs::texts(3)).await.expect("submitted");
    coordinator.done(run.id, 3).await;
    let workers = coordinator.workers().await;
    let own = workers.iter().find(|worker| worker.standing == Standing::Trusted).expect("the coordinator's own");
    let html = browser.page("/operator/workers").await;
    let row = html.split("<tr>").find(|row| row.contains(&own.id.to_string())).expect("its row");
    assert!(row.contains("<strong class=\"good\">trusted</strong>") && !row.contains("class=\"bad\""), "{row}");
    assert!(html.contains("1 known, 1 connected, 0 banned, and 1 of your own."), "{html}");
    assert_eq!(html.matches(">trusted</strong>").count(), 1, "{html}");
    let page = browser.page(&format!("/operator/workers/{}", own.id)).await;
    for words in ["it is the operator&#39;s own", "<dt>done since the start</dt><dd>3</dd>", "<dd>native</dd>"] {
        assert!(page.contains(words), "{words} in\n{page}");
    }
    assert!(!page.contains("Evidence"), "{page}");
    let page = browser.page(&format!("/operator/runs/{}", run.id)).await;
    assert_eq!(page.matches("<td>done, audited</td>").count(), 3, "{page}");
    assert!(!page.contains("not what they were"), "{page}");
    assert!(browser.page("/operator").await.contains("<dt>audits</dt><dd>3</dd>"));
}

#[tokio::test]
async fn what_happened_survives_a_restart_and_sessions_do_not() {
    let mut coordinator = Coordinator::start().await;
    let browser = Browser::signed_in(&coordinator).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let submitted = coordinator.submit("hasher", &jobs::texts(7)).await.expect("submitted");
    let runners = coordinator.runners(2).await;
    coordinator.done(submitted.id, 7).await;
    drop(runners);
    coordinator.process.terminate();
    let asked = tokio::time::Instant::now();
    while coordinator.process.ended().is_none() {
        assert!(asked.elapsed() < PATIENCE, "the coordinator does not end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let _none = std::fs::remove_file(coordinator.data_dir().join("address"));
    coordinator.restart().await;
    assert!(is_sent_away(&browser.get("/operator").await), "sessions live in memory");
    let overview = Browser::signed_in(&coordinator).await.page("/operator").await;
    let row = overview.split("history-table").nth(1).and_then(|rest| rest.split("<tbody>").nth(1)).expect("a table");
    let row = row.split("</tr>").next().expect("the newest hour");
    assert!(row.contains("<td>7</td>") && row.contains("<td>14</td>"), "seven units, fourteen replicas: {row}");
}

#[tokio::test]
async fn attack_a_script_in_whatever_a_stranger_may_say_is_shown_as_text() {
    const EVIL: &str = "<script src=//evil.example></script><img src=x onerror=alert(1)>";
    let coordinator = Coordinator::start().await;
    let browser = Browser::signed_in(&coordinator).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let submitted = coordinator.submit("hasher", &jobs::texts(1)).await.expect("submitted");
    let mut workers = Vec::new();
    for runtime in ["manyhands-browser <b>", "manyhands-runner <b>"] {
        let body = Body { engine: EVIL.into(), runtime: runtime.into() };
        workers.push(Worker::connect_as(&coordinator.join(), Worker::new_key(), body).await.expect("connects"));
    }
    for worker in &mut workers {
        let unit = worker.units(1).await.expect("granted").remove(0);
        assert!(browser.page("/operator/units").await.contains(">running<"), "who holds a lease is shown");
        let done = aborted(worker, &unit, EVIL);
        worker.send(&ClientMessage::Done(done)).await.expect("sent");
        worker.receipt(unit.lease.id).await.expect("recorded");
    }
    until("the unit ends", async || (coordinator.run(submitted.id).await.units.failed == 1).then_some(())).await;
    let path = format!("/operator/runs/{}", submitted.id);
    for page in PAGES.iter().copied().chain([&*path]) {
        let html = browser.page(page).await;
        assert_eq!(html.matches("<script").count(), 1, "{page}: the page's own is the only one:\n{html}");
        assert!(!html.contains("<img src=x") && !html.contains("<b>"), "{page}: {html}");
    }
    let html = browser.page(&path).await;
    assert!(html.contains("the job returned an error: &#60;script"), "it is there, as text: {html}");
    let units = browser.page("/operator/units").await;
    assert!(units.contains("browser · &#60;script") && units.contains("native · &#60;script"), "{units}");
}

fn aborted(worker: &Worker, unit: &Unit, message: &str) -> Done {
    let verdict = Verdict::Aborted { code: 1, message: message.into() };
    let report = Report { lease: unit.lease.clone(), outcome: Outcome { verdict, fuel: Fuel(5) } };
    let reports = Reports { run: unit.run, module: unit.module, reports: vec![report] };
    Done { reports: Signed::new(worker.key(), &reports), outputs: vec![Vec::new().into()] }
}

/// Bytes that a first visit takes, as they travel: the page and every file that it names.
#[tokio::test]
async fn a_first_visit_takes_at_most_60_kb() {
    const BYTES_MAX: usize = 60_000;
    let coordinator = Coordinator::start().await;
    let browser = Browser::signed_in(&coordinator).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let submitted = coordinator.submit("hasher", &jobs::texts(120)).await.expect("submitted");
    let _runners = coordinator.runners(3).await;
    coordinator.done(submitted.id, 120).await;
    let path = format!("/operator/runs/{}", submitted.id);
    for page in PAGES.iter().copied().chain([&*path, "/operator/enter"]) {
        let html = browser.page(page).await;
        let files: std::collections::BTreeSet<&str> =
            html.split('"').filter(|text| text.starts_with("/operator/assets/")).collect();
        assert_eq!(files.len(), 3, "{files:?}");
        let mut bytes = 0;
        for file in files.into_iter().chain([page]) {
            let request = browser.http.get(format!("{}{file}", browser.base)).header(COOKIE, &browser.cookie);
            let answer = request.header(ACCEPT_ENCODING, "gzip").send().await.expect("an answer");
            assert_eq!(answer.headers()["content-encoding"], "gzip", "{file}");
            let head: usize = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            bytes += head + answer.bytes().await.expect("the whole file").len();
        }
        println!("{page}: {bytes} bytes");
        assert!(bytes <= BYTES_MAX, "{page}: {bytes} bytes");
    }
}
