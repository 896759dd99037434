//! Who said it, and may we believe it.
//!
//! [`Signed<T>`] is a statement as it travels; [`Verified<T>`] is one that somebody checked, and the only
//! way from the first to the second is a check. Code that forgot to check does not compile.
//!
//! Signatures are ed25519 (RFC 8032), always verified strictly: no small-order keys, no malleable
//! signatures, so that every implementation accepts the same set. Each kind of statement signs under its
//! own domain, so a signature never counts for another kind.
//!
//! Random bytes and the time are arguments. Start at [`signed`], then [`trust`]; [`claim`] is how a program without the curve
//! asks somebody who has it.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "attested")]
pub mod attested;
pub mod claim;
#[cfg(feature = "curve")]
pub mod curve;
pub mod key;
pub mod mac;
pub mod proof;
pub mod signed;
pub mod trust;

#[cfg(feature = "attested")]
pub use crate::attested::{Attest, Attested, BadAttestation};
pub use crate::claim::{Claim, Claims};
#[cfg(feature = "curve")]
pub use crate::curve::Keypair;
pub use crate::key::{Fingerprint, PublicKey, Signature};
pub use crate::mac::MacKey;
pub use crate::proof::Proof;
pub use crate::signed::{Draft, Signed, Statement, Untrusted, Verified};
pub use crate::trust::{Dated, KeyRing, TrustList, TrustedKey, Validity};
