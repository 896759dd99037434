//! Bodies of submissions, in both framings, arriving in pieces.
//!
//! `framing | lengths of the pieces, to a zero | body`. The pieces come round again until the body ends.

use manyhands_coordinator::inputs::{BadBody, Framing, Splitter};

use crate::promise;

/// Longest input; short, so that the limit is within a fuzzer's reach.
const INPUT_BYTES_MAX: usize = 100;

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let [framing, rest @ ..] = bytes else { return false };
    let framing = if framing % 2 == 0 { Framing::Lines } else { Framing::Frames };
    let Some(zero) = rest.iter().position(|byte| *byte == 0) else { return false };
    let (lengths, body) = (&rest[..zero], &rest[zero + 1..]);

    let whole = split(framing, &[body]);
    let mut pieces = Vec::new();
    let mut left = body;
    for length in lengths.iter().cycle().take_while(|_| !lengths.is_empty()) {
        let (piece, after) = left.split_at(left.len().min((*length).into()));
        pieces.push(piece);
        left = after;
        if left.is_empty() {
            break;
        }
    }
    if !left.is_empty() {
        pieces.push(left);
    }
    let inputs = split(framing, &pieces);
    assert_eq!(inputs, whole, "the pieces make a difference");
    let Ok(inputs) = inputs else { return false };
    assert!(inputs.iter().all(|input| input.len() <= INPUT_BYTES_MAX), "an input is too long");
    let written = write(framing, &inputs);
    assert_eq!(split(framing, &[&written]), Ok(inputs), "other inputs came back");
    assert!(framing == Framing::Lines || written == body, "two bodies with the same inputs");
    true
}

/// Both framings, whole, in pieces, and with each mistake.
pub fn seeds() -> Vec<Vec<u8>> {
    let frames = write(Framing::Frames, &[b"one".to_vec(), Vec::new(), b"three".to_vec()]);
    [
        [&[0, 0][..], b"{\"lat\":1}\r\n\n  two  \nthree"].concat(),
        [&[0, 1, 7, 0][..], b"{\"lat\":1}\r\n\n  two  \nthree\n"].concat(),
        [&[1, 0], &*frames].concat(),
        [&[1, 3, 5, 0], &*frames].concat(),
        vec![0, 0],
    ]
    .into()
}

fn split(framing: Framing, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, BadBody> {
    let mut splitter = Splitter::new(framing, INPUT_BYTES_MAX);
    let mut inputs = Vec::new();
    for piece in pieces {
        let found = promise::bounded(piece.len(), || {
            splitter.push(piece);
            let mut found = Vec::new();
            while let Some(input) = splitter.next_input()? {
                found.push(input);
            }
            Ok(found)
        });
        inputs.extend(found?.into_iter().map(|input| input.to_vec()));
    }
    inputs.extend(splitter.finish()?.map(|input| input.to_vec()));
    Ok(inputs)
}

fn write(framing: Framing, inputs: &[Vec<u8>]) -> Vec<u8> {
    let write = |input: &Vec<u8>| match framing {
        Framing::Lines => [input, &b"\n"[..]].concat(),
        Framing::Frames => [&(input.len() as u32).to_le_bytes()[..], input].concat(),
    };
    inputs.iter().flat_map(write).collect()
}
