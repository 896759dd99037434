//! What is signed: how far the log went at a moment, and what its last line was.

use data_encoding::BASE64;
use manyhands_model::{Digest, Timestamp};
use manyhands_signing::{Dated, Fingerprint, Proof, PublicKey, Signed, Statement, TrustList, Untrusted, Validity};
use serde::{Deserialize, Serialize};

use crate::entry::Tail;

/// Where the log ended at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Where.
    pub tail: Tail,
    /// When.
    pub at: Timestamp,
}

impl Statement for Head {
    const DOMAIN: &'static str = "manyhands audit head v1";
}

impl Dated for Head {
    /// It never loses its force: it says what was.
    fn validity(&self) -> Validity {
        Validity { issued_at: self.at, expires_at: Timestamp(u64::MAX) }
    }
}

/// A head with all that it takes to believe it, for people and programs. One line of JSON, `{"head":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    head: Head,
    root: Fingerprint,
    proof: Proof<Head>,
}

/// Why a head is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// Something else.
    #[error("not a signed head of an audit log: expected `{{\"head\":…}}` as `manyhands audit head` writes it")]
    NotAHead,
    /// What people read is not what was signed.
    #[error("what the head says is not what was signed")]
    Differs,
    /// Another coordinator's.
    #[error("signed under the root key {found}, expected {expected}")]
    OtherRoot {
        /// Who should have signed.
        expected: Fingerprint,
        /// Who did.
        found: Fingerprint,
    },
    /// The signature does not count.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}

impl SignedHead {
    /// What this key of a coordinator signed, under its trust list of that moment.
    ///
    /// # Errors
    /// [`BadHead::Untrusted`] when the list does not name the key, as between a rotation and the list that follows it.
    pub fn new(root: PublicKey, trust: Signed<TrustList>, head: Signed<Head>) -> Result<Self, BadHead> {
        let proof = Proof { root, trust, statement: head };
        Ok(Self { head: proof.open()?, root: root.fingerprint(), proof })
    }

    /// The head in a line, if it was signed by a coordinator's key, and if `root` is given by that coordinator's.
    ///
    /// # Errors
    /// [`BadHead`].
    pub fn read(line: &[u8], root: Option<Fingerprint>) -> Result<Self, BadHead> {
        let written: Line = serde_json::from_slice(line).map_err(|_| BadHead::NotAHead)?;
        let proof = BASE64.decode(written.head.proof.as_bytes()).map_err(|_| BadHead::NotAHead)?;
        let Ok((proof, [])) = postcard::take_from_bytes::<Proof<Head>>(&proof) else { return Err(BadHead::NotAHead) };
        let read = Self { head: proof.open()?, root: proof.root.fingerprint(), proof };
        if read.line() != line {
            return Err(BadHead::Differs);
        }
        match root {
            Some(expected) if expected != read.root => Err(BadHead::OtherRoot { expected, found: read.root }),
            Some(_) | None => Ok(read),
        }
    }

    /// The one way to write it, without a line break.
    pub fn line(&self) -> Vec<u8> {
        let Head { tail, at } = self.head;
        // Keys and numbers can always be written.
        let proof = BASE64.encode(&postcard::to_allocvec(&self.proof).unwrap_or_default());
        let head = Written { entries: tail.entries, digest: tail.digest, at, root: self.root, proof };
        serde_json::to_vec(&Line { head }).unwrap_or_default()
    }

    /// Whether a line is to be read as a head and not as an entry.
    pub fn is_one(line: &[u8]) -> bool {
        line.starts_with(br#"{"head":"#)
    }

    /// Where the log ended.
    pub const fn tail(&self) -> Tail {
        self.head.tail
    }

    /// When.
    pub const fn at(&self) -> Timestamp {
        self.head.at
    }

    /// Whose log it is: the root key that the coordinator's join link names.
    pub const fn root(&self) -> Fingerprint {
        self.root
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    head: Written,
}

#[derive(Serialize, Deserialize)]
struct Written {
    entries: u64,
    digest: Digest,
    at: Timestamp,
    root: Fingerprint,
    proof: String,
}
