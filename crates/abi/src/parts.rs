//! The input of a reduce step: the outputs of several units in one piece.
//!
//! A little-endian `u32` with the number of parts, then for each part its length as a little-endian
//! `u32` and its bytes.

use alloc::vec::Vec;

/// Why some bytes are not a frame of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not a frame of parts: lengths and bytes do not fit")
    }
}

impl core::error::Error for Malformed {}

/// Puts `parts` into one piece. Each is at most 4 GiB, which every limit is far below.
pub fn encode<'a>(parts: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&(parts.len() as u32).to_le_bytes());
    for part in parts {
        frame.extend_from_slice(&(part.len() as u32).to_le_bytes());
        frame.extend_from_slice(part);
    }
    frame
}

/// Takes `frame` apart again, without copying.
///
/// # Errors
/// [`Malformed`] when a length points outside or bytes are left over.
pub fn decode(frame: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let (count, mut rest) = take_u32(frame)?;
    // A count that lies must not allocate: each part takes at least its length.
    if count > rest.len() / 4 {
        return Err(Malformed);
    }
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, after) = take_u32(rest)?;
        let (part, after) = after.split_at_checked(len).ok_or(Malformed)?;
        parts.push(part);
        rest = after;
    }
    if rest.is_empty() { Ok(parts) } else { Err(Malformed) }
}

fn take_u32(bytes: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
    Ok((u32::from_le_bytes(*head) as usize, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_and_every_cut_is_noticed() {
        let parts: [&[u8]; 3] = [b"one", b"", b"three"];
        let frame = encode(parts.iter().copied());
        assert_eq!(decode(&frame).as_deref(), Ok(&parts[..]));
        assert_eq!(decode(&encode([].into_iter())).as_deref(), Ok(&[][..]));
        for cut in 0..frame.len() {
            assert_eq!(decode(&frame[..cut]), Err(Malformed), "cut at {cut}");
        }
        assert_eq!(decode(&[frame, alloc::vec![0]].concat()), Err(Malformed));
    }

    #[test]
    fn attack_27_a_count_that_lies_allocates_nothing() {
        assert_eq!(decode(&u32::MAX.to_le_bytes()), Err(Malformed));
    }
}
