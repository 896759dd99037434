//! `manyhands`, the developer's tool. Everything is in the library; here are only the first and the last
//! moments of the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;
use manyhands_cli::args::Cli;
use manyhands_cli::dispatch;
use manyhands_cli::fault::Exit;

fn main() -> ExitCode {
    // `manyhands run` starts this program again as the process in which a job executes.
    if let Some(code) = manyhands_runner::sandbox::run_if_child() {
        return code;
    }
    let cli = Cli::parse();
    // Fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match catch_unwind(AssertUnwindSafe(|| dispatch(&cli))) {
        Ok(Ok(())) => Exit::Ok.into(),
        Ok(Err(fault)) => {
            if fault.exit != Exit::Ok {
                eprintln!("{fault}");
            }
            fault.exit.into()
        }
        Err(_) => {
            eprintln!("error: this is a bug in manyhands, not in your job; please report it with the lines above");
            Exit::Bug.into()
        }
    }
}
