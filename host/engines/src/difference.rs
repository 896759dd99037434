//! What two executions of one unit differ in, for people.

use std::fmt::Write as _;

use crate::Executed;

/// Bytes of each output that are shown around the first that differs, and before it at most.
const CONTEXT_BYTES: usize = 16;

/// A sentence, or none where the two are equal in everything that is compared.
pub fn difference(ours: (&str, &Executed), theirs: (&str, &Executed)) -> Option<String> {
    let ((our_name, ours), (their_name, theirs)) = (ours, theirs);
    let mut parts = Vec::new();
    let (our_word, their_word) = (ours.outcome.verdict.word(), theirs.outcome.verdict.word());
    if our_word != their_word {
        parts.push(format!("{our_name} ended as {our_word}, {their_name} as {their_word}"));
    } else if ours.outcome.verdict != theirs.outcome.verdict && !ours.outcome.verdict.is_ok() {
        parts.push(format!("{our_name}: {}; {their_name}: {}", ours.outcome.verdict, theirs.outcome.verdict));
    }
    if ours.outcome.fuel != theirs.outcome.fuel {
        let (ours, theirs) = (ours.outcome.fuel.0, theirs.outcome.fuel.0);
        parts.push(format!("{our_name} used {ours} fuel, {their_name} {theirs}"));
    }
    if ours.output != theirs.output {
        parts.push(format!("outputs differ {}", first_byte((our_name, &ours.output), (their_name, &theirs.output))));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Where two outputs begin to differ, and what stands there.
pub fn first_byte(ours: (&str, &[u8]), theirs: (&str, &[u8])) -> String {
    let at = ours.1.iter().zip(theirs.1).position(|(a, b)| a != b).unwrap_or(ours.1.len().min(theirs.1.len()));
    let from = at - at % CONTEXT_BYTES;
    let mut text = format!("from byte {at} on");
    for (name, output) in [ours, theirs] {
        let shown = &output[from.min(output.len())..(from + CONTEXT_BYTES).min(output.len())];
        let bytes: Vec<_> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = if bytes.is_empty() { "nothing".to_owned() } else { bytes.join(" ") };
        let _written = write!(text, "; {name} has {bytes} at {from} of {}", output.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_model::{Digest, Fuel, Outcome, Verdict};

    fn executed(output: &[u8], fuel: u64) -> Executed {
        let verdict = Verdict::Ok { output: Digest::of(output), output_bytes: output.len() as u64 };
        Executed { outcome: Outcome { verdict, fuel: Fuel(fuel) }, output: output.to_vec(), logs: Vec::new() }
    }

    #[test]
    fn the_first_byte_that_differs_is_shown_where_it_stands() {
        let (mut ours, theirs) = (executed(&[7; 20], 5), executed(&[7; 20], 6));
        ours.output[18] = 0xff;
        let text = difference(("node", &ours), ("wasmtime", &theirs)).expect("a difference");
        assert_eq!(
            text,
            "node used 5 fuel, wasmtime 6; outputs differ from byte 18 on; node has 07 07 ff 07 at 16 of 20; \
             wasmtime has 07 07 07 07 at 16 of 20"
        );
        assert_eq!(difference(("node", &theirs), ("wasmtime", &theirs)), None);
        assert!(first_byte(("a", b"x"), ("b", b"")).ends_with("b has nothing at 0 of 0"));
    }
}
