//! Leaves out everything that is not executed.

use manyhands_abi::MANIFEST_SECTION;
use wasm_encoder::{CustomSection, Module, RawSection};
use wasmparser::{Parser, Payload};

use crate::refusal::Refusal;

/// The module without custom sections, but for its manifest, which comes last.
///
/// # Errors
/// [`Refusal`] when the module cannot be parsed.
pub fn strip(module: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut out = Module::new();
    let mut manifest = None;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| Refusal::invalid(&error))?;
        if let Payload::CustomSection(section) = &payload {
            if section.name() == MANIFEST_SECTION {
                manifest = Some(section.data());
            }
        } else if let Some((id, range)) = payload.as_section() {
            out.section(&RawSection { id, data: &module[range] });
        }
    }
    if let Some(data) = manifest {
        out.section(&CustomSection { name: MANIFEST_SECTION.into(), data: data.into() });
    }
    Ok(out.finish())
}
