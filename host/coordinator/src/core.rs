//! Drives the scheduler, and carries out what it asks for.
//!
//! Two loops. The *mind* owns the scheduler: it takes whatever waits, tells the scheduler, and hands on what
//! should happen as a batch; where somebody waits for one unit, it sends the leases itself. The *hand* sends the leases of all waiting batches, makes their records durable
//! with one commit, then performs the other effects: whoever is told something is told what is on disk, and a
//! lease tells nobody anything. While the hand waits for the disk, workers execute and the next batch fills; the
//! slower the disk, the larger the groups.
//!
//! Every decision is the scheduler's. A full disk is waited for; when a commit fails otherwise, the hand stops
//! and with it the process: nothing of what followed was acknowledged, workers keep their reports, and a
//! restart begins from what is on disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::DerefMut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use manyhands_abi::{INPUT_BYTES_MAX, parts};
use manyhands_credit::{Account, Postings};
use manyhands_model::{Digest, LeaseId, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{Grant, LEASES_MAX, Leases, Receipt, ServerMessage, Settlement, Task};
use manyhands_scheduler::{
    Consequence, Effect, Fault, Input, LeaseDraft, Paid, Record, Rule, RunRecord, RunSpec, Scheduler, UnitRecord,
    WorkerRecord,
};
use manyhands_signing::Validity;
use manyhands_state::{Commit, CommitError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::audit::{self, Ledger, Scribe};
use crate::auditing::Auditing;
use crate::authority::Authority;
use crate::calls::Calls;
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::console::Monitor;
use crate::credit::{self, Book};
use crate::desk::whose;
use crate::hub::Hub;
use crate::metrics::{Metrics, ReportResult};
use crate::records::{ChangedRecord, Content, FaultRecord, Pack, PardonRecord, RecordError, Records, Writes};
use crate::secrets::{Secrets, SecretsError};
use crate::sink::Sink;

/// Events that the mind takes before it hands on a batch.
const BATCH_EVENTS: usize = 512;
/// How long the beginning of an invocation waits to be made durable with its answer, under one fsync.
const INVOKED_HELD: Duration = Duration::from_millis(5);
/// Batches that may wait for the hand; then the mind waits.
const BATCHES: usize = 16;
/// Commits stay well below the store's largest.
const COMMIT_BYTES: usize = manyhands_state::commit::COMMIT_BYTES_MAX / 2;
/// Units that share a commit, in bytes, but for the last: what was paid for them and who was has to fit in as well.
const PAID_BYTES: usize = COMMIT_BYTES / 4;
/// A line of the audit log about an answer, and where the log ends, at most.
const AUDIT_BYTES: usize = 1 << 10;
/// Inputs that go out in one frame, in bytes, but for the last.
const GRANT_BYTES: usize = 256 << 10;
/// Packs of inputs that are kept at hand: replicas of a unit go out one soon after the other.
const PACKS: usize = 256;
/// Outputs that are known to be on disk: replicas of a unit bring the same one.
const OUTPUTS: usize = 4096;
/// Units that ended together and share a record, at most.
const ENDED_TOGETHER: usize = 4096;
/// How often a full disk is tried again.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(500);

/// Something that somebody wants to know of the scheduler.
type Question = Box<dyn FnOnce(&Scheduler, Timestamp) + Send>;

/// Something for the mind.
pub enum Event {
    /// Tell the scheduler.
    Input(Input),
    /// Tell the scheduler that a worker reported; short outputs become durable with the reports.
    Reported(Input, Vec<Content>),
    /// Tell the scheduler what the operator's own machine says, and the machine when that is on disk.
    Audited {
        /// Under which lease.
        lease: (WorkerId, LeaseId),
        /// What it says.
        input: Input,
        /// What came out, if it was short.
        output: Option<Content>,
    },
    /// Tell the scheduler of a run of one unit, if there is room for it; its lease goes out at once, and it becomes
    /// durable with whatever comes of it, or soon.
    Invoked(Box<Invoked>),
    /// Tell the scheduler that an operator overrules, and somebody when that is on disk.
    Pardon(Pardon),
    /// Take a run back that is not active, then tell the scheduler.
    Reopen(Box<RunRecord>, Vec<(u32, UnitRecord)>, BTreeSet<u32>, Input),
    /// Look at the scheduler.
    Ask(Question),
}

/// A run of one unit, for which somebody waits.
pub struct Invoked {
    /// As it begins.
    pub run: RunRecord,
    /// The input.
    pub input: Content,
    /// What it is asked, if others may be told its answer as well; see `repeats.rs`.
    pub question: Option<Digest>,
}

/// An operator overrules what a worker's faults led to.
pub struct Pardon {
    worker: WorkerId,
    record: PardonRecord,
    /// Told once it is on disk.
    done: oneshot::Sender<()>,
}

/// How much may be waiting.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Active runs.
    pub runs: u64,
    /// Units that have not ended.
    pub units: u64,
}

/// There is no room for another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Too many runs.
    #[error("{0} runs are active already, and at most {1} may be; come again later")]
    Runs(u64, u64),
    /// Too many units.
    #[error("{0} units are waiting already, and at most {1} may; come again later")]
    Units(u64, u64),
}

impl Room {
    /// Whether a run of so many units fits in.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn fits(self, scheduler: &Scheduler, units: u64) -> Result<(), NoRoom> {
        let (runs, open) = (scheduler.active_runs() as u64, scheduler.open_units());
        if runs >= self.runs {
            return Err(NoRoom::Runs(runs, self.runs));
        }
        if open + units > self.units { Err(NoRoom::Units(open, self.units)) } else { Ok(()) }
    }
}

/// The coordinator has stopped, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator is stopping; try again in a moment")]
pub struct Stopping;

/// What can be seen of the mind without asking it.
#[derive(Debug)]
struct Pulse {
    began: Instant,
    /// Since when it has been busy with what it took, as milliseconds after `began`, and 1 more; 0 while it waits.
    busy_since: AtomicU64,
}

impl Pulse {
    fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), busy_since: AtomicU64::new(0) })
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn is_busy(&self) {
        self.busy_since.store(self.milliseconds() + 1, Ordering::Relaxed);
    }

    fn waits(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.milliseconds() + 1).saturating_sub(since)),
        }
    }
}

/// The way to the mind. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    events: mpsc::Sender<Event>,
    batches: mpsc::WeakSender<Batch>,
    disk_full: Arc<AtomicBool>,
    pulse: Arc<Pulse>,
    reopened: Arc<Notify>,
}

