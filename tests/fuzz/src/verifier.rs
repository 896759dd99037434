//! Sealed modules, as a runner verifies them before it compiles them.

use manyhands_sealer::seal;
use manyhands_verifier::verify;

use crate::{module, promise};

/// Runs the target.
pub fn run(module: &[u8]) -> bool {
    match promise::bounded_by(256 * module.len() as u64 + (1 << 20), || verify(module)) {
        Ok(()) => true,
        Err(fault) => {
            assert!(!fault.reason.is_empty(), "refused without a word");
            assert!(fault.offset <= module.len(), "refused for what is not there");
            false
        }
    }
}

/// The seeds of the sealer, sealed.
pub fn seeds() -> Vec<Vec<u8>> {
    module::seeds().iter().map(|module| seal(module).unwrap().bytes).collect()
}
