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
    Body, Challenge, ClientMessage, Entry, Grant, Greeting, Hello, Lease, Receipt, Release, Report, ServerMessage,
};
use manyhands_signing::{Fingerprint, KeyRing, Keypair, PublicKey, Signed, TrustList, Verified};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::event::{Event, Refusal};

/// Shortest and longest wait before the next try to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Time for the coordinator to greet and to answer.
const GREETING_TIME: Duration = Duration::from_secs(20);
/// Leases that wait at the worker for each slot, so that a slot never waits for the network.
const AHEAD_PER_SLOT: usize = 1;

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
    /// Finish what was begun, then end.
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
enum Link {
    /// No connection; the next try at this moment, or never.
    Down(Option<Timestamp>),
    /// Connecting, or waiting for the coordinator to greet and to answer, until then.
    Greeting(Timestamp),
    /// Taken on.
    Up { heartbeat: Duration, ping_at: Timestamp, silent_at: Timestamp },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    NeedsModule,
    Ready,
    Running,
}

struct Unit {
    lease: Verified<Lease>,
    signed: Signed<Lease>,
    limits: Limits,
    input: Vec<u8>,
    stage: Stage,
}

/// A worker's mind.
pub struct Worker {
    config: Config,
    me: WorkerId,
    random: ChaCha20Rng,
    link: Link,
    failures: u32,
    root: Option<PublicKey>,
    ring: Option<KeyRing>,
    trust_version: u64,
    releases: BTreeMap<Digest, Verified<Release>>,
    modules: BTreeSet<Digest>,
    fetching: BTreeSet<Digest>,
    units: BTreeMap<LeaseId, Unit>,
    /// In the order in which they were granted.
    queue: VecDeque<LeaseId>,
    /// Reports that the coordinator has not acknowledged; true once they may be sent.
    outbox: BTreeMap<LeaseId, (Saved, bool)>,
    wanted: u16,
    paused: bool,
    draining: bool,
    ended: bool,
    effects: VecDeque<Effect>,
}

impl Worker {
    /// A worker that has not started.
    pub fn new(config: Config) -> Self {
        Self {
            me: config.key.public().into(),
            random: ChaCha20Rng::from_seed(config.seed),
            link: Link::Down(None),
            failures: 0,
            root: None,
            ring: None,
            trust_version: config.trust_version,
            releases: BTreeMap::new(),
            modules: BTreeSet::new(),
            fetching: BTreeSet::new(),
            units: BTreeMap::new(),
            queue: VecDeque::new(),
            outbox: BTreeMap::new(),
            wanted: 0,
            paused: false,
            draining: false,
            ended: false,
            effects: VecDeque::new(),
            config,
        }
    }

    /// Whether these bytes are the module of that name. The shell asks before it compiles anything.
    pub fn accepts_module(module: Digest, bytes: &[u8]) -> Result<(), Refusal> {
        if Digest::of(bytes) == module { Ok(()) } else { Err(Refusal::WrongModule) }
    }

