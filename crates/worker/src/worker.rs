//! The worker itself.
//!
//! The life of one lease:
//!
//! ```text
//! granted ─▶ waits for its module ─▶ waits for a slot ─▶ executed ─▶ signed ─▶ sent ─▶ receipt: forgotten
//!    │                │                     │               │                   ▲  │
//!    └── refused ─────┴──── withdrawn, ended, machine failed: told              └──┘ after every reconnect
//! ```
//!
//! What is executed at about the same time is signed and sent together, as a [`Parcel`]. A parcel that would be
//! a pity to lose is put on disk as well: one that took a while, or that nobody acknowledges.

use alloc::borrow::ToOwned as _;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use manyhands_model::quantity::milliseconds;
use manyhands_model::{Digest, LeaseId, Limits, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{
    Balance, Body, Challenge, ClientMessage, Done, Entry, Grant, Greeting, Hello, Invitation, LEASES_MAX, Lease,
    REPORTS_BYTES_MAX, Receipt, Report, Reports, ServerMessage, Welcome,
};
#[cfg(feature = "curve")]
use manyhands_signing::Keypair;
use manyhands_signing::trust::CLOCK_SKEW_MAX;
use manyhands_signing::{Claim, Draft, Fingerprint, PublicKey, Signature, Signed, TrustList, Untrusted};
use manyhands_sorted::{Sorted, SortedSet};

use crate::belief::{Belief, Terms, Unfit, Work};
use crate::event::{Event, Fatal, Pause, Refusal};
use crate::link::{BackOff, Due, GREETING_TIME, Link, Random};

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
const AHEAD_PER_SLOT: (u64, u64) = (1, 128);
/// How long an outcome waits for others to be signed with, while every slot is busy. One signature costs more
/// than a short unit.
const TOGETHER: Duration = Duration::from_millis(4);
/// Outputs that are signed and sent together, in bytes, but for the last.
const TOGETHER_BYTES: usize = 256 << 10;
/// What one report takes at most of a statement, in bytes, beside a message.
const REPORT_BYTES: usize = 256;
/// Work that took this long is put on disk at once: it would be a pity to lose it.
const SAVED_FROM: Duration = Duration::from_secs(1);
/// Anything else is put on disk when it has not been acknowledged for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(2);
/// Rest that is shorter is saved up: a timer is no better than that.
const SLOT_REST_MIN: Duration = Duration::from_millis(50);
/// How long a worker that is to stop takes for its last words.
pub const STOP_TIME: Duration = Duration::from_millis(100);
/// Modules that are kept ready.
const MODULES_MAX: usize = 32;
/// Thousandths between two hints about progress that are passed on: a guest may give a million.
const PROGRESS_STEP: u16 = 10;

/// What a worker is.
pub struct Config {
    /// The coordinator's root key, as the join link names it.
    pub pinned: Fingerprint,
    /// The worker's own key.
    pub key: Key,
    /// What it says it is.
    pub body: Body,
    /// How much it executes.
    pub pace: Pace,
    /// Whether somebody watches, who wants to know what became of each unit.
    pub is_watched: bool,
    /// The highest version of a trust list that was seen before.
    pub trust_version: u64,
    /// What the volunteer was invited with, if that was said.
    pub invitation: Option<Invitation>,
    /// Random bytes, for waiting times.
    pub seed: [u8; 32],
}

/// A worker's key.
#[derive(Debug)]
pub enum Key {
    /// At hand.
    #[cfg(feature = "curve")]
    Held(Keypair),
    /// Its secret half lies where only the shell can have something signed ([`Effect::Sign`]), and whoever signs there also sees
    /// whose signatures fit ([`Effect::Check`]).
    Elsewhere(PublicKey),
}

impl Key {
    fn public(&self) -> PublicKey {
        match self {
            #[cfg(feature = "curve")]
            Self::Held(keypair) => keypair.public(),
            Self::Elsewhere(public) => *public,
        }
    }
}

/// How much of a computer the worker uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Units that it executes at once. At least 1.
    pub slots: u16,
    /// The share of time for which a slot executes, in thousandths, 1 to 1000; it rests after each unit.
    pub permille: u16,
}

impl Pace {
    /// So many slots, all the time.
    pub const fn full(slots: u16) -> Self {
        Self { slots, permille: 1000 }
    }

    /// For how long a slot rests that worked for so long.
    fn rest(self, worked: Duration) -> Duration {
        let permille = u32::from(self.permille.clamp(1, 1000));
        worked * (1000 - permille) / permille
    }
}

/// Finished work, kept until the coordinator has all of it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel(Arc<Contents>);

