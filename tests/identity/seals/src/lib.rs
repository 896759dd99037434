//! The sealer as a job, from a module to the sealed one. `tests/identity/tests/reproducible.rs` builds it.

/// Seals a module; what it refuses, it gives the reason of.
#[manyhands::job(codec = "raw")]
pub fn seals(module: Vec<u8>) -> Vec<u8> {
    match manyhands_sealer::seal(&module) {
        Ok(sealed) => sealed.bytes,
        Err(refusal) => refusal.to_string().into_bytes(),
    }
}
