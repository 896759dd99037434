//! Signs in the coordinator's name, and recognises what it signed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use manyhands_model::{Digest, JobName, LeaseId, RunId, Timestamp, WorkerId};
use manyhands_protocol::{Lease, Release, Task, Ticket, encode};
use manyhands_signing::{Attest, Attested, Fingerprint, MacKey, PublicKey, Signed, Statement, TrustList, Validity};
use tracing::warn;

use crate::catalogue::Catalogue;
use crate::keys::{KeyStore, KeysError};
use crate::problem::{Answer, ApiError, Kind};
use crate::records::RecordError;

/// How long a release has force; it is signed anew long before.
const RELEASE_VALID: Duration = Duration::from_secs(30 * 24 * 3600);

/// When whoever came while the key was being replaced may try again.
const RETRY: Duration = Duration::from_secs(1);

/// The coordinator's signature.
pub struct Authority {
    keys: KeyStore,
    catalogue: Arc<Catalogue>,
    trust: RwLock<Trust>,
    /// Releases that were signed, by serial.
    releases: Mutex<BTreeMap<u64, SignedRelease>>,
}

/// A release with the key that signed it, and when.
type SignedRelease = (Fingerprint, Timestamp, Signed<Release>);

struct Trust {
    list: Signed<TrustList>,
    floors: BTreeMap<JobName, u64>,
}

impl Authority {
    /// Signs the first trust list of this process.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn new(
        keys: KeyStore,
        catalogue: Arc<Catalogue>,
        now: Timestamp,
        floors: BTreeMap<JobName, u64>,
    ) -> Result<Self, KeysError> {
        let list = keys.trust_list(now, &floors, &catalogue.revoked())?;
        let trust = RwLock::new(Trust { list, floors });
        Ok(Self { keys, catalogue, trust, releases: Mutex::default() })
    }

    /// The root key that workers pin.
    pub fn root(&self) -> PublicKey {
        self.keys.root()
    }

    /// The keys themselves.
    pub fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// Whom workers shall believe.
    pub fn trust(&self) -> Signed<TrustList> {
        self.trust.read().unwrap_or_else(PoisonError::into_inner).list.clone()
    }

    /// Signs the trust list anew where something changed or it grows old; blocks on the disk then.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn renew(&self, now: Timestamp, floors: BTreeMap<JobName, u64>) -> Result<Signed<TrustList>, KeysError> {
        let list = self.keys.trust_list(now, &floors, &self.catalogue.revoked())?;
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Trust { list: list.clone(), floors };
        Ok(list)
    }

    /// Replaces the signing key; what it signed does not count any more. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn rotate(&self, now: Timestamp) -> Result<Signed<TrustList>, KeysError> {
        self.keys.rotate()?;
        let floors = self.trust.read().unwrap_or_else(PoisonError::into_inner).floors.clone();
        self.renew(now, floors)
    }

    /// Signs a statement with today's key.
    pub fn sign<T: Statement>(&self, statement: &T) -> Signed<T> {
        Signed::new(&self.keys.signing(), statement)
    }

    /// Signs a statement for people to keep, with all that it takes to believe it.
    ///
    /// # Errors
    /// The key is being replaced at this moment.
    pub fn attest<T: Attest>(&self, statement: &T) -> Answer<Attested<T>> {
        Attested::new(self.root(), self.trust(), self.sign(statement)).map_err(|error| {
            warn!(%error, what = T::NAME, "it cannot be signed now");
            let detail = format!("no {} can be signed while the signing key is being replaced; try again", T::NAME);
            ApiError::new(Kind::Unavailable, detail).retry_after(RETRY)
        })
    }

    /// The signed release of a job that runs execute.
    ///
    /// # Errors
    /// [`RecordError::Missing`] when it was never published here.
    pub fn release(&self, now: Timestamp, job: &JobName, serial: u64) -> Result<Signed<Release>, RecordError> {
        let key = self.keys.signing();
        let signer = key.public().fingerprint();
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((by, at, release)) = releases.get(&serial)
            && *by == signer
            && now.since(*at) < RELEASE_VALID / 2
        {
            return Ok(release.clone());
        }
        let found = self.catalogue.releases(job).into_iter().find(|job| job.serial == serial);
        let found = found.ok_or_else(|| RecordError::Missing(format!("release {serial} of {job}")))?;
        let release = Release {
            name: job.clone(),
            version: found.manifest.version.clone(),
            serial,
            source: found.source,
            module: found.module,
            module_bytes: found.module_bytes,
            publisher: found.publisher(),
            limits: found.manifest.limits,
            validity: Validity { issued_at: now, expires_at: now.after(RELEASE_VALID) },
        };
        let signed = Signed::new(&key, &release);
        releases.insert(serial, (signer, now, signed.clone()));
        Ok(signed)
    }

    /// What marks leases as this coordinator's, under its key of today. Leases of a rotated key are lost on
    /// purpose: rotating is what one does when somebody else may have that key.
    pub fn tickets(&self) -> Tickets {
        Tickets(self.keys.signing().mac_key("lease ticket v1"))
    }
}

/// Marks leases, and knows them again.
pub struct Tickets(MacKey);

impl Tickets {
    /// Marks a lease.
    pub fn mark(&self, worker: WorkerId, (run, module): (RunId, Digest), id: LeaseId, task: Task) -> Lease {
        let ticket = Ticket(self.0.code(&encode(&(worker, run, module, id, &task))));
        Lease { id, task, ticket }
    }

    /// Whether this is a lease that this coordinator gave to this worker.
    pub fn know(&self, worker: WorkerId, (run, module): (RunId, Digest), lease: &Lease) -> bool {
        let Lease { id, task, ticket } = lease;
        self.0.knows(&encode(&(worker, run, module, id, task)), &ticket.0)
    }
}
