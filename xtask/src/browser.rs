//! `cargo xtask browser`: the files that browsers fetch, for the coordinator to embed.

use std::path::PathBuf;

use tokio::process::Command;

use crate::check::succeed;
use crate::process::{cargo, target};
use crate::{setup, workspace};

const TARGET: &str = "wasm32-unknown-unknown";

/// What makes the runtime smaller, beside its profile in `Cargo.toml`.
const FLAGS: [&str; 2] = [
    // A hash without loops unrolled: there is one in a browser for each megabyte that it fetches.
    "--cfg sha2_backend_soft=\"compact\"",
    // Once more by the linker, which knows what nobody outside calls: not the panic handler, so what it ignores is dropped.
    "-C linker-plugin-lto",
];

/// Builds the runtime for browsers, and lays everything that they fetch into `target/browser`.
pub(crate) async fn run() -> anyhow::Result<()> {
    setup::target().await?;
    // One after the other: built together, the runtime would have the curve that it is to be without.
    for package in ["manyhands-browser", "manyhands-curve"] {
        let mut build = cargo();
        build.args(["build", "--quiet", "--profile", "browser", "--target", TARGET, "--package", package]);
        build.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", FLAGS.join(" "));
        succeed(&mut build).await?;
    }
    let programs = target().join(TARGET).join("browser");
    let mut bundle: Command = cargo();
    bundle.args(["run", "--quiet", "--package", "manyhands-bundle", "--"]);
    bundle.arg(programs.join("manyhands_browser.wasm")).arg(programs.join("manyhands_curve.wasm"));
    bundle.arg(workspace().join("browser-runtime/web")).arg(out());
    succeed(&mut bundle).await
}

/// Where everything goes. The coordinator's build script looks there, whatever target directory it has.
fn out() -> PathBuf {
    workspace().join("target/browser")
}
