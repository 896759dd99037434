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
    install(&missing(BROWSERS.iter().chain(&OTHERS)).await).await?;
    let left_out = left_out().await;
    if !left_out.is_empty() {
        eprintln!("`cargo xtask test` leaves out:");
        left_out.iter().for_each(|line| eprintln!("   {line}"));
    }
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

/// What some tests need and a build does not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Programs, each of which will do; or files, where they begin with a slash.
    names: &'static [&'static str],
    /// The package of Debian and Ubuntu that brings it.
    package: &'static str,
    /// The lowest major version that will do; 0 where any will.
    major_min: u32,
    /// What is not tested without it.
    tests: &'static str,
}

/// What drives pages.
const BROWSERS: [Tool; 4] = [
    Tool {
        names: &["chromium", "chromium-browser", "google-chrome"],
        package: "chromium",
        major_min: 0,
        tests: "the pages for volunteers and operators in Chromium",
    },
    Tool {
        names: &["chromedriver"],
        package: "chromium-driver",
        major_min: 0,
        tests: "the pages for volunteers and operators in Chromium",
    },
    Tool {
        names: &["firefox-esr", "firefox"],
        package: "firefox-esr",
        major_min: 0,
        tests: "the pages for volunteers and operators in Firefox",
    },
    Tool {
        names: &["npm"],
        package: "npm",
        major_min: 0,
        tests: "whether the pages can be used by everybody (axe-core), the package for npm",
    },
];

const OTHERS: [Tool; 4] = [
    Tool {
        names: &["node"],
        package: "nodejs",
        // Its engine is the first with all that sealed modules may use.
        major_min: 20,
        tests: "identity: that sealed modules do the same in V8 as in wasmtime; the scripts that pages use for records",
    },
    Tool {
        names: &["clang"],
        package: "clang",
        major_min: 0,
        tests: "jobs in C: an example, and a part of the corpus",
    },
    Tool {
        names: &["wasm-ld"],
        package: "lld",
        major_min: 0,
        tests: "jobs in C: an example, and a part of the corpus",
    },
    Tool {
        names: &[
            "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
            "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
            "/usr/lib64/faketime/libfaketimeMT.so.1",
            "/usr/lib/faketime/libfaketimeMT.so.1",
        ],
        package: "libfaketime",
        major_min: 0,
        tests: "clocks that are set while programs run",
    },
];

impl Tool {
    async fn is_there(&self) -> bool {
        let Some(name) = self.names.iter().find(|name| find(name)) else { return false };
        if self.major_min == 0 {
            return true;
        }
        let said = process::read(Command::new(name).arg("--version")).await.unwrap_or_default();
        major(&said).is_some_and(|major| major >= self.major_min)
    }
}

fn find(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A name that begins with a slash is that file, whatever it is joined to.
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The first number of what a program says its version is, such as `v20.19.2`.
fn major(said: &str) -> Option<u32> {
    let digits = said.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

async fn missing(tools: impl Iterator<Item = &'static Tool>) -> Vec<&'static Tool> {
    let mut missing = Vec::new();
    for tool in tools {
        if !tool.is_there().await {
            missing.push(tool);
        }
    }
    missing
}

/// What tests left out because something is not installed, and how to have it, in lines; none if nothing was.
pub(crate) async fn left_out() -> Vec<String> {
    said_of(&missing(BROWSERS.iter().chain(&OTHERS)).await)
}

fn said_of(missing: &[&Tool]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for tool in missing {
        let version = if tool.major_min > 0 { format!(" {} or later", tool.major_min) } else { String::new() };
        lines.push(format!("{}; there is no {}{version}", tool.tests, tool.package));
    }
    if !missing.is_empty() {
        lines.push(format!("on Debian and Ubuntu `sudo apt-get install {}` brings what is missing", packages(missing)));
    }
    lines
}

fn packages(missing: &[&Tool]) -> String {
    missing.iter().map(|tool| tool.package).collect::<Vec<_>>().join(" ")
}

/// Installs the browsers that are missing, where that asks nobody.
pub(crate) async fn browsers() -> anyhow::Result<()> {
    install(&missing(BROWSERS.iter()).await).await
}

/// As root, where there is apt. Tests leave out what is not there and say so at their end; nothing fails for it.
async fn install(missing: &[&Tool]) -> anyhow::Result<()> {
    // Whose process this is, where there is /proc.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if missing.is_empty() || !is_root || !find("apt-get") {
        return Ok(());
    }
    eprintln!("installing {}", packages(missing));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]);
    install.args(missing.iter().map(|tool| tool.package));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_its_cure() {
        assert_eq!(said_of(&[]), Vec::<String>::new());
        let missing: Vec<&Tool> = OTHERS.iter().filter(|tool| ["nodejs", "clang"].contains(&tool.package)).collect();
        let said = said_of(&missing);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("identity: ") && said[0].ends_with("there is no nodejs 20 or later"), "{said:?}");
        assert!(said[1].starts_with("jobs in C: ") && said[1].ends_with("there is no clang"), "{said:?}");
        assert!(said[2].contains("`sudo apt-get install nodejs clang`"), "{said:?}");
    }

    #[test]
    fn a_version_is_read_as_programs_print_it() {
        for (said, expected) in [("v20.19.2\n", Some(20)), ("Debian clang version 14.0.6", Some(14)), ("none", None)] {
            assert_eq!(major(said), expected, "{said}");
        }
    }

    #[tokio::test]
    async fn an_older_program_and_a_file_that_is_not_there_are_missing() {
        let tool = |names, major_min| Tool { names, package: "p", major_min, tests: "t" };
        assert!(tool(&["cargo"], 0).is_there().await && tool(&["none-of-this-name", "cargo"], 1).is_there().await);
        assert!(!tool(&["cargo"], 1_000).is_there().await, "it is too old");
        assert!(!tool(&["none-of-this-name"], 0).is_there().await);
        assert!(tool(&["/proc/self/stat"], 0).is_there().await, "a file by its whole name");
        assert!(!tool(&["/none/of/this/name"], 0).is_there().await);
    }
}
