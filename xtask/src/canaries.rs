//! `cargo xtask canaries`: no value that a worker must not see leaves towards one, in any coding.

use clap::Args;

use crate::check::succeed;
use crate::process::{cargo, command};
use crate::workspace;

/// How many to follow.
#[derive(Args)]
pub(crate) struct Options {
    /// How many records
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Seed of all of them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first one's number, to see one again
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// Says what was looked at, or prints the first value that was seen and how to see it again.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    succeed(cargo().args(["build", "--profile", "proof", "--package", "manyhands-canaries"])).await?;
    let mut search = command(workspace().join("target/proof/canaries"));
    for (name, number) in [("--records", options.records), ("--seed", options.seed), ("--first", options.first)] {
        search.args([name, &number.to_string()]);
    }
    succeed(&mut search).await
}
