//! The manifest in the module.

use manyhands_abi::{MANIFEST_SECTION, VERSION};
use manyhands_model::manifest::RECORD_BYTES_MAX;
use manyhands_model::template::templates;
use manyhands_model::{Codec, Manifest};
use wasmparser::{Parser, Payload};

use crate::refusal::{Place, Refusal};

/// Longest manifest, in bytes. A long one says a thousand.
const BYTES_MAX: usize = 64 << 10;
/// Longest description, in characters: one sentence.
const DESCRIPTION_CHARS_MAX: usize = 500;

const PLACE: Place = Place::Section(MANIFEST_SECTION);
const CURE: &str = "build with `manyhands build`, which writes it from Cargo.toml";

/// Reads and checks the manifest.
///
/// # Errors
/// [`Refusal`] when there is none or more than one, or when what it says is not acceptable.
pub fn read(module: &[u8]) -> Result<Manifest, Refusal> {
    let mut found = None;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload.map_err(|error| Refusal::invalid(&error))?
            && section.name() == MANIFEST_SECTION
            && found.replace(section.data()).is_some()
        {
            return Err(Refusal::new(PLACE, "there are two", "keep one"));
        }
    }
    let bytes = found.ok_or_else(|| Refusal::new(PLACE, "missing", CURE))?;
    if bytes.len() > BYTES_MAX {
        return Err(Refusal::new(PLACE, format!("{} bytes long, at most {BYTES_MAX} are read", bytes.len()), CURE));
    }
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| Refusal::new(PLACE, format!("not readable: {error}"), CURE))?;
    if manifest.abi != VERSION {
        let reason = format!("ABI {} is declared, this coordinator speaks {VERSION}", manifest.abi);
        return Err(Refusal::new(PLACE, reason, "build with an SDK of the coordinator's version"));
    }
    if manifest.description.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(Refusal::new(PLACE, "the description is longer than 500 characters", "say it in a sentence"));
    }
    if !manifest.sensitive.is_empty() && manifest.codec != Codec::Json {
        let reason = "sensitive fields are declared, and nobody can find them where inputs are not JSON";
        return Err(Refusal::new(PLACE, reason, "declare the codec `json`, or no sensitive fields"));
    }
    if manifest.record_bytes > RECORD_BYTES_MAX {
        let reason =
            format!("clients are to keep records of {} bytes; they keep {RECORD_BYTES_MAX}", manifest.record_bytes);
        return Err(Refusal::new(PLACE, reason, "ask for less under `record_bytes`"));
    }
    if manifest.record_bytes > 0 && manifest.codec != Codec::Json {
        let reason = "clients are to keep records, and nobody can put them into inputs that are not JSON";
        return Err(Refusal::new(PLACE, reason, "declare the codec `json`, or no `record_bytes`"));
    }
    templates(&manifest.verbs).map_err(|error| Refusal::new(PLACE, error.to_string(), "change it in Cargo.toml"))?;
    manifest.limits.check().map_err(|error| Refusal::new(PLACE, error.to_string(), "change it in Cargo.toml"))?;
    Ok(manifest)
}
