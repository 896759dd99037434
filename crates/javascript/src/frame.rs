//! What an engine is asked and answers, byte by byte; all numbers are little-endian.
//!
//! ```text
//! load:    1, the module            reply: nothing, or why the engine does not take it
//! execute: 2, u8 entry (0 run, 1 reduce), u32 step, i64 fuel, u64 output bytes at most, 32 bytes of seed, the input
//!          reply: u8 stop, i64 meter, i32 cause, u32 code, u32 message bytes, u32 log bytes,
//!                 the message, the log (for each line u8 level, u32 length, text), the output
//! ```
//!
//! `stop` says how the call came back: 0 it returned, 1 trapped, 2 aborted, 3 wrote more than it may, 4 the
//! engine gave up, 5 it asks for calls (the output is the request), 6 in a request that is too long, 7 too often. From
//! step 1 on the input is a frame of `manyhands_abi::parts`: the input, and the answers to so many requests.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use manyhands_abi::{ABORT_CALLS, ABORT_OUTPUT, text};
use manyhands_model::{Digest, Limits, Verdict};
use manyhands_protocol::Entry;
use manyhands_verifier::ending::{self, Stop};

use crate::{Executed, Unanswered, Unit};

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
    frame.extend(unit.step.to_le_bytes());
    frame.extend(unit.limits.fuel.0.to_le_bytes());
    frame.extend(unit.limits.output_bytes.to_le_bytes());
    frame.extend(unit.seed);
    frame.extend(unit.input);
    frame
}

/// What the reply to [`execute`] means, under these limits.
///
/// # Errors
/// [`Unanswered`].
pub fn executed(limits: &Limits, reply: &[u8]) -> Result<Executed, Unanswered> {
    Raw::read(reply).ok_or(Unanswered::Unreadable)?.judge(limits)
}

/// How an execution ended, as an engine tells it.
pub struct Raw<'a> {
    /// How the call came back, such as [`RETURNED`].
    pub stop: u8,
    /// The module's meter then.
    pub meter: i64,
    /// The module's cause then.
    pub cause: i32,
    /// The abort's code, if that was it.
    pub code: u32,
    /// The abort's message, or what the engine said.
    pub message: &'a [u8],
    /// Level and text of what was logged.
    pub logs: Vec<(u8, String)>,
    /// What was written.
    pub output: &'a [u8],
}

/// The call returned.
pub const RETURNED: u8 = 0;
/// The module trapped.
pub const TRAPPED: u8 = 1;
/// The module called `abort`.
pub const ABORTED: u8 = 2;
/// The module wrote more than it may.
pub const OUTPUT_TOO_LONG: u8 = 3;
/// The engine gave up.
pub const ENGINE: u8 = 4;
/// The module asks for calls.
pub const CALLED: u8 = 5;
/// The module asks for too much at once.
pub const CALLS_TOO_LONG: u8 = 6;
/// The module asks too often.
pub const TOO_MANY_CALLS: u8 = 7;

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
        (stop <= TOO_MANY_CALLS).then_some(Self { stop, meter, cause, code, message, logs, output: rest.0 })
    }

    /// What that means, under these limits.
    ///
    /// # Errors
    /// [`Unanswered::NoOutcome`].
    pub fn judge(self, limits: &Limits) -> Result<Executed, Unanswered> {
        let stop = match self.stop {
            RETURNED => {
                Stop::Known(Verdict::Ok { output: Digest::of(self.output), output_bytes: self.output.len() as u64 })
            }
            TRAPPED => Stop::Trapped,
            ABORTED => Stop::Known(Verdict::Aborted { code: self.code, message: text::clean(self.message) }),
            OUTPUT_TOO_LONG => Stop::Known(Verdict::Aborted {
                code: ABORT_OUTPUT,
                message: text::output_too_long(limits.output_bytes),
            }),
            CALLED => {
                Stop::Known(Verdict::Called { calls: Digest::of(self.output), calls_bytes: self.output.len() as u64 })
            }
            CALLS_TOO_LONG => Stop::Known(Verdict::Aborted { code: ABORT_CALLS, message: text::calls_too_long() }),
            TOO_MANY_CALLS => Stop::Known(Verdict::Aborted { code: ABORT_CALLS, message: text::too_many_calls() }),
            _ => Stop::Engine,
        };
        let outcome = ending::outcome(limits.fuel, stop, self.meter, self.cause)
            .map_err(|cause| Unanswered::NoOutcome { cause, said: text::clean(self.message) })?;
        let output = if outcome.verdict.content().is_some() { self.output.to_vec() } else { Vec::new() };
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

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use manyhands_model::Fuel;

    use super::*;

    const LIMITS: Limits = Limits { fuel: Fuel(100), memory_bytes: 1 << 16, output_bytes: 8, wall_ms: 1000 };

    /// A reply that says `stop`, with a message of three bytes, a line of two and an output of four.
    fn reply(stop: u8) -> Vec<u8> {
        let meter = ending::granted(0, Fuel(60)).to_le_bytes();
        let lengths = [3_u32, 7].map(u32::to_le_bytes).concat();
        let log = [&[2][..], &2_u32.to_le_bytes(), b"hi"].concat();
        [&[stop][..], &meter, &[0; 4], &[5, 0, 0, 0], &lengths, b"why", &log, b"text"].concat()
    }

    #[test]
    fn each_way_to_stop_has_its_meaning() {
        let executed = |stop| executed(&LIMITS, &reply(stop));
        let done = executed(RETURNED).expect("an outcome");
        assert_eq!((done.output.as_slice(), done.outcome.fuel), (&b"text"[..], Fuel(40)));
        assert_eq!(done.logs, [(2, "hi".to_owned())]);
        assert_eq!(executed(TRAPPED).expect("an outcome").outcome.verdict, Verdict::Trap);
        let aborted = executed(ABORTED).expect("an outcome");
        assert_eq!(aborted.outcome.verdict, Verdict::Aborted { code: 5, message: "why".into() });
        assert!(aborted.output.is_empty());
        let long = executed(OUTPUT_TOO_LONG).expect("an outcome").outcome.verdict;
        assert!(matches!(long, Verdict::Aborted { code: ABORT_OUTPUT, .. }), "{long:?}");
        let called = executed(CALLED).expect("an outcome");
        assert_eq!(called.outcome.verdict.content(), Some((Digest::of(b"text"), 4)));
        assert_eq!(called.output, b"text");
        for (stop, said) in [(CALLS_TOO_LONG, "longer"), (TOO_MANY_CALLS, "more than 1000 times")] {
            let refused = executed(stop).expect("an outcome").outcome.verdict;
            assert!(matches!(&refused, Verdict::Aborted { code: ABORT_CALLS, message } if message.contains(said)));
        }
        let gone = executed(ENGINE).expect_err("the engine gave up");
        assert_eq!(gone.to_string(), "the engine gave up: why");
    }

    #[test]
    fn attack_27_no_reply_is_read_beyond_its_end() {
        let whole = reply(RETURNED);
        for cut in 0..whole.len() - 4 {
            assert_eq!(executed(&LIMITS, &whole[..cut]), Err(Unanswered::Unreadable), "{cut}");
        }
        assert_eq!(executed(&LIMITS, &reply(TOO_MANY_CALLS + 1)), Err(Unanswered::Unreadable));
        for at in 17..25 {
            let mut lies = whole.clone();
            lies[at] = 0xff;
            assert_eq!(executed(&LIMITS, &lies), Err(Unanswered::Unreadable), "{at}");
        }
    }
}
