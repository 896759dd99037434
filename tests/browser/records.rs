//! A page of a service that keeps nothing about its users: what jobs keep of them is in their browsers alone.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use manyhands_tests::browser::{Browser, Kind, Volunteer};
use manyhands_tests::{Coordinator, Page, Site, jobs, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{browser, in_each_browser};

in_each_browser! {
    a_record_is_in_the_browser_alone_and_no_answer_is_lost
}

/// A service that adds its token and who the client is, and a page of it with the element.
async fn service(coordinator: &Arc<Coordinator>) -> Site {
    let (base, behind) = (coordinator.url(""), Arc::clone(coordinator));
    let html = format!(
        r#"<script type="module" src="{base}/embed.js"></script><main><manyhands-volunteer></manyhands-volunteer></main>
           <script type="module">
             import {{ Records }} from "{base}/records.js";
             globalThis.records = await Records.open();
             globalThis.send = (body) => fetch("/diary", {{ method: "POST", body }});
           </script>"#
    );
    let pass_on = async move |body: Bytes| {
        let answer = behind.request(Method::POST, "/v1/jobs/diary/clients/ann").body(body).send().await;
        let answer = answer.expect("an answer");
        let status = StatusCode::from_u16(answer.status().as_u16()).expect("a status");
        (status, [(CONTENT_TYPE, "application/json")], answer.bytes().await.expect("a body")).into_response()
    };
    let page = Page { html, policy: None };
    Site::start(Router::new().route("/", get(async || page)).route("/diary", post(pass_on))).await
}

/// The page is there, and its script has found the store.
async fn opened(browser: &Browser, site: &Site) {
    browser.open(&site.origin()).await;
    let is_there = "return Boolean(globalThis.records && globalThis.send)";
    until("the page has its records", async || browser.run::<bool>(is_there).await.then_some(())).await;
}

/// What the page hears when it asks.
async fn ask(browser: &Browser, input: Value) -> Value {
    browser.run(&format!("return await records.ask('diary', {input}, send)")).await
}

async fn a_record_is_in_the_browser_alone_and_no_answer_is_lost(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Arc::new(Coordinator::start().await);
    // It answers with what it was asked before.
    let job = jobs::keeper("diary", json!([]));
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let _runners = coordinator.runners(2).await;
    let site = service(&coordinator).await;
    opened(&browser, &site).await;
    assert_eq!(ask(&browser, json!({ "day": 1 })).await, Value::Null);
    assert_eq!(ask(&browser, json!({ "day": 2 })).await, json!({ "day": 1 }));

    let lost: String = browser
        .run(
            "return await records.ask('diary', { day: 3 }, async (body) => { await send(body); throw new Error('gone') })
               .catch((error) => error.message)",
        )
        .await;
    assert_eq!(lost, "gone");
    assert_eq!(
        ask(&browser, json!({ "day": 4 })).await,
        json!({ "day": 3 }),
        "what was asked is not lost with the answer"
    );

    let both: Value =
        browser.run("return await Promise.all([5, 6].map((day) => records.ask('diary', { day }, send)))").await;
    assert_eq!(both, json!([{ "day": 4 }, { "day": 5 }]), "one after the other");

    opened(&browser, &site).await;
    assert_eq!(ask(&browser, json!({ "day": 7 })).await, json!({ "day": 6 }), "the next visit finds it");
    let page = Volunteer { browser: &browser };
    page.is("ready").await;
    let look = "document.querySelector('manyhands-volunteer').shadowRoot.querySelectorAll('details').forEach((it) => it.open = true)";
    browser.run::<Value>(look).await;
    page.says("diary").await;

    let refused: Value = browser
        .run(
            "await records.delete('diary');
             return await records.ask('diary', { day: 8 }, send).catch(({ type, message }) => ({ type, message }))",
        )
        .await;
    assert_eq!(refused["type"], "/problems/record-outdated", "{refused}");
    let kept: Value = browser.run("return await records.list()").await;
    assert_eq!(kept, json!([]));
}
