//! The slot's own script, asked without a mind.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use manyhands_javascript::{Executed, Unanswered, Unit, frame};
use serde_json::Value;

use super::Browser;
use crate::coordinator::Coordinator;
use crate::site::{Page, Site};

/// A slot in a page of the test's own, made of the script that the coordinator serves.
pub struct Slot<'a> {
    /// The browser that has the page. There, `ask(module, request)` executes a frame, and `modules` has what was loaded.
    pub browser: &'a Browser,
    _site: Site,
}

impl<'a> Slot<'a> {
    /// Opens that page.
    pub async fn open(browser: &'a Browser, coordinator: &Coordinator) -> Self {
        let site = Site::of(Page::default()).await;
        browser.open(&site.origin()).await;
        let base = coordinator.url("");
        let _ready: Value = browser
            .run(&format!(
                r#"
                const embed = await (await fetch("{base}/embed.js")).text();
                const {{ slot: file }} = JSON.parse(embed.match(/const ASSETS = (.*);/)[1]);
                const script = await (await fetch("{base}" + file.path, {{ integrity: file.integrity }})).blob();
                const slot = new Worker(URL.createObjectURL(new Blob([script], {{ type: "text/javascript" }})));
                globalThis.modules = {{}};
                globalThis.ask = (module, request) => new Promise((resolve, reject) => {{
                    slot.onmessage = ({{ data }}) => {{ if (typeof data !== "number") resolve(new Uint8Array(data)); }};
                    slot.onerror = ({{ message }}) => reject(new Error(message));
                    slot.postMessage({{ module, request: request.buffer }}, [request.buffer]);
                }});"#
            ))
            .await;
        Self { browser, _site: site }
    }

    /// Compiles a module under a name.
    pub async fn load(&self, name: &str, sealed: &[u8]) {
        let bytes = BASE64_STANDARD.encode(sealed);
        let script = format!(r#"modules["{name}"] = await WebAssembly.compile(Uint8Array.fromBase64("{bytes}"));"#);
        let _loaded: Value = self.browser.run(&script).await;
    }

    /// Executes a unit of the module of that name.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn execute(&self, name: &str, unit: &Unit<'_>) -> Result<Executed, Unanswered> {
        let request = BASE64_STANDARD.encode(frame::execute(unit));
        let script =
            format!(r#"return (await ask(modules["{name}"], Uint8Array.fromBase64("{request}"))).toBase64();"#);
        let reply: String = self.browser.run(&script).await;
        frame::executed(&unit.limits, &BASE64_STANDARD.decode(reply).expect("base64"))
    }
}
