//! `cargo xtask setup`: what a build needs and cargo does not bring.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::bail;
use tokio::process::Command;

use crate::process;

const TARGET: &str = "wasm32-unknown-unknown";

pub(crate) async fn run() -> anyhow::Result<()> {
    target().await?;
    compiler().await?;
    eprintln!("the target {TARGET} and a C compiler are there; `cargo xtask demo` is next");
    Ok(())
}

/// Adds the target that jobs are compiled for.
pub(crate) async fn target() -> anyhow::Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let folder = process::read(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET])).await;
    let there = folder.ok().and_then(|folder| PathBuf::from(folder.trim()).read_dir().ok());
    if there.is_some_and(|mut files| files.any(|file| file.is_ok_and(|file| is_core(&file)))) {
        return Ok(());
    }
    eprintln!("adding the target {TARGET}");
    match process::run(Command::new("rustup").args(["target", "add", TARGET])).await {
        Ok(status) if status.success() => Ok(()),
        _ => bail!(
            "rustup could not add the target {TARGET}; add it by hand, or with your system's package of Rust for WebAssembly"
        ),
    }
}

fn is_core(file: &std::fs::DirEntry) -> bool {
    file.file_name().to_string_lossy().starts_with("libcore-")
}

/// Looks for the C compiler that the TLS library and Rust's own linker need, and for `make`, which builds the allocator.
pub(crate) async fn compiler() -> anyhow::Result<()> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    for (what, program) in [("C compiler", compiler), ("program", "make".into())] {
        let asked = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if !asked.is_ok_and(|status| status.success()) {
            bail!(
                "there is no {what} `{}`; on Debian and Ubuntu `sudo apt install build-essential` brings one, on Fedora `sudo dnf install gcc make`, on macOS `xcode-select --install`",
                program.display()
            );
        }
    }
    Ok(())
}
