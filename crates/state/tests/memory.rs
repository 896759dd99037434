//! The reference engine passes the suite that it is the reference of.

use manyhands_state::{MemoryStore, conformance};

#[test]
fn the_reference_engine_conforms() {
    conformance::run(MemoryStore::new, 200);
}
