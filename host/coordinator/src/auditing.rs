//! Units that the operator's own machines execute: runners whose keys the operator trusts, and one that the coordinator starts itself.
//!
//! They are runners like any other, under leases like any other, and know nothing of being asked for a verdict. They get nothing
//! else, so whoever has many units keeps nobody from being audited. Which machine gets what is for [`Auditors`] to decide.

mod own;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use manyhands_model::{LeaseId, UnitId, WorkerId};
use manyhands_protocol::Entry;
use manyhands_scheduler::{Audit, Auditors, Input, LeaseDraft, Statement};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

pub use self::own::{Own, keep_one};
use crate::core::Clerk;
use crate::records::{RecordError, Records};
use crate::secrets::SecretsError;
use crate::settings::{Auditor, Verification};

/// Whom the operator trusts, and what they are asked. Cheap to clone.
#[derive(Clone)]
pub struct Auditing(Arc<Inner>);

struct Inner {
    mode: Auditor,
    /// Beyond a job's own time.
    margin: Duration,
    trusted: RwLock<BTreeSet<WorkerId>>,
    desk: Mutex<Desk>,
    /// Something may be given out, or has been for too long.
    stirred: Notify,
    /// A machine is needed.
    needed: Notify,
}

struct Desk {
    auditors: Auditors,
    done: u64,
    random: ChaCha20Rng,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Machines that are connected.
    pub machines: usize,
    /// Units that none of them has been given.
    pub waiting: usize,
    /// Units that they have executed.
    pub done: u64,
}

impl Standing {
    /// Units that wait for a machine, and those that one has, where the scheduler has begun so many audits and has so many more in line.
    pub fn waiting_and_running(self, (begun, in_line): (usize, usize)) -> (u64, u64) {
        ((in_line + self.waiting) as u64, begun.saturating_sub(self.waiting) as u64)
    }
}

/// Why a unit cannot be given to an auditor.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("its job was revoked")]
    Revoked,
}

impl Unfit {
    /// Whether it would be so another time.
    const fn is_for_good(&self) -> bool {
        match self {
            Self::Records(error) | Self::Secrets(SecretsError::Records(error)) => {
                matches!(error, RecordError::Missing(_) | RecordError::Foreign(_))
            }
            Self::Secrets(_) => false,
            Self::Revoked => true,
        }
    }
}

/// When a unit is tried again that could not be read.
const TRY_AGAIN: Duration = Duration::from_secs(1);

