//! Whom a worker believes: one root key pinned by its fingerprint, and the list that it signs.
//!
//! The idea is TUF's (The Update Framework, sections 5.3 and 6): a list with a version that only grows
//! and a date after which it is stale. Signing keys can so be rotated and revoked, and old releases
//! withdrawn, without touching any worker.

use alloc::vec::Vec;
use core::time::Duration;

use manyhands_model::{Digest, JobName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::key::{Fingerprint, PublicKey};
use crate::signed::{Signed, Statement, Untrusted, Verified};

/// How far two honest clocks may differ before a statement counts as signed in the future.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(600);

/// From when until when a statement has force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// From when.
    pub issued_at: Timestamp,
    /// Until when, exclusive.
    pub expires_at: Timestamp,
}

impl Validity {
    fn check(&self, what: &'static str, now: Timestamp) -> Result<(), Untrusted> {
        let Self { issued_at, expires_at } = *self;
        if issued_at > now.after(CLOCK_SKEW_MAX) {
            Err(Untrusted::NotYetValid { what, issued_at, now })
        } else if expires_at <= now {
            Err(Untrusted::Expired { what, expired_at: expires_at, now })
        } else {
            Ok(())
        }
    }
}

/// A statement of the coordinator's that loses its force one day.
pub trait Dated: Statement {
    /// From when until when.
    fn validity(&self) -> Validity;
}

/// One of the coordinator's signing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Once true, nothing that it signed counts any more.
    pub revoked: bool,
}

/// The coordinator's keys and what it took back, signed by its root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustList {
    /// Grows by at least one with every change; a lower one than was seen before is refused.
    pub version: u64,
    /// From when until when.
    pub validity: Validity,
    /// The signing keys, revoked ones included.
    pub keys: Vec<TrustedKey>,
    /// For each job the lowest release serial that may still be executed. A list and no map, whose code browsers would fetch for this alone.
    pub floors: Vec<(JobName, u64)>,
    /// Modules that must not be executed any more, whatever is signed about them.
    pub revoked_modules: Vec<Digest>,
}

impl Statement for TrustList {
    const DOMAIN: &'static str = "manyhands trust list v1";
}

impl Dated for TrustList {
    fn validity(&self) -> Validity {
        self.validity
    }
}

/// A verified trust list: the only thing that turns a dated statement into a verified one.
#[derive(Clone, Debug)]
pub struct KeyRing {
    list: Verified<TrustList>,
}

impl KeyRing {
    /// Believes `list` if the root key fits the `pinned` fingerprint and signed it, if it has force at
    /// `now`, and if its version is at least `version_min`, the highest one seen before.
    ///
    /// # Errors
    /// Any [`Untrusted`].
    pub fn open(
        pinned: Fingerprint,
        root: PublicKey,
        list: &Signed<TrustList>,
        now: Timestamp,
        version_min: u64,
    ) -> Result<Self, Untrusted> {
        let what = TrustList::DOMAIN;
        if root.fingerprint() != pinned {
            return Err(Untrusted::WrongSigner { what, signer: root.fingerprint(), expected: pinned });
        }
        let list = list.verify(root)?;
        list.validity.check(what, now)?;
        if list.version < version_min {
            return Err(Untrusted::Rollback { got: list.version, known: version_min });
        }
        Ok(Self { list })
    }

    /// Believes `signed` if one of the coordinator's unrevoked keys signed it and it has force at `now`.
    ///
    /// # Errors
    /// Any [`Untrusted`].
    pub fn verify<T: Dated>(&self, signed: &Signed<T>, now: Timestamp) -> Result<Verified<T>, Untrusted> {
        let signer = signed.signer();
        self.knows(T::DOMAIN, signer)?;
        let verified = signed.verify(signer)?;
        self.list.validity.check(TrustList::DOMAIN, now)?;
        verified.validity().check(T::DOMAIN, now)?;
        Ok(verified)
    }

    fn knows(&self, what: &'static str, signer: PublicKey) -> Result<(), Untrusted> {
        match self.list.keys.iter().find(|trusted| trusted.key == signer) {
            None => Err(Untrusted::UnknownKey { what, signer: signer.fingerprint() }),
            Some(TrustedKey { revoked: true, .. }) => Err(Untrusted::RevokedKey { what, signer: signer.fingerprint() }),
            Some(_) => Ok(()),
        }
    }

    /// The list's version, to be remembered durably.
    pub fn version(&self) -> u64 {
        self.list.version
    }

