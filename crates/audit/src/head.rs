//! What is signed: how far the log went at a moment, and what its last line was.

use manyhands_model::{Digest, Timestamp};
use manyhands_signing::{Attest, Attested, Dated, Statement, Validity};
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

/// A head with all that it takes to believe it, for people and programs. One line of JSON, `{"head":{…}}`.
pub type SignedHead = Attested<Head>;

impl Statement for Head {
    const DOMAIN: &'static str = "manyhands audit head v1";
}

impl Dated for Head {
    /// It never loses its force: it says what was.
    fn validity(&self) -> Validity {
        Validity { issued_at: self.at, expires_at: Timestamp(u64::MAX) }
    }
}

impl Attest for Head {
    const NAME: &'static str = "head";

    fn shown(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Shown {
            entries: u64,
            digest: Digest,
            at: Timestamp,
        }

        let Self { tail: Tail { entries, digest }, at } = *self;
        Shown { entries, digest, at }
    }
}
