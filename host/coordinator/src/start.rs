//! Puts the coordinator together and takes it apart again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use manyhands_egress::Egress;
use manyhands_scheduler::{Policy, Scheduler, Trust};
use manyhands_store::{Blobs, Options, Repair, SledStore};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::{App, Inner};
use crate::auditing::{Auditing, Own, keep_one};
use crate::auth::{OPERATOR_FILE, Tokens, TokensError};
use crate::authority::Authority;
use crate::backup;
use crate::blocklists::Blocklists;
use crate::calls::{self, CALLS_OF_ONE_AT_ONCE, Calls};
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::console::{self, Monitor};
use crate::core::{self, Changes, Parts};
use crate::credit::{self, Book};
use crate::desk::{self, Desk};
use crate::hub::Hub;
use crate::idempotency::Idempotency;
use crate::invitations::Invitations;
use crate::keys::{KeyStore, KeysError, system_entropy};
use crate::metrics::{Metrics, Repaired, Room};
use crate::numbers::Numbering;
use crate::origins::Origins;
use crate::records::{RecordError, Records};
use crate::repeats::Questions;
use crate::roots::{self, RootsError};
use crate::secrets::Secrets;
use crate::serve::Server;
use crate::settings::{Auditor, Settings};
use crate::sink::Sink;
use crate::throttle::Throttle;
use crate::throttle::turns::Turns;
use crate::upkeep::Uploads;
use crate::uptime::{self, Uptimes};
use crate::vault::{Vault, VaultError};

/// How often the clock is compared with the one on the wall.
const CLOCK_WATCH: Duration = Duration::from_secs(5);
/// How often the log says who came and left.
const MINUTE: Duration = Duration::from_secs(60);
/// How often is looked at what grows old.
const HOUR: Duration = Duration::from_secs(3600);

