//! `cargo xtask package`: what operators and volunteers install.
//!
//! What belongs into which package stands in `[package.metadata.deb]` of the programs' manifests; unit files,
//! maintainer scripts and the sample configuration lie in `packaging/`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::check::{succeed, tool};
use crate::process::{self, cargo, command};
use crate::{browser, workspace};

/// Fixed, so that the same commit gives the same packages next year.
const CARGO_DEB: &str = "3.8.0";

/// A crate, and the name of its package for Debian.
const PACKAGES: &[(&str, &str)] = &[
    ("manyhands-coordinator", "manyhands-coordinator"),
    ("manyhands-runner", "manyhands-runner"),
    ("manyhands-cli", "manyhands"),
];

pub(crate) async fn run() -> anyhow::Result<()> {
    browser::run().await?;
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--bins"]);
    succeed(build.args(PACKAGES.iter().flat_map(|(name, _)| ["--package", name]))).await?;

    let target = workspace().join("target");
    let staging = target.join("package");
    std::fs::create_dir_all(&staging).with_context(|| format!("{} cannot be made", staging.display()))?;
    for shell in ["bash", "zsh"] {
        let script = process::read(command(target.join("release/manyhands")).args(["completions", shell])).await?;
        write(&staging.join(format!("manyhands.{shell}")), &script)?;
    }
    // Files in a package carry the time of the commit, so that two builds of it can be compared.
    let git = async |format: &str| process::read(command("git").args(["log", "-1", format])).await;
    let (date, seconds) = (git("--format=%cD").await?, git("--format=%ct").await?);
    // Without liblzma, which it would need a C compiler and time for; the packages are a little longer.
    let cargo_deb = tool("cargo-deb", CARGO_DEB, &["--no-default-features"]).await?;
    for (name, package) in PACKAGES {
        write(&staging.join(format!("{package}.changelog")), &changelog(package, date.trim()))?;
        let mut deb = command(&cargo_deb);
        deb.args(["--no-build", "--quiet", "--package", name]).env("SOURCE_DATE_EPOCH", seconds.trim());
        succeed(&mut deb).await?;
    }
    let debian = target.join("debian");
    for (_, package) in PACKAGES {
        let newest = newest(&debian, &format!("{package}_"))?;
        eprintln!("{}  {} KiB", newest.0.display(), newest.1 / 1024);
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// The package that was just made, and its length in bytes.
fn newest(dir: &Path, start: &str) -> anyhow::Result<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(start) {
            let about = entry.metadata()?;
            found.push((about.modified()?, entry.path(), about.len()));
        }
    }
    match found.into_iter().max() {
        Some((_, path, bytes)) => Ok((path, bytes)),
        None => bail!("cargo-deb left no {start}*.deb in {}", dir.display()),
    }
}

/// What Debian's tools want to read; what people want to read is CHANGELOG.md.
fn changelog(package: &str, date: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{package} ({version}-1) unstable; urgency=medium\n\n  * Version {version}; CHANGELOG.md of the source says what is new.\n\n \
         -- The Manyhands authors <packages@manyhands.invalid>  {date}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_is_of_the_form_that_debian_reads() {
        let text = changelog("manyhands", "Sat, 21 Nov 2026 08:00:00 +0000");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("manyhands (") && lines[0].ends_with("-1) unstable; urgency=medium"), "{text}");
        assert!(lines[2].starts_with("  * "), "{text}");
        assert!(lines[4].starts_with(" -- The Manyhands authors <") && lines[4].contains(">  Sat, 21 Nov"), "{text}");
    }
}
