//! Statements that people read and keep as text, with all that it takes to believe them.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::key::{Fingerprint, PublicKey};
use crate::proof::Proof;
use crate::signed::{Signed, Statement, Untrusted};
use crate::trust::{Dated, TrustList};

/// A statement that can be written as a line of JSON.
pub trait Attest: Statement + Dated {
    /// What people call it: the key under which its line holds it.
    const NAME: &'static str;

    /// What people read of it: an object.
    fn shown(&self) -> impl Serialize;
}

/// A statement of a coordinator's in one line of JSON, `{"NAME":{…,"root":…,"proof":…}}`.
///
/// People read what stands before the proof, and programs believe the [`Proof`] alone (in postcard, in base64): a line in which these differ is
/// refused, so there is one line for each statement and its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested<T: Statement> {
    said: T,
    trust_version: u64,
    proof: Proof<T>,
}

/// Why a line is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAttestation {
    /// Something else.
    #[error("not a signed {name} that this version can read: expected a line `{{\"{name}\":…}}`")]
    NotOne {
        /// What it should be.
        name: &'static str,
    },
    /// What people read is not what was signed.
    #[error("what the {name} says is not what was signed")]
    Differs {
        /// What it is.
        name: &'static str,
    },
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

impl<T: Attest> Attested<T> {
    /// What this key of a coordinator signed, under its trust list of that moment.
    ///
    /// # Errors
    /// [`Untrusted`] when the list does not name the key, as between a rotation and the list that follows it.
    pub fn new(root: PublicKey, trust: Signed<TrustList>, statement: Signed<T>) -> Result<Self, Untrusted> {
        let proof = Proof { root, trust, statement };
        let (said, trust_version) = proof.open()?;
        Ok(Self { said, trust_version, proof })
    }

    /// The statement in a line, if it was signed by a coordinator's key, and if `root` is given by that coordinator's.
    ///
    /// # Errors
    /// [`BadAttestation`].
    pub fn read(line: &[u8], root: Option<Fingerprint>) -> Result<Self, BadAttestation> {
        let not_one = || BadAttestation::NotOne { name: T::NAME };
        let mut written: BTreeMap<String, Read> = serde_json::from_slice(line).map_err(|_| not_one())?;
        let Read { proof } = written.remove(T::NAME).ok_or_else(not_one)?;
        let proof = BASE64.decode(proof.as_bytes()).map_err(|_| not_one())?;
        let Ok((proof, [])) = postcard::take_from_bytes::<Proof<T>>(&proof) else { return Err(not_one()) };
        let (said, trust_version) = proof.open()?;
        let read = Self { said, trust_version, proof };
        if read.line() != line {
            return Err(BadAttestation::Differs { name: T::NAME });
        }
        match root {
            Some(expected) if expected != read.root() => {
                Err(BadAttestation::OtherRoot { expected, found: read.root() })
            }
            Some(_) | None => Ok(read),
        }
    }

    /// The one way to write it, without a line break.
    pub fn line(&self) -> Vec<u8> {
        // Keys and numbers can always be written.
        let proof = BASE64.encode(&postcard::to_allocvec(&self.proof).unwrap_or_default());
        let written = Written { shown: self.said.shown(), root: self.root(), proof };
        serde_json::to_vec(&BTreeMap::from([(T::NAME, written)])).unwrap_or_default()
    }

    /// Whether a line is to be read as such a statement and not as something else.
    pub fn is_one(line: &[u8]) -> bool {
        let key = line.strip_prefix(b"{\"").and_then(|line| line.strip_prefix(T::NAME.as_bytes()));
        key.is_some_and(|rest| rest.starts_with(b"\":"))
    }

    /// What was stated.
    pub const fn said(&self) -> &T {
        &self.said
    }

    /// Version of the trust list that names the key. A key that was revoked since stands in lists with lower versions than whoever heard of
    /// that has seen.
    pub const fn trust_version(&self) -> u64 {
        self.trust_version
    }

    /// Who stated it: the root key that the coordinator's join link names.
    pub fn root(&self) -> Fingerprint {
        self.proof.root.fingerprint()
    }
}

#[derive(Serialize)]
struct Written<S> {
    #[serde(flatten)]
    shown: S,
    root: Fingerprint,
    proof: String,
}

/// What is read of a line: the rest follows from it.
#[derive(Deserialize)]
struct Read {
    proof: String,
}
