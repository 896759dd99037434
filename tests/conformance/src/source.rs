//! From a source file, or an example on a page, to a sealed module.

use std::path::Path;

use manyhands_cli::fault::{Exit, Fault};
use manyhands_cli::{build, foreign};
use manyhands_model::Manifest;
use manyhands_sealer::Sealed;

use crate::{Wrong, root};

/// The manifest of examples on pages that show none.
const MANIFEST: &str = r#"{"name":"example","version":"0.1.0","abi":1,"codec":"raw"}"#;

/// Whether the module is written as text, so that its bytes are the same everywhere.
pub(crate) fn is_text(module: &str) -> bool {
    module.ends_with("wat")
}

/// Builds: the module as a compiler leaves it, and its manifest.
///
/// # Errors
/// [`Wrong`].
pub(crate) fn built(module: &str) -> Result<(Vec<u8>, Manifest), Wrong> {
    match module.split_once('#') {
        None => build(module, &root().join(module)),
        Some((page, language)) => {
            let path = root().join(page);
            let text = std::fs::read_to_string(&path).map_err(|error| Wrong::File(path, error))?;
            let example = example(&text, language).ok_or_else(|| wrong(module, "the page has no such example"))?;
            let folder = tempfile::tempdir().map_err(|error| wrong(module, error))?;
            let path = folder.path().join(format!("example.{language}"));
            let written = std::fs::write(&path, example)
                .and_then(|()| std::fs::write(folder.path().join("example.json"), MANIFEST));
            written.map_err(|error| wrong(module, error))?;
            build(module, &path)
        }
    }
}

/// Builds and seals.
///
/// # Errors
/// [`Wrong`].
pub(crate) fn sealed(module: &str) -> Result<Sealed, Wrong> {
    let (raw, manifest) = built(module)?;
    let (_, sealed) = build::pack(&raw, &manifest).map_err(|fault| faulty(module, &fault))?;
    Ok(sealed)
}

fn build(module: &str, path: &Path) -> Result<(Vec<u8>, Manifest), Wrong> {
    foreign::module(path).map_err(|fault| faulty(module, &fault))
}

fn faulty(module: &str, fault: &Fault) -> Wrong {
    match fault.exit {
        Exit::MissingTool => Wrong::MissingTool(fault.to_string()),
        _ => wrong(module, fault),
    }
}

/// The first block of code in this language.
fn example<'a>(page: &'a str, language: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("\n```{language}\n"))?;
    Some(rest.split_once("\n```")?.0)
}

fn wrong(module: &str, reason: impl std::fmt::Display) -> Wrong {
    Wrong::Module { module: module.to_owned(), reason: reason.to_string() }
}
