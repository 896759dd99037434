//! Makes the calls that units ask for, once workers agree on them.
//!
//! Each request is carried through the lives of its intents (`manyhands_intents::journal`): each new state is written before anything is done about it, and what the states are is
//! decided there. When all of them are over, the answers are written (`desk.rs`). What was lost in a crash begins anew from what is written, and no call is made twice for that.
//!
//! Only what was [`Submitted`] comes here. Where a run has decoys, what its calls heard is kept for them as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{HeaderName, HeaderValue, Method};
use manyhands_addresses::Origin;
use manyhands_api::FoundOut;
use manyhands_audit::Found;
use manyhands_decoys::answers::Over;
use manyhands_egress::{Egress, EgressError, Limits, Response, Sent, Why};
use manyhands_intents::{
    Day, Event, Exhausted, Fault, Fence, Heard, Intent, Known, Live, Outcome, Outgoing, Own, Plan, State, fill,
    give_back, hear, reserve,
};
use manyhands_model::{Class, Digest, IntentId, Name, RunId, Timestamp, UnitId};
use manyhands_placeholder::{Occurrence, Scope, Source, Taken, Token, UnitTokens, Value, Values};
use manyhands_scheduler::{Input, RunRecord, RunStatus};
use tokio::sync::{Notify, OwnedMutexGuard, Semaphore};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use crate::audit::{self, Ledger, Scribe};
use crate::desk::{Answerer, CallsError, Desk, LOOK, Made, RECORDS_PAUSE, Request, Submitted, admitted};
use crate::records::{CallRecord, Doubt, RecordError, Records, UnsentRecord, Writes};
use crate::vault::{SEALED_BYTES_MAX, Vault, VaultError};

/// Calls that are made at once.
const CALLS_AT_ONCE: usize = 256;
/// Of these, most for one requester.
pub const CALLS_OF_ONE_AT_ONCE: usize = CALLS_AT_ONCE / 2;
// A unit's calls are begun together.
const _: () = assert!(CALLS_OF_ONE_AT_ONCE >= manyhands_intents::intent::CALLS_MAX);
/// What is needed to make calls.
pub struct Parts {
    /// Who deals with requests.
    pub desk: Desk,
    /// The way out.
    pub egress: Egress,
    /// What tokens stand for.
    pub vault: Arc<Vault>,
    /// How long a call of which nobody knows whether it was made waits for the operator.
    pub unknown_time: Duration,
}

/// Makes calls. Cheap to clone.
#[derive(Clone)]
pub struct Calls(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// How often calls were begun to be made; no other process makes any.
    start: u64,
    /// What the data may have forgotten.
    doubt: Option<Doubt>,
    claims: AtomicU64,
    turns: Semaphore,
    /// What is known of calls is changed by one at a time, who reads it first and writes what the audit log says of it.
    changing: Arc<tokio::sync::Mutex<Ledger>>,
    sending: Sending,
    /// Told when an operator settled or approved something.
    settled: Notify,
    /// Runs that need their values, though the disk says that they have ended; as often as somebody says so.
    kept: Arc<Mutex<Vec<RunId>>>,
}

/// A run's values are not forgotten while this is there.
pub struct Kept {
    run: RunId,
    by: Arc<Mutex<Vec<RunId>>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut kept = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.iter().position(|run| *run == self.run) {
            kept.swap_remove(place);
        }
    }
}

/// Why an operator's word about a call changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// There is no such call.
    #[error("there is no such call")]
    Nobody,
    /// It needs no word.
    #[error(transparent)]
    Unchanged(#[from] manyhands_intents::journal::Unchanged),
    /// The records cannot be read or written.
    #[error(transparent)]
    Records(#[from] RecordError),
}

/// Intents that are being sent, or whose outcome is being written.
#[derive(Default)]
struct Sending {
    all: Mutex<BTreeSet<IntentId>>,
    /// Told whenever one is over.
    fewer: Notify,
}

impl Sending {
    fn all(&self) -> MutexGuard<'_, BTreeSet<IntentId>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self, id: IntentId) {
        self.all().remove(&id);
        self.fewer.notify_waiters();
    }

    /// Waits until none of these is on its way any more.
    async fn ended(&self, these: &BTreeSet<IntentId>) {
        loop {
            let fewer = self.fewer.notified();
            if self.all().is_disjoint(these) {
                return;
            }
            fewer.await;
        }
    }
}

