//! What travels over one connection.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;
use manyhands_model::{LeaseId, Timestamp, UnitId};
use manyhands_signing::{Claims, PublicKey, Signed, TrustList};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::FRAME_BYTES_MAX;
use crate::bounded::at_most;
use crate::statement::{Greeting, LEASES_MAX, Leases, Release, Reports};

/// Leases that one message names at most: more than one worker ever holds.
pub const LIST_MAX: usize = 4096;

/// The coordinator's first words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// To be signed by the worker.
    #[serde(deserialize_with = "manyhands_model::array::deserialize")]
    pub nonce: [u8; 32],
    /// The coordinator's root key; the worker knows its fingerprint from the join link.
    pub root: PublicKey,
    /// Whom to believe from now on.
    pub trust: Signed<TrustList>,
    /// The coordinator's clock, for a worker that wants to say that its own is wrong.
    pub now: Timestamp,
}

/// What kind of body a worker has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The engine that executes, such as `wasmtime 48`.
    pub engine: String,
    /// The runtime around it, such as `manyhands-runner 0.1.0`.
    pub runtime: String,
}

/// A worker's first words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Proof that the worker holds its key.
    pub greeting: Signed<Greeting>,
    /// What it is.
    pub body: Body,
    /// How many units it executes at once.
    pub slots: u16,
    /// Whether somebody watches, who wants to know what became of its units.
    pub is_watched: bool,
    /// What it was invited with, until it has been let in with that.
    pub invitation: Option<Invitation>,
}

/// What an operator gave to somebody whose workers may join: a secret, which is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation(pub String);

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitation(..)")
    }
}

/// The coordinator takes the worker on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Send something, at least a ping, this often; three times silent means gone.
    pub heartbeat: Duration,
}

/// Units to execute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Permission, for this worker alone.
    pub leases: Signed<Leases>,
    /// The module's release, once per connection and job. The module itself is at
    /// `/v1/modules/{digest}`, for anybody to cache.
    pub release: Option<Signed<Release>>,
    /// The inputs, one for each lease, in their order.
    #[serde(deserialize_with = "at_most::<LEASES_MAX, _, _>")]
    pub inputs: Vec<Bytes>,
}

/// Units that were executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The worker's word.
    pub reports: Signed<Reports>,
    /// The outputs, one for each report, in their order; empty unless the verdict is `Ok`.
    #[serde(deserialize_with = "at_most::<LEASES_MAX, _, _>")]
    pub outputs: Vec<Bytes>,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// It is on disk and counts. The worker may forget it.
    Recorded,
    /// It arrived before, and counts once. The worker may forget it.
    AlreadyRecorded,
    /// It counts for nothing, for this reason. The worker may forget it.
    Refused(String),
}

/// What became of a unit that a worker executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settlement {
    /// The worker's outcome is the unit's answer.
    Agreed {
        /// How many other workers came to the same.
        others: u16,
    },
    /// Another outcome is the unit's answer.
    Contradicted,
}

/// What a worker has earned, and whether it should be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Points of fuel that it has earned so far, less what was taken back.
    pub fuel: u64,
    /// Answers of it that were not what other machines computed; 0 once that is so long ago that it is forgotten.
    pub contradicted: u64,
    /// Answers of it that were compared with anything.
    pub settled: u64,
}

/// From a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Answer to the challenge.
    Hello(Hello),
    /// The worker has room for this many more leases. Replaces what it said before.
    Want(u16),
    /// Units are executed.
    Done(Done),
    /// The machine, not the job, failed. Nothing is compared; the unit goes to somebody else.
    Failed {
        /// Which lease.
        lease: LeaseId,
        /// Why, for the operator; at most 1,000 characters are kept.
        reason: String,
    },
    /// A hint for people who watch.
    Progress {
        /// Which lease.
        lease: LeaseId,
        /// 0 to 1000.
        permille: u16,
    },
    /// The worker will not execute these after all.
    GiveBack(#[serde(deserialize_with = "at_most::<LIST_MAX, _, _>")] Vec<LeaseId>),
    /// Still here.
    Ping,
}

