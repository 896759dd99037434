//! A slot ends every unit as every other runtime does.

use manyhands_conformance::{Wrong, corpus};
use manyhands_javascript::{Unanswered, Unit};
use manyhands_model::Limits;
use manyhands_protocol::Entry;
use manyhands_runner::engine::{Executed, Execution, Wasm};
use manyhands_sealer::seal;
use manyhands_tests::browser::{Kind, Slot};
use manyhands_tests::{Coordinator, examples, jobs};

use crate::{browser, in_each_browser};

in_each_browser! {
    every_case_of_the_corpus_ends_as_it_says
    example_jobs_end_as_in_wasmtime
    nothing_is_left_from_one_unit_to_the_next
    a_guest_has_no_way_out
}

async fn every_case_of_the_corpus_ends_as_it_says(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let slot = Slot::open(&browser, &coordinator).await;
    let corpus = corpus().expect("the corpus");
    for (name, sealed) in &corpus.modules {
        match sealed {
            Ok(sealed) => slot.load(name, &sealed.bytes).await,
            Err(Wrong::MissingTool(why)) => eprintln!("LEFT OUT: {name}: {why}"),
            Err(wrong) => panic!("{wrong}"),
        }
    }
    let mut differences = Vec::new();
    let mut words = std::collections::BTreeSet::new();
    for case in &corpus.cases {
        let Some(Ok(sealed)) = corpus.modules.get(&case.module) else { continue };
        let Execution { entry, step, input, seed, limits } = case.execution(sealed).expect("an execution");
        let executed = slot.execute(&case.module, &Unit { entry, step, input: &input, seed, limits }).await;
        let executed = executed.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        words.insert(executed.outcome.verdict.word());
        let executed = Executed { outcome: executed.outcome, output: executed.output, logs: Vec::new(), wall_us: 0 };
        differences.extend(case.differences(&executed).expect("a case"));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(words.len(), 6, "every kind of end is met: {words:?}");
}

async fn example_jobs_end_as_in_wasmtime(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let slot = Slot::open(&browser, &coordinator).await;
    let wasm = Wasm::new().expect("an engine");
    for (name, sealed, input) in examples::all() {
        slot.load(name, &sealed.bytes).await;
        let prepared = wasm.prepare(&wasm.compile(&sealed.bytes).expect("compiles")).expect("is ready");
        let limits = sealed.manifest.limits;
        for (entry, seed) in [(Entry::Run, [0; 32]), (Entry::Run, [9; 32])] {
            let execution = Execution { entry, step: 0, input: input.clone().into(), seed, limits };
            let native = wasm.execute(&prepared, execution, Box::new(|_| ())).expect("an outcome");
            let here =
                slot.execute(name, &Unit { entry, step: 0, input: &input, seed, limits }).await.expect("an outcome");
            assert!(native.outcome.verdict.is_ok(), "{name}: {:?}", native.outcome);
            assert_eq!((here.outcome, here.output), (native.outcome, native.output), "{name}");
        }
    }
}

/// Plants something wherever a module can keep it, looks what is there, or both, as the input says: `p`, `l`, `b`. Tables
/// are no such place: what writes to them is not sealed.
const PLANTER: &str = r#"
    (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
    (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
    (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))
    (memory (export "memory") 1 4)
    (global $global (export "global") (mut i64) (i64.const 0))
    (data $once "kept")
    (func $plant
      (i32.store (i32.const 64) (i32.const 0x5eed))
      (global.set $global (i64.const 0x5eed))
      (drop (memory.grow (i32.const 1)))
      (i32.store (i32.const 65536) (i32.const 0x5eed)))
    (func $drop (data.drop $once))
    (func $look
      (i32.store (i32.const 128) (i32.load (i32.const 64)))
      (i64.store (i32.const 132) (global.get $global))
      (i32.store (i32.const 140) (memory.size))
      (memory.init $once (i32.const 144) (i32.const 0) (i32.const 4))
      (call $output_write (i32.const 128) (i32.const 20)))
    (func (export "manyhands_run") (local $word i32)
      (call $input_read (i32.const 0) (i32.const 0) (i32.const 1))
      (local.set $word (i32.load8_u (i32.const 0)))
      (if (i32.ne (local.get $word) (i32.const 108)) (then (call $plant)))
      (if (i32.eq (local.get $word) (i32.const 100)) (then (call $drop) (return)))
      (if (i32.eq (local.get $word) (i32.const 97)) (then (call $abort (i32.const 20) (i32.const 0) (i32.const 1))))
      (if (i32.eq (local.get $word) (i32.const 116)) (then unreachable))
      (if (i32.ne (local.get $word) (i32.const 112)) (then (call $look))))"#;

async fn nothing_is_left_from_one_unit_to_the_next(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let slot = Slot::open(&browser, &coordinator).await;
    let manifest = jobs::manifest("planter", manyhands_model::Codec::Raw);
    let sealed = seal(&jobs::assemble(&manifest, PLANTER)).expect("it seals");
    slot.load("planter", &sealed.bytes).await;
    let tables = r#"(memory (export "memory") 1) (table 1 funcref)
        (func $f (export "manyhands_run") (table.set 0 (i32.const 0) (ref.func $f)))"#;
    assert!(seal(&jobs::assemble(&manifest, tables)).is_err(), "nothing can be planted in a table");
    let limits = sealed.manifest.limits;
    let execute = async |word: &'static [u8]| {
        slot.execute("planter", &Unit { entry: Entry::Run, step: 0, input: word, seed: [0; 32], limits })
            .await
            .expect("an outcome")
    };
    let found = async |word| {
        let output = execute(word).await.output;
        output.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect::<Vec<_>>()
    };
    let kept = u32::from_le_bytes(*b"kept");
    let nothing = [0, 0, 0, 1, kept];
    assert_eq!(found(b"l").await, nothing);
    // What was planted is found by the unit that did it, so looking can tell.
    assert_eq!(found(b"b").await, [0x5eed, 0x5eed, 0, 2, kept]);
    // However that unit ended.
    for word in [b"p", b"b", b"d", b"a", b"t"] {
        execute(word).await;
        assert_eq!(found(b"l").await, nothing);
    }
}

/// What lies outside: the page's functions, and objects of JavaScript's.
async fn a_guest_has_no_way_out(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let slot = Slot::open(&browser, &coordinator).await;
    let imports = [
        r#"(import "window" "eval" (func (param i32)))"#,
        r#"(import "manyhands_v1" "constructor" (func (param i32)))"#,
        r#"(import "manyhands_v1" "__proto__" (func (param i32)))"#,
        r#"(import "wasm:js-string" "length" (func (param externref) (result i32)))"#,
        r#"(import "manyhands_v1" "memory" (global externref))"#,
        r#"(import "manyhands_v1" "thrown" (tag (param externref)))"#,
    ];
    for import in imports {
        let manifest = jobs::manifest("grabber", manyhands_model::Codec::Raw);
        let module = jobs::assemble(
            &manifest,
            &format!(r#"{import} (memory (export "memory") 1) (func (export "manyhands_run"))"#),
        );
        let refused = coordinator.publish(&module, &manifest).await.expect_err("no such import");
        assert_eq!(refused.code(), (422, "module-refused"), "{import}: {refused:?}");
        // And if a coordinator had let it pass: there is nothing to be imported.
        let unit = Unit { entry: Entry::Run, step: 0, input: b"", seed: [0; 32], limits: Limits::default() };
        slot.load("grabber", &module).await;
        let answer = slot.execute("grabber", &unit).await.expect_err("nothing to import");
        assert!(matches!(answer, Unanswered::NoOutcome { .. }), "{import}: {answer}");
    }
    // Whoever could catch what imports throw would go on after an abort.
    let catcher = r#"
        (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))
        (memory (export "memory") 1)
        (func (export "manyhands_run")
          (block $caught (try_table (catch_all $caught) (call $abort (i32.const 20) (i32.const 0) (i32.const 0)))))"#;
    let manifest = jobs::manifest("catcher", manyhands_model::Codec::Raw);
    let module = jobs::assemble(&manifest, catcher);
    let refused = coordinator.publish(&module, &manifest).await.expect_err("exceptions are refused");
    assert_eq!(refused.code(), (422, "module-refused"), "{refused:?}");
}