impl Answerer for Calls {
    type Unit = Submitted;

    async fn make(&self, request: Request<Submitted>) -> Result<Made, CallsError> {
        let desk = self.desk();
        let asked = match desk.find(request).await? {
            Ok(asked) => asked,
            Err(made) => return Ok(made),
        };
        let texts = desk.read(request, &asked).await?;
        let (run, plan, unit) = (&asked.run, &asked.plan, UnitId::from(request.unit));
        let scope = Scope { tenant: &run.spec.owner, job: &run.spec.job, unit };
        let tokens = UnitTokens::of(texts.read.iter().map(|text| &text[..]));
        let own = OwnTokens { tokens, values: self.values(&scope).await?.values };
        let (calls, read_bytes) = admitted(request, &texts, plan, &own);
        drop((texts, own));
        let mut lives = Vec::with_capacity(calls.len());
        for call in calls {
            lives.push(match call {
                Ok(intent) => Ok(self.life(&scope, request.step, intent).await?),
                Err(fault) => Err(fault),
            });
        }
        let asker = Asker { run, plan, scope: &scope, begun: request.begun };
        match self.live(asker, &mut lives).await? {
            Ok(heard) => desk.write(request, asked, read_bytes, &heard).await.map(|()| Made::Answered),
            Err(made) => Ok(made),
        }
    }

    fn settled(&self) -> &Notify {
        &self.0.settled
    }
}

