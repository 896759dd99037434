//! Engines for JavaScript: V8 in Node, a process of its own, and browsers, in a worker of a page.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use manyhands_model::Limits;
use manyhands_tests::Site;
use manyhands_tests::browser::{Browser, Kind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::corpus::Kernel;
use super::forms::Forms;
use super::{Measured, Variant};

const KERNEL: &str = include_str!("kernel.mjs");
const NODE: &str = include_str!("node.mjs");
const WORKER: &str = include_str!("worker.mjs");

#[derive(Deserialize)]
struct Answer {
    times: BTreeMap<String, Vec<f64>>,
    // Numbers of 64 bits, as text.
    output: String,
    fuel: Option<String>,
}

/// What is to be measured: kernels in their forms, each with so many rounds.
pub(crate) struct Plan<'a> {
    pub(crate) kernels: &'a [Kernel],
    pub(crate) forms: &'a [Forms],
    pub(crate) rounds: &'a [u32],
    pub(crate) repetitions: usize,
}

impl Plan<'_> {
    /// What scripts are told of each kernel, if its modules are put where `place` says.
    fn told(&self, mut place: impl FnMut(&str, Vec<u8>) -> String) -> Vec<Value> {
        let kernels = self.kernels.iter().zip(self.forms).zip(self.rounds);
        let told = kernels.map(|((kernel, forms), rounds)| {
            let name = |variant: Variant| format!("{}-{variant:?}.wasm", kernel.name);
            let modules =
                modules(forms).map(|(variant, module)| (variant.word(), place(&name(variant), module.into())));
            let fuel = Limits::MAX.fuel.0;
            json!({
                "kernel": { "name": kernel.name, "rounds": rounds, "fuel": fuel, "repetitions": self.repetitions },
                "modules": BTreeMap::from(modules),
            })
        });
        told.collect()
    }
}

/// `None` where there is no Node.
pub(crate) fn in_node(plan: &Plan<'_>) -> Option<Vec<Measured>> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file is written");
        path.display().to_string()
    };
    let told = plan.told(|name, module| write(name, &module));
    write("kernel.mjs", KERNEL.as_bytes());
    let script = write("node.mjs", NODE.as_bytes());
    let mut node = Command::new("node");
    let started = node.arg("--expose-gc").arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut node = match started {
        Ok(node) => node,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => panic!("Node cannot be started: {error}"),
    };
    // Dropped after the plan is written, so that the script sees its end.
    node.stdin.take().map(|mut stdin| stdin.write_all(Value::from(told).to_string().as_bytes()));
    let output = node.wait_with_output().expect("Node ends");
    assert!(output.status.success(), "Node: {}", output.status);
    let answers: Vec<Answer> = serde_json::from_slice(&output.stdout).expect("an answer");
    Some(answers.into_iter().map(measured).collect())
}

/// `None` where this browser is not installed. `say` hears of each kernel.
pub(crate) async fn in_browser(plan: &Plan<'_>, kind: Kind, say: impl Fn(&str)) -> Option<Vec<Measured>> {
    let browser = Browser::start(kind).await?;
    let mut routes = Router::new().route("/", page("text/html", "<!doctype html><title>Kernels</title>"));
    routes = routes.route("/kernel.mjs", page("text/javascript", KERNEL));
    routes = routes.route("/worker.mjs", page("text/javascript", WORKER));
    let told = plan.told(|name, module| {
        let path = format!("/{name}");
        routes = core::mem::take(&mut routes).route(&path, page("application/wasm", module));
        path
    });
    let site = Site::start(routes).await;
    browser.open(&site.origin()).await;
    let isolated: bool = browser
        .run(r#"globalThis.worker = new Worker("/worker.mjs", { type: "module" }); return crossOriginIsolated;"#)
        .await;
    assert!(isolated, "{kind:?} has a coarse clock");
    let mut all = Vec::new();
    for (kernel, told) in plan.kernels.iter().zip(told) {
        say(kernel.name);
        let script = format!(
            "const {{ measured, error }} = await new Promise((heard) => {{
               worker.onmessage = ({{ data }}) => heard(data);
               worker.onerror = ({{ message }}) => heard({{ error: message }});
               worker.postMessage({told});
             }});
             if (error) throw new Error(error);
             return measured;"
        );
        all.push(measured(browser.run(&script).await));
    }
    Some(all)
}

/// Something that is served as it is. Only a page that is alone with its like has a clock that is good for anything.
fn page(kind: &'static str, body: impl Into<Bytes>) -> axum::routing::MethodRouter {
    let body = body.into();
    let headers = [
        (CONTENT_TYPE.as_str(), kind),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
    ];
    get(async move || (headers, body))
}

fn modules(forms: &Forms) -> [(Variant, &[u8]); 4] {
    [
        (Variant::Unsealed, &forms.unsealed),
        (Variant::Metered, &forms.metered),
        (Variant::Sealed, &forms.sealed),
        (Variant::Control, &forms.control),
    ]
}

fn measured(answer: Answer) -> Measured {
    let number = |text: String| text.parse().expect("a number");
    let variant = |word: &str| Variant::ALL.into_iter().find(|variant| variant.word() == word).expect("a variant");
    Measured {
        times: answer.times.into_iter().map(|(word, times)| (variant(&word), times)).collect(),
        output: number(answer.output),
        fuel: answer.fuel.map(number),
    }
}
