//! What a browser costs a visitor, and what it is worth: sizes, the time to the first verified unit, and slots beside
//! wasmtime. Browsers that are not installed are left out.

use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use manyhands_javascript::{Unit, frame};
use manyhands_protocol::Entry;
use manyhands_runner::engine::{Execution, Wasm};
use manyhands_sealer::seal;
use manyhands_tests::browser::{Browser, Kind, Slot, Volunteer};
use manyhands_tests::{Coordinator, examples, jobs, until};
use reqwest::Method;
use reqwest::header::ACCEPT_ENCODING;

use crate::report::{Report, Table};

/// Fresh browsers from which somebody starts to help.
const VISITS: usize = 5;
/// Executions of each example job, and of the job that does nothing.
const UNITS: usize = 15;
const NOOPS: usize = 5_000;

pub(crate) async fn run(report: &mut Report) {
    let coordinator = Coordinator::start().await;
    sizes(report, &coordinator).await;
    for kind in [Kind::Chromium, Kind::Firefox] {
        first_unit(report, kind).await;
        let Some(browser) = Browser::start(kind).await else { continue };
        slots(report, &browser, &coordinator).await;
    }
}

/// What travels, compressed as it does.
async fn sizes(report: &mut Report, coordinator: &Coordinator) {
    let bytes = async |path: &str| {
        let request = coordinator.anonymous(Method::GET, path).header(ACCEPT_ENCODING, "br, gzip");
        let answer = request.send().await.expect("an answer").error_for_status().expect("the file is there");
        answer.bytes().await.expect("all of it").len() as f64
    };
    let text = async |path: &str| {
        let answer = coordinator.anonymous(Method::GET, path).send().await.expect("an answer");
        answer.text().await.expect("all of it")
    };
    let embed = text("/embed.js").await;
    let assets = embed.lines().find_map(|line| line.strip_prefix("const ASSETS = ")?.strip_suffix(';'));
    let assets: serde_json::Value = serde_json::from_str(assets.expect("the files are named")).expect("JSON");
    let (mut runtime, mut table) = (0.0, Table::new("bytes that travel", ["bytes"]));
    for name in ["runtime", "mind", "pool", "slot"] {
        let size = bytes(assets[name]["path"].as_str().expect("a path")).await;
        table.row(name, [size]);
        runtime += size;
    }
    let mut before = 0.0;
    for path in ["/volunteer", "/embed.js", "/v1/card"] {
        let size = bytes(path).await;
        table.row(path, [size]);
        before += size;
    }
    report.table(table);
    report.add("runtime, after the click", runtime / 1000.0, "KB");
    report.add("page, before the click", before / 1000.0, "KB");
}

/// Time from the click to the first unit that is verified, in fresh browsers, with one runner as the other half of the quorum.
async fn first_unit(report: &mut Report, kind: Kind) {
    let mut times = Vec::new();
    for _ in 0..VISITS {
        let coordinator = Coordinator::start().await;
        let job = jobs::hasher();
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
        let _runner = coordinator.runners(1).await;
        coordinator.submit("hasher", &jobs::texts(100)).await.expect("submitted");
        let Some(browser) = Browser::start(kind).await else { return };
        let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
        page.press().await;
        let first = async || page.heard("verified").await.first().and_then(|told| told["at"].as_f64());
        let verified = until("a unit is verified", first).await;
        times.push(verified - browser.run::<f64>("return clicked").await);
    }
    times.sort_by(f64::total_cmp);
    report.add(&format!("{kind:?}: click to first verified unit, median"), times[times.len() / 2], "ms");
    report.add(&format!("{kind:?}: click to first verified unit, worst"), times[times.len() - 1], "ms");
}

/// Times of units in a slot of the browser's, as the page sees them, the shortest first, in milliseconds.
async fn timed(browser: &Browser, module: &str, unit: &Unit<'_>, count: usize) -> Vec<f64> {
    let request = BASE64_STANDARD.encode(frame::execute(unit));
    let script = format!(
        r#"
        const times = [];
        for (let n = 0; n < {count}; n++) {{
            const request = Uint8Array.fromBase64("{request}");
            const began = performance.now();
            await ask(modules["{module}"], request);
            times.push(performance.now() - began);
        }}
        return times;"#
    );
    let mut times: Vec<f64> = browser.run(&script).await;
    times.sort_by(f64::total_cmp);
    times
}

async fn slots(report: &mut Report, browser: &Browser, coordinator: &Coordinator) {
    let kind = browser.kind();
    let slot = Slot::open(browser, coordinator).await;
    let noop = seal(&jobs::noop().module).expect("it seals");
    slot.load("noop", &noop.bytes).await;
    let unit = Unit { entry: Entry::Run, step: 0, input: b"", seed: [0; 32], limits: noop.manifest.limits };
    // Clocks of pages are coarse, so many are timed as one.
    let began = Instant::now();
    timed(browser, "noop", &unit, NOOPS).await;
    let each = began.elapsed().as_secs_f64() / NOOPS as f64;
    report.add(&format!("{kind:?}: unit that does nothing, in a slot"), each * 1e6, "us");

    let wasm = Wasm::new().expect("an engine");
    let mut table = Table::new(&format!("{kind:?} beside wasmtime, medians"), ["browser, ms", "native, ms", "ratio"]);
    for (name, sealed, input) in examples::all() {
        slot.load(name, &sealed.bytes).await;
        let limits = sealed.manifest.limits;
        let unit = Unit { entry: Entry::Run, step: 0, input: &input, seed: [0; 32], limits };
        let here = timed(browser, name, &unit, UNITS).await[UNITS / 2];
        let prepared = wasm.prepare(&wasm.compile(&sealed.bytes).expect("compiles")).expect("is ready");
        let mut native: Vec<f64> = (0..UNITS)
            .map(|_| {
                let execution =
                    Execution { entry: Entry::Run, step: 0, input: input.clone().into(), seed: [0; 32], limits };
                let began = Instant::now();
                wasm.execute(&prepared, execution, Box::new(|_| ())).expect("an outcome");
                began.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        native.sort_by(f64::total_cmp);
        table.row(name, [here, native[UNITS / 2], here / native[UNITS / 2]]);
    }
    report.table(table);
}
