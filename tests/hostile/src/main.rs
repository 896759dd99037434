//! `manyhands-hostile`: what hostile modules cost whoever seals and compiles them. Run by `cargo xtask hostile`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use manyhands_hostile::{child, corpus, trial};

/// What to try.
#[derive(Parser)]
struct Options {
    /// Only modules with one of these in their names
    names: Vec<String>,
    /// About how long each module is, in bytes
    #[arg(long, default_value_t = 1_000_000)]
    bytes: usize,
    /// Do not compile what was sealed
    #[arg(long)]
    no_compile: bool,
}

fn main() -> ExitCode {
    if let Some(code) = manyhands_runner::sandbox::run_if_child() {
        return code;
    }
    match child::run_if_child().unwrap_or_else(|| run(&Options::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is the data of this command")]
fn run(options: &Options) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("this very program")?;
    let plan = trial::Plan { bytes: options.bytes, time: trial::Time::PROMISED, compile: !options.no_compile };
    let wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|part| name.contains(part.as_str()));
    let mut all = Vec::new();
    for case in corpus::all().into_iter().filter(|case| wanted(case.name)) {
        eprintln!("── {}", case.name);
        let tried = trial::one(&program, &case, &plan)?;
        tried.broken.iter().for_each(|broken| eprintln!("   {broken}"));
        all.push(tried);
    }
    trial::table(&all).iter().for_each(|line| println!("{line}"));
    println!("\n{}", trial::aim(&all));
    match all.iter().filter(|tried| !tried.broken.is_empty()).count() {
        0 => Ok(()),
        broken => bail!("{broken} of {} modules break a promise", all.len()),
    }
}
