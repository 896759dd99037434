//! Frames of parts, as a reduce step reads them inside the sandbox.

use manyhands_abi::parts;

use crate::promise;

/// Runs the target.
pub fn run(frame: &[u8]) -> bool {
    // A part is a slice, four times as long as the four bytes of an empty part.
    let Ok(parts) = promise::bounded(frame.len(), || parts::decode(frame)) else { return false };
    assert_eq!(parts::encode(parts.into_iter()), frame, "another frame has the same parts");
    true
}

/// None, one, several.
pub fn seeds() -> Vec<Vec<u8>> {
    let all: [&[u8]; 3] = [b"one", b"", b"three"];
    (0..=all.len()).map(|count| parts::encode(all.iter().copied().take(count))).collect()
}
