//! Module bytes in, sealed module out. What is signed and executed is what this crate writes.
//!
//! Sealing is a row of passes over one module:
//!
//! 1. [`manifest`]: the one custom section that says what the job is and what it may use;
//! 2. [`check`]: valid WebAssembly of a closed set of features, with nothing but the guest ABI at its
//!    borders, far below every engine's own limits;
//! 3. [`strip`]: everything that is not executed leaves, but for the manifest;
//! 4. `grow`: memory grows alike everywhere;
//! 5. `nan`: the bits of a NaN are alike wherever they can be seen;
//! 6. `split`: a function that is called by name and in other ways becomes two;
//! 7. `meter`: fuel and stack are counted, on the code as it is by now;
//! 8. validation once more, and the verifier that runtimes have, over what was written.
//!
//! Same input, same bytes, on every machine. No setting of an engine is part of what a sealed module means.
//!
//! Absent on purpose: engines. Nothing here executes a module.

mod ahead;
mod body;
pub mod check;
mod counted;
mod grow;
pub mod manifest;
mod meter;
pub mod names;
mod nan;
mod outline;
mod plan;
pub mod refusal;
mod split;
pub mod strip;
mod survey;
mod tighten;
mod write;

pub use crate::check::Report;
pub use crate::meter::Metered;
pub use crate::refusal::{Place, Refusal};

use manyhands_model::Manifest;
use manyhands_verifier::module::Module;

use crate::survey::Survey;

/// How many times as long a sealed module may be, and how many bytes longer besides, for very small ones. Real code grows by a quarter.
const GROWTH_MAX: usize = 4;
const GROWTH_BYTES_BESIDES: usize = 4 << 10;

/// A module that may be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it declares.
    pub manifest: Manifest,
    /// Whether it has a reduce step.
    pub reduces: bool,
    /// What was found in the module that was given.
    pub report: Report,
    /// What each of its functions charges, in the order of the module. A function that was split in two is there twice.
    pub metered: Vec<Metered>,
}

/// Seals a module.
///
/// # Errors
/// [`Refusal`]: the first thing that stands against it, where, and the cure.
pub fn seal(module: &[u8]) -> Result<Sealed, Refusal> {
    check::looks_like_a_module(module)?;
    let manifest = manifest::read(module)?;
    let (report, mut survey) = check::check(module, &manifest).map_err(|refusal| names::locate(module, refusal))?;
    let stripped = strip::strip(module)?;
    let most = GROWTH_MAX * stripped.len() + GROWTH_BYTES_BESIDES;
    let (bytes, metered) = passes(stripped, &mut survey, manifest.limits.memory_bytes, &Passes::ALL, most)
        .map_err(|refusal| names::locate(module, refusal))?;
    check::validate(&bytes)?;
    manyhands_verifier::verify(&bytes).map_err(|fault| Refusal::not_verified(&fault))?;
    Ok(Sealed { reduces: report.reduces, bytes, manifest, report, metered })
}

/// Which passes to make. For measurements and tests; what is published has them all.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Whether fuel is counted.
    pub fuel: bool,
    /// Whether stack is counted.
    pub stack: bool,
    /// Whether NaNs are settled.
    pub nan: bool,
    /// Whether each straight piece of code pays for itself and for nothing else, however many places that takes: an exact count.
    pub exact: bool,
}

impl Passes {
    /// What is published.
    pub const ALL: Self = Self { fuel: true, stack: true, nan: true, exact: false };
}

/// Makes passes over any module whose features are accepted, whatever its imports and exports are.
///
/// # Errors
/// [`Refusal`].
#[doc(hidden)]
pub fn rewrite(module: &[u8], memory_bytes: u64, passes_made: &Passes) -> Result<Vec<u8>, Refusal> {
    check::validate(module)?;
    let read = Module::read(module).map_err(Refusal::malformed)?;
    let mut survey = Survey::of(&read).map_err(|error| Refusal::invalid(&error))?;
    let (bytes, _) = passes(module.to_vec(), &mut survey, memory_bytes, passes_made, usize::MAX)?;
    check::validate(&bytes)?;
    Ok(bytes)
}

fn passes(
    module: Vec<u8>,
    survey: &mut Survey,
    memory_bytes: u64,
    passes: &Passes,
    most: usize,
) -> Result<(Vec<u8>, Vec<Metered>), Refusal> {
    let mut bytes = grow::pass(&module, survey, memory_bytes)?;
    if passes.nan && survey.functions.iter().any(|found| found.floats) {
        bytes = nan::pass(&bytes, survey, most)?;
    }
    let (bytes, originals) = split::pass(bytes, survey)?;
    let (bytes, mut metered) = meter::pass(&bytes, survey, passes, most)?;
    let added = metered.len() - originals.len();
    for (metered, original) in metered[added..].iter_mut().zip(originals) {
        metered.function = original;
    }
    Ok((bytes, metered))
}
