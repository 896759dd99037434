//! What others need for a task that does nothing and that nobody verifies, on the same computer in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;

use manyhands_tests::workspace;
use serde::Deserialize;

use crate::report::Report;

/// What another system managed.
#[derive(Debug, Deserialize)]
pub(crate) struct Peer {
    /// Its name and version.
    pub(crate) name: String,
    /// Tasks a second, in a batch.
    pub(crate) tasks_per_second: f64,
}

/// Each with the packages that it needs.
const PEERS: &[(&str, &[&str])] = &[("dask", &["distributed"]), ("ray", &["ray"])];

/// Measures those that can be installed, in an environment of their own below `target`.
pub(crate) fn measure(report: &Report) -> Vec<Peer> {
    let Some(python) = environment(report) else { return Vec::new() };
    PEERS.iter().filter_map(|(name, packages)| one(report, &python, name, packages)).collect()
}

fn environment(report: &Report) -> Option<PathBuf> {
    let folder = workspace().join("target/bench/peers");
    let python = folder.join("bin/python");
    if !python.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        if !made.is_ok_and(|made| made.status.success()) {
            report.say("no other system is measured: `python3 -m venv` does not work here");
            return None;
        }
    }
    Some(python)
}

fn one(report: &Report, python: &Path, name: &str, packages: &[&str]) -> Option<Peer> {
    let skip = |why: &str| {
        report.say(&format!("{name} is not measured: {why}"));
        None
    };
    let has = Command::new(python).args(["-c", &format!("import {}", packages[0])]).output();
    if !has.is_ok_and(|has| has.status.success()) {
        report.say(&format!("{name} is being installed"));
        let pip = Command::new(python).args(["-m", "pip", "install", "--quiet"]).args(packages).output();
        if !pip.is_ok_and(|pip| pip.status.success()) {
            return skip("it cannot be installed here");
        }
    }
    report.say(&format!("{name}: no-op tasks on two workers"));
    let script = workspace().join("tests/bench/peers").join(format!("{name}_noop.py"));
    let Ok(output) = Command::new(python).arg(script).output() else { return skip("it does not start") };
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().rev().find_map(|line| serde_json::from_str(line).ok()) {
        Some(peer) => Some(peer),
        None => skip(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it said nothing")),
    }
}
