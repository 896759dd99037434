//! `shots`: a picture of every page, small and large, light and dark, with real work going on, into `target/shots`.

#![allow(clippy::expect_used, reason = "a picture that cannot be taken says why and ends it")]

use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use manyhands_api::Standing;
use manyhands_model::RunId;
use manyhands_tests::browser::{Browser, ELEMENT, Kind, Volunteer};
use manyhands_tests::{Coordinator, Liar, Runner, jobs, until, workspace};
use reqwest::Method;
use serde_json::{Value, json};

const SIZES: [(&str, u32, u32); 2] = [("small", 390, 844), ("large", 1440, 900)];
const THEMES: [&str; 2] = ["light", "dark"];
/// The window around the picture of the card.
const CARD: (u32, u32) = (560, 900);

#[tokio::main]
async fn main() -> ExitCode {
    let Some(browser) = Browser::start(Kind::Chromium).await else { return ExitCode::FAILURE };
    let settings = [
        "volunteers.name=The Observatory",
        "volunteers.about=We look for planets in ten years of starlight.",
        "volunteers.contact=https://observatory.example/volunteers",
    ];
    let coordinator = Coordinator::start_with(&settings).await;
    let job = jobs::spinner();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runner = coordinator.runners(1).await;
    browser.command("Network.enable", json!({})).await;
    let mut under_way = None;
    for language in ["en", "de"] {
        let headers = json!({ "headers": { "Accept-Language": language } });
        browser.command("Network.setExtraHTTPHeaders", headers).await;
        if let Some(run) = under_way.take() {
            // Its long units would keep this page from the short ones.
            let _cancelled: Value = coordinator.post(&format!("/v1/runs/{run}/cancel"), "").await.expect("cancelled");
        }
        under_way = Some(volunteer(&browser, &coordinator, language).await);
    }
    operator(&browser, &coordinator).await;
    caught(&browser).await;
    ExitCode::SUCCESS
}

async fn sign_in(browser: &Browser, coordinator: &Coordinator) {
    let link: Value = coordinator.post("/v1/console-links", "").await.expect("a link");
    browser.open(link["link"].as_str().expect("a link")).await;
    let entered = async || browser.run::<bool>("return location.pathname === '/operator'").await.then_some(());
    until("the link lets the operator in", entered).await;
}

/// What an operator sees once somebody was trusted who lied, and was caught by the operator's own machine.
async fn caught(browser: &Browser) {
    let settings = [
        "verification.record_checks=10",
        "verification.records_min=2",
        "verification.audits_permille=400",
        "verification.ipv4_bits=0",
    ];
    let coordinator = Coordinator::start_with(&settings).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    // Alone with the operator's machine, it earns a record.
    let _liar = Liar::start_with(&coordinator.join(), &["--after", "60"]);
    let rule = "hasher&verify=adaptive:1e-1";
    let early = coordinator.submit(rule, &jobs::texts(50)).await.expect("submitted");
    coordinator.done(early.id, 50).await;
    let run = coordinator.submit(rule, &jobs::texts(100)).await.expect("submitted").id;
    let lied = async || coordinator.workers().await.iter().any(|worker| worker.dissents > 0).then_some(());
    until("the liar is caught", lied).await;
    // Not counted: the liar may be sent away meanwhile.
    let _runners = [Runner::start(&coordinator.join()), Runner::start(&coordinator.join())];
    let changed = async || (coordinator.run(run).await.changed > 0).then_some(());
    until("an answer changes", changed).await;
    coordinator.done(run, 100).await;
    let workers = coordinator.workers().await;
    let own = workers.iter().find(|worker| worker.standing == Standing::Trusted).expect("the coordinator's own").id;
    let liar = workers.iter().find(|worker| worker.dissents > 0).expect("the liar").id;
    for (path, body) in [
        (format!("/v1/workers/{liar}/pardon"), json!({ "reason": "bad memory, replaced" })),
        ("/v1/invitations".to_owned(), json!({ "owner": "ann", "uses": 3, "days": 30 })),
        ("/v1/invitations".to_owned(), json!({ "uses": 1 })),
    ] {
        let done = coordinator.request(Method::POST, &path).json(&body).send().await.expect("an answer");
        assert!(done.status().is_success(), "{path}: {}", done.status());
    }
    let list = coordinator.request(Method::GET, "/v1/blocklists/export").send().await.expect("an answer");
    let list = list.bytes().await.expect("a list");
    let root = coordinator.join().split('#').nth(1).expect("a fingerprint").to_owned();
    let subscribe = coordinator.request(Method::PUT, &format!("/v1/blocklists/{root}?name=neighbours")).body(list);
    assert!(subscribe.send().await.expect("an answer").status().is_success(), "the list counts");
    sign_in(browser, &coordinator).await;
    for (name, path) in [
        ("overview", "/operator"),
        ("runs", "/operator/runs"),
        ("run", &format!("/operator/runs/{run}")),
        ("workers", "/operator/workers"),
        ("worker", &format!("/operator/workers/{own}")),
        ("liar", &format!("/operator/workers/{liar}")),
        ("joining", "/operator/joining"),
    ] {
        browser.open(&coordinator.url(path)).await;
        take(browser, &format!("operator-caught-{name}")).await;
    }
}