impl Core {
    /// Waits until a run that had ended goes on. Its release may have been withdrawn by then.
    pub async fn reopened(&self) {
        self.reopened.notified().await;
    }

    /// Whether the disk is full, so that nothing new can be taken on.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    /// How long the mind has been busy with what it took last; none once it has stopped. Asks nobody, so it costs
    /// the same however much waits.
    pub fn busy_for(&self) -> Option<Duration> {
        if self.events.is_closed() { None } else { Some(self.pulse.busy_for()) }
    }

    /// How many events wait for the mind, and how many batches for the hand.
    pub fn queues(&self) -> (usize, usize) {
        let events = self.events.max_capacity() - self.events.capacity();
        let batches = self.batches.upgrade().map_or(0, |batches| batches.max_capacity() - batches.capacity());
        (events, batches)
    }

    /// Tells the mind; waits while its queue is full.
    ///
    /// # Errors
    /// [`Stopping`].
    pub async fn send(&self, event: Event) -> Result<(), Stopping> {
        self.events.send(event).await.map_err(|_| Stopping)
    }

    /// Tells the scheduler.
    ///
    /// # Errors
    /// [`Stopping`].
    pub async fn tell(&self, input: Input) -> Result<(), Stopping> {
        self.send(Event::Input(input)).await
    }

    /// Pardons a worker, and waits until that is on disk.
    ///
    /// # Errors
    /// [`Stopping`]; then nobody knows whether it was.
    pub async fn pardon(&self, worker: WorkerId, record: PardonRecord) -> Result<(), Stopping> {
        let (done, is_done) = oneshot::channel();
        self.send(Event::Pardon(Pardon { worker, record, done })).await?;
        is_done.await.map_err(|_| Stopping)
    }

    /// Asks the scheduler.
    ///
    /// # Errors
    /// [`Stopping`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Scheduler, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (answer, answered) = oneshot::channel();
        let question = move |scheduler: &Scheduler, now| drop(answer.send(question(scheduler, now)));
        self.send(Event::Ask(Box::new(question))).await?;
        answered.await.map_err(|_| Stopping)
    }
}

/// What the two loops need.
pub struct Parts {
    /// The scheduler, with all active runs restored.
    pub scheduler: Scheduler,
    /// The coordinator's memory.
    pub records: Records,
    /// Who signs.
    pub authority: Arc<Authority>,
    /// Who makes calls.
    pub calls: Calls,
    /// Who answers decoys that ask for some.
    pub sink: Sink,
    /// Which units the operator's own machines execute.
    pub auditing: Auditing,
    /// How many answers are not what they were.
    pub changes: Changes,
    /// The published jobs.
    pub catalogue: Arc<Catalogue>,
    /// Who puts tokens in the place of values.
    pub secrets: Secrets,
    /// The ledger of fuel.
    pub book: credit::Shared,
    /// Who listens.
    pub hub: Hub,
    /// What is counted.
    pub metrics: Metrics,
    /// Who tells operators what happens.
    pub monitor: Monitor,
    /// The clock.
    pub clock: Clock,
    /// Events that may wait.
    pub queue: usize,
    /// Runs and units that may wait.
    pub room: Room,
    /// Cancelled by the hand when it cannot go on; cancel it to stop both loops.
    pub stop: CancellationToken,
}

/// What the mind hands on.
#[derive(Default)]
struct Batch {
    /// Leases to be sent at once.
    leases: Vec<LeaseDraft>,
    /// Runs that begin with it.
    invoked: Vec<Invoked>,
    /// Outputs that came with reports.
    outputs: Vec<Content>,
    /// Everything else, in order.
    effects: Vec<Effect>,
    /// What an operator said after all that.
    pardon: Option<Pardon>,
}

impl Batch {
    fn drain(&mut self, scheduler: &mut Scheduler) {
        while let Some(effect) = scheduler.poll_effect() {
            match effect {
                Effect::Grant(draft) => self.leases.push(draft),
                effect => self.effects.push(effect),
            }
        }
    }

    /// Whether somebody waits for it. Whoever invoked a job waits for the answer, and that is another batch.
    fn is_urgent(&self) -> bool {
        !(self.leases.is_empty() && self.outputs.is_empty() && self.effects.is_empty() && self.pardon.is_none())
    }
}

/// Starts both loops. The handle ends when the last batch is carried out.
pub fn start(parts: Parts) -> (Core, tokio::task::JoinHandle<Result<(), RecordError>>) {
    let Parts { scheduler, records, authority, calls, sink, auditing, changes, catalogue, secrets, book, hub, .. } =
        parts;
    let Parts { metrics, monitor, clock, queue, room, stop, .. } = parts;
    let (events, inbox) = mpsc::channel(queue);
    let (batches, waiting) = mpsc::channel(BATCHES);
    let (batches_there, pulse) = (batches.downgrade(), Pulse::new());
    let core = Core { events, batches: batches_there, disk_full: Arc::default(), pulse, reopened: Arc::default() };
    let runtime = tokio::runtime::Handle::current();
    // Later runs of this process continue where earlier ones ended: the revision has grown since.
    let sequence = records.store().revision().0 << 20;
    let clerk = Clerk {
        records,
        authority,
        calls,
        sink,
        auditing,
        changes,
        catalogue,
        secrets,
        hub,
        metrics,
        monitor,
        clock,
        core: core.clone(),
        runtime,
    };
    tokio::spawn(clerk.auditing.clone().run(clerk.clone(), stop.clone()));
    let hand = Hand {
        sequence,
        clerk: clerk.clone(),
        book,
        runs: BTreeMap::new(),
        packs: Recent::new(PACKS),
        outputs: Recent::new(OUTPUTS),
        stop: stop.clone(),
    };
    tokio::spawn(mind(clerk, room, scheduler, inbox, batches, stop.clone()));
    // The store blocks, so the hand has a thread of its own.
    let handle = tokio::task::spawn_blocking(move || {
        let result = hand.work(waiting);
        if let Err(error) = &result {
            error!(%error, "the store cannot be written; stopping, so that nothing is acknowledged that is not on disk");
        }
        stop.cancel();
        result
    });
    (core, handle)
}

