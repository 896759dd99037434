//! The corpus, on the engine that volunteers have.

use std::collections::BTreeMap;
use std::io::Write as _;

use manyhands_conformance::{Wrong, corpus};
use manyhands_runner::engine::Wasm;

#[test]
fn every_case_ends_as_the_corpus_says() {
    let corpus = corpus().expect("the corpus");
    let wasm = Wasm::new().expect("an engine");
    let mut prepared = BTreeMap::new();
    for (module, sealed) in &corpus.modules {
        match sealed {
            Ok(sealed) => {
                let code = wasm.compile(&sealed.bytes).expect("compiles");
                prepared.insert(module, (sealed, wasm.prepare(&code).expect("is ready")));
            }
            // Straight to stderr: what a test that passes prints is not shown.
            Err(Wrong::MissingTool(why)) => {
                writeln!(std::io::stderr(), "left out: {module}: {why}").expect("said");
            }
            Err(wrong) => panic!("{wrong}"),
        }
    }
    let mut differences = Vec::new();
    for case in &corpus.cases {
        let Some((sealed, prepared)) = prepared.get(&case.module) else { continue };
        let execution = case.execution(sealed).expect("an execution");
        let executed = wasm.execute(prepared, execution, Box::new(|_| ())).expect("an outcome");
        differences.extend(case.differences(&executed).expect("a case"));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn names_are_unique_and_every_verdict_is_met() {
    let corpus = corpus().expect("the corpus");
    let mut names = BTreeMap::new();
    for case in &corpus.cases {
        assert!(names.insert(&case.name, &case.verdict).is_none(), "{} is there twice", case.name);
    }
    for verdict in ["ok", "aborted", "trap", "out_of_fuel", "out_of_stack", "called"] {
        assert!(names.values().any(|word| *word == verdict), "{verdict}");
    }
}
