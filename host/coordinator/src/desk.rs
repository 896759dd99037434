//! Requests for calls, from what a unit's workers agreed on to the answers that its job reads.
//!
//! Each request has a task of its own. The desk reads it, holds it against the job's verbs, and writes what is heard of it; who finds that out depends on whose it is. What was
//! [`Submitted`] is for `calls.rs`, which asks the outside; what is made up is for `sink.rs`, which has no way there. No unit is both, so nothing that is made up can be sent.
//!
//! Of a requester only so many requests are dealt with at once, and one that has to wait for something is put away until then: of a unit that waits for its calls, memory holds little more than its
//! name, so a million of them may wait. A task that is lost in a crash begins anew from what is written: the scheduler asks for the calls of every unit that waits for them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use manyhands_abi::INPUT_BYTES_MAX;
use manyhands_intents::answer::answers;
use manyhands_intents::{Fault, Heard, Intent, Own, Plan, admit};
use manyhands_model::{Digest, Outcome, RunId, Timestamp, UnitId};
use manyhands_scheduler::{Input, RunRecord, RunStatus};
use manyhands_state::commit::VALUE_BYTES_MAX;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::records::{AnswersRecord, Content, RecordError, Records, Writes};
use crate::throttle::turns::Turns;
use crate::vault::VaultError;

/// What a frame takes for a part, and for how many there are.
const PART_BYTES: usize = 4;
/// The canonical form of an intent, so that it can be kept with its state and its answer.
const INTENT_BYTES_MAX: usize = VALUE_BYTES_MAX / 2;
/// Requests that are read at once: each with its unit's whole input, for a moment.
const READ_AT_ONCE: usize = 16;
/// What a request takes in memory while it waits.
const WAITING_BYTES_MAX: usize = 2 << 10;
/// How often a task that waits looks whether its run still wants it.
pub const LOOK: Duration = Duration::from_secs(5);
/// How soon a request is tried again whose records cannot be read or written.
pub const RECORDS_PAUSE: Duration = Duration::from_secs(1);

/// A unit that a requester knows of. What it asks for is sent.
#[derive(Clone, Copy, Debug)]
pub struct Submitted(UnitId);

/// A unit that is made up. What it asks for is sent nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Decoy(UnitId);

/// Whose a request is. The one place where that is decided.
pub fn whose(unit: UnitId) -> Result<Submitted, Decoy> {
    if unit.is_decoy() { Err(Decoy(unit)) } else { Ok(Submitted(unit)) }
}

impl From<Submitted> for UnitId {
    fn from(Submitted(unit): Submitted) -> Self {
        unit
    }
}

impl From<Decoy> for UnitId {
    fn from(Decoy(unit): Decoy) -> Self {
        unit
    }
}

/// A unit's request for calls.
#[derive(Clone, Copy, Debug)]
pub struct Request<U> {
    /// Whose it is.
    pub unit: U,
    /// Which of its requests, from 0.
    pub step: u32,
    /// What workers agreed on.
    pub asked: Digest,
    /// When it was first dealt with.
    pub begun: Timestamp,
}

/// What became of a request.
pub enum Made {
    /// Its answers are written.
    Answered,
    /// There is nothing to be done before this, unless the one who finds the answers says so.
    Waits(Timestamp),
    /// Nobody wants them any more.
    Unwanted,
}

/// Why calls cannot be made now. They are tried again.
#[derive(Debug, thiserror::Error)]
pub enum CallsError {
    /// The records cannot be read or written.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A value cannot be sealed, or a token not made.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Nobody could read the unit's input with so many answers.
    #[error("input and answers together are longer than {INPUT_BYTES_MAX} bytes; ask for less, or divide the unit")]
    TooLong,
}

/// Who finds the answers to requests. Cheap to clone.
pub trait Answerer: Clone + Send + Sync + 'static {
    /// Whose requests these are.
    type Unit: Copy + Into<UnitId> + Send + Sync + 'static;

    /// Does what can be done about a request now. What it has written it finds again when it is asked anew.
    fn make(&self, request: Request<Self::Unit>) -> impl Future<Output = Result<Made, CallsError>> + Send;

    /// Told when something happened for which those who wait need not wait any more.
    fn settled(&self) -> &Notify;
}

/// What is needed to deal with requests.
pub struct Parts {
    /// The memory.
    pub records: Records,
    /// The published jobs.
    pub catalogue: Arc<Catalogue>,
    /// The clock.
    pub clock: Clock,
    /// Whose requests are dealt with next.
    pub turns: Turns,
    /// Once it is cancelled, nothing is begun any more.
    pub stop: CancellationToken,
}

/// Deals with requests. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    parts: Parts,
    reading: Semaphore,
    /// One for each request.
    tasks: TaskTracker,
    plans: Mutex<BTreeMap<Digest, Arc<Plan>>>,
}

