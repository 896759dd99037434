//! What the worker believes, and why it believes a grant.

use std::collections::BTreeMap;

use manyhands_model::{Digest, LeaseId, Limits, Timestamp, WorkerId};
use manyhands_protocol::{Grant, Lease, Release};
use manyhands_signing::{Fingerprint, KeyRing, PublicKey, Signed, Statement as _, TrustList, Untrusted, Verified};

use crate::event::Refusal;

/// Whom and what the worker believes.
pub(crate) struct Belief {
    me: WorkerId,
    pinned: Fingerprint,
    /// The highest version of a trust list that was seen.
    version: u64,
    root: Option<PublicKey>,
    ring: Option<KeyRing>,
    /// By the sealed module. As signed too: what was verified once is the same bytes or verified again.
    releases: BTreeMap<Digest, (Signed<Release>, Verified<Release>)>,
}

/// A grant that was found good.
pub(crate) struct Work {
    /// Permission to execute.
    pub(crate) lease: Verified<Lease>,
    /// What the execution may use.
    pub(crate) limits: Limits,
    /// Length of the sealed module.
    pub(crate) module_bytes: u64,
}

/// A grant that was not, and the name of its lease as far as it can be known.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) lease: Option<LeaseId>,
    pub(crate) refusal: Refusal,
}

impl Belief {
    pub(crate) fn new(me: WorkerId, pinned: Fingerprint, version: u64) -> Self {
        Self { me, pinned, version, root: None, ring: None, releases: BTreeMap::new() }
    }

    /// Believes a trust list from now on, if it is the pinned root's and no older than one seen before.
    /// Returns its version where that is new.
    pub(crate) fn open(
        &mut self,
        now: Timestamp,
        root: PublicKey,
        list: &Signed<TrustList>,
    ) -> Result<Option<u64>, Untrusted> {
        let ring = KeyRing::open(self.pinned, root, list, now, self.version)?;
        // What was believed under an older list is asked again: its key may be revoked, or it was withdrawn.
        self.releases.retain(|_, (signed, release)| {
            ring.verify(signed, now).is_ok() && ring.permits(&release.name, release.serial, &release.module)
        });
        let newer = (ring.version() > self.version).then_some(ring.version());
        self.version = ring.version();
        self.root = Some(root);
        self.ring = Some(ring);
        Ok(newer)
    }

    /// The next trust list of the same root.
    pub(crate) fn renew(&mut self, now: Timestamp, list: &Signed<TrustList>) -> Result<Option<u64>, Untrusted> {
        match self.root {
            Some(root) => self.open(now, root, list),
            // Nobody introduced itself yet, so there is nobody whose list this could be.
            None => Err(Untrusted::UnknownKey { what: TrustList::DOMAIN, signer: list.signer().fingerprint() }),
        }
    }

    /// Whether a lease that was believed before is believed still.
    pub(crate) fn upholds(&self, now: Timestamp, lease: &Signed<Lease>, module: &Digest) -> bool {
        let ring = self.ring.as_ref();
        ring.is_some_and(|ring| ring.verify(lease, now).is_ok()) && self.releases.contains_key(module)
    }

    /// Whether this is work that the coordinator gave to this worker, whole and permitted.
    pub(crate) fn judge(&mut self, now: Timestamp, grant: &Grant) -> Result<Work, Unfit> {
        let Some(ring) = &self.ring else {
            return Err(Unfit { lease: None, refusal: Refusal::NoRelease });
        };
        let lease = ring.verify(&grant.lease, now).map_err(|untrusted| {
            // To give it back it is enough to know its name: the coordinator knows whose it is.
            let lease = grant.lease.verify_any().ok().map(|lease| lease.id);
            Unfit { lease, refusal: untrusted.into() }
        })?;
        let unfit = |refusal| Unfit { lease: Some(lease.id), refusal };
        if lease.worker != self.me {
            return Err(unfit(Refusal::NotOurs));
        }
        let known = self.releases.get(&lease.module);
        if let Some(signed) = &grant.release
            && known.is_none_or(|(known, _)| known != signed)
        {
            let release = ring.verify(signed, now).map_err(|untrusted| unfit(untrusted.into()))?;
            if release.module != lease.module {
                return Err(unfit(Refusal::Mismatch));
            }
            self.releases.insert(release.module, (signed.clone(), release));
        }
        let (_, release) = self.releases.get(&lease.module).ok_or_else(|| unfit(Refusal::NoRelease))?;
        if (release.serial, &release.name) != (lease.serial, &lease.job) {
            return Err(unfit(Refusal::Mismatch));
        }
        let expired_at = release.validity.expires_at;
        if expired_at <= now {
            return Err(unfit(Untrusted::Expired { what: Release::DOMAIN, expired_at, now }.into()));
        }
        if !ring.permits(&release.name, release.serial, &release.module) {
            return Err(unfit(Refusal::Withdrawn));
        }
        if Digest::of(&grant.input) != lease.input {
            return Err(unfit(Refusal::WrongInput));
        }
        let (limits, module_bytes) = (release.limits, release.module_bytes);
        Ok(Work { lease, limits, module_bytes })
    }
}
