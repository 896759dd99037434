//! The worker itself.
//!
//! The life of one lease:
//!
//! ```text
//! granted ─▶ waits for its module ─▶ waits for a slot ─▶ executed ─▶ saved ─▶ sent ─▶ receipt: forgotten
//!    │                │                     │               │                  ▲  │
//!    └── refused ─────┴──── withdrawn, ended, machine failed: told ────        └──┘ after every reconnect
//! ```

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use manyhands_model::{Digest, LeaseId, Limits, Outcome, Timestamp, WorkerId};
use manyhands_protocol::{
    Body, Challenge, ClientMessage, Entry, Grant, Greeting, Hello, Lease, Receipt, Report, ServerMessage, Welcome,
};
use manyhands_signing::trust::CLOCK_SKEW_MAX;
use manyhands_signing::{Fingerprint, Keypair, Signed, TrustList, Untrusted, Verified};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::belief::{Belief, Unfit, Work};
use crate::event::{Event, Refusal};
use crate::link::{BackOff, Due, GREETING_TIME, Link, before};

/// Waits before the next try to connect.
const RECONNECT: BackOff = BackOff::new(Duration::from_millis(500), Duration::from_secs(60));
/// Waits before the next request for work while this machine fails at everything: it must not fail at every
/// unit that there is.
const REST: BackOff = BackOff::new(Duration::from_secs(1), Duration::from_secs(300));
/// Rests that are worth telling.
const REST_TOLD: Duration = Duration::from_secs(5);
/// The longest that a coordinator can send a worker away for.
const AWAY_MAX: Duration = Duration::from_secs(3600);
/// How long finishing may take.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Leases that wait at the worker are to keep it busy for so long: a round trip and a commit, so that no
/// slot waits for the network, however short the units are.
const AHEAD_TIME: Duration = Duration::from_millis(250);
/// Leases that wait for each slot, at least and at most.
const AHEAD_PER_SLOT: (u64, u64) = (1, 8);
/// Modules that are kept ready.
const MODULES_MAX: usize = 32;
/// Thousandths between two hints about progress that are passed on: a guest may give a million.
const PROGRESS_STEP: u16 = 10;

/// What a worker is.
pub struct Config {
    /// The coordinator's root key, as the join link names it.
    pub pinned: Fingerprint,
    /// The worker's own key.
    pub key: Keypair,
    /// What it says it is.
    pub body: Body,
    /// Units that it executes at once. At least 1.
    pub slots: u16,
    /// The highest version of a trust list that was seen before.
    pub trust_version: u64,
    /// Random bytes, for waiting times.
    pub seed: [u8; 32],
}

/// A report with its output, kept until the coordinator has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Under which lease.
    pub lease: LeaseId,
    /// The signed report.
    pub report: Signed<Report>,
    /// The output.
    pub output: Vec<u8>,
}

/// What is to be executed. Everything in it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Under which lease.
    pub lease: LeaseId,
    /// SHA-256 of the sealed module, which the shell has.
    pub module: Digest,
    /// Which function.
    pub entry: Entry,
    /// The input.
    pub input: Vec<u8>,
    /// The seed.
    pub seed: [u8; 32],
    /// What it may use.
    pub limits: Limits,
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// The worker starts; these reports were left over.
    Start(Vec<Saved>),
    /// The connection is there.
    Connected,
    /// The connection is gone, or never came.
    Disconnected(String),
    /// A message came.
    Frame(ServerMessage),
    /// A module was fetched and is ready, its digest checked against these bytes by the shell through
    /// [`Worker::accepts_module`].
    ModuleReady(Digest),
    /// A module could not be fetched or compiled.
    ModuleFailed(Digest, String),
    /// An execution ended.
    Executed {
        /// Under which lease.
        lease: LeaseId,
        /// What came out, or why this machine failed.
        result: Result<(Outcome, Vec<u8>), String>,
    },
    /// How far an execution is.
    Progress {
        /// Under which lease.
        lease: LeaseId,
        /// 0 to 1000.
        permille: u16,
    },
    /// A report is on this computer's disk.
    ReportSaved(LeaseId),
    /// A report cannot be put on this computer's disk. It is sent all the same.
    ReportNotSaved(LeaseId),
    /// Take no new work.
    Pause,
    /// Take new work again.
    Resume,
    /// Finish what was begun, for at most half a minute, then end.
    Drain,
    /// [`Worker::wake_at`] has come.
    TimePassed,
}