/// A request that nobody has answered.
pub struct Asked {
    /// The unit's run.
    pub run: RunRecord,
    /// What its job may ask for.
    pub plan: Arc<Plan>,
    /// What workers agreed on.
    agreed: Outcome,
    input: Content,
}

/// What it takes to read a request. As few of them as may be are in memory at once.
pub struct Texts<'a> {
    /// What is asked for.
    asked: Bytes,
    /// What the unit had read when it asked.
    pub read: Vec<Bytes>,
    _reading: Option<SemaphorePermit<'a>>,
}

impl Texts<'_> {
    /// How long a frame of what was read is, with an empty answer behind it.
    fn bytes(&self) -> usize {
        self.read.iter().map(|text| PART_BYTES + text.len()).sum::<usize>() + 2 * PART_BYTES
    }
}

impl Desk {
    /// Over these.
    pub fn new(parts: Parts) -> Self {
        let (reading, tasks, plans) = (Semaphore::new(READ_AT_ONCE), TaskTracker::new(), Mutex::default());
        Self(Arc::new(Inner { parts, reading, tasks, plans }))
    }

    /// The memory.
    pub fn records(&self) -> &Records {
        &self.0.parts.records
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    /// Whose turn it is.
    pub fn turns(&self) -> &Turns {
        &self.0.parts.turns
    }

    /// Once it is cancelled, nothing is begun any more.
    pub fn stop(&self) -> &CancellationToken {
        &self.0.parts.stop
    }

    /// Has a request answered, then tells what the scheduler is to hear of it, if anything.
    pub fn begin<A: Answerer, F: Future<Output = ()> + Send>(
        &self,
        by: &A,
        unit: A::Unit,
        (step, asked): (u32, Digest),
        tell: impl FnOnce(Input) -> F + Send + 'static,
    ) {
        let (desk, by) = (self.clone(), by.clone());
        let task = async move {
            if let Some(input) = desk.answer(&by, unit, step, asked).await {
                // In a box, as below.
                Box::pin(tell(input)).await;
            }
        };
        debug_assert!(
            size_of_val(&task) <= WAITING_BYTES_MAX,
            "a request that waits takes {} bytes",
            size_of_val(&task)
        );
        self.0.tasks.spawn(task);
    }

    /// Waits until nothing is under way any more. To be asked once [`Parts::stop`] is cancelled.
    pub async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn answer<A: Answerer>(&self, by: &A, unit: A::Unit, step: u32, asked: Digest) -> Option<Input> {
        let id: UnitId = unit.into();
        let mut begun = None;
        loop {
            // Before anything is looked at, or what is settled meanwhile would be missed.
            let settled = by.settled().notified();
            match self.make_in_turn(by, unit, (step, asked), &mut begun).await {
                Ok(Made::Answered) => return Some(Input::Answered { unit: id, step }),
                Ok(Made::Unwanted) => return None,
                Ok(Made::Waits(due)) => self.wait(id.run, due, settled).await?,
                Err(error @ (CallsError::Missing(_) | CallsError::TooLong))
                | Err(
                    error @ CallsError::Records(
                        RecordError::Missing(_) | RecordError::Foreign(_) | RecordError::Blob(_),
                    ),
                ) => {
                    error!(unit = %id, step, %error, "calls cannot be made; the unit is given up");
                    return Some(Input::InputImpossible(id));
                }
                Err(error) => {
                    warn!(unit = %id, step, %error, "calls cannot be made now; trying again");
                    self.stop().run_until_cancelled(tokio::time::sleep(RECORDS_PAUSE)).await?;
                }
            }
        }
    }

    /// Has something done about a request once there is a place for it among those of its requester.
    async fn make_in_turn<A: Answerer>(
        &self,
        by: &A,
        unit: A::Unit,
        (step, asked): (u32, Digest),
        begun: &mut Option<Timestamp>,
    ) -> Result<Made, CallsError> {
        let run = unit.into().run;
        // Who waits keeps no more of the run than that.
        let read = move |records: &Records| Ok(records.run(run)?.map(|run| (run.status, run.spec.owner)));
        let run = self.records().blocking(read).await?;
        let (RunStatus::Active, owner) = run.ok_or(CallsError::Missing("the run"))? else {
            return Ok(Made::Unwanted);
        };
        let Some(_place) = self.stop().run_until_cancelled(self.turns().enter(&owner)).await.flatten() else {
            return Ok(Made::Unwanted);
        };
        let begun = *begun.get_or_insert_with(|| self.now());
        // In a box, which who waits has not.
        Box::pin(by.make(Request { unit, step, asked, begun })).await
    }

    /// Waits until it is due, or something is settled. None if nobody wants it any more.
    async fn wait(&self, run: RunId, due: Timestamp, settled: Notified<'_>) -> Option<()> {
        let mut settled = pin!(settled);
        loop {
            let left = due.since(self.now());
            if left.is_zero() {
                return Some(());
            }
            tokio::select! {
                () = &mut settled => return Some(()),
                () = tokio::time::sleep(left.min(LOOK)) => {}
                () = self.stop().cancelled() => return None,
            }
            match self.is_wanted(run).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => warn!(%run, %error, "whether calls are still wanted cannot be read now"),
            }
        }
    }

