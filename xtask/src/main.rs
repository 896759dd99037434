//! `cargo xtask`: what a person who works on this project does with one command.

mod bench;
mod browser;
mod canaries;
mod check;
mod demo;
mod faults;
mod font;
mod fuzz;
mod hostile;
mod identity;
mod map;
mod outside;
mod package;
mod picture;
mod process;
mod setup;
mod shots;
mod siege;
mod sim;
mod wire;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure what a verified unit costs, beside other systems
    Bench(bench::Options),
    /// Make the files that browsers fetch, for the coordinator to embed
    Browser,
    /// Add the wasm32 target and look for what a build needs
    Setup,
    /// Start a coordinator, three runners, a visitor's browser and two liars, and run real jobs over real data
    Demo(demo::Options),
    /// Look for values that workers must not see in everything that leaves towards them
    Canaries(canaries::Options),
    /// Break everything that can break, often, and see that nothing acknowledged is lost
    Faults(faults::Options),
    /// Search for inputs that break a decoder, guided by coverage
    Fuzz(fuzz::Options),
    /// Seal and compile modules that mean harm, within limits
    Hostile(hostile::Options),
    /// Execute generated modules on several engines, and find no difference
    Identity(identity::Options),
    /// Build Debian packages of the coordinator, the runner and the tool
    Package,
    /// Take a picture of every page, small and large, light and dark
    Shots,
    /// Attack a release build at full strength and measure honest clients
    Siege(siege::Options),
    /// Let cheats of every kind work for the scheduler in virtual time, beside other people's rules
    Sim(sim::Options),
    /// Check everything: format, lints, documentation, licences, the pure core, all tests
    Test,
}

#[tokio::main]
async fn main() -> ExitCode {
    let task = Arguments::parse().task;
    // Whatever is dropped when this ends, by itself or by a signal, takes its child processes with it.
    let result = tokio::select! {
        result = run(task) => result,
        signal = stop_asked() => Err(anyhow::anyhow!("stopped by {signal}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Bench(options) => bench::run(options).await,
        Task::Browser => browser::run().await,
        Task::Canaries(options) => canaries::run(options).await,
        Task::Setup => setup::run().await,
        Task::Demo(options) => demo::run(options).await,
        Task::Faults(options) => faults::run(options).await,
        Task::Fuzz(options) => fuzz::run(options).await,
        Task::Hostile(options) => hostile::run(options).await,
        Task::Identity(options) => identity::run(options).await,
        Task::Package => package::run().await,
        Task::Shots => shots::run().await,
        Task::Siege(options) => siege::run(options).await,
        Task::Sim(options) => sim::run(options).await,
        Task::Test => check::run().await,
    }
}

async fn stop_asked() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut hang_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => "Ctrl-C",
        _ = terminate.recv() => "SIGTERM",
        _ = hang_up.recv() => "SIGHUP",
    }
}

/// The root of the repository.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