    /// Whether release number `serial` of the job may be executed.
    pub fn permits(&self, name: &JobName, serial: u64, module: &Digest) -> bool {
        let mut floors = self.list.floors.iter().filter(|(job, _)| job == name);
        floors.all(|(_, floor)| serial >= *floor) && !self.list.revoked_modules.contains(module)
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;
    use crate::Keypair;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Order(Validity);
    impl Statement for Order {
        const DOMAIN: &'static str = "test order";
    }
    impl Dated for Order {
        fn validity(&self) -> Validity {
            self.0
        }
    }

    const fn during(from: u64, to: u64) -> Validity {
        Validity { issued_at: Timestamp(from), expires_at: Timestamp(to) }
    }

    fn ring(version: u64, keys: &[(&Keypair, bool)], version_min: u64) -> Result<KeyRing, Untrusted> {
        let root = Keypair::from_seed(&[9; 32]);
        let list = TrustList {
            version,
            validity: during(0, 1_000_000),
            keys: keys.iter().map(|(key, revoked)| TrustedKey { key: key.public(), revoked: *revoked }).collect(),
            floors: vec![("a".parse().expect("name"), 5)],
            revoked_modules: vec![Digest::of(b"bad")],
        };
        let now = Timestamp(1_000);
        KeyRing::open(root.public().fingerprint(), root.public(), &Signed::new(&root, &list), now, version_min)
    }

    #[test]
    fn a_listed_key_is_believed_and_a_revoked_or_foreign_one_is_not() {
        let (old, new, stranger) =
            (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]), Keypair::from_seed(&[3; 32]));
        let ring = ring(3, &[(&old, true), (&new, false)], 0).expect("trusted");
        let now = Timestamp(2_000);
        let order = Order(during(1_000, 3_000));
        assert!(ring.verify(&Signed::new(&new, &order), now).is_ok());
        assert!(matches!(ring.verify(&Signed::new(&old, &order), now), Err(Untrusted::RevokedKey { .. })));
        assert!(matches!(ring.verify(&Signed::new(&stranger, &order), now), Err(Untrusted::UnknownKey { .. })));
    }

    #[test]
    fn attack_39_an_older_list_and_an_expired_statement_are_refused() {
        let key = Keypair::from_seed(&[1; 32]);
        assert_eq!(ring(3, &[(&key, false)], 4).expect_err("older"), Untrusted::Rollback { got: 3, known: 4 });
        let ring = ring(4, &[(&key, false)], 4).expect("same version is fine");
        let order = Signed::new(&key, &Order(during(1_000_000, 1_000_100)));
        assert!(matches!(ring.verify(&order, Timestamp(0)), Err(Untrusted::NotYetValid { .. })));
        // The list itself goes stale first, so a worker cut off from news stops believing.
        assert!(matches!(ring.verify(&order, Timestamp(1_000_050)), Err(Untrusted::Expired { .. })));
    }

    #[test]
    fn another_root_is_refused_whatever_it_signs() {
        let impostor = Keypair::from_seed(&[8; 32]);
        let list =
            TrustList { version: 1, validity: during(0, 10), keys: vec![], floors: vec![], revoked_modules: vec![] };
        let pinned = Keypair::from_seed(&[9; 32]).public().fingerprint();
        let opened = KeyRing::open(pinned, impostor.public(), &Signed::new(&impostor, &list), Timestamp(1), 0);
        assert!(matches!(opened, Err(Untrusted::WrongSigner { .. })));
    }

    /// Lists were signed when floors were a map, and are kept.
    #[test]
    fn floors_travel_as_a_map_does() {
        let floors: Vec<(JobName, u64)> = vec![("a".parse().expect("name"), 5), ("b-1".parse().expect("name"), 300)];
        let map = std::collections::BTreeMap::from_iter(floors.clone());
        assert_eq!(postcard::to_allocvec(&floors), postcard::to_allocvec(&map));
    }

    #[test]
    fn withdrawn_releases_and_modules_are_not_permitted() {
        let key = Keypair::from_seed(&[1; 32]);
        let ring = ring(1, &[(&key, false)], 0).expect("trusted");
        let name = "a".parse().expect("name");
        assert!(!ring.permits(&name, 4, &Digest::of(b"good")));
        assert!(ring.permits(&name, 5, &Digest::of(b"good")));
        assert!(!ring.permits(&name, 5, &Digest::of(b"bad")));
    }
}
