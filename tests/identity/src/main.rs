//! `cargo xtask identity` runs this.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use manyhands_identity::proof::{self, Plan, Tally};
use manyhands_identity::team::{BROWSERS, ENGINES, Figures, Team};
use manyhands_identity::{jobs, ops, probe, trial};

/// Executes generated modules and jobs that somebody wrote on several engines, and finds no difference.
#[derive(Parser)]
struct Options {
    /// How many modules
    #[arg(long, default_value_t = 10_000)]
    modules: u64,
    /// Seed of all of them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first one's number, to see one again
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Chromium and Firefox as well, for a sample
    #[arg(long)]
    browsers: bool,
    /// One module of so many goes to browsers
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    browser_share: u64,
    /// How many cases of each job that somebody wrote; 0 leaves these jobs out
    #[arg(long, default_value_t = 100)]
    cases: usize,
    /// The first case's number, to see one again
    #[arg(long, default_value_t = 0)]
    first_case: usize,
    /// Of this job alone, by its source
    #[arg(long)]
    job: Option<String>,
    /// Leave out the probe of every float instruction
    #[arg(long)]
    no_probe: bool,
    /// Where differences are kept
    #[arg(long, default_value = "target/identity")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the tables are the data of this command; all the rest is on stderr")]
fn run(options: &Options) -> anyhow::Result<bool> {
    let mut equal = true;
    if !options.no_probe {
        eprintln!("── every float instruction");
        let mut kinds = ENGINES.to_vec();
        if options.browsers {
            kinds.extend(BROWSERS.iter().filter(|kind| !ENGINES.contains(kind)));
        }
        let began = Instant::now();
        let report = probe::probe(&mut Team::open(&kinds)?, &ops::all(), true)?;
        for difference in &report.differences {
            println!("{difference}");
        }
        equal &= report.differences.is_empty();
        println!(
            "{} float instructions, {} results on {} engines against the deterministic profile: {} differences, {:.0} s",
            report.ops,
            report.results,
            kinds.len(),
            report.differences.len(),
            began.elapsed().as_secs_f64()
        );
    }
    if options.cases > 0 {
        equal &= of_jobs(options)?;
    }
    if options.modules > 0 {
        equal &= of_modules(options)?;
    }
    Ok(equal)
}

#[expect(clippy::print_stdout, reason = "the tables are the data of this command; all the rest is on stderr")]
fn of_jobs(options: &Options) -> anyhow::Result<bool> {
    eprintln!("── building the example jobs, the corpus of tests/conformance and the kernels");
    let is_meant = |name: &str| options.job.as_ref().is_none_or(|job| job == name);
    let mut subjects = jobs::written()?;
    subjects.extend(jobs::kernels()?);
    subjects.retain(|subject| is_meant(&subject.name));
    if subjects.is_empty() {
        anyhow::bail!("there is no such job; name one by its source, as `jobs/text-index` or `jobs/primes/primes.wat`");
    }
    eprintln!("── {} cases of each of {} jobs, seed {}", options.cases, subjects.len(), options.seed);
    let began = Instant::now();
    let tally = trial::prove(
        &subjects,
        &trial::Plan {
            cases: options.cases,
            first: options.first_case,
            seed: options.seed,
            browsers: options.browsers,
            folder: options.folder.clone(),
        },
    )?;
    engines(&tally.engines);
    verdicts(&tally.verdicts);
    println!("as somebody had written down: {}; requests answered: {}", tally.judged, tally.answered);
    println!("reduce steps: {}; ended otherwise for lack of memory: {}", tally.reduced, tally.refused_growths);
    println!(
        "{} jobs, {} cases, seed {}, {:.0} s, {} differences",
        subjects.len(),
        tally.cases,
        options.seed,
        began.elapsed().as_secs_f64(),
        tally.differences.len()
    );
    Ok(tally.differences.is_empty())
}

#[expect(clippy::print_stdout, reason = "the tables are the data of this command; all the rest is on stderr")]
fn of_modules(options: &Options) -> anyhow::Result<bool> {
    eprintln!("── {} modules of seed {}", options.modules, options.seed);
    let began = Instant::now();
    let tally = proof::prove(&Plan {
        modules: options.modules,
        first: options.first,
        seed: options.seed,
        browser_share: options.browsers.then_some(options.browser_share),
        folder: options.folder.clone(),
    })?;
    show(&tally);
    println!("seed {}, {:.0} s, {} differences", options.seed, began.elapsed().as_secs_f64(), tally.differences.len());
    Ok(tally.differences.is_empty())
}

#[expect(clippy::print_stdout, reason = "the tables are the data of this command; all the rest is on stderr")]
fn show(tally: &Tally) {
    engines(&tally.engines);
    verdicts(&tally.verdicts);
    println!("refused growths: {}", tally.refused_growths);
    println!("judged by the oracle as well: {}", tally.judged);
    println!(
        "mutants compared: {}; ended by fuel or stack: {}; refused by the sealer: {}",
        tally.mutants, tally.bounded, tally.mutants_refused
    );
    println!("rightly refused by the sealer: {}", tally.refused);
}

#[expect(clippy::print_stdout, reason = "the tables are the data of this command; all the rest is on stderr")]
fn engines(figures: &Figures) {
    println!("{:14}  {:>9}  {:>10}  {:>9}  {:>9}", "engine", "modules", "executions", "loading", "executing");
    for (kind, (modules, executions, loading, executing)) in figures {
        let (loading, executing) = (loading.as_secs_f64(), executing.as_secs_f64());
        println!("{kind:14}  {modules:>9}  {executions:>10}  {loading:>7.1} s  {executing:>7.1} s");
    }
}

#[expect(clippy::print_stdout, reason = "the tables are the data of this command; all the rest is on stderr")]
fn verdicts(verdicts: &BTreeMap<&'static str, u64>) {
    let verdicts: Vec<_> = verdicts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    println!("verdicts: {}", verdicts.join(", "));
}
