//! What more than one target promises.

use std::fmt::Debug;

use manyhands_protocol::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that a decoder may take whatever it is given. From attack 27 of the threat list.
const FREE_BYTES: u64 = 64 << 10;
/// And this many for each byte of its input.
const BYTES_PER_BYTE: u64 = 4;

/// Runs `decode` over `input_bytes` bytes, and fails if at any moment it held more memory than four times
/// those and 64 KiB.
pub fn bounded<T>(input_bytes: usize, decode: impl FnOnce() -> T) -> T {
    bounded_by(BYTES_PER_BYTE * input_bytes as u64 + FREE_BYTES, decode)
}

/// Runs `decode`, and fails if at any moment it held more memory than `bytes_max`.
pub fn bounded_by<T>(bytes_max: u64, decode: impl FnOnce() -> T) -> T {
    let mut decoded = None;
    let held = allocation_counter::measure(|| decoded = Some(decode())).bytes_max;
    assert!(held <= bytes_max, "{held} bytes allocated; at most {bytes_max} are promised");
    decoded.unwrap()
}

/// A frame of the workers' protocol: if it is a message, then that message survives being written, and nothing
/// may stand behind it. Returns what is written.
pub fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(frame: &[u8]) -> Option<Vec<u8>> {
    let message = bounded(frame.len(), || decode::<T>(frame)).ok()?;
    let written = encode(&message);
    assert_eq!(decode::<T>(&written).as_ref(), Ok(&message), "another message came back");
    assert!(decode::<T>(&[frame, b"\0"].concat()).is_err(), "{message:?} with something behind it is a message too");
    Some(written)
}