async fn mind(
    clerk: Clerk,
    room: Room,
    mut scheduler: Scheduler,
    mut inbox: mpsc::Receiver<Event>,
    batches: mpsc::Sender<Batch>,
    stop: CancellationToken,
) {
    let (clock, pulse) = (clerk.clock.clone(), Arc::clone(&clerk.core.pulse));
    let mut batch = Batch::default();
    let mut held_until = None;
    loop {
        batch.drain(&mut scheduler);
        let now = tokio::time::Instant::now();
        if batch.is_urgent() || held_until.is_some_and(|until| until <= now) {
            held_until = None;
            if batches.send(std::mem::take(&mut batch)).await.is_err() {
                return;
            }
        } else if !batch.invoked.is_empty() {
            held_until.get_or_insert(now + INVOKED_HELD);
        }
        let wake = scheduler.wake_at().map(|at| clock.instant(at)).into_iter().chain(held_until).min();
        pulse.waits();
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = inbox.recv() => event,
            () = sleep_until(wake) => Some(Event::Input(Input::TimePassed)),
        };
        let Some(mut event) = event else { return };
        pulse.is_busy();
        for _ in 0..BATCH_EVENTS {
            match event {
                Event::Input(input) => {
                    let now = clock.now();
                    clerk.monitor.heard(&scheduler, now, &input);
                    scheduler.handle(now, input);
                }
                Event::Reported(input, outputs) => {
                    batch.outputs.extend(outputs);
                    let now = clock.now();
                    clerk.monitor.heard(&scheduler, now, &input);
                    scheduler.handle(now, input);
                }
                Event::Audited { lease: (worker, lease), input, output } => {
                    batch.outputs.extend(output);
                    scheduler.handle(clock.now(), input);
                    batch.drain(&mut scheduler);
                    let receipts = vec![(lease, Receipt::Recorded)];
                    batch.effects.push(Effect::Receipts { worker, receipts });
                }
                Event::Invoked(invoked) => match room.fits(&scheduler, 1) {
                    Ok(()) => {
                        scheduler.handle(clock.now(), Input::Submitted(invoked.run.spec.clone()));
                        batch.drain(&mut scheduler);
                        clerk.grant_invoked(&invoked, &mut batch.leases);
                        batch.invoked.push(*invoked);
                    }
                    Err(full) => clerk.hub.refuse(UnitId { run: invoked.run.spec.id, index: 0 }, full),
                },
                Event::Pardon(pardon) => {
                    scheduler.handle(clock.now(), Input::Pardoned { worker: pardon.worker });
                    batch.drain(&mut scheduler);
                    batch.pardon = Some(pardon);
                    // What comes after it is for another batch: a fault that is found then is no longer pardoned.
                    break;
                }
                Event::Reopen(record, units, ready, input) => {
                    scheduler.restore_run(clock.now(), *record, units, |unit| ready.contains(&unit));
                    scheduler.handle(clock.now(), input);
                }
                Event::Ask(question) => question(&scheduler, clock.now()),
            }
            match inbox.try_recv() {
                Ok(next) => event = next,
                Err(_) => break,
            }
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What has to be on disk for these batches, in order: of what changed more than once, only the last. A unit's record, which says
/// that it was paid for, what was paid, and what the audit log says of a new answer are in one commit; and so are a worker's record
/// and what the log says of it. Whoever writes into the log is asked for if there is something to be written.
fn commits<L: DerefMut<Target = Ledger>>(
    batches: &[Batch],
    sequence: &mut u64,
    outputs: &Recent<Digest, ()>,
    (book, now): (&mut Book, Timestamp),
    scribe: impl FnOnce() -> Result<Scribe<L>, RecordError>,
) -> Result<(Vec<Commit>, Option<Scribe<L>>), RecordError> {
    let mut next = || {
        *sequence += 1;
        *sequence
    };
    let mut writes = Writes::default();
    let mut units: BTreeMap<UnitId, &UnitRecord> = BTreeMap::new();
    let mut workers: BTreeMap<WorkerId, &WorkerRecord> = BTreeMap::new();
    let mut runs: BTreeMap<RunId, &RunRecord> = BTreeMap::new();
    let mut ended: BTreeMap<RunId, Vec<u32>> = BTreeMap::new();
    let mut written: BTreeSet<Digest> = BTreeSet::new();
    let mut payments: BTreeMap<UnitId, Vec<&Paid>> = BTreeMap::new();
    let mut changes: BTreeMap<UnitId, Vec<Change<'_>>> = BTreeMap::new();
    // What the audit log says of workers, in order.
    let mut judged: Vec<audit::Event> = Vec::new();
    let mut faults: Vec<(WorkerId, &Fault)> = Vec::new();
    let mut pardons: Vec<(WorkerId, &PardonRecord)> = Vec::new();
    for batch in batches {
        for Invoked { run, input, question } in &batch.invoked {
            writes.inputs(run.spec.id, &Pack { first: 0, inputs: vec![input.clone()] });
            writes.owner(run);
            if let Some(question) = question {
                writes.asked(*question, run.spec.id);
            }
            runs.insert(run.spec.id, run);
        }
        for Content { digest, inline } in &batch.outputs {
            if let Some(bytes) = inline
                && !outputs.known.contains_key(digest)
                && written.insert(*digest)
            {
                writes.output(*digest, bytes);
            }
        }
        for effect in &batch.effects {
            let record = match effect {
                Effect::Record(record) => record,
                Effect::Changed { unit, was } => {
                    // What it is now was said right before.
                    let is = units.get(unit).and_then(|record| record.accepted.as_ref());
                    changes.entry(*unit).or_default().push(Change { was: was.as_ref(), is });
                    continue;
                }
                Effect::Dissent { worker, fault, consequence } => {
                    match consequence {
                        // Under a fixed rule, somebody who is outvoted now and then goes on.
                        Consequence::Pardoned | Consequence::Doubt => {}
                        Consequence::Caught | Consequence::Banned => judged.push(audit::Event::WorkerCaught {
                            worker: *worker,
                            unit: fault.unit,
                            by: fault.judge,
                            banned: *consequence == Consequence::Banned,
                        }),
                    }
                    faults.push((*worker, fault));
                    continue;
                }
                _ => continue,
            };
            match record {
                Record::Evidence(run, worker, reports) => writes.evidence(*run, *worker, next(), reports),
                Record::Run(run) => drop(runs.insert(run.spec.id, run)),
                Record::Worker(id, worker) => drop(workers.insert(*id, worker)),
                Record::Paid(id, paid) => payments.entry(*id).or_default().push(paid),
                Record::Unit(id, unit) => {
                    // Nobody reads a decoy's answer.
                    if unit.end.is_some() && !id.is_decoy() {
                        ended.entry(id.run).or_default().push(id.index);
                    }
                    units.insert(*id, unit);
                }
            }
        }
        if let Some(Pardon { worker, record, .. }) = &batch.pardon {
            let PardonRecord { by, reason, .. } = record.clone();
            judged.push(audit::Event::WorkerPardoned { worker: *worker, reason, by });
            pardons.push((*worker, record));
        }
    }
    let mut commits = Vec::new();
    if writes.0.bytes() > COMMIT_BYTES {
        commits = std::mem::take(&mut writes).split(COMMIT_BYTES);
    }
    let hour = book.hour(now)?;
    let mut scribe = if changes.is_empty() && judged.is_empty() { None } else { Some(scribe()?) };
    let (mut postings, mut bytes) = (Postings::default(), 0);
    for (id, unit) in units {
        writes.unit(id, unit);
        bytes += writes.last_bytes();
        for Change { was, is } in changes.remove(&id).unwrap_or_default() {
            writes.changed(id.run, next(), &ChangedRecord { index: id.index, at: now, was: was.cloned() });
            bytes += writes.last_bytes() + AUDIT_BYTES;
            let (was, is) = (was.map(audit::answer), is.map(audit::answer));
            if let Some(scribe) = &mut scribe {
                scribe.write(now, audit::Event::ResultChanged { unit: id, was, is }, &mut writes);
            }
        }
        let paid = payments.remove(&id).unwrap_or_default();
        paid.into_iter().for_each(|paid| credit::pay(&mut postings, hour, id.run, paid));
        if bytes > PAID_BYTES {
            book.post(std::mem::take(&mut postings), &mut writes)?;
            commits.push(std::mem::take(&mut writes).0);
            bytes = 0;
        }
    }
    book.post(postings, &mut writes)?;
    for (run, indices) in ended {
        indices.chunks(ENDED_TOGETHER).for_each(|some| writes.ended(run, some, next()));
    }
    workers.into_iter().for_each(|(id, worker)| writes.worker(id, worker));
    for (worker, fault) in faults {
        writes.fault(worker, next(), &FaultRecord { at: now, fault: fault.clone() });
    }
    pardons.into_iter().for_each(|(worker, pardon)| writes.pardon(worker, next(), pardon));
    if let Some(scribe) = &mut scribe {
        judged.into_iter().for_each(|event| scribe.write(now, event, &mut writes));
    }
    // Last: a run that has ended has all its units.
    runs.into_values().for_each(|run| writes.run(run));
    if !writes.0.ops.is_empty() {
        commits.push(writes.0);
    }
    Ok((commits, scribe))
}

/// An answer that is not what it was.
struct Change<'a> {
    was: Option<&'a Outcome>,
    is: Option<&'a Outcome>,
}

/// The last few things of a kind, the oldest of which is forgotten first.
struct Recent<K, V> {
    most: usize,
    known: BTreeMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Ord + Copy, V> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self { most, known: BTreeMap::new(), order: VecDeque::new() }
    }

    fn insert(&mut self, key: K, value: V) {
        if self.known.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// What is told once for all effects of some batches.
#[derive(Default)]
struct After {
    receipts: Vec<(WorkerId, Vec<(LeaseId, Receipt)>)>,
    withdrawn: BTreeMap<WorkerId, Vec<LeaseId>>,
    /// Whether anybody wants to know what becomes of units.
    is_watched: bool,
    settled: BTreeMap<WorkerId, Vec<(UnitId, Settlement)>>,
    changed: BTreeSet<RunId>,
}

impl After {
    fn send_receipts(&mut self, hub: &Hub) {
        self.receipts.drain(..).for_each(|(worker, receipts)| hub.send(worker, ServerMessage::Receipts(receipts)));
    }
}

struct Hand {
    clerk: Clerk,
    book: credit::Shared,
    sequence: u64,
    /// Active runs for which leases were signed.
    runs: BTreeMap<RunId, Arc<RunSpec>>,
    /// By run and last unit.
    packs: Recent<(RunId, u32), Pack>,
    outputs: Recent<Digest, ()>,
    stop: CancellationToken,
}

impl Hand {
    fn work(mut self, mut waiting: mpsc::Receiver<Batch>) -> Result<(), RecordError> {
        while let Some(first) = waiting.blocking_recv() {
            let mut batches = vec![first];
            while let Ok(next) = waiting.try_recv() {
                batches.push(next);
            }
            let mut leases: BTreeMap<(WorkerId, RunId), Vec<LeaseDraft>> = BTreeMap::new();
            for batch in &mut batches {
                for Invoked { run, input, .. } in &batch.invoked {
                    let id = run.spec.id;
                    self.runs.insert(id, Arc::new(run.spec.clone()));
                    self.packs.insert((id, 0), Pack { first: 0, inputs: vec![input.clone()] });
                }
                for draft in batch.leases.drain(..) {
                    leases.entry((draft.worker, draft.unit.run)).or_default().push(draft);
                }
            }
            for ((worker, run), drafts) in leases {
                self.grant(worker, run, drafts);
            }
            self.record(&batches)?;
            for Pardon { done, .. } in batches.iter_mut().filter_map(|batch| batch.pardon.take()) {
                // Whoever asked may have gone.
                let _gone = done.send(());
            }
            let begun = batches.iter().flat_map(|batch| &batch.invoked).map(|invoked| invoked.run.spec.id);
            let is_watched = self.clerk.hub.are_any_watched();
            let mut after = After { changed: begun.collect(), is_watched, ..After::default() };
            for effect in batches.into_iter().flat_map(|batch| batch.effects) {
                self.perform(effect, &mut after)?;
            }
            let hub = &self.clerk.hub;
            // Whoever waits for an answer is told first.
            after.send_receipts(hub);
            after.withdrawn.into_iter().for_each(|(worker, leases)| hub.cancel(worker, &leases));
            after.settled.into_iter().for_each(|(worker, units)| hub.settled(worker, &units));
            after.changed.into_iter().for_each(|run| hub.changed(run));
        }
        Ok(())
    }

    /// Makes the records of all batches durable with one wait for the disk; waits for room on a full one.
    fn record(&mut self, batches: &[Batch]) -> Result<(), RecordError> {
        let Clerk { records, metrics, core, clock, calls, .. } = &self.clerk;
        loop {
            // Nobody else posts before this is on the disk.
            let mut book = self.book.blocking_lock();
            let ledgers = (&mut *book, clock.now());
            let (commits, scribe) = commits(batches, &mut self.sequence, &self.outputs, ledgers, || calls.scribe())?;
            if commits.is_empty() {
                return Ok(());
            }
            let started = Instant::now();
            let done = records.store().commit_all(commits);
            let is_partly_written = done.iter().any(Result::is_ok);
            let failed = done.into_iter().find_map(Result::err);
            match (&failed, scribe) {
                (Some(_), _) => book.forget(),
                (None, scribe) => scribe.into_iter().for_each(Scribe::end),
            }
            drop(book);
            metrics.commit(started.elapsed());
            let was_full = core.disk_full.swap(matches!(failed, Some(CommitError::Full(_))), Ordering::Relaxed);
            match failed {
                None => {
                    if was_full {
                        info!("there is room on the disk again; going on");
                    }
                    for output in batches.iter().flat_map(|batch| &batch.outputs) {
                        self.outputs.insert(output.digest, ());
                    }
                    return Ok(());
                }
                // What has been written in part must not be made up anew: it would be paid twice. The next process sees how far it went.
                Some(error @ CommitError::Full(_)) if !is_partly_written && !self.stop.is_cancelled() => {
                    if !was_full {
                        error!(%error, "nothing is acknowledged until there is room");
                    }
                    std::thread::sleep(FULL_DISK_PAUSE);
                }
                Some(error) => {
                    metrics.commit_failed();
                    return Err(error.into());
                }
            }
        }
    }

    fn perform(&mut self, effect: Effect, after: &mut After) -> Result<(), RecordError> {
        let Clerk { hub, metrics, monitor, runtime, clock, .. } = &self.clerk;
        monitor.decided(clock, &effect);
        match effect {
            Effect::Record(Record::Unit(unit, record)) => {
                if record.end.is_some() {
                    hub.ended(unit, &record);
                }
                after.changed.insert(unit.run);
                if after.is_watched {
                    let index = self.told(unit)?;
                    for (worker, settlement) in record.settlements() {
                        after.settled.entry(worker).or_default().push((UnitId { index, ..unit }, settlement));
                    }
                }
            }
            Effect::Record(Record::Run(run)) => {
                after.changed.insert(run.spec.id);
            }
            Effect::Record(Record::Evidence(..) | Record::Worker(..) | Record::Paid(..)) | Effect::Ended(..) => {}
            Effect::Grant(draft) => error!(lease = %draft.id, "a lease was not sent"),
            Effect::Receipts { worker, receipts } => {
                for (_, receipt) in &receipts {
                    metrics.report(match receipt {
                        Receipt::Recorded => ReportResult::Accepted,
                        Receipt::AlreadyRecorded => ReportResult::Repeated,
                        Receipt::Refused(_) => ReportResult::Refused,
                    });
                }
                after.receipts.push((worker, receipts));
            }
            Effect::Withdraw { worker, leases } => after.withdrawn.entry(worker).or_default().extend(leases),
            Effect::Assemble { unit, parts } => {
                // Its parts may have had other outputs before.
                self.packs.known.remove(&(unit.run, unit.index));
                // It takes a while.
                after.send_receipts(hub);
                let input = match runtime.block_on(self.assemble(unit, parts)) {
                    Ok(()) => Input::InputReady(unit),
                    Err(Unassembled::TooLong) => {
                        warn!(%unit, "the outputs to be reduced are longer than an input may be");
                        Input::InputImpossible(unit)
                    }
                    Err(Unassembled::Record(error @ (RecordError::Commit(_) | RecordError::Read(_)))) => {
                        return Err(error);
                    }
                    Err(Unassembled::Record(error)) => {
                        error!(%unit, %error, "the outputs to be reduced cannot be read");
                        Input::InputImpossible(unit)
                    }
                };
                self.clerk.tell(input);
            }
            Effect::Call { unit, step, calls: asked } => {
                let Clerk { core, calls, sink, .. } = &self.clerk;
                let core = core.clone();
                let tell = |input| async move {
                    let _stopping = core.tell(input).await;
                };
                let _guard = runtime.enter();
                match whose(unit) {
                    Ok(submitted) => calls.begin(submitted, (step, asked), tell),
                    Err(decoy) => sink.begin(decoy, (step, asked), tell),
                }
            }
            Effect::Audit { unit, step } => self.clerk.auditing.ask(unit, step),
            Effect::Recall { run, units } => {
                let records = &self.clerk.records;
                let input = match records.run(run)? {
                    None => Input::Forgotten(run),
                    Some(record) => {
                        let mut known = Vec::with_capacity(units.len());
                        for index in units {
                            known.extend(records.unit(UnitId { run, index })?.map(|unit| (index, unit)));
                        }
                        Input::Recalled { run: Box::new(record), units: known }
                    }
                };
                self.clerk.tell(input);
            }
            Effect::Reopened { run, units } => {
                warn!(%run, units = units.len(), "units are executed again, since the word on which they rested is worth nothing");
                after.changed.insert(run);
                self.clerk.core.reopened.notify_one();
            }
            Effect::Changed { unit, .. } => {
                warn!(%unit, "a unit has another result than it had");
                after.changed.insert(unit.run);
                metrics.result_changed();
                self.clerk.changes.note(unit.run);
            }
            Effect::Dissent { worker, fault: Fault { unit, judge, .. }, consequence } => {
                let banned = consequence == Consequence::Banned;
                metrics.dissent(judge);
                warn!(%worker, %unit, by = judge.word(), banned, "a worker's signed report contradicts the verified answer");
                if banned {
                    metrics.worker_banned();
                    hub.ban(worker);
                }
            }
            Effect::RunEnded(run) => {
                self.runs.remove(&run);
                debug!(%run, "run ended");
                after.changed.insert(run);
            }
        }
        Ok(())
    }

    /// Sends leases of one run to one worker.
    fn grant(&mut self, worker: WorkerId, run: RunId, drafts: Vec<LeaseDraft>) {
        let mut some = Vec::new();
        let mut bytes = 0;
        for draft in drafts {
            let id = draft.id;
            match self.input(draft.unit) {
                Ok(input) => {
                    bytes += input.inline.as_ref().map_or(0, Bytes::len);
                    // Where the bytes are a blob or with others, reading them must not keep others waiting.
                    let blob = input.inline.is_none() || draft.step > 0;
                    some.push((draft, input));
                    if blob || bytes >= GRANT_BYTES || some.len() >= LEASES_MAX {
                        self.send(worker, run, std::mem::take(&mut some));
                        bytes = 0;
                    }
                }
                Err(error) => self.clerk.cannot_grant(worker, [id], &error),
            }
        }
        if !some.is_empty() {
            self.send(worker, run, some);
        }
    }

    fn send(&mut self, worker: WorkerId, run: RunId, drafts: Vec<(LeaseDraft, Content)>) {
        let spec = match self.spec(run) {
            Ok(spec) => spec,
            Err(error) => return self.clerk.cannot_grant(worker, drafts.iter().map(|(draft, _)| draft.id), &error),
        };
        // A worker that has left loses its leases by itself.
        let Some(session) = self.clerk.hub.session(worker) else { return };
        let has_tokens = match self.clerk.secrets.concern(run, spec.module) {
            Ok(has_tokens) => has_tokens,
            Err(error) => return self.clerk.cannot_grant(worker, drafts.iter().map(|(draft, _)| draft.id), &error),
        };
        let at_hand = |(draft, input): &(LeaseDraft, Content)| draft.step == 0 && input.inline.is_some();
        if session.has_room() && !has_tokens && drafts.iter().all(at_hand) {
            let task = |(draft, input): (LeaseDraft, Content)| Some((draft, input.digest, input.inline?));
            return self.clerk.grant(worker, &spec, drafts.into_iter().filter_map(task).collect());
        }
        let clerk = self.clerk.clone();
        self.clerk.runtime.spawn(async move {
            let Some(_turn) = session.turn().await else { return };
            let now = clerk.clock.now();
            let drafts: Vec<_> = drafts.into_iter().filter(|(draft, _)| draft.expires_at > now).collect();
            if drafts.is_empty() {
                return;
            }
            let mut tasks = Vec::with_capacity(drafts.len());
            for (draft, input) in &drafts {
                match clerk.material(worker, draft, input, has_tokens).await {
                    Ok((digest, bytes)) => tasks.push((draft.clone(), digest, bytes)),
                    Err(error) => {
                        return clerk.cannot_grant(worker, drafts.iter().map(|(draft, _)| draft.id), &error);
                    }
                }
            }
            clerk.grant(worker, &spec, tasks);
        });
    }

    fn input(&mut self, unit: UnitId) -> Result<Content, RecordError> {
        let UnitId { run, index } = unit;
        // The first that ends at this unit or after it.
        let near = self.packs.known.range((run, index)..=(run, u32::MAX)).next();
        if let Some(content) = near.and_then(|(_, pack)| pack.get(index)) {
            return Ok(content.clone());
        }
        let pack = self.clerk.records.inputs(unit)?;
        let content = pack.get(index).cloned();
        self.packs.insert((run, pack.end() - 1), pack);
        content.ok_or_else(|| RecordError::Missing(format!("the input of unit {unit}")))
    }

    fn spec(&mut self, run: RunId) -> Result<Arc<RunSpec>, RecordError> {
        if let Some(spec) = self.runs.get(&run) {
            return Ok(Arc::clone(spec));
        }
        let record = self.clerk.records.run(run)?.ok_or_else(|| RecordError::Missing(format!("run {run}")))?;
        let spec = Arc::new(record.spec);
        self.runs.insert(run, Arc::clone(&spec));
        Ok(spec)
    }

    /// The number that workers are told of a unit, whose run may have ended.
    fn told(&self, unit: UnitId) -> Result<u32, RecordError> {
        let numbers = match self.runs.get(&unit.run) {
            Some(spec) => Some(spec.numbers()),
            None => self.clerk.records.run(unit.run)?.map(|run| run.spec.numbers()),
        };
        Ok(numbers.map_or(unit.index, |numbers| numbers.told(unit.index)))
    }

    async fn assemble(&self, unit: UnitId, range: std::ops::Range<u32>) -> Result<(), Unassembled> {
        let mut outputs: Vec<Bytes> = Vec::with_capacity(range.len());
        let mut length = 4;
        for index in range {
            let part = UnitId { run: unit.run, index };
            let output = accepted_output(self.clerk.records.unit(part)?.as_ref());
            let digest = output.ok_or_else(|| RecordError::Missing(format!("the output of unit {part}")))?;
            let bytes = self.clerk.records.output(digest).await?;
            length += 4 + bytes.len();
            if length > INPUT_BYTES_MAX {
                return Err(Unassembled::TooLong);
            }
            outputs.push(bytes);
        }
        let frame = parts::encode(outputs.iter().map(|bytes| &bytes[..]));
        let content = self.clerk.records.content(frame.into()).await?;
        let mut writes = Writes::default();
        writes.inputs(unit.run, &Pack { first: unit.index, inputs: vec![content] });
        self.clerk.records.commit(writes)?;
        Ok(())
    }
}

/// Signs leases and sends them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Clerk {
    records: Records,
    authority: Arc<Authority>,
    calls: Calls,
    sink: Sink,
    auditing: Auditing,
    changes: Changes,
    catalogue: Arc<Catalogue>,
    secrets: Secrets,
    hub: Hub,
    metrics: Metrics,
    monitor: Monitor,
    clock: Clock,
    core: Core,
    runtime: tokio::runtime::Handle,
}

impl Clerk {
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Whether no worker may execute a run any more.
    pub(crate) fn is_revoked(&self, spec: &RunSpec) -> bool {
        self.catalogue.is_revoked(&spec.module)
    }

    /// What the operator's own machine reads under a lease.
    pub(crate) async fn read_for(
        &self,
        draft: &LeaseDraft,
        spec: &RunSpec,
        input: &Content,
    ) -> Result<(Digest, Bytes), SecretsError> {
        self.authority.release(self.clock.now(), &spec.job, spec.serial)?;
        let has_tokens = self.secrets.concern(spec.id, spec.module)?;
        self.material(draft.worker, draft, input, has_tokens).await
    }

    /// Tells the mind without waiting for it: the mind may be waiting for the hand.
    pub(crate) fn tell(&self, input: Input) {
        let core = self.core.clone();
        self.runtime.spawn(async move { core.tell(input).await });
    }

    /// Sends the leases of a run whose only input is at hand, and takes them out of `leases`.
    fn grant_invoked(&self, Invoked { run, input, .. }: &Invoked, leases: &mut Vec<LeaseDraft>) {
        let Some(bytes) = &input.inline else { return };
        // What cannot be read now is read when the lease goes the long way.
        if self.secrets.concern(run.spec.id, run.spec.module).unwrap_or(true) {
            return;
        }
        for draft in leases.extract_if(.., |draft| draft.unit.run == run.spec.id) {
            self.grant(draft.worker, &run.spec, vec![(draft, input.digest, bytes.clone())]);
        }
    }

    /// What a worker reads under a lease.
    async fn material(
        &self,
        worker: WorkerId,
        draft: &LeaseDraft,
        input: &Content,
        has_tokens: bool,
    ) -> Result<(Digest, Bytes), SecretsError> {
        let canonical = self.records.material(draft.unit, draft.step, input).await?;
        if draft.step == 0 && !has_tokens {
            return Ok((input.digest, canonical));
        }
        let form = if has_tokens { self.secrets.form(draft.unit, worker, canonical)? } else { canonical };
        Ok((Digest::of(&form), form))
    }

    fn cannot_grant(
        &self,
        worker: WorkerId,
        leases: impl IntoIterator<Item = LeaseId>,
        error: &(dyn std::error::Error + Sync),
    ) {
        error!(%error, "units cannot be given out");
        for lease in leases {
            self.metrics.lease_failed();
            self.tell(Input::MachineFailed { worker, lease });
        }
    }

    /// Sends leases of one run, each with the digest of what it reads and that itself.
    pub(crate) fn grant(&self, worker: WorkerId, spec: &RunSpec, tasks: Vec<(LeaseDraft, Digest, Bytes)>) {
        // A worker that has left loses its leases by itself.
        let Some(session) = self.hub.session(worker) else { return };
        let release = match self.authority.release(self.clock.now(), &spec.job, spec.serial) {
            Ok(release) => release,
            Err(error) => return self.cannot_grant(worker, tasks.iter().map(|(draft, ..)| draft.id), &error),
        };
        let tickets = self.authority.tickets();
        let issued_at = tasks.iter().map(|(draft, ..)| draft.issued_at).min().unwrap_or_default();
        let expires_at = tasks.iter().map(|(draft, ..)| draft.expires_at).min().unwrap_or_default();
        let numbers = spec.numbers();
        let task = |draft: &LeaseDraft, input: Digest| Task {
            index: numbers.told(draft.unit.index),
            step: draft.step,
            entry: draft.entry,
            input,
            seed: draft.seed,
        };
        let subject = (spec.id, spec.module);
        let leases = tasks.iter().map(|(draft, input, _)| tickets.mark(worker, subject, draft.id, task(draft, *input)));
        let leases = self.authority.sign(&Leases {
            worker,
            run: spec.id,
            job: spec.job.clone(),
            serial: spec.serial,
            module: spec.module,
            validity: Validity { issued_at, expires_at },
            leases: leases.collect(),
        });
        self.metrics.leases_granted(tasks.len());
        self.monitor.granted(&self.clock, (worker, &session), spec, tasks.iter().map(|(draft, ..)| draft));
        let release = session.is_new(release.digest()).then_some(release);
        let inputs = tasks.into_iter().map(|(_, _, input)| input).collect();
        session.send(ServerMessage::Grant(Grant { leases, release, inputs }));
    }
}

enum Unassembled {
    TooLong,
    Record(RecordError),
}

impl<E: Into<RecordError>> From<E> for Unassembled {
    fn from(error: E) -> Self {
        Self::Record(error.into())
    }
}

/// How many answers of each run are not what they were. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<Mutex<BTreeMap<RunId, u64>>>);

impl Changes {
    /// As the records say.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn open(records: &Records) -> Result<Self, RecordError> {
        Ok(Self(Arc::new(Mutex::new(records.changes()?))))
    }

    /// So many of a run.
    pub fn of(&self, run: RunId) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&run).copied().unwrap_or_default()
    }

    fn note(&self, run: RunId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(run).or_default() += 1;
    }
}

