//! What the sealer writes is accepted by the verifier, and nothing that pays less.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use manyhands_sealer::{Passes, rewrite};
use manyhands_verifier::module::Module;
use manyhands_verifier::verify;
use wasmparser::{ExternalKind, Operator};

/// One function of each shape that there is: leaves, loops, calls, recursion, tables, lengths, growth, early ends, dead code.
const SHAPES: &str = r#"(module
  (import "manyhands_v1" "input_len" (func $input_len (result i32)))
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))
  (memory (export "memory") 1 9)
  (table 3 funcref)
  (elem (i32.const 0) $leaf_in_table $even $pair_of)
  (type $unary (func (param i32) (result i32)))
  (func $leaf (param i32) (result i32) (i32.mul (local.get 0) (i32.add (local.get 0) (i32.const 3))))
  (func $leaf_of_leaf (param i32) (result i32) (call $leaf (call $leaf (local.get 0))))
  (func $leaf_in_table (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func $even (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 1)) (else (call $odd (i32.sub (local.get 0) (i32.const 1))))))
  (func $odd (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
    (call $even (i32.sub (local.get 0) (i32.const 1))))
  (func $pair (param i32) (result i32 i64) (local.get 0) (i64.extend_i32_s (i32.div_s (local.get 0) (i32.const 3))))
  (func $pair_of (param i32) (result i32) (local i64)
    (call $pair (local.get 0)) (local.set 1) (drop) (drop (call $input_len))
    (if (i64.gt_s (local.get 1) (i64.const 9)) (then (unreachable)))
    (i32.wrap_i64 (local.get 1)))
  (func $sum (param i32) (result i32) (local i32)
    (block $out
      (loop $next
        (br_if $out (i32.eqz (local.get 0)))
        (local.set 1 (i32.add (local.get 1) (call_indirect (type $unary) (local.get 0) (i32.and (local.get 0) (i32.const 1)))))
        (if (i32.gt_u (local.get 1) (i32.const 1000))
          (then (local.set 1 (i32.rem_u (local.get 1) (i32.const 77))) (br $out))
          (else (local.set 1 (i32.xor (local.get 1) (call $leaf_of_leaf (local.get 1))))))
        (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
        (br $next)))
    (local.get 1))
  (func $nested (param i32) (result i32) (local i32 i32)
    (loop $outer (result i32)
      (local.set 2 (i32.const 9))
      (loop $inner
        (local.set 1 (i32.add (local.get 1) (i32.mul (local.get 2) (local.get 2))))
        (br_if $inner (local.tee 2 (i32.sub (local.get 2) (i32.const 1)))))
      (br_if $outer (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))
      (local.get 1)))
  (func $switch (param i32) (result i32)
    (block $c (block $b (block $a (br_table $a $b $c (local.get 0)))
        (return (i32.const 10)))
      (drop (memory.grow (i32.const 1)))
      (return (i32.div_u (i32.const 100) (local.get 0))))
    (memory.fill (i32.const 0) (i32.const 7) (local.get 0))
    (memory.copy (i32.const 0) (i32.const 99) (i32.const 9))
    (i32.const 30))
  (func $floats (param i32) (local f64 f64)
    (local.set 1 (f64.div (f64.convert_i32_s (local.get 0)) (local.get 2)))
    (f64.store (i32.const 0) (f64.neg (f64.mul (local.get 1) (local.get 1))))
    (v128.store (i32.const 8) (f32x4.add (v128.load (i32.const 0)) (v128.load (i32.const 4)))))
  (func $never (param i32) (result i32) (loop (br 0)) (block (return (i32.const 1))) (call $even (local.get 0)))
  (func $also_never (result i32) (return (i32.const 5)) (drop (call $sum (i32.const 1))) (drop (memory.grow (i32.const 1))) (call $never))
  (func $gives_up (call $abort (i32.const 20) (i32.const 0) (i32.const 4)) unreachable)
  (func (export "manyhands_run")
    (drop (call $sum (i32.const 100)))
    (drop (call $nested (i32.const 5)))
    (drop (call $switch (i32.const 2)))
    (call $floats (i32.const 5))
    (drop (call $even (i32.const 30)))
    (if (call $input_len) (then (call $gives_up)))
    (drop (call $never (call $also_never)))
    (call $output_write (i32.const 0) (i32.const 16))))"#;

fn sealed(exact: bool) -> Vec<u8> {
    let module = wat::parse_str(SHAPES).expect("the test's own text is WebAssembly");
    rewrite(&module, 1 << 20, &Passes { exact, ..Passes::ALL }).expect("is rewritten")
}

/// All single changes after which a module pays less, looks less or says less.
fn mutants(sealed: &[u8]) -> Vec<(String, Vec<u8>)> {
    let module = Module::read(sealed).expect("parses");
    let global = |name| module.export(name, ExternalKind::Global).expect("is exported");
    let (meter, cause) = (global(manyhands_abi::METER), global(manyhands_abi::CAUSE));
    let mut mutants = Vec::new();
    let mut change = |what: &str, from: usize, to: usize, by: &[u8]| {
        let mut bytes = sealed.to_vec();
        assert!(by.len() <= to - from, "{what}: {by:?} does not fit into {}", to - from);
        bytes[from..to].fill(NOP);
        bytes[from..from + by.len()].copy_from_slice(by);
        mutants.push((format!("{what} at {from:#x}"), bytes));
    };
    const NOP: u8 = 0x01;
    const DROP: u8 = 0x1a;
    for body in &module.bodies {
        let mut ops: Vec<(Operator<'_>, usize)> =
            body.get_operators_reader().expect("reads").into_iter_with_offsets().map(|op| op.expect("reads")).collect();
        ops.push((Operator::Nop, body.range().end));
        let is_meter = |operator: &Operator<'_>| matches!(operator, Operator::GlobalGet { global_index } if *global_index == meter);
        for at in 0..ops.len() - 1 {
            let (from, to) = (ops[at].1, ops[at + 1].1);
            let next = ops.get(at + 1).map(|(operator, _)| operator);
            match &ops[at].0 {
                // Nobody else works with numbers of 64 bits in these shapes.
                Operator::I64Const { value } if matches!(next, Some(Operator::I64Sub)) && *value > 0 => {
                    for (what, less) in
                        [("a unit less", value - 65_536), ("nothing", 0), ("half", value / 131_072 * 65_536)]
                    {
                        if less != *value && less >= 0 {
                            change(&format!("pays {what}"), from, to, &constant(less, to - from));
                        }
                    }
                    if value % 65_536 > 0 {
                        change("takes a unit of stack less", from, to, &constant(value - 1, to - from));
                        change("takes no stack", from, to, &constant(value - value % 65_536, to - from));
                    }
                    change("pays nothing", from, ops[at + 2].1, &[&constant(*value, to - from)[..], &[DROP]].concat());
                }
                Operator::I64Const { value } if matches!(next, Some(Operator::I64Add)) => {
                    change("gives back more stack", from, to, &constant(value + 1, to - from));
                }
                Operator::I64LtS => change("looks wrongly", from, to, &[0x55]),
                Operator::BrIf { .. } if at > 2 && looks(&ops[at - 3..at]) => {
                    change("does not look", from, to, &[DROP]);
                    change("goes elsewhere", from, to, &[0x0d, 0]);
                }
                Operator::GlobalSet { global_index } if [meter, cause].contains(global_index) => {
                    change("does not say", from, to, &[DROP]);
                }
                Operator::LocalSet { .. } if at > 0 && is_meter(&ops[at - 1].0) => {
                    change("does not read again", from, to, &[DROP]);
                }
                _ => {}
            }
        }
    }
    mutants
}

/// Whether it is looked here at what is left.
fn looks(ops: &[(Operator<'_>, usize)]) -> bool {
    match &ops[2].0 {
        Operator::I64LtS => matches!(ops[0].0, Operator::LocalTee { .. }),
        Operator::I64Ne => matches!(ops[0].0, Operator::I64And),
        _ => false,
    }
}

/// `i64.const` of exactly this many bytes.
fn constant(value: i64, bytes: usize) -> Vec<u8> {
    let last = bytes - 2;
    let number = (0..=last).map(|at| ((value >> (7 * at)) & 0x7f) as u8 | if at < last { 0x80 } else { 0 });
    [0x42].into_iter().chain(number).collect()
}

#[test]
fn what_the_sealer_writes_is_accepted() {
    for exact in [false, true] {
        verify(&sealed(exact)).unwrap_or_else(|fault| panic!("exact {exact}: {fault}"));
    }
}

#[test]
fn attack_1_whoever_pays_or_looks_less_is_refused() {
    let mut count = 0;
    for exact in [false, true] {
        for (what, mutant) in mutants(&sealed(exact)) {
            // Another block may want other values; an engine would not take such a module.
            if wasmparser::validate(&mutant).is_err() {
                assert!(what.starts_with("goes elsewhere"), "{what} is no module");
                continue;
            }
            count += 1;
            assert!(verify(&mutant).is_err(), "exact {exact}: {what} was accepted");
        }
    }
    assert!(count > 200, "only {count} mutants");
}
