//! `cargo xtask fuzz`: lets libFuzzer search for inputs that break a promise of `tests/fuzz`.
//!
//! Coverage counters are a pass of LLVM that every rustc has, so this needs no nightly one. libFuzzer itself is
//! C++ and comes with the crate `libfuzzer-sys`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::process::Command;

use crate::process::{self, cargo};
use crate::{setup, workspace};

/// What libFuzzer reads: edges that were taken, where they are, and what was compared with what.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// One input takes microseconds, or milliseconds where a disk is in the way.
const INPUT_SECONDS_MAX: u32 = 10;
/// Stops what allocates without end before the machine suffers.
const MEMORY_MIB_MAX: u32 = 2048;
/// Longest input that is tried: several of every structure, and quick to read.
const INPUT_BYTES_MAX: u32 = 4096;
/// What a target's committed corpus may take besides its seeds. Unit: bytes.
const CORPUS_BYTES_MAX: u64 = 16 << 10;

/// What to fuzz, and what to do with what was found.
#[derive(Args)]
pub(crate) struct Options {
    /// One target of tests/fuzz; all of them, one after the other, if none is named
    target: Option<String>,
    /// How long each target is tried
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Run this one file instead, with the target's own complaint
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
    /// Write the seeds of all corpora anew, after a format has changed
    #[arg(long, conflicts_with_all = ["input", "minimise"])]
    seed_corpora: bool,
    /// Put the smallest inputs that cover what was found into the committed corpora
    #[arg(long, conflicts_with = "input")]
    minimise: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    setup::compiler().await?;
    if options.seed_corpora {
        return succeed(cargo().args(["run", "--quiet", "--package", "manyhands-fuzz", "--bin", "seed-corpora"])).await;
    }
    cpp_compiler().await?;
    let known = targets()?;
    let targets = match &options.target {
        None => known,
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => bail!("there is no target `{target}`; there are {}", known.join(", ")),
    };
    let programs = build(&targets).await?;
    let mut broken = Vec::new();
    for target in &targets {
        let place = Place::of(target, &programs)?;
        let kept = if let Some(input) = &options.input {
            place.replay(input).await?
        } else if options.minimise {
            place.minimise().await?
        } else {
            place.search(options.seconds).await?
        };
        if !kept {
            broken.push(target.as_str());
        }
    }
    if broken.is_empty() { Ok(()) } else { bail!("broken promises: {}", broken.join(", ")) }
}

/// libFuzzer is built from its source.
async fn cpp_compiler() -> anyhow::Result<()> {
    let chosen = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let asked = Command::new(&chosen).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    if asked.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    bail!(
        "there is no C++ compiler `{}`; on Debian and Ubuntu `sudo apt install build-essential` brings one, on Fedora `sudo dnf install gcc-c++`",
        chosen.display()
    )
}

/// The names of all targets.
fn targets() -> anyhow::Result<Vec<String>> {
    let dir = workspace().join("tests/fuzz/targets");
    let files = fs::read_dir(&dir).with_context(|| format!("{} cannot be read", dir.display()))?;
    let mut names: Vec<_> =
        files.flatten().filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Builds the programs of `targets` and returns the folder that they are in.
async fn build(targets: &[String]) -> anyhow::Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let about = process::read(Command::new(rustc).arg("-vV")).await?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    // A folder of its own: other flags would make every other build start again.
    let folder = workspace().join("target/fuzz");
    let mut command = cargo();
    command.args(["build", "--package", "manyhands-fuzz", "--features", "libfuzzer", "--profile", "fuzz"]);
    // With a target, cargo leaves build scripts and macros without counters, which they could not link.
    command.args(["--target", host, "--target-dir"]).arg(&folder);
    command.args(targets.iter().flat_map(|target| ["--bin", target]));
    command.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    succeed(&mut command).await?;
    Ok(folder.join(host).join("fuzz"))
}

/// Where everything of one target is.
struct Place {
    target: String,
    program: PathBuf,
    /// In the repository.
    committed: PathBuf,
    /// Everything that was ever found on this machine.
    corpus: PathBuf,
    /// Inputs that broke a promise.
    findings: PathBuf,
}

