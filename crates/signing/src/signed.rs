//! Statements with a signature under them.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use manyhands_model::{Digest, Timestamp};

use crate::claim::{Claim, Claims};
#[cfg(feature = "curve")]
use crate::curve::Keypair;
use crate::key::{Fingerprint, PublicKey, Signature};

/// Something that can be signed: data with a domain of its own.
pub trait Statement: Serialize + DeserializeOwned {
    /// Separates the signatures of this kind from those of every other; carries the version of the form.
    const DOMAIN: &'static str;
}

/// A statement as it travels. Nothing in it can be read before it is verified.
#[derive(Serialize, Deserialize)]
#[serde(bound = "", transparent)]
pub struct Signed<T> {
    envelope: Envelope,
    /// Whether its signature fits, if somebody else was asked.
    #[serde(skip)]
    fits: Option<bool>,
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

/// What is the same for every kind of statement, so that programs have its code once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Envelope {
    signer: PublicKey,
    payload: Bytes,
    signature: Signature,
}

/// A statement that is about to be signed, by a key that may lie where nobody can read it.
pub struct Draft<T> {
    payload: Bytes,
    kind: PhantomData<fn() -> T>,
}

/// A statement that `signer` really made. Only a check creates one.
pub struct Verified<T> {
    statement: T,
    signer: PublicKey,
}

/// Why a statement is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Another key than the expected one signed.
    #[error("{what}: signed by {signer}, expected {expected}")]
    WrongSigner {
        /// The statement's domain.
        what: &'static str,
        /// Who signed.
        signer: Fingerprint,
        /// Who should have.
        expected: Fingerprint,
    },
    /// The key is not among the coordinator's keys.
    #[error("{what}: {signer} is not a key of this coordinator")]
    UnknownKey {
        /// The statement's domain.
        what: &'static str,
        /// Who signed.
        signer: Fingerprint,
    },
    /// The key was revoked.
    #[error("{what}: the key {signer} was revoked")]
    RevokedKey {
        /// The statement's domain.
        what: &'static str,
        /// Who signed.
        signer: Fingerprint,
    },
    /// The signature does not fit the bytes.
    #[error("{what}: the signature does not fit; the bytes were changed on the way")]
    BadSignature {
        /// The statement's domain.
        what: &'static str,
    },
    /// The bytes are signed, and yet not a statement of this kind.
    #[error("{what}: signed, but not readable by this version; upgrade the older side")]
    Unreadable {
        /// The statement's domain.
        what: &'static str,
    },
    /// It is too late, or the clock is wrong.
    #[error("{what}: expired {} ms after 1970, now it is {} ms; if that is wrong, set this computer's clock", expired_at.0, now.0)]
    Expired {
        /// The statement's domain.
        what: &'static str,
        /// When it lost its force.
        expired_at: Timestamp,
        /// The reader's clock.
        now: Timestamp,
    },
    /// It is too early, or the clock is wrong.
    #[error("{what}: valid from {} ms after 1970, now it is {} ms; set this computer's clock", issued_at.0, now.0)]
    NotYetValid {
        /// The statement's domain.
        what: &'static str,
        /// When it gains its force.
        issued_at: Timestamp,
        /// The reader's clock.
        now: Timestamp,
    },
    /// Somebody replays an older trust list.
    #[error("trust list version {got} is older than version {known}, which was seen before; somebody replays the past")]
    Rollback {
        /// Its version.
        got: u64,
        /// The highest seen.
        known: u64,
    },
}

impl Envelope {
    fn claim(&self, what: &str) -> Claim {
        Claim { signer: self.signer, message: message(what, &self.payload), signature: self.signature }
    }

    fn check(&self, what: &'static str, expected: PublicKey, known: Option<bool>) -> Result<(), Untrusted> {
        if self.signer != expected {
            let (signer, expected) = (self.signer.fingerprint(), expected.fingerprint());
            return Err(Untrusted::WrongSigner { what, signer, expected });
        }
        #[cfg(feature = "curve")]
        let known = known.or_else(|| Some(self.claim(what).fits()));
        if known == Some(true) && Claim::is_strict(&self.signer, &self.signature) {
            Ok(())
        } else {
            Err(Untrusted::BadSignature { what })
        }
    }
}

