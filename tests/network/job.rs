//! The one job of this world: what it answers, and what liars say instead.

use bytes::Bytes;
use manyhands_abi::parts;
use manyhands_model::{Digest, Fuel, Outcome, Verdict};
use manyhands_protocol::Entry;

/// Input on which the job fails, for everybody in the same way.
pub(crate) const BAD: &[u8] = b"bad";

/// What the job answers, bit by bit the same wherever it is executed.
pub(crate) fn execute(entry: Entry, input: &[u8], seed: &[u8; 32]) -> (Outcome, Bytes) {
    let fuel = Fuel(1_000 + input.len() as u64);
    let verdict = |verdict| Outcome { verdict, fuel };
    let output = match entry {
        Entry::Run if input == BAD => {
            return (verdict(Verdict::Aborted { code: 1, message: "bad input".into() }), Bytes::new());
        }
        Entry::Run => Digest::of_parts([&b"run"[..], input, seed]),
        Entry::Reduce => match parts::decode(input) {
            Ok(parts) => Digest::of_parts([&b"reduce"[..]].into_iter().chain(parts)),
            Err(_) => return (verdict(Verdict::Trap), Bytes::new()),
        },
    };
    let output = Bytes::copy_from_slice(&output.as_bytes()[..8]);
    let (digest, output_bytes) = (Digest::of(&output), output.len() as u64);
    (verdict(Verdict::Ok { output: digest, output_bytes }), output)
}

/// What liars say: the same lie for all who are in league, another for everybody else.
pub(crate) fn lie(league: u64, input: &[u8]) -> (Outcome, Bytes) {
    let output = Bytes::copy_from_slice(&Digest::of_parts([&b"lie"[..], &league.to_le_bytes(), input]).as_bytes()[..8]);
    let verdict = Verdict::Ok { output: Digest::of(&output), output_bytes: output.len() as u64 };
    (Outcome { verdict, fuel: Fuel(7) }, output)
}
