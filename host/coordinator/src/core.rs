//! Drives the scheduler, and carries out what it asks for.
//!
//! Two loops. The *mind* owns the scheduler: it waits for one thing, tells the scheduler, and hands on
//! what should happen as a batch. The *hand* makes the records of all waiting batches durable with one
//! commit, then performs the effects: whoever is told something is told what is on disk. While the hand
//! waits for the disk, the next batch fills; the slower the disk, the larger the groups.
//!
//! Every decision is the scheduler's. When a commit fails, the hand stops and with it the process:
//! nothing of what followed was acknowledged, workers keep their reports, and a restart begins from what
//! is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use manyhands_abi::{INPUT_BYTES_MAX, parts};
use manyhands_model::{Digest, RunId, Timestamp, UnitId, Verdict};
use manyhands_protocol::{Grant, Lease, Receipt, ServerMessage};
use manyhands_scheduler::{Effect, Input, LeaseDraft, Record, RunRecord, RunSpec, Scheduler, UnitRecord};
use manyhands_signing::Validity;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::authority::Authority;
use crate::clock::Clock;
use crate::hub::Hub;
use crate::metrics::{Metrics, ReportResult, UnitState};
use crate::records::{Content, RecordError, Records, Writes};

/// Events that the mind takes before it hands on a batch.
const BATCH_EVENTS: usize = 512;
/// Batches that may wait for the hand; then the mind waits.
const BATCHES: usize = 16;
/// Commits stay well below the store's largest.
const COMMIT_BYTES: usize = manyhands_state::commit::COMMIT_BYTES_MAX / 2;

/// Something that somebody wants to know of the scheduler.
type Question = Box<dyn FnOnce(&Scheduler, Timestamp) + Send>;

/// Something for the mind.
pub enum Event {
    /// Tell the scheduler.
    Input(Input),
    /// Tell the scheduler that a worker reported; its output, if short, becomes durable with the report.
    Reported(Input, Option<Content>),
    /// Take a run back that is not active, then tell the scheduler.
    Reopen(Box<RunRecord>, Vec<(u32, UnitRecord)>, BTreeSet<u32>, Input),
    /// Look at the scheduler.
    Ask(Question),
}

/// The coordinator has stopped, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator is stopping; try again in a moment")]
pub struct Stopping;

/// The way to the mind. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    events: mpsc::Sender<Event>,
}

impl Core {
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
    /// Who listens.
    pub hub: Hub,
    /// What is counted.
    pub metrics: Metrics,
    /// The clock.
    pub clock: Clock,
    /// Events that may wait.
    pub queue: usize,
    /// Cancelled by the hand when it cannot go on; cancel it to stop both loops.
    pub stop: CancellationToken,
}

/// What the mind hands on: effects in order, and the outputs that came with reports.
#[derive(Default)]
struct Batch {
    outputs: Vec<Content>,
    effects: Vec<Effect>,
}

/// Starts both loops. The handle ends when the last batch is carried out.
pub fn start(parts: Parts) -> (Core, tokio::task::JoinHandle<Result<(), RecordError>>) {
    let Parts { scheduler, records, authority, hub, metrics, clock, queue, stop } = parts;
    let (events, inbox) = mpsc::channel(queue);
    let (batches, waiting) = mpsc::channel(BATCHES);
    let core = Core { events };
    let hand = Hand {
        // Later runs of this process continue where earlier ones ended: the revision has grown since.
        sequence: records.store().revision().0 << 20,
        records,
        authority,
        hub,
        metrics: metrics.clone(),
        clock,
        core: core.clone(),
        runs: BTreeMap::new(),
    };
    tokio::spawn(mind(scheduler, inbox, batches, clock, metrics, stop.clone()));
    // The store blocks, so the hand has a thread of its own.
    let runtime = tokio::runtime::Handle::current();
    let handle = tokio::task::spawn_blocking(move || {
        let result = hand.work(waiting, &runtime);
        if let Err(error) = &result {
            error!(%error, "the store cannot be written; stopping, so that nothing is acknowledged that is not on disk");
        }
        stop.cancel();
        result
    });
    (core, handle)
}

