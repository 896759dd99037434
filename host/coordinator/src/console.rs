//! The operator's pages: what happens, seen by a person in a browser.
//!
//! Rendered on the server from plain HTML files; every page works without JavaScript, and with it follows what happens.
//! [`mod@door`] lets operators in. [`Monitor`] is told what happens to replicas and keeps little of it: [`live`], the
//! picture, only while somebody looks; [`history`], what happened in a minute; [`samples`], fuel and time of recent
//! replicas. [`pages`], [`mod@worker`] and [`mod@joining`] put that together with what the scheduler and the records say, [`charts`] draws, and [`web`]
//! knows how pages travel.

pub mod charts;
pub mod door;
pub mod events;
pub mod history;
pub mod joining;
pub mod live;
pub mod pages;
pub mod samples;
pub mod web;
pub mod worker;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use manyhands_model::{Digest, LeaseId, Timestamp, UnitId, WorkerId};
use manyhands_protocol::{Body, Receipt};
use manyhands_scheduler::{Consequence, Effect, End, Input, LeaseDraft, Record, RunSpec, Scheduler};
use manyhands_state::{ReadError, StateStore};
use tracing::warn;

use crate::app::App;
use crate::clock::Clock;
use crate::hub::{Hub, Session};

use self::door::Door;
use self::history::{History, Period, Tally};
use self::live::{Holder, Live, Stage};
use self::samples::{Sample, Samples};

/// Units that somebody reported on and machines that failed, remembered for the matrix.
const RECENT_MAX: usize = 512;

/// What a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The native runner.
    Native,
    /// A page in a browser.
    Browser,
    /// Something else, or not connected any more.
    Other,
}

impl Kind {
    /// What a worker says it is. It may lie: nothing is decided by it but who is tried first.
    pub fn of(body: &Body) -> Self {
        if body.runtime.starts_with("manyhands-runner") {
            Self::Native
        } else if body.runtime.starts_with("manyhands-browser") {
            Self::Browser
        } else {
            Self::Other
        }
    }

    /// For a person.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Browser => "browser",
            Self::Other => "other",
        }
    }
}

/// What is told what happens to replicas. Cheap to clone.
#[derive(Clone)]
pub struct Monitor(Arc<Watched>);

struct Watched {
    hub: Hub,
    live: Arc<Live>,
    notes: Mutex<Notes>,
    history: Mutex<History>,
    /// Counts up whenever a page would look different.
    changes: AtomicU64,
}

#[derive(Default)]
struct Notes {
    /// What happened since the last full minute.
    tally: Tally,
    samples: Samples,
    /// Units that somebody reported on, oldest first; some twice.
    units: VecDeque<UnitId>,
    failures: VecDeque<(UnitId, WorkerId)>,
}

fn push<T>(queue: &mut VecDeque<T>, new: T) {
    if queue.len() >= RECENT_MAX {
        queue.pop_front();
    }
    queue.push_back(new);
}

