//! What the sealer writes is accepted by the verifier, and nothing that pays less.
#![allow(clippy::panic, reason = "a test fails by panicking")]

mod weaker;

use manyhands_sealer::{Passes, rewrite};
use manyhands_verifier::module::Module;
use manyhands_verifier::verify;
use wasmparser::ExternalKind;

/// One function of each shape that there is: leaves, loops, calls, recursion, tables, lengths, growth, early ends, dead code.
const SHAPES: &str = r#"(module
  (import "manyhands_v1" "input_len" (func $input_len (result i32)))
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))
  (memory (export "memory") 1 9)
  (table 5 funcref)
  (elem (i32.const 0) $leaf_in_table $even $pair_of $twice $square)
  (type $unary (func (param i32) (result i32)))
  (type $long (func (param i64) (result i64)))
  (func $twice (param i64) (result i64) (i64.add (local.get 0) (local.get 0)))
  (func $square (param i64) (result i64) (i64.mul (local.get 0) (local.get 0)))
  (func $through (param i64) (result i64)
    (call_indirect (type $long) (local.get 0) (i32.add (i32.const 3) (i32.wrap_i64 (i64.and (local.get 0) (i64.const 1))))))
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
  (func $counted (param i32 i32) (result i32) (local i32 i32)
    (loop (local.set 3 (i32.add (local.get 3) (i32.mul (local.get 2) (local.get 2))))
      (br_if 0 (i32.ne (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (local.get 1))))
    (loop (local.set 3 (i32.add (local.get 3) (i32.load (local.get 2))))
      (br_if 0 (i32.ne (local.get 0) (local.tee 2 (i32.add (local.get 2) (i32.const 24))))))
    (loop (if (local.get 3) (then (local.set 3 (i32.sub (local.get 3) (i32.const 1)))))
      (br_if 0 (i32.ne (local.tee 2 (i32.add (local.get 2) (i32.const -8))) (i32.const 48))))
    (loop (i32.store (local.get 2) (i32.const 1))
      (br_if 0 (local.tee 2 (i32.add (local.get 2) (i32.const -4)))))
    (local.get 3))
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
    (drop (call $through (i64.const 5)))
    (drop (call $counted (i32.const 48) (i32.const 24)))
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

#[test]
fn what_the_sealer_writes_is_accepted() {
    for exact in [false, true] {
        verify(&sealed(exact)).unwrap_or_else(|fault| panic!("exact {exact}: {fault}"));
    }
}

#[test]
fn whoever_pays_or_looks_less_is_refused() {
    let (mut count, mut counted) = (0, 0);
    for exact in [false, true] {
        for (what, weaker) in weaker::all(&sealed(exact)) {
            count += 1;
            counted += u32::from(what.starts_with(weaker::IN_LOOP));
            assert!(verify(&weaker).is_err(), "exact {exact}: {what} was accepted");
        }
    }
    assert!(count > 200 && counted > 40, "only {count}, {counted} of them in loops that count");
}

/// A meter that goes round would never be found empty: two halves of all there is are nothing.
#[test]
fn a_meter_that_would_go_round_is_refused() {
    let charge = |units: u64| {
        let value = units << 16;
        format!("(local.set $m (i64.sub (local.get $m) (i64.const {value})))")
    };
    let module = |charges: &str| {
        let text = format!(
            r#"(module (memory (export "memory") 1)
                 (global (export "manyhands_cause") (mut i32) (i32.const 0))
                 (global (export "manyhands_cost_table") i32 (i32.const 2))
                 (global $meter (export "manyhands_meter") (mut i64) (i64.const 100))
                 (func (export "manyhands_run") (local $m i64)
                   (block $dry
                     (block $body
                       (local.set $m (i64.sub (global.get $meter) (i64.const 0)))
                       (loop $next
                         (br_if $dry (i64.lt_s (local.tee $m (i64.sub (local.get $m) (i64.const 196608))) (i64.const 0)))
                         {charges}
                         (br $next)))
                     (global.set $meter (local.get $m))
                     return)
                   (global.set 0 (i32.const 1))
                   unreachable))"#
        );
        wat::parse_str(text).expect("the test's own text is WebAssembly")
    };
    verify(&module("")).expect("what pays for its branch is accepted");
    verify(&module(&charge(7))).expect("who pays more than that as well");
    let half = charge(1 << 46);
    let fault = verify(&module(&half.repeat(2))).expect_err("it would go round").to_string();
    assert!(fault.ends_with("it pays a sum that is none"), "{fault}");
    let fault = verify(&module(&charge(1 << 28).repeat(257))).expect_err("it would as well").to_string();
    assert!(fault.ends_with("it charges more than a meter holds"), "{fault}");
    // Many that are allowed alone are not allowed together, unless it is looked at the entry.
    let fault = verify(&module(&charge(1 << 21).repeat(3))).expect_err("too much unseen").to_string();
    assert!(fault.contains("did not look at its entry"), "{fault}");
}

