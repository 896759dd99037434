//! `cargo xtask identity`: the proof that sealed modules do the same on every engine.

use clap::Args;

use crate::check::succeed;
use crate::process::{cargo, command};
use crate::workspace;

/// How much to prove.
#[derive(Args)]
pub(crate) struct Options {
    /// How many modules
    #[arg(long, default_value_t = 10_000)]
    modules: u64,
    /// Seed of all of them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first one's number, to see one again
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many cases of each job that somebody wrote; 0 leaves these jobs out
    #[arg(long, default_value_t = 100)]
    cases: u64,
    /// The first case's number, to see one again
    #[arg(long, default_value_t = 0)]
    first_case: u64,
    /// Of this job alone, by its source, as `jobs/text-index`
    #[arg(long)]
    job: Option<String>,
    /// Chromium and Firefox as well, for one module of fifty and one case of four
    #[arg(long)]
    browsers: bool,
    /// Leave out the probe of every float instruction
    #[arg(long)]
    no_probe: bool,
}

/// Prints what was executed how, and keeps differences in `target/identity`.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    succeed(cargo().args(["build", "--profile", "proof", "--package", "manyhands-identity"])).await?;
    let mut proof = command(workspace().join("target/proof/manyhands-identity"));
    let Options { modules, seed, first, cases, first_case, .. } = options;
    let numbers = [
        ("--modules", modules),
        ("--seed", seed),
        ("--first", first),
        ("--cases", cases),
        ("--first-case", first_case),
    ];
    for (name, number) in numbers {
        proof.args([name, &number.to_string()]);
    }
    proof.args(options.job.iter().flat_map(|job| ["--job", job.as_str()]));
    proof.args(options.browsers.then_some("--browsers")).args(options.no_probe.then_some("--no-probe"));
    succeed(&mut proof).await
}
