//! `cargo xtask siege`: attacks a release build of the coordinator at full strength and measures honest clients.

use clap::Args;

use crate::check::succeed;
use crate::process::cargo;

/// What to attack with, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Attacks of tests/siege, such as slow-heads; all of them if none is named
    attacks: Vec<String>,
    /// How often each attack is repeated; medians are shown
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Attack another coordinator on this computer instead: what honest clients then wait for is the computer
    #[arg(long)]
    bystander: bool,
}

/// Prints a table of all attacks and writes `target/bench/siege.json`, or `siege-bystander.json`.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut environment = vec![
        ("MANYHANDS_SIEGE_ATTACKS", options.attacks.join(",")),
        ("MANYHANDS_SIEGE_ROUNDS", options.rounds.to_string()),
    ];
    if options.bystander {
        environment.push(("MANYHANDS_SIEGE_BYSTANDER", "1".to_owned()));
    }
    let mut names = vec!["long::siege"];
    if options.attacks.is_empty() && !options.bystander {
        names.push("modules::a_module_that_is_long_to_compile");
    }
    measure(&names, &environment).await
}

/// Ten thousand workers within a minute; writes `target/bench/flash.json`.
pub(crate) async fn flash() -> anyhow::Result<()> {
    measure(&["flash::flash"], &[]).await
}

/// Runs measuring tests of the target `siege` with release programs, one after the other.
async fn measure(names: &[&str], environment: &[(&str, String)]) -> anyhow::Result<()> {
    programs().await?;
    let mut test = cargo();
    test.args(["test", "--quiet", "--release", "--package", "manyhands-tests", "--test", "siege", "--"]);
    test.args(["--ignored", "--exact", "--nocapture", "--test-threads", "1"]).args(names);
    test.env("MANYHANDS_PROGRAMS_ARE_BUILT", "1").envs(environment.iter().cloned());
    succeed(&mut test).await
}

/// Builds the release programs that are measured.
pub(crate) async fn programs() -> anyhow::Result<()> {
    let packages = ["manyhands-coordinator", "manyhands-runner", "manyhands-cli", "manyhands-tests"];
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "--bins"]);
    succeed(build.args(packages.iter().flat_map(|package| ["--package", package]))).await
}
