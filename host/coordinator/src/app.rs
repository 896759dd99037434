//! What every request handler can reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manyhands_model::{Digest, RunId, Timestamp};
use manyhands_store::SledStore;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use tokio_util::sync::CancellationToken;

use crate::auditing::Auditing;
use crate::auth::Tokens;
use crate::authority::Authority;
use crate::blocklists::Blocklists;
use crate::calls::Calls;
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::console::Monitor;
use crate::console::door::Door;
use crate::core::{Changes, Core, NoRoom, Room, Stopping};
use crate::credit;
use crate::hub::Hub;
use crate::idempotency::Idempotency;
use crate::invitations::Invitations;
use crate::metrics::Metrics;
use crate::numbers::Numbering;
use crate::origins::Origins;
use crate::problem::{Answer, ApiError, Kind};
use crate::records::{RecordError, Records};
use crate::repeats::Questions;
use crate::secrets::Secrets;
use crate::settings::Settings;
use crate::throttle::Throttle;
use crate::upkeep::Uploads;
use crate::uptime::Uptimes;
use crate::vault::{Tidied, Vault, VaultError};

/// The coordinator as its request handlers see it. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// See [`App`].
pub struct Inner {
    /// What the operator set.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
    /// The memory.
    pub records: Records,
    /// The published jobs.
    pub catalogue: Arc<Catalogue>,
    /// What tokens stand for.
    pub vault: Arc<Vault>,
    /// Who puts tokens in the place of values, and back.
    pub secrets: Secrets,
    /// Which unit a worker speaks of.
    pub numbering: Numbering,
    /// Who makes calls.
    pub calls: Calls,
    /// How long workers were there.
    pub uptimes: Uptimes,
    /// Which units the operator's own machines execute.
    pub auditing: Auditing,
    /// How many answers are not what they were.
    pub changes: Changes,
    /// Who may be one person behind several workers.
    pub origins: Origins,
    /// Whom others have banned, where that counts here.
    pub blocklists: Blocklists,
    /// Who was invited by whom.
    pub invitations: Invitations,
    /// The ledger of fuel.
    pub book: credit::Shared,
    /// Who knows what was asked before.
    pub questions: Questions,
    /// Who signs.
    pub authority: Arc<Authority>,
    /// The scheduler.
    pub core: Core,
    /// Who listens.
    pub hub: Hub,
    /// Who may call.
    pub tokens: Tokens,
    /// How often they may.
    pub throttle: Throttle,
    /// Which requests were answered before.
    pub idempotency: Idempotency,
    /// What is counted.
    pub metrics: Metrics,
    /// What operators see of it.
    pub monitor: Monitor,
    /// Which operators may see it.
    pub door: Door,
    /// Cancelled when the coordinator stops.
    pub stop: CancellationToken,
    /// What volunteers are given.
    pub join: String,
    /// Publishing is rare and decides over names: one at a time.
    pub publishing: tokio::sync::Mutex<()>,
    /// The state as it lies on the disk, for those who look after it.
    pub store: Arc<SledStore>,
    /// Backups, checks and compactions: one at a time.
    pub upkeep: Arc<tokio::sync::Mutex<()>>,
    /// Submissions that are arriving now.
    pub uploads: Uploads,
    /// Submissions with an idempotency key that are arriving now.
    pub submitting: Mutex<BTreeSet<Digest>>,
    /// Held by whoever decides about a client's record; each is for a share of them.
    pub clients: [tokio::sync::Mutex<()>; 64],
    /// Turns of those who prepare long answers: they wait for each other, and nobody else for them.
    pub turns: tokio::sync::Semaphore,
    /// Seeded by the operating system.
    pub random: Mutex<ChaCha20Rng>,
}

impl From<Inner> for App {
    fn from(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    /// Runs and units that may wait.
    pub fn room(&self) -> Room {
        let limits = &self.settings.limits;
        Room { runs: limits.active_runs_max, units: limits.queued_units_max }
    }
}

/// When a run got its id.
pub fn begun_at(RunId(id): RunId) -> Timestamp {
    let mut milliseconds = [0; 8];
    milliseconds[2..].copy_from_slice(&id[..6]);
    Timestamp(u64::from_be_bytes(milliseconds))
}

impl App {
    /// Fills `bytes` unpredictably.
    pub fn random(&self, bytes: &mut [u8]) {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }

