//! Nothing without a click, nothing secret within reach, nothing left when that is wished.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_LANGUAGE, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
};
use axum::response::Response;
use manyhands_tests::browser::{BUTTON, ELEMENT, INSECURE_HOST, Kind, Volunteer};
use manyhands_tests::{Coordinator, Site, jobs, until};
use serde_json::{Value, json};

use crate::{browser, in_each_browser};

in_each_browser! {
    nothing_computes_before_a_click
    the_key_cannot_be_read_and_everything_can_be_forgotten
    where_the_browser_has_no_signatures_they_are_fetched
}

/// Counts whatever could compute or keep something.
const COUNT: &str = "
    globalThis.counted = {};
    const count = (name, holder, key) => {
        const real = holder[key];
        holder[key] = new Proxy(real, {
            apply: (to, self, given) => { counted[name] = (counted[name] ?? 0) + 1; return Reflect.apply(to, self, given); },
            construct: (to, given) => { counted[name] = (counted[name] ?? 0) + 1; return Reflect.construct(to, given); },
        });
    };
    for (const name of ['Worker', 'SharedWorker', 'WebSocket', 'EventSource']) count(name, globalThis, name);
    for (const name of ['Module', 'Instance', 'compile', 'instantiate', 'compileStreaming', 'instantiateStreaming']) {
        count('WebAssembly.' + name, WebAssembly, name);
    }
    for (const name of ['open', 'deleteDatabase']) count('indexedDB.' + name, IDBFactory.prototype, name);
    count('caches.open', CacheStorage.prototype, 'open');";

/// A site that passes requests on to the coordinator, and notes them.
pub(crate) async fn before(coordinator: &Coordinator) -> Site {
    let (http, base) = (reqwest::Client::builder().no_proxy().build().expect("a client"), coordinator.url(""));
    let pass = move |request: Request| {
        let (http, base) = (http.clone(), base.clone());
        async move {
            let mut asked = http.get(format!("{base}{}", request.uri()));
            if let Some(language) = request.headers().get(ACCEPT_LANGUAGE) {
                asked = asked.header(ACCEPT_LANGUAGE, language);
            }
            let answer = asked.send().await.expect("the coordinator answers");
            let mut response = Response::builder().status(answer.status());
            for name in [ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG] {
                if let Some(value) = answer.headers().get(&name) {
                    response = response.header(name, value);
                }
            }
            response.body(axum::body::Body::from(answer.bytes().await.expect("all of it"))).expect("a response")
        }
    };
    Site::start(Router::new().fallback(pass)).await
}

/// How often somebody asked for a file that computes, or for anything that nobody expects.
fn heavy(site: &Site) -> usize {
    let light = ["/volunteer", "/embed.js", "/v1/card", "/favicon.ico", "/assets/page-", "/assets/icon-"];
    site.asked().iter().filter(|path| !light.iter().any(|light| path.starts_with(light))).count()
}

async fn nothing_computes_before_a_click(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let site = before(&coordinator).await;
    browser.before_pages(COUNT).await;
    let page = Volunteer::open(&browser, &format!("{}/volunteer", site.origin())).await;
    // Scripts cannot consent, neither the page's nor an extension's.
    let _clicked: Value = browser
        .run(&format!(
            "const button = {BUTTON}; button.click();
             for (const name of ['pointerdown', 'mousedown', 'mouseup', 'click']) button.dispatchEvent(new MouseEvent(name, {{ bubbles: true, composed: true }}));
             for (const name of ['keydown', 'keyup']) button.dispatchEvent(new KeyboardEvent(name, {{ key: 'Enter', bubbles: true, composed: true }}));"
        ))
        .await;
    let loaded = "const [{ loadEventEnd }] = performance.getEntriesByType('navigation');
                  return loadEventEnd > 0 && performance.now() > loadEventEnd + 2000;";
    until("two seconds have passed", async || browser.run::<bool>(loaded).await.then_some(())).await;
    assert_eq!(browser.run::<Value>("return counted").await, json!({}));
    assert_eq!(heavy(&site), 0, "{:?}", site.asked());
    assert_eq!(page.state().await, "ready");

    page.press().await;
    // Control: all of it is counted, and the files are asked for.
    until("it begins", async || browser.run::<Value>("return counted").await["Worker"].as_u64()).await;
    assert_eq!(heavy(&site), 4, "{:?}", site.asked());
    let asks = |path: &str| site.asked().iter().any(|asked| asked.starts_with(path));
    until("it connects", async || asks("/v1/worker").then_some(())).await;
    assert!(!asks("/assets/curve-"), "this browser has signatures of its own: {:?}", site.asked());
}

