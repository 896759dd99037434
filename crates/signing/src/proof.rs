//! What it takes to believe a statement years later.

use manyhands_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::key::PublicKey;
use crate::signed::{Signed, Statement, Untrusted};
use crate::trust::{Dated, KeyRing, TrustList};

/// A statement of a coordinator's, with who signed it and why they might.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Proof<T: Statement> {
    /// The coordinator's root key.
    pub root: PublicKey,
    /// As it was when the statement was made: it names the key that signed, and the root key signed it.
    pub trust: Signed<TrustList>,
    /// The statement.
    pub statement: Signed<T>,
}

impl<T: Statement + Dated> Proof<T> {
    /// The statement and the version of the trust list, if all signatures fit as they counted when it was made.
    ///
    /// # Errors
    /// [`Untrusted`].
    pub fn open(&self) -> Result<(T, u64), Untrusted> {
        let at: Timestamp = self.statement.verify_any()?.validity().issued_at;
        let ring = KeyRing::open(self.root.fingerprint(), self.root, &self.trust, at, 0)?;
        Ok((ring.verify(&self.statement, at)?.into_inner(), ring.version()))
    }
}
