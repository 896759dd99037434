//! `cargo xtask bench`: what a verified unit costs, with release programs, one benchmark after the other.

use clap::{Args, ValueEnum};

use crate::check::succeed;
use crate::process::cargo;
use crate::{browser, siege, workspace};

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Which benchmarks; all of them if none is named
    #[arg(value_enum)]
    names: Vec<Name>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Verified no-op units a second, beside tasks of Dask and Ray where they can be installed
    Throughput,
    /// One unit, from the request to the verified answer
    Latency,
    /// Cost of a unit while ten thousand wait, and a million
    Growth,
    /// A thousand workers without work
    Idle,
    /// Start after `kill -9` with a million units stored
    Restart,
    /// What it takes a store to be back after a crash, and without its index or its log
    Recovery,
    /// Sealed modules beside unsealed ones, in wasmtime and in Node where it is installed
    Seal,
    /// The same in Chromium and Firefox, where they are installed
    SealBrowsers,
    /// From cached code to the end of a first unit, and a unit of a loaded module: a part of `seal`
    Start,
    /// What a browser costs a visitor, and its slots beside wasmtime, in Chromium and Firefox
    Browser,
    /// Ten thousand workers within a minute
    Flash,
    /// Taking sensitive values out of inputs and translating tokens, beside serde_json
    Placeholder,
    /// What a call takes of the coordinator, but for the call itself, beside serde_json; calls one after the other, and calls a second
    Intents,
    /// Whether the time of a look-up tells how near a guess was; fails if it does
    Timing,
}

/// Prints a table each and writes `target/bench/NAME.json`.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    // All but the part of another one.
    let all: Vec<Name> = Name::value_variants().iter().copied().filter(|name| *name != Name::Start).collect();
    let names = if options.names.is_empty() { &all } else { &options.names };
    let word = |name: &Name| name.to_possible_value().map(|value| value.get_name().to_owned());
    let elsewhere = |name: &Name| matches!(name, Name::Flash | Name::Placeholder | Name::Intents | Name::Timing);
    let mut here: Vec<String> = names.iter().filter(|name| !elsewhere(name)).filter_map(word).collect();
    if names.contains(&Name::Intents) {
        // The half of it that needs the whole.
        here.push("calls".to_owned());
    }
    if !here.is_empty() {
        if names
            .iter()
            .all(|name| matches!(name, Name::Flash | Name::Placeholder | Name::Seal | Name::SealBrowsers | Name::Start))
        {
            // It starts none of the other programs.
            let mut build = cargo();
            build.args(["build", "--quiet", "--release", "--package", "manyhands-tests", "--bin", "bench"]);
            succeed(&mut build).await?;
        } else {
            if names.contains(&Name::Browser) {
                browser::run().await?;
            }
            siege::programs().await?;
        }
        let mut bench = tokio::process::Command::new(workspace().join("target/release/bench"));
        succeed(bench.args(here).env("MANYHANDS_PROGRAMS_ARE_BUILT", "1")).await?;
    }
    if names.contains(&Name::Flash) {
        siege::flash().await?;
    }
    if names.contains(&Name::Placeholder) {
        alone("placeholder").await?;
    }
    if names.contains(&Name::Intents) {
        alone("intents").await?;
    }
    if names.contains(&Name::Timing) {
        timing().await?;
    }
    Ok(())
}

/// Tests that are no use on a busy machine, so nobody runs them by the way.
async fn timing() -> anyhow::Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--release", "--package", "manyhands-coordinator", "--test", "timing"]);
    succeed(tests.args(["--", "--ignored", "--nocapture", "--test-threads", "1"])).await
}

/// One that needs nothing but its crate.
async fn alone(name: &str) -> anyhow::Result<()> {
    let program = format!("{name}-bench");
    succeed(cargo().args(["build", "--quiet", "--release", "--package", &format!("manyhands-{program}")])).await?;
    let target = workspace().join("target");
    tokio::fs::create_dir_all(target.join("bench")).await?;
    let mut bench = tokio::process::Command::new(target.join("release").join(program));
    succeed(bench.arg(target.join(format!("bench/{name}.json")))).await
}