impl<T: Statement> Signed<T> {
    /// Signs `statement` with `keypair`.
    #[cfg(feature = "curve")]
    pub fn new(keypair: &Keypair, statement: &T) -> Self {
        let draft = Draft::new(statement);
        let signature = keypair.sign(&draft.message());
        draft.signed(keypair.public(), signature)
    }

    /// Believes the statement if `expected` made it.
    ///
    /// # Errors
    /// [`Untrusted::WrongSigner`], [`Untrusted::BadSignature`] or [`Untrusted::Unreadable`].
    pub fn verify(&self, expected: PublicKey) -> Result<Verified<T>, Untrusted> {
        self.envelope.check(T::DOMAIN, expected, self.fits)?;
        match postcard::take_from_bytes(&self.envelope.payload) {
            Ok((statement, [])) => Ok(Verified { statement, signer: expected }),
            _ => Err(Untrusted::Unreadable { what: T::DOMAIN }),
        }
    }

    /// Believes the statement of whoever signed it. For statements where the signer is the question.
    ///
    /// # Errors
    /// [`Untrusted::BadSignature`] or [`Untrusted::Unreadable`].
    pub fn verify_any(&self) -> Result<Verified<T>, Untrusted> {
        self.verify(self.envelope.signer)
    }
}

impl<T: Statement> Claims for Signed<T> {
    fn claim(&self) -> Option<Claim> {
        self.fits.is_none().then(|| self.envelope.claim(T::DOMAIN))
    }

    fn answer(&mut self, fits: bool) {
        self.fits = Some(fits);
    }
}

impl<T> Signed<T> {
    /// Who claims to have signed. A claim until it is verified.
    pub const fn signer(&self) -> PublicKey {
        self.envelope.signer
    }

    /// Bytes of the statement.
    pub fn bytes(&self) -> usize {
        self.envelope.payload.len()
    }

    /// Names this statement together with its signature.
    pub fn digest(&self) -> Digest {
        let Envelope { signer, payload, signature } = &self.envelope;
        Digest::of_parts([&signer.0[..], &signature.to_bytes(), payload])
    }
}

impl<T: Statement> Draft<T> {
    /// A draft of `statement`.
    #[expect(clippy::expect_used, reason = "postcard writes any statement to a vector; there is nothing to handle")]
    pub fn new(statement: &T) -> Self {
        let payload = postcard::to_allocvec(statement).expect("a statement has a length known in advance");
        Self { payload: payload.into(), kind: PhantomData }
    }

    /// The bytes that the key signs (Ed25519, RFC 8032).
    pub fn message(&self) -> Vec<u8> {
        message(T::DOMAIN, &self.payload)
    }

    /// The statement with `signer`'s signature over [`Draft::message`]. Whether it fits is for its readers to see.
    pub fn signed(self, signer: PublicKey, signature: Signature) -> Signed<T> {
        Signed { envelope: Envelope { signer, payload: self.payload, signature }, fits: None, kind: PhantomData }
    }
}

/// What is really signed: domain and payload, unambiguously joined.
fn message(domain: &str, payload: &[u8]) -> Vec<u8> {
    [domain.as_bytes(), &[0], payload].concat()
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { envelope: self.envelope.clone(), fits: self.fits, kind: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.envelope == other.envelope
    }
}

impl<T> Eq for Signed<T> {}

impl<T: Statement> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed<{}>(by {}, {})", T::DOMAIN, self.signer(), self.digest().short())
    }
}

impl<T> Verified<T> {
    /// Who signed.
    pub const fn signer(&self) -> PublicKey {
        self.signer
    }

    /// The statement alone.
    pub fn into_inner(self) -> T {
        self.statement
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.statement
    }
}

impl<T: Clone> Clone for Verified<T> {
    fn clone(&self) -> Self {
        Self { statement: self.statement.clone(), signer: self.signer }
    }
}

