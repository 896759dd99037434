//! Everybody can use the page: axe-core finds no barrier, and a keyboard is enough.

use std::process::Command;

use manyhands_tests::browser::{BUTTON, Browser, Kind, Volunteer};
use manyhands_tests::{Coordinator, Worker, jobs, until, workspace};
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser;

const TAB: char = '\u{E004}';
const ENTER: char = '\u{E007}';

/// The checker of axe-core, at the version of its lock file; none where it cannot be had, which is said.
fn axe() -> Option<String> {
    let (from, folder) = (workspace().join("tests/browser/axe"), workspace().join("target/axe"));
    std::fs::create_dir_all(&folder).expect("a folder");
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(from.join(name), folder.join(name)).expect("a copy");
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]).current_dir(&folder);
    match npm.output() {
        Ok(output) if output.status.success() => {
            Some(std::fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js")).expect("axe-core"))
        }
        Ok(output) => {
            eprintln!("LEFT OUT: axe-core cannot be fetched: {}", String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(error) => {
            eprintln!("LEFT OUT: npm is not installed ({error}); `apt-get install npm` brings it");
            None
        }
    }
}

/// Light and dark, everything that axe-core finds.
async fn barriers(browser: &Browser, axe: &str, what: &str) -> Vec<String> {
    let mut found = Vec::new();
    for theme in ["light", "dark"] {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        browser.command("Emulation.setEmulatedMedia", media).await;
        let run = "const { violations, passes } = await axe.run();
                   return [passes.length, violations.map(({ help, nodes }) => `${help}: ${nodes.map(({ html, any }) =>
                       `${html} ${any.map(({ message }) => message)}`).join(' | ')}`)];";
        let (passes, violations): (u64, Vec<String>) = browser.run(&format!("{axe}; {run}")).await;
        assert!(passes > 10, "{what}, {theme}: it looked at {passes} rules");
        found.extend(violations.iter().map(|violation| format!("{what}, {theme}: {violation}")));
    }
    found
}

#[tokio::test]
async fn the_volunteers_page_has_no_barriers() {
    let Some(axe) = axe() else { return };
    let Some(browser) = browser(Kind::Chromium).await else { return };
    let coordinator = Coordinator::start_with(&["volunteers.name=The Observatory", "volunteers.about=Stars."]).await;
    let job = jobs::spinner();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let url = coordinator.url("/volunteer");
    let mut found = Vec::new();
    browser.command("Network.enable", json!({})).await;
    for (language, start) in [("en", "Start helping"), ("de", "Mithelfen")] {
        browser.command("Network.setExtraHTTPHeaders", json!({ "headers": { "Accept-Language": language } })).await;
        let page = Volunteer::open(&browser, &url).await;
        assert!(page.text().await.contains(start), "{language}");
        found.extend(barriers(&browser, &axe, &format!("{language}, before Start")).await);
        let _opened: Value = browser
            .run("for (const one of document.querySelector('manyhands-volunteer').shadowRoot.querySelectorAll('details')) one.open = true;")
            .await;
        found.extend(barriers(&browser, &axe, &format!("{language}, everything open")).await);
        page.start().await;
        coordinator.submit("spinner", &[jobs::spin(50_000, 1).0]).await.expect("submitted");
        let computing = async || page.heard("unit").await.first().cloned();
        until("a unit is computed", computing).await;
        found.extend(barriers(&browser, &axe, &format!("{language}, running")).await);
        page.press().await;
        page.is("ready").await;
        found.extend(barriers(&browser, &axe, &format!("{language}, stopped")).await);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn the_operators_pages_have_no_barriers() {
    let Some(axe) = axe() else { return };
    let Some(browser) = browser(Kind::Chromium).await else { return };
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    // One whose word is wrong, so that its page has something to say of that.
    let mut odd = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connected");
    let run = coordinator.submit("hasher&verify=2of4", &jobs::texts(20)).await.expect("submitted").id;
    let unit = odd.units(1).await.expect("granted").remove(0);
    odd.report(&unit, b"a bit fell over", 7).await.expect("an answer");
    let runners = coordinator.runners(2).await;
    coordinator.done(run, 20).await;
    drop(runners);
    let worker = odd.id();
    for (path, body) in [
        (format!("/v1/workers/{worker}/pardon"), json!({ "reason": "bad memory, replaced" })),
        ("/v1/invitations".to_owned(), json!({ "owner": "ann", "uses": 3, "days": 30 })),
    ] {
        let done = coordinator.request(Method::POST, &path).json(&body).send().await.expect("an answer");
        assert!(done.status().is_success(), "{path}: {}", done.status());
    }
    // One that is not done, so that there is something to say of why.
    coordinator.submit("hasher", &jobs::texts(3)).await.expect("submitted");

    browser.open(&coordinator.url("/operator/enter")).await;
    let mut found = barriers(&browser, &axe, "enter").await;
    let link: Value = coordinator.post("/v1/console-links", "").await.expect("a link");
    browser.open(link["link"].as_str().expect("a link")).await;
    let entered = async || browser.run::<bool>("return location.pathname === '/operator'").await.then_some(());
    until("the link lets the operator in", entered).await;
    let (its_run, its_page) = (format!("/runs/{run}"), format!("/workers/{worker}"));
    let paths = ["", "/runs", &its_run, "/workers", &its_page, "/joining", "/units"];
    for path in paths {
        browser.open(&coordinator.url(&format!("/operator{path}"))).await;
        found.extend(barriers(&browser, &axe, path).await);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

// Not in Firefox, whose pages have no focus where there is no window.
#[tokio::test]
async fn a_keyboard_is_enough() {
    let Some(browser) = browser(Kind::Chromium).await else { return };
    let coordinator = Coordinator::start().await;
    let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
    let focus = async || {
        for _ in 0..60 {
            if browser.run::<bool>(&format!("return {BUTTON}.getRootNode().activeElement === {BUTTON}")).await {
                return;
            }
            browser.press(TAB).await;
        }
        panic!("sixty tabs do not lead to the button");
    };
    focus().await;
    browser.press(ENTER).await;
    page.is("running").await;
    focus().await;
    browser.press(ENTER).await;
    page.is("ready").await;
    assert!(page.text().await.contains("Stopped."));
}