impl Calls {
    /// From now on, this process makes calls and no other does.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn start(parts: Parts) -> Result<Self, RecordError> {
        let (start, doubt) = (parts.desk.records().starts()? + 1, parts.desk.records().doubt()?);
        let mut writes = Writes::default();
        writes.starts(start);
        parts.desk.records().commit(writes)?;
        Ok(Self(Arc::new(Inner {
            parts,
            start,
            doubt,
            claims: AtomicU64::new(0),
            turns: Semaphore::new(CALLS_AT_ONCE),
            changing: Arc::default(),
            sending: Sending::default(),
            settled: Notify::new(),
            kept: Arc::default(),
        })))
    }

    /// Makes the calls of a request, then tells what the scheduler is to hear of it, if anything.
    pub fn begin<F: Future<Output = ()> + Send>(
        &self,
        unit: Submitted,
        request: (u32, Digest),
        tell: impl FnOnce(Input) -> F + Send + 'static,
    ) {
        self.desk().begin(self, unit, request, tell);
    }

    /// Waits until no call is on its way any more, and no request is dealt with. To be asked once the desk's token is cancelled.
    pub async fn ended(&self) {
        self.desk().ended().await;
    }

    fn desk(&self) -> &Desk {
        &self.0.parts.desk
    }

    /// Tells what an operator of this name found out about a call.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn settle(&self, id: IntentId, found: FoundOut, by: String) -> Result<(), SettleError> {
        let alone = self.alone().await;
        let call = self.records().blocking(move |records| records.call(id)).await?.ok_or(SettleError::Nobody)?;
        let (event, found) = match found {
            FoundOut::NotMade => (Event::NotMade, Found::NotMade),
            FoundOut::LetGo => (Event::LetGo, Found::LetGo),
        };
        // Only for what may be tried again does it matter what the effect is.
        let effect = self.effect(&call).await?;
        let now = self.desk().now();
        let state = call.state.next(&event, effect, now)?;
        let mut writes = Writes::default();
        // What units hear of it decoys hear as well.
        if let (State::Unknown { since, .. }, Some(heard)) = (&call.state, state.heard())
            && self.has_decoys(call.unit.run).await?
        {
            let over = Over { unit: call.unit, step: call.step, heard, took: now.since(*since) };
            writes.over(id, &call.intent.verb, &over);
        }
        let settled = audit::Event::Settled { call: audit::name(id, &call), found, by };
        let call = CallRecord { state, ..call };
        let _alone = self.write(alone, vec![(id, call)], writes, vec![settled]).await?;
        self.0.settled.notify_waiters();
        Ok(())
    }

    /// Up to `limit` calls of which nobody knows whether they were made, after the given one.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn unknown(
        &self,
        after: Option<IntentId>,
        limit: usize,
    ) -> Result<Vec<(IntentId, CallRecord)>, RecordError> {
        self.records().blocking(move |records| records.unknown_calls(after, limit)).await
    }

    /// Removes the values of a run for good, and says whether it did: not of one that has not ended. What an answer to one of its calls brings
    /// that is still on its way is not kept.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn forget(&self, run: RunId) -> Result<bool, RecordError> {
        let (alone, now) = (self.alone().await, self.desk().now());
        if self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).contains(&run) {
            return Ok(false);
        }
        let forget = move |records: &Records| {
            let _alone = alone;
            match records.run(run)? {
                Some(record) if record.status != RunStatus::Active => records.forget(run, now).map(|()| true),
                _ => Ok(false),
            }
        };
        self.records().blocking(forget).await
    }

    /// Writes what an operator decided, and that they did. No call is claimed under what was before, once this returns.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn decide(&self, event: audit::Event, decision: impl FnOnce(&mut Writes)) -> Result<(), RecordError> {
        let mut writes = Writes::default();
        decision(&mut writes);
        let _alone = self.write(self.alone().await, Vec::new(), writes, vec![event]).await?;
        Ok(())
    }

    /// The same on this thread, which may block.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn decide_here(&self, event: audit::Event, mut writes: Writes) -> Result<(), RecordError> {
        let mut scribe = self.scribe()?;
        scribe.write(self.desk().now(), event, &mut writes);
        self.records().commit(writes)?;
        scribe.end();
        Ok(())
    }

    /// The right to write into the audit log, for somebody who makes commits of their own. Waits on this thread until nobody else has it.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn scribe(&self) -> Result<Scribe<Alone>, RecordError> {
        Scribe::begin(Arc::clone(&self.0.changing).blocking_lock_owned(), self.records())
    }

    /// Keeps the values of a run that is to be active again, until the disk says that it is. None if they are forgotten already.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn keep(&self, run: RunId) -> Result<Option<Kept>, RecordError> {
        // Whoever had this may be waiting for the disk, and must not be waited for by those who write to it.
        let _alone = self.alone().await;
        if self.records().blocking(move |records| records.forgotten(run)).await?.is_some() {
            return Ok(None);
        }
        let by = Arc::clone(&self.0.kept);
        by.lock().unwrap_or_else(PoisonError::into_inner).push(run);
        Ok(Some(Kept { run, by }))
    }

    /// The right to change what is known of calls, once nobody else has it. Nobody who has it waits for the hand, which may wait
    /// for it.
    async fn alone(&self) -> Alone {
        Arc::clone(&self.0.changing).lock_owned().await
    }

    /// Writes what an operator takes back. Once this returns, no call is on its way that needed it.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub async fn withdraw(&self, event: audit::Event, decision: impl FnOnce(&mut Writes)) -> Result<(), RecordError> {
        self.decide(event, decision).await?;
        let begun = self.0.sending.all().clone();
        self.0.sending.ended(&begun).await;
        Ok(())
    }

    async fn has_decoys(&self, run: RunId) -> Result<bool, RecordError> {
        let record = self.records().blocking(move |records| records.run(run)).await?;
        Ok(record.is_some_and(|record| record.spec.decoys.count > 0))
    }

    async fn effect(&self, call: &CallRecord) -> Result<manyhands_model::verb::EffectClass, RecordError> {
        let run = call.unit.run;
        let record = self.records().blocking(move |records| records.run(run)).await?;
        let plan = record.and_then(|record| self.desk().plan(record.spec.module));
        let known = plan.as_ref().and_then(|plan| plan.catalogue().get(call.intent.verb.as_str()));
        Ok(known.map_or(manyhands_model::verb::EffectClass::Irreversible, |known| known.verb.effect))
    }

    fn records(&self) -> &Records {
        self.desk().records()
    }

    /// Makes all of this durable, with what the audit log says of it. The right to change more comes back with that, and
    /// not before, also if nobody waits for it any more.
    async fn write(
        &self,
        mut alone: Alone,
        calls: Vec<(IntentId, CallRecord)>,
        mut writes: Writes,
        events: Vec<audit::Event>,
    ) -> Result<Alone, RecordError> {
        calls.iter().for_each(|(id, call)| writes.call(*id, call));
        let now = self.desk().now();
        let write = move |records: &Records| alone.commit(records, now, events, writes).map(|()| alone);
        self.records().blocking(write).await
    }

    /// What is known of an intent.
    async fn life(&self, scope: &Scope<'_>, step: u32, intent: Intent) -> Result<Life, RecordError> {
        let id = intent.id(scope, step);
        let known = self.records().blocking(move |records| records.call(id)).await?;
        let unit = scope.unit;
        let call = known.unwrap_or(CallRecord { unit, step, intent, reservation: None, state: State::Agreed });
        Ok(Life { id, call })
    }

    /// Carries intents on in their lives. Says what is heard once all of them are over, else what becomes of the request.
    async fn live(
        &self,
        asker: Asker<'_>,
        lives: &mut [Result<Life, Fault>],
    ) -> Result<Result<Vec<Heard>, Made>, CallsError> {
        let Asker { run, scope, .. } = asker;
        if self.desk().stop().is_cancelled() {
            return Ok(Err(Made::Unwanted));
        }
        // Before they are claimed: what is claimed is sent at once.
        let due = lives.iter().flatten().filter(|life| self.is_due(life)).count();
        if due > 0 {
            let due = u32::try_from(due).unwrap_or(1);
            let (turns, stop, spec) = (self.desk().turns(), self.desk().stop(), &run.spec);
            let turn = turns.take(&spec.owner, spec.job.as_str(), due, self.desk().is_wanted(spec.id));
            let Some(_turn) = stop.run_until_cancelled(turn).await.transpose()?.flatten() else {
                return Ok(Err(Made::Unwanted));
            };
            // It is never closed.
            let Some(_turns) = stop.run_until_cancelled(self.0.turns.acquire_many(due)).await else {
                return Ok(Err(Made::Unwanted));
            };
            // The row may have been long.
            if !self.desk().is_wanted(spec.id).await? {
                return Ok(Err(Made::Unwanted));
            }
            let alone = self.alone().await;
            // Under the lock: who takes a secret back has it, too.
            let values = self.values(scope).await?;
            let claimed = self.claim(alone, asker, lives, &values).await?;
            let mut sending: FuturesUnordered<_> = claimed.into_iter().map(|claimed| self.send(claimed)).collect();
            while let Some((at, fence, ended)) = sending.next().await {
                if let Some(Ok(life)) = lives.get_mut(at) {
                    self.note(asker, life, &values, fence, ended).await;
                }
            }
        }
        let heard: Option<Vec<Heard>> = lives
            .iter()
            .map(|life| match life {
                Ok(life) => life.call.state.heard(),
                Err(fault) => Some(Heard::Fault(*fault)),
            })
            .collect();
        if let Some(heard) = heard {
            return Ok(Ok(heard));
        }
        if !self.desk().is_wanted(run.spec.id).await? {
            return Ok(Err(Made::Unwanted));
        }
        let due = lives.iter().flatten().filter_map(|life| self.due(life)).min();
        Ok(Err(Made::Waits(due.unwrap_or_else(|| self.desk().now().after(LOOK)))))
    }

    /// Whether something is to be done about an intent now.
    fn is_due(&self, life: &Life) -> bool {
        let now = self.desk().now();
        match life.call.state {
            State::Claimed { .. } => !self.0.sending.all().contains(&life.id),
            State::Unknown { since, .. } => now.since(since) >= self.0.parts.unknown_time,
            _ => life.call.state.due().is_some_and(|due| due <= now),
        }
    }

    /// When something may be done about an intent, where that is known.
    fn due(&self, life: &Life) -> Option<Timestamp> {
        match life.call.state {
            State::Unknown { since, .. } => Some(since.after(self.0.parts.unknown_time)),
            _ => life.call.state.due(),
        }
    }

    /// The values of a unit, and the operator's secrets.
    async fn values(&self, scope: &Scope<'_>) -> Result<UnitValues, CallsError> {
        let unit = scope.unit;
        let (sealed, secrets) = self
            .records()
            .blocking(move |records| Ok((records.values(unit.run, Some(unit.index))?, records.secrets()?)))
            .await?;
        let vault = &self.0.parts.vault;
        let mut values = UnitValues::default();
        vault.unseal_all(scope.tenant, scope.job, sealed)?.into_iter().for_each(|taken| values.know(taken));
        values.secrets = vault.unseal_secrets(secrets)?;
        Ok(values)
    }

    /// Claims every intent whose time has come, or ends it; all of that is written when this returns.
    async fn claim(
        &self,
        mut alone: Alone,
        asker: Asker<'_>,
        lives: &mut [Result<Life, Fault>],
        values: &UnitValues,
    ) -> Result<Vec<Claimed>, CallsError> {
        let Asker { run, plan, .. } = asker;
        let digest = plan.digest();
        let approved = self.records().blocking(move |records| records.approval(digest)).await?.is_some();
        let now = self.desk().now();
        let (mut changed, mut claimed) = (Vec::new(), Vec::new());
        let (mut events, mut more) = (Vec::new(), Writes::default());
        let mut spent = Spent::default();
        for (at, life) in lives.iter_mut().enumerate() {
            let Ok(life) = life else { continue };
            // Another task, or the operator, may have been here meanwhile.
            let id = life.id;
            if let Some(known) = self.records().blocking(move |records| records.call(id)).await? {
                life.call = known;
            }
            let is_due = self.is_due(life);
            let call = &mut life.call;
            let Some(known) = plan.catalogue().get(call.intent.verb.as_str()) else { continue };
            if !is_due {
                continue;
            }
            let effect = known.verb.effect;
            // Of an earlier process, or of one whose word was lost: nobody sends it any more.
            let stale = match &call.state {
                State::Claimed { attempts } => Some(Event::Over(attempts.fence, Outcome::PerhapsSent)),
                State::Unknown { .. } => Some(Event::LetGo),
                _ => None,
            };
            let event = match stale {
                Some(event) => event,
                None if self.may_be_forgotten(run, &call.state) => {
                    Event::Forgotten { asked_at: run.spec.submitted_at, fence: self.fence() }
                }
                None => match self.ready(known, call, values, id, approved)? {
                    Err(why) => {
                        info!(unit = %call.unit, verb = %call.intent.verb, why, "a call was refused");
                        Event::Refuse(Fault::Refused)
                    }
                    Ok(outgoing) => match self.reserve(run, known, call, &mut spent, now).await? {
                        Err(exhausted) => {
                            info!(unit = %call.unit, verb = %call.intent.verb, %exhausted, "a call was refused");
                            Event::Refuse(Fault::Budget)
                        }
                        // Reserved, and given back with the refusal: the budget was looked at and not spent.
                        Ok(()) if run.spec.is_dry => {
                            let (target_bytes, body_bytes) = (outgoing.target.len() as u64, outgoing.body.len() as u64);
                            more.unsent(call, &UnsentRecord { call: id, target_bytes, body_bytes });
                            events.push(audit::unsent(id, call, digest, &outgoing));
                            Event::Refuse(Fault::DryRun)
                        }
                        Ok(()) => {
                            let fence = self.fence();
                            claimed.push(Claimed { at, id, fence, outgoing, state: State::Agreed });
                            Event::Claim(fence)
                        }
                    },
                },
            };
            if let Ok(state) = call.state.next(&event, effect, now) {
                call.state = state;
                self.give_back(run, call, &mut spent).await?;
                call.tell_if_unknown(id);
                asker.note_if_over(id, call, now, &mut more);
                if call.state != State::Refused(Fault::DryRun) {
                    events.push(audit::event(id, call, || digest));
                }
                changed.push((id, call.clone()));
            }
        }
        // A claim whose key is forgotten by now becomes an unknown, and is not sent.
        claimed.retain_mut(|claimed| {
            let state = lives.get(claimed.at).and_then(|life| life.as_ref().ok()).map(|life| &life.call.state);
            let Some(state @ State::Claimed { attempts }) = state else { return false };
            claimed.state = state.clone();
            attempts.fence == claimed.fence
        });
        if !changed.is_empty() {
            let mut writes = spent.writes(run);
            writes.0.ops.append(&mut more.0.ops);
            alone = self.write(alone, changed, writes, events).await?;
        }
        // From here on these are somebody's, until their outcome is written.
        self.0.sending.all().extend(claimed.iter().map(|claimed| claimed.id));
        drop(alone);
        Ok(claimed)
    }

    fn fence(&self) -> Fence {
        Fence { start: self.0.start, claim: self.0.claims.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether the data was put back from a copy since this call can have been made, and nobody was told yet.
    fn may_be_forgotten(&self, run: &RunRecord, state: &State) -> bool {
        let Some(doubt) = &self.0.doubt else { return false };
        let told = state.fence().is_some_and(|fence| fence.start > doubt.starts);
        run.spec.submitted_at < doubt.before && !told && !run.spec.is_dry
    }

    /// The request of a call, or why there is none.
    fn ready(
        &self,
        known: &Known,
        call: &CallRecord,
        values: &UnitValues,
        id: IntentId,
        approved: bool,
    ) -> Result<Result<Outgoing, String>, CallsError> {
        if !approved {
            return Ok(Err("its plan is not approved".to_owned()));
        }
        let key = self.0.parts.vault.calls()?.of(&id, &known.template.origin);
        let secret = |origin: &Origin, name: &Name| values.secret(origin, name);
        Ok(fill(known, &call.intent, &values.values, secret, &key).map_err(|why| why.to_string()))
    }

    async fn reserve(
        &self,
        run: &RunRecord,
        known: &Known,
        call: &mut CallRecord,
        spent: &mut Spent,
        now: Timestamp,
    ) -> Result<Result<(), Exhausted>, CallsError> {
        if call.reservation.is_some() {
            return Ok(Ok(()));
        }
        let (of_run, day) = spent.of(self, run, &call.intent.verb).await?;
        Ok(reserve(&known.verb.budget, of_run, day, now).map(|reservation| call.reservation = Some(reservation)))
    }

    /// What was never sent costs nothing.
    async fn give_back(&self, run: &RunRecord, call: &mut CallRecord, spent: &mut Spent) -> Result<(), CallsError> {
        if matches!(call.state, State::Refused(_))
            && let Some(reservation) = call.reservation.take()
        {
            let (of_run, day) = spent.of(self, run, &call.intent.verb).await?;
            give_back(&reservation, of_run, day);
        }
        Ok(())
    }

    /// Sends a call that is claimed.
    async fn send(&self, claimed: Claimed) -> (usize, Fence, Result<Response, Ended>) {
        let Claimed { at, id: _, fence, outgoing, state } = claimed;
        let sent = async {
            let request = sendable(outgoing).ok_or(Ended::Unsendable)?;
            if !state.may_send(fence, self.desk().now()) {
                return Err(Ended::TooLate);
            }
            self.0.parts.egress.perform(request).await.map_err(Ended::Egress)
        };
        (at, fence, sent.await)
    }

    /// Writes what came of a call, and the values that came with its answer. It does not end before that is on the disk: nobody else
    /// knows of it.
    async fn note(
        &self,
        asker: Asker<'_>,
        life: &mut Life,
        values: &UnitValues,
        fence: Fence,
        ended: Result<Response, Ended>,
    ) {
        let Some(known) = asker.plan.catalogue().get(life.call.intent.verb.as_str()) else { return };
        let (unit, verb) = (life.call.unit, life.call.intent.verb.clone());
        if let Err(ended) = &ended {
            warn!(%unit, %verb, error = %ended, "a call was not answered");
        }
        while let Err(error) = self.note_once(asker, known, life, values, fence, &ended).await {
            warn!(%unit, %verb, %error, "the outcome of a call cannot be written now; trying again");
            tokio::time::sleep(RECORDS_PAUSE).await;
        }
        self.0.sending.over(life.id);
        life.call.tell_if_unknown(life.id);
    }

    async fn note_once(
        &self,
        asker: Asker<'_>,
        known: &Known,
        life: &mut Life,
        values: &UnitValues,
        fence: Fence,
        ended: &Result<Response, Ended>,
    ) -> Result<(), CallsError> {
        let Asker { run, plan, scope, .. } = asker;
        let alone = self.alone().await;
        let vault = &self.0.parts.vault;
        let mut spent = Spent::default();
        let mut call = life.call.clone();
        let mut taken = Vec::new();
        let outcome = match ended {
            Ok(response) => {
                let source = Source::Answer { step: call.step, call: call.intent.ordinal };
                let heard = listen(vault, scope, known, response, values, source, &mut taken)?;
                Outcome::Answered { status: response.status.as_u16(), heard }
            }
            Err(ended) => ended.outcome(),
        };
        let now = self.desk().now();
        if let Ok(state) = call.state.next(&Event::Over(fence, outcome), known.verb.effect, now) {
            call.state = state;
            self.give_back(run, &mut call, &mut spent).await?;
            let mut writes = spent.writes(run);
            // The run may have ended, and its values may have been removed, while this was on its way.
            let id = run.spec.id;
            let keep =
                taken.is_empty() || self.records().blocking(move |records| records.forgotten(id)).await?.is_none();
            for (token, value) in taken.into_iter().filter(|_| keep) {
                let taken = Taken { token, surrogate: None, value };
                writes.value(scope.unit, &token, vault.seal(scope, &taken)?);
            }
            asker.note_if_over(life.id, &call, now, &mut writes);
            let event = audit::event(life.id, &call, || plan.digest());
            let _alone = self.write(alone, vec![(life.id, call.clone())], writes, vec![event]).await?;
        }
        life.call = call;
        Ok(())
    }
}

impl CallRecord {
    fn tell_if_unknown(&self, id: IntentId) {
        if matches!(self.state, State::Unknown { .. }) {
            let Self { unit, intent, .. } = self;
            error!(%unit, verb = %intent.verb, call = %id, "nobody knows whether a call was made; find out, and settle it");
        }
    }
}

/// Held by whoever changes what is known of calls.
pub type Alone = OwnedMutexGuard<Ledger>;

/// What runs and jobs have spent of their verbs' budgets, as far as it was looked at.
#[derive(Default)]
struct Spent(BTreeMap<Name, (u64, Day)>);

impl Spent {
    async fn of(&mut self, calls: &Calls, run: &RunRecord, verb: &Name) -> Result<(&mut u64, &mut Day), RecordError> {
        if !self.0.contains_key(verb) {
            let (id, job, name) = (run.spec.id, run.spec.job.clone(), verb.clone());
            let known = calls.records().blocking(move |records| records.spent(id, &job, &name)).await?;
            self.0.insert(verb.clone(), known);
        }
        let (of_run, day) = self.0.entry(verb.clone()).or_default();
        Ok((of_run, day))
    }

    fn writes(&self, run: &RunRecord) -> Writes {
        let mut writes = Writes::default();
        for (verb, (of_run, day)) in &self.0 {
            writes.spent(run.spec.id, &run.spec.job, verb, *of_run, day);
        }
        writes
    }
}

/// Who asks for calls.
#[derive(Clone, Copy)]
struct Asker<'a> {
    run: &'a RunRecord,
    plan: &'a Plan,
    scope: &'a Scope<'a>,
    begun: Timestamp,
}

