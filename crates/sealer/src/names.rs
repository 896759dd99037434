//! Finds the function that a refusal is about, and its name: a person looks for names, not for offsets.

use std::collections::BTreeMap;

use wasmparser::{BinaryReaderError, KnownCustom, Name, Parser, Payload};

use crate::refusal::{Place, Refusal};

/// Longest name that a refusal shows, in characters. Names are the publisher's and may be of any length.
const CHARS_MAX: usize = 120;

/// The refusal with its place said as well as `module` allows.
pub(crate) fn locate(module: &[u8], mut refusal: Refusal) -> Refusal {
    let (index, offset) = match &refusal.place {
        Place::Function { index, name: None, offset } => (Some(*index), *offset),
        Place::Offset(offset) => (function_at(module, *offset), Some(*offset)),
        _ => return refusal,
    };
    if let Some(index) = index {
        refusal.place = Place::Function { index, name: name_of(module, index), offset };
    }
    refusal
}

/// The function whose body holds the byte at `offset`.
fn function_at(module: &[u8], offset: usize) -> Option<u32> {
    let mut index = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            // Nothing but functions can be imported; another import is refused before any offset is looked up.
            Payload::ImportSection(section) => index += section.into_imports().count() as u32,
            Payload::CodeSectionEntry(body) => {
                if body.range().contains(&offset) {
                    return Some(index);
                }
                index += 1;
            }
            _ => {}
        }
    }
    None
}

fn name_of(module: &[u8], index: u32) -> Option<String> {
    all(module).remove(&index).map(|name| name.chars().take(CHARS_MAX).collect())
}

/// The names that a module gives its functions, as far as they can be read.
pub fn all(module: &[u8]) -> BTreeMap<u32, String> {
    // Names come after the code, so what is wrong before them does not hide them; what is unreadable has no names.
    let sections = Parser::new(0).parse_all(module).map_while(Result::ok).filter_map(|payload| match payload {
        Payload::CustomSection(section) => match section.as_known() {
            KnownCustom::Name(subsections) => Some(subsections),
            _ => None,
        },
        _ => None,
    });
    let maps =
        sections.flat_map(|subsections| subsections.into_iter().map_while(Result::ok)).filter_map(|name| match name {
            Name::Function(map) => Some(map),
            _ => None,
        });
    let names = maps.flat_map(|map| map.into_iter().map_while(|name: Result<_, BinaryReaderError>| name.ok()));
    names.map(|naming| (naming.index, naming.name.to_owned())).collect()
}
