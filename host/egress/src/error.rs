use std::io;
use std::net::{IpAddr, SocketAddr};

use http::StatusCode;
use manyhands_addresses::{Origin, Row};

/// Why a call has no answer. For the operator's eyes: workers get [`EgressError::public`].
///
/// Nothing of the request is in it but its origin, and nothing that the other end wrote.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {why}")]
pub struct EgressError {
    /// Whom the call was for.
    pub origin: Origin,
    /// Whether the request may have left.
    pub sent: Sent,
    /// What went wrong.
    pub why: Why,
}

/// Whether a request may have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// No byte of it did. It can be tried again, whatever its effect.
    Never,
    /// The first byte of it was given to the connection; nobody knows what became of it.
    Perhaps,
    /// It was answered with this status, and only the rest of the answer is of no use.
    Answered(StatusCode),
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The scheme is http, which only origins that the operator allows may have.
    #[error("calls go out in clear only to origins that are allowed by name; use https, or allow this one")]
    Clear,
    /// One of the origin's addresses is not on the public internet.
    #[error("{address} is not on the public internet but in {row}; if that is meant, allow the origin by name")]
    Special {
        /// The address.
        address: IpAddr,
        /// The range in which it is, or that which it embeds.
        row: &'static Row,
    },
    /// It is this coordinator, or this computer.
    #[error("{0} is this computer itself; if that is meant, allow the origin by name")]
    Own(SocketAddr),
    /// Its name was not found.
    #[error("the name cannot be looked up: {0}")]
    Unresolved(io::Error),
    /// Its name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// None of its addresses takes a connection.
    #[error("{0} takes no connection: {1}")]
    Unreachable(SocketAddr, io::Error),
    /// The connection went to another address than the one that was dialled.
    #[error("the connection to {dialled} ended up at {peer}")]
    Peer {
        /// The address that was dialled.
        dialled: SocketAddr,
        /// Whom the operating system says the connection is to.
        peer: SocketAddr,
    },
    /// TLS was not agreed upon.
    #[error("no trusted TLS connection: {0}")]
    Tls(io::Error),
    /// A part of the call took longer than it may.
    #[error("{0} took longer than allowed")]
    TooSlow(Phase),
    /// More came than may.
    #[error("the answer has more {0} than allowed")]
    TooMuch(Excess),
    /// The connection ended too early, or what came over it is no HTTP/1.1.
    #[error("the connection broke, or the answer is no HTTP/1.1: {0}")]
    Broken(hyper::Error),
    /// The other end wants to speak another protocol.
    #[error("the answer is a change of protocol, which was not asked for")]
    Switched,
    /// The body is in a coding that is not taken.
    #[error("the body is encoded, which was not asked for, in another way than once by gzip")]
    Encoded,
    /// The body says gzip and is none, or ends too early.
    #[error("the body is no gzip")]
    Corrupt,
}

/// A part of a call that has a time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Up to a connection.
    Connect,
    /// From there to the answer's head.
    FirstByte,
    /// All of it.
    Total,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::FirstByte => "the beginning of the answer",
            Self::Total => "the call",
        })
    }
}

/// What there can be too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Fields in its head, or bytes of them.
    Head,
    /// Bytes as they come.
    Wire,
    /// Bytes of the decoded body.
    Decoded,
    /// Bytes of the decoded body for each that came.
    Expansion,
}

impl std::fmt::Display for Excess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Head => "head",
            Self::Wire => "bytes",
            Self::Decoded => "decoded bytes",
            Self::Expansion => "decoded bytes for each byte received",
        })
    }
}

/// What a worker may know: one of few words, the same for every origin, address and secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It was not performed.
    Refused,
    /// There was no answer in time.
    TimedOut,
    /// Nobody knows whether it was performed.
    Unknown,
    /// There is an answer, which is kept back.
    Withheld,
}

impl EgressError {
    /// What a worker may know of it.
    #[must_use]
    pub fn public(&self) -> Fault {
        match (self.sent, &self.why) {
            (Sent::Answered(_), _) => Fault::Withheld,
            (_, Why::TooSlow(_)) => Fault::TimedOut,
            (Sent::Perhaps, _) => Fault::Unknown,
            (Sent::Never, _) => Fault::Refused,
        }
    }
}

/// Why there is no way out. The operator's fault.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A certificate of the settings cannot be used.
    #[error("root certificate number {number} cannot be used; give DER certificates of authorities")]
    Root {
        /// Which of them, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The TLS library and its cipher suites do not fit.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}
