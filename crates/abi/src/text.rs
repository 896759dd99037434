//! Texts that are part of an outcome, so that every runtime words them alike.

use alloc::format;
use alloc::string::String;

/// The text in `bytes`, which may end inside a character, at most as long as they are.
pub fn clean(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // One replacement for all bytes that are none; three bytes long, so only where it fits.
        if chunk.invalid().len() >= char::REPLACEMENT_CHARACTER.len_utf8() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// What [`crate::ABORT_CALLS`] says of a request that is too long.
pub fn calls_too_long() -> String {
    format!("the request for calls is longer than {} bytes; ask for fewer at once", crate::CALLS_BYTES_MAX)
}

/// What [`crate::ABORT_CALLS`] says of one request too many.
pub fn too_many_calls() -> String {
    format!("the job asks for calls more than {} times; ask for several at once", crate::CALLS_MAX)
}

/// What [`crate::ABORT_OUTPUT`] says where an output may have `most` bytes.
pub fn output_too_long(most: u64) -> String {
    format!("the output is longer than {most} bytes; raise `limits.output_bytes` in the manifest")
}