/// The digest of the output that workers agreed on, if they did.
pub fn accepted_output(unit: Option<&UnitRecord>) -> Option<Digest> {
    match &unit?.accepted.as_ref()?.verdict {
        Verdict::Ok { output, .. } => Some(*output),
        Verdict::OutOfFuel | Verdict::OutOfStack | Verdict::Aborted { .. } | Verdict::Trap => None,
        Verdict::Called { .. } => None,
    }
}

/// Puts the scheduler back where the records say it was: workers, and every active run.
///
/// # Errors
/// Any [`RecordError`].
pub fn restore(scheduler: &mut Scheduler, records: &Records, now: Timestamp) -> Result<usize, RecordError> {
    for (worker, record) in records.workers()? {
        scheduler.restore_worker(worker, record);
    }
    let mut key: Option<Vec<u8>> = None;
    loop {
        let page = records.balances(key.as_deref(), 1_000)?;
        let Some((last, _)) = page.last() else { break };
        key = Some(last.clone());
        for (_, account) in page {
            if let Account::Requester(owner) = &account.account {
                scheduler.restore_funds(owner, account.balance, account.has_deposited);
            }
        }
    }
    let (mut restored, mut after) = (0, None);
    loop {
        let page = records.runs(after, 100)?;
        let Some(last) = page.last() else { break };
        after = Some(last.spec.id);
        for run in page {
            if run.status == manyhands_scheduler::RunStatus::Active {
                let ready = ready_inputs(records, &run.spec)?;
                let units = records.units(run.spec.id)?;
                scheduler.restore_run(now, run, units, |unit| ready.contains(&unit));
                restored += 1;
            } else if matches!(run.spec.rule, Rule::Earned { .. }) {
                scheduler.restore_history(&run.spec, records.units(run.spec.id)?);
            }
        }
    }
    Ok(restored)
}

