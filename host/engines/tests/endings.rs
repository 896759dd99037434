//! Every way in which an execution ends, on every engine that is installed.

use manyhands_abi::parts;
use manyhands_engines::{Executed, Failure, Kind, Unit};
use manyhands_model::{Digest, Fuel, Limits, Outcome, Verdict};
use manyhands_protocol::Entry;
use manyhands_verifier::ending::NoOutcome;

/// A module as the sealer leaves it, written by hand. The first byte of the input says what it does.
const MODULE: &str = r#"
(module
  (import "manyhands_v1" "input_len" (func $input_len (result i32)))
  (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "manyhands_v1" "seed_read" (func $seed_read (param i32)))
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (import "manyhands_v1" "log" (func $log (param i32 i32 i32)))
  (import "manyhands_v1" "progress" (func $progress (param i32)))
  (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))
  (memory (export "memory") 1)
  (global $meter (export "manyhands_meter") (mut i64) (i64.const 16000))
  (global $cause (export "manyhands_cause") (mut i32) (i32.const 0))
  (global $calls (mut i32) (i32.const 0))
  (func $recurse (call $recurse))
  (func (export "manyhands_run")
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (if (i32.ne (global.get $calls) (i32.const 1)) (then unreachable))
    (global.set $meter (i64.sub (global.get $meter) (i64.const 0x70000)))
    (call $progress (i32.const 500))
    (call $input_read (i32.const 0) (i32.const 0) (call $input_len))
    (block $out (block $recurse (block $stack (block $fuel (block $read (block $log (block $abort (block $trap (block $echo
      (br_table $echo $trap $abort $log $read $fuel $stack $recurse $out (i32.load8_u (i32.const 0)))
    ) (call $output_write (i32.const 0) (call $input_len))
      (call $seed_read (i32.const 1000)) (call $output_write (i32.const 1000) (i32.const 32)) (return)
    ) (i32.store (i32.const -4) (i32.const 0)) (return)
    ) (call $abort (i32.const 77) (i32.const 1) (i32.sub (call $input_len) (i32.const 1))) (return)
    ) (call $log (i32.const 2) (i32.const 1) (i32.sub (call $input_len) (i32.const 1))) (return)
    ) (call $input_read (i32.const 0) (i32.const 1) (call $input_len)) (return)
    ) (global.set $meter (i64.const -5)) (global.set $cause (i32.const 1)) unreachable
    ) (global.set $cause (i32.const 2)) unreachable
    ) (call $recurse)
    ) (call $output_write (i32.const 1) (i32.const -1)))
  (func (export "manyhands_reduce")
    (call $output_write (i32.const 0) (i32.const 9))))
"#;

const SEED: [u8; 32] = [7; 32];
const LIMITS: Limits = Limits { fuel: Fuel(1000), memory_bytes: 1 << 20, output_bytes: 50, wall_ms: 20_000 };

fn ends_alike(kind: Kind) {
    let mut engine = match kind.open() {
        Err(missing @ Failure::Missing { .. }) => return eprintln!("LEFT OUT: {missing}"),
        engine => engine.expect("it starts"),
    };
    let module = wat::parse_str(MODULE).expect("a module");
    engine.load(&module).expect("it loads");
    let mut execute = |entry, input: &[u8]| engine.execute(&Unit { entry, step: 0, input, seed: SEED, limits: LIMITS });
    let mut run = |input: &[u8]| execute(Entry::Run, input);
    let used = |verdict, fuel| Outcome { verdict, fuel: Fuel(fuel) };
    let silent = |outcome| Ok(Executed { outcome, output: Vec::new(), logs: Vec::new() });
    let aborted = |code, message: &str| Verdict::Aborted { code, message: message.to_owned() };

    let echo = [&b"\0hello"[..], &SEED].concat();
    let verdict = Verdict::Ok { output: Digest::of(&echo), output_bytes: echo.len() as u64 };
    assert_eq!(run(b"\0hello"), Ok(Executed { outcome: used(verdict, 7), output: echo, logs: Vec::new() }));
    let too_long = manyhands_abi::text::output_too_long(50);
    assert_eq!(run(&[0; 19]), silent(used(aborted(3, &too_long), 7)));
    assert_eq!(run(b"\x01"), silent(used(Verdict::Trap, 7)), "a store out of bounds");
    assert_eq!(run(b"\x02ab\xff\xe2\x82"), silent(used(aborted(77, "ab"), 7)), "no text, left out");
    let logged = run(b"\x03line").expect("an outcome");
    assert_eq!((logged.outcome.verdict.is_ok(), logged.logs), (true, vec![(2, "line".to_owned())]));
    assert_eq!(run(b"\x04"), silent(used(Verdict::Trap, 7)), "beyond the input");
    assert_eq!(run(b"\x05"), silent(used(Verdict::OutOfFuel, 1000)));
    assert_eq!(run(b"\x06"), silent(used(Verdict::OutOfStack, 7)));
    let overflow = run(b"\x07");
    assert!(matches!(overflow, Err(Failure::NoOutcome { cause: NoOutcome::Engine, .. })), "{overflow:?}");
    assert_eq!(run(b"\x08"), silent(used(Verdict::Trap, 7)), "beyond the memory");

    let reduced = execute(Entry::Reduce, b"").expect("an outcome");
    assert_eq!((reduced.output, reduced.outcome.fuel), (vec![0; 9], Fuel(0)));

    // Whatever happened, the next module finds nothing of it.
    let refused = engine.load(b"\0asm\x01\0\0\0\xff");
    assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
    engine.load(&module).expect("it loads again");
    let again = engine.execute(&Unit { entry: Entry::Run, step: 0, input: b"\x06", seed: SEED, limits: LIMITS });
    assert_eq!(again, silent(used(Verdict::OutOfStack, 7)));
}