#[derive(Debug, PartialEq, Eq)]
struct Contents {
    name: Digest,
    units: Vec<(LeaseId, UnitId)>,
    done: Done,
}

impl Parcel {
    /// A parcel of what this worker signed, or left over; `units` are those that the reports are about.
    fn new(done: Done, units: Vec<(LeaseId, UnitId)>) -> Self {
        Self(Arc::new(Contents { name: done.reports.digest(), units, done }))
    }

    /// The parcel that was kept as `done`, if it is whole: its own signature covers everything in it.
    pub fn reopen(done: Done) -> Option<Self> {
        let said = done.reports.verify_any().ok()?;
        let fits = |(report, output): (&Report, &Bytes)| report.outcome.is_of(output);
        let whole = said.reports.len() == done.outputs.len() && said.reports.iter().zip(&done.outputs).all(fits);
        let units = units(said.run, &said.reports);
        whole.then(|| Self::new(done, units))
    }

    /// Names it among all others.
    pub fn name(&self) -> Digest {
        self.0.name
    }

    /// What the coordinator is sent.
    pub fn done(&self) -> &Done {
        &self.0.done
    }
}

/// What is to be executed. Everything in it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Under which lease.
    pub lease: LeaseId,
    /// Which unit.
    pub unit: UnitId,
    /// SHA-256 of the sealed module, which the shell has.
    pub module: Digest,
    /// Which function.
    pub entry: Entry,
    /// How many answers there are with the input.
    pub step: u32,
    /// The input; with answers, a frame of `manyhands_abi::parts`.
    pub input: Bytes,
    /// The seed.
    pub seed: [u8; 32],
    /// What it may use.
    pub limits: Limits,
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// The worker starts; these parcels were left over.
    Start(Vec<Parcel>),
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
        result: Result<(Outcome, Bytes), String>,
    },
    /// How far an execution is.
    Progress {
        /// Under which lease.
        lease: LeaseId,
        /// 0 to 1000.
        permille: u16,
    },
    /// What [`Effect::Sign`] asked for under that number.
    Signed(u64, Signature),
    /// The key cannot be used, for this reason.
    NotSigned(String),
    /// Whether what [`Effect::Check`] asked about under that number is so.
    Checked(u64, bool),
    /// The parcel of that name is on this computer's disk.
    Saved(Digest),
    /// It cannot be put there.
    NotSaved(Digest),
    /// Use this much of the computer from now on. What is too much is given back.
    Pace(Pace),
    /// Take no new work, for this reason.
    Pause(Pause),
    /// Take new work again.
    Resume,
    /// Finish what was begun, for at most half a minute, then end.
    Drain,
    /// Give back what was begun, then end, within [`STOP_TIME`].
    Stop,
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
    /// Sign these bytes with the key that is elsewhere, then say so under this number.
    Sign(u64, Vec<u8>),
    /// See whether this signature fits, then say so under this number. What came in the meantime waits.
    Check(u64, Claim),
    /// Put this parcel on disk, then say so.
    Save(Parcel),
    /// The parcel of that name may be removed from there.
    Forget(Digest),
    /// Remember this version of the trust list, durably.
    RememberTrust(u64),
    /// Tell the volunteer.
    Say(Event),
    /// Nothing is left to do; the process may end.
    Finished,
    /// The worker cannot go on.
    Fatal(Fatal),
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
    terms: Arc<Terms>,
    lease: Lease,
    input: Bytes,
    stage: Stage,
}

impl Unit {
    fn id(&self) -> UnitId {
        UnitId { run: self.terms.leases.run, index: self.lease.task.index }
    }

    fn module(&self) -> Digest {
        self.terms.leases.module
    }
}

/// What waits for its signature.
enum Unsigned {
    Greeting(Draft<Greeting>),
    Reports { draft: Draft<Reports>, units: Vec<(LeaseId, UnitId)>, outputs: Vec<Bytes>, took: Duration },
}

impl Unsigned {
    fn has(&self, lease: LeaseId) -> bool {
        matches!(self, Self::Reports { units, .. } if units.iter().any(|(id, _)| *id == lease))
    }
}

/// What these reports of a run are about.
fn units(run: RunId, reports: &[Report]) -> Vec<(LeaseId, UnitId)> {
    reports.iter().map(|report| (report.lease.id, UnitId { run, index: report.lease.task.index })).collect()
}

/// Outcomes of one run that are about to be signed together.
struct Finished {
    module: Digest,
    since: Timestamp,
    took: Duration,
    /// Bytes of the outputs.
    bytes: usize,
    /// Bytes of the statement, at most.
    said: usize,
    reports: Vec<Report>,
    outputs: Vec<Bytes>,
}

