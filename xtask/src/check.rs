//! `cargo xtask test`: everything that is checked, one named step after the other.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::process::{self, Process, cargo};
use crate::{browser, setup, workspace};

/// The version is fixed so that a new lint of a new release never breaks an old commit.
const DENY: &str = "0.20.2";
/// The programs that the system tests start.
const PROGRAMS: &[&str] = &["manyhands-coordinator", "manyhands-runner", "manyhands-cli", "manyhands-tests"];

/// What tests said about themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut steps = Steps { failed: Vec::new(), left_out: Vec::new(), tally: Tally::default(), began: Instant::now() };
    steps.step("set-up", async |_| both(setup::target().await, setup::compiler().await)).await;
    steps.step("browsers, where they can be had", async |_| setup::browsers().await).await;
    steps.step("format", async |_| succeed(cargo().args(["fmt", "--all", "--check"])).await).await;
    steps.step("licences, bans, sources", async |_| deny().await).await;
    let mut unreached = None;
    let look = async |_: &mut Tally| advisories().await.map(|said| unreached = said);
    steps.step("advisories, where their database can be reached", look).await;
    steps.left_out.extend(unreached);
    steps.step("what browsers fetch", async |_| browser::run().await).await;
    steps
        .step("lints", async |_| {
            succeed(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])).await
        })
        .await;
    steps
        .step("documentation", async |_| {
            let mut command = cargo();
            command.args(["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
            succeed(&mut command).await
        })
        .await;
    steps.step("the core builds for wasm32", async |_| core_is_portable().await).await;
    steps.step("programs", async |_| succeed(&mut programs()).await).await;
    steps.step("tests", async |tally| tests(tally).await).await;
    steps.left_out.extend(setup::left_out().await);
    steps.end()
}

/// The build of all programs that the system tests and the demo start.
pub(crate) fn programs() -> Command {
    let mut command = cargo();
    command.args(["build", "--bins"]).args(PROGRAMS.iter().flat_map(|package| ["--package", package]));
    command
}

struct Steps {
    failed: Vec<&'static str>,
    /// What was not looked at, for each with what it takes.
    left_out: Vec<String>,
    tally: Tally,
    began: Instant,
}

impl Steps {
    async fn step(&mut self, name: &'static str, work: impl AsyncFnOnce(&mut Tally) -> anyhow::Result<()>) {
        eprintln!("── {name}");
        let began = Instant::now();
        let result = work(&mut self.tally).await;
        let seconds = began.elapsed().as_secs_f32();
        match result {
            Ok(()) => eprintln!("── {name}: ok, {seconds:.1} s"),
            Err(error) => {
                eprintln!("── {name}: FAILED, {seconds:.1} s: {error:#}");
                self.failed.push(name);
            }
        }
    }

    #[expect(clippy::print_stdout, reason = "the count is the data of this command; all the rest is on stderr")]
    fn end(self) -> anyhow::Result<()> {
        eprintln!("── all of it: {:.0} s", self.began.elapsed().as_secs_f32());
        if !self.left_out.is_empty() {
            eprintln!("── LEFT OUT:");
            self.left_out.iter().for_each(|line| eprintln!("   {line}"));
        }
        println!("{} passed, {} failed", self.tally.passed, self.tally.failed);
        if self.failed.is_empty() { Ok(()) } else { bail!("failed: {}", self.failed.join("; ")) }
    }
}

fn both(one: anyhow::Result<()>, other: anyhow::Result<()>) -> anyhow::Result<()> {
    one.and(other)
}

pub(crate) async fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let name = process::name(command);
    let status = process::run(command).await?;
    if status.success() { Ok(()) } else { bail!("{name}: {status}") }
}

/// A program of crates.io at one version, built into `target/tools` where it is missing.
pub(crate) async fn tool(name: &str, version: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
    let root = workspace().join("target/tools");
    let program = root.join("bin").join(name);
    let found = process::read(Command::new(&program).arg("--version")).await.unwrap_or_default();
    if !found.trim().ends_with(version) {
        // Without optimisation it builds in half the time, and is quick enough all the same.
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--force", "--profile", "dev", "--root"]).arg(&root);
        install.args([name, "--version", version]).args(options).env("CARGO_PROFILE_DEV_DEBUG", "0");
        succeed(&mut install).await.with_context(|| format!("{name} cannot be installed"))?;
    }
    Ok(program)
}

async fn deny_program() -> anyhow::Result<Command> {
    let mut command = Command::new(tool("cargo-deny", DENY, &[]).await?);
    command.current_dir(workspace()).args(["--log-level", "warn", "check", "--hide-inclusion-graph"]);
    Ok(command)
}

async fn deny() -> anyhow::Result<()> {
    succeed(deny_program().await?.args(["licenses", "bans", "sources"])).await
}

/// Known vulnerabilities. Their database lives on GitHub, which not every machine reaches; where it is not reached, that is said.
async fn advisories() -> anyhow::Result<Option<String>> {
    let mut fetch = Command::new("git");
    fetch.args(["ls-remote", "--exit-code", "https://github.com/RustSec/advisory-db", "HEAD"]);
    fetch.env("GIT_TERMINAL_PROMPT", "0");
    let reachable = tokio::time::timeout(std::time::Duration::from_secs(20), process::read(&mut fetch)).await;
    if matches!(reachable, Ok(Ok(_))) {
        succeed(deny_program().await?.arg("advisories")).await.map(|()| None)
    } else {
        Ok(Some("advisories; their database, https://github.com/RustSec/advisory-db, cannot be reached".to_owned()))
    }
}

/// Every crate in `crates/` compiles where there is no operating system.
async fn core_is_portable() -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["check", "--quiet", "--target", "wasm32-unknown-unknown"]);
    let mut names: Vec<_> = std::fs::read_dir(workspace().join("crates"))?
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| format!("manyhands-{}", entry.file_name().to_string_lossy()))
        .collect();
    names.sort();
    command.args(names.iter().flat_map(|name| ["--package", name.as_str()]));
    succeed(&mut command).await
}

/// All tests, with their output passed on and their counts added up.
async fn tests(tally: &mut Tally) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).env("MANYHANDS_PROGRAMS_ARE_BUILT", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Process::start("cargo test", &mut command)?;
    if let Some(stdout) = child.stdout() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            let counts = counts(&line).unwrap_or_default();
            tally.passed += counts.passed;
            tally.failed += counts.failed;
            // Thousands of lines that say `ok` hide the one that does not.
            let went_well = line.ends_with("... ok") || line.starts_with("test result: ok. 0 passed");
            if !line.is_empty() && !went_well && !line.starts_with("running ") {
                eprintln!("   {line}");
            }
        }
    }
    let status = child.end().await?;
    if status.success() { Ok(()) } else { bail!("cargo test: {status}") }
}

/// The counts in a line such as `test result: ok. 5 passed; 0 failed; …`.
fn counts(line: &str) -> Option<Tally> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = rest.split("; ").map(|part| part.split(' ').next().and_then(|number| number.parse().ok()));
    Some(Tally { passed: numbers.next()??, failed: numbers.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_cargo_prints() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counts(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(counts("test runs::a_story ... ok"), None);
    }
}