impl Asker<'_> {
    /// What was heard of a call that is over is for the run's decoys as well.
    fn note_if_over(&self, id: IntentId, call: &CallRecord, now: Timestamp, writes: &mut Writes) {
        if self.run.spec.decoys.count == 0 {
            return;
        }
        if let Some(heard) = call.state.heard() {
            let over = Over { unit: call.unit, step: call.step, heard, took: now.since(self.begun) };
            writes.over(id, &call.intent.verb, &over);
        }
    }
}

/// An intent and where it stands.
struct Life {
    id: IntentId,
    call: CallRecord,
}

/// A call that may be sent: its claim is written.
struct Claimed {
    /// Its place in the request.
    at: usize,
    id: IntentId,
    fence: Fence,
    outgoing: Outgoing,
    /// As it is written.
    state: State,
}

/// How a call ended without an answer.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Egress(EgressError),
    #[error("it cannot be sent as it is")]
    Unsendable,
    #[error("its claim is too old by now; it is claimed anew")]
    TooLate,
}

impl Ended {
    fn outcome(&self) -> Outcome {
        let error = match self {
            Self::Egress(error) => error,
            Self::Unsendable => return Outcome::Refused(Fault::Refused),
            Self::TooLate => return Outcome::NeverSent,
        };
        match (error.sent, &error.why) {
            (Sent::Answered(status), _) => {
                let status = status.as_u16();
                let fault = if (200..300).contains(&status) { Fault::Withheld } else { Fault::Status(status) };
                Outcome::Answered { status, heard: Heard::Fault(fault) }
            }
            (Sent::Perhaps, _) => Outcome::PerhapsSent,
            (Sent::Never, Why::Clear | Why::Special { .. } | Why::Own(_) | Why::Peer { .. }) => {
                Outcome::Refused(Fault::Refused)
            }
            (Sent::Never, _) => Outcome::NeverSent,
        }
    }
}

