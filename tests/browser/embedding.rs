//! The element on a page of somebody else's, from another origin.

use manyhands_tests::browser::{Browser, Kind, Volunteer};
use manyhands_tests::{Coordinator, Page, Site, jobs, until};
use serde_json::Value;

use crate::{browser, in_each_browser};

in_each_browser! {
    a_page_of_another_origin_computes
    a_policy_that_names_each_script_has_no_frame
    a_policy_that_is_in_the_way_is_named
}

const NONCE: &str = "c2FpZCBvbmNl";

/// A page as docs/embedding.md says, with these lines in its policy.
async fn embedding(coordinator: &Coordinator, lines: &[&str]) -> Site {
    let base = coordinator.url("");
    let socket = base.replacen("http", "ws", 1);
    let card: Value = coordinator.get("/v1/card").await.expect("a card");
    let integrity = card["embed"]["integrity"].as_str().expect("a digest");
    let policy = lines.join("; ").replace("COORDINATOR", &base).replace("SOCKET", &socket);
    let html = format!(
        r#"<script type="module" nonce="{NONCE}" src="{base}/embed.js" integrity="{integrity}" crossorigin="anonymous"></script>
           <main><manyhands-volunteer coordinator="{base}"></manyhands-volunteer></main>"#
    );
    Site::of(Page { html, policy: Some(policy) }).await
}

const POLICY: [&str; 4] = [
    "default-src 'none'",
    "script-src COORDINATOR 'wasm-unsafe-eval'",
    "connect-src COORDINATOR SOCKET",
    "worker-src blob:",
];

async fn a_page_of_another_origin_computes(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runner = coordinator.runners(1).await;
    let site = embedding(&coordinator, &POLICY).await;
    let page = Volunteer::open(&browser, &site.origin()).await;
    page.start().await;
    assert_eq!(frames(&browser).await, 1);
    let inputs = jobs::texts(3);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted").id;
    let answers: Vec<_> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run).await, answers);
    until("the page is told", async || (page.heard("verified").await.len() == 3).then_some(())).await;
    assert_eq!(page.heard("start").await.len(), 1);
    assert_eq!(page.stats().await.contradicted, 0);
    assert_eq!(page.stats().await.executed, 3);
}

async fn frames(browser: &Browser) -> usize {
    browser.run("return frames.length").await
}

// The frame's script has no nonce, so slots live in the page.
async fn a_policy_that_names_each_script_has_no_frame(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runner = coordinator.runners(1).await;
    let scripts = format!("script-src 'nonce-{NONCE}' 'wasm-unsafe-eval'");
    let [rest, _, connect, worker] = POLICY;
    let site = embedding(&coordinator, &[rest, &scripts, connect, worker]).await;
    let page = Volunteer::open(&browser, &site.origin()).await;
    page.start().await;
    assert_eq!(frames(&browser).await, 0);
    let inputs = jobs::texts(3);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted").id;
    let answers: Vec<_> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run).await, answers);
    until("the page is told", async || (page.heard("verified").await.len() == 3).then_some(())).await;
    page.press().await;
    page.is("ready").await;
}

async fn a_policy_that_is_in_the_way_is_named(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    for (missing, named) in [(3, "worker-src"), (2, "connect-src")] {
        let lines: Vec<_> = POLICY.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, line)| *line).collect();
        let site = embedding(&coordinator, &lines).await;
        browser.open(&site.origin()).await;
        let page = Volunteer { browser: &browser };
        let settled = async || Some(page.state().await).filter(|state| state == "ready" || state == "failed");
        if until("the card is there, or cannot be", settled).await == "ready" {
            page.press().await;
        }
        page.is("failed").await;
        let text = page.text().await;
        assert!(text.contains("This site's policy forbids it."), "{text}");
        let detail: String = browser
            .run("return document.querySelector('manyhands-volunteer').shadowRoot.querySelector('[role=alert] code').textContent")
            .await;
        assert_eq!(detail, named);
    }
}