// Over plain HTTP browsers have no Web Crypto, whatever else they can do.
async fn where_the_browser_has_no_signatures_they_are_fetched(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let _runner = coordinator.runners(1).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let url = coordinator.url("/volunteer").replacen("127.0.0.1", INSECURE_HOST, 1);
    let page = Volunteer::open(&browser, &url).await;
    assert!(browser.run::<bool>("return crypto.subtle === undefined").await, "{url}");
    page.start().await;
    let inputs = jobs::texts(3);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted").id;
    let answers: Vec<_> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run).await, answers);
    until("the page is told", async || (page.heard("verified").await.len() == 3).then_some(())).await;
}

async fn the_key_cannot_be_read_and_everything_can_be_forgotten(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let _runner = coordinator.runners(1).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
    page.start().await;
    coordinator.submit("hasher", &jobs::texts(2)).await.expect("submitted");
    until("a unit is verified", async || (page.stats().await.verified == 2).then_some(())).await;

    let stored = "
        const names = (await indexedDB.databases()).map(({ name }) => name).filter((name) => name.startsWith('manyhands-'));
        const caught = await Promise.all((await caches.keys()).map(async (name) => (await (await caches.open(name)).keys()).length));
        return { databases: names.length, cached: caught.reduce((sum, count) => sum + count, 0), settings: localStorage.length };";
    let kept = browser.run::<Value>(stored).await;
    assert_eq!(kept, json!({ "databases": 1, "cached": 1, "settings": 1 }), "a key, a module and the settings");
    let key = "
        const [{ name }] = await indexedDB.databases();
        const done = (request) => new Promise((resolve, reject) => {
            request.onsuccess = () => resolve(request.result);
            request.onerror = () => reject(request.error);
        });
        const database = await done(indexedDB.open(name));
        const { privateKey } = await done(database.transaction('key').objectStore('key').get('worker'));
        database.close();
        const read = await Promise.any(['raw', 'pkcs8', 'jwk'].map((form) => crypto.subtle.exportKey(form, privateKey))).then(() => 'read', () => 'not read');
        return [Object.prototype.toString.call(privateKey), privateKey.type, privateKey.extractable, read];";
    assert_eq!(browser.run::<Value>(key).await, json!(["[object CryptoKey]", "private", false, "not read"]));

    let details = format!(
        "[...{ELEMENT}.shadowRoot.querySelectorAll('details')].find((one) => one.innerText.includes('What is stored here'))"
    );
    let button =
        |text: &str| format!("[...{details}.querySelectorAll('button')].find((one) => one.innerText === '{text}')");
    browser.click(&format!("{details}.querySelector('summary')")).await;
    for text in ["Forget me", "Delete all"] {
        let there = async || browser.run::<bool>(&format!("return !!{}", button(text))).await.then_some(());
        until("the button is there", there).await;
        if text == "Forget me" {
            assert!(page.text().await.contains("kept; no script can read it"));
        }
        browser.click(&button(text)).await;
    }
    let gone = async || page.text().await.contains("Everything is deleted.").then_some(());
    until("it says so", gone).await;
    assert_eq!(browser.run::<Value>(stored).await, json!({ "databases": 0, "cached": 0, "settings": 0 }));
    until("it has left", async || (coordinator.connected().await == 1).then_some(())).await;
    // To the coordinator it is somebody new.
    page.start().await;
    assert_eq!(coordinator.workers().await.len(), 3);
}

#[tokio::test]
async fn without_scripts_the_page_explains_itself() {
    let Some(browser) = browser(Kind::Chromium).await else { return };
    let coordinator = Coordinator::start_with(&["volunteers.name=The Observatory"]).await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let site = before(&coordinator).await;
    browser.command("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&format!("{}/volunteer", site.origin())).await;
    let text: String = browser.run("return document.body.innerText").await;
    for words in ["The Observatory", "hasher", "Computing needs JavaScript", "Nothing runs, and nothing was loaded."] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(heavy(&site), 0, "{:?}", site.asked());
}
