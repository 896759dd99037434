//! The arithmetic of signatures: what signs, and what sees whether a signature fits.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use manyhands_model::Digest;
use zeroize::Zeroizing;

use crate::claim::Claim;
use crate::key::{PublicKey, Signature};
use crate::mac::MacKey;

impl Claim {
    /// Whether it is true.
    pub fn fits(&self) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature.to_bytes());
        let key = VerifyingKey::from_bytes(&self.signer.0);
        Self::is_strict(&self.signer, &self.signature)
            && key.is_ok_and(|key| key.verify_strict(&self.message, &signature).is_ok())
    }
}

/// A secret key with its public half. Wiped from memory when dropped; never printed.
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key of a 32-byte seed (RFC 8032, 5.1.5). The shell draws it from the operating system.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be written to a file that its owner alone can read.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The half that everybody may know.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// A secret for codes that follows from this key; another for each purpose.
    pub fn mac_key(&self, purpose: &str) -> MacKey {
        let secret = Digest::of_parts([b"manyhands:mac\0", purpose.as_bytes(), b"\0", &self.seed()[..]]);
        MacKey::new(&secret.0)
    }

    /// Signs `message`, which is to be that of a [`crate::Draft`].
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes().into()
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let text = format!("{:?}", Keypair::from_seed(&[1; 32]));
        assert!(text.starts_with("Keypair(key_") && text.len() < 50, "{text}");
    }
}
