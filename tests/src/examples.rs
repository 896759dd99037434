//! The example jobs, as their authors publish them.

use manyhands_sealer::{Sealed, seal};
use serde_json::json;

use crate::jobs::Job;
use crate::process::{run_in, workspace};

/// Name, module and an input that takes some milliseconds.
///
/// # Panics
/// When one cannot be built.
pub fn all() -> Vec<(&'static str, Sealed, Vec<u8>)> {
    let place = |n: u32| {
        let (latitude, longitude) = (25.0 + 0.5 * f64::from(n), -120.0 + f64::from(n));
        json!({ "zip_code": format!("{n:05}"), "latitude": latitude, "longitude": longitude })
    };
    let places = (0..40).map(place).collect::<Vec<_>>().into();
    let tile = json!({
        "width": 1920, "height": 1280, "x": 960, "y": 640, "w": 64, "h": 64,
        "center": [-0.743_64, 0.131_35], "scale": 0.003, "max_iterations": 3000,
    });
    let page = std::fs::read_to_string(workspace().join("docs/abi.md")).expect("a page");
    let text = json!({ "name": "a page", "text": page });
    let range = json!([999_000_000, 1_000_000_000]);
    let read = json!(["GATTACA".repeat(60), "CCGATTTACACC".repeat(60)]);
    let sources = [
        ("nearest-airport", None, places),
        ("mandelbrot", None, tile),
        ("text-index", None, text),
        ("primes", Some("jobs/primes/primes.wat"), range),
        ("align", Some("jobs/align/align.c"), read),
    ];
    let built = sources.into_iter().filter_map(|(name, source, input)| {
        let sealed = seal(&build(name, source)?).expect("it seals");
        Some((name, sealed, serde_json::Value::to_string(&input).into_bytes()))
    });
    built.collect()
}

/// An example that calls an API, with its calls going to this origin: where it was built to call, a demonstration may be served.
///
/// # Panics
/// When it cannot be built.
pub fn calling(name: &str, origin: &str) -> Job {
    let built = build(name, None).expect("only C has another compiler");
    let mut manifest = seal(&built).expect("it seals").manifest;
    for verb in manifest.verbs.values_mut() {
        origin.clone_into(&mut verb.origin);
    }
    let (module, _) = manyhands_cli::build::pack(&built, &manifest).expect("it seals");
    Job { module, manifest }
}

/// None where a compiler is missing, which is said.
fn build(name: &str, source: Option<&str>) -> Option<Vec<u8>> {
    let source = source.map(|source| workspace().join(source).display().to_string());
    let built = match &source {
        Some(source) => run_in(workspace(), "manyhands", ["build", source]),
        None => run_in(workspace(), "manyhands", ["build", "--package", name]),
    };
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    if source.is_some() && !built.status.success() && said.contains("clang") {
        eprintln!("LEFT OUT: {name}: {said}");
        return None;
    }
    assert!(built.status.success(), "{name}: {said}");
    let path = String::from_utf8(built.stdout).expect("a path");
    Some(std::fs::read(workspace().join(path.trim())).expect("a module"))
}