impl Auditing {
    /// Reads whom the operator trusts. `seed` comes from the operating system.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn open(
        records: &Records,
        settings: &Verification,
        margin: Duration,
        seed: [u8; 32],
    ) -> Result<Self, RecordError> {
        let trusted = RwLock::new(records.trusted()?.into_iter().collect());
        let desk = Mutex::new(Desk { auditors: Auditors::default(), done: 0, random: ChaCha20Rng::from_seed(seed) });
        let (stirred, needed) = Default::default();
        Ok(Self(Arc::new(Inner { mode: settings.auditor, margin, trusted, desk, stirred, needed })))
    }

    /// Who is to execute units in the operator's name.
    pub fn mode(&self) -> Auditor {
        self.0.mode
    }

    /// Whether a worker is the operator's.
    pub fn is_trusted(&self, worker: WorkerId) -> bool {
        self.0.mode != Auditor::Off && self.0.trusted.read().unwrap_or_else(PoisonError::into_inner).contains(&worker)
    }

    /// From now on a worker is the operator's, or no more. It has to connect anew for that. Says whether it was different before.
    pub fn set_trusted(&self, worker: WorkerId, is_trusted: bool) -> bool {
        let mut trusted = self.0.trusted.write().unwrap_or_else(PoisonError::into_inner);
        if is_trusted { trusted.insert(worker) } else { trusted.remove(&worker) }
    }

    /// Workers that are the operator's.
    pub fn trusted(&self) -> Vec<WorkerId> {
        self.0.trusted.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// How things stand.
    pub fn standing(&self) -> Standing {
        let Desk { auditors, done, .. } = &*self.desk();
        Standing { machines: auditors.machines(), waiting: auditors.waiting(), done: *done }
    }

    /// How many units a machine was given.
    pub fn given(&self, machine: WorkerId) -> usize {
        self.desk().auditors.given(machine)
    }

    /// A unit is to be executed.
    pub(crate) fn ask(&self, unit: UnitId, step: u32) {
        self.desk().auditors.ask(Audit { unit, step });
        self.0.needed.notify_one();
        self.0.stirred.notify_one();
    }

    /// A machine says something other than what came out.
    pub(crate) fn hear(&self, machine: WorkerId, said: Said) {
        let auditors = &mut self.desk().auditors;
        match said {
            Said::Connected => auditors.connected(machine),
            Said::Gone => auditors.gone(machine),
            Said::Wants(count) => auditors.wants(machine, count),
        }
        self.0.stirred.notify_one();
    }

    /// These were not executed, for whatever reason: a machine also gives back what it may not execute. Says what the scheduler
    /// has to know.
    pub(crate) fn failed(&self, leases: impl IntoIterator<Item = LeaseId>) -> Vec<Input> {
        let mut desk = self.desk();
        let given_up = leases.into_iter().filter_map(|lease| desk.auditors.failed(lease));
        let inputs =
            given_up.map(|Audit { unit, step }| Input::Audited { unit, step, outcome: None, claims: None }).collect();
        drop(desk);
        self.0.stirred.notify_one();
        inputs
    }

    /// A machine says what came out.
    pub(crate) fn done(&self, unit: UnitId, Statement { lease, outcome, claims }: Statement) -> Input {
        let step = lease.task.step;
        let mut desk = self.desk();
        desk.done += u64::from(desk.auditors.done(Audit { unit, step }));
        drop(desk);
        self.0.stirred.notify_one();
        Input::Audited { unit, step, outcome: Some(outcome), claims }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing panics while it is held, and nothing awaits.
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(LeaseId, WorkerId, Audit)> {
        let mut desk = self.desk();
        let mut lease = [0; 16];
        desk.random.fill_bytes(&mut lease);
        let (machine, audit) = desk.auditors.give(LeaseId(lease))?;
        Some((LeaseId(lease), machine, audit))
    }

    /// Gives units to machines until `stop`.
    pub(crate) async fn run(self, clerk: Clerk, stop: CancellationToken) {
        loop {
            for (machine, lease) in self.desk().auditors.expire(clerk.clock().now()) {
                warn!(worker = %machine, %lease, "the operator's own machine kept a unit for too long");
                clerk.hub().cancel(machine, &[lease]);
            }
            while let Some((lease, machine, audit)) = self.next() {
                let (auditing, clerk) = (self.clone(), clerk.clone());
                tokio::spawn(async move {
                    let Err(error) = auditing.give(&clerk, lease, machine, audit).await else { return };
                    error!(unit = %audit.unit, step = audit.step, %error, "a unit cannot be given to the operator's own machine");
                    if error.is_for_good() {
                        return auditing.failed([lease]).into_iter().for_each(|input| clerk.tell(input));
                    }
                    // A disk, or a key that is being replaced: neither the machine's fault nor the unit's.
                    tokio::time::sleep(TRY_AGAIN).await;
                    auditing.desk().auditors.put_back(lease);
                    auditing.0.stirred.notify_one();
                });
            }
            let wake = self.desk().auditors.wake_at().map(|at| clerk.clock().instant(at));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.stirred.notified() => {}
                () = until(wake) => {}
            }
        }
    }

    /// Sends a unit to a machine, of a run that may have ended.
    async fn give(&self, clerk: &Clerk, lease: LeaseId, machine: WorkerId, audit: Audit) -> Result<(), Unfit> {
        let Audit { unit, step } = audit;
        let read = move |records: &Records| Ok((records.run(unit.run)?, records.input(unit)?));
        let (run, input) = clerk.records().blocking(read).await?;
        let spec = run.ok_or_else(|| RecordError::Missing(format!("run {}", unit.run)))?.spec;
        if clerk.is_revoked(&spec) {
            return Err(Unfit::Revoked);
        }
        let issued_at = clerk.clock().now();
        let wall = Duration::from_millis(spec.wall_ms);
        let expires_at = issued_at.after(wall.saturating_mul(2)).after(self.0.margin);
        let entry = if spec.reduction().is_reduce(unit.index) { Entry::Reduce } else { Entry::Run };
        let seed = spec.seed(unit.index);
        let draft = LeaseDraft { id: lease, worker: machine, unit, step, entry, seed, issued_at, expires_at };
        let (digest, bytes) = clerk.read_for(&draft, &spec, &input).await?;
        self.desk().auditors.until(lease, expires_at);
        clerk.grant(machine, &spec, vec![(draft, digest, bytes)]);
        Ok(())
    }
}

/// What a machine says of itself.
pub(crate) enum Said {
    Connected,
    Gone,
    Wants(u16),
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What keeps audits from being carried out, for the operator.
pub fn notice(mode: Auditor, standing: Standing) -> Option<&'static str> {
    if standing.waiting == 0 || standing.machines > 0 {
        return None;
    }
    Some(match mode {
        Auditor::Own => {
            "the coordinator's own auditor is not connected: its log says why; or start a runner and trust it with `manyhands workers trust`"
        }
        Auditor::Trusted | Auditor::Off => {
            "no machine of the operator's is connected: start a runner and trust it with `manyhands workers trust`"
        }
    })
}
