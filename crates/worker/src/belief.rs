//! What the worker believes, and why it believes a grant.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use manyhands_model::{Digest, LeaseId, Limits, Timestamp, WorkerId};
use manyhands_protocol::{Grant, Lease, Leases, Release};
use manyhands_signing::{Fingerprint, KeyRing, PublicKey, Signed, Statement as _, TrustList, Untrusted, Verified};
use manyhands_sorted::Sorted;

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
    releases: Sorted<Digest, (Signed<Release>, Verified<Release>)>,
}

/// What was found good about a grant.
pub(crate) struct Terms {
    signed: Signed<Leases>,
    /// The terms, and the leases under them.
    pub(crate) leases: Verified<Leases>,
    /// What an execution may use.
    pub(crate) limits: Limits,
    /// Length of the sealed module.
    pub(crate) module_bytes: u64,
}

/// A grant that was found good.
pub(crate) struct Work {
    pub(crate) terms: Arc<Terms>,
    /// Each lease with its input.
    pub(crate) units: Vec<(Lease, Bytes)>,
}

/// A grant that was not, and the names of its leases as far as they can be known.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) leases: Vec<LeaseId>,
    pub(crate) refusal: Refusal,
}

impl Belief {
    pub(crate) fn new(me: WorkerId, pinned: Fingerprint, version: u64) -> Self {
        Self { me, pinned, version, root: None, ring: None, releases: Sorted::default() }
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

    /// Whether leases that were believed before are believed still.
    pub(crate) fn upholds(&self, now: Timestamp, terms: &Terms) -> bool {
        let ring = self.ring.as_ref();
        ring.is_some_and(|ring| ring.verify(&terms.signed, now).is_ok()) && self.releases.contains(&terms.leases.module)
    }

    /// Whether this is work that the coordinator gave to this worker, whole and permitted.
    pub(crate) fn judge(&mut self, now: Timestamp, grant: Grant) -> Result<Work, Unfit> {
        let Some(ring) = &self.ring else {
            return Err(Unfit { leases: Vec::new(), refusal: Refusal::NoRelease });
        };
        // Whatever becomes of the leases: it comes once on a connection.
        let untrusted = match &grant.release {
            Some(signed) => match ring.verify(signed, now) {
                Ok(release) => {
                    self.releases.insert(release.module, (signed.clone(), release));
                    None
                }
                Err(untrusted) => Some(untrusted),
            },
            None => None,
        };
        let names = |leases: &Leases| leases.leases.iter().map(|lease| lease.id).collect();
        let leases = ring.verify(&grant.leases, now).map_err(|untrusted| {
            // To give them back it is enough to know their names: the coordinator knows whose they are.
            let leases = grant.leases.verify_any().map_or_else(|_| Vec::new(), |leases| names(&leases));
            Unfit { leases, refusal: untrusted.into() }
        })?;
        let unfit = |refusal| Unfit { leases: names(&leases), refusal };
        if leases.worker != self.me {
            return Err(unfit(Refusal::NotOurs));
        }
        if let Some(untrusted) = untrusted {
            return Err(unfit(untrusted.into()));
        }
        let (_, release) = self.releases.get(&leases.module).ok_or_else(|| unfit(Refusal::NoRelease))?;
        if (release.serial, &release.name) != (leases.serial, &leases.job) {
            return Err(unfit(Refusal::Mismatch));
        }
        let expired_at = release.validity.expires_at;
        if expired_at <= now {
            return Err(unfit(Untrusted::Expired { what: Release::DOMAIN, expired_at, now }.into()));
        }
        if !ring.permits(&release.name, release.serial, &release.module) {
            return Err(unfit(Refusal::Withdrawn));
        }
        let fits = |(lease, input): (&Lease, &Bytes)| Digest::of(input) == lease.task.input;
        if leases.leases.len() != grant.inputs.len() || !leases.leases.iter().zip(&grant.inputs).all(fits) {
            return Err(unfit(Refusal::WrongInput));
        }
        let (limits, module_bytes) = (release.limits, release.module_bytes);
        let units = leases.leases.iter().cloned().zip(grant.inputs).collect();
        Ok(Work { terms: Arc::new(Terms { signed: grant.leases, leases, limits, module_bytes }), units })
    }
}
