//! Small jobs written as text, with what they should answer.

use manyhands_model::{Codec, Limits, Manifest, Version};

/// A module and its manifest.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is published.
    pub module: Vec<u8>,
    /// What the module's own section says.
    pub manifest: Manifest,
}

/// Rounds of [`hash`], so that a unit takes a moment: long enough to be interrupted, short enough to wait for.
const ROUNDS: u32 = 20_000;

/// A manifest for a job of that name.
pub fn manifest(name: &str, codec: Codec) -> Manifest {
    let name = name.to_owned().try_into().expect("a job name");
    let limits = Limits::default();
    Manifest {
        name,
        version: Version::new(1, 0, 0),
        abi: 1,
        description: "A test.".into(),
        codec,
        limits,
        sensitive: Default::default(),
        verbs: Default::default(),
        record_bytes: 0,
    }
}

/// The module of `body` with `manifest` in its section.
///
/// # Panics
/// When the text is no WebAssembly.
pub fn assemble(manifest: &Manifest, body: &str) -> Vec<u8> {
    let json = serde_json::to_string(manifest).expect("serialises").replace('"', "\\\"");
    let text = format!(r#"(module {body} (@custom "manyhands.manifest" "{json}"))"#);
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A raw job: FNV-1a over its input, many times over. Its answers are those of [`hash`].
pub fn hasher() -> Job {
    hasher_of(manifest("hasher", Codec::Raw))
}

/// The same with a manifest of the test's.
pub fn hasher_of(manifest: Manifest) -> Job {
    let body = format!(
        r#"
        (import "manyhands_v1" "input_len" (func $input_len (result i32)))
        (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
        (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
        (memory (export "memory") 2)
        (func (export "manyhands_run") (local $len i32) (local $at i32) (local $round i32) (local $hash i64)
          (local.set $len (call $input_len))
          (call $input_read (i32.const 16) (i32.const 0) (local.get $len))
          (local.set $hash (i64.const 0xcbf29ce484222325))
          (loop $rounds
            (local.set $at (i32.const 0))
            (block $end
              (loop $bytes
                (br_if $end (i32.ge_u (local.get $at) (local.get $len)))
                (local.set $hash (i64.mul (i64.const 0x100000001b3)
                  (i64.xor (local.get $hash) (i64.load8_u offset=16 (local.get $at)))))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br $bytes)))
            (local.set $round (i32.add (local.get $round) (i32.const 1)))
            (br_if $rounds (i32.lt_u (local.get $round) (i32.const {ROUNDS}))))
          (i64.store (i32.const 0) (local.get $hash))
          (call $output_write (i32.const 0) (i32.const 8)))"#
    );
    Job { module: assemble(&manifest, &body), manifest }
}

/// What [`hasher`] answers.
pub fn hash(input: &[u8]) -> Vec<u8> {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for _ in 0..ROUNDS {
        hash = input.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    }
    hash.to_le_bytes().to_vec()
}

/// `count` inputs for [`hasher`], none like another.
pub fn texts(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("the text number {number}").into_bytes()).collect()
}

/// A JSON job that answers with its input, unless the input is one byte long: then it gives up and says why.
pub fn parrot() -> Job {
    parrot_of(manifest("parrot", Codec::Json))
}

/// The same with a manifest of the test's.
pub fn parrot_of(manifest: Manifest) -> Job {
    let body = r#"
        (import "manyhands_v1" "input_len" (func $input_len (result i32)))
        (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
        (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
        (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))
        (memory (export "memory") 2)
        (data (i32.const 0) "too short")
        (func (export "manyhands_run") (local $len i32)
          (local.set $len (call $input_len))
          (if (i32.eq (local.get $len) (i32.const 1))
            (then (call $abort (i32.const 1) (i32.const 0) (i32.const 9))))
          (call $input_read (i32.const 16) (i32.const 0) (local.get $len))
          (call $output_write (i32.const 16) (local.get $len)))"#;
    Job { module: assemble(&manifest, body), manifest }
}

/// A raw job that does nothing.
pub fn noop() -> Job {
    let manifest = manifest("noop", Codec::Raw);
    let module = assemble(&manifest, r#"(memory (export "memory") 1) (func (export "manyhands_run"))"#);
    Job { module, manifest }
}

/// Steps of [`spinner`] in one round: some milliseconds.
const STEPS: u32 = 1_000_000;
/// A generator of Knuth's: what it is after so many steps can be computed without taking them.
const FACTOR: u64 = 6_364_136_223_846_793_005;
const ADDEND: u64 = 1_442_695_040_888_963_407;

/// A raw job that takes as long as it is told to, and says how far it is. Its inputs are those of [`spin`].
pub fn spinner() -> Job {
    let mut manifest = manifest("spinner", Codec::Raw);
    manifest.limits.fuel = Limits::MAX.fuel;
    let body = format!(
        r#"
        (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
        (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
        (import "manyhands_v1" "progress" (func $progress (param i32)))
        (memory (export "memory") 1)
        (func (export "manyhands_run") (local $rounds i32) (local $round i32) (local $step i32) (local $state i64)
          (call $input_read (i32.const 0) (i32.const 0) (i32.const 8))
          (local.set $rounds (i32.load (i32.const 0)))
          (local.set $state (i64.load32_u (i32.const 4)))
          (loop $again
            (call $progress (i32.div_u (i32.mul (local.get $round) (i32.const 1000)) (local.get $rounds)))
            (local.set $step (i32.const {STEPS}))
            (loop $steps
              (local.set $state (i64.add (i64.const {ADDEND}) (i64.mul (i64.const {FACTOR}) (local.get $state))))
              (br_if $steps (local.tee $step (i32.sub (local.get $step) (i32.const 1)))))
            (local.set $round (i32.add (local.get $round) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $round) (local.get $rounds))))
          (i64.store (i32.const 0) (local.get $state))
          (call $output_write (i32.const 0) (i32.const 8)))"#
    );
    Job { module: assemble(&manifest, &body), manifest }
}

/// An input for [`spinner`], of so many rounds, and what it answers.
pub fn spin(rounds: u32, start: u32) -> (Vec<u8>, Vec<u8>) {
    let input = [rounds.to_le_bytes(), start.to_le_bytes()].concat();
    // One step doubled again and again, and applied where the number of steps has a one.
    let (mut factor, mut addend, mut state) = (FACTOR, ADDEND, u64::from(start));
    let mut steps = u64::from(rounds) * u64::from(STEPS);
    while steps > 0 {
        if steps & 1 == 1 {
            state = state.wrapping_mul(factor).wrapping_add(addend);
        }
        addend = addend.wrapping_mul(factor.wrapping_add(1));
        factor = factor.wrapping_mul(factor);
        steps >>= 1;
    }
    (input, state.to_le_bytes().to_vec())
}

/// A raw job that asks for calls: each line of its input is a request, and its output has the answers to each in a line.
pub fn caller(name: &str, verbs: serde_json::Value) -> Job {
    let verbs = serde_json::from_value(verbs).expect("verbs");
    caller_of(Manifest { verbs, ..manifest(name, Codec::Raw) })
}

/// The same with a manifest of the test's.
pub fn caller_of(manifest: Manifest) -> Job {
    caller_and(manifest, "", 10, "")
}

/// The same, which asks for this as well once the input's only line is answered. What comes out is a list of both answers.
pub fn caller_then(manifest: Manifest, request: &str) -> Job {
    let (escaped, bytes) = (request.replace('"', "\\\""), request.len());
    let first = r"
          (i32.store8 (i32.const 0x80000) (i32.const 91))
          (call $output_write (i32.const 0x80000) (i32.const 1))";
    let last = format!(
        r#"
          (local.set $bytes (call $call (i32.const 0xC0000) (i32.const {bytes})))
          (call $answer_read (i32.const 0x80000) (i32.const 0) (local.get $bytes))
          (i32.store8 (i32.add (i32.const 0x80000) (local.get $bytes)) (i32.const 93))
          (call $output_write (i32.const 0x80000) (i32.add (local.get $bytes) (i32.const 1))))
        (data (i32.const 0xC0000) "{escaped}""#
    );
    caller_and(manifest, first, b',', &last)
}

/// Does this before it reads lines and after them, and writes this behind the answers to each.
fn caller_and(manifest: Manifest, first: &str, behind: u8, last: &str) -> Job {
    let body = r#"
        (import "manyhands_v1" "input_len" (func $input_len (result i32)))
        (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
        (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
        (import "manyhands_v1" "call_all" (func $call (param i32 i32) (result i32)))
        (import "manyhands_v1" "answer_read" (func $answer_read (param i32 i32 i32)))
        (memory (export "memory") 16)
        (func (export "manyhands_run") (local $at i32) (local $end i32) (local $line i32) (local $bytes i32)
          FIRST
          ;; The input stands from 16 on, with a line's end behind it.
          (call $input_read (i32.const 16) (i32.const 0) (call $input_len))
          (local.set $end (i32.add (i32.const 16) (call $input_len)))
          (i32.store8 (local.get $end) (i32.const 10))
          (local.set $line (i32.const 16))
          (local.set $at (i32.const 16))
          (block $done
            (loop $next
              (br_if $done (i32.gt_u (local.get $at) (local.get $end)))
              (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 10))
                (then
                  (local.set $bytes (call $call (local.get $line) (i32.sub (local.get $at) (local.get $line))))
                  (call $answer_read (i32.const 0x80000) (i32.const 0) (local.get $bytes))
                  (i32.store8 (i32.add (i32.const 0x80000) (local.get $bytes)) (i32.const BEHIND))
                  (call $output_write (i32.const 0x80000) (i32.add (local.get $bytes) (i32.const 1)))
                  (local.set $line (i32.add (local.get $at) (i32.const 1)))))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br $next)))"#;
    let body = body.replace("FIRST", first).replace("BEHIND", &behind.to_string());
    Job { module: assemble(&manifest, &format!("{body}{last})")), manifest }
}

/// A JSON job whose clients keep a record for it: what it is asked is the next record, and what it answers is the one before. An
/// input that begins with `0` is a trap.
pub fn keeper(name: &str, sensitive: serde_json::Value) -> Job {
    let sensitive = serde_json::from_value(sensitive).expect("fields");
    let manifest = Manifest { sensitive, record_bytes: 1 << 10, ..manifest(name, Codec::Json) };
    let body = r#"
        (import "manyhands_v1" "input_len" (func $input_len (result i32)))
        (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
        (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
        (memory (export "memory") 2)
        (data (i32.const 0) "{\"record\":,\"output\":},\"input\":")
        (func (export "manyhands_run") (local $end i32) (local $at i32)
          (call $input_read (i32.const 64) (i32.const 0) (call $input_len))
          (local.set $end (i32.add (i32.const 63) (call $input_len)))
          (local.set $at (i32.const 74))
          (block $found
            (loop $look
              (br_if $found (i64.eq (i64.load (local.get $at)) (i64.load (i32.const 21))))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (br $look)))
          (if (i32.eq (i32.load8_u offset=9 (local.get $at)) (i32.const 48)) (then unreachable))
          (call $output_write (i32.const 0) (i32.const 10))
          (call $output_write (i32.add (local.get $at) (i32.const 9))
            (i32.sub (local.get $end) (i32.add (local.get $at) (i32.const 9))))
          (call $output_write (i32.const 10) (i32.const 10))
          (call $output_write (i32.const 74) (i32.sub (local.get $at) (i32.const 74)))
          (call $output_write (i32.const 20) (i32.const 1)))"#;
    Job { module: assemble(&manifest, body), manifest }
}