impl<T: fmt::Debug> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({:?}, by {})", self.statement, self.signer)
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    /// Read, and then answered as somebody does who has the curve.
    fn answered<T: Statement>(bytes: &[u8]) -> Option<Signed<T>> {
        let mut signed: Signed<T> = postcard::from_bytes(bytes).ok()?;
        let fits = signed.claim()?.fits();
        signed.answer(fits);
        Some(signed)
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note(String, u64);
    impl Statement for Note {
        const DOMAIN: &'static str = "test note";
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct OtherNote(String, u64);
    impl Statement for OtherNote {
        const DOMAIN: &'static str = "other note";
    }

    #[test]
    fn what_was_signed_is_what_is_read() {
        let key = Keypair::from_seed(&[1; 32]);
        let signed = Signed::new(&key, &Note("hello".into(), 7));
        assert_eq!(*signed.verify(key.public()).expect("verifies"), Note("hello".into(), 7));
        let stranger = Keypair::from_seed(&[2; 32]).public();
        assert!(matches!(signed.verify(stranger), Err(Untrusted::WrongSigner { .. })));
    }

    #[test]
    fn a_signature_never_counts_for_another_kind_of_statement() {
        let key = Keypair::from_seed(&[1; 32]);
        let note = postcard::to_allocvec(&Signed::new(&key, &Note("hello".into(), 7))).expect("serialises");
        let other: Signed<OtherNote> = postcard::from_bytes(&note).expect("same shape");
        assert!(matches!(other.verify(key.public()), Err(Untrusted::BadSignature { .. })));
    }

    #[test]
    fn attack_38_flipping_any_one_bit_is_refused() {
        let key = Keypair::from_seed(&[1; 32]);
        let bytes = postcard::to_allocvec(&Signed::new(&key, &Note("hello".into(), 7))).expect("serialises");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let believed = postcard::from_bytes::<Signed<Note>>(&bad).ok().and_then(|s| s.verify(key.public()).ok());
            assert!(believed.is_none(), "bit {bit}");
            let believed = answered::<Note>(&bad).and_then(|s| s.verify(key.public()).ok());
            assert!(believed.is_none(), "bit {bit}, checked elsewhere");
        }
    }

    #[test]
    fn attack_40_a_small_order_key_signs_nothing() {
        // The neutral element: under lax verification R = 0·B, s = 0 would fit every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let envelope = Envelope {
            signer: PublicKey(neutral),
            payload: postcard::to_allocvec(&Note("x".into(), 1)).expect("serialises").into(),
            signature: postcard::from_bytes(&[&neutral[..], &[0; 32]].concat()).expect("64 bytes"),
        };
        let mut forged: Signed<Note> = Signed { envelope, fits: None, kind: PhantomData };
        assert!(matches!(forged.verify_any(), Err(Untrusted::BadSignature { .. })));
        // Where the arithmetic is done, it may be said to fit.
        forged.answer(true);
        assert!(matches!(forged.verify_any(), Err(Untrusted::BadSignature { .. })));
    }

    #[test]
    fn an_answer_counts_once_and_for_its_statement_alone() {
        let key = Keypair::from_seed(&[1; 32]);
        let bytes = postcard::to_allocvec(&Signed::new(&key, &Note("hello".into(), 7))).expect("serialises");
        let signed = answered::<Note>(&bytes).expect("a statement");
        assert_eq!(signed.claim(), None, "nobody is asked twice");
        assert!(signed.clone().verify(key.public()).is_ok());
        let stranger = Keypair::from_seed(&[2; 32]).public();
        assert!(matches!(signed.verify(stranger), Err(Untrusted::WrongSigner { .. })));
        let mut doubted = answered::<Note>(&bytes).expect("a statement");
        doubted.answer(false);
        assert!(matches!(doubted.verify_any(), Err(Untrusted::BadSignature { .. })));
        let sent = postcard::to_allocvec(&signed).expect("serialises");
        assert_eq!(sent, bytes, "an answer does not travel");
    }
}
