//! Frames from a worker, as the coordinator reads them.

use manyhands_protocol::{ClientMessage, encode};

use crate::{example, promise};

/// Runs the target.
pub fn run(frame: &[u8]) -> bool {
    let Some(written) = promise::message::<ClientMessage>(frame) else { return false };
    // One message has one form, but for numbers that were written longer than need be.
    assert!(written.len() < frame.len() || written == frame, "two forms of one message");
    true
}

/// One of each message.
pub fn seeds() -> Vec<Vec<u8>> {
    example::client_messages().iter().map(encode).collect()
}