/// How safe a parcel is on this computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Only in memory, and on disk from this moment on.
    Until(Timestamp),
    Writing,
    OnDisk,
    /// The disk is full or broken; the coordinator's is the only one left.
    Nowhere,
}

struct Sent {
    parcel: Parcel,
    /// Leases that have no receipt yet.
    missing: Vec<LeaseId>,
    kept: Kept,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    executed: u64,
    recorded: u64,
}

/// A worker's mind.
pub struct Worker {
    pace: Pace,
    key: Key,
    body: Body,
    is_watched: bool,
    /// Until it has been let in with it.
    invitation: Option<Invitation>,
    random: Random,
    /// The latest moment that it was told.
    now: Timestamp,
    link: Link,
    reconnect: BackOff,
    belief: Belief,
    /// Modules that the shell has ready, the one that was not used for longest first.
    modules: Vec<Digest>,
    fetching: Vec<Digest>,
    units: Sorted<LeaseId, Unit>,
    /// When the leases of those end.
    deadlines: SortedSet<(Timestamp, LeaseId)>,
    /// How many of those are being executed.
    running: usize,
    /// Those that are not running, in the order in which they were granted.
    queue: Vec<LeaseId>,
    /// What is executed and not signed yet, by its run.
    finished: Sorted<RunId, Finished>,
    /// What the shell was asked to sign, by its number.
    unsigned: Vec<(u64, Unsigned)>,
    /// What came and is not heard yet, since the shell was asked about a signature of the first.
    unheard: Vec<ServerMessage>,
    /// The number of that request.
    checks: u64,
    /// The number of the last request for a signature.
    signatures: u64,
    /// Parcels that the coordinator has not acknowledged as a whole.
    outbox: Sorted<Digest, Sent>,
    /// Where the leases of those are.
    reported: Sorted<LeaseId, (Digest, UnitId)>,
    /// Leases that were given up while there was nobody to tell.
    owed: Vec<ClientMessage>,
    /// Leases that were asked for and are not here yet.
    wanted: u16,
    /// How long a unit takes, on average of late.
    unit_time: Option<Duration>,
    /// Time for which slots are to rest, and do not yet.
    owed_rest: Duration,
    /// When slots that rest are used again.
    resting: Vec<Timestamp>,
    rest: BackOff,
    rest_until: Option<Timestamp>,
    paused: Option<Pause>,
    /// Until when finishing may take.
    draining: Option<Timestamp>,
    /// Whether it ends without waiting for anybody.
    stopping: bool,
    ended: bool,
    counts: Counts,
    /// As the volunteer was told it last.
    balance: Balance,
    effects: VecDeque<Effect>,
}