/// Asks for calls for ever.
const CALLER: &str = r#"
(module
  (import "manyhands_v1" "call_all" (func $call (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "request")
  (global (export "manyhands_meter") (mut i64) (i64.const 16000))
  (global (export "manyhands_cause") (mut i32) (i32.const 0))
  (func (export "manyhands_run") (loop $again (drop (call $call (i32.const 0) (i32.const 7))) (br $again))))
"#;

fn asks_alike(kind: Kind) {
    let mut engine = match kind.open() {
        Err(missing @ Failure::Missing { .. }) => return eprintln!("LEFT OUT: {missing}"),
        engine => engine.expect("it starts"),
    };
    engine.load(&wat::parse_str(CALLER).expect("a module")).expect("it loads");
    let mut answered = |answers: usize| {
        let input = match answers {
            0 => b"input".to_vec(),
            _ => parts::encode(vec![&b"answer"[..]; 1 + answers].into_iter()),
        };
        let step = answers as u32;
        engine
            .execute(&Unit { entry: Entry::Run, step, input: &input, seed: SEED, limits: LIMITS })
            .expect("an outcome")
    };
    let request = Verdict::Called { calls: Digest::of(b"request"), calls_bytes: 7 };
    for answers in [0, 1, 999] {
        let executed = answered(answers);
        assert_eq!((executed.outcome.verdict, &executed.output[..]), (request.clone(), &b"request"[..]), "{answers}");
    }
    let message = manyhands_abi::text::too_many_calls();
    let executed = answered(1000);
    assert_eq!(executed.outcome.verdict, Verdict::Aborted { code: 4, message });
    assert!(executed.output.is_empty());
}

#[test]
fn node_ends_as_the_module_says() {
    for kind in [Kind::Node, Kind::NodeLiftoff, Kind::NodeTurbofan] {
        ends_alike(kind);
        asks_alike(kind);
    }
}

#[cfg(feature = "in-process")]
#[test]
fn wasmtime_ends_as_the_module_says() {
    for kind in [Kind::Cranelift, Kind::Winch] {
        ends_alike(kind);
        asks_alike(kind);
    }
}

#[test]
#[ignore = "starts browsers; `cargo xtask identity --browsers` does as well"]
fn browsers_end_as_the_module_says() {
    for kind in [Kind::Chromium, Kind::Firefox] {
        ends_alike(kind);
        asks_alike(kind);
    }
}

/// An engine that hangs is ended, and the next unit gets a new one.
#[test]
fn a_hanging_engine_is_replaced() {
    let mut engine = match Kind::Node.open() {
        Err(missing @ Failure::Missing { .. }) => return eprintln!("LEFT OUT: {missing}"),
        engine => engine.expect("it starts"),
    };
    // No sealed module can do this.
    let text = MODULE.replace("(call $recurse))\n", "(loop $for_ever (br $for_ever)))\n");
    engine.load(&wat::parse_str(text).expect("a module")).expect("it loads");
    let limits = Limits { wall_ms: 1, ..LIMITS };
    let mut run = |input: &[u8]| engine.execute(&Unit { entry: Entry::Run, step: 0, input, seed: SEED, limits });
    assert_eq!(run(b"\x07"), Err(Failure::Overtime(10)));
    assert_eq!(run(b"\x06").map(|executed| executed.outcome.verdict), Ok(Verdict::OutOfStack));
}