impl Place {
    fn of(target: &str, programs: &Path) -> anyhow::Result<Self> {
        let local = workspace().join("target/fuzz");
        let place = Self {
            target: target.to_owned(),
            program: programs.join(target),
            committed: workspace().join("tests/fuzz/corpora").join(target),
            corpus: local.join("corpora").join(target),
            findings: local.join("findings").join(target),
        };
        for dir in [&place.committed, &place.corpus, &place.findings] {
            fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        }
        Ok(place)
    }

    /// The program, which tells what it does in a file beside the findings.
    fn program(&self) -> anyhow::Result<(Command, PathBuf)> {
        let log = self.findings.with_extension("log");
        let file = fs::File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        let mut command = process::command(&self.program);
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}")).arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        command.arg(format!("-artifact_prefix={}/", self.findings.display()));
        command.stdout(file.try_clone()?).stderr(file);
        Ok((command, log))
    }

    async fn search(&self, seconds: u32) -> anyhow::Result<bool> {
        let (mut command, log) = self.program()?;
        command.args([&self.corpus, &self.committed]).arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-max_len={INPUT_BYTES_MAX}")).args(["-use_value_profile=1", "-print_final_stats=1"]);
        let kept = process::run(&mut command).await?.success();
        let told = fs::read_to_string(&log).unwrap_or_default();
        let executed = statistic(&told, "stat::number_of_executed_units:");
        let new = statistic(&told, "stat::new_units_added:");
        eprintln!("── {}: {executed} inputs tried in {seconds} s, {new} of them new", self.target);
        if !kept {
            self.complain(&told);
        }
        Ok(kept)
    }

    fn complain(&self, told: &str) {
        for line in told.lines().filter(|line| line.starts_with("thread ")).take(1) {
            eprintln!("   {line}");
        }
        let after = told.lines().skip_while(|line| !line.starts_with("thread ")).skip(1);
        for line in after.take_while(|line| !line.starts_with("stack backtrace")).take(5) {
            eprintln!("   {line}");
        }
        match told.lines().find_map(|line| line.split_once("Test unit written to ")) {
            Some((_, file)) => eprintln!("   replay with `cargo xtask fuzz {} --input {file}`", self.target),
            None => eprintln!("   {} says more", self.findings.with_extension("log").display()),
        }
    }

    async fn replay(&self, input: &Path) -> anyhow::Result<bool> {
        let mut command = process::command(&self.program);
        command.arg(std::path::absolute(input)?).arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        Ok(process::run(&mut command).await?.success())
    }

    /// Replaces what the committed corpus holds besides seeds by the smallest inputs that cover as much.
    async fn minimise(&self) -> anyhow::Result<bool> {
        let smallest = tempfile::tempdir()?;
        let (mut command, log) = self.program()?;
        command
            .args(["-set_cover_merge=1", "-use_value_profile=0"])
            .arg(smallest.path())
            .args([&self.committed, &self.corpus]);
        if !process::run(&mut command).await?.success() {
            self.complain(&fs::read_to_string(log).unwrap_or_default());
            return Ok(false);
        }
        let mut seeds = Vec::new();
        for file in fs::read_dir(&self.committed)?.flatten() {
            let name = file.file_name();
            if name.to_string_lossy().starts_with("found-") {
                // Inputs that once broke a promise stay for good.
                continue;
            }
            if name.to_string_lossy().starts_with("seed-") {
                seeds.push(fs::read(file.path())?);
            } else {
                fs::remove_file(file.path())?;
            }
        }
        let mut files: Vec<(u64, PathBuf)> = fs::read_dir(smallest.path())?
            .flatten()
            .filter_map(|file| Some((file.metadata().ok()?.len(), file.path())))
            .collect();
        files.sort();
        let (mut count, mut bytes) = (0, 0);
        for (length, file) in files {
            if bytes + length > CORPUS_BYTES_MAX {
                break;
            }
            if !seeds.contains(&fs::read(&file)?) {
                fs::copy(&file, self.committed.join(file.file_name().unwrap_or_default()))?;
                count += 1;
                bytes += length;
            }
        }
        eprintln!("── {}: {count} inputs of {bytes} bytes beside {} seeds", self.target, seeds.len());
        Ok(true)
    }
}

/// A number in libFuzzer's final statistics.
fn statistic<'a>(told: &'a str, name: &str) -> &'a str {
    told.lines().find_map(|line| line.strip_prefix(name)).map_or("?", str::trim)
}

async fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let name = process::name(command);
    let status = process::run(command).await?;
    if status.success() { Ok(()) } else { bail!("{name}: {status}") }
}