    /// Whether a run still wants anything.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn is_wanted(&self, run: RunId) -> Result<bool, RecordError> {
        let read = move |records: &Records| Ok(records.run(run)?.map(|run| run.status));
        Ok(self.records().blocking(read).await? == Some(RunStatus::Active))
    }

    /// What this job may ask for.
    pub fn plan(&self, module: Digest) -> Option<Arc<Plan>> {
        let mut plans = self.0.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&module) {
            return Some(Arc::clone(plan));
        }
        let job = self.0.parts.catalogue.module(module)?;
        let plan = Arc::new(Plan::of(&job.manifest).ok()?);
        plans.insert(module, Arc::clone(&plan));
        Some(plan)
    }

    /// Finds a request, if it is still to be answered; else says what became of it.
    ///
    /// # Errors
    /// Any [`CallsError`].
    pub async fn find<U: Copy + Into<UnitId>>(
        &self,
        Request { unit, step, asked, .. }: Request<U>,
    ) -> Result<Result<Asked, Made>, CallsError> {
        let unit: UnitId = unit.into();
        let (run, input, agreed, answered) = self
            .records()
            .blocking(move |records| {
                let agreed = records.unit(unit)?.and_then(|unit| unit.accepted);
                Ok((records.run(unit.run)?, records.input(unit)?, agreed, records.answers(unit, step)?))
            })
            .await?;
        let asks = |outcome: &Outcome| outcome.verdict.content().is_some_and(|(content, _)| content == asked);
        if answered.is_some_and(|answered| asks(&answered.request)) {
            return Ok(Err(Made::Answered));
        }
        // It may have been tried again since.
        let Some(agreed) = agreed.filter(asks) else { return Ok(Err(Made::Unwanted)) };
        let run = run.ok_or(CallsError::Missing("the run"))?;
        // The row may have been long, and is gone through at once if nobody wants it any more.
        if run.status != RunStatus::Active {
            return Ok(Err(Made::Unwanted));
        }
        let plan = self.plan(run.spec.module).ok_or(CallsError::Missing("the job"))?;
        Ok(Ok(Asked { run, plan, agreed, input }))
    }

    /// Reads what is asked for, and what the unit had read.
    ///
    /// # Errors
    /// Any [`CallsError`].
    pub async fn read<U: Copy + Into<UnitId>>(
        &self,
        Request { unit, step, asked, .. }: Request<U>,
        Asked { input, .. }: &Asked,
    ) -> Result<Texts<'_>, CallsError> {
        // It is never closed.
        let reading = self.0.reading.acquire().await.ok();
        let asked = self.records().output(asked).await?;
        let read = self.records().texts(unit.into(), step, input).await?;
        Ok(Texts { asked, read, _reading: reading })
    }

    /// Writes what is heard of the calls of a request.
    ///
    /// # Errors
    /// Any [`CallsError`].
    pub async fn write<U: Copy + Into<UnitId>>(
        &self,
        Request { unit, step, .. }: Request<U>,
        Asked { agreed, .. }: Asked,
        read_bytes: usize,
        heard: &[Heard],
    ) -> Result<(), CallsError> {
        let answers = answers(heard);
        if read_bytes + answers.len() > INPUT_BYTES_MAX {
            return Err(CallsError::TooLong);
        }
        let answers = self.records().content(Bytes::from(answers)).await?;
        let mut writes = Writes::default();
        writes.answers(unit.into(), step, &AnswersRecord { request: agreed, answers });
        Ok(self.records().blocking(move |records| records.commit(writes)).await?)
    }
}

/// The calls of a request, each as its verb has it or with the reason for which it is not made, and how long what the unit reads next is without their answers.
pub fn admitted<U: Copy + Into<UnitId>>(
    Request { unit, step, .. }: Request<U>,
    texts: &Texts<'_>,
    plan: &Plan,
    own: &impl Own,
) -> (Vec<Result<Intent, Fault>>, usize) {
    let unit: UnitId = unit.into();
    let calls = match admit(&texts.asked, plan.catalogue(), own) {
        Err(error) => {
            info!(%unit, step, %error, "a job asks for what is no list of calls");
            vec![Err(Fault::Refused)]
        }
        Ok(calls) => {
            let fit = |call| match call {
                Ok(intent) if Intent::canonical(&intent).len() > INTENT_BYTES_MAX => {
                    info!(%unit, step, verb = %intent.verb, "a call was refused: its slots are too long together");
                    Err(Fault::Refused)
                }
                Ok(intent) => Ok(intent),
                Err(refused) => {
                    info!(%unit, step, %refused, "a call was refused");
                    Err(Fault::Refused)
                }
            };
            calls.into_iter().map(fit).collect()
        }
    };
    (calls, texts.bytes())
}