/// The reduce steps of a run whose inputs are on disk.
///
/// # Errors
/// Any [`RecordError`].
pub fn ready_inputs(records: &Records, spec: &RunSpec) -> Result<BTreeSet<u32>, RecordError> {
    let shape = spec.reduction();
    let mut ready = BTreeSet::new();
    for index in shape.inputs()..shape.units() {
        if records.has_input(UnitId { run: spec.id, index })? {
            ready.insert(index);
        }
    }
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use manyhands_audit::{Entry, Event};
    use manyhands_model::{Fuel, Judge};
    use manyhands_scheduler::{End, Era, Policy};
    use manyhands_state::MemoryStore;
    use manyhands_store::Blobs;

    use super::*;

    #[test]
    fn a_pardon_is_written_with_all_that_follows_from_it() {
        const NOW: Timestamp = Timestamp(11);
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
        let worker = WorkerId([1; 32]);
        let outcome = |fuel| Outcome { verdict: Verdict::Trap, fuel: Fuel(fuel) };
        let fault = |index, era| {
            let (unit, said, answer) = (UnitId { run: RunId([1; 16]), index }, outcome(1), outcome(2));
            Fault { unit, step: 0, said, answer, judge: Judge::Operator, era: Era(era) }
        };
        let mut scheduler = Scheduler::new(Policy::default(), [1; 32]);
        scheduler.restore_worker(worker, WorkerRecord { banned: true, faults: 3, ..WorkerRecord::default() });
        // It was found out right before the operator said so, and something older comes out right after.
        let (done, mut is_done) = oneshot::channel();
        let record = PardonRecord { by: "ann".into(), at: NOW, reason: None };
        let mut first = Batch { pardon: Some(Pardon { worker, record: record.clone(), done }), ..Batch::default() };
        let banned = Effect::Dissent { worker, fault: fault(0, 0), consequence: Consequence::Banned };
        first.effects.push(banned);
        scheduler.handle(NOW, Input::Pardoned { worker });
        first.drain(&mut scheduler);
        let old = Effect::Dissent { worker, fault: fault(1, 0), consequence: Consequence::Pardoned };
        let batches = [first, Batch { effects: vec![old], ..Batch::default() }];
        assert!(batches.iter().all(Batch::is_urgent));
        let (mut book, mut ledger) = (Book::new(records.clone()), Ledger::default());
        let (log, from) = (&mut ledger, &records);
        let begin = move || Scribe::begin(log, from);
        let (commits, _) = commits(&batches, &mut 0, &Recent::new(1), (&mut book, NOW), begin).unwrap();
        assert_eq!(commits.len(), 1, "all or nothing of it");
        for done in records.store().commit_all(commits) {
            done.unwrap();
        }
        assert!(is_done.try_recv().is_err(), "nobody is told before that is on disk");
        assert_eq!(records.pardons(worker, 9).unwrap(), [record]);
        let faults = [fault(1, 0), fault(0, 0)].map(|fault| FaultRecord { at: NOW, fault });
        assert_eq!(records.faults(worker, 9).unwrap(), faults);
        let events = records.audit(0, usize::MAX).unwrap().into_iter().map(|line| Entry::read(&line).unwrap().event);
        let is_in_order = matches!(
            &events.collect::<Vec<_>>()[..],
            [Event::WorkerCaught { banned: true, .. }, Event::WorkerPardoned { reason: None, .. }]
        );
        assert!(is_in_order, "what is pardoned is not found again");
        let mut scheduler = Scheduler::new(Policy::default(), [1; 32]);
        restore(&mut scheduler, &records, NOW).unwrap();
        let known = scheduler.worker(worker).unwrap().record;
        assert_eq!(known, WorkerRecord { era: Era(1), ..WorkerRecord::default() });
    }

    #[test]
    fn wherever_a_crash_comes_answers_and_workers_are_what_the_audit_log_says() {
        // So many that they take several commits.
        const UNITS: u32 = 2_000;
        const NOW: Timestamp = Timestamp(1_000_000);
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
        let (run, liar) = (RunId([7; 16]), WorkerId([3; 32]));
        let outcome = |output: &[u8]| {
            let verdict = Verdict::Ok { output: Digest::of(output), output_bytes: output.len() as u64 };
            Some(Outcome { verdict, fuel: Fuel(1) })
        };
        let mut batch = Batch::default();
        for index in 0..UNITS {
            let unit = UnitId { run, index };
            for output in [b"wrong", b"right"] {
                let record = UnitRecord { end: Some(End::Done), accepted: outcome(output), ..UnitRecord::default() };
                batch.effects.push(Effect::Record(Record::Unit(unit, record)));
            }
            batch.effects.push(Effect::Changed { unit, was: outcome(b"wrong") });
        }
        batch.effects.push(Effect::Record(Record::Worker(liar, WorkerRecord::default())));
        for (index, judge, consequence) in [
            (0, Judge::Quorum, Consequence::Doubt),
            (1, Judge::Peers, Consequence::Caught),
            (2, Judge::Operator, Consequence::Banned),
            (3, Judge::Operator, Consequence::Pardoned),
        ] {
            let (said, answer) = (outcome(b"wrong").unwrap(), outcome(b"right").unwrap());
            let fault = Fault { unit: UnitId { run, index }, step: 0, said, answer, judge, era: Era::default() };
            batch.effects.push(Effect::Dissent { worker: liar, fault, consequence });
        }
        let (mut book, mut ledger) = (Book::new(records.clone()), Ledger::default());
        let (log, from) = (&mut ledger, &records);
        let begin = move || Scribe::begin(log, from);
        let (commits, scribe) = commits(&[batch], &mut 0, &Recent::new(1), (&mut book, NOW), begin).unwrap();
        assert!(commits.len() > 2, "{}", commits.len());
        for commit in commits {
            records.store().commit(commit).unwrap();
            let lines = records.audit(0, usize::MAX).unwrap();
            let (mut tail, mut changed, mut caught) = (manyhands_audit::Tail::default(), 0, Vec::new());
            for line in &lines {
                let entry: Entry = serde_json::from_slice(line).unwrap();
                match &entry.event {
                    Event::ResultChanged { was, is, .. } => {
                        let said = [was, is].map(|answer| answer.as_ref().and_then(|answer| answer.output));
                        assert_eq!(said, [b"wrong", b"right"].map(|output| Some(Digest::of(output))));
                        changed += 1;
                    }
                    Event::WorkerCaught { unit, by, banned, .. } => caught.push((unit.index, *by, *banned)),
                    other => panic!("{other:?}"),
                }
                assert_eq!(tail.append(NOW, entry.event), *line, "they follow one another");
            }
            assert_eq!(records.audit_tail().unwrap(), tail);
            let ended = records.units(run).unwrap().len();
            let known = records.changes().unwrap().get(&run).copied().unwrap_or_default();
            assert_eq!((changed, known), (ended, ended as u64));
            let is_known = records.worker(liar).unwrap().is_some();
            let proven = vec![(1, Judge::Peers, false), (2, Judge::Operator, true)];
            assert_eq!(caught, if is_known { proven } else { Vec::new() });
        }
        assert_eq!(records.changes().unwrap().get(&run), Some(&u64::from(UNITS)));
        scribe.expect("it was needed").end();
        ledger
            .commit(&records, NOW, vec![Event::VaultRotated { key: 1, by: "ann".into() }], Writes::default())
            .unwrap();
        assert_eq!(records.audit_tail().unwrap().entries, u64::from(UNITS) + 3);
    }

    #[test]
    fn who_waits_is_not_busy_however_long() {
        let pulse = Pulse { began: Instant::now() - Duration::from_secs(60), busy_since: AtomicU64::new(0) };
        assert_eq!(pulse.busy_for(), Duration::ZERO);
        pulse.busy_since.store(20_001, Ordering::Relaxed);
        assert!(pulse.busy_for() >= Duration::from_secs(40));
        pulse.is_busy();
        assert!(pulse.busy_for() < Duration::from_secs(40));
        pulse.waits();
        assert_eq!(pulse.busy_for(), Duration::ZERO);
    }
}