/// File descriptors beside the server's: the store's files, blobs being read, what the runtime needs.
const DESCRIPTORS_BESIDE: u64 = 512;
/// Long answers that are prepared at the same time.
const LONG_ANSWERS_MAX: usize = 2;

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made.
    #[error("{dir}: cannot be made: {error}; choose another with --data-dir")]
    DataDir {
        /// The directory.
        dir: String,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// What lies in the data directory is not all that was in the backup.
    #[error("{dir}: a restore into it did not end; empty it and run `manyhands-coordinator restore` again")]
    Restoring {
        /// The directory.
        dir: String,
    },
    /// The address is not free.
    #[error("{address}: cannot listen: {error}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] manyhands_store::OpenError),
    /// The blobs cannot be opened.
    #[error(transparent)]
    Blobs(#[from] manyhands_store::BlobError),
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// The keys cannot be read or made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The vault's keys do not fit the data.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The tokens cannot be read or made.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The way out cannot be set up.
    #[error("calls: {0}")]
    Egress(#[from] manyhands_egress::SettingsError),
    /// The operator's authorities cannot be read.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// A coordinator that serves.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// What volunteers are given.
    pub join: String,
    /// Cancel it to stop.
    pub stop: CancellationToken,
    server: JoinHandle<crate::serve::Drained>,
    hand: JoinHandle<Result<(), RecordError>>,
    history: JoinHandle<()>,
    looking: JoinHandle<()>,
    calls: Calls,
    vault: Arc<Vault>,
    drain_time: Duration,
}

impl Running {
    /// Waits until the coordinator has stopped, and says whether it could write to the end.
    ///
    /// # Errors
    /// The [`RecordError`] for which it stopped.
    pub async fn ended(self) -> Result<(), RecordError> {
        self.stop.cancelled().await;
        if let Ok(drained) = self.server.await
            && drained.cut > 0
        {
            warn!(connections = drained.cut, "connections were still busy and were cut");
        }
        // What is on its way ends, and is written down; whatever takes longer is as after a crash.
        if tokio::time::timeout(self.drain_time, self.calls.ended()).await.is_err() {
            warn!("calls were still on their way and were cut; what nobody knows of them is listed at the next start");
        }
        let result = self.hand.await;
        // What is copied while nothing runs, and put back after the next start, is then recognised.
        if let Err(error) = self.vault.grow() {
            warn!(%error, "the vault could not grow older");
        }
        // It writes down the last minute.
        let _ended = self.history.await;
        let _ended = self.looking.await;
        match result {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Starts a coordinator; it serves when this returns.
///
/// # Errors
/// [`StartError`], before anything is served.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let began = Instant::now();
    take_descriptors(crate::serve::descriptors_max(&settings.limits));
    let metrics = Metrics::new();
    let counted = metrics.clone();
    let (opened, settings) = blocking(move || Ok((open(&settings, counted)?, settings))).await?;
    let Opened { clock, store, records, catalogue, vault, keys, tokens, invitations, blocklists, .. } = opened;
    let Opened { scheduler, hub, monitor, uptimes, repairs, .. } = opened;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| StartError::Listen { address: settings.listen, error })?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    if settings.public_url.is_none() && address.ip().is_unspecified() {
        warn!("the join link names no address that other computers can reach; set `public_url`");
    }
    let base = settings.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let join = format!("{}/join#{}", base.trim_end_matches('/'), keys.root().fingerprint());

    let stop = CancellationToken::new();
    for repair in &repairs {
        metrics.repaired(if matches!(repair, Repair::TornTail { .. }) { Repaired::TornTail } else { Repaired::Damage });
    }
    let authority =
        Arc::new(Authority::new(keys, Arc::clone(&catalogue), clock.now(), floors(&catalogue, &scheduler))?);
    let secrets = Secrets::new(records.clone(), Arc::clone(&catalogue), Arc::clone(&vault));
    let desk = Desk::new(desk::Parts {
        records: records.clone(),
        catalogue: Arc::clone(&catalogue),
        clock: clock.clone(),
        turns: Turns::new(&settings.throttling, CALLS_OF_ONE_AT_ONCE, metrics.clone()),
        stop: stop.clone(),
    });
    let sink = Sink::new(desk.clone(), secrets.clone(), entropy()?);
    let calls = Calls::start(calls::Parts {
        desk,
        egress: egress(&settings, address)?,
        vault: Arc::clone(&vault),
        unknown_time: Duration::from_millis(settings.calls.unknown_ms),
    })?;
    let lease_margin = Duration::from_millis(settings.scheduling.lease_ms);
    let auditing = Auditing::open(&records, &settings.verification, lease_margin, entropy()?)?;
    let own = Own {
        dir: settings.data_dir.join("auditor"),
        address,
        root: authority.root().fingerprint(),
        slots: settings.verification.auditor_slots,
    };
    let changes = Changes::open(&records)?;
    let origins = Origins::new(&settings.verification, entropy()?);
    let book = Arc::new(tokio::sync::Mutex::new(Book::new(records.clone())));
    let (core, hand) = core::start(Parts {
        scheduler,
        auditing: auditing.clone(),
        changes: changes.clone(),
        catalogue: Arc::clone(&catalogue),
        records: records.clone(),
        calls: calls.clone(),
        sink,
        secrets: secrets.clone(),
        book: Arc::clone(&book),
        authority: Arc::clone(&authority),
        hub: hub.clone(),
        metrics: metrics.clone(),
        monitor: monitor.clone(),
        clock: clock.clone(),
        queue: settings.limits.core_queue_max as usize,
        room: core::Room { runs: settings.limits.active_runs_max, units: settings.limits.queued_units_max },
        stop: stop.clone(),
    });
    let told = clock.clone();
    let idempotency = Idempotency::new(Arc::clone(records.store()), move || told.now());
    let data_dir = settings.data_dir.clone();
    let limits = settings.limits.clone();
    let (drain_time, under_way) = (Duration::from_millis(limits.drain_timeout_ms), calls.clone());
    let growing = Arc::clone(&vault);
    let questions = Questions::new(records.clone(), settings.scheduling.repeats);
    let throttle = Throttle::new(&settings.throttling, metrics.clone());
    let app = App::from(Inner {
        settings,
        clock,
        numbering: Numbering::new(records.clone()),
        records,
        catalogue,
        vault,
        secrets,
        calls,
        uptimes,
        auditing: auditing.clone(),
        changes,
        origins,
        blocklists,
        invitations,
        book,
        questions,
        authority,
        core,
        hub,
        tokens,
        throttle,
        idempotency,
        metrics: metrics.clone(),
        monitor,
        door: console::door(&join),
        stop: stop.clone(),
        join: join.clone(),
        publishing: tokio::sync::Mutex::default(),
        store,
        upkeep: Arc::default(),
        uploads: Uploads::default(),
        submitting: Mutex::default(),
        clients: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        turns: tokio::sync::Semaphore::new(LONG_ANSWERS_MAX),
        random: Mutex::new(ChaCha20Rng::from_seed(entropy()?)),
    });
    tokio::spawn(every_hour(app.clone()));
    tokio::spawn(credit::tell_workers(app.clone()));
    tokio::spawn(every_minute(app.clone()));
    tokio::spawn(after_leaps(app.clone()));
    tokio::spawn(after_reopening(app.clone()));
    tokio::spawn(backup::schedule::run(app.clone()));
    tokio::spawn(finish_revocations(app.clone()));
    let history = tokio::spawn(console::keep_history(app.clone()));
    let looking = tokio::spawn(uptime::keep(app.clone()));
    let drawn = app.clone();
    tokio::spawn(async move { drawn.monitor.live().run(&drawn.clock, &drawn.stop).await });
    metrics.started(began.elapsed(), &data_dir);
    let server = Server { listener, router: crate::api::router(app), limits, metrics, stop: stop.clone() };
    let server = tokio::spawn(server.run());
    // It connects like any other worker, so not before.
    if auditing.mode() == Auditor::Own {
        tokio::spawn(keep_one(auditing, own, stop.clone()));
    }
    note(&data_dir, "join", &join);
    // Last: who finds it finds the rest as well.
    note(&data_dir, "address", &format!("http://{address}"));
    Ok(Running { address, join, stop, server, hand, history, looking, calls: under_way, vault: growing, drain_time })
}

/// After a leap of the clock the trust list may be too old, or of the future.
async fn after_leaps(app: App) {
    let mut every = tokio::time::interval(CLOCK_WATCH);
    let mut known = app.clock.leaps();
    while app.stop.run_until_cancelled(every.tick()).await.is_some() {
        app.clock.now();
        if std::mem::replace(&mut known, app.clock.leaps()) == app.clock.leaps() {
            continue;
        }
        warn!("the clock was set, or the computer slept; telling workers anew whom to believe");
        // The scheduler learns the time with whatever it is told next.
        let _stopping = app.core.tell(manyhands_scheduler::Input::TimePassed).await;
        if let Err(error) = app.renew_trust().await {
            warn!(%error, "the trust list could not be renewed; it is tried again within the hour");
        }
    }
}

/// A run that ended long ago and goes on may execute a release that has been withdrawn since.
async fn after_reopening(app: App) {
    while app.stop.run_until_cancelled(app.core.reopened()).await.is_some() {
        if let Err(error) = app.renew_trust().await {
            warn!(%error, "the trust list could not be renewed; it is tried again within the hour");
        }
    }
}

/// A crash may have come between a revocation and the end of its runs, which nobody would execute any more.
async fn finish_revocations(app: App) {
    if let Err(error) = crate::api::runs::cancel_revoked(&app).await {
        warn!(%error, "runs of revoked jobs could not be cancelled; revoke the jobs again");
    }
}

/// A line for all workers that came and left, where one for each would bury the others; and the vault grows older.
async fn every_minute(app: App) {
    // It has just grown, before anything else was done.
    let mut every = tokio::time::interval_at(tokio::time::Instant::now() + MINUTE, MINUTE);
    let mut known = app.hub.turnover();
    while app.stop.run_until_cancelled(every.tick()).await.is_some() {
        let now = app.hub.turnover();
        let (came, left) = (now.came - known.came, now.left - known.left);
        if came + left > 0 {
            info!("workers: {} connected, {came} came, {left} left", now.came - now.left);
        }
        known = now;
        if let Err(error) = app.vault_work(Vault::grow).await {
            warn!(%error, "the vault could not grow older; trying again in a minute");
        }
    }
}

/// What grows old: the trust list, answers kept for those who ask twice, values, the keys that they are sealed under, and room on the disk.
async fn every_hour(app: App) {
    let mut every = tokio::time::interval(HOUR);
    while app.stop.run_until_cancelled(every.tick()).await.is_some() {
        if let Some(room) = Room::at(&app.settings.data_dir)
            && room.is_nearly_full()
        {
            let free_mib = room.free >> 20;
            warn!(free_mib, "the disk of the data directory is nearly full; on a full one nothing is acknowledged");
        }
        if let Err(error) = app.renew_trust().await {
            warn!(%error, "the trust list could not be renewed; trying again in an hour");
        }
        if let Err(error) = crate::audit::keep_head(&app).await {
            warn!(%error, "the audit log's head could not be signed; trying again in an hour");
        }
        let idempotency = app.idempotency.clone();
        match tokio::task::spawn_blocking(move || idempotency.purge()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(%error, "old answers could not be removed; trying again in an hour"),
            Err(error) => warn!(%error, "old answers could not be removed; trying again in an hour"),
        }
        if let Err(error) = app.look_after_values().await {
            warn!(%error, "old values could not be looked after; trying again in an hour");
        }
    }
}

struct Opened {
    clock: Clock,
    store: Arc<SledStore>,
    records: Records,
    catalogue: Arc<Catalogue>,
    vault: Arc<Vault>,
    keys: KeyStore,
    tokens: Tokens,
    invitations: Invitations,
    blocklists: Blocklists,
    scheduler: Scheduler,
    hub: Hub,
    monitor: Monitor,
    uptimes: Uptimes,
    repairs: Vec<Repair>,
}

/// Opens everything that is on disk.
fn open(settings: &Settings, metrics: Metrics) -> Result<Opened, StartError> {
    let clock = Clock::start();
    let dir = &settings.data_dir;
    let unusable = |error| StartError::DataDir { dir: dir.display().to_string(), error };
    // Inputs and outputs lie in it as they are: nobody else on this computer is to read them.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    if std::fs::metadata(dir).map_err(unusable)?.permissions().mode() & 0o077 != 0 {
        warn!(dir = %dir.display(), "other users can look into the data directory; run `chmod 700` on it");
    }
    if dir.join(backup::RESTORING).exists() {
        return Err(StartError::Restoring { dir: dir.display().to_string() });
    }
    let (store, opened) = SledStore::open(&dir.join("state"), Options::default())?;
    for repair in &opened.repairs {
        warn!(%repair, "the store was repaired");
    }
    let store = Arc::new(store);
    let keys = KeyStore::open_or_create(&dir.join("keys"), system_entropy, clock.now())?;
    let tokens = Tokens::open(store.clone())?;
    if tokens.ensure_operator(dir, clock.now())? {
        info!(file = %dir.join(OPERATOR_FILE).display(), "the operator's token was written");
    }
    let records = Records::new(store.clone(), Blobs::local(&dir.join("blobs"))?, metrics);
    let vault = Arc::new(Vault::new(settings.vault_key(), records.clone()));
    // Before anything else happens to data that may have been put back from a copy.
    vault.grow()?;
    let swept = records.sweep_broken_submissions()?;
    if swept > 0 {
        info!(inputs = swept, "inputs of submissions that broke off were removed");
    }
    let listed = records.list_owners()?;
    if listed > 0 {
        info!(runs = listed, "runs were listed with their owners, which an older version did not do");
    }
    let catalogue = Arc::new(Catalogue::load(&records)?);
    let trust = Trust {
        run_share_max: f64::from(settings.scheduling.run_share_permille) / 1000.0,
        owner_share_max: f64::from(settings.scheduling.owner_share_permille) / 1000.0,
        requester_share_max: f64::from(settings.scheduling.requester_share_permille) / 1000.0,
        run_units_min: settings.scheduling.run_units_min,
        ..settings.verification.trust()
    };
    let lease_margin = Duration::from_millis(settings.scheduling.lease_ms);
    let policy = Policy {
        lease_margin,
        trust,
        pay: settings.credit.shares(),
        budgets: settings.credit.budgets,
        ..Policy::default()
    };
    // Of this process and the next: what was drawn to be audited stays drawn.
    let mut lottery = [0; 32];
    let secret = keys.signing().mac_key("audit lottery v1");
    lottery.iter_mut().zip(secret.code(b"draws")).for_each(|(byte, code)| *byte = code);
    let mut scheduler = Scheduler::new(policy, entropy()?).with_lottery(lottery);
    let restored = core::restore(&mut scheduler, &records, clock.now())?;
    if restored > 0 {
        info!(runs = restored, "runs go on where they were");
    }
    let uptimes = Uptimes::load(&records)?;
    let invitations = Invitations::load(&records)?;
    let blocklists = Blocklists::load(&records)?;
    let hub = Hub::default();
    let monitor = Monitor::open(&*store, hub.clone()).map_err(RecordError::from)?;
    Ok(Opened {
        clock,
        store,
        records,
        catalogue,
        vault,
        keys,
        tokens,
        invitations,
        blocklists,
        scheduler,
        hub,
        monitor,
        uptimes,
        repairs: opened.repairs,
    })
}

/// The way out, but not to ourselves.
fn egress(settings: &Settings, address: SocketAddr) -> Result<Egress, StartError> {
    let (allowed, own) = (settings.calls.allow.0.clone(), vec![address]);
    let roots = roots::read(&settings.calls.roots)?;
    Ok(Egress::new(manyhands_egress::Settings { allowed, own, roots })?)
}

/// Takes as many file descriptors as this process may have: what it may have is the operator's limit, what it
/// has at first is often a habit from when a thousand were many.
fn take_descriptors(of_the_server: u64) {
    let needed = of_the_server + DESCRIPTORS_BESIDE;
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, most)) => {
            if most < needed {
                warn!(
                    most,
                    needed,
                    "too few open files are allowed for `limits.connections_max`; raise LimitNOFILE or `ulimit -Hn`"
                );
            }
            // Then it stays at what there was.
            let _kept = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        }
        Err(error) => warn!(%error, "the limit on open files cannot be read"),
    }
}

fn floors(catalogue: &Catalogue, scheduler: &Scheduler) -> BTreeMap<manyhands_model::JobName, u64> {
    let floor = |job: Arc<crate::records::JobRecord>| {
        let name = job.manifest.name.clone();
        let lowest = scheduler.serials(&name).fold(job.serial, u64::min);
        (name, lowest)
    };
    catalogue.newest().into_iter().map(floor).collect()
}

fn entropy() -> Result<[u8; 32], getrandom::Error> {
    let mut seed = [0; 32];
    system_entropy(&mut seed)?;
    Ok(seed)
}

/// Leaves a line for those on this computer: scripts and tools. Not needed to serve.
fn note(dir: &Path, name: &str, line: &str) {
    if let Err(error) = std::fs::write(dir.join(name), format!("{line}\n")) {
        warn!(%error, file = %dir.join(name).display(), "cannot be written");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
