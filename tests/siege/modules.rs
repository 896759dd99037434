//! Modules that mean harm, in real runners: each ends with the fact that it did, and others get their work done.

use std::time::Instant;

use manyhands_api::{RunState, Why};
use manyhands_model::{Codec, Fuel, Limits, Manifest};
use manyhands_tests::{Coordinator, jobs, until};

/// A module that may not do much before it is stopped.
fn module(name: &str, body: &str) -> (Vec<u8>, Manifest) {
    let mut manifest = jobs::manifest(name, Codec::Raw);
    let small = Limits { fuel: Fuel(50_000_000), output_bytes: 1 << 16, memory_bytes: 16 << 20, ..Limits::default() };
    manifest.limits = small;
    (jobs::assemble(&manifest, body), manifest)
}

/// What each does, and how it ends.
const HARMFUL: &[(&str, &str, &str)] = &[
    (
        "loops-for-ever",
        r#"(memory (export "memory") 1) (func (export "manyhands_run") (loop $l (br $l)))"#,
        "out_of_fuel",
    ),
    (
        "exhausts-memory",
        r#"(memory (export "memory") 1)
           (func (export "manyhands_run")
             (loop $l (br_if $l (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))
             (i32.store (i32.const 0x7fffffff) (i32.const 1)))"#,
        "trap",
    ),
    (
        "recurses-without-end",
        r#"(memory (export "memory") 1)
           (func $f (param i64) (result i64) (i64.add (call $f (local.get 0)) (i64.const 1)))
           (func (export "manyhands_run") (drop (call $f (i64.const 1))))"#,
        "out_of_stack",
    ),
    (
        "writes-too-much",
        r#"(import "manyhands_v1" "output_write" (func $write (param i32 i32)))
           (memory (export "memory") 1)
           (func (export "manyhands_run") (loop $l (call $write (i32.const 0) (i32.const 65536)) (br $l)))"#,
        "aborted",
    ),
    (
        "logs-without-end",
        r#"(import "manyhands_v1" "log" (func $log (param i32 i32 i32)))
           (memory (export "memory") 1)
           (func (export "manyhands_run") (loop $l (call $log (i32.const 2) (i32.const 0) (i32.const 60000)) (br $l)))"#,
        "out_of_fuel",
    ),
];

#[tokio::test]
async fn a_module_that_means_harm_ends_with_the_fact_that_it_did() {
    let coordinator = Coordinator::start().await;
    let _runners = coordinator.runners(2).await;
    let honest = jobs::hasher();
    coordinator.publish(&honest.module, &honest.manifest).await.expect("published");
    let mut runs = Vec::new();
    for (name, body, ends) in HARMFUL {
        let (module, manifest) = module(name, body);
        coordinator.publish(&module, &manifest).await.expect("published");
        runs.push((*name, *ends, coordinator.submit(name, &[vec![]]).await.expect("submitted").id));
    }
    // Beside them, and after them, somebody wants only an answer.
    let run = coordinator.submit("hasher", &jobs::texts(4)).await.expect("submitted");
    for (name, ends, run) in runs {
        let results = coordinator.results(run).await;
        assert_eq!(results[0].status, ends, "{name}: {:?}", results[0].error);
        assert_eq!(coordinator.run(run).await.state, RunState::Finished);
    }
    let expected: Vec<_> = jobs::texts(4).iter().map(|text| jobs::hash(text)).collect();
    assert_eq!(coordinator.outputs(run.id).await, expected);
}

/// A module within all limits, and as much work for a compiler as those allow.
fn long_to_compile(functions: usize) -> (Vec<u8>, Manifest) {
    // Many values that live from the first line to the last, and branches that lead everywhere.
    let locals = 900;
    let line = |step: usize| {
        let (a, b, c, d) = (step * 7 % locals, step * 13 % locals, step * 31 % locals, step * 17 % locals);
        format!(
            "(local.set {a} (i64.add (local.get {b}) (i64.mul (local.get {c}) (local.get {d})))) \
             (br_if {} (i64.eqz (local.get {b})))\n",
            step % 200
        )
    };
    let lines: String = (0..9_000).map(line).collect();
    let (open, close) = (["(block ".repeat(100), "(loop ".repeat(100)].concat(), ")".repeat(200));
    let function = |number: usize| {
        let export = if number == 0 { "(export \"manyhands_run\")" } else { "" };
        format!("(func {export} (local {}) {open} {lines} {close})\n", "i64 ".repeat(locals))
    };
    let functions: String = (0..functions).map(function).collect();
    module("long-to-compile", &format!("(memory (export \"memory\") 1)\n{functions}"))
}

#[tokio::test]
#[ignore = "takes minutes and measures: `cargo xtask siege`"]
async fn a_module_that_is_long_to_compile() {
    let coordinator = Coordinator::start().await;
    let _runners = coordinator.runners(2).await;
    let honest = jobs::hasher();
    coordinator.publish(&honest.module, &honest.manifest).await.expect("published");
    let (module, manifest) = long_to_compile(60);
    let began = Instant::now();
    coordinator.publish(&module, &manifest).await.expect("it is within all limits");
    println!("{} MiB published in {:.1} s", module.len() >> 20, began.elapsed().as_secs_f64());
    let run = coordinator.submit("long-to-compile", &[vec![]]).await.expect("submitted");
    // Both runners are busy with it now, each with its only slot.
    until("the runners have it", async || (coordinator.run(run.id).await.units.running > 0).then_some(())).await;
    let began = Instant::now();
    let beside = coordinator.submit("hasher", &jobs::texts(4)).await.expect("submitted");
    let expected: Vec<_> = jobs::texts(4).iter().map(|text| jobs::hash(text)).collect();
    assert_eq!(coordinator.outputs(beside.id).await, expected);
    println!("work beside it took {:.1} s", began.elapsed().as_secs_f64());
    let why: Why = coordinator.get(&format!("/v1/runs/{}/why", run.id)).await.expect("an explanation");
    println!("then: {:?} {:?}", why.run.state, why.units);
}
