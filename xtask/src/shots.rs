//! `cargo xtask shots`: a picture of every page, to be looked at.

use tokio::process::Command;

use crate::check::{programs, succeed};
use crate::{browser, process, setup};

/// Takes them of programs just built, into `target/shots`.
pub(crate) async fn run() -> anyhow::Result<()> {
    setup::browsers().await?;
    browser::run().await?;
    succeed(&mut programs()).await?;
    let mut shots: Command = process::command(process::target().join("debug/shots"));
    succeed(shots.env("MANYHANDS_PROGRAMS_ARE_BUILT", "1")).await
}
