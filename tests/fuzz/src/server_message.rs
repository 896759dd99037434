//! Frames from the coordinator, as a worker reads them.

use manyhands_protocol::{ServerMessage, encode};

use crate::{example, promise};

/// Runs the target.
pub fn run(frame: &[u8]) -> bool {
    promise::message::<ServerMessage>(frame).is_some()
}

/// One of each message.
pub fn seeds() -> Vec<Vec<u8>> {
    example::server_messages().iter().map(encode).collect()
}
