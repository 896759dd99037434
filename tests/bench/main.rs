//! `bench [NAME…]`: what a verified unit costs. Each benchmark starts the real programs, prints a table and
//! writes `target/bench/NAME.json`. Run by `cargo xtask bench`, which builds the programs first.

#![allow(clippy::panic, clippy::expect_used, reason = "a measurement that cannot go on says why and ends")]
#![allow(clippy::print_stdout, reason = "the table is the data of this command")]

mod browser;
mod calls;
mod cpu;
mod growth;
mod idle;
mod latency;
mod load;
mod peers;
mod recovery;
mod report;
mod restart;
mod seal;
mod throughput;

use std::process::ExitCode;

use crate::report::Report;

/// As in the coordinator, whose store is measured here as well.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if let [word, dir] = &names[..]
        && word == recovery::VICTIM
    {
        recovery::fill(dir.as_ref());
        return ExitCode::SUCCESS;
    }
    if let [word, module] = &names[..]
        && word == seal::SEALER
    {
        seal::seal_in_this_process(module.as_ref());
        return ExitCode::SUCCESS;
    }
    let all =
        ["throughput", "latency", "growth", "idle", "restart", "recovery", "seal", "seal-browsers", "browser", "calls"];
    // A part of `seal`, which can also be had alone.
    let parts = ["start"];
    let names: Vec<&str> = if names.is_empty() { all.to_vec() } else { names.iter().map(String::as_str).collect() };
    for name in names {
        let mut report = Report::new(name);
        match name {
            "throughput" => throughput::run(&mut report).await,
            "latency" => latency::run(&mut report).await,
            "growth" => growth::run(&mut report).await,
            "idle" => idle::run(&mut report).await,
            "restart" => restart::run(&mut report).await,
            "recovery" => recovery::run(&mut report),
            "seal" => seal::run(&mut report),
            "seal-browsers" => seal::in_browsers(&mut report).await,
            "browser" => browser::run(&mut report).await,
            "calls" => calls::run(&mut report).await,
            "start" => seal::start(&mut report),
            other => {
                eprintln!("there is no benchmark `{other}`; there are {}", [&all[..], &parts].concat().join(", "));
                return ExitCode::from(2);
            }
        }
        if let Err(error) = report.finish() {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