/// The request as it goes out.
fn sendable(outgoing: Outgoing) -> Option<manyhands_egress::Request> {
    let method = Method::from_bytes(outgoing.method.word().as_bytes()).ok()?;
    let mut request = manyhands_egress::Request::new(method, outgoing.origin.clone(), &outgoing.target).ok()?;
    for (name, value) in &outgoing.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_str(value).ok()?).ok()?;
    }
    let total = Duration::from_millis(outgoing.limits.total_ms);
    let default = Limits::default();
    let limits = Limits {
        total,
        connect: default.connect.min(total),
        first_byte: total,
        wire_bytes_max: outgoing.limits.answer_bytes + (64 << 10),
        decoded_bytes_max: usize::try_from(outgoing.limits.answer_bytes).ok()?,
        ..default
    };
    Some(request.body(outgoing.body.to_vec()).limits(limits))
}

/// What a job hears of an answer, and the values that stand in it as tokens.
fn listen(
    vault: &Vault,
    scope: &Scope<'_>,
    known: &Known,
    response: &Response,
    values: &UnitValues,
    source: Source,
    taken: &mut Vec<(Token, Value)>,
) -> Result<Heard, VaultError> {
    let mint = vault.tokens()?.mint(scope);
    let mut index = 0;
    let tokenise = |class: Class, text: &str| {
        if let Some(token) = values.token_of(class, text) {
            return token;
        }
        if let Some((token, _)) = taken.iter().find(|(token, value)| token.class() == class && *value.text() == text) {
            return *token;
        }
        let token = mint.fresh(class, Occurrence { source, index });
        index += 1;
        taken.push((token, Value::of_text(text)));
        token
    };
    let live = values.live();
    let heard = hear(known, response.status.as_u16(), &response.body, |text| live.shows(text), tokenise);
    if taken.iter().any(|(_, value)| value.json().len() > SEALED_BYTES_MAX) {
        taken.clear();
        return Ok(Heard::Fault(Fault::Withheld));
    }
    Ok(heard)
}

