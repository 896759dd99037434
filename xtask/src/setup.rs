//! `cargo xtask setup`: what a build needs and cargo does not bring.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::bail;
use tokio::process::Command;

use crate::process;

const TARGET: &str = "wasm32-unknown-unknown";

pub(crate) async fn run() -> anyhow::Result<()> {
    target().await?;
    compiler().await?;
    browsers().await?;
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

/// Programs that drive pages in tests, with the packages of Debian and Ubuntu that bring them.
const BROWSERS: [(&[&str], &str); 4] = [
    (&["chromium", "chromium-browser", "google-chrome"], "chromium"),
    (&["chromedriver"], "chromium-driver"),
    (&["firefox-esr", "firefox"], "firefox-esr"),
    (&["npm"], "npm"),
];

/// Installs the browsers that are missing where that asks nobody: as root, where there is apt. Tests leave out what is not
/// there and say so; nothing fails for it.
pub(crate) async fn browsers() -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let is_there = |name: &&str| folders.iter().any(|folder| folder.join(name).is_file());
    let missing = BROWSERS.iter().filter(|(names, _)| !names.iter().any(is_there));
    let packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    // Whose process this is, where there is /proc.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root || !is_there(&"apt-get") {
        eprintln!(
            "   NOT INSTALLED: {0}; on Debian and Ubuntu `sudo apt-get install {0}` brings them",
            packages.join(" ")
        );
        return Ok(());
    }
    eprintln!("installing {}", packages.join(", "));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages);
    install.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    match process::run(&mut install).await {
        Ok(status) if status.success() => {}
        _ => eprintln!("   NOT INSTALLED: apt-get could not; `apt-get update` may help"),
    }
    Ok(())
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