/// Whoever calls through a table pays for the dearest function that may be meant and does not pay for itself.
#[test]
fn whoever_is_called_through_a_table_is_paid_for() {
    let module = |charge: u64, leaf: &str, more: &str| {
        let value = charge << 16;
        let text = format!(
            r#"(module (memory (export "memory") 1)
                 (type $long (func (param i64) (result i64)))
                 (global (export "manyhands_cause") (mut i32) (i32.const 0))
                 (global (export "manyhands_cost_table") i32 (i32.const 2))
                 (global $meter (export "manyhands_meter") (mut i64) (i64.const 100))
                 (table 2 funcref)
                 (elem (i32.const 0) $cheap $leaf)
                 (func $cheap (type $long) (i64.add (local.get 0) (local.get 0)))
                 (func $leaf (type $long) {leaf})
                 {more}
                 (func (export "manyhands_run")
                   (global.set $meter (i64.sub (global.get $meter) (i64.const {value})))
                   (drop (call_indirect (type $long) (i64.const 3) (i32.const 0)))))"#
        );
        wat::parse_str(text).expect("the test's own text is WebAssembly")
    };
    let refused = |module: &[u8]| verify(module).expect_err("it pays too little").to_string();
    // The call, two multiplications and a division.
    let dear = "(i64.div_s (i64.mul (local.get 0) (i64.mul (local.get 0) (local.get 0))) (i64.const 3))";
    verify(&module(98, dear, "")).expect("who pays for the dearest is accepted");
    assert!(refused(&module(97, dear, "")).ends_with("it does what it has not paid for"));
    // What a leaf calls would be nobody's.
    let fault = refused(&module(999, "(call $cheap (local.get 0))", ""));
    assert!(fault.contains("called through a table, calls others"), "{fault}");
    let fault = refused(&module(999, "(call_indirect (type $long) (local.get 0) (i32.const 1))", ""));
    assert!(fault.contains("called through a table, calls others"), "{fault}");
    // Nor does anybody pay for it who calls from outside.
    let fault = refused(&module(98, dear, r#"(export "manyhands_reduce" (func $leaf))"#));
    assert!(fault.contains("called from outside"), "{fault}");
    // And one that pays for itself is told the meter.
    let pays =
        r"(global.set $meter (i64.sub (global.get $meter) (i64.const 262144))) (i64.mul (local.get 0) (local.get 0))";
    assert!(refused(&module(999, pays, "")).contains("did not look whether anything is left"));
}

/// Whatever engines let into a table is known to be there, or nothing gets there that way: else a call through it would
/// cost what an empty table costs, and whoever calls itself like that would take neither fuel nor stack.
#[test]
fn whatever_comes_into_a_table_is_known() {
    let module = |fields: &str| {
        let text = format!(
            r#"(module {fields}
                 (type $long (func (param i64) (result i64)))
                 (table $table 1 funcref)
                 (memory (export "memory") 1)
                 (global (export "manyhands_cause") (mut i32) (i32.const 0))
                 (global (export "manyhands_cost_table") i32 (i32.const 2))
                 (global $meter (export "manyhands_meter") (mut i64) (i64.const 100))
                 (func $doubles (type $long)
                   (if (result i64) (i64.eqz (local.get 0))
                     (then (i64.const 1))
                     (else (i64.add
                       (call_indirect $table (type $long) (i64.add (local.get 0) (i64.const -1)) (i32.const 0))
                       (call_indirect $table (type $long) (i64.add (local.get 0) (i64.const -1)) (i32.const 0))))))
                 (func (export "manyhands_run")
                   (global.set $meter (i64.sub (global.get $meter) (i64.const 65536000)))
                   (drop (call_indirect $table (type $long) (i64.const 99) (i32.const 0)))))"#
        );
        let bytes = wat::parse_str(text).expect("the test's own text is WebAssembly");
        wasmparser::Validator::new().validate_all(&bytes).expect("engines take it");
        bytes
    };
    let (ty, segment) = ("a type that jobs must not use", "a segment that jobs must not have");
    let instruction = "an instruction that jobs must not use";
    let known = "it is called through a table, calls others and does not pay for itself";
    for (fields, reason) in [
        // By way of a global, whoever reads the segment alone does not see what it holds.
        ("(global $f funcref (ref.func $doubles)) (elem (i32.const 0) funcref (global.get $f))", ty),
        ("(elem (i32.const 0) $doubles)", known),
        ("(elem (table $table) (i32.const 0) func $doubles)", known),
        ("(table $other 1 funcref) (elem (table $table) (i32.const 0) func $doubles)", known),
        ("(elem func $doubles)", known),
        ("(elem declare func $doubles)", known),
        ("(elem (i32.const 0) funcref (ref.func $doubles) (ref.null func))", segment),
        ("(elem (table $table) (i32.const 0) funcref (ref.func $doubles) (ref.null func))", segment),
        ("(elem funcref (ref.func $doubles) (ref.null func))", segment),
        ("(elem declare funcref (ref.func $doubles) (ref.null func))", segment),
        ("(global $f (ref func) (ref.func $doubles)) (elem (i32.const 0) funcref (global.get $f))", ty),
        (r#"(import "manyhands_v1" "f" (global $f funcref)) (elem (i32.const 0) funcref (global.get $f))"#, ty),
        (r#"(import "manyhands_v1" "t" (table 1 funcref))"#, "it imports `t`"),
        ("(table 1 funcref (ref.func $doubles))", ty),
        ("(table 1 externref)", ty),
        (r#"(export "f" (func $doubles)) (func (table.set $table (i32.const 0) (ref.func $doubles)))"#, instruction),
        (
            r#"(export "f" (func $doubles)) (func (drop (table.grow $table (ref.func $doubles) (i32.const 1))))"#,
            instruction,
        ),
        (
            r#"(export "f" (func $doubles)) (func (table.fill $table (i32.const 0) (ref.func $doubles) (i32.const 1)))"#,
            instruction,
        ),
        ("(func (param funcref) (table.set $table (i32.const 0) (local.get 0)))", ty),
    ] {
        let fault = verify(&module(fields)).expect_err(fields).to_string();
        assert!(fault.contains(reason), "{fields}: {fault}");
    }
}

/// A loop that is paid for as a whole goes round as often as was paid for, whatever else is in it.
#[test]
fn a_loop_that_goes_round_more_often_than_it_counted_is_refused() {
    const STEP: &str = "(local.tee $i (i32.add (local.get $i) (i32.const 24)))";
    let module = |bound: &str, rest: &str, inside: &str, tail: &str| {
        let text = format!(
            r#"(module (memory (export "memory") 1)
                 (global (export "manyhands_cause") (mut i32) (i32.const 0))
                 (global (export "manyhands_cost_table") i32 (i32.const 2))
                 (global $meter (export "manyhands_meter") (mut i64) (i64.const 100))
                 (func (export "manyhands_run") (local $m i64) (local $i i32) (local $n i32) (local $x i32)
                   (block $dry
                     (block $body
                       (i64.sub (global.get $meter) (i64.mul
                         (i64.add (i64.extend_i32_u (i32.sub
                           (i32.mul (i32.sub {bound} (local.get $i)) (i32.const 0xaaaaaaab)) (i32.const 1))) (i64.const 1))
                         (i64.const 851968)))
                       (br_if $dry (i64.lt_s (local.tee $m) (i64.const 0)))
                       {rest}
                       (loop $next {inside} {tail})
                       (local.set $i (local.get $n)))
                     (global.set $meter (local.get $m))
                     return)
                   (global.set 0 (i32.const 1))
                   unreachable))"#
        );
        verify(&wat::parse_str(text).expect("the test's own text is WebAssembly"))
    };
    let n = "(local.get $n)";
    let rest = "(br_if $dry (i32.and (i32.sub (local.get $n) (local.get $i)) (i32.const 7)))";
    let tail = format!("(br_if $next (i32.ne {STEP} {n}))");
    let good = |inside: &str| module(n, rest, inside, &tail);
    good("").expect("it goes round as often as it says");
    good("(local.set $x (i32.const 5)) (block (br_if 0 (local.get $x)))").expect("as does this one");
    good("(br_if $body (local.get $x))").expect("who leaves early has paid too much");
    module(n, rest, "", &format!("(br_if $next (i32.ne {n} {STEP}))")).expect("the other way round");
    let zero = rest.replace("local.get $n", "i32.const 0");
    module("(i32.const 0)", &zero, "", &format!("(br_if $next {STEP})")).expect("until zero");

    let refused = |fault: Result<(), manyhands_verifier::Fault>, why: &str| {
        let fault = fault.expect_err(why).to_string();
        assert!(fault.ends_with(why), "{fault}, and not: {why}");
    };
    let writes = "it writes to what a loop counts with";
    refused(good("(local.set $n (i32.const 5))"), writes);
    refused(good("(local.set $i (i32.const 5))"), writes);
    refused(good("(if (local.get $x) (then (drop (local.tee $i (i32.const 0)))))"), writes);
    refused(good(&format!("(drop {STEP})")), writes);
    refused(good(&tail), writes);
    refused(good(&format!("(block {tail})")), writes);
    refused(module(n, rest, "", &format!("(block (br_if 1 (i32.ne {STEP} {n})))")), writes);
    refused(module(n, rest, "", &format!("(br_if $next (i32.ne {STEP} (local.get $x)))")), writes);
    refused(module(n, rest, "", &format!("(br_if $next {STEP})")), writes);
    refused(module(n, rest, "", &tail.replace("24", "8")), writes);
    refused(module(n, rest, "", &tail.replace("24", "48")), writes);
    refused(module(n, rest, "", &tail.replace("i32.ne", "i32.lt_u")), writes);
    let goes = "it goes round a loop that is paid for, and does not count that";
    refused(good("(br_if $next (local.get $x))"), goes);
    refused(good("(block (br_table $next 0 (local.get $x)))"), goes);
    refused(module(n, rest, "", "(br_if $next (local.get $x))"), goes);
    refused(good("(loop)"), "a loop in one that is paid for");
    let pays = "(local.set $m (i64.sub (local.get $m) (i64.const 65536)))";
    refused(good(pays), "it works with the meter in a loop that is paid for");
    let miscounts = "it does not count a loop as it should";
    refused(module("(local.get $i)", rest, "", &tail), miscounts);
    refused(module(n, &rest.replace("$n", "$x"), "", &tail), miscounts);
    refused(module(n, &rest.replace("$dry", "$body"), "", &tail), miscounts);
    refused(module(n, &rest.replace("const 7", "const 6"), "", &tail), miscounts);
    refused(module(n, "", "", &tail), writes);
    refused(module(n, &rest.replace("const 7", "const 3"), "", &tail), writes);
    refused(module(n, &format!("{rest} (local.set $i (i32.const 0))"), "", &tail), miscounts);
}

/// What a function does for nothing before its first loop may look like the beginning of one that takes stack.
#[test]
fn a_block_of_the_functions_own_is_not_taken_for_one_of_the_sealers() {
    let source = wat::parse_str(
        r#"(module (memory (export "memory") 1)
             (func (export "manyhands_run") (local i32 i64)
               (block (local.get 0) (i64.const 5) (local.set 1) (drop))
               (loop (br_if 0 (local.get 0)))))"#,
    )
    .expect("the test's own text is WebAssembly");
    let sealed = rewrite(&source, 1 << 20, &Passes::ALL).expect("is accepted");
    verify(&sealed).expect("what the sealer makes is accepted");
}

/// A digest that is written down holds on every machine.
#[test]
fn all_passes_write_the_same_bytes_everywhere() {
    assert_eq!(manyhands_model::Digest::of(&sealed(false)).short(), "d6c8162ff44a");
}

/// Whoever counted with other prices gives credit for other work.
#[test]
fn another_cost_table_is_refused() {
    let sealed = sealed(false);
    let module = Module::read(&sealed).expect("parses");
    let table = module.export(manyhands_abi::COST_TABLE, ExternalKind::Global).expect("is exported");
    assert_eq!(module.globals[table as usize].start, Some(2));
    let (_, globals) = module.sections.iter().find(|(id, _)| *id == 6).expect("there are globals");
    // The last of them, before its `end`.
    let mut other = sealed.clone();
    other[globals.end - 2] = 3;
    let fault = verify(&other).expect_err("another table").to_string();
    assert!(fault.contains("counts fuel by cost table 3, and this runtime knows table 2"), "{fault}");
    let mut none = sealed.clone();
    let name = manyhands_abi::COST_TABLE.as_bytes();
    let at = none.windows(name.len()).position(|window| window == name).expect("is named");
    none[at] = b'x';
    let fault = verify(&none).expect_err("no table").to_string();
    assert!(fault.contains("does not export `manyhands_cost_table`"), "{fault}");
}