impl Worker {
    /// A worker that has not started.
    pub fn new(config: Config) -> Self {
        let Config { pinned, key, body, pace, is_watched, trust_version, invitation, seed } = config;
        let me = WorkerId::from(key.public());
        Self {
            pace,
            key,
            body,
            is_watched,
            invitation,
            random: Random::new(seed),
            now: Timestamp::default(),
            link: Link::Down(None),
            reconnect: RECONNECT,
            belief: Belief::new(me, pinned, trust_version),
            modules: Vec::new(),
            fetching: Vec::new(),
            units: Sorted::default(),
            deadlines: SortedSet::default(),
            running: 0,
            queue: Vec::new(),
            finished: Sorted::default(),
            unsigned: Vec::new(),
            unheard: Vec::new(),
            checks: 0,
            signatures: 0,
            outbox: Sorted::default(),
            reported: Sorted::default(),
            owed: Vec::new(),
            wanted: 0,
            unit_time: None,
            owed_rest: Duration::ZERO,
            resting: Vec::new(),
            rest: REST,
            rest_until: None,
            paused: None,
            draining: None,
            stopping: false,
            ended: false,
            counts: Counts::default(),
            balance: Balance::default(),
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
                saved.into_iter().for_each(|parcel| self.keep(parcel, Kept::OnDisk));
                self.connect(now);
            }
            Input::Connected => {
                if let Link::Dialling(until) = &mut self.link {
                    *until = now.after(GREETING_TIME);
                }
            }
            Input::Disconnected(reason) => self.lost(now, reason, None),
            // A last word of a connection that is gone would be heard on the next.
            Input::Frame(_) if matches!(self.link, Link::Down(_)) => {}
            Input::Frame(message) => {
                self.link.heard(now);
                self.unheard.push(message);
                if self.unheard.len() == 1 {
                    self.hear(now);
                }
            }
            Input::ModuleReady(module) => self.module_ready(module),
            Input::ModuleFailed(module, reason) => {
                self.has_fetched(module);
                let waits = |unit: &Unit| unit.module() == module && unit.stage == Stage::NeedsModule;
                let waiting = self.units_with(&waits);
                self.fail(now, &waiting, &reason);
            }
            Input::Executed { lease, result } => self.executed(now, lease, result),
            Input::Progress { lease, permille } => self.progressed(lease, permille),
            Input::Signed(number, signature) => self.signed(now, number, signature),
            Input::NotSigned(reason) => self.fatal(Fatal::NoKey(reason)),
            Input::Checked(number, fits) => self.checked(now, number, fits),
            Input::Saved(parcel) => self.kept(parcel, Kept::OnDisk),
            Input::NotSaved(parcel) => self.kept(parcel, Kept::Nowhere),
            Input::Pace(pace) => self.set_pace(pace),
            Input::Pause(why) => {
                if self.paused.replace(why) != Some(why) {
                    self.say(Event::Paused(why));
                    // First of all: what is given back while more is wanted comes back at once.
                    self.ask_for_work();
                    self.give_back(&|unit| why.is_at_once() || !unit.stage.is_running());
                }
            }
            Input::Resume => {
                if self.paused.take().is_some() {
                    self.say(Event::Resumed);
                }
            }
            Input::Drain => {
                if self.draining.is_none() {
                    self.draining = Some(now.after(DRAIN_TIME));
                    let units = self.running;
                    self.say(Event::Draining { units });
                    self.ask_for_work();
                    self.give_back(&|unit| !unit.stage.is_running());
                }
            }
            Input::Stop => {
                self.draining = Some(now.after(STOP_TIME));
                self.stopping = true;
                self.ask_for_work();
                self.give_back(&|_| true);
            }
            Input::TimePassed => {}
        }
        self.pass_time(now);
        self.run_ready(now);
        self.sign_finished(now);
        self.save_unacknowledged(now);
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
        let leases = self.deadlines.first().map(|((at, _), ())| *at);
        let finished = self.finished.values().map(|finished| finished.since.after(TOGETHER)).min();
        let unsaved = self.outbox.values().filter_map(|sent| match sent.kept {
            Kept::Until(at) => Some(at),
            Kept::Writing | Kept::OnDisk | Kept::Nowhere => None,
        });
        let rested = self.resting.iter().min().copied();
        let moments = [self.link.wake_at(), leases, finished, unsaved.min(), rested, self.rest_until, self.draining];
        moments.into_iter().flatten().min()
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
            self.rest_until = self.rest_until.map(|at| at.before(by));
            self.draining = self.draining.map(|at| at.before(by));
            for unit in self.units.values_mut() {
                if let Stage::Running { since, .. } = &mut unit.stage {
                    *since = since.before(by);
                }
            }
            for finished in self.finished.values_mut() {
                finished.since = finished.since.before(by);
            }
            for sent in self.outbox.values_mut() {
                if let Kept::Until(at) = &mut sent.kept {
                    *at = at.before(by);
                }
            }
            self.resting.iter_mut().for_each(|until| *until = until.before(by));
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
        // Those were for this connection alone.
        self.unheard.clear();
        self.unsigned.retain(|(_, unsigned)| !matches!(unsigned, Unsigned::Greeting(_)));
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
        self.resting.retain(|until| *until > now);
        // Nobody waits for what its lease no longer covers; the slot is better used otherwise.
        while let Some(&((at, id), ())) = self.deadlines.first()
            && at <= now
        {
            if let Some(unit) = self.drop_unit(id) {
                self.say(Event::TooLate { unit: unit.id() });
            }
        }
    }

    /// Hears what came, up to what the shell has to see first.
    fn hear(&mut self, now: Timestamp) {
        let is_elsewhere = matches!(self.key, Key::Elsewhere(_));
        while let Some(message) = self.unheard.first_mut() {
            if let Some(claim) = message.claims().filter(|_| is_elsewhere).find_map(|signed| signed.claim()) {
                self.checks += 1;
                return self.effects.push_back(Effect::Check(self.checks, claim));
            }
            let message = self.unheard.remove(0);
            self.frame(now, message);
        }
    }

    fn checked(&mut self, now: Timestamp, number: u64, fits: bool) {
        // What was asked about for a connection that is gone is nobody's question any more.
        if number == self.checks
            && let Some(message) = self.unheard.first_mut()
        {
            if let Some(signed) = message.claims().find(|signed| signed.claim().is_some()) {
                signed.answer(fits);
            }
            self.hear(now);
        }
    }

    fn frame(&mut self, now: Timestamp, message: ServerMessage) {
        match (self.link, message) {
            (Link::Down(_), _) => {}
            (_, ServerMessage::Refused { reason, retry_after: Some(after) }) => self.hang_up(now, reason, Some(after)),
            (_, ServerMessage::Refused { reason, retry_after: None }) => {
                self.fatal(Fatal::Unwanted(reason));
            }
            (Link::Dialling(_), ServerMessage::Challenge(challenge)) if !self.greets() => {
                self.challenged(now, &challenge);
            }
            (Link::Introduced(_), ServerMessage::Welcome(welcome)) => self.welcomed(now, &welcome),
            (Link::Up { .. }, ServerMessage::Grant(grant)) => self.granted(now, grant),
            (Link::Up { .. }, ServerMessage::Receipts(receipts)) => {
                for (lease, receipt) in receipts {
                    self.acknowledged(lease, receipt);
                }
            }
            (Link::Up { .. }, ServerMessage::Cancel(leases)) => {
                for lease in leases {
                    self.drop_unit(lease);
                }
            }
            (Link::Up { .. }, ServerMessage::Trust(list)) => self.renewed(now, &list),
            (Link::Up { .. }, ServerMessage::Settled(units)) => {
                for (unit, settlement) in units {
                    self.say(Event::Settled { unit, settlement });
                }
            }
            (Link::Up { .. }, ServerMessage::Balance(balance)) => self.hear_balance(balance),
            (_, ServerMessage::Pong) => {}
            // What nobody says who follows the protocol, such as a welcome before the challenge.
            (_, ServerMessage::Challenge(_) | ServerMessage::Welcome(_) | ServerMessage::Grant(_))
            | (_, ServerMessage::Receipts(_) | ServerMessage::Cancel(_) | ServerMessage::Trust(_))
            | (_, ServerMessage::Settled(_) | ServerMessage::Balance(_)) => {
                self.hang_up(now, "the coordinator said something out of turn".to_owned(), None);
            }
        }
    }

    fn hear_balance(&mut self, balance: Balance) {
        let was = core::mem::replace(&mut self.balance, balance);
        let Balance { fuel, contradicted, settled } = balance;
        if fuel != was.fuel {
            self.say(Event::Balance { fuel });
        }
        if contradicted > was.contradicted {
            self.say(Event::Contradicted { contradicted, settled });
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
            Err(error) => return self.fatal(Fatal::Untrusted(error)),
        }
        let greeting = Draft::new(&Greeting { nonce: challenge.nonce, coordinator: challenge.root });
        self.have_signed(now, greeting.message(), Unsigned::Greeting(greeting));
    }

    fn greets(&self) -> bool {
        self.unsigned.iter().any(|(_, unsigned)| matches!(unsigned, Unsigned::Greeting(_)))
    }

    #[cfg_attr(not(feature = "curve"), expect(unused_variables, reason = "what is signed elsewhere is signed later"))]
    fn have_signed(&mut self, now: Timestamp, message: Vec<u8>, unsigned: Unsigned) {
        self.signatures += 1;
        self.unsigned.push((self.signatures, unsigned));
        match &self.key {
            #[cfg(feature = "curve")]
            Key::Held(keypair) => self.signed(now, self.signatures, keypair.sign(&message)),
            Key::Elsewhere(_) => self.effects.push_back(Effect::Sign(self.signatures, message)),
        }
    }

    fn signed(&mut self, now: Timestamp, number: u64, signature: Signature) {
        let Some(at) = self.unsigned.iter().position(|(its, _)| *its == number) else { return };
        match self.unsigned.remove(at).1 {
            Unsigned::Greeting(draft) => {
                let greeting = draft.signed(self.key.public(), signature);
                let (body, slots, is_watched) = (self.body.clone(), self.pace.slots.max(1), self.is_watched);
                let hello = Hello { greeting, body, slots, is_watched, invitation: self.invitation.clone() };
                self.effects.push_back(Effect::Send(ClientMessage::Hello(hello)));
                self.link = Link::Introduced(now.after(GREETING_TIME));
            }
            Unsigned::Reports { draft, units, outputs, took } => {
                let parcel = Parcel::new(Done { reports: draft.signed(self.key.public(), signature), outputs }, units);
                self.send(ClientMessage::Done(parcel.done().clone()));
                let wait = if took >= SAVED_FROM || self.stopping { Duration::ZERO } else { UNACKNOWLEDGED };
                self.keep(parcel, Kept::Until(now.after(wait)));
            }
        }
    }

    fn welcomed(&mut self, now: Timestamp, welcome: &Welcome) {
        self.link = Link::up(now, welcome.heartbeat);
        self.invitation = None;
        self.reconnect.reset();
        self.say(Event::Joined);
        let owed = core::mem::take(&mut self.owed).into_iter();
        let again = self.outbox.values().map(|sent| ClientMessage::Done(sent.parcel.done().clone()));
        self.effects.extend(owed.chain(again).map(Effect::Send));
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
        let doubted = self.units_with(&|unit| !belief.upholds(now, &unit.terms));
        if !doubted.is_empty() {
            self.say(Event::Refused(Refusal::Withdrawn));
            self.give_back_these(doubted);
        }
    }

    fn fatal(&mut self, reason: Fatal) {
        self.ended = true;
        self.unheard.clear();
        self.effects.push_back(Effect::Disconnect);
        self.effects.push_back(Effect::Fatal(reason));
    }

    // ── Leases ──

    fn granted(&mut self, now: Timestamp, grant: Grant) {
        let Work { terms, units } = match self.belief.judge(now, grant) {
            Ok(work) => work,
            Err(Unfit { leases, refusal }) => {
                self.arrived(leases.len());
                let reason = refusal.to_string();
                if refusal.is_of_this_unit() {
                    for lease in leases {
                        self.tell(ClientMessage::Failed { lease, reason: reason.clone() });
                    }
                } else if !leases.is_empty() {
                    self.tell(ClientMessage::GiveBack(leases));
                }
                // The next connection brings the release again.
                let lost = refusal == Refusal::NoRelease;
                self.say(Event::Refused(refusal));
                self.take_a_rest(now);
                if lost {
                    self.hang_up(now, reason, None);
                }
                return;
            }
        };
        self.arrived(units.len());
        let module = terms.leases.module;
        let mut unwanted = Vec::new();
        for (lease, input) in units {
            let id = lease.id;
            if self.units.contains(&id) || self.has_finished(terms.leases.run, id) {
                continue;
            }
            // Requests and grants cross on the way, so somewhat more than was asked for may come.
            if !self.takes_work() || self.units.len() >= 2 * self.room_max() {
                unwanted.push(id);
                continue;
            }
            let stage = if self.modules.contains(&module) { Stage::Ready } else { Stage::NeedsModule };
            if stage == Stage::NeedsModule && !self.fetching.contains(&module) {
                self.fetching.push(module);
                self.effects.push_back(Effect::FetchModule { module, bytes: terms.module_bytes });
            }
            self.deadlines.insert((terms.leases.validity.expires_at, id), ());
            self.units.insert(id, Unit { terms: Arc::clone(&terms), lease, input, stage });
            self.queue.push(id);
        }
        if !unwanted.is_empty() {
            self.tell(ClientMessage::GiveBack(unwanted));
        }
    }

    /// So many leases came that were asked for.
    fn arrived(&mut self, leases: usize) {
        self.wanted = self.wanted.saturating_sub(u16::try_from(leases).unwrap_or(u16::MAX));
    }

    fn has_finished(&self, run: RunId, lease: LeaseId) -> bool {
        self.finished.get(&run).is_some_and(|finished| finished.has(lease))
            || self.unsigned.iter().any(|(_, unsigned)| unsigned.has(lease))
            || self.reported.contains(&lease)
    }

    fn module_ready(&mut self, module: Digest) {
        if !self.has_fetched(module) {
            return;
        }
        self.modules.push(module);
        for unit in self.units.values_mut() {
            if unit.module() == module && unit.stage == Stage::NeedsModule {
                unit.stage = Stage::Ready;
            }
        }
        if self.modules.len() > MODULES_MAX {
            let needed = |module: &Digest| self.units.values().any(|unit| unit.module() == *module);
            if let Some(at) = self.modules.iter().position(|module| !needed(module)) {
                let unused = self.modules.remove(at);
                self.effects.push_back(Effect::ForgetModule(unused));
            }
        }
    }

    /// Whether this module was being fetched; it is not any more.
    fn has_fetched(&mut self, module: Digest) -> bool {
        let at = self.fetching.iter().position(|fetching| *fetching == module);
        at.map(|at| self.fetching.swap_remove(at)).is_some()
    }

    fn run_ready(&mut self, now: Timestamp) {
        while self.running < self.free_slots() {
            let ready = |id: &LeaseId| self.units.get(id).is_some_and(|unit| unit.stage == Stage::Ready);
            let Some(at) = self.queue.iter().position(ready) else { return };
            let id = self.queue.remove(at);
            let Some(unit) = self.units.get_mut(&id) else { return };
            unit.stage = Stage::Running { since: now, permille: 0 };
            self.running += 1;
            let (task, limits, input) = (&unit.lease.task, unit.terms.limits, core::mem::take(&mut unit.input));
            let (name, module) = (unit.id(), unit.module());
            let started = Event::Started { unit: name, job: unit.terms.leases.job.clone() };
            let (entry, step, seed) = (task.entry, task.step, task.seed);
            let order = Order { lease: id, unit: name, module, entry, step, input, seed, limits };
            if let Some(at) = self.modules.iter().position(|module| *module == order.module) {
                self.modules.remove(at);
                self.modules.push(order.module);
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

    fn executed(&mut self, now: Timestamp, id: LeaseId, result: Result<(Outcome, Bytes), String>) {
        let Some(Unit { stage: Stage::Running { since, .. }, .. }) = self.units.get(&id) else { return };
        let took = now.since(*since);
        let (outcome, output) = match result {
            Ok(executed) => executed,
            Err(reason) => return self.fail(now, &[id], &reason),
        };
        let Some(unit) = self.take(id) else { return };
        self.unit_time = Some(self.unit_time.map_or(took, |time| (time * 7 + took) / 8));
        self.rest.reset();
        self.owed_rest += self.pace.rest(took);
        if self.owed_rest >= SLOT_REST_MIN {
            self.resting.push(now.after(core::mem::take(&mut self.owed_rest)));
        }
        self.counts.executed += 1;
        self.say(Event::Executed { unit: unit.id(), outcome: outcome.clone() });
        let run = unit.terms.leases.run;
        if self.finished.get(&run).is_some_and(|finished| finished.module != unit.module() || finished.is_full()) {
            self.sign(now, run);
        }
        if !self.finished.contains(&run) {
            self.finished.insert(run, Finished::new(now, unit.module()));
        }
        let Some(finished) = self.finished.get_mut(&run) else { return };
        finished.took += took;
        finished.bytes += output.len();
        let message = if let Verdict::Aborted { message, .. } = &outcome.verdict { message.len() } else { 0 };
        finished.said += REPORT_BYTES + message;
        finished.reports.push(Report { lease: unit.lease, outcome });
        finished.outputs.push(output);
    }

    /// Signs and sends what was executed: at once while a slot is idle, else after a moment for more to join.
    fn sign_finished(&mut self, now: Timestamp) {
        if self.finished.is_empty() {
            return;
        }
        let idle = self.running < self.free_slots() || self.stopping;
        let due = |finished: &Finished| idle || finished.is_full() || finished.since.after(TOGETHER) <= now;
        let runs: Vec<RunId> =
            self.finished.iter().filter(|(_, finished)| due(finished)).map(|(run, _)| *run).collect();
        for run in runs {
            self.sign(now, run);
        }
    }

    fn sign(&mut self, now: Timestamp, run: RunId) {
        let Some(Finished { module, took, reports, outputs, .. }) = self.finished.remove(&run) else { return };
        let units = units(run, &reports);
        let draft = Draft::new(&Reports { run, module, reports });
        self.have_signed(now, draft.message(), Unsigned::Reports { draft, units, outputs, took });
    }

    /// Keeps a parcel until it is acknowledged.
    fn keep(&mut self, parcel: Parcel, kept: Kept) {
        let units = &parcel.0.units;
        let missing = units.iter().map(|(lease, _)| *lease).collect();
        for (lease, unit) in units {
            self.reported.insert(*lease, (parcel.name(), *unit));
        }
        self.outbox.insert(parcel.name(), Sent { parcel, missing, kept });
    }

    /// Puts parcels on disk whose receipts are late, or whose coordinator is gone.
    fn save_unacknowledged(&mut self, now: Timestamp) {
        let at_once = !self.link.is_up() || self.stopping;
        for sent in self.outbox.values_mut() {
            if matches!(sent.kept, Kept::Until(at) if at <= now || at_once) {
                sent.kept = Kept::Writing;
                self.effects.push_back(Effect::Save(sent.parcel.clone()));
            }
        }
    }

    fn kept(&mut self, parcel: Digest, how: Kept) {
        match self.outbox.get_mut(&parcel) {
            Some(sent) => sent.kept = how,
            // The receipts came while it was being written.
            None if how == Kept::OnDisk => self.effects.push_back(Effect::Forget(parcel)),
            None => {}
        }
    }

    fn acknowledged(&mut self, lease: LeaseId, receipt: Receipt) {
        let Some((parcel, unit)) = self.reported.remove(&lease) else { return };
        if let Some(sent) = self.outbox.get_mut(&parcel) {
            sent.missing.retain(|missing| *missing != lease);
            if sent.missing.is_empty() {
                if sent.kept == Kept::OnDisk {
                    self.effects.push_back(Effect::Forget(parcel));
                }
                self.outbox.remove(&parcel);
            }
        }
        match receipt {
            Receipt::Recorded | Receipt::AlreadyRecorded => {
                self.counts.recorded += 1;
                self.say(Event::Recorded { unit });
            }
            Receipt::Refused(reason) => self.say(Event::NotCounted { unit, reason }),
        }
    }

    /// This machine cannot execute these; somebody else may.
    fn fail(&mut self, now: Timestamp, leases: &[LeaseId], reason: &str) {
        let mut failed = false;
        for lease in leases {
            // What failed is not running any more, so there is nothing to abort.
            failed |= self.take(*lease).is_some();
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

    fn take(&mut self, id: LeaseId) -> Option<Unit> {
        let unit = self.units.remove(&id)?;
        self.deadlines.remove(&(unit.terms.leases.validity.expires_at, id));
        self.running -= usize::from(unit.stage.is_running());
        Some(unit)
    }

    /// Nobody needs this unit from this worker any more.
    fn drop_unit(&mut self, id: LeaseId) -> Option<Unit> {
        let unit = self.take(id)?;
        self.queue.retain(|lease| *lease != id);
        if unit.stage.is_running() {
            self.effects.push_back(Effect::Abort(id));
        }
        Some(unit)
    }

    fn give_back(&mut self, which: &dyn Fn(&Unit) -> bool) {
        self.give_back_these(self.units_with(which));
    }

    fn give_back_these(&mut self, leases: Vec<LeaseId>) {
        for lease in &leases {
            self.drop_unit(*lease);
        }
        if !leases.is_empty() {
            self.tell(ClientMessage::GiveBack(leases));
        }
    }

    fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        (self.owed_rest, self.resting) = (Duration::ZERO, Vec::new());
        // Those that began last have the least to lose.
        let since = |unit: &Unit| match unit.stage {
            Stage::Running { since, .. } => Some(since),
            Stage::NeedsModule | Stage::Ready => None,
        };
        let mut running = SortedSet::default();
        for (id, unit) in self.units.iter() {
            if let Some(since) = since(unit) {
                running.insert((since, *id), ());
            }
        }
        if let Some((first, ())) = running.iter().nth(self.slots()) {
            self.give_back(&|unit| since(unit).is_some_and(|since| (since, unit.lease.id) >= *first));
        }
    }

    fn slots(&self) -> usize {
        usize::from(self.pace.slots.max(1))
    }

    /// Slots that execute something, or could.
    fn free_slots(&self) -> usize {
        self.slots().saturating_sub(self.resting.len())
    }

    fn takes_work(&self) -> bool {
        self.paused.is_none() && self.draining.is_none()
    }

    fn ask_for_work(&mut self) {
        if !self.link.is_up() {
            return;
        }
        let resting = !self.takes_work() || self.rest_until.is_some();
        let room = self.room();
        let want = if resting { 0 } else { room.saturating_sub(self.units.len()) };
        // With plenty at hand a request may wait until it is worth its message.
        if want > 0 && want < room / 4 && self.units.len() > self.slots() {
            return;
        }
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
        let ahead = self.unit_time.map_or(least, |time| {
            let each = time + self.pace.rest(time);
            (milliseconds(AHEAD_TIME) / milliseconds(each).max(1)).clamp(least, most)
        });
        self.slots().saturating_mul(1 + usize::try_from(ahead).unwrap_or(1))
    }

    fn room_max(&self) -> usize {
        self.slots().saturating_mul(1 + usize::try_from(AHEAD_PER_SLOT.1).unwrap_or(1))
    }

    fn end_if_drained(&mut self, now: Timestamp) {
        let Some(until) = self.draining else { return };
        if now >= until {
            self.give_back(&|_| true);
        }
        // Without a connection, what is on disk here waits for the next start.
        let may_wait = self.stopping || !self.link.is_up();
        let delivered = self.outbox.values().all(|sent| sent.kept == Kept::OnDisk && may_wait);
        let begun = !self.units.is_empty() || !self.finished.is_empty() || !self.unsigned.is_empty();
        if now >= until || (!begun && delivered) {
            self.ended = true;
            let Counts { executed, recorded } = self.counts;
            self.say(Event::Left { executed, recorded, kept: self.reported.len() });
            self.effects.push_back(Effect::Disconnect);
            self.effects.push_back(Effect::Finished);
        }
    }

    fn units_with(&self, fits: &dyn Fn(&Unit) -> bool) -> Vec<LeaseId> {
        self.units.iter().filter(|(_, unit)| fits(unit)).map(|(id, _)| *id).collect()
    }
}

impl Finished {
    fn new(since: Timestamp, module: Digest) -> Self {
        Self { module, since, took: Duration::ZERO, bytes: 0, said: 0, reports: Vec::new(), outputs: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.reports.len() >= LEASES_MAX || self.bytes >= TOGETHER_BYTES || self.said >= REPORTS_BYTES_MAX / 2
    }

    fn has(&self, lease: LeaseId) -> bool {
        self.reports.iter().any(|report| report.lease.id == lease)
    }
}