/// Nothing panics while one of these locks is held, and nothing awaits.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Monitor {
    /// One that goes on with the history in the store. Blocks; for the start.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(store: &dyn StateStore, hub: Hub) -> Result<Self, ReadError> {
        let history = Mutex::new(History::load(store)?);
        let (live, notes, changes) = Default::default();
        Ok(Self(Arc::new(Watched { hub, live, notes, history, changes })))
    }

    /// The live picture.
    pub fn live(&self) -> &Arc<Live> {
        &self.0.live
    }

    /// Counts up whenever a page would look different.
    pub fn changes(&self) -> u64 {
        let turnover = self.0.hub.turnover();
        self.0.changes.load(Ordering::Relaxed) + turnover.came + turnover.left
    }

    /// The scheduler is about to hear this.
    pub fn heard(&self, scheduler: &Scheduler, now: Timestamp, input: &Input) {
        match input {
            Input::Reported { worker, module, reports, .. } => {
                let kind = self.0.hub.session(*worker).map_or(Kind::Other, |session| Kind::of(&session.body));
                let held = |id: LeaseId| scheduler.lease_of(id).filter(|held| held.worker == *worker);
                let samples = reports.iter().filter_map(|report| {
                    let took = now.since(held(report.lease.id)?.issued_at);
                    Some(Sample { kind, fuel: report.claims.unwrap_or(report.outcome.fuel), took })
                });
                let samples: Vec<Sample> = samples.collect();
                let mut notes = lock(&self.0.notes);
                for sample in &samples {
                    let tally = &mut notes.tally;
                    tally.replicas += 1;
                    tally.report_ms += u64::try_from(sample.took.as_millis()).unwrap_or(u64::MAX);
                }
                notes.samples.note(*module, samples);
                drop(notes);
                if self.0.live.is_watched() {
                    self.0.live.reported(now, *worker, reports.iter().map(|report| report.lease.id));
                }
            }
            Input::MachineFailed { worker, lease } => {
                let Some(held) = scheduler.lease_of(*lease).filter(|held| held.worker == *worker) else { return };
                let mut notes = lock(&self.0.notes);
                notes.tally.failures += 1;
                push(&mut notes.failures, (held.unit, *worker));
                drop(notes);
                self.ended(now, &[*lease], Stage::Failed);
            }
            Input::Left { worker } if self.0.live.is_watched() => self.0.live.left(now, *worker),
            Input::GaveBack { leases, .. } => self.ended(now, leases, Stage::Undone),
            Input::Submitted(_)
            | Input::Cancel(_)
            | Input::Retry(_)
            | Input::InputReady(_)
            | Input::InputImpossible(_)
            | Input::Answered { .. }
            | Input::Connected { .. }
            | Input::Disconnected { .. }
            | Input::Left { .. }
            | Input::Wants { .. }
            | Input::Progress { .. }
            | Input::Audited { .. }
            | Input::Recalled { .. }
            | Input::Forgotten(_)
            | Input::Pardoned { .. }
            | Input::Deposited { .. }
            | Input::TimePassed => return,
        }
        self.0.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Leases go out to a worker.
    pub fn granted<'a>(
        &self,
        clock: &Clock,
        (worker, session): (WorkerId, &Session),
        spec: &RunSpec,
        drafts: impl Iterator<Item = &'a LeaseDraft>,
    ) {
        self.0.changes.fetch_add(1, Ordering::Relaxed);
        if self.0.live.is_watched() {
            let to = holder(worker, session);
            self.0.live.granted(clock.now(), &to, &spec.job, drafts.map(|draft| (draft.id, draft.unit)));
        }
    }

    /// The scheduler decided this, and it is on disk if it has to be.
    pub fn decided(&self, clock: &Clock, effect: &Effect) {
        let live = &self.0.live;
        match effect {
            Effect::Record(Record::Unit(unit, record)) => {
                if record.replicas.is_empty() || unit.is_decoy() {
                    return;
                }
                let mut notes = lock(&self.0.notes);
                match record.end {
                    Some(End::Done | End::Failed) => notes.tally.accepted += 1,
                    Some(End::Undecided) => notes.tally.undecided += 1,
                    Some(End::Skipped | End::Cancelled) | None => {}
                }
                // What a liar says it used may be any number, so only what was agreed on is added up.
                let fuel = record.paid_for().0.saturating_mul(record.agreeing().count() as u64);
                notes.tally.fuel = notes.tally.fuel.saturating_add(fuel);
                push(&mut notes.units, *unit);
                drop(notes);
                if record.end.is_some() && live.is_watched() {
                    live.judged(*unit, record);
                }
            }
            Effect::Dissent { worker, consequence, .. } => {
                lock(&self.0.notes).tally.disagreements += 1;
                if *consequence == Consequence::Banned && live.is_watched() {
                    live.discarded(*worker);
                }
            }
            Effect::Withdraw { leases, .. } if live.is_watched() => self.ended(clock.now(), leases, Stage::Undone),
            Effect::Receipts { receipts, .. } if live.is_watched() => {
                let refused = |(lease, receipt): &(LeaseId, Receipt)| match receipt {
                    Receipt::Refused(_) => Some(*lease),
                    Receipt::Recorded | Receipt::AlreadyRecorded => None,
                };
                live.ended(clock.now(), receipts.iter().filter_map(refused), Stage::Undone);
            }
            Effect::Receipts { .. }
            | Effect::Withdraw { .. }
            | Effect::Record(Record::Run(_) | Record::Evidence(..) | Record::Worker(..) | Record::Paid(..))
            | Effect::Grant(_)
            | Effect::Assemble { .. }
            | Effect::Call { .. }
            | Effect::Audit { .. }
            | Effect::Recall { .. }
            | Effect::Reopened { .. }
            | Effect::Changed { .. }
            | Effect::Ended(..)
            | Effect::RunEnded(_) => return,
        }
        self.0.changes.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, now: Timestamp, leases: &[LeaseId], stage: Stage) {
        if self.0.live.is_watched() {
            self.0.live.ended(now, leases.iter().copied(), stage);
        }
    }

    /// Shows the slots of all workers, idle ones included.
    fn meet_workers(&self) {
        let workers = self.0.hub.workers();
        self.0.live.meet(workers.iter().map(|(id, session)| holder(*id, session)));
    }

    /// Recent replicas of a job.
    fn samples(&self, module: &Digest) -> Vec<Sample> {
        lock(&self.0.notes).samples.of(module)
    }

    /// The job that was executed last.
    fn latest_module(&self) -> Option<Digest> {
        lock(&self.0.notes).samples.latest()
    }

    /// Units that somebody reported on, newest first, each once; and machines that failed.
    fn recent(&self) -> (Vec<UnitId>, Vec<(UnitId, WorkerId)>) {
        let notes = lock(&self.0.notes);
        let mut seen = std::collections::BTreeSet::new();
        let units = notes.units.iter().rev().copied().filter(|unit| seen.insert(*unit)).collect();
        (units, notes.failures.iter().copied().collect())
    }

    /// How many native workers, browsers and others are connected.
    fn connected(&self) -> (u32, u32, u32) {
        let mut counts = (0, 0, 0);
        for session in self.0.hub.workers().values() {
            match Kind::of(&session.body) {
                Kind::Native => counts.0 += 1,
                Kind::Browser => counts.1 += 1,
                Kind::Other => counts.2 += 1,
            }
        }
        counts
    }

    /// What happened since the last full minute.
    fn tally(&self) -> Tally {
        let (native, browser, other) = self.connected();
        Tally { native, browser, other, ..lock(&self.0.notes).tally }
    }

    /// Sums of the history up to this moment.
    fn sums(&self, period: Period, now: Timestamp, each: u64, count: u64) -> Vec<(u64, Option<Tally>)> {
        let mut sums = lock(&self.0.history).sums(period, now, each, count);
        if let Some((_, last)) = sums.last_mut() {
            last.get_or_insert_with(Tally::default).add(&self.tally());
        }
        sums
    }

    /// Ends a minute, of which `at` is a moment; `expired` leases ran out in it.
    fn end_minute(&self, at: Timestamp, expired: u64) -> Option<manyhands_state::Commit> {
        let (native, browser, other) = self.connected();
        let tally = std::mem::take(&mut lock(&self.0.notes).tally);
        let failures = tally.failures + expired;
        lock(&self.0.history).note(at, &Tally { failures, native, browser, other, ..tally })
    }
}

