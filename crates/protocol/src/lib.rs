//! What workers and the coordinator say to each other.
//!
//! [`statement`] holds what is signed and kept as evidence; [`message`] holds what travels over one
//! WebSocket connection, one postcard message a binary frame. The version of both is in the WebSocket
//! subprotocol [`SUBPROTOCOL`]; a side that does not know it does not connect.
//!
//! ```text
//! worker                                   coordinator
//!   │ ◀─ Challenge: nonce, trust list ────────── │
//!   │ ── Hello: key, signed nonce, slots ──────▶ │
//!   │ ◀─ Welcome (or Refused: why, when again) ─ │
//!   │ ── Want n ───────────────────────────────▶ │
//!   │ ◀─ Grant: signed leases, inputs ────────── │
//!   │ ── Done: signed reports, outputs ────────▶ │
//!   │ ◀─ Receipts, once they are on disk ─────── │
//! ```

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bounded;
pub mod message;
pub mod statement;

pub use crate::message::{
    Balance, Body, Challenge, ClientMessage, DecodeError, Done, Grant, Hello, Invitation, Receipt, ServerMessage,
    Settlement, Welcome, decode, encode,
};
pub use crate::statement::{
    Entry, Greeting, LEASES_MAX, Lease, Leases, Publication, REPORTS_BYTES_MAX, Release, Report, Reports, Task, Ticket,
};

/// The WebSocket subprotocol (RFC 6455, 1.9) of this version.
pub const SUBPROTOCOL: &str = "manyhands.worker.v1";

/// The longest frame that either side accepts: the largest input or output, with others and its envelope.
pub const FRAME_BYTES_MAX: usize = (16 << 20) + (1 << 20);
