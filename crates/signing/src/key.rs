//! Keys, signatures and the short names that people compare.

use alloc::string::{String, ToString as _};
use core::fmt;
use core::str::FromStr;

use manyhands_model::digits::BASE32;
use manyhands_model::{Digest, WorkerId};
use serde::{Deserialize, Serialize};

/// An ed25519 public key, as it travels; whether its bytes are a usable key shows when it verifies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey(#[serde(deserialize_with = "manyhands_model::array::deserialize")] pub [u8; 32]);

impl PublicKey {
    /// The short name that people compare and that join links carry.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut short = [0; 16];
        short.copy_from_slice(&Digest::of_parts([&b"manyhands:key\0"[..], &self.0]).0[..16]);
        Fingerprint(short)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint().fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fingerprint().fmt(f)
    }
}

impl From<PublicKey> for WorkerId {
    fn from(key: PublicKey) -> Self {
        Self(key.0)
    }
}

impl From<WorkerId> for PublicKey {
    fn from(worker: WorkerId) -> Self {
        Self(worker.0)
    }
}

/// The first 128 bits of a key's SHA-256: finding another key with the same one takes 2^128 tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 16]);

/// Why a text is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a key fingerprint: expected `key_` and 26 of a-z and 2-7")]
pub struct ParseFingerprintError;

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key_{}", BASE32.write(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        text.strip_prefix("key_").and_then(|rest| BASE32.read(rest)).map(Self).ok_or(ParseFingerprintError)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = ParseFingerprintError;

    fn try_from(text: String) -> Result<Self, ParseFingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// An ed25519 signature: R and s (RFC 8032, 5.1.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature(
    #[serde(deserialize_with = "manyhands_model::array::deserialize")] [u8; 32],
    #[serde(deserialize_with = "manyhands_model::array::deserialize")] [u8; 32],
);

impl Signature {
    /// R, and s.
    pub(crate) const fn halves(&self) -> (&[u8; 32], &[u8; 32]) {
        (&self.0, &self.1)
    }

    /// As RFC 8032 writes it.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        bytes
    }
}

impl From<[u8; 64]> for Signature {
    fn from(bytes: [u8; 64]) -> Self {
        let mut halves = Self([0; 32], [0; 32]);
        halves.0.copy_from_slice(&bytes[..32]);
        halves.1.copy_from_slice(&bytes[32..]);
        halves
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;
    use crate::Keypair;

    #[test]
    fn a_fingerprint_survives_text_and_a_wrong_one_is_refused() {
        let fingerprint = Keypair::from_seed(&[1; 32]).public().fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!("key_abc".parse::<Fingerprint>(), Err(ParseFingerprintError));
        assert_eq!(fingerprint.to_string().to_uppercase().parse::<Fingerprint>(), Err(ParseFingerprintError));
    }
}