async fn mind(
    mut scheduler: Scheduler,
    mut inbox: mpsc::Receiver<Event>,
    batches: mpsc::Sender<Batch>,
    clock: Clock,
    metrics: Metrics,
    stop: CancellationToken,
) {
    loop {
        let mut batch = Batch::default();
        while let Some(effect) = scheduler.poll_effect() {
            batch.effects.push(effect);
        }
        if !batch.effects.is_empty() && batches.send(batch).await.is_err() {
            return;
        }
        let wake = scheduler.wake_at().map(|at| clock.instant(at));
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = inbox.recv() => event,
            () = sleep_until(wake) => Some(Event::Input(Input::TimePassed)),
        };
        let Some(mut event) = event else { return };
        let mut batch = Batch::default();
        for _ in 0..BATCH_EVENTS {
            match event {
                Event::Input(input) => scheduler.handle(clock.now(), input),
                Event::Reported(input, output) => {
                    batch.outputs.extend(output);
                    scheduler.handle(clock.now(), input);
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
        while let Some(effect) = scheduler.poll_effect() {
            batch.effects.push(effect);
        }
        let counts = scheduler.counts();
        for (state, units) in [
            (UnitState::Waiting, counts.waiting),
            (UnitState::Running, counts.running),
            (UnitState::Done, counts.done),
            (UnitState::Failed, counts.failed),
            (UnitState::Cancelled, counts.cancelled),
        ] {
            metrics.units(state, units.into());
        }
        if (!batch.effects.is_empty() || !batch.outputs.is_empty()) && batches.send(batch).await.is_err() {
            return;
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Hand {
    records: Records,
    authority: Arc<Authority>,
    hub: Hub,
    metrics: Metrics,
    clock: Clock,
    core: Core,
    sequence: u64,
    /// Active runs for which leases were signed.
    runs: BTreeMap<RunId, Arc<RunSpec>>,
}

impl Hand {
    fn work(mut self, mut waiting: mpsc::Receiver<Batch>, runtime: &tokio::runtime::Handle) -> Result<(), RecordError> {
        while let Some(first) = waiting.blocking_recv() {
            let mut batches = vec![first];
            while let Ok(next) = waiting.try_recv() {
                batches.push(next);
            }
            self.record(&mut batches)?;
            for effect in batches.into_iter().flat_map(|batch| batch.effects) {
                self.perform(effect, runtime)?;
            }
        }
        Ok(())
    }

    /// Makes the records of all batches durable, in order, with one wait for the disk.
    fn record(&mut self, batches: &mut [Batch]) -> Result<(), RecordError> {
        let (mut commits, mut writes) = (Vec::new(), Writes::default());
        for batch in batches {
            for Content { digest, inline } in batch.outputs.drain(..) {
                writes.output(digest, inline.unwrap_or_default());
            }
            for effect in &mut batch.effects {
                let Effect::Record(record) = effect else { continue };
                match record {
                    Record::Run(run) => writes.run(run),
                    Record::Unit(id, unit) => {
                        self.sequence += 1;
                        writes.unit(*id, unit, self.sequence);
                    }
                    Record::Evidence(unit, worker, report) => writes.evidence(*unit, *worker, std::mem::take(report)),
                    Record::Worker(id, worker) => writes.worker(*id, worker),
                }
                if writes.0.bytes() > COMMIT_BYTES {
                    commits.push(std::mem::take(&mut writes).0);
                }
            }
        }
        if !writes.0.ops.is_empty() {
            commits.push(writes.0);
        }
        if commits.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        for result in self.records.store().commit_all(commits) {
            result?;
        }
        self.metrics.commit(started.elapsed());
        Ok(())
    }

    fn perform(&mut self, effect: Effect, runtime: &tokio::runtime::Handle) -> Result<(), RecordError> {
        match effect {
            Effect::Record(Record::Unit(unit, _)) => self.hub.changed(unit.run),
            Effect::Record(Record::Run(run)) => self.hub.changed(run.spec.id),
            Effect::Record(Record::Evidence(..) | Record::Worker(..)) => {}
            Effect::Grant(draft) => {
                let (worker, lease) = (draft.worker, draft.id);
                match self.grant(draft, runtime) {
                    Ok(grant) => {
                        self.metrics.lease_granted();
                        self.hub.send(worker, ServerMessage::Grants(vec![grant]));
                    }
                    Err(error) => {
                        error!(%error, "a unit cannot be given out");
                        self.tell(runtime, Input::MachineFailed { worker, lease });
                    }
                }
            }
            Effect::Receipt { worker, lease, receipt } => {
                self.metrics.report(match receipt {
                    Receipt::Recorded => ReportResult::Accepted,
                    Receipt::AlreadyRecorded => ReportResult::Repeated,
                    Receipt::Refused(_) => ReportResult::Refused,
                });
                self.hub.send(worker, ServerMessage::Receipt { lease, receipt });
            }
            Effect::Withdraw { worker, leases } => self.hub.send(worker, ServerMessage::Cancel(leases)),
            Effect::Assemble { unit, parts } => {
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
                self.tell(runtime, input);
            }
            Effect::Ended(unit, _) => self.hub.changed(unit.run),
            Effect::Dissent { worker, unit, banned } => {
                self.metrics.report(ReportResult::Dissent);
                warn!(%worker, %unit, banned, "a worker's signed report contradicts the verified answer");
            }
            Effect::RunEnded(run) => {
                self.runs.remove(&run);
                info!(%run, "run ended");
                self.hub.changed(run);
            }
        }
        Ok(())
    }

    /// Tells the mind without waiting for it: the mind may be waiting for this hand.
    fn tell(&self, runtime: &tokio::runtime::Handle, input: Input) {
        let core = self.core.clone();
        runtime.spawn(async move { core.tell(input).await });
    }

    fn grant(&mut self, draft: LeaseDraft, runtime: &tokio::runtime::Handle) -> Result<Grant, RecordError> {
        let spec = self.spec(draft.unit.run)?;
        let (digest, input) = runtime.block_on(self.records.input(draft.unit))?;
        let lease = Lease {
            id: draft.id,
            worker: draft.worker,
            unit: draft.unit,
            entry: draft.entry,
            job: spec.job.clone(),
            serial: spec.serial,
            module: spec.module,
            input: digest,
            seed: draft.seed,
            validity: Validity { issued_at: draft.issued_at, expires_at: draft.expires_at },
        };
        let release = self.authority.release(self.clock.now(), &spec.job, spec.serial)?;
        Ok(Grant { lease: self.authority.sign(&lease), release: Some(release), input: input.into() })
    }

    fn spec(&mut self, run: RunId) -> Result<Arc<RunSpec>, RecordError> {
        if let Some(spec) = self.runs.get(&run) {
            return Ok(Arc::clone(spec));
        }
        let record = self.records.run(run)?.ok_or_else(|| RecordError::Missing(format!("run {run}")))?;
        let spec = Arc::new(record.spec);
        self.runs.insert(run, Arc::clone(&spec));
        Ok(spec)
    }

    async fn assemble(&self, unit: UnitId, range: std::ops::Range<u32>) -> Result<(), Unassembled> {
        let mut outputs: Vec<Bytes> = Vec::with_capacity(range.len());
        let mut length = 4;
        for index in range {
            let part = UnitId { run: unit.run, index };
            let output = accepted_output(self.records.unit(part)?);
            let digest = output.ok_or_else(|| RecordError::Missing(format!("the output of unit {part}")))?;
            let bytes = self.records.output(digest).await?;
            length += 4 + bytes.len();
            if length > INPUT_BYTES_MAX {
                return Err(Unassembled::TooLong);
            }
            outputs.push(bytes);
        }
        let frame = parts::encode(outputs.iter().map(|bytes| &bytes[..]));
        let content = self.records.content(frame.into()).await?;
        let mut writes = Writes::default();
        writes.input(unit, &content);
        self.records.commit(writes)?;
        Ok(())
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

/// The digest of the output that workers agreed on, if they did.
pub fn accepted_output(unit: Option<UnitRecord>) -> Option<Digest> {
    match unit?.accepted?.verdict {
        Verdict::Ok { output, .. } => Some(output),
        Verdict::OutOfFuel | Verdict::OutOfStack | Verdict::Aborted { .. } | Verdict::Trap => None,
    }
}

/// Puts the scheduler back where the records say it was: workers, and every active run.
///
/// # Errors
/// Any [`RecordError`].
pub fn restore(scheduler: &mut Scheduler, records: &Records, now: Timestamp) -> Result<usize, RecordError> {
    for (id, worker) in records.workers()? {
        scheduler.restore_worker(id, worker);
    }
    let (mut restored, mut after) = (0, None);
    loop {
        let page = records.runs(after, 100)?;
        let Some(last) = page.last() else { return Ok(restored) };
        after = Some(last.spec.id);
        for run in page {
            if run.status == manyhands_scheduler::RunStatus::Active {
                let ready = ready_inputs(records, &run.spec)?;
                let units = records.units(run.spec.id)?;
                scheduler.restore_run(now, run, units, |unit| ready.contains(&unit));
                restored += 1;
            }
        }
    }
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
