//! Engines that differ, since nobody settled what they may do differently, and where they first do.

use manyhands_engines::divergence::{Divergence, find};
use manyhands_engines::weave::EventKind;
use manyhands_engines::{Engine, Failure, Kind, Unit};
use manyhands_model::{Fuel, Limits};
use manyhands_protocol::Entry;
use manyhands_sealer::{Passes, rewrite};

/// One compiler of V8's computes 0/0 itself and the other leaves it to the processor, so the sign of the NaN differs. That
/// happens in call 90,003 of `share`, long before anybody sees it in the output.
const MODULE: &str = r#"
(module
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (memory (export "memory") 1)
  (func $share (param $round i32) (result i64)
    (if (i32.ne (local.get $round) (i32.const 90002)) (then (return (i64.const 7))))
    (i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0))))
  (func $mix (param $sum i64) (param $round i32) (result i64)
    (i64.rotl (i64.xor (local.get $sum) (call $share (local.get $round))) (i64.const 5)))
  (func (export "manyhands_run") (local $round i32) (local $sum i64)
    (loop $again
      (local.set $sum (call $mix (local.get $sum) (local.get $round)))
      (i64.store (i32.const 8) (local.get $sum))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $round) (i32.const 200000))))
    (call $output_write (i32.const 8) (i32.const 8))))
"#;
const SHARE: u32 = 1;
const LIMITS: Limits = Limits { fuel: Fuel(1 << 40), memory_bytes: 1 << 20, output_bytes: 50, wall_ms: 60_000 };

/// How both engines end, and where they part.
fn compare(passes: Passes) -> Option<([Vec<u8>; 2], Option<Divergence>)> {
    let mut engines: Vec<Box<dyn Engine>> = Vec::new();
    for kind in [Kind::NodeLiftoff, Kind::NodeTurbofan] {
        match kind.open() {
            Err(missing @ Failure::Missing { .. }) => {
                eprintln!("LEFT OUT: {missing}");
                return None;
            }
            engine => engines.push(engine.expect("it starts")),
        }
    }
    let module = rewrite(&wat::parse_str(MODULE).expect("a module"), LIMITS.memory_bytes, &passes).expect("rewritten");
    let unit = Unit { entry: Entry::Run, step: 0, input: b"", seed: [7; 32], limits: LIMITS };
    let outputs: Vec<_> = engines
        .iter_mut()
        .map(|engine| {
            engine.load(&module).expect("it loads");
            engine.execute(&unit).expect("an outcome").output
        })
        .collect();
    let [ours, theirs] = &mut engines[..] else { unreachable!("there are two") };
    let found = find([ours.as_mut(), theirs.as_mut()], &module, &unit).expect("both can be watched");
    Some((outputs.try_into().expect("two"), found))
}

#[test]
fn the_first_call_and_instruction_that_differ_are_found() {
    let Some(([ours, theirs], found)) = compare(Passes { nan: false, ..Passes::ALL }) else { return };
    assert_ne!(ours, theirs, "nobody settles the NaN, so they differ");
    let found = found.expect("they part");
    assert_eq!((found.function, found.call), (SHARE, 90_003));
    // In each round two calls, two returns and a store; in the last one two calls. Before all of them one call.
    assert_eq!(found.same, 1 + 5 * 90_002 + 2);
    let [Some(ours), Some(theirs)] = &found.events else { panic!("{found:?}") };
    assert_eq!((ours.kind, theirs.kind), (EventKind::Return, EventKind::Return));
    assert_eq!(ours.meter, theirs.meter, "they pay the same");
    let made = found.made.expect("an instruction");
    let bits = made.values.map(|value| value.expect("both came there").bits);
    assert_eq!(
        bits.map(|bits| bits & (u128::from(u64::MAX) >> 1)),
        [0x7ff8_0000_0000_0000; 2],
        "a NaN, but for its sign"
    );
    assert_ne!(bits[0], bits[1]);
}

#[test]
fn what_is_settled_does_not_part() {
    let Some(([ours, theirs], found)) = compare(Passes::ALL) else { return };
    assert_eq!((ours == theirs, found), (true, None));
}