    /// Takes note of what happened at `now`.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        if self.ended {
            return;
        }
        match input {
            Input::Start(saved) => {
                self.outbox.extend(saved.into_iter().map(|saved| (saved.lease, (saved, true))));
                self.connect(now);
            }
            Input::Connected => self.link = Link::Greeting(now.after(GREETING_TIME)),
            Input::Disconnected(reason) => self.lost(now, reason, None),
            Input::Frame(message) => self.frame(now, message),
            Input::ModuleReady(module) => {
                self.fetching.remove(&module);
                self.modules.insert(module);
                for unit in self.units.values_mut() {
                    if unit.lease.module == module && unit.stage == Stage::NeedsModule {
                        unit.stage = Stage::Ready;
                    }
                }
            }
            Input::ModuleFailed(module, reason) => {
                self.fetching.remove(&module);
                let with: Vec<LeaseId> = self.units_with(|unit| unit.lease.module == module && unit.stage == Stage::NeedsModule);
                for lease in with {
                    self.fail(lease, &reason);
                }
            }
            Input::Executed { lease, result } => self.executed(lease, result),
            Input::Progress { lease, permille } => {
                if self.is_up() && self.units.contains_key(&lease) {
                    self.effects.push_back(Effect::Send(ClientMessage::Progress { lease, permille }));
                }
            }
            Input::ReportSaved(lease) | Input::ReportNotSaved(lease) => {
                if let Some((saved, may_be_sent)) = self.outbox.get_mut(&lease) {
                    *may_be_sent = true;
                    let message = done(saved.clone());
                    if self.is_up() {
                        self.effects.push_back(Effect::Send(message));
                    }
                }
            }
            Input::Pause => {
                self.paused = true;
                self.effects.push_back(Effect::Say(Event::Paused));
                self.give_back_waiting();
            }
            Input::Resume => {
                self.paused = false;
                self.effects.push_back(Effect::Say(Event::Resumed));
            }
            Input::Drain => {
                self.draining = true;
                let units = self.running();
                self.effects.push_back(Effect::Say(Event::Draining { units }));
                self.give_back_waiting();
            }
            Input::TimePassed => {}
        }
        self.pass_time(now);
        self.run_ready();
        self.ask_for_work();
        self.end_if_drained();
    }

    /// What should happen next; empty the queue before waiting for the next input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to say [`Input::TimePassed`], if nothing happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let link = match self.link {
            Link::Down(retry_at) => retry_at,
            Link::Greeting(until) => Some(until),
            Link::Up { ping_at, silent_at, .. } => Some(ping_at.min(silent_at)),
        };
        let leases = self.units.values().map(|unit| unit.lease.validity.expires_at).min();
        link.into_iter().chain(leases).min()
    }

    // ── The connection ──

    fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    fn connect(&mut self, now: Timestamp) {
        self.link = Link::Greeting(now.after(GREETING_TIME));
        self.effects.push_back(Effect::Connect);
    }

    fn lost(&mut self, now: Timestamp, reason: String, retry_in: Option<Duration>) {
        if matches!(self.link, Link::Down(_)) {
            return;
        }
        // Full jitter (Brooker, "Exponential Backoff And Jitter", 2015): those who lost their connection
        // together do not come back together.
        let (shortest, longest) = BACK_OFF;
        let ceiling = longest.min(shortest.saturating_mul(1 << self.failures.min(16)));
        let spread = ceiling.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX));
        let wait = retry_in.unwrap_or_default() + spread.max(shortest / 5);
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Down(Some(now.after(wait)));
        self.wanted = 0;
        self.effects.push_back(Effect::Say(Event::Lost { reason, retry_in: wait }));
    }

    fn pass_time(&mut self, now: Timestamp) {
        match self.link {
            Link::Down(Some(at)) if at <= now => self.connect(now),
            Link::Greeting(until) if until <= now => {
                self.effects.push_back(Effect::Disconnect);
                self.lost(now, "the coordinator did not answer in time".into(), None);
            }
            Link::Up { silent_at, .. } if silent_at <= now => {
                self.effects.push_back(Effect::Disconnect);
                self.lost(now, "the coordinator fell silent".into(), None);
            }
            Link::Up { heartbeat, ping_at, silent_at } if ping_at <= now => {
                self.effects.push_back(Effect::Send(ClientMessage::Ping));
                self.link = Link::Up { heartbeat, ping_at: now.after(heartbeat), silent_at };
            }
            Link::Down(_) | Link::Greeting(_) | Link::Up { .. } => {}
        }
        // Nobody waits for what its lease no longer covers; the slot is better used otherwise.
        for lease in self.units_with(|unit| unit.lease.validity.expires_at <= now) {
            self.drop_unit(lease);
        }
    }

    fn frame(&mut self, now: Timestamp, message: ServerMessage) {
        if let Link::Up { heartbeat, ping_at, .. } = self.link {
            self.link = Link::Up { heartbeat, ping_at, silent_at: now.after(heartbeat * 3) };
        }
        match message {
            ServerMessage::Challenge(challenge) => self.challenged(now, &challenge),
            ServerMessage::Welcome(welcome) => {
                let Link::Greeting(_) = self.link else { return };
                let heartbeat = welcome.heartbeat.clamp(Duration::from_secs(1), Duration::from_secs(300));
                let (ping_at, silent_at) = (now.after(heartbeat), now.after(heartbeat * 3));
                self.link = Link::Up { heartbeat, ping_at, silent_at };
                self.failures = 0;
                self.effects.push_back(Effect::Say(Event::Joined));
                let ready = self.outbox.values().filter(|(_, may_be_sent)| *may_be_sent);
                let messages: Vec<_> = ready.map(|(saved, _)| Effect::Send(done(saved.clone()))).collect();
                self.effects.extend(messages);
            }
            ServerMessage::Refused { reason, retry_after } => {
                self.effects.push_back(Effect::Disconnect);
                match retry_after {
                    Some(after) => self.lost(now, reason, Some(after)),
                    None => self.fatal(format!("the coordinator does not want this worker: {reason}")),
                }
            }
            ServerMessage::Grants(grants) => {
                for grant in grants {
                    self.granted(now, grant);
                }
            }
            ServerMessage::Receipt { lease, receipt } => self.acknowledged(lease, receipt),
            ServerMessage::Cancel(leases) => {
                for lease in leases {
                    self.drop_unit(lease);
                }
            }
            ServerMessage::Trust(list) => {
                if let Some(root) = self.root
                    && let Err(refusal) = self.trust(now, root, &list)
                {
                    self.effects.push_back(Effect::Say(Event::Refused(refusal)));
                }
            }
            ServerMessage::Pong => {}
        }
    }

    fn challenged(&mut self, now: Timestamp, challenge: &Challenge) {
        let Link::Greeting(_) = self.link else { return };
        if let Err(refusal) = self.trust(now, challenge.root, &challenge.trust) {
            self.effects.push_back(Effect::Disconnect);
            return self.fatal(format!("this is not the coordinator of the join link, or not to be believed: {refusal}"));
        }
        let greeting = Greeting { nonce: challenge.nonce, coordinator: challenge.root };
        let greeting = Signed::new(&self.config.key, &greeting);
        let hello = Hello { greeting, body: self.config.body.clone(), slots: self.config.slots };
        self.effects.push_back(Effect::Send(ClientMessage::Hello(hello)));
    }

    fn trust(&mut self, now: Timestamp, root: PublicKey, list: &Signed<TrustList>) -> Result<(), Refusal> {
        let ring = KeyRing::open(self.config.pinned, root, list, now, self.trust_version)?;
        if ring.version() > self.trust_version {
            self.trust_version = ring.version();
            self.effects.push_back(Effect::RememberTrust(self.trust_version));
        }
        self.root = Some(root);
        // What was believed under an older list is asked again.
        self.releases.retain(|_, release| ring.permits(&release.name, release.serial, &release.module));
        self.ring = Some(ring);
        for lease in self.units_with(|_| true) {
            let unit = &self.units[&lease];
            let still = self.releases.contains_key(&unit.lease.module)
                && self.ring.as_ref().is_some_and(|ring| ring.verify(&unit.signed, now).is_ok());
            if !still {
                self.drop_unit(lease);
            }
        }
        Ok(())
    }

    fn fatal(&mut self, reason: String) {
        self.ended = true;
        self.effects.push_back(Effect::Fatal(reason));
    }

    // ── Leases ──

    fn granted(&mut self, now: Timestamp, grant: Grant) {
        self.wanted = self.wanted.saturating_sub(1);
        match self.check(now, &grant) {
            Ok((lease, limits)) => {
                if self.units.contains_key(&lease.id) || self.outbox.contains_key(&lease.id) {
                    return;
                }
                let id = lease.id;
                let stage = if self.modules.contains(&lease.module) { Stage::Ready } else { Stage::NeedsModule };
                if stage == Stage::NeedsModule && self.fetching.insert(lease.module) {
                    let bytes = self.releases.get(&lease.module).map_or(0, |release| release.module_bytes);
                    self.effects.push_back(Effect::FetchModule { module: lease.module, bytes });
                }
                self.units.insert(id, Unit { lease, signed: grant.lease, limits, input: grant.input, stage });
                if self.paused || self.draining {
                    self.give_back_waiting();
                } else {
                    self.queue.push_back(id);
                }
            }
            Err((lease, refusal)) => {
                if let Some(lease) = lease {
                    let reason = refusal.to_string();
                    self.effects.push_back(Effect::Send(ClientMessage::Failed { lease, reason }));
                }
                self.effects.push_back(Effect::Say(Event::Refused(refusal)));
            }
        }
    }

    fn check(&mut self, now: Timestamp, grant: &Grant) -> Result<(Verified<Lease>, Limits), (Option<LeaseId>, Refusal)> {
        let ring = self.ring.as_ref().ok_or((None, Refusal::NoRelease))?;
        let lease = ring.verify(&grant.lease, now).map_err(|untrusted| (None, untrusted.into()))?;
        let refuse = |refusal| (Some(lease.id), refusal);
        if lease.worker != self.me {
            return Err(refuse(Refusal::NotOurs));
        }
        if let Some(release) = &grant.release {
            let release = ring.verify(release, now).map_err(|untrusted| refuse(untrusted.into()))?;
            self.releases.insert(release.module, release);
        }
        let release = self.releases.get(&lease.module).ok_or_else(|| refuse(Refusal::NoRelease))?;
        if (release.serial, &release.name) != (lease.serial, &lease.job) {
            return Err(refuse(Refusal::Mismatch));
        }
        if !ring.permits(&release.name, release.serial, &release.module) {
            return Err(refuse(Refusal::Withdrawn));
        }
        if Digest::of(&grant.input) != lease.input {
            return Err(refuse(Refusal::WrongInput));
        }
        let limits = release.limits;
        Ok((lease, limits))
    }

    fn run_ready(&mut self) {
        while self.running() < usize::from(self.config.slots) {
            let ready = |lease: &LeaseId| self.units.get(lease).is_some_and(|unit| unit.stage == Stage::Ready);
            let Some(at) = self.queue.iter().position(ready) else { return };
            let Some(id) = self.queue.remove(at) else { return };
            let Some(unit) = self.units.get_mut(&id) else { return };
            unit.stage = Stage::Running;
            let lease = &unit.lease;
            let started = Event::Started { unit: lease.unit, job: lease.job.clone() };
            self.effects.push_back(Effect::Say(started));
            self.effects.push_back(Effect::Execute(Order {
                lease: id,
                module: lease.module,
                entry: lease.entry,
                input: core::mem::take(&mut unit.input),
                seed: lease.seed,
                limits: unit.limits,
            }));
        }
    }

    fn executed(&mut self, id: LeaseId, result: Result<(Outcome, Vec<u8>), String>) {
        match result {
            Err(reason) => self.fail(id, &reason),
            Ok((outcome, output)) => {
                let Some(unit) = self.units.remove(&id) else { return };
                let executed = Event::Executed { unit: unit.lease.unit, verdict: outcome.verdict.clone() };
                self.effects.push_back(Effect::Say(executed));
                let report = Signed::new(&self.config.key, &Report { lease: unit.signed, outcome });
                let saved = Saved { lease: id, report, output };
                self.outbox.insert(id, (saved.clone(), false));
                self.effects.push_back(Effect::Save(saved));
            }
        }
    }

    fn acknowledged(&mut self, lease: LeaseId, receipt: Receipt) {
        if self.outbox.remove(&lease).is_none() {
            return;
        }
        self.effects.push_back(Effect::Forget(lease));
        self.effects.push_back(Effect::Say(match receipt {
            Receipt::Recorded | Receipt::AlreadyRecorded => Event::Recorded,
            Receipt::Refused(reason) => Event::NotCounted { reason },
        }));
    }

    /// This machine cannot execute a unit; somebody else may.
    fn fail(&mut self, id: LeaseId, reason: &str) {
        if self.units.remove(&id).is_none() {
            return;
        }
        self.queue.retain(|lease| *lease != id);
        let reason = reason.to_owned();
        if self.is_up() {
            self.effects.push_back(Effect::Send(ClientMessage::Failed { lease: id, reason: reason.clone() }));
        }
        self.effects.push_back(Effect::Say(Event::MachineFailed { reason }));
    }

    /// Nobody needs this unit from this worker any more.
    fn drop_unit(&mut self, id: LeaseId) {
        let Some(unit) = self.units.remove(&id) else { return };
        self.queue.retain(|lease| *lease != id);
        if unit.stage == Stage::Running {
            self.effects.push_back(Effect::Abort(id));
        }
    }

    fn give_back_waiting(&mut self) {
        let waiting = self.units_with(|unit| unit.stage != Stage::Running);
        for lease in &waiting {
            self.units.remove(lease);
        }
        self.queue.clear();
        if self.is_up() && !waiting.is_empty() {
            self.effects.push_back(Effect::Send(ClientMessage::GiveBack(waiting)));
        }
    }

    fn ask_for_work(&mut self) {
        if !self.is_up() {
            return;
        }
        let room = usize::from(self.config.slots) * (1 + AHEAD_PER_SLOT);
        let want = if self.paused || self.draining { 0 } else { room.saturating_sub(self.units.len()) };
        let want = u16::try_from(want).unwrap_or(u16::MAX);
        if want != self.wanted {
            self.wanted = want;
            self.effects.push_back(Effect::Send(ClientMessage::Want(want)));
        }
    }

    fn end_if_drained(&mut self) {
        if self.draining && self.units.is_empty() && (self.outbox.is_empty() || !self.is_up()) && self.all_saved() {
            self.ended = true;
            self.effects.push_back(Effect::Disconnect);
            self.effects.push_back(Effect::Finished);
        }
    }

    fn all_saved(&self) -> bool {
        self.outbox.values().all(|(_, saved)| *saved)
    }

    fn running(&self) -> usize {
        self.units.values().filter(|unit| unit.stage == Stage::Running).count()
    }

    fn units_with(&self, fits: impl Fn(&Unit) -> bool) -> Vec<LeaseId> {
        self.units.iter().filter(|(_, unit)| fits(unit)).map(|(id, _)| *id).collect()
    }
}

fn done(saved: Saved) -> ClientMessage {
    let Saved { lease, report, output } = saved;
    ClientMessage::Done { lease, report, output }
}
