//! The work of which nothing may be lost: a job with answers that anybody can compute, and long ones among them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use manyhands_api::ResultLine;
use manyhands_model::{Codec, Limits};
use manyhands_tests::jobs::{Job, assemble, manifest};

/// How often a word of output is mixed, so that a long output takes some milliseconds.
const MIXES: u32 = 1500;
/// Lengths of outputs. The longest are files of their own at the coordinator. Unit: bytes.
const LENGTHS: &[u32] = &[8, 64, 1024, 8 << 10, 16 << 10];

/// Writes as many bytes as its input says, from a seed that its input says. Its answers are those of [`answer`].
pub(crate) fn job() -> Job {
    let mut manifest = manifest("stretch", Codec::Raw);
    // A lease lives about as long, so that what vanishes with a lease comes back soon.
    manifest.limits = Limits { wall_ms: 1000, ..Limits::default() };
    let body = format!(
        r#"
        (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
        (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
        (memory (export "memory") 2)
        (func (export "manyhands_run") (local $x i64) (local $at i32) (local $end i32) (local $mix i32)
          (call $input_read (i32.const 0) (i32.const 0) (i32.const 12))
          (local.set $x (i64.load (i32.const 0)))
          (local.set $at (i32.const 16))
          (local.set $end (i32.add (i32.const 16) (i32.load (i32.const 8))))
          (loop $words
            (local.set $mix (i32.const {MIXES}))
            (loop $mixes
              (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
              (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
              (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
              (local.set $mix (i32.sub (local.get $mix) (i32.const 1)))
              (br_if $mixes (local.get $mix)))
            (i64.store (local.get $at) (local.get $x))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $words (i32.lt_u (local.get $at) (local.get $end))))
          (call $output_write (i32.const 16) (i32.load (i32.const 8))))"#
    );
    Job { module: assemble(&manifest, &body), manifest }
}

/// `count` inputs, none like another, nor like those of another `family`.
pub(crate) fn inputs(family: u64, count: u32) -> Vec<Vec<u8>> {
    let input = |number: u32| {
        let seed = (family.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(number)) | 1 << 63;
        [&seed.to_le_bytes()[..], &LENGTHS[number as usize % LENGTHS.len()].to_le_bytes()].concat()
    };
    (0..count).map(input).collect()
}

/// What [`job`] answers to an input of [`inputs`].
pub(crate) fn answer(input: &[u8]) -> Vec<u8> {
    let (seed, length) = input.split_at(8);
    let mut x = u64::from_le_bytes(seed.try_into().unwrap());
    let word = |_| {
        for _ in 0..MIXES {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        x.to_le_bytes()
    };
    (0..u32::from_le_bytes(length.try_into().unwrap()) / 8).flat_map(word).collect()
}

/// What makes two answers the same; how many workers agreed may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: String,
    pub(crate) output: Vec<u8>,
    pub(crate) fuel: u64,
}

impl Answer {
    pub(crate) fn of(line: &ResultLine) -> Self {
        let output = match (&line.output_base64, &line.output) {
            (Some(text), _) => BASE64.decode(text).unwrap(),
            (None, Some(json)) => json.get().as_bytes().to_vec(),
            (None, None) => Vec::new(),
        };
        Self { status: line.status.clone(), output, fuel: line.fuel }
    }
}

/// The answers of a run that nothing disturbed. Steps depend on the length alone, so one run knows those of all.
pub(crate) struct Undisturbed {
    fuel: Vec<u64>,
}

impl Undisturbed {
    /// How many inputs tell everything.
    pub(crate) const INPUTS: u32 = LENGTHS.len() as u32;

    pub(crate) fn new(answers: &[Answer]) -> Self {
        Self { fuel: answers.iter().map(|answer| answer.fuel).collect() }
    }

    pub(crate) fn fuel(&self, input: &[u8]) -> u64 {
        let length = u32::from_le_bytes(input[8..12].try_into().unwrap());
        let at = LENGTHS.iter().position(|known| *known == length).unwrap();
        self.fuel[at]
    }

    pub(crate) fn answer(&self, input: &[u8]) -> Answer {
        Answer { status: "ok".into(), output: answer(input), fuel: self.fuel(input) }
    }
}
