//! What a unit of fuel may stand for at worst.
//!
//! Weights belong to opcodes, and no opcode says what a cache or a prediction of branches will miss, or which operands a processor is
//! slow with. Each module here does nothing but one such thing, so that the longest a unit can take is known and not guessed.

use manyhands_model::Codec;
use manyhands_tests::jobs;

use super::corpus::{Kernel, Kind};

/// How often a round goes through a loop.
const TURNS: u32 = 1000;
/// How often its loop has each in a row, so that going round counts little.
const IN_A_ROW: usize = 16;
/// More memory than caches hold.
const LARGE: u32 = 32 << 20;
const SMALL: u32 = 8 << 10;

struct Dear {
    name: &'static str,
    kind: Kind,
    /// Bytes of memory to which it is written before, so that each page is one of its own. In Node, pages are new in each execution, and
    /// what the system takes for that is in the time.
    memory: u32,
    /// What is done in a row: `$x` (`i32`), `$y` (`i64`), `$f` (`f64`) and `$v` (`v128`) go from one to the next, so that none is left
    /// out and each waits for the one before. `$one` is 1.0, and `$tiny` so small that it has few bits.
    row: &'static str,
}

const ALL: &[Dear] = &[
    Dear {
        name: "misses a cache",
        kind: Kind::Integer,
        memory: LARGE,
        row: "(local.set $x (i32.add (i32.const 0x3c6e_f35f) (i32.add (i32.mul (local.get $x) (i32.const 1664525))
                (i32.load (i32.and (local.get $x) (i32.const 0x1ff_ffc0))))))",
    },
    Dear {
        name: "misses a branch",
        kind: Kind::Integer,
        memory: SMALL,
        row: "(block $skip
                (br_if $skip (i32.and (i32.const 8)
                  (local.tee $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))))
                (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17)))))
              (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
              (local.set $x (i32.add (local.get $x) (i32.const 0x3c6e_f35f)))",
    },
    Dear {
        name: "misses a call",
        kind: Kind::Integer,
        memory: SMALL,
        row: "(local.set $x (call_indirect (type $unary) (local.get $x)
                (i32.and (i32.shr_u (local.get $x) (i32.const 9)) (i32.const 7))))",
    },
    Dear {
        name: "divides",
        kind: Kind::Integer,
        memory: SMALL,
        row: "(local.set $y (i64.div_u (i64.const -7) (i64.or (i64.and (local.get $y) (i64.const 4)) (i64.const 3))))",
    },
    Dear {
        name: "reads what is being written",
        kind: Kind::Integer,
        memory: SMALL,
        row: "(i32.store8 (i32.const 64) (local.get $x)) (local.set $x (i32.load (i32.const 64)))",
    },
    Dear {
        name: "reads across pages",
        kind: Kind::Integer,
        memory: SMALL,
        row: "(local.set $y (i64.load offset=4093 (i32.wrap_i64 (local.get $y))))",
    },
    Dear {
        name: "fills nothing",
        kind: Kind::Integer,
        memory: SMALL,
        row: "(memory.fill (i32.const 64) (i32.const 0) (local.get $x))
              (local.set $x (i32.and (i32.load8_u (i32.const 64)) (i32.const 256)))",
    },
    Dear {
        name: "multiplies tiny numbers",
        kind: Kind::Float,
        memory: SMALL,
        row: "(local.set $f (f64.mul (local.get $tiny) (f64.add (local.get $f) (local.get $one))))",
    },
    Dear {
        name: "takes roots",
        kind: Kind::Float,
        memory: SMALL,
        row: "(local.set $f (f64.sqrt (f64.add (local.get $f) (local.get $one))))",
    },
    Dear {
        name: "converts lanes",
        kind: Kind::Float,
        memory: SMALL,
        row: "(local.set $v (f64x2.convert_low_i32x4_u (i32x4.trunc_sat_f64x2_u_zero (local.get $v))))",
    },
];

pub(crate) fn kernels() -> Vec<Kernel> {
    ALL.iter().map(|dear| Kernel { name: dear.name, kind: dear.kind, module: module(dear) }).collect()
}

fn module(Dear { memory, row, .. }: &Dear) -> Vec<u8> {
    let row = row.repeat(IN_A_ROW);
    let function = |add: u32| {
        format!("(func (type $unary) (i32.add (i32.mul (local.get 0) (i32.const 1664525)) (i32.const {add})))")
    };
    let functions: String = (100..108).map(function).collect();
    let fields = format!(
        r#"(type $unary (func (param i32) (result i32)))
           (import "manyhands_v1" "input_read" (func $read (param i32 i32 i32)))
           (import "manyhands_v1" "output_write" (func $write (param i32 i32)))
           (memory (export "memory") 520)
           (table 8 funcref) (elem (i32.const 0) 2 3 4 5 6 7 8 9)
           {functions}
           (func (export "manyhands_run")
             (local $n i32) (local $x i32) (local $y i64) (local $f f64) (local $v v128) (local $one f64) (local $tiny f64)
             (local.set $n (i32.const {memory}))
             (loop $next
               (i32.store8 (local.tee $n (i32.sub (local.get $n) (i32.const 4096))) (i32.const 0))
               (br_if $next (local.get $n)))
             (call $read (i32.const 8) (i32.const 0) (i32.const 4))
             (local.set $one (f64.convert_i32_s (i32.eqz (i32.load (i32.const 0)))))
             (local.set $tiny (f64.mul (local.get $one) (f64.const 0x1p-1060)))
             (local.set $n (i32.mul (i32.load (i32.const 8)) (i32.const {TURNS})))
             (loop $next
               {row}
               (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
             (i64.store (i32.const 0) (i64.add (local.get $y) (i64.extend_i32_u (local.get $x))))
             (f64.store (i32.const 8) (f64.add (local.get $f) (f64x2.extract_lane 0 (local.get $v))))
             (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (i64.load (i32.const 8))))
             (call $write (i32.const 0) (i32.const 8)))"#
    );
    jobs::assemble(&jobs::manifest("dearest", Codec::Raw), &fields)
}