/// Something should happen.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect to the coordinator.
    Connect,
    /// Close the connection.
    Disconnect,
    /// Send this.
    Send(ClientMessage),
    /// Fetch this module, compile it and keep it ready.
    FetchModule {
        /// Its digest, which names it.
        module: Digest,
        /// Its length.
        bytes: u64,
    },
    /// This module need not be kept ready any more.
    ForgetModule(Digest),
    /// Execute this.
    Execute(Order),
    /// Stop executing this.
    Abort(LeaseId),
    /// Put this report on disk, then say so.
    Save(Saved),
    /// This report may be forgotten.
    Forget(LeaseId),
    /// Remember this version of the trust list, durably.
    RememberTrust(u64),
    /// Tell the volunteer.
    Say(Event),
    /// Nothing is left to do; the process may end.
    Finished,
    /// The worker cannot go on.
    Fatal(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    NeedsModule,
    Ready,
    Running { since: Timestamp, permille: u16 },
}

impl Stage {
    const fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

struct Unit {
    lease: Verified<Lease>,
    signed: Signed<Lease>,
    limits: Limits,
    input: Vec<u8>,
    stage: Stage,
}

/// How safe a report is on this computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Being written. It waits, so that a crash cannot take back what was said.
    NotYet,
    OnDisk,
    /// The disk is full or broken; the coordinator's is the only one left.
    InMemory,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    executed: u64,
    recorded: u64,
}

/// A worker's mind.
pub struct Worker {
    slots: usize,
    key: Keypair,
    body: Body,
    random: ChaCha20Rng,
    /// The latest moment that it was told.
    now: Timestamp,
    link: Link,
    reconnect: BackOff,
    belief: Belief,
    /// Modules that the shell has ready, the one that was not used for longest first.
    modules: VecDeque<Digest>,
    fetching: BTreeSet<Digest>,
    units: BTreeMap<LeaseId, Unit>,
    /// Those that are not running, in the order in which they were granted.
    queue: VecDeque<LeaseId>,
    /// Reports that the coordinator has not acknowledged.
    outbox: BTreeMap<LeaseId, (Saved, Kept)>,
    /// Leases that were given up while there was nobody to tell.
    owed: Vec<ClientMessage>,
    /// Leases that were asked for and are not here yet.
    wanted: u16,
    /// How long a unit takes, on average of late.
    pace: Option<Duration>,
    rest: BackOff,
    rest_until: Option<Timestamp>,
    paused: bool,
    /// Until when finishing may take.
    draining: Option<Timestamp>,
    ended: bool,
    counts: Counts,
    effects: VecDeque<Effect>,
}

impl Worker {
    /// A worker that has not started.
    pub fn new(config: Config) -> Self {
        let Config { pinned, key, body, slots, trust_version, seed } = config;
        let me = WorkerId::from(key.public());
        Self {
            slots: usize::from(slots.max(1)),
            key,
            body,
            random: ChaCha20Rng::from_seed(seed),
            now: Timestamp::default(),
            link: Link::Down(None),
            reconnect: RECONNECT,
            belief: Belief::new(me, pinned, trust_version),
            modules: VecDeque::new(),
            fetching: BTreeSet::new(),
            units: BTreeMap::new(),
            queue: VecDeque::new(),
            outbox: BTreeMap::new(),
            owed: Vec::new(),
            wanted: 0,
            pace: None,
            rest: REST,
            rest_until: None,
            paused: false,
            draining: None,
            ended: false,
            counts: Counts::default(),
            effects: VecDeque::new(),
        }
    }

