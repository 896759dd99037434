//! What a process that executes modules is asked and answers, byte by byte; all numbers are little-endian.
//!
//! ```text
//! load:    1, the module            reply: nothing, or why the engine does not take it
//! execute: 2, u8 entry (0 run, 1 reduce), i64 fuel, u64 output bytes at most, 32 bytes of seed, the input
//!          reply: u8 stop, i64 meter, i32 cause, u32 code, u32 message bytes, u32 log bytes,
//!                 the message, the log (for each line u8 level, u32 length, text), the output
//! ```
//!
//! `stop` says how the call came back: 0 it returned, 1 trapped, 2 aborted, 3 wrote more than it may, 4 the
//! engine gave up.

use manyhands_abi::{ABORT_OUTPUT, text};
use manyhands_model::{Digest, Verdict};
use manyhands_protocol::Entry;
use manyhands_verifier::ending::{self, Stop};

use crate::{Executed, Failure, Unit};

/// The request to load a module.
pub fn load(sealed: &[u8]) -> Vec<u8> {
    [&[1], sealed].concat()
}

/// The request to execute a unit.
pub fn execute(unit: &Unit<'_>) -> Vec<u8> {
    let entry = match unit.entry {
        Entry::Run => 0,
        Entry::Reduce => 1,
    };
    let mut frame = vec![2, entry];
    frame.extend(unit.limits.fuel.0.to_le_bytes());
    frame.extend(unit.limits.output_bytes.to_le_bytes());
    frame.extend(unit.seed);
    frame.extend(unit.input);
    frame
}

/// What the reply to [`execute`] means.
///
/// # Errors
/// [`Failure::Gone`] when it is no such reply, [`Failure::NoOutcome`] when it tells of none.
pub fn executed(unit: &Unit<'_>, reply: &[u8]) -> Result<Executed, Failure> {
    let raw = Raw::read(reply).ok_or_else(|| Failure::Gone("its reply cannot be read".into()))?;
    raw.judge(unit)
}

/// How an execution ended, as an engine tells it.
pub(crate) struct Raw<'a> {
    pub(crate) stop: u8,
    pub(crate) meter: i64,
    pub(crate) cause: i32,
    pub(crate) code: u32,
    pub(crate) message: &'a [u8],
    pub(crate) logs: Vec<(u8, String)>,
    pub(crate) output: &'a [u8],
}

pub(crate) const RETURNED: u8 = 0;
pub(crate) const TRAPPED: u8 = 1;
pub(crate) const ABORTED: u8 = 2;
pub(crate) const OUTPUT_TOO_LONG: u8 = 3;
pub(crate) const ENGINE: u8 = 4;

impl<'a> Raw<'a> {
    fn read(reply: &'a [u8]) -> Option<Self> {
        let mut rest = Rest(reply);
        let [stop] = rest.array()?;
        let meter = i64::from_le_bytes(rest.array()?);
        let cause = i32::from_le_bytes(rest.array()?);
        let code = u32::from_le_bytes(rest.array()?);
        let message_bytes = rest.length()?;
        let log_bytes = rest.length()?;
        let message = rest.bytes(message_bytes)?;
        let mut log = Rest(rest.bytes(log_bytes)?);
        let mut logs = Vec::new();
        while !log.0.is_empty() {
            let [level] = log.array()?;
            let length = log.length()?;
            logs.push((level, text::clean(log.bytes(length)?)));
        }
        (stop <= ENGINE).then_some(Self { stop, meter, cause, code, message, logs, output: rest.0 })
    }

    pub(crate) fn judge(self, unit: &Unit<'_>) -> Result<Executed, Failure> {
        let stop = match self.stop {
            RETURNED => {
                Stop::Known(Verdict::Ok { output: Digest::of(self.output), output_bytes: self.output.len() as u64 })
            }
            TRAPPED => Stop::Trapped,
            ABORTED => Stop::Known(Verdict::Aborted { code: self.code, message: text::clean(self.message) }),
            OUTPUT_TOO_LONG => Stop::Known(Verdict::Aborted {
                code: ABORT_OUTPUT,
                message: text::output_too_long(unit.limits.output_bytes),
            }),
            _ => Stop::Engine,
        };
        let outcome = ending::outcome(unit.limits.fuel, stop, self.meter, self.cause)
            .map_err(|cause| Failure::NoOutcome { cause, said: text::clean(self.message) })?;
        let output = if outcome.verdict.is_ok() { self.output.to_vec() } else { Vec::new() };
        Ok(Executed { outcome, output, logs: self.logs })
    }
}

/// Bytes that are still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }
}
