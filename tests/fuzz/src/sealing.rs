//! The passes of the sealer: bytes become choices of wasm-smith's, so that nearly all of them are modules.

use arbitrary::Unstructured;
use manyhands_sealer::seal;
use manyhands_verifier::verify;
use wasm_encoder::{CustomSection, Section as _};
use wasm_smith::{Config, Module};

/// What is valid before sealing is valid afterwards, and verified; sealed again, it is the same.
pub fn run(choices: &[u8]) -> bool {
    let Some(module) = module(choices) else { return false };
    match seal(&module) {
        Ok(sealed) => {
            assert_eq!(verify(&sealed.bytes), Ok(()), "a runtime refuses what was sealed");
            assert_eq!(seal(&module).as_ref(), Ok(&sealed), "sealed again, and to something else");
            true
        }
        Err(refusal) => {
            // The module is valid, so whatever is not was written by a pass.
            let passes = ["wrote it wrongly", "fault of the sealer"];
            assert!(!passes.iter().any(|words| refusal.cure.contains(words)), "{refusal}");
            false
        }
    }
}

/// A job out of random choices.
fn module(choices: &[u8]) -> Option<Vec<u8>> {
    let shape =
        r#"(module (memory (export "memory") 1) (func (export "manyhands_run")) (func (export "manyhands_reduce")))"#;
    let imports = r#"(module (import "manyhands_v1" "input_len" (func (result i32)))
                             (import "manyhands_v1" "input_read" (func (param i32 i32 i32)))
                             (import "manyhands_v1" "output_write" (func (param i32 i32)))
                             (import "manyhands_v1" "abort" (func (param i32 i32 i32))))"#;
    let config = Config {
        exports: Some(wat::parse_str(shape).unwrap()),
        available_imports: Some(wat::parse_str(imports).unwrap()),
        max_imports: 4,
        max_funcs: 20,
        max_instructions: 400,
        max_memories: 1,
        max_memory32_bytes: 1 << 20,
        max_tables: 1,
        max_table_elements: 100,
        allow_start_export: false,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        simd_enabled: true,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    let mut module = Module::new(config, &mut Unstructured::new(choices)).ok()?.to_bytes();
    let manifest = br#"{"name":"t","version":"1.0.0","abi":1}"#;
    CustomSection { name: "manyhands.manifest".into(), data: manifest.into() }.append_to(&mut module);
    Some(module)
}

/// Noise of which jobs come that are sealed.
pub fn seeds() -> Vec<Vec<u8>> {
    let noise = |seed: u64| -> Vec<u8> {
        let mut state = seed;
        let mut byte = || {
            state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(0x9e37_79b9_7f4a_7c15);
            (state >> 56) as u8
        };
        (0..700).map(|_| byte()).collect()
    };
    (1..).map(noise).filter(|choices| run(choices)).take(6).collect()
}