    /// Whether these bytes are the module of that name. The shell asks before it compiles anything.
    ///
    /// # Errors
    /// [`Refusal::WrongModule`].
    pub fn accepts_module(module: Digest, bytes: &[u8]) -> Result<(), Refusal> {
        if Digest::of(bytes) == module { Ok(()) } else { Err(Refusal::WrongModule) }
    }

    /// Takes note of what happened at `now`.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        if self.ended {
            return;
        }
        self.set_clock(now);
        match input {
            Input::Start(saved) => {
                self.outbox.extend(saved.into_iter().map(|saved| (saved.lease, (saved, Kept::OnDisk))));
                self.connect(now);
            }
            Input::Connected => {
                if let Link::Dialling(until) = &mut self.link {
                    *until = now.after(GREETING_TIME);
                }
            }
            Input::Disconnected(reason) => self.lost(now, reason, None),
            Input::Frame(message) => self.frame(now, message),
            Input::ModuleReady(module) => self.module_ready(module),
            Input::ModuleFailed(module, reason) => {
                self.fetching.remove(&module);
                let waits = |unit: &Unit| unit.lease.module == module && unit.stage == Stage::NeedsModule;
                let waiting = self.units_with(waits);
                self.fail(now, &waiting, &reason);
            }
            Input::Executed { lease, result } => self.executed(now, lease, result),
            Input::Progress { lease, permille } => self.progressed(lease, permille),
            Input::ReportSaved(lease) => self.kept(lease, Kept::OnDisk),
            Input::ReportNotSaved(lease) => self.kept(lease, Kept::InMemory),
            Input::Pause => {
                if !core::mem::replace(&mut self.paused, true) {
                    self.say(Event::Paused);
                    self.give_back(|unit| !unit.stage.is_running());
                }
            }
            Input::Resume => {
                if core::mem::replace(&mut self.paused, false) {
                    self.say(Event::Resumed);
                }
            }
            Input::Drain => {
                if self.draining.is_none() {
                    self.draining = Some(now.after(DRAIN_TIME));
                    let units = self.running();
                    self.say(Event::Draining { units });
                    self.give_back(|unit| !unit.stage.is_running());
                }
            }
            Input::TimePassed => {}
        }
        self.pass_time(now);
        self.run_ready(now);
        self.ask_for_work();
        self.end_if_drained(now);
    }

    /// What should happen next; empty the queue before waiting for the next input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to say [`Input::TimePassed`], if nothing happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if self.ended {
            return None;
        }
        let leases = self.units.values().map(|unit| unit.lease.validity.expires_at).min();
        [self.link.wake_at(), leases, self.rest_until, self.draining].into_iter().flatten().min()
    }

    fn say(&mut self, event: Event) {
        self.effects.push_back(Effect::Say(event));
    }

    // ── The connection ──

    /// A clock that is set back must not make the worker wait for moments that come again.
    fn set_clock(&mut self, now: Timestamp) {
        if now < self.now {
            let by = self.now.since(now);
            self.link.set_back(by);
            self.rest_until = self.rest_until.map(|at| before(at, by));
            self.draining = self.draining.map(|at| before(at, by));
            for unit in self.units.values_mut() {
                if let Stage::Running { since, .. } = &mut unit.stage {
                    *since = before(*since, by);
                }
            }
        }
        self.now = now;
    }

    fn connect(&mut self, now: Timestamp) {
        self.link = Link::Dialling(now.after(GREETING_TIME));
        self.effects.push_back(Effect::Connect);
    }

    fn send(&mut self, message: ClientMessage) {
        if self.link.is_up() {
            self.effects.push_back(Effect::Send(message));
        }
    }

    /// Says that a lease is given up: now, or when there is somebody to tell.
    fn tell(&mut self, message: ClientMessage) {
        if self.link.is_up() {
            self.effects.push_back(Effect::Send(message));
        } else {
            self.owed.push(message);
        }
    }

    fn lost(&mut self, now: Timestamp, reason: String, away: Option<Duration>) {
        if matches!(self.link, Link::Down(_)) {
            return;
        }
        let wait = away.unwrap_or_default().min(AWAY_MAX) + self.reconnect.next(&mut self.random);
        self.link = Link::Down(Some(now.after(wait)));
        self.wanted = 0;
        self.say(Event::Lost { reason, retry_in: wait });
    }

    fn hang_up(&mut self, now: Timestamp, reason: String, away: Option<Duration>) {
        self.effects.push_back(Effect::Disconnect);
        self.lost(now, reason, away);
    }

    fn pass_time(&mut self, now: Timestamp) {
        match self.link.due(now) {
            Some(Due::Connect) => self.connect(now),
            Some(Due::Ping) => self.send(ClientMessage::Ping),
            Some(Due::GiveUp(reason)) => self.hang_up(now, reason.to_owned(), None),
            None => {}
        }
        self.rest_until = self.rest_until.filter(|until| *until > now);
        // Nobody waits for what its lease no longer covers; the slot is better used otherwise.
        for id in self.units_with(|unit| unit.lease.validity.expires_at <= now) {
            if let Some(unit) = self.drop_unit(id) {
                self.say(Event::TooLate { unit: unit.lease.unit });
            }
        }
    }

    fn frame(&mut self, now: Timestamp, message: ServerMessage) {
        self.link.heard(now);
        match (self.link, message) {
            (Link::Down(_), _) => {}
            (_, ServerMessage::Refused { reason, retry_after: Some(after) }) => self.hang_up(now, reason, Some(after)),
            (_, ServerMessage::Refused { reason, retry_after: None }) => {
                self.fatal(format!("the coordinator does not want this worker: {reason}"));
            }
            (Link::Dialling(_), ServerMessage::Challenge(challenge)) => self.challenged(now, &challenge),
            (Link::Introduced(_), ServerMessage::Welcome(welcome)) => self.welcomed(now, &welcome),
            (Link::Up { .. }, ServerMessage::Grants(grants)) => {
                for grant in grants {
                    self.granted(now, grant);
                }
            }
            (Link::Up { .. }, ServerMessage::Receipt { lease, receipt }) => self.acknowledged(lease, receipt),
            (Link::Up { .. }, ServerMessage::Cancel(leases)) => {
                for lease in leases {
                    self.drop_unit(lease);
                }
            }
            (Link::Up { .. }, ServerMessage::Trust(list)) => self.renewed(now, &list),
            (_, ServerMessage::Pong) => {}
            // What nobody says who follows the protocol, such as a welcome before the challenge.
            (_, ServerMessage::Challenge(_) | ServerMessage::Welcome(_) | ServerMessage::Grants(_))
            | (_, ServerMessage::Receipt { .. } | ServerMessage::Cancel(_) | ServerMessage::Trust(_)) => {
                self.hang_up(now, "the coordinator said something out of turn".to_owned(), None);
            }
        }
    }

    fn challenged(&mut self, now: Timestamp, challenge: &Challenge) {
        let (ahead, by) = (now > challenge.now, now.since(challenge.now).max(challenge.now.since(now)));
        if by >= CLOCK_SKEW_MAX {
            self.say(Event::ClockDiffers { by, ahead });
        }
        match self.belief.open(now, challenge.root, &challenge.trust) {
            Ok(newer) => self.believes(now, newer),
            // A clock may be set right while the worker waits.
            Err(error @ (Untrusted::Expired { .. } | Untrusted::NotYetValid { .. })) => {
                return self.hang_up(now, error.to_string(), None);
            }
            Err(error) => {
                return self
                    .fatal(format!("this is not the coordinator of the join link, or not to be believed: {error}"));
            }
        }
        let greeting = Greeting { nonce: challenge.nonce, coordinator: challenge.root };
        let greeting = Signed::new(&self.key, &greeting);
        let slots = u16::try_from(self.slots).unwrap_or(u16::MAX);
        let hello = Hello { greeting, body: self.body.clone(), slots };
        self.effects.push_back(Effect::Send(ClientMessage::Hello(hello)));
        self.link = Link::Introduced(now.after(GREETING_TIME));
    }

    fn welcomed(&mut self, now: Timestamp, welcome: &Welcome) {
        self.link = Link::up(now, welcome.heartbeat);
        self.reconnect.reset();
        self.say(Event::Joined);
        let owed = core::mem::take(&mut self.owed).into_iter();
        let ready = self.outbox.values().filter(|(_, kept)| *kept != Kept::NotYet);
        let ready = ready.map(|(saved, _)| done(saved.clone()));
        self.effects.extend(owed.chain(ready).map(Effect::Send));
    }

    fn renewed(&mut self, now: Timestamp, list: &Signed<TrustList>) {
        match self.belief.renew(now, list) {
            Ok(newer) => self.believes(now, newer),
            Err(untrusted) => self.say(Event::Refused(untrusted.into())),
        }
    }

    /// Another trust list has force: what it does not cover any more ends.
    fn believes(&mut self, now: Timestamp, newer: Option<u64>) {
        if let Some(version) = newer {
            self.effects.push_back(Effect::RememberTrust(version));
        }
        let belief = &self.belief;
        let doubted: BTreeSet<LeaseId> = self
            .units
            .iter()
            .filter(|(_, unit)| !belief.upholds(now, &unit.signed, &unit.lease.module))
            .map(|(id, _)| *id)
            .collect();
        if !doubted.is_empty() {
            self.say(Event::Refused(Refusal::Withdrawn));
            self.give_back(|unit| doubted.contains(&unit.lease.id));
        }
    }

    fn fatal(&mut self, reason: String) {
        self.ended = true;
        self.effects.push_back(Effect::Disconnect);
        self.effects.push_back(Effect::Fatal(reason));
    }

    // ── Leases ──

    fn granted(&mut self, now: Timestamp, grant: Grant) {
        self.wanted = self.wanted.saturating_sub(1);
        let Work { lease, limits, module_bytes } = match self.belief.judge(now, &grant) {
            Ok(work) => work,
            Err(Unfit { lease, refusal }) => {
                if let Some(lease) = lease {
                    let reason = refusal.to_string();
                    self.tell(ClientMessage::Failed { lease, reason });
                }
                self.say(Event::Refused(refusal));
                return self.take_a_rest(now);
            }
        };
        let id = lease.id;
        if self.units.contains_key(&id) || self.outbox.contains_key(&id) {
            return;
        }
        // Requests and grants cross on the way, so somewhat more than was asked for may come.
        if !self.takes_work() || self.units.len() >= 2 * self.room_max() {
            return self.tell(ClientMessage::GiveBack(vec![id]));
        }
        let stage = if self.modules.contains(&lease.module) { Stage::Ready } else { Stage::NeedsModule };
        if stage == Stage::NeedsModule && self.fetching.insert(lease.module) {
            self.effects.push_back(Effect::FetchModule { module: lease.module, bytes: module_bytes });
        }
        self.units.insert(id, Unit { lease, signed: grant.lease, limits, input: grant.input, stage });
        self.queue.push_back(id);
    }

    fn module_ready(&mut self, module: Digest) {
        if !self.fetching.remove(&module) {
            return;
        }
        self.modules.push_back(module);
        for unit in self.units.values_mut() {
            if unit.lease.module == module && unit.stage == Stage::NeedsModule {
                unit.stage = Stage::Ready;
            }
        }
        if self.modules.len() > MODULES_MAX {
            let needed: BTreeSet<Digest> = self.units.values().map(|unit| unit.lease.module).collect();
            if let Some(at) = self.modules.iter().position(|module| !needed.contains(module))
                && let Some(unused) = self.modules.remove(at)
            {
                self.effects.push_back(Effect::ForgetModule(unused));
            }
        }
    }

    fn run_ready(&mut self, now: Timestamp) {
        while self.running() < self.slots {
            let ready = |id: &LeaseId| self.units.get(id).is_some_and(|unit| unit.stage == Stage::Ready);
            let Some(at) = self.queue.iter().position(ready) else { return };
            let Some(id) = self.queue.remove(at) else { return };
            let Some(unit) = self.units.get_mut(&id) else { return };
            unit.stage = Stage::Running { since: now, permille: 0 };
            let (lease, limits, input) = (&unit.lease, unit.limits, core::mem::take(&mut unit.input));
            let started = Event::Started { unit: lease.unit, job: lease.job.clone() };
            let order = Order { lease: id, module: lease.module, entry: lease.entry, input, seed: lease.seed, limits };
            if let Some(at) = self.modules.iter().position(|module| *module == order.module) {
                self.modules.remove(at);
                self.modules.push_back(order.module);
            }
            self.say(started);
            self.effects.push_back(Effect::Execute(order));
        }
    }

    fn progressed(&mut self, id: LeaseId, permille: u16) {
        let Some(Unit { stage: Stage::Running { permille: last, .. }, .. }) = self.units.get_mut(&id) else { return };
        let permille = permille.min(1000);
        if permille >= last.saturating_add(PROGRESS_STEP) {
            *last = permille;
            self.send(ClientMessage::Progress { lease: id, permille });
        }
    }

    fn executed(&mut self, now: Timestamp, id: LeaseId, result: Result<(Outcome, Vec<u8>), String>) {
        let Some(Unit { stage: Stage::Running { since, .. }, .. }) = self.units.get(&id) else { return };
        let took = now.since(*since);
        let (outcome, output) = match result {
            Ok(executed) => executed,
            Err(reason) => return self.fail(now, &[id], &reason),
        };
        let Some(unit) = self.units.remove(&id) else { return };
        self.pace = Some(self.pace.map_or(took, |pace| (pace * 7 + took) / 8));
        self.rest.reset();
        self.counts.executed += 1;
        self.say(Event::Executed { unit: unit.lease.unit, verdict: outcome.verdict.clone() });
        let report = Signed::new(&self.key, &Report { lease: unit.signed, outcome });
        let saved = Saved { lease: id, report, output };
        self.outbox.insert(id, (saved.clone(), Kept::NotYet));
        self.effects.push_back(Effect::Save(saved));
    }

    fn kept(&mut self, lease: LeaseId, how: Kept) {
        if let Some((saved, kept)) = self.outbox.get_mut(&lease)
            && *kept == Kept::NotYet
        {
            *kept = how;
            let message = done(saved.clone());
            self.send(message);
        }
    }

    fn acknowledged(&mut self, lease: LeaseId, receipt: Receipt) {
        // What is still being saved was not sent, so nobody can have received it.
        if !matches!(self.outbox.get(&lease), Some((_, Kept::OnDisk | Kept::InMemory))) {
            return;
        }
        self.outbox.remove(&lease);
        self.effects.push_back(Effect::Forget(lease));
        match receipt {
            Receipt::Recorded | Receipt::AlreadyRecorded => {
                self.counts.recorded += 1;
                self.say(Event::Recorded);
            }
            Receipt::Refused(reason) => self.say(Event::NotCounted { reason }),
        }
    }

    /// This machine cannot execute these; somebody else may.
    fn fail(&mut self, now: Timestamp, leases: &[LeaseId], reason: &str) {
        let mut failed = false;
        for lease in leases {
            // What failed is not running any more, so there is nothing to abort.
            failed |= self.units.remove(lease).is_some();
            self.queue.retain(|waiting| waiting != lease);
            self.tell(ClientMessage::Failed { lease: *lease, reason: reason.to_owned() });
        }
        if failed {
            self.say(Event::MachineFailed { reason: reason.to_owned() });
            self.take_a_rest(now);
        }
    }

    fn take_a_rest(&mut self, now: Timestamp) {
        // What fails together is one failure.
        if self.rest_until.is_none() {
            let wait = self.rest.next(&mut self.random);
            self.rest_until = Some(now.after(wait));
            if wait >= REST_TOLD {
                self.say(Event::Resting { wait });
            }
        }
    }

    /// Nobody needs this unit from this worker any more.
    fn drop_unit(&mut self, id: LeaseId) -> Option<Unit> {
        let unit = self.units.remove(&id)?;
        self.queue.retain(|lease| *lease != id);
        if unit.stage.is_running() {
            self.effects.push_back(Effect::Abort(id));
        }
        Some(unit)
    }

    fn give_back(&mut self, which: impl Fn(&Unit) -> bool) {
        let leases = self.units_with(which);
        for lease in &leases {
            self.drop_unit(*lease);
        }
        if !leases.is_empty() {
            self.tell(ClientMessage::GiveBack(leases));
        }
    }

    fn takes_work(&self) -> bool {
        !self.paused && self.draining.is_none()
    }

    fn ask_for_work(&mut self) {
        if !self.link.is_up() {
            return;
        }
        let resting = !self.takes_work() || self.rest_until.is_some();
        let want = if resting { 0 } else { self.room().saturating_sub(self.units.len()) };
        let want = u16::try_from(want).unwrap_or(u16::MAX);
        let asks = if want == 0 {
            self.wanted > 0
        } else {
            // A request replaces the one before. While the answer to that may be on its way, another would
            // bring both; only a worker without anything to do risks it.
            self.wanted == 0 || (self.units.is_empty() && want > self.wanted)
        };
        if asks {
            self.wanted = want;
            self.send(ClientMessage::Want(want));
        }
    }

    /// Leases that this worker wants to hold: those that it executes, and enough to go on with.
    fn room(&self) -> usize {
        let (least, most) = AHEAD_PER_SLOT;
        let ahead = self.pace.map_or(least, |pace| {
            let units = AHEAD_TIME.as_millis() / pace.as_millis().max(1);
            u64::try_from(units).unwrap_or(most).clamp(least, most)
        });
        self.slots.saturating_mul(1 + usize::try_from(ahead).unwrap_or(1))
    }

    fn room_max(&self) -> usize {
        self.slots.saturating_mul(1 + usize::try_from(AHEAD_PER_SLOT.1).unwrap_or(1))
    }

    fn end_if_drained(&mut self, now: Timestamp) {
        let Some(until) = self.draining else { return };
        if now >= until {
            self.give_back(|_| true);
        }
        // Without a connection, what is on disk here waits for the next start.
        let delivered = self.outbox.values().all(|(_, kept)| *kept == Kept::OnDisk && !self.link.is_up());
        if now >= until || (self.units.is_empty() && delivered) {
            self.ended = true;
            let Counts { executed, recorded } = self.counts;
            self.say(Event::Left { executed, recorded, kept: self.outbox.len() });
            self.effects.push_back(Effect::Disconnect);
            self.effects.push_back(Effect::Finished);
        }
    }

    fn running(&self) -> usize {
        self.units.values().filter(|unit| unit.stage.is_running()).count()
    }

    fn units_with(&self, fits: impl Fn(&Unit) -> bool) -> Vec<LeaseId> {
        self.units.iter().filter(|(_, unit)| fits(unit)).map(|(id, _)| *id).collect()
    }
}

fn done(saved: Saved) -> ClientMessage {
    let Saved { lease, report, output } = saved;
    ClientMessage::Done { lease, report, output }
}