    /// A new run's id: the time first, so that ids sort by age, then 80 random bits.
    pub fn new_run_id(&self, now: Timestamp) -> RunId {
        let mut id = [0; 16];
        self.random(&mut id);
        id[..6].copy_from_slice(&now.0.to_be_bytes()[2..]);
        RunId(id)
    }

    /// Reads or writes records on a thread that may block.
    ///
    /// # Errors
    /// A problem of the kind `internal`, or `storage-full`.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Records) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let records = self.records.clone();
        match tokio::task::spawn_blocking(move || work(&records)).await {
            Ok(result) => result.map_err(ApiError::from),
            Err(error) => Err(ApiError::internal(&error)),
        }
    }

    /// Works with the vault on a thread that may block.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn vault_work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let vault = Arc::clone(&self.vault);
        match tokio::task::spawn_blocking(move || work(&vault)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Lets values go whose time is over, and keys that nothing is sealed under any more.
    ///
    /// # Errors
    /// [`VaultError`]; it is to be tried again.
    pub async fn look_after_values(&self) -> Result<(), VaultError> {
        let before = self.clock.now().before(Duration::from_millis(self.settings.calls.values_ms));
        let mut expired = 0;
        for run in self.vault_work(move |vault| vault.expired(before)).await? {
            expired += u64::from(self.calls.forget(run).await?);
        }
        let Tidied { sealed, gone, .. } = self.vault_work(Vault::tidy).await?;
        if expired + sealed + gone > 0 {
            tracing::info!(
                expired,
                sealed,
                gone,
                "runs whose values were removed; values sealed anew; keys thrown away"
            );
        }
        Ok(())
    }

    /// Signs the trust list anew and sends it to all workers: of each job with more than one release,
    /// those are withdrawn that are older than the newest and that no active run executes.
    ///
    /// # Errors
    /// Problems with the disk, or [`Stopping`].
    pub async fn renew_trust(&self) -> Result<(), ApiError> {
        let newest: Vec<_> = self.catalogue.newest();
        let floors = self
            .core
            .ask(move |scheduler, _| {
                let floor = |name, serial: u64| scheduler.serials(name).fold(serial, u64::min);
                newest
                    .iter()
                    .map(|job| (job.manifest.name.clone(), floor(&job.manifest.name, job.serial)))
                    .collect::<BTreeMap<_, _>>()
            })
            .await?;
        let trust = self.authority.renew(self.clock.now(), floors).map_err(|error| ApiError::internal(&error))?;
        self.hub.trust(&trust);
        Ok(())
    }
}

impl From<Stopping> for ApiError {
    fn from(stopping: Stopping) -> Self {
        Self::new(Kind::Unavailable, stopping.to_string()).retry_after(std::time::Duration::from_secs(2))
    }
}

impl From<NoRoom> for ApiError {
    fn from(full: NoRoom) -> Self {
        Self::new(Kind::QueueFull, full.to_string()).retry_after(std::time::Duration::from_secs(30))
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        match error {
            // It knows a full disk, which is no fault inside.
            RecordError::Commit(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl axum::extract::FromRef<App> for Tokens {
    fn from_ref(app: &App) -> Self {
        app.tokens.clone()
    }
}

/// Goes on to its end even when the client hangs up, so that what is in memory follows what is on the disk.
///
/// # Errors
/// Those of `work`.
pub async fn to_its_end<T: Send + 'static>(work: impl Future<Output = Answer<T>> + Send + 'static) -> Answer<T> {
    tokio::spawn(work).await.map_err(|error| ApiError::internal(&error))?
}

#[cfg(test)]
mod tests {
    use manyhands_state::CommitError;

    use super::*;

    #[test]
    fn a_full_disk_is_said_and_is_no_fault_inside() {
        let full = ApiError::from(RecordError::Commit(CommitError::Full("/data/log".into())));
        assert_eq!(full.kind, Kind::StorageFull);
        assert!(full.retry_after.is_some() && !full.detail.contains("/data"), "{full}");
        let broken = ApiError::from(RecordError::Commit(CommitError::Storage("fsync failed".into())));
        assert_eq!(broken.kind, Kind::Internal);
    }
}
