//! The contract between a job's module and the runtime that executes it.
//!
//! Names, limits and framing only; the prose is in `docs/abi.md`. No `std`, so that both sides of the
//! boundary and the sealer share it.
#![no_std]

extern crate alloc;

pub mod parts;
pub mod text;
pub mod token;

/// Version of this contract, as a manifest declares it. Part of [`NAMESPACE`] as well.
pub const VERSION: u32 = 1;

/// The one module from which a job imports.
pub const NAMESPACE: &str = "manyhands_v1";

/// Custom section with the manifest, JSON text.
pub const MANIFEST_SECTION: &str = "manyhands.manifest";
/// Custom section in which the SDK notes how inputs and outputs are written down: `json`, `postcard` or
/// `raw`. Building folds it into the manifest.
pub const CODEC_SECTION: &str = "manyhands.codec";
/// Custom section in which the SDK notes which fields of an input its types call sensitive: a list as in the manifest, or nothing.
/// Building folds it into the manifest.
pub const SENSITIVE_SECTION: &str = "manyhands.sensitive";

/// The exported linear memory.
pub const MEMORY: &str = "memory";
/// Executes the job over one input: `() -> ()`.
pub const RUN: &str = "manyhands_run";
/// Combines outputs of earlier units, framed as in [`parts`]: `() -> ()`. Optional.
pub const REDUCE: &str = "manyhands_reduce";

/// Exported by sealed modules: an `i64`, the fuel that is left, above [`METER_STACK_BITS`] bits of stack.
pub const METER: &str = "manyhands_meter";
/// Exported by sealed modules: an `i32`, why the module stopped itself, or 0.
pub const CAUSE: &str = "manyhands_cause";
/// Export of a sealed module, `i32` and constant: the number of the table that says what work costs.
pub const COST_TABLE: &str = "manyhands_cost_table";
/// The low bits of the meter that count the stack that is left, in units of 16 bytes. The highest of
/// them is set when it went below zero.
pub const METER_STACK_BITS: u32 = 16;
/// Cause: out of fuel.
pub const CAUSE_FUEL: i32 = 1;
/// Cause: out of stack.
pub const CAUSE_STACK: i32 = 2;
/// Cause: the engine refused memory that the job may use. The machine's fault, never a verdict.
pub const CAUSE_MEMORY: i32 = 3;

/// `input_len() -> bytes`
pub const INPUT_LEN: &str = "input_len";
/// `input_read(to, offset, bytes)`
pub const INPUT_READ: &str = "input_read";
/// `seed_read(to)`
pub const SEED_READ: &str = "seed_read";
/// `output_write(from, bytes)`
pub const OUTPUT_WRITE: &str = "output_write";
/// `log(level, from, bytes)`
pub const LOG: &str = "log";
/// `progress(permille)`
pub const PROGRESS: &str = "progress";
/// `abort(code, from, bytes)`, does not return
pub const ABORT: &str = "abort";
/// `call_all(from, bytes) -> bytes` of the answers; does not return before they exist
pub const CALL: &str = "call_all";
/// `answer_read(to, offset, bytes)`
pub const ANSWER_READ: &str = "answer_read";

/// A function that a job may import. All parameters and results are `i32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Import {
    /// Its name in [`NAMESPACE`].
    pub name: &'static str,
    /// How many parameters it takes.
    pub params: usize,
    /// How many results it gives.
    pub results: usize,
}

/// Everything that a job may import. There is no clock, no randomness but the seed, no file, no socket.
pub const IMPORTS: &[Import] = &[
    Import { name: INPUT_LEN, params: 0, results: 1 },
    Import { name: INPUT_READ, params: 3, results: 0 },
    Import { name: SEED_READ, params: 1, results: 0 },
    Import { name: OUTPUT_WRITE, params: 2, results: 0 },
    Import { name: LOG, params: 3, results: 0 },
    Import { name: PROGRESS, params: 1, results: 0 },
    Import { name: ABORT, params: 3, results: 0 },
    Import { name: CALL, params: 2, results: 1 },
    Import { name: ANSWER_READ, params: 3, results: 0 },
];

/// `abort` code: the job returned an error.
pub const ABORT_ERROR: u32 = 1;
/// `abort` code: the job panicked.
pub const ABORT_PANIC: u32 = 2;
/// `abort` code, used by the runtime itself: the output is longer than the manifest grants.
pub const ABORT_OUTPUT: u32 = 3;
/// `abort` code, used by the runtime itself: the job asks for more calls than it may, or for too much at once.
pub const ABORT_CALLS: u32 = 4;
/// `abort` codes from here on are the author's own.
pub const ABORT_CUSTOM_MIN: u32 = 16;

/// Bytes of an abort's message that are kept.
pub const ABORT_MESSAGE_BYTES_MAX: usize = 4096;
/// Bytes of log text that are kept of one execution.
pub const LOG_BYTES_MAX: usize = 64 << 10;
/// Bytes of the seed.
pub const SEED_BYTES: usize = 32;
/// The largest module that can be published, in bytes.
pub const MODULE_BYTES_MAX: usize = 16 << 20;
/// The largest input of a unit, in bytes.
pub const INPUT_BYTES_MAX: usize = 16 << 20;
/// What a job may say in one request for calls, in bytes.
pub const CALLS_BYTES_MAX: usize = 256 << 10;
/// How often one execution may ask for calls.
pub const CALLS_MAX: usize = 1_000;
/// Outputs that one reduce step combines at most.
pub const REDUCE_FAN_IN: usize = 32;
