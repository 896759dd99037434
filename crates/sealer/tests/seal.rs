//! What is refused, where, and the cure that is offered; and what comes out of a good module.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use manyhands_sealer::{Sealed, seal};

/// A manifest that nothing is wrong with.
const MANIFEST: &str = r#"{"name":"test","version":"1.0.0","abi":1}"#;

/// A module of WebAssembly text with a manifest.
fn job(fields: &str) -> Vec<u8> {
    with_manifest(MANIFEST, fields)
}

/// A good module, with these fields added.
fn good(fields: &str) -> Vec<u8> {
    job(&format!(r#"{fields} (memory (export "memory") 1) (func (export "manyhands_run"))"#))
}

fn with_manifest(manifest: &str, fields: &str) -> Vec<u8> {
    let escaped = manifest.replace('"', "\\\"");
    module(&format!(r#"{fields} (@custom "manyhands.manifest" "{escaped}")"#))
}

/// A manifest that declares one verb.
fn with_verb(origin: &str) -> String {
    let verb = format!(r#"{{"method":"GET","origin":"{origin}","path":"/","effect":"safe","budget":{{"per_run":1}}}}"#);
    format!(r#"{{"name":"test","version":"1.0.0","abi":1,"verbs":{{"ask":{verb}}}}}"#)
}

fn module(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {fields})")).expect("the test's own text is WebAssembly")
}

#[track_caller]
fn refused(module: &[u8], expected: &str) {
    let refusal = seal(module).expect_err("the module is refused");
    assert_eq!(refusal.to_string(), expected);
}

#[track_caller]
fn sealed(module: &[u8]) -> Sealed {
    match seal(module) {
        Ok(sealed) => sealed,
        Err(refusal) => panic!("refused: {refusal}"),
    }
}

const PROPOSALS: &str = "build for wasm32-unknown-unknown with the target's own features, as `manyhands build` does; threads, relaxed SIMD, reference types, exceptions, GC, tail calls, several or 64-bit memories are not accepted";

#[test]
fn a_good_module_is_sealed_and_keeps_only_what_is_executed() {
    let source = job(r#"(import "manyhands_v1" "input_len" (func $input_len (result i32)))
           (memory (export "memory") 2)
           (table 1 1 funcref)
           (elem (i32.const 0) $run)
           (data (i32.const 8) "hello")
           (func $run (export "manyhands_run") (drop (call $input_len)))
           (func (export "manyhands_reduce"))
           (@custom "producers" "somebody") (@custom "anything" "at all")"#);
    let sealed = sealed(&source);
    assert!(sealed.reduces);
    assert_eq!(sealed.manifest.name.as_str(), "test");
    assert_eq!(sealed.report.imports, ["input_len"]);
    assert_eq!((sealed.report.functions, sealed.report.memory_bytes), (2, 128 << 10));
    let text = String::from_utf8_lossy(&sealed.bytes);
    assert!(text.contains("hello") && text.contains(r#""name":"test""#));
    assert!(!text.contains("somebody") && !text.contains("at all") && !text.contains("input_len\u{1}"));
    assert!(!text.contains("$run") && !text.contains("name\0"), "debug names are gone");
}

#[test]
fn sealing_is_reproducible_and_what_is_sealed_is_not_sealed_again() {
    let source = good(r#"(func $named (param i32) (result i32) (local.get 0)) (@custom "x" "y")"#);
    let once = sealed(&source);
    assert_eq!(sealed(&source), once);
    refused(
        &once.bytes,
        "export `manyhands_cause`: a name that sealing gives: the module is sealed already; publish what `manyhands build` wrote, not what a coordinator made of it",
    );
    // A digest that is written down holds on every machine.
    assert_eq!(manyhands_model::Digest::of(&once.bytes).short(), "7c27aa616c34");
}

#[test]
fn what_rust_and_c_compilers_emit_by_default_is_accepted() {
    sealed(&good("(func (param f64) (result i64) (i64.trunc_sat_f64_s (local.get 0)))"));
    sealed(&good("(func (param i32) (result i32) (i32.extend8_s (local.get 0)))"));
    sealed(&good("(func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)))"));
    sealed(&good("(func (result i32 i32) (i32.const 1) (i32.const 2))"));
    sealed(&good("(func (param v128 v128) (result v128) (f64x2.add (local.get 0) (local.get 1)))"));
    sealed(&good("(global (mut f64) (f64.const 0))"));
    sealed(&good(r#"(global (export "__heap_base") i32 (i32.const 1024))"#));
}

#[test]
fn what_is_no_module_is_refused() {
    let cure = "give the .wasm file that `manyhands build` writes";
    refused(b"", &format!("module: not WebAssembly; {cure}"));
    refused(b"#!/bin/sh\n", &format!("module: not WebAssembly; {cure}"));
    refused(b"\0asm\x0d\0\x01\0", &format!("module: a component, not a core module; {cure}"));
    let long = [&b"\0asm"[..], &vec![0; 16 << 20]].concat();
    refused(
        &long,
        "module: 16777220 bytes long; at most 16777216 are accepted; leave out what is not needed, or move data into the inputs",
    );
    let module = good("");
    refused(
        &module[..module.len() - 3],
        "offset 0x3b: unexpected end-of-file; the file is cut short; copy or build it again",
    );
}

#[test]
fn a_module_without_a_good_manifest_is_refused() {
    let place = "custom section `manyhands.manifest`";
    let build = "build with `manyhands build`, which writes it from Cargo.toml";
    let empty = r#"(memory (export "memory") 1) (func (export "manyhands_run"))"#;
    let with = |manifest: &str| with_manifest(manifest, empty);

    refused(&module(empty), &format!("{place}: missing; {build}"));
    refused(
        &good(&format!(r#"(@custom "manyhands.manifest" "{}")"#, MANIFEST.replace('"', "\\\""))),
        &format!("{place}: there are two; keep one"),
    );
    refused(&with("{"), &format!("{place}: not readable: EOF while parsing an object at line 1 column 1; {build}"));
    refused(
        &with(r#"{"name":"Test","version":"1.0.0","abi":1}"#),
        &format!(
            "{place}: not readable: `Test` is not a job name: use 1 to 64 of a-z, 0-9 and `-`, starting with a letter at line 1 column 14; {build}"
        ),
    );
    refused(
        &with(r#"{"name":"test","version":"1.0.0","abi":1,"limits":{"memory_byte":1}}"#),
        &format!(
            "{place}: not readable: unknown field `memory_byte`, expected one of `fuel`, `memory_bytes`, `output_bytes`, `wall_ms` at line 1 column 64; {build}"
        ),
    );
    refused(
        &with(r#"{"name":"test","version":"1.0.0","abi":2}"#),
        &format!(
            "{place}: ABI 2 is declared, this coordinator speaks 1; build with an SDK of the coordinator's version"
        ),
    );
    refused(
        &with(r#"{"name":"test","version":"1.0.0","abi":1,"limits":{"fuel":0}}"#),
        &format!(
            "{place}: manifest: `limits.fuel` is 0; it must be from 1 to 100000000000000; change it in Cargo.toml"
        ),
    );
    let sensitive = |codec: &str, class: &str| {
        let field = format!(r#"{{"at":"/email","class":"{class}","reveal":"domain"}}"#);
        with(&format!(r#"{{"name":"test","version":"1.0.0","abi":1,"codec":"{codec}","sensitive":[{field}]}}"#))
    };
    assert_eq!(seal(&sensitive("json", "email")).expect("a good manifest").manifest.sensitive.len(), 1);
    refused(
        &sensitive("raw", "email"),
        &format!(
            "{place}: sensitive fields are declared, and nobody can find them where inputs are not JSON; declare the codec `json`, or no sensitive fields"
        ),
    );
    refused(
        &sensitive("json", "card"),
        &format!(
            "{place}: not readable: `/email`: `card` has no `domain` to reveal; it has `last4` at line 1 column 119; {build}"
        ),
    );
    let records = |codec: &str, bytes: u32| {
        with(&format!(r#"{{"name":"test","version":"1.0.0","abi":1,"codec":"{codec}","record_bytes":{bytes}}}"#))
    };
    assert_eq!(seal(&records("json", 1 << 20)).expect("a good manifest").manifest.record_bytes, 1 << 20);
    refused(
        &records("json", (1 << 20) + 1),
        &format!(
            "{place}: clients are to keep records of 1048577 bytes; at most 1048576 are kept; ask for less under `record_bytes`"
        ),
    );
    refused(
        &records("raw", 1),
        &format!(
            "{place}: clients are to keep records, and nobody can put them into inputs that are not JSON; declare the codec `json`, or no `record_bytes`"
        ),
    );
    refused(
        &with(&with_verb("https://API.example.com")),
        &format!(
            "{place}: verb `ask`: origin: it is read as `https://api.example.com`; write it as it is read; change it in Cargo.toml"
        ),
    );
    refused(
        &with(&format!(r#"{{"name":"test","version":"1.0.0","abi":1,"description":"{}"}}"#, "x".repeat(501))),
        &format!("{place}: the description is longer than 500 characters; say it in a sentence"),
    );
    refused(&with(&" ".repeat(70_000)), &format!("{place}: 70000 bytes long, at most 65536 are read; {build}"));
}

#[test]
fn nothing_but_the_guest_abi_is_imported() {
    let foreign = "remove what needs a clock, files, randomness, JavaScript or WASI";
    let unknown = "unknown; jobs import nothing but the functions of `manyhands_v1`";
    let inside = "not a function; define memories, tables and globals inside the module";
    for (import, name, expected) in [
        (
            r#""wasi_snapshot_preview1" "fd_write" (func)"#,
            "wasi_snapshot_preview1.fd_write",
            format!("{unknown}; {foreign}"),
        ),
        (r#""manyhands_v1" "clock" (func)"#, "manyhands_v1.clock", format!("{unknown}; {foreign}")),
        (r#""manyhands_v2" "log" (func)"#, "manyhands_v2.log", format!("{unknown}; {foreign}")),
        (
            r#""manyhands_v1" "input_len" (func (result i64))"#,
            "manyhands_v1.input_len",
            "wrong type; expected 0 i32 parameters and 1 i32 results; see docs/abi.md".into(),
        ),
        (
            r#""manyhands_v1" "abort" (func (param i32 f32 i32))"#,
            "manyhands_v1.abort",
            "wrong type; expected 3 i32 parameters and 0 i32 results; see docs/abi.md".into(),
        ),
        (r#""env" "memory" (memory 1)"#, "env.memory", inside.into()),
        (r#""env" "table" (table 1 funcref)"#, "env.table", inside.into()),
        (r#""manyhands_v1" "log" (global i32)"#, "manyhands_v1.log", inside.into()),
    ] {
        let module = job(&format!(r#"(import {import}) (func (export "manyhands_run"))"#));
        refused(&module, &format!("import `{name}`: {expected}"));
    }
}

#[test]
fn who_calls_declares_what() {
    let calls = r#"(import "manyhands_v1" "call_all" (func (param i32 i32) (result i32)))
           (memory (export "memory") 1) (func (export "manyhands_run"))"#;
    let verbs = with_verb("https://api.example.com");
    assert_eq!(sealed(&with_manifest(&verbs, calls)).manifest.verbs.len(), 1);
    refused(
        &job(calls),
        "import `manyhands_v1.call_all`: the module asks for calls, and its manifest declares no verbs; declare in Cargo.toml what it calls, under `verbs`, or do not call",
    );
    // Whoever declares and does not call yet harms nobody.
    sealed(&with_manifest(&verbs, r#"(memory (export "memory") 1) (func (export "manyhands_run"))"#));
}

#[test]
fn the_exports_are_there_and_hold_no_floats() {
    let memory = r#"(memory (export "memory") 1)"#;
    let run = r#"(func (export "manyhands_run"))"#;
    refused(&job(run), "export `memory`: the module has no memory; define and export one memory");
    refused(&job(&format!("(memory 1) {run}")), "export `memory`: missing; export the memory under this name");
    refused(
        &job(&format!(r#"(func (export "memory")) (memory 1) {run}"#)),
        "export `memory`: missing; export the memory under this name",
    );
    refused(
        &job(memory),
        "export `manyhands_run`: missing; mark one function with #[manyhands::job], and build a cdylib",
    );
    for wrong in
        ["(func (export \"manyhands_run\") (param i32))", "(global (export \"manyhands_run\") i32 (i32.const 0))"]
    {
        refused(
            &job(&format!("{memory} {wrong}")),
            "export `manyhands_run`: not a function without parameters and results; see docs/abi.md",
        );
    }
    refused(
        &good(r#"(func (export "manyhands_reduce") (result i32) (i32.const 0))"#),
        "export `manyhands_reduce`: not a function without parameters and results; see docs/abi.md",
    );
    for float in [
        r#"(func (export "f") (param f32))"#,
        r#"(func (export "f") (result v128) unreachable)"#,
        r#"(global (export "f") f64 (f64.const 0))"#,
    ] {
        refused(
            &good(float),
            "export `f`: its type holds floats or vectors, whose bits may change at the border of an engine; pass bytes through memory instead",
        );
    }
}

#[test]
fn what_engines_do_differently_is_refused() {
    refused(
        &good("(func) (func $early) (start $early)"),
        "function 1 `early`: a start function, which would run before fuel counts; run initialisers from the exported function, where fuel counts",
    );
    refused(
        &good("(func $spin (drop (i32.atomic.load (i32.const 0))))"),
        &format!("function 0 `spin` at offset 0x3b: threads support is not enabled; {PROPOSALS}"),
    );
    refused(
        &good("(func $fast (param v128) (drop (f32x4.relaxed_min (local.get 0) (local.get 0))))"),
        &format!("function 0 `fast` at offset 0x41: relaxed SIMD support is not enabled; {PROPOSALS}"),
    );
    refused(
        &good("(func $loop return_call $loop)"),
        &format!("function 0 `loop` at offset 0x39: tail calls support is not enabled; {PROPOSALS}"),
    );
    refused(&good("(tag)"), &format!("offset 0x19: exceptions proposal not enabled; {PROPOSALS}"));
    refused(
        &good("(type (struct))"),
        &format!("offset 0xb: struct indexed types not supported without the gc feature; {PROPOSALS}"),
    );
    let memory = |memory: &str| job(&format!(r#"{memory} (func (export "manyhands_run"))"#));
    let odd = "module: shared, 64-bit or odd-sized memory; build for wasm32-unknown-unknown without atomics";
    refused(&memory(r#"(memory (export "memory") i64 1)"#), odd);
    refused(&memory(r#"(memory (export "memory") 1 1 shared)"#), odd);
    refused(&memory(r#"(memory (export "memory") 1) (memory 1)"#), "module: two memories; define one memory");
    refused(
        &good("(table $t 1 funcref) (func $grow (drop (table.size $t)))"),
        "function 0 `grow` at offset 0x3f: an instruction that works with references or tables; build without reference-type instructions, as compilers do by default",
    );
}

#[test]
fn what_is_far_too_large_is_refused_before_any_engine_meets_it() {
    let split = "split the job, or leave out dependencies";
    let inner = "split the function";
    let repeat = |text: &str, times: usize| text.repeat(times);
    for (fields, expected) in [
        ("(table 10001 funcref)".into(), format!("module: 10001 table elements; at most 10000 are accepted; {split}")),
        (
            repeat("(global i32 (i32.const 0))", 1001),
            format!("module: 1001 globals; at most 1000 are accepted; {split}"),
        ),
        (repeat("(func)", 50_001), format!("module: 50002 functions; at most 50000 are accepted; {split}")),
        (repeat("(data \"\")", 10_001), format!("module: 10001 data segments; at most 10000 are accepted; {split}")),
        (
            format!("(func (param {}))", repeat("i32 ", 101)),
            "type 0: 101 parameters; at most 100 are accepted; pass them through memory".into(),
        ),
        (
            format!("(func (result {}) unreachable)", repeat("i32 ", 21)),
            "type 0: 21 results; at most 20 are accepted; pass them through memory".into(),
        ),
        (
            (0..10_000).map(|number| format!("(export \"{number}\" (memory 0))")).collect(),
            format!("module: 10002 exports; at most 10000 are accepted; {split}"),
        ),
        (repeat("(elem func)", 10_001), format!("module: 10001 element segments; at most 10000 are accepted; {split}")),
        (
            format!("(func $wide (local {}))", repeat("i32 ", 1001)),
            format!("function 0 `wide`: 1001 locals; at most 1000 are accepted; {inner}"),
        ),
        (
            format!("(func $deep {} {})", repeat("block ", 1_101), repeat("end ", 1_101)),
            format!("function 0 `deep`: 1101 nested blocks; at most 1100 are accepted; {inner}"),
        ),
        (
            format!("(func $long {})", repeat("nop ", 256 << 10)),
            format!("function 0 `long`: 262146 bytes; at most 262144 are accepted; {inner}"),
        ),
        (
            format!("(func $switch (br_table {} (i32.const 0)))", repeat("0 ", 10_002)),
            format!("function 0 `switch`: 10001 branch targets; at most 10000 are accepted; {inner}"),
        ),
    ] {
        refused(&good(&fields), &expected);
    }
}

#[test]
fn what_the_module_starts_with_fits() {
    refused(
        &with_manifest(
            r#"{"name":"test","version":"1.0.0","abi":1,"limits":{"memory_bytes":65536}}"#,
            r#"(memory (export "memory") 2) (func (export "manyhands_run"))"#,
        ),
        "export `memory`: it starts with 131072 bytes, the manifest grants 65536; raise `limits.memory_bytes` in Cargo.toml",
    );
    let cure = "make the initial memory or table hold what is put there";
    refused(
        &good(r#"(data (i32.const 0) "fits") (data (i32.const 65533) "does not")"#),
        &format!("data segment 1: it ends at 65541, beyond the initial size of 65536; {cure}"),
    );
    refused(
        &good(r#"(data (i32.const -1) "")"#),
        &format!("data segment 0: it ends at 4294967295, beyond the initial size of 65536; {cure}"),
    );
    refused(
        &good("(table 1 funcref) (func $f) (elem (i32.const 1) $f)"),
        &format!("element segment 0: it ends at 2, beyond the initial size of 1; {cure}"),
    );
}

#[test]
fn a_validators_refusal_names_the_function() {
    refused(
        &good("(func) (func $add (result i32) (i32.add (i32.const 1) (i64.const 2)))"),
        "function 1 `add` at offset 0x45: type mismatch: expected i32, found i64; what wrote this module wrote it wrongly; build it again with `manyhands build`",
    );
}

/// Whatever the bytes: a refusal or a module that was looked at whole, never a panic.
#[test]
fn mutilated_modules_are_refused_and_never_panic() {
    let source = good(
        r#"(import "manyhands_v1" "output_write" (func $write (param i32 i32)))
           (table 2 2 funcref) (elem (i32.const 0) $f $f) (data (i32.const 3) "data")
           (global $g (mut i32) (i32.const 5))
           (func $f (param i32) (result i32) (local f64)
             (block (loop (br_table 0 1 (local.get 0))))
             (call $write (i32.const 0) (global.get $g)) (i32.const 7))"#,
    );
    for cut in 0..source.len() {
        let _whole_or_refused = seal(&source[..cut]).map(|sealed| sealed.bytes.len());
    }
    // xorshift64: any sequence will do, but a failure must come back.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut module = source.clone();
        for _ in 0..=random(4) {
            let at = random(module.len());
            module[at] = random(256) as u8;
        }
        if let Ok(sealed) = seal(&module) {
            assert_eq!(seal(&module), Ok(sealed), "the same again");
        }
    }
}