/// The tokens that stand in what a unit reads, and what its surrogates stand for.
struct OwnTokens {
    tokens: UnitTokens,
    values: Values,
}

impl Own for OwnTokens {
    fn has(&self, token: &Token) -> bool {
        self.tokens.contains(token)
    }

    fn of_surrogate(&self, surrogate: &str) -> Option<Token> {
        self.values.of_surrogate(surrogate)
    }
}

/// What a unit's tokens stand for, and the operator's secrets.
#[derive(Default)]
struct UnitValues {
    values: Values,
    tokens: Vec<Token>,
    /// With the origin where alone each is sent.
    secrets: BTreeMap<Name, (String, Zeroizing<String>)>,
}

impl UnitValues {
    fn know(&mut self, taken: Taken) {
        self.tokens.push(taken.token);
        self.values.extend([taken]);
    }

    fn all(&self) -> impl Iterator<Item = (&Token, &Value)> {
        self.tokens.iter().filter_map(|token| Some((token, self.values.get(token)?)))
    }

    /// The token of a value that the unit has already: the same value has the same token.
    fn token_of(&self, class: Class, text: &str) -> Option<Token> {
        let same =
            |(token, value): &(&Token, &Value)| token.class() == class && value.is_text() && *value.text() == text;
        self.all().find(same).map(|(token, _)| *token)
    }

    /// What workers must not see, to be found again in whatever coding.
    fn live(&self) -> Live {
        let texts: Vec<Zeroizing<String>> = self.all().map(|(_, value)| value.text()).collect();
        let secrets = self.secrets.values().map(|(_, secret)| secret.as_str());
        Live::of(texts.iter().map(|text| text.as_str()).chain(secrets))
    }

    /// The operator's secret of this name, if it is bound to this origin.
    fn secret(&self, origin: &Origin, name: &Name) -> Option<Zeroizing<String>> {
        let (bound, secret) = self.secrets.get(name)?;
        (*bound == origin.to_string()).then(|| secret.clone())
    }
}
