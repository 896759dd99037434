//! `cargo xtask faults`: the long forms of the fault tests, with release programs, one test after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::check::succeed;
use crate::process::{self, Process, cargo};
use crate::{check, workspace};

/// Faults of one round of `tests/faults`, at least.
const FAULTS_PER_ROUND: u32 = 5;
/// One of so many rounds is enough for what takes seconds each time: suspended machines, clocks, bad networks.
const SLOW_SHARE: u32 = 4;

/// What to break, how often, and from which seed.
#[derive(Args)]
pub(crate) struct Options {
    /// Which part of the system
    #[arg(value_enum, default_value_t = Suite::All)]
    suite: Suite,
    /// Faults of each kind; `run` has several in each of its rounds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seed of the first round
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// The store under power cuts, flipped bits, torn files and failing disks
    Store,
    /// Whole runs under kills, suspensions, clocks and networks
    Run,
    /// Both
    All,
}

/// What became of one kind of fault.
#[derive(Serialize)]
struct Outcome {
    suite: &'static str,
    kind: String,
    /// As the test counts them; absent where it always does the same.
    rounds: Option<u64>,
    faults: Option<u64>,
    failures: u64,
    seconds: f64,
    seed: u64,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut outcomes = Vec::new();
    if options.suite != Suite::Run {
        outcomes.extend(suite("store", "manyhands-store", "*", &options, |_| options.rounds).await?);
    }
    if options.suite != Suite::Store {
        succeed(check::programs().arg("--release")).await?;
        let rounds = |test: &str| {
            let rounds = options.rounds.div_ceil(FAULTS_PER_ROUND);
            if test.starts_with("kills::") || test.starts_with("calls::") {
                rounds
            } else {
                rounds.div_ceil(SLOW_SHARE)
            }
        };
        outcomes.extend(suite("run", "manyhands-tests", "faults", &options, rounds).await?);
    }
    show(&outcomes);
    let failures: u64 = outcomes.iter().map(|outcome| outcome.failures).sum();
    if failures == 0 {
        Ok(())
    } else {
        bail!("{failures} kinds of faults broke a promise; the commands above replay them")
    }
}

/// Runs each test of a package's integration tests alone, so that none is in another's way.
async fn suite(
    name: &'static str,
    package: &str,
    target: &str,
    options: &Options,
    rounds: impl Fn(&str) -> u32,
) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for program in build(package, target).await? {
        let listed = process::read(process::command(&program).args(["--list", "--format", "terse"])).await?;
        for test in listed.lines().filter_map(|line| line.strip_suffix(": test")) {
            outcomes.push(one(name, &program, test, rounds(test), options.seed).await?);
        }
    }
    let folder = workspace().join("target/faults");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let file = folder.join(format!("{name}.json"));
    let json = serde_json::to_vec_pretty(&outcomes)?;
    fs::write(&file, json).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(outcomes)
}

/// Builds test programs and returns where they are.
async fn build(package: &str, target: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--release", "--no-run", "--message-format=json"]);
    let messages = process::read(command.args(["--package", package, "--test", target])).await?;
    let programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    // Programs that tests start are built as well; they are in the folder above.
    Ok(programs.filter(|program| program.parent().is_some_and(|folder| folder.ends_with("deps"))).collect())
}

async fn one(suite: &'static str, program: &Path, test: &str, rounds: u32, seed: u64) -> anyhow::Result<Outcome> {
    let kind = test.rsplit("::").next().unwrap_or(test).replace('_', " ");
    eprintln!("── {suite}: {kind}");
    let began = Instant::now();
    let mut command = process::command(program);
    command.args(["--exact", test, "--nocapture"]).env("MANYHANDS_PROGRAMS_ARE_BUILT", "1");
    command.env("MANYHANDS_FAULTS_ROUNDS", rounds.to_string()).env("MANYHANDS_FAULTS_SEED", seed.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = Process::start(test, &mut command)?;
    let (mut done, mut faults) = (None, None);
    if let Some(stderr) = child.stderr() {
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next_line().await? {
            eprintln!("   {line}");
            done = count(&line, "rounds").or(done);
            faults = count(&line, "faults").or(faults);
        }
    }
    let failures = u64::from(!child.end().await?.success());
    let seconds = began.elapsed().as_secs_f64();
    Ok(Outcome { suite, kind, rounds: done, faults, failures, seconds, seed })
}

/// The number before a word in a line of progress such as `kills: 20 rounds, 113 faults`.
fn count(line: &str, what: &str) -> Option<u64> {
    let words: Vec<_> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == what).and_then(|pair| pair[0].parse().ok())
}

#[expect(clippy::print_stdout, reason = "the table is the data of this command; all the rest is on stderr")]
fn show(outcomes: &[Outcome]) {
    let width = outcomes.iter().map(|outcome| outcome.kind.chars().count()).max().unwrap_or(0).max(4);
    println!("{:5}  {:width$}  {:>7}  {:>7}  {:>8}  {:>8}", "suite", "kind", "rounds", "faults", "failures", "time");
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    for outcome in outcomes {
        let Outcome { suite, kind, failures, seconds, .. } = outcome;
        let (rounds, faults) = (number(outcome.rounds), number(outcome.faults));
        println!("{suite:5}  {kind:width$}  {rounds:>7}  {faults:>7}  {failures:>8}  {seconds:>6.1} s");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_tests_say() {
        let line = "kills::the_run: 200 rounds, 1047 faults, 880 runs";
        assert_eq!((count(line, "rounds"), count(line, "faults"), count(line, "bits")), (Some(200), Some(1047), None));
    }
}