fn holder(worker: WorkerId, session: &Session) -> Holder<'_> {
    Holder { worker, kind: Kind::of(&session.body), engine: &session.body.engine, slots: session.slots }
}

/// Ends every minute, and the one in which the coordinator stops.
pub async fn keep_history(app: App) {
    let mut expired = 0;
    loop {
        let began = app.clock.now();
        let minute = Period::Minute;
        let next = app.clock.instant(minute.begin(minute.of(began) + 1));
        let stopped = app.stop.run_until_cancelled(tokio::time::sleep_until(next)).await.is_none();
        let known = expired;
        expired = app.core.ask(|scheduler, _| scheduler.expired()).await.unwrap_or(known);
        if let Some(commit) = app.monitor.end_minute(began, expired - known) {
            let store = Arc::clone(app.records.store());
            let written = tokio::task::spawn_blocking(move || store.commit(commit)).await;
            if let Ok(Err(error)) = written {
                warn!(%error, "the history of a minute is not kept; the rest goes on");
            }
        }
        if stopped {
            return;
        }
    }
}

/// What an idle page is told at least once in a while.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Longest form that is taken. Unit: bytes.
const FORM_BYTES_MAX: usize = 4096;

/// The pages and what belongs to them.
pub fn router() -> Router<App> {
    Router::new()
        .route("/operator", get(pages::overview))
        .route("/operator/runs", get(pages::runs))
        .route("/operator/runs/{id}", get(pages::run))
        .route("/operator/workers", get(pages::workers))
        .route("/operator/workers/{id}", get(worker::worker))
        .route("/operator/joining", get(joining::joining))
        .route("/operator/units", get(pages::units))
        .route("/operator/enter", get(pages::enter_form).post(pages::enter))
        .route("/operator/leave", post(pages::leave))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .route("/operator/events", get(events::events))
        .route("/operator/assets/{name}", get(web::asset))
        .layer(axum::middleware::map_response(web::guard))
}

/// A door for the coordinator that volunteers join at `join`.
pub fn door(join: &str) -> Door {
    Door::new(join.split("/join#").next().unwrap_or_default())
}
