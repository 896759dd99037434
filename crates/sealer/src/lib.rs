//! Module bytes in, sealed module out. What is signed and executed is what this crate writes.
//!
//! Sealing is a row of passes over one module:
//!
//! 1. [`manifest`]: the one custom section that says what the job is and what it may use;
//! 2. [`check`]: valid WebAssembly of a closed set of features, with nothing but the guest ABI at its
//!    borders, far below every engine's own limits;
//! 3. [`strip`]: everything that is not executed leaves, but for the manifest;
//! 4. the check once more, over what was written.
//!
//! Same input, same bytes, on every machine. A module that was sealed before comes out unchanged. Passes
//! that rewrite code belong between 3 and 4.
//!
//! Absent on purpose: engines. Nothing here executes a module.

pub mod check;
pub mod manifest;
mod names;
pub mod refusal;
pub mod strip;

pub use crate::check::Report;
pub use crate::refusal::{Place, Refusal};

use manyhands_model::Manifest;

/// A module that may be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it declares.
    pub manifest: Manifest,
    /// Whether it has a reduce step.
    pub reduces: bool,
    /// What was found in it.
    pub report: Report,
}

/// Seals a module.
///
/// # Errors
/// [`Refusal`]: the first thing that stands against it, where, and the cure.
pub fn seal(module: &[u8]) -> Result<Sealed, Refusal> {
    check::looks_like_a_module(module)?;
    let manifest = manifest::read(module)?;
    check::check(module, &manifest).map_err(|refusal| names::locate(module, refusal))?;
    let bytes = strip::strip(module)?;
    let report = check::check(&bytes, &manifest).map_err(|refusal| names::locate(&bytes, refusal))?;
    Ok(Sealed { reduces: report.reduces, bytes, manifest, report })
}