async fn operator(browser: &Browser, coordinator: &Coordinator) {
    sign_in(browser, coordinator).await;
    // The first of a list, by the links of its page.
    let first = async |path: &str| {
        browser.open(&coordinator.url(path)).await;
        browser
            .run::<String>(&format!("return document.querySelector('main tbody a[href^=\"{path}/\"]').pathname"))
            .await
    };
    let (run, worker) = (first("/operator/runs").await, first("/operator/workers").await);
    let pages = [
        ("overview", "/operator"),
        ("runs", "/operator/runs"),
        ("run", &run),
        ("workers", "/operator/workers"),
        ("worker", &worker),
        ("units", "/operator/units"),
    ];
    for (name, path) in pages {
        browser.open(&coordinator.url(path)).await;
        take(browser, &format!("operator-{name}")).await;
    }
}

/// A visit from its beginning to Stop, and the run that is left.
async fn volunteer(browser: &Browser, coordinator: &Coordinator, language: &str) -> RunId {
    let name = |state: &str| format!("volunteer-{state}-{language}");
    let page = Volunteer::open(browser, &coordinator.url("/volunteer")).await;
    take(browser, &name("ready")).await;
    if language == "en" {
        card(browser).await;
    }
    page.start().await;
    let inputs: Vec<_> = (0..6).map(|start| jobs::spin(if start < 4 { 20 } else { 100_000 }, start).0).collect();
    let run = coordinator.submit("spinner", &inputs).await.expect("submitted").id;
    let half_way = async || {
        let told = page.heard("unit").await;
        let is_long = |unit: &Value| unit["progress"].as_f64().is_some_and(|progress| (0.0..0.1).contains(&progress));
        (page.stats().await.verified >= 4 && told.iter().any(is_long)).then_some(())
    };
    until("some units are verified and others are computed", half_way).await;
    take(browser, &name("running")).await;
    page.press().await;
    page.is("ready").await;
    take(browser, &name("stopped")).await;
    run
}

/// The card alone, as the documentation shows it.
async fn card(browser: &Browser) {
    let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": "light" }] });
    browser.command("Emulation.setEmulatedMedia", media).await;
    let (width, height) = CARD;
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    browser.command("Emulation.setDeviceMetricsOverride", metrics).await;
    let place = format!(
        "const {{ x, y, width, height }} = {ELEMENT}.getBoundingClientRect(); return {{ x, y: y + scrollY, width, height, scale: 1 }}"
    );
    let clip: Value = browser.run(&place).await;
    let asked = json!({ "format": "png", "clip": clip, "captureBeyondViewport": true });
    let picture = browser.command("Page.captureScreenshot", asked).await;
    let bytes = BASE64_STANDARD.decode(picture["data"].as_str().expect("base64")).expect("base64");
    let path = workspace().join("target/shots/volunteer.png");
    std::fs::write(&path, bytes).expect("the picture can be written");
    eprintln!("{}", path.display());
    browser.command("Emulation.clearDeviceMetricsOverride", json!({})).await;
}

/// One state of a page in all sizes and themes, from its top to its end.
async fn take(browser: &Browser, name: &str) {
    let folder = workspace().join("target/shots");
    std::fs::create_dir_all(&folder).expect("a folder");
    for theme in THEMES {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        browser.command("Emulation.setEmulatedMedia", media).await;
        for (size, width, height) in SIZES {
            let metrics = |height: u32| json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
            browser.command("Emulation.setDeviceMetricsOverride", metrics(height)).await;
            let all: u32 = browser.run("scrollTo(0, 0); return document.documentElement.scrollHeight").await;
            browser.command("Emulation.setDeviceMetricsOverride", metrics(all.max(height))).await;
            let path = folder.join(format!("{name}-{theme}-{size}.png"));
            std::fs::write(&path, browser.picture().await).expect("the picture can be written");
            eprintln!("{}", path.display());
        }
    }
    browser.command("Emulation.clearDeviceMetricsOverride", json!({})).await;
}
