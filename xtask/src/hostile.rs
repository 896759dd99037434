//! `cargo xtask hostile`: what modules that mean harm cost whoever seals and compiles them.

use clap::Args;

use crate::check::succeed;
use crate::process::{cargo, command};
use crate::workspace;

/// Which modules, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Only modules with one of these in their names
    names: Vec<String>,
    /// About how long each module is, in bytes
    #[arg(long, default_value_t = 1_000_000)]
    bytes: usize,
    /// Do not compile what was sealed, which takes most of the time
    #[arg(long)]
    no_compile: bool,
}

/// Prints a table, and fails if a promise is broken.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    succeed(cargo().args(["build", "--profile", "proof", "--package", "manyhands-hostile"])).await?;
    let mut trial = command(workspace().join("target/proof/manyhands-hostile"));
    trial.args(options.names).args(["--bytes", &options.bytes.to_string()]);
    trial.args(options.no_compile.then_some("--no-compile"));
    succeed(&mut trial).await
}