/// From the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// Prove who you are.
    Challenge(Challenge),
    /// You are in.
    Welcome(Welcome),
    /// You are not, or not any more.
    Refused {
        /// Why, in a sentence.
        reason: String,
        /// When to try again; never, if nothing is said.
        retry_after: Option<Duration>,
    },
    /// Units to execute.
    Grant(Grant),
    /// What became of reports, by the leases that they were under.
    Receipts(#[serde(deserialize_with = "at_most::<LIST_MAX, _, _>")] Vec<(LeaseId, Receipt)>),
    /// These need not be executed any more.
    Cancel(#[serde(deserialize_with = "at_most::<LIST_MAX, _, _>")] Vec<LeaseId>),
    /// Whom to believe from now on.
    Trust(Signed<TrustList>),
    /// What became of units, for a worker that somebody watches.
    Settled(#[serde(deserialize_with = "at_most::<LIST_MAX, _, _>")] Vec<(UnitId, Settlement)>),
    /// Still here.
    Pong,
    /// What the worker has earned, and whether it should be looked at. Said once in a while, where that has changed.
    Balance(Balance),
}

impl ServerMessage {
    /// The statements in it whose signatures somebody has to check.
    pub fn claims(&mut self) -> impl Iterator<Item = &mut dyn Claims> {
        let claims: [Option<&mut dyn Claims>; 2] = match self {
            Self::Challenge(challenge) => [Some(&mut challenge.trust), None],
            Self::Trust(list) => [Some(list), None],
            Self::Grant(grant) => [Some(&mut grant.leases), grant.release.as_mut().map(|release| release as _)],
            Self::Welcome(_) | Self::Refused { .. } | Self::Receipts(_) => [None, None],
            Self::Cancel(_) | Self::Settled(_) | Self::Balance(_) | Self::Pong => [None, None],
        };
        claims.into_iter().flatten()
    }
}

/// Why a frame is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes; at most {FRAME_BYTES_MAX} are accepted")]
    TooLong(usize),
    /// Not a message of this version.
    #[error("frame is not a message of protocol {protocol}", protocol = crate::SUBPROTOCOL)]
    Malformed,
}

/// The bytes of `message`.
#[expect(clippy::expect_used, reason = "postcard writes any message to a vector; there is nothing to handle")]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_allocvec(message).expect("a message has a length known in advance")
}

/// The message in `frame`, which must hold nothing else. Allocates at most a small multiple of the frame.
///
/// # Errors
/// [`DecodeError`].
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, DecodeError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(DecodeError::TooLong(frame.len()));
    }
    match postcard::take_from_bytes(frame) {
        Ok((message, [])) => Ok(message),
        _ => Err(DecodeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    #[test]
    fn a_message_survives_and_a_tail_or_a_cut_does_not() {
        let message = ClientMessage::Failed { lease: LeaseId([3; 16]), reason: "no memory".into() };
        let bytes = encode(&message);
        assert_eq!(decode(&bytes), Ok(message));
        assert_eq!(decode::<ClientMessage>(&[&bytes[..], b"x"].concat()), Err(DecodeError::Malformed));
        for cut in 0..bytes.len() {
            assert_eq!(decode::<ClientMessage>(&bytes[..cut]), Err(DecodeError::Malformed));
        }
    }

    #[test]
    fn attack_27_a_length_that_lies_allocates_nothing() {
        // GiveBack with a claimed 2^60 leases.
        let mut frame = vec![5, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
        frame.push(0);
        assert_eq!(decode::<ClientMessage>(&frame), Err(DecodeError::Malformed));
    }

    #[test]
    fn attack_27_a_list_ends_where_it_may_be_no_longer() {
        let list = |count| encode(&ClientMessage::GiveBack(vec![LeaseId([0; 16]); count]));
        assert!(decode::<ClientMessage>(&list(LIST_MAX)).is_ok());
        assert_eq!(decode::<ClientMessage>(&list(LIST_MAX + 1)), Err(DecodeError::Malformed));
    }
}
