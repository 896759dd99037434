//! Custom sections of a module: reading one, and leaving some out while adding another.

use wasm_encoder::{CustomSection, Module, RawSection};
use wasmparser::{Parser, Payload};

/// Why the bytes have no sections.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAModule {
    /// What the parser says.
    pub reason: String,
}

impl From<wasmparser::BinaryReaderError> for NotAModule {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self { reason: error.to_string() }
    }
}

/// The contents of all custom sections called `name`.
///
/// # Errors
/// The bytes are not a WebAssembly module.
pub fn read<'a>(module: &'a [u8], name: &str) -> Result<Vec<&'a [u8]>, NotAModule> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload?
            && section.name() == name
        {
            found.push(section.data());
        }
    }
    Ok(found)
}

/// The same module without the custom sections in `left_out`, and with one called `name` at its end.
///
/// # Errors
/// The bytes are not a WebAssembly module.
pub fn replace(module: &[u8], left_out: &[&str], name: &str, data: &[u8]) -> Result<Vec<u8>, NotAModule> {
    let mut out = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::CustomSection(section) = &payload
            && left_out.contains(&section.name())
        {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            out.section(&RawSection { id, data: &module[range] });
        }
    }
    out.section(&CustomSection { name: name.into(), data: data.into() });
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let module = wat::parse_str(
            r#"(module (func (export "f")) (@custom "old" "1") (memory 1) (@custom "kept" "2") (data (i32.const 0) "x"))"#,
        )
        .expect("parses");
        let once = replace(&module, &["old", "new"], "new", b"3").expect("a module");
        let twice = replace(&once, &["old", "new"], "new", b"4").expect("a module");
        assert_eq!(read(&twice, "old"), Ok(vec![]));
        assert_eq!(read(&twice, "kept"), Ok(vec![&b"2"[..]]));
        assert_eq!(read(&twice, "new"), Ok(vec![&b"4"[..]]));
        wasmparser::validate(&twice).expect("still valid");
    }

    #[test]
    fn bytes_that_are_no_module_are_refused() {
        assert!(read(b"hello", "x").is_err());
        assert!(replace(b"\0asm\x01\0\0\0\x01\xff", &[], "x", b"").is_err());
    }
}
