//! The scheduler itself.

use core::cell::OnceCell;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use manyhands_credit::{Amount, Shares as Pay};
use manyhands_model::{Digest, Fuel, Judge, LeaseId, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{Entry, Receipt};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::audit::{AuditTally, Audits, Lottery, Need};
use crate::budget::{Budgets, Funds};
use crate::decoys::{Tallies, Units};
use crate::effort::Effort;
use crate::exposure::{Exposure, Given, RequesterExposure, Seen};
use crate::groups::{Group, Groups, Voices};
use crate::history::History;
use crate::lot::Lot;
use crate::pace::{Pace, Paces};
use crate::queue::{Line, Look, Place, Queue, Reach};
use crate::reason::Reason;
use crate::record::{
    Era, Fault, Paid, Record, Replica, RunRecord, RunSpec, RunStatus, Statement, UnitRecord, WorkerRecord,
};
use crate::reduction::Reduction;
use crate::roster::{Keyed, Roster, Table, WorkerNo};
use crate::shares::{Offers, Share, Shares};
use crate::trust::{Consequence, Crowd, Level, Newcomers, Rule, Standing, Trust, share};
use crate::unit::{Counts, End, Open, State, Tally, Word};
use crate::usual::Usual;
use crate::weigh::Ask;

mod recall;
mod verification;

use recall::Recall;

/// A replica for which somebody waits is late when it takes so many times as long as is usual for its job.
const LATE_TIMES: u32 = 4;

/// How long a worker that is there for too short a time for all that there is waits before it is looked at again.
const REST: Duration = Duration::from_secs(1);

/// Unsettled reports after which a worker that never was right waits between leases, and how long: it may be a liar whom nobody has
/// found out so far. It is not told to wait for its reports, or all of a crowd might wait for each other.
const UNSETTLED_MAX: usize = 5;
const PAUSE: Duration = Duration::from_secs(60);

/// What an operator can set.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Added to a job's wall time, for the way there and back and for units that wait at the worker.
    pub lease_margin: Duration,
    /// How long the leases of a worker stay its own when its connection breaks.
    pub absence: Duration,
    /// Leases that one worker may hold, whatever it asks for.
    pub leases_per_worker_max: usize,
    /// Leases that a worker may hold of which nothing is known yet: many who come only to take are not to take much.
    pub leases_per_newcomer_max: usize,
    /// Machines that may fail on one unit before it ends undecided.
    pub machine_failures_max: u8,
    /// How long a unit for which somebody waits is kept for workers with a record, which may have their hands full for
    /// this moment only; while the scheduler is wary.
    pub first_choice: Duration,
    /// How long the scheduler is wary after somebody waited in vain for a worker without a record.
    pub wary: Duration,
    /// How long a replica for which somebody waits may be out before another machine gets one as well, however
    /// fast its job usually is.
    pub patience_min: Duration,
    /// The same while nothing is known of the job.
    pub patience_unknown: Duration,
    /// What a word is worth, for runs in which that has to be earned.
    pub trust: Trust,
    /// What replicas are paid of their fuel.
    pub pay: Pay,
    /// Whose runs stop when what was paid in advance is used up.
    pub budgets: Budgets,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease_margin: Duration::from_secs(60),
            absence: Duration::from_secs(15),
            leases_per_worker_max: 256,
            leases_per_newcomer_max: 2,
            machine_failures_max: 16,
            first_choice: Duration::from_millis(5),
            wary: Duration::from_secs(60),
            patience_min: Duration::from_millis(50),
            patience_unknown: Duration::from_secs(1),
            trust: Trust::default(),
            pay: Pay::default(),
            budgets: Budgets::default(),
        }
    }
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A run and all its inputs are on disk.
    Submitted(RunSpec),
    /// Its owner does not want it any more.
    Cancel(RunId),
    /// Its owner wants everything again that ended without an output.
    Retry(RunId),
    /// The input of a reduce step is on disk.
    InputReady(UnitId),
    /// The input of a unit can never be: the outputs that it combines are too long together, or lost, or so is its request
    /// for calls.
    InputImpossible(UnitId),
    /// The answers to the request for calls of this step of a unit are on disk.
    Answered {
        /// The unit.
        unit: UnitId,
        /// Which of its requests, from 0.
        step: u32,
    },
    /// A worker connected, or connected anew.
    Connected {
        /// Who.
        worker: WorkerId,
        /// Where it comes from.
        origin: Groups,
    },
    /// Its connection is gone.
    Disconnected {
        /// Who.
        worker: WorkerId,
    },
    /// It is gone and said so, as a page does that is closed: nobody waits for it to come back.
    Left {
        /// Who.
        worker: WorkerId,
    },
    /// It has room for so many more leases; replaces what it said before.
    Wants {
        /// Who.
        worker: WorkerId,
        /// So many.
        count: u16,
    },
    /// It executed units. The shell has verified its signature, that the coordinator gave it the leases, and
    /// that the outputs fit their digests; they become durable with what is recorded here.
    Reported {
        /// Who.
        worker: WorkerId,
        /// The run to which all of the units belong.
        run: RunId,
        /// The module that it executed.
        module: Digest,
        /// What came out.
        reports: Vec<Statement>,
        /// The signed reports.
        evidence: Bytes,
    },
    /// Its machine failed.
    MachineFailed {
        /// Who.
        worker: WorkerId,
        /// Under which lease.
        lease: LeaseId,
    },
    /// It will not execute this after all, and that is fine.
    GaveBack {
        /// Who.
        worker: WorkerId,
        /// Which leases.
        leases: Vec<LeaseId>,
    },
    /// How far an execution is.
    Progress {
        /// Who.
        worker: WorkerId,
        /// Under which lease.
        lease: LeaseId,
        /// 0 to 1000.
        permille: u16,
    },
    /// The operator's machine has executed a unit: the answer to each [`Effect::Audit`].
    Audited {
        /// The unit.
        unit: UnitId,
        /// Which step of it.
        step: u32,
        /// What came out, in canonical form; none if it cannot be executed there.
        outcome: Option<Outcome>,
        /// What it took there, where the outcome does not say it.
        claims: Option<Fuel>,
    },
    /// The answer to each [`Effect::Recall`]: the run as it is recorded, and the units that were asked for.
    Recalled {
        /// The run.
        run: Box<RunRecord>,
        /// Units with their records; those that there are no records of any longer are left out.
        units: Vec<(u32, UnitRecord)>,
    },
    /// A run that has ended is not kept any longer: nothing in it can be looked at again. Also the answer to
    /// [`Effect::Recall`] where that is so.
    Forgotten(RunId),
    /// An operator overrules: nothing that the worker did up to now counts against it any more, whenever that comes out. It keeps what it has
    /// earned, unless it was banned. What its word decided is still taken back when that turns out to be wrong.
    Pardoned {
        /// Who.
        worker: WorkerId,
    },
    /// An owner has so much more, or less, than it had; that is on disk.
    Deposited {
        /// Who.
        owner: String,
        /// How much.
        amount: Amount,
    },
    /// [`Scheduler::wake_at`] has come.
    TimePassed,
}

/// Something should happen, in this order; but a [`Effect::Grant`] need not wait for records before it to be
/// durable: a lease acknowledges nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable before anything that follows.
    Record(Record),
    /// Sign this lease and send it, with the unit's input, to its worker.
    Grant(LeaseDraft),
    /// Tell a worker what became of its reports.
    Receipts {
        /// Whom.
        worker: WorkerId,
        /// By the leases that they were under.
        receipts: Vec<(LeaseId, Receipt)>,
    },
    /// Tell a worker that these need not be executed any more.
    Withdraw {
        /// Whom.
        worker: WorkerId,
        /// Which leases.
        leases: Vec<LeaseId>,
    },
    /// Put together the outputs of these units as the input of a reduce step, make it durable, then say
    /// [`Input::InputReady`].
    Assemble {
        /// The reduce step.
        unit: UnitId,
        /// The units whose outputs it combines, in order, with the digests of their outputs.
        parts: core::ops::Range<u32>,
    },
    /// Make the calls of this request, make the answers durable, then say [`Input::Answered`]. It may be said again after a
    /// restart, and no call is to be made twice for that. For a decoy none is to be made: its answers are made up.
    Call {
        /// Whose request it is.
        unit: UnitId,
        /// Which of its requests, from 0.
        step: u32,
        /// SHA-256 of the request.
        calls: Digest,
    },
    /// Execute a unit on the operator's own machine, then say [`Input::Audited`], whatever came of it. It may have ended, and
    /// its run as well. No more of these are out than the policy says.
    Audit {
        /// The unit.
        unit: UnitId,
        /// How many answers there are with the unit's input.
        step: u32,
    },
    /// Read the records of a run and of these units of it, then say [`Input::Recalled`].
    Recall {
        /// The run, which may have ended.
        run: RunId,
        /// The units.
        units: Vec<u32>,
    },
    /// These units are open again, since the word on which they rested is worth nothing. Their records are before this.
    Reopened {
        /// The run, which is active again if it had ended.
        run: RunId,
        /// The units.
        units: Vec<u32>,
    },
    /// A unit that was open again has ended, with another answer than it had, or with none. Its record is before this, in the same
    /// drain. Who was handed the old one should be told.
    Changed {
        /// The unit.
        unit: UnitId,
        /// What it had; none for a reduce step, of which only its parts are known.
        was: Option<Outcome>,
    },
    /// A unit ended, for those who wait for it.
    Ended(UnitId, End),
    /// A worker's report contradicts the answer. The evidence is recorded, and this is to be made durable as well.
    Dissent {
        /// Who.
        worker: WorkerId,
        /// What it said, and what is so.
        fault: Fault,
        /// What follows from it.
        consequence: Consequence,
    },
    /// A run ended.
    RunEnded(RunId),
}

/// A lease before the shell signs it: the shell adds the digest of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseDraft {
    /// The lease, but for `input`.
    pub id: LeaseId,
    /// Whom it is for.
    pub worker: WorkerId,
    /// What is to be executed.
    pub unit: UnitId,
    /// How many answers there are with the unit's input.
    pub step: u32,
    /// Which function of the module.
    pub entry: Entry,
    /// The seed.
    pub seed: [u8; 32],
    /// From when.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What a query about a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerSummary {
    /// Who.
    pub id: WorkerId,
    /// Whether it is connected.
    pub connected: bool,
    /// Leases that it holds.
    pub leases: usize,
    /// What is known of it.
    pub record: WorkerRecord,
    /// What its word is worth.
    pub standing: Standing,
}

/// Workers by what their word is worth: those who are connected, and all who are banned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// Without a record.
    pub strangers: u64,
    /// With one.
    pub established: u64,
    /// The operator's own, as far as the scheduler gives them work; those that execute audits are the shell's.
    pub trusted: u64,
    /// Who get no more work.
    pub banned: u64,
}

/// What a query about a lease says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSummary {
    /// Who holds it.
    pub worker: WorkerId,
    /// What is to be executed.
    pub unit: UnitId,
    /// Since when.
    pub issued_at: Timestamp,
}

/// What a query about a unit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitSummary {
    /// Its number.
    pub index: u32,
    /// Why it is where it is.
    pub reason: Reason,
}

/// Workers with a record that hold leases or want some.
struct AtWork {
    workers: usize,
    /// All of one owner count as one.
    heads: usize,
}

struct Run {
    spec: RunSpec,
    shape: Reduction,
    units: Units,
    queue: Queue,
    counts: Tallies,
    dissents: u64,
    /// Whether its owner does not want it any more.
    cancelled: bool,
    /// Since when the unit is in line for which somebody waits.
    in_line_since: Timestamp,
    /// Its place among all runs.
    share: Share,
    /// To whom its units were given.
    given: Given,
}

#[derive(Default)]
struct Worker {
    connected: bool,
    wants: u16,
    leases: Vec<LeaseId>,
    /// Units for which it was drawn.
    drawn_for: Vec<UnitId>,
    /// Units that have not ended and that it reported on.
    open_reports: BTreeSet<UnitId>,
    /// Runs in which what it said is being taken back.
    recalls: usize,
    /// Whether somebody waited for it in vain since it last was right.
    kept_waiting: bool,
    origin: Groups,
    /// Whether it stands among those that want leases, and among which of those that may earn something.
    is_hungry: bool,
    in_line: Option<Class>,
    /// When its word last counted, and whether somebody looks when that was.
    counted_at: Timestamp,
    is_watched: bool,
    /// What it did lately, and whether that was next to nothing when somebody last looked.
    effort: Effort,
    was_idle: bool,
    /// Whether it is counted among the connected ones with a record.
    is_in_core: bool,
    /// From where it is counted among the connected ones without one.
    in_crowd: Option<Groups>,
    pace: Pace,
    leased_at: Timestamp,
    /// Whether it is to be looked at again later.
    is_resting: bool,
    /// Whether it is to answer for the leases that it held when its connection broke: once, however many they were.
    answers_for_leaving: bool,
    /// Whether it is counted among the connected ones that stay.
    is_runner: bool,
    /// How many leases and unsettled reports it may have where words have to be earned: it grows with each word that counted,
    /// and is halved by each that did not and by each lease that ran out.
    quota: u16,
    record: WorkerRecord,
}

impl Worker {
    /// Whether it is known to bring answers: then it gets first what somebody waits for.
    const fn is_proven(&self) -> bool {
        self.record.agreed > self.record.lost && !self.kept_waiting
    }

    fn standing(&self, trust: &Trust) -> Standing {
        if self.origin.trusted && !self.record.banned { Standing::Trusted } else { self.record.standing(trust) }
    }

    /// What a word is worth that it said in this era: whose it is, and how many units its identity has cost. With a pardon everybody begins anew.
    fn worth(&self, era: Era, trust: &Trust) -> (Standing, u32) {
        if era == self.record.era { (self.standing(trust), self.record.credit(trust)) } else { (Standing::Stranger, 0) }
    }

    fn summary(&self, id: WorkerId, trust: &Trust) -> WorkerSummary {
        let (connected, leases, record) = (self.connected, self.leases.len(), self.record);
        WorkerSummary { id, connected, leases, record, standing: self.standing(trust) }
    }

    /// Whether it may have another lease where words have to be earned.
    fn may_earn(&self, policy: &Policy) -> bool {
        self.leases.len() + self.open_reports.len() < self.quota(policy) && self.may_join(policy)
    }

    /// Whether it may be one more voice of a crowd. Its unsettled reports do not count: if each of a crowd began units and waited
    /// for the others, all would wait for ever.
    fn may_join(&self, policy: &Policy) -> bool {
        self.leases.len() < self.quota(policy) && self.record.lapses < policy.trust.lapses_max
    }

    /// Whether it has something to do, or asks for it.
    fn is_at_work(&self) -> bool {
        self.wants > 0 || !self.leases.is_empty()
    }

    fn quota(&self, policy: &Policy) -> usize {
        let least = u16::try_from(policy.leases_per_newcomer_max).unwrap_or(u16::MAX);
        usize::from(self.quota.max(least)).min(policy.leases_per_worker_max)
    }
}

/// What settling a unit showed.
struct Settled {
    dissenters: Vec<(WorkerNo, Fault)>,
    /// What somebody has been told before, if it is something else.
    was: Option<Outcome>,
}

struct Held {
    unit: UnitId,
    worker: WorkerNo,
    /// In which of its worker's eras it was given.
    era: Era,
    issued_at: Timestamp,
    expires_at: Timestamp,
    patience: Patience,
    permille: u16,
    /// Whether its worker's connection broke since it was given.
    was_left: bool,
}

impl Held {
    fn summary(&self, workers: &Roster<Worker>) -> LeaseSummary {
        LeaseSummary { worker: workers.id(self.worker), unit: self.unit, issued_at: self.issued_at }
    }
}

/// For how long somebody waits for a replica before another machine gets one as well.
#[derive(Clone, Copy)]
enum Patience {
    /// Nobody waits for this one in particular.
    Endless,
    Until(Timestamp),
    Over,
}

/// Some of the workers that want leases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    All,
    Proven,
    First,
    Stranger,
}

/// Connected workers that want leases.
#[derive(Default)]
struct Hungry {
    all: BTreeSet<WorkerNo>,
    /// Those among them that are known to bring answers.
    proven: BTreeSet<WorkerNo>,
    /// Those that may be the first to execute a unit whose answer has to be earned, and those that may not; without those
    /// that may have no lease of any.
    firsts: BTreeSet<WorkerNo>,
    strangers: BTreeSet<WorkerNo>,
    /// Who was looked at last.
    last: Option<WorkerNo>,
}

impl Hungry {
    fn remove(&mut self, id: WorkerNo, worker: &mut Worker) {
        if core::mem::take(&mut worker.is_hungry) {
            self.all.remove(&id);
            self.proven.remove(&id);
        }
        self.line_up(id, worker.in_line.take(), None);
    }

    /// Says whether it was none before.
    fn insert(&mut self, id: WorkerNo, worker: &mut Worker) -> bool {
        let new = !core::mem::replace(&mut worker.is_hungry, true);
        if new {
            self.all.insert(id);
        }
        self.rank(id, worker);
        new
    }

    /// Puts a worker from one line of those that may earn something into another.
    fn line_up(&mut self, id: WorkerNo, from: Option<Class>, to: Option<Class>) {
        for (class, line) in [(Class::First, &mut self.firsts), (Class::Stranger, &mut self.strangers)] {
            if from == Some(class) {
                line.remove(&id);
            } else if to == Some(class) {
                line.insert(id);
            }
        }
    }

    /// Takes note of what became known of a worker.
    fn rank(&mut self, id: WorkerNo, worker: &Worker) {
        if worker.is_proven() && worker.is_hungry {
            self.proven.insert(id);
        } else {
            self.proven.remove(&id);
        }
    }

    const fn of(&self, class: Class) -> &BTreeSet<WorkerNo> {
        match class {
            Class::All => &self.all,
            Class::Proven => &self.proven,
            Class::First => &self.firsts,
            Class::Stranger => &self.strangers,
        }
    }

    /// Whose turn it is among these.
    fn next(&mut self, class: Class) -> Option<WorkerNo> {
        use core::ops::Bound::{Excluded, Unbounded};
        let workers = self.of(class);
        let after = workers.range((self.last.map_or(Unbounded, Excluded), Unbounded)).next();
        self.last = after.or_else(|| workers.first()).copied();
        self.last
    }
}

/// The coordinator's mind.
pub struct Scheduler {
    policy: Policy,
    /// The latest moment that it was told.
    now: Timestamp,
    random: ChaCha20Rng,
    runs: BTreeMap<RunId, Run>,
    hasher: Keyed,
    workers: Roster<Worker>,
    leases: Table<LeaseId, Held>,
    deadlines: BTreeSet<(Timestamp, LeaseId)>,
    /// When leases for which somebody waits are late.
    patience: BTreeSet<(Timestamp, LeaseId)>,
    usual: Usual,
    /// When units for which somebody waits are for everybody.
    kept: BTreeSet<(Timestamp, RunId)>,
    /// Until when units are kept: workers without a record let somebody wait.
    wary_until: Timestamp,
    /// Units for which somebody waits, and of which replicas are late.
    late: Line<UnitId>,
    shares: Shares,
    funds: Funds,
    hungry: Hungry,
    paces: Paces,
    /// Workers that are to wait, mostly since they stay too short a time for all that there is, and when to look at them again; and
    /// those of this dispatch.
    resting: BTreeSet<(Timestamp, WorkerNo)>,
    to_rest: Vec<(Timestamp, WorkerNo)>,
    lottery: Lottery,
    audits: Audits,
    history: History,
    recalls: BTreeMap<RunId, Recall>,
    /// Workers on whose word something rests, by when to see whether they have been silent for too long.
    watched: BTreeSet<(Timestamp, WorkerNo)>,
    /// Those of whom that is to be seen since the process began.
    restored: Vec<WorkerNo>,
    /// Connected workers with a record.
    core: Lot,
    /// What they all did lately.
    effort: Effort,
    /// Those who were drawn for a unit, and may have it now.
    called: BTreeSet<WorkerNo>,
    /// Connected workers without one.
    strangers: Voices,
    /// Whether too few with a record are there to lean on, and too few without one to decide by their number.
    is_alone: bool,
    /// Connected workers without one that are tried on their own while there are few with one.
    candidates: BTreeSet<WorkerNo>,
    /// Connected workers that stay, with a record or without.
    runners: usize,
    /// To whom the work of each requester was given lately.
    seen: BTreeMap<Arc<str>, Seen>,
    /// Counted when it is first asked for in a dispatch.
    at_work: OnceCell<AtWork>,
    /// Whether somebody got nothing of a run, of which it had its share: that grows when others leave or have nothing to do.
    is_rationed: bool,
    newcomers: Newcomers,
    /// Whether a unit or a worker became available since the last dispatch.
    stirred: bool,
    /// Leases that ran out so far.
    expired: u64,
    /// Leases given beside late ones so far.
    spares: u64,
    /// Units that got an answer so far, by the least that it took; none where words need not be earned.
    decided: BTreeMap<Option<Level>, u64>,
    effects: VecDeque<Effect>,
}

impl Scheduler {
    /// A scheduler with nothing to do. `seed` comes from the operating system, or from a test.
    pub fn new(policy: Policy, seed: [u8; 32]) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let mut key = [0; 32];
        random.fill_bytes(&mut key);
        let hasher = Keyed::new(&key);
        Self {
            policy,
            now: Timestamp::default(),
            random,
            runs: BTreeMap::new(),
            workers: Roster::new(hasher.clone()),
            leases: Table::with_hasher(hasher.clone()),
            deadlines: BTreeSet::new(),
            patience: BTreeSet::new(),
            usual: Usual::default(),
            kept: BTreeSet::new(),
            wary_until: Timestamp::default(),
            late: Line::default(),
            shares: Shares::default(),
            funds: Funds::default(),
            hungry: Hungry::default(),
            paces: Paces::new(hasher.clone()),
            resting: BTreeSet::new(),
            to_rest: Vec::new(),
            lottery: Lottery(key),
            audits: Audits::default(),
            history: History::new(&hasher),
            recalls: BTreeMap::new(),
            watched: BTreeSet::new(),
            restored: Vec::new(),
            core: Lot::default(),
            effort: Effort::default(),
            called: BTreeSet::new(),
            strangers: Voices::default(),
            is_alone: true,
            candidates: BTreeSet::new(),
            runners: 0,
            seen: BTreeMap::new(),
            at_work: OnceCell::new(),
            is_rationed: false,
            newcomers: Newcomers::default(),
            stirred: false,
            expired: 0,
            spares: 0,
            decided: BTreeMap::new(),
            effects: VecDeque::new(),
            hasher,
        }
    }

    /// Draws with this key instead of one of its own. The same key in the next process draws the same units: what was drawn
    /// to be audited and was not, is drawn again.
    #[must_use]
    pub fn with_lottery(self, key: [u8; 32]) -> Self {
        Self { lottery: Lottery(key), ..self }
    }

    /// Takes back what is known of a worker.
    pub fn restore_worker(&mut self, id: WorkerId, record: WorkerRecord) {
        let no = self.workers.enrol(id);
        let worker = &mut self.workers[no];
        worker.quota = u16::try_from(record.agreed).unwrap_or(u16::MAX);
        worker.record = record;
        if record.decided > 0 || record.recalling.is_some() {
            self.restored.push(no);
        }
    }

    /// Takes back what an owner has left, and whether something was ever deposited for it. Before its runs.
    pub fn restore_funds(&mut self, owner: &str, balance: Amount, has_deposited: bool) {
        self.funds.add(owner, balance, has_deposited);
    }

    /// Takes back a run with the units of which something is known: an active one, or one that has ended and
    /// is about to be retried. Nothing follows if it is here already. `has_input` says whether the
    /// input of a reduce step is on disk.
    pub fn restore_run(
        &mut self,
        now: Timestamp,
        record: RunRecord,
        units: impl IntoIterator<Item = (u32, UnitRecord)>,
        has_input: impl Fn(u32) -> bool,
    ) {
        let id = record.spec.id;
        // It is retried already.
        if self.runs.contains_key(&id) {
            return;
        }
        let was_active = record.status == RunStatus::Active;
        let rule = record.spec.rule;
        self.hold(&record.spec.owner);
        let mut run = Run::new(record.spec, &mut self.shares, self.hasher.clone());
        run.hide(&mut self.random);
        run.dissents = record.dissents;
        // Every unit goes through the queue's lines, and those that have ended leave them when looked at.
        let mut known = Vec::new();
        let mut accepted = Vec::new();
        // What is known of one that is retried is known already.
        let is_news = was_active && matches!(rule, Rule::Earned { .. });
        for (index, unit) in units {
            let Some(state) = run.units.get_mut(index) else { continue };
            if run.shape.units() > 1 && !(UnitId { run: id, index }).is_decoy() {
                for replica in &unit.replicas {
                    let worker = self.workers.enrol(replica.worker);
                    run.given.note(worker, self.workers[worker].origin.owner);
                }
            }
            if is_news && unit.accepted.is_some() {
                accepted.push((index, unit.clone()));
            }
            if let Some(end) = unit.end {
                *state = State::Ended(end);
            } else if let Some(calls) = unit.calls() {
                let (unit, step) = (UnitId { run: id, index }, unit.step);
                *state = State::Calling { step };
                self.effects.push_back(Effect::Call { unit, step, calls });
            } else if unit != UnitRecord::default() {
                known.push(index);
                let reports = heard(&mut self.workers, unit.replicas);
                for word in &reports {
                    self.workers[word.by].open_reports.insert(UnitId { run: id, index });
                }
                *state = State::Open(Box::new(Open {
                    step: unit.step,
                    reports,
                    audited: unit.audited,
                    // Why it was opened again is not kept: the stricter of the two.
                    asked_again: unit.recalled.is_some(),
                    recalled: unit.recalled,
                    ..Open::default()
                }));
            }
        }
        for unit in run.shape.inputs()..run.shape.units() {
            if matches!(run.units[unit], State::Blocked { .. }) {
                let missing = run.missing(unit);
                let ready = missing == 0 && has_input(unit);
                run.units[unit] = if ready { State::Fresh } else { State::Blocked { missing } };
                if ready {
                    run.queue.push(unit, Place::Fresh);
                } else if missing == 0 {
                    self.effects.push_back(Effect::Assemble {
                        unit: UnitId { run: id, index: unit },
                        parts: run.shape.parts(unit),
                    });
                }
            }
        }
        run.recount();
        run.line_up(&mut self.shares);
        self.insert_run(run);
        for index in known {
            self.judge(now, UnitId { run: id, index });
        }
        self.take_in(id, rule, accepted);
        // A crash may have come between the end of its last unit and its own. A run that had ended is here
        // to be retried.
        if was_active {
            self.finish_if_done(now, id);
        }
        self.stirred = true;
    }

    /// Takes note of what happened at `now`.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        if now < self.now {
            self.set_back(self.now.since(now));
        }
        self.now = now;
        for no in core::mem::take(&mut self.restored) {
            let worker = &mut self.workers[no];
            worker.counted_at = now;
            // All that was to be taken back had been, or is kept no longer.
            if worker.record.recalling.is_some() && worker.recalls == 0 {
                worker.record.recalling = None;
                self.note_worker(no);
            }
            self.watch(no);
        }
        match input {
            Input::Submitted(spec) => self.submit(now, spec),
            Input::Cancel(run) => self.cancel(now, run),
            Input::Retry(run) => self.retry(now, run),
            Input::InputReady(unit) => self.input_ready(unit),
            Input::InputImpossible(unit) => self.end(now, unit, End::Undecided, None, None),
            Input::Answered { unit, step } => self.answered(now, unit, step),
            Input::Connected { worker, origin } => {
                let no = self.workers.enrol(worker);
                let worker = &mut self.workers[no];
                if !worker.connected {
                    worker.pace.came(now, self.policy.absence);
                }
                worker.connected = true;
                worker.wants = 0;
                let was = core::mem::replace(&mut worker.origin, origin);
                self.belong(no, was.owner, origin.owner);
                self.rank(no);
            }
            Input::Disconnected { worker } => {
                if let Some(no) = self.workers.find(worker) {
                    self.disconnected(now, no);
                }
            }
            Input::Left { worker } => {
                if let Some(no) = self.workers.find(worker) {
                    self.disconnected(now, no);
                    while let Some(lease) = self.workers[no].leases.pop() {
                        self.release(lease);
                    }
                }
            }
            Input::Wants { worker, count } => {
                if let Some(no) = self.workers.find(worker) {
                    self.wants(no, count);
                }
            }
            Input::Reported { worker, run, module, reports, evidence } => {
                self.reported(now, worker, (run, module), reports, evidence);
            }
            Input::MachineFailed { worker, lease } => {
                if self.holds(worker, lease) {
                    self.lose(now, lease, true);
                }
            }
            Input::GaveBack { worker, leases } => {
                for lease in leases {
                    if self.holds(worker, lease) {
                        self.release(lease);
                    }
                }
            }
            Input::Progress { worker, lease, permille } => {
                if self.holds(worker, lease)
                    && let Some(held) = self.leases.get_mut(&lease)
                {
                    held.permille = permille.min(1000);
                }
            }
            Input::Audited { unit, step, outcome, claims } => {
                self.audited(now, (unit, step), outcome, claims);
                // What it settled or opened may be for somebody who asks for nothing new.
                self.stirred = true;
            }
            Input::Recalled { run, units } => self.recalled(now, *run, units),
            Input::Forgotten(run) => self.forgotten(run),
            Input::Pardoned { worker } => {
                if let Some(no) = self.workers.find(worker) {
                    self.pardon(no);
                }
            }
            Input::Deposited { owner, amount } => {
                self.funds.add(&owner, amount, true);
                self.hold(&owner);
            }
            Input::TimePassed => {}
        }
        self.expire(now);
        self.dispatch(now);
        self.begin_audits();
    }

    /// What should happen next; empty the queue before waiting for the next input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to say [`Input::TimePassed`], if nothing happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let leases = self.deadlines.first().into_iter().chain(self.patience.first()).map(|(at, _)| *at);
        let others = self.kept.first().map(|(at, _)| *at).into_iter().chain(self.watched.first().map(|(at, _)| *at));
        leases.chain(others).chain(self.resting.first().map(|(at, _)| *at)).min()
    }

    // ── Runs ──

    fn submit(&mut self, now: Timestamp, spec: RunSpec) {
        if self.runs.contains_key(&spec.id) {
            return;
        }
        self.hold(&spec.owner);
        let mut run = Run::new(spec, &mut self.shares, self.hasher.clone());
        run.hide(&mut self.random);
        run.line_up(&mut self.shares);
        if now < self.wary_until {
            run.keep(now.after(self.policy.first_choice), now, &mut self.kept);
        }
        self.insert_run(run);
        self.stirred = true;
    }

    fn cancel(&mut self, now: Timestamp, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.cancelled = true;
        // The run ends with its last unit.
        for index in 0..run.shape.units() {
            self.end(now, UnitId { run: id, index }, End::Cancelled, None, None);
        }
    }

    /// The run must have been restored if it was not active.
    fn retry(&mut self, now: Timestamp, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let mut again = Vec::new();
        for index in 0..run.shape.units() {
            if !matches!(run.units[index], State::Ended(end) if end != End::Done) {
                continue;
            }
            if run.shape.is_reduce(index) {
                let missing = run.missing(index);
                run.units[index] = State::Blocked { missing };
                if missing == 0 {
                    let (unit, parts) = (UnitId { run: id, index }, run.shape.parts(index));
                    self.effects.push_back(Effect::Assemble { unit, parts });
                }
            } else {
                run.units[index] = State::Fresh;
                run.queue.push(index, Place::Fresh);
            }
            self.effects.push_back(Effect::Record(Record::Unit(UnitId { run: id, index }, UnitRecord::default())));
            again.push(index);
        }
        run.recount();
        run.line_up(&mut self.shares);
        let record = run.record(RunStatus::Active, None);
        self.effects.push_back(Effect::Record(Record::Run(Box::new(record))));
        self.begin_anew(id, again);
        self.stirred = true;
        self.finish_if_done(now, id);
    }

    fn input_ready(&mut self, unit: UnitId) {
        let Some(run) = self.runs.get_mut(&unit.run) else { return };
        if let Some(state @ State::Blocked { missing: 0 }) = run.units.get_mut(unit.index) {
            *state = State::Fresh;
            run.queue.push(unit.index, Place::Fresh);
            run.line_up(&mut self.shares);
            self.stirred = true;
        }
    }

    fn answered(&mut self, now: Timestamp, unit: UnitId, answered: u32) {
        let Some(run) = self.runs.get_mut(&unit.run) else { return };
        let Some(state @ State::Calling { .. }) = run.units.get_mut(unit.index) else { return };
        if matches!(state, State::Calling { step } if *step != answered) {
            return;
        }
        let step = answered + 1;
        *state = State::Open(Box::new(Open { step, ..Open::default() }));
        self.judge(now, unit);
    }

    // ── Workers ──

    fn wants(&mut self, worker: WorkerNo, count: u16) {
        let entry = &mut self.workers[worker];
        if !entry.connected {
            return;
        }
        entry.wants = count;
        if count == 0 || entry.record.banned {
            self.hungry.remove(worker, entry);
            self.rank(worker);
        } else if !entry.is_resting {
            self.hungry.insert(worker, entry);
            self.stirred = true;
            self.rank(worker);
            self.look_at_drawn(worker);
        }
    }

    /// Puts a worker among those that want leases, if it does.
    fn look_at_wants(&mut self, worker: WorkerNo) {
        let entry = &mut self.workers[worker];
        if !entry.connected || entry.wants == 0 || entry.record.banned || entry.is_resting {
            return;
        }
        if self.hungry.insert(worker, entry) {
            self.stirred = true;
        }
        self.rank(worker);
        self.look_at_drawn(worker);
    }

    fn disconnected(&mut self, now: Timestamp, worker: WorkerNo) {
        let entry = &mut self.workers[worker];
        if entry.connected {
            self.paces.left(now, &mut entry.pace, entry.origin.kind);
        }
        entry.connected = false;
        entry.answers_for_leaving = true;
        entry.wants = 0;
        self.hungry.remove(worker, entry);
        let until = now.after(self.policy.absence);
        let mut awaited = Vec::new();
        for id in &entry.leases {
            let Some(held) = self.leases.get_mut(id) else { continue };
            if !matches!(held.patience, Patience::Endless) {
                awaited.push(*id);
            } else {
                held.was_left = true;
                if held.expires_at > until {
                    self.deadlines.remove(&(held.expires_at, *id));
                    held.expires_at = until;
                    self.deadlines.insert((until, *id));
                }
            }
        }
        if !awaited.is_empty() && !entry.is_proven() {
            self.wary_until = now.after(self.policy.wary);
        }
        // It may come back with the answer, and then that counts; but nobody waits to see whether it does.
        for lease in awaited {
            self.release(lease);
        }
        self.rank(worker);
        self.stirred |= core::mem::take(&mut self.is_rationed);
    }

    /// Notes whose workers a worker is among.
    fn belong(&mut self, worker: WorkerNo, was: Option<Group>, is: Option<Group>) {
        if was == is {
            return;
        }
        self.runs.values_mut().for_each(|run| run.given.pass(worker, was, is));
    }

    fn holds(&self, worker: WorkerId, lease: LeaseId) -> bool {
        self.leases.get(&lease).is_some_and(|held| self.workers.id(held.worker) == worker)
    }

    // ── Reports ──

    fn reported(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        (run, module): (RunId, Digest),
        reports: Vec<Statement>,
        evidence: Bytes,
    ) {
        let Some(no) = self.workers.find(worker) else {
            let refused =
                |statement: Statement| (statement.lease.id, Receipt::Refused("this worker never connected".to_owned()));
            let receipts = reports.into_iter().map(refused).collect();
            return self.effects.push_back(Effect::Receipts { worker, receipts });
        };
        let mut receipts = Vec::with_capacity(reports.len());
        let mut evidence = Some(evidence);
        for Statement { lease, outcome, claims } in reports {
            let unit = UnitId { run, index: lease.task.index };
            let counted = self.count(no, unit, (module, lease.task.step), lease.id, (outcome, claims));
            if counted.is_ok() {
                self.note_time(now, no, lease.id, module);
            }
            self.release(lease.id);
            if counted.is_ok() {
                if let Some(evidence) = evidence.take() {
                    self.effects.push_back(Effect::Record(Record::Evidence(run, worker, evidence)));
                }
                self.judge(now, unit);
            }
            receipts.push((lease.id, counted.err().unwrap_or(Receipt::Recorded)));
        }
        // It may hold fewer leases now than it may, or is a newcomer no more.
        self.look_at_wants(no);
        self.effects.push_back(Effect::Receipts { worker, receipts });
    }

    /// Notes how long a replica took. Where somebody waited, what newcomers take says nothing: they may be many,
    /// and slow on purpose.
    fn note_time(&mut self, now: Timestamp, worker: WorkerNo, lease: LeaseId, module: Digest) {
        let Some(held) = self.leases.get(&lease).filter(|held| held.worker == worker) else { return };
        let took = now.since(held.issued_at);
        let worker = &mut self.workers[worker];
        self.paces.note_speed(&mut worker.pace, worker.origin.kind, &module, took);
        if worker.is_proven() && !matches!(held.patience, Patience::Endless) {
            self.usual.note(module, took);
        }
    }

    fn count(
        &mut self,
        id: WorkerNo,
        unit: UnitId,
        (module, step): (Digest, u32),
        lease: LeaseId,
        (outcome, claims): (Outcome, Option<Fuel>),
    ) -> Result<(), Receipt> {
        let held = self.leases.get(&lease).filter(|held| held.worker == id && held.unit == unit);
        let (is_due, era) = (held.is_some(), held.map_or(Era::default(), |held| held.era));
        let refuse = |reason: &str| Err(Receipt::Refused(reason.to_owned()));
        let worker = &mut self.workers[id];
        if worker.record.banned {
            return refuse("this worker contradicted verified answers too often; its reports do not count any more");
        }
        let Some(run) = self.runs.get_mut(&unit.run) else {
            return refuse("the run has ended; nothing was needed any more");
        };
        if run.spec.module != module {
            return refuse("the lease is for another module than the run's");
        }
        match run.units.get_mut(unit.index) {
            None => refuse("the run has no such unit"),
            Some(State::Blocked { .. }) => refuse("the unit has no input yet"),
            Some(State::Ended(End::Done | End::Failed)) => refuse("the unit already has its answer"),
            Some(State::Ended(_)) => refuse("the unit has ended without needing this"),
            Some(State::Calling { .. }) => refuse("workers agreed on this step of the unit already"),
            Some(State::Open(open)) if open.step != step => refuse("the unit is at another step by now"),
            Some(State::Fresh) if step != 0 => refuse("the unit began anew"),
            Some(State::Open(open)) if open.reports.iter().any(|word| word.by == id) => Err(Receipt::AlreadyRecorded),
            // A lease that is known no more may be from before its worker was pardoned, and so may be what it says.
            Some(_) if !is_due && worker.record.era != Era::default() => {
                refuse("the lease ran out, or is from before this worker was pardoned")
            }
            // Whoever takes its time may have seen who came after it.
            Some(State::Open(open))
                if !is_due && !open.reports.is_empty() && matches!(run.spec.rule, Rule::Earned { .. }) =>
            {
                refuse("the lease ran out, and others have been asked since")
            }
            // A lease that was forgotten in a crash, or ran out, counts as long as the unit is open.
            Some(state) => {
                let open = open(state, run.counts.at(unit.index));
                open.reports.push(Word { by: id, era, outcome, claims, is_echo: false });
                worker.open_reports.insert(unit);
                Ok(())
            }
        }
    }

    /// Looks at the votes of an open unit and does what they ask for.
    fn judge(&mut self, now: Timestamp, unit: UnitId) {
        let Some(run) = self.runs.get_mut(&unit.run) else { return };
        let Some(State::Open(open)) = run.units.get_mut(unit.index) else { return };
        let quorum = match run.spec.rule {
            Rule::Fixed(quorum) => quorum,
            Rule::Earned { level, wrong_ppb } => return self.weigh(now, unit, level, wrong_ppb),
        };
        match quorum.tally(&open.reports) {
            Tally::Agreed(outcome) if matches!(outcome.verdict, Verdict::Called { .. }) => {
                let outcome = outcome.clone();
                self.called(now, unit, outcome, None);
            }
            Tally::Agreed(outcome) => {
                let outcome = outcome.clone();
                let end = if outcome.verdict.is_ok() { End::Done } else { End::Failed };
                self.end(now, unit, end, Some(outcome), None);
            }
            Tally::Hopeless => self.end(now, unit, End::Undecided, None, None),
            Tally::Needs(_) => {
                let record = open.record(&self.workers);
                self.effects.push_back(Effect::Record(Record::Unit(unit, record)));
                self.enqueue(unit);
            }
        }
    }

    /// Ends a unit that has not ended, with all that follows from it. `vouched` says which replica's word it rests on.
    fn end(&mut self, now: Timestamp, unit: UnitId, end: End, accepted: Option<Outcome>, vouched: Option<u8>) {
        let Some(run) = self.runs.get_mut(&unit.run) else { return };
        let parent = run.shape.parent(unit.index);
        let Some(settled) = self.settle(unit, State::Ended(end), accepted, vouched) else { return };
        if unit.is_decoy() {
            self.decoy_ended(unit.run, end);
            return self.dissenters(now, settled);
        }
        self.effects.push_back(Effect::Ended(unit, end));
        let is_changed = settled.was.is_some();
        if is_changed {
            self.effects.push_back(Effect::Changed { unit, was: settled.was.clone() });
        }
        if let Some(parent) = parent {
            let parent = UnitId { run: unit.run, index: parent };
            if is_changed {
                self.invalidate(parent);
            }
            self.part_ended(now, parent, end);
        }
        self.dissenters(now, settled);
        self.finish_if_done(now, unit.run);
    }

    /// Workers agreed on what a unit asks for.
    fn called(&mut self, now: Timestamp, unit: UnitId, outcome: Outcome, vouched: Option<u8>) {
        let Verdict::Called { calls, .. } = outcome.verdict else { return };
        let Some(step) = self.open_mut(unit).map(|open| open.step) else { return };
        let Some(settled) = self.settle(unit, State::Calling { step }, Some(outcome), vouched) else { return };
        self.effects.push_back(Effect::Call { unit, step, calls });
        self.dissenters(now, settled);
    }

    /// A decoy ended. Where the job fails on what is made up and on nothing else, that would tell: no more of it is given out.
    fn decoy_ended(&mut self, run: RunId, end: End) {
        let Some(run) = self.runs.get_mut(&run) else { return };
        if end != End::Failed || run.counts.own.failed > 0 {
            return;
        }
        let mut fresh =
            run.units.decoys().map(|(_, state)| state).filter(|state| matches!(state, State::Fresh)).peekable();
        if fresh.peek().is_some() {
            fresh.for_each(|state| *state = State::Ended(End::Cancelled));
            run.recount();
        }
    }

    fn dissenters(&mut self, now: Timestamp, settled: Settled) {
        for (worker, fault) in settled.dissenters {
            self.dissent(now, worker, fault);
        }
    }

    /// Puts a unit that has not ended into another state, in which nobody is needed for it: takes its leases back and
    /// notes who was right. Returns who was not; nothing if it has ended.
    fn settle(&mut self, unit: UnitId, next: State, accepted: Option<Outcome>, vouched: Option<u8>) -> Option<Settled> {
        let run = self.runs.get_mut(&unit.run)?;
        let state = run.units.get_mut(unit.index)?;
        if matches!(state, State::Ended(_)) {
            return None;
        }
        *run.counts.at(unit.index).of(state) -= 1;
        let end = if let State::Ended(end) = &next { Some(*end) } else { None };
        let open = match core::mem::replace(state, next) {
            State::Open(open) => *open,
            State::Calling { step } => Open { step, ..Open::default() },
            State::Fresh | State::Blocked { .. } | State::Ended(_) => Open::default(),
        };
        *run.counts.at(unit.index).of(state) += 1;
        let is_other = |word: &&Word| accepted.as_ref().is_some_and(|accepted| word.outcome != *accepted);
        if !unit.is_decoy() {
            run.dissents += open.reports.iter().filter(is_other).count() as u64;
        }
        let module = run.spec.module;
        let level = match run.spec.rule {
            Rule::Fixed(_) => None,
            Rule::Earned { level, .. } => Some(level),
        };
        let is_earned = level.is_some();
        // Somebody who is cancelled has not been told anything else.
        let is_told = end.is_some_and(|end| end != End::Cancelled) && open.recalled != accepted;
        let was = open.recalled.clone().filter(|_| is_told);

        let worth = accepted.as_ref().and_then(|accepted| self.worth(module, accepted, &open, is_earned));
        let record = UnitRecord {
            end,
            accepted: accepted.clone(),
            vouched,
            recalled: None,
            worth,
            ..open.record(&self.workers)
        };
        let judge = match is_earned {
            false => Judge::Quorum,
            true if self.is_proven(&open, accepted.as_ref()) => Judge::Operator,
            true => Judge::Peers,
        };
        let fault = |word: &Word| {
            let (step, said, answer, era) = (open.step, word.outcome.clone(), accepted.clone()?, word.era);
            (said != answer).then_some((word.by, Fault { unit, step, said, answer, judge, era }))
        };
        let dissenters = open.reports.iter().filter_map(fault).collect();
        if accepted.is_some() {
            *self.decided.entry(level).or_default() += u64::from(end.is_some());
        }
        let anchor = vouched.and_then(|at| open.reports.get(usize::from(at))).map(|word| word.by);
        // Those whose unsettled words are as many as they may have, and who ask for nothing new: they would not be looked at again.
        let full = |word: &&Word| is_earned && !self.workers[word.by].may_earn(&self.policy);
        let full: Vec<WorkerNo> = open.reports.iter().filter(full).map(|word| word.by).collect();
        self.credit(module, &open, accepted.as_ref(), is_earned, anchor);
        if is_earned && accepted.is_some() {
            self.accepted(unit, &record, judge);
        }
        let due = self.due(&record);
        self.effects.push_back(Effect::Record(Record::Unit(unit, record)));
        self.pay(unit, due, false);
        for word in &open.reports {
            let worker = &mut self.workers[word.by];
            worker.open_reports.remove(&unit);
            if accepted.as_ref() == Some(&word.outcome) && word.era == worker.record.era {
                worker.record.agreed += 1;
                worker.kept_waiting = false;
                self.hungry.rank(word.by, worker);
                self.note_worker(word.by);
            }
        }
        for (lease, worker) in open.leases {
            self.forget(lease);
            self.withdraw(worker, vec![lease]);
        }
        open.reports.iter().for_each(|word| self.rank(word.by));
        self.stirred |= full.iter().any(|no| self.workers[*no].is_hungry && self.workers[*no].may_earn(&self.policy));
        Some(Settled { dissenters, was })
    }

    /// Takes note of what a unit of the job cost, and says what each of those is paid for whose word is the answer, where that does not say
    /// it: the least that any of them claims, and no more than the operator's machine took, if it has looked. Who has a record and is believed
    /// alone gets no more than what units of the job cost of late as far as others have said, and so nothing while that is not known.
    fn worth(&mut self, module: Digest, accepted: &Outcome, open: &Open, is_earned: bool) -> Option<Fuel> {
        // Only where outcomes do not say it: then it is 0.
        self.paces.note_cost(module, accepted.fuel);
        let claims = open.reports.iter().filter(|word| word.outcome == *accepted).filter_map(|word| word.claims);
        let (least, count) = (claims.clone().min(), claims.count());
        let cost = self.paces.cost(&module);
        if let Some(own) = open.audit_claims {
            self.paces.note_cost(module, own);
            return least.map(|claim| claim.min(own));
        }
        match least? {
            claim if count > 1 => {
                // Two accomplices may claim what they like.
                let most = if cost == Fuel(0) { claim } else { Fuel(cost.0.saturating_mul(2)) };
                self.paces.note_cost(module, claim.min(most));
                Some(claim)
            }
            claim if is_earned => Some(claim.min(cost)),
            claim => Some(claim),
        }
    }

    /// What those are paid whose word is the answer.
    fn due(&self, record: &UnitRecord) -> Vec<(WorkerId, Amount)> {
        let paid = |(nth, word): (usize, &Replica)| (word.worker, self.policy.pay.paid(nth, record.paid_for()));
        record.agreeing().enumerate().map(paid).collect()
    }

    /// Pays them, or takes that back.
    fn pay(&mut self, unit: UnitId, to: Vec<(WorkerId, Amount)>, is_taken_back: bool) {
        let Some(run) = self.runs.get(&unit.run).filter(|_| !to.is_empty()) else { return };
        let owner = Arc::clone(run.share.owner());
        if unit.is_decoy() {
            let paid = Paid { owner: None, to, is_taken_back };
            return self.effects.push_back(Effect::Record(Record::Paid(unit, paid)));
        }
        let paid = Paid { owner: Some(Arc::clone(&owner)), to, is_taken_back };
        self.funds.add(&owner, -paid.sum(), false);
        self.effects.push_back(Effect::Record(Record::Paid(unit, paid)));
        self.hold(&owner);
    }

    /// Stops an owner's runs if what was paid in advance is used up, and lets them go on if it no longer is.
    fn hold(&mut self, owner: &str) {
        let left = self.funds.left(owner, self.policy.budgets);
        if self.shares.hold(owner, left.is_some_and(|left| left <= Amount::ZERO)) {
            for run in self.runs.values_mut().filter(|run| run.spec.owner == owner) {
                run.line_up(&mut self.shares);
            }
            self.stirred = true;
        }
    }

    fn part_ended(&mut self, now: Timestamp, parent: UnitId, end: End) {
        let Some(run) = self.runs.get_mut(&parent.run) else { return };
        let Some(State::Blocked { missing }) = run.units.get_mut(parent.index) else { return };
        match end {
            End::Done => {
                *missing = missing.saturating_sub(1);
                if *missing == 0 {
                    let parts = run.shape.parts(parent.index);
                    self.effects.push_back(Effect::Assemble { unit: parent, parts });
                }
            }
            End::Cancelled => {}
            End::Failed | End::Undecided | End::Skipped => self.end(now, parent, End::Skipped, None, None),
        }
    }

    /// A worker's signature stands under a wrong answer.
    fn dissent(&mut self, now: Timestamp, id: WorkerNo, fault: Fault) {
        let worker = &mut self.workers[id];
        let was_banned = worker.record.banned;
        let consequence = if fault.era < worker.record.era {
            Consequence::Pardoned
        } else {
            worker.quota /= 2;
            match worker.record.erred(fault.judge, &self.policy.trust) {
                Consequence::Banned if was_banned && fault.judge == Judge::Quorum => Consequence::Doubt,
                Consequence::Banned if was_banned => Consequence::Caught,
                consequence => consequence,
            }
        };
        let is_word_worthless = match consequence {
            // Nothing rests on one word alone where so many have to be equal.
            Consequence::Pardoned => fault.judge != Judge::Quorum,
            Consequence::Doubt => false,
            Consequence::Caught | Consequence::Banned => true,
        };
        if is_word_worthless {
            self.recall(id, fault.era);
        }
        self.note_worker(id);
        self.effects.push_back(Effect::Dissent { worker: self.workers.id(id), fault, consequence });
        if consequence == Consequence::Banned {
            self.discard(now, id);
        }
        self.rank(id);
    }

    /// Takes everything back that a banned worker holds or said where there is no answer yet.
    fn discard(&mut self, now: Timestamp, id: WorkerNo) {
        let worker = &mut self.workers[id];
        self.hungry.remove(id, worker);
        worker.wants = 0;
        let leases = worker.leases.clone();
        let units = core::mem::take(&mut worker.open_reports);
        for lease in &leases {
            self.release(*lease);
        }
        if !leases.is_empty() {
            self.withdraw(id, leases);
        }
        for unit in units {
            if let Some(open) = self.open_mut(unit) {
                if open.reports.first().is_some_and(|word| word.by == id) {
                    open.reports.iter_mut().for_each(|word| word.is_echo = true);
                }
                open.reports.retain(|word| word.by != id);
                self.judge(now, unit);
            }
        }
    }

    fn finish_if_done(&mut self, now: Timestamp, id: RunId) {
        if self.runs.get(&id).is_none_or(|run| run.counts.own.open() > 0) {
            return;
        }
        let Some(mut run) = self.runs.remove(&id) else { return };
        self.drop_decoys(&mut run);
        let status = if run.cancelled { RunStatus::Cancelled } else { RunStatus::Finished };
        self.effects.push_back(Effect::Record(Record::Run(Box::new(run.record(status, Some(now))))));
        self.effects.push_back(Effect::RunEnded(id));
        self.part_with(run);
    }

    /// Takes in an active run.
    fn insert_run(&mut self, run: Run) {
        let seen = self.seen.entry(Arc::clone(run.share.owner())).or_insert_with(|| Seen::new(self.hasher.clone()));
        seen.join(run.shape.units());
        self.runs.insert(run.spec.id, run);
    }

    /// Lets a run go that was taken out of the active ones.
    fn part_with(&mut self, run: Run) {
        if let Some(seen) = self.seen.get_mut(run.share.owner()) {
            seen.leave(run.shape.units());
        }
        self.shares.leave(run.share);
    }

    /// Lets those go who hold decoys of a run that has ended, or spoke on them.
    fn drop_decoys(&mut self, run: &mut Run) {
        for (index, state) in run.units.decoys() {
            let State::Open(open) = state else { continue };
            for word in &open.reports {
                self.workers[word.by].open_reports.remove(&UnitId { run: run.spec.id, index });
                self.rank(word.by);
                // It may have been full of such words, and asks for nothing new.
                self.stirred = true;
            }
            for (lease, worker) in open.leases.drain(..) {
                self.forget(lease);
                self.withdraw(worker, vec![lease]);
            }
        }
    }

    // ── Leases ──

    /// A lease ended without a report: the unit wants another one.
    fn lose(&mut self, now: Timestamp, lease: LeaseId, machine: bool) {
        let Some(held) = self.leases.get(&lease) else { return };
        let (unit, id) = (held.unit, held.worker);
        let worker = &mut self.workers[id];
        if held.era == worker.record.era {
            worker.record.lost += 1;
            let is_lapse = machine || !held.was_left || core::mem::take(&mut worker.answers_for_leaving);
            worker.record.lapses = worker.record.lapses.saturating_add(u8::from(is_lapse));
            let is_stranger = worker.standing(&self.policy.trust) == Standing::Stranger;
            worker.quota /= 2;
            self.hungry.rank(id, worker);
            if is_stranger {
                self.newcomers.note(false);
                self.turn_to_those_with_a_record(unit);
            }
        }
        self.release(lease);
        let most = self.policy.machine_failures_max;
        if let (true, Some(open)) = (machine, self.open_mut(unit)) {
            open.machine_failures += 1;
            open.failed_last = Some(id);
            if open.machine_failures >= most {
                self.end(now, unit, End::Undecided, None, None);
            }
        }
    }

    /// Takes a lease back and puts its unit in line again if it wants one.
    fn release(&mut self, lease: LeaseId) {
        let Some(held) = self.forget(lease) else { return };
        if let Some(run) = self.runs.get_mut(&held.unit.run) {
            let state = &mut run.units[held.unit.index];
            *run.counts.at(held.unit.index).of(state) -= 1;
            if let State::Open(open) = state {
                open.leases.retain(|(id, _)| *id != lease);
                open.late -= usize::from(matches!(held.patience, Patience::Over));
                if !open.knows(held.worker) {
                    run.queue.look_again(held.worker);
                    self.late.look_again(held.worker);
                }
            }
            *run.counts.at(held.unit.index).of(state) += 1;
        }
        self.enqueue(held.unit);
    }

    fn forget(&mut self, lease: LeaseId) -> Option<Held> {
        let held = self.leases.remove(&lease)?;
        self.deadlines.remove(&(held.expires_at, lease));
        if let Patience::Until(at) = held.patience {
            self.patience.remove(&(at, lease));
        }
        self.workers[held.worker].leases.retain(|id| *id != lease);
        self.rank(held.worker);
        self.look_at_drawn(held.worker);
        self.stirred |= core::mem::take(&mut self.is_rationed);
        Some(held)
    }

    /// The clock was set back by `by`: nobody shall wait for moments that come again.
    fn set_back(&mut self, by: Duration) {
        let earlier = |at: Timestamp| Timestamp(at.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)));
        for held in self.leases.values_mut() {
            held.issued_at = earlier(held.issued_at);
            held.expires_at = earlier(held.expires_at);
            if let Patience::Until(at) = &mut held.patience {
                *at = earlier(*at);
            }
        }
        self.deadlines = self.leases.iter().map(|(id, held)| (held.expires_at, *id)).collect();
        let patience = |(id, held): (&LeaseId, &Held)| match held.patience {
            Patience::Until(at) => Some((at, *id)),
            Patience::Endless | Patience::Over => None,
        };
        self.patience = self.leases.iter().filter_map(patience).collect();
        for run in self.runs.values_mut() {
            run.in_line_since = earlier(run.in_line_since);
        }
        self.kept = self.kept.iter().map(|(at, run)| (earlier(*at), *run)).collect();
        self.wary_until = earlier(self.wary_until);
        self.watched = self.watched.iter().map(|(at, worker)| (earlier(*at), *worker)).collect();
        self.resting = self.resting.iter().map(|(at, worker)| (earlier(*at), *worker)).collect();
        self.effort.set_back(earlier);
        for worker in self.workers.values_mut() {
            worker.pace.set_back(earlier);
            worker.leased_at = earlier(worker.leased_at);
            worker.counted_at = earlier(worker.counted_at);
            worker.effort.set_back(earlier);
        }
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((at, lease)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            let worker = self.leases.get(&lease).map(|held| held.worker);
            self.expired += 1;
            self.lose(now, lease, false);
            if let Some(worker) = worker {
                self.withdraw(worker, vec![lease]);
            }
        }
        while let Some((at, worker)) = self.watched.first().copied() {
            if at > now {
                break;
            }
            self.watched.pop_first();
            self.look_after(now, worker);
        }
        while let Some((at, worker)) = self.resting.first().copied() {
            if at > now {
                break;
            }
            self.resting.pop_first();
            self.workers[worker].is_resting = false;
            self.look_at_wants(worker);
        }
        while let Some((at, run)) = self.kept.first().copied() {
            if at > now {
                break;
            }
            self.kept.pop_first();
            self.stirred |= self.runs.get(&run).is_some_and(|run| !run.queue.is_empty());
        }
        while let Some((at, lease)) = self.patience.first().copied() {
            if at > now {
                break;
            }
            self.patience.pop_first();
            let Some(held) = self.leases.get_mut(&lease) else { continue };
            held.patience = Patience::Over;
            let (unit, id) = (held.unit, held.worker);
            let worker = &mut self.workers[id];
            if !worker.is_proven() {
                self.wary_until = now.after(self.policy.wary);
            }
            worker.kept_waiting |= held.era == worker.record.era;
            self.hungry.rank(id, worker);
            if let Some(open) = self.open_mut(unit) {
                open.late += 1;
                self.enqueue(unit);
            }
        }
    }

    /// Puts a unit in line if it wants leases: with its run, and with those that want spare replicas.
    fn enqueue(&mut self, unit: UnitId) {
        let Some(run) = self.runs.get_mut(&unit.run) else { return };
        let Some(State::Open(open)) = run.units.get_mut(unit.index) else { return };
        if open.late > 0 && !open.wants_spare && open.spares(run.spec.rule) > 0 {
            open.wants_spare = true;
            self.late.push(unit);
            self.stirred = true;
        }
        let is_fixed = matches!(run.spec.rule, Rule::Fixed(_));
        let is_for_drawn = !is_fixed && open.ask == Ask::Established && open.is_asked_again();
        let waits = is_for_drawn && open.queued.is_none() && open.wanted(run.spec.rule) > 0;
        if waits && (open.drawn.is_some() || self.draw(unit)) {
            return;
        }
        let Some(run) = self.runs.get_mut(&unit.run) else { return };
        let Some(State::Open(open)) = run.units.get_mut(unit.index) else { return };
        let place = match open.ask {
            _ if is_fixed => Place::Started,
            Ask::Anybody => Place::Started,
            Ask::Crowd => Place::crowd(open.reports.len()),
            Ask::Established | Ask::Nobody => Place::Kept,
        };
        if open.queued != Some(place) && open.wanted(run.spec.rule) > 0 {
            open.queued = Some(place);
            run.queue.push(unit.index, place);
            run.line_up(&mut self.shares);
            if self.now < self.wary_until {
                run.keep(self.now.after(self.policy.first_choice), self.now, &mut self.kept);
            }
            self.stirred = true;
        }
    }

    /// Gives leases to those who want some, one each in turn, until nobody can take any. While there is something
    /// that somebody waits for, those go first who are known to bring answers.
    fn dispatch(&mut self, now: Timestamp) {
        if !core::mem::take(&mut self.stirred) {
            return;
        }
        self.at_work.take();
        self.serve(Class::Proven, |this| !this.late.is_empty(), |this, worker| this.grant_spare(now, worker));
        let grant = |this: &mut Self, worker| this.grant(now, worker, Reach::Started);
        self.serve(Class::Proven, |this| this.shares.is_awaited(), grant);
        for worker in core::mem::take(&mut self.called) {
            while self.workers[worker].is_hungry && self.has_room(worker) && self.grant_drawn(now, worker) {}
        }
        // What strangers may have is all that they may have.
        self.serve(Class::Stranger, |this| this.shares.offers().strangers, grant);
        self.serve(Class::First, |this| this.shares.offers().established, grant);
        // They begin what those with a record have no hands for.
        if self.crowd().is_some() {
            let begin = |this: &mut Self, worker| this.grant(now, worker, Reach::Crowd);
            self.serve(Class::Stranger, |this| this.shares.offers().crowd, begin);
        }
        self.serve(Class::All, |this| this.shares.offers().everybody, grant);
        // They are many where visitors come and go, and would be looked at with each unit that is given out.
        for (at, no) in core::mem::take(&mut self.to_rest) {
            let worker = &mut self.workers[no];
            if worker.is_hungry {
                worker.is_resting = true;
                self.hungry.remove(no, worker);
                self.resting.insert((at.min(now.after(REST)), no));
            }
        }
    }

    /// Lets hungry workers take their turns while there is `more`, until each of them looked in vain.
    fn serve(&mut self, class: Class, more: impl Fn(&Self) -> bool, grant: impl Fn(&mut Self, WorkerNo) -> bool) {
        let mut in_vain = 0;
        while more(self) && in_vain < self.hungry.of(class).len() {
            let Some(worker) = self.hungry.next(class) else { return };
            // One without room is hungry no more, and did not look.
            if self.has_room(worker) {
                in_vain = if grant(self, worker) { 0 } else { in_vain + 1 };
            }
        }
    }

    /// Whether a hungry worker may have another lease; if not, it is hungry no more.
    fn has_room(&mut self, id: WorkerNo) -> bool {
        let worker = &mut self.workers[id];
        let is_new = worker.record.agreed == 0 && worker.open_reports.is_empty();
        let Policy { leases_per_worker_max, leases_per_newcomer_max, .. } = self.policy;
        let most = if is_new { leases_per_newcomer_max } else { leases_per_worker_max };
        let has_room = worker.wants > 0 && worker.leases.len() < most;
        if !has_room {
            self.hungry.remove(id, worker);
        }
        has_room
    }

    /// Gives a worker a lease; `reach` is what one without a record may have, where words have to be earned.
    fn grant(&mut self, now: Timestamp, id: WorkerNo, reach: Reach) -> bool {
        let mut next = self.shares.next(None);
        while let Some(run) = next {
            if self.grant_from(now, id, run, reach) {
                return true;
            }
            next = self.runs.get(&run).and_then(|run| self.shares.next(Some(&run.share)));
        }
        false
    }

    /// Whether a worker was given so much of a run, or of its requester's work, or all workers of its owner were of the run, that the
    /// rest is for others.
    fn has_its_share(&self, id: WorkerNo, run: &Run) -> bool {
        // A run that would stand still has no limit: perhaps nobody else can take what is left.
        if matches!(run.spec.rule, Rule::Fixed(_)) || run.counts.own.running == 0 {
            return false;
        }
        let trust = &self.policy.trust;
        let at_work = || self.at_work.get_or_init(|| self.count_at_work());
        // Where few are at work, or units take many voices, each has to do more.
        let fair = |leased: u64, heads: usize| 4 * leased / heads.max(1) as u64;
        let is_much =
            |seen: u64, share: f64, of: u64| seen as f64 >= (of as f64 * share).max(trust.run_units_min.into());

        let (units, seen) = (u64::from(run.shape.units()), u64::from(run.given.of(id).unwrap_or_default()));
        let leased = run.given.leases().max(units);
        if is_much(seen, trust.run_share_max, units) && seen >= fair(leased, at_work().workers) {
            return true;
        }
        if let Some(theirs) = self.seen.get(run.share.owner()) {
            let (seen, leased) = (u64::from(theirs.of(id)), theirs.all());
            if is_much(seen, trust.requester_share_max, leased) && seen >= fair(leased, at_work().workers) {
                return true;
            }
        }
        let Some(seen) = self.seen_by_owner(id, run).map(u64::from) else { return false };
        is_much(seen, trust.owner_share_max, units) && seen >= fair(leased, at_work().heads)
    }

    /// How many with a record are at work.
    fn count_at_work(&self) -> AtWork {
        let (mut workers, mut ownerless, mut owners) = (0, 0, BTreeSet::new());
        for worker in self.core.iter().map(|no| &self.workers[no]).filter(|worker| worker.is_at_work()) {
            workers += 1;
            match worker.origin.owner {
                Some(owner) => drop(owners.insert(owner)),
                None => ownerless += 1,
            }
        }
        AtWork { workers, heads: ownerless + owners.len() }
    }

    /// How many units of a run all workers of a worker's owner were given, where it is known whose it is.
    fn seen_by_owner(&self, id: WorkerNo, run: &Run) -> Option<u32> {
        Some(run.given.of_owner(self.workers[id].origin.owner?))
    }

    fn grant_from(&mut self, now: Timestamp, id: WorkerNo, run_id: RunId, reach: Reach) -> bool {
        let crowd = self.crowd();
        let Some(run) = self.runs.get(&run_id) else { return false };
        let Worker { pace, origin, .. } = &self.workers[id];
        if let Some(from) = self.paces.not_before(now, pace, origin.kind, &run.spec.module, run.spec.wall()) {
            self.to_rest.push((from, id));
            return false;
        }
        let kept_until = run.in_line_since.after(self.policy.first_choice);
        if run.spec.is_awaited() && now < kept_until && !self.workers[id].is_proven() {
            return false;
        }
        if self.has_its_share(id, run) {
            self.is_rationed = true;
            return false;
        }
        let Some(run) = self.runs.get_mut(&run_id) else { return false };
        let (rule, workers) = (run.spec.rule, &self.workers);
        let worker = &workers[id];
        let is_fixed = matches!(rule, Rule::Fixed(_));
        let reach = match reach {
            _ if is_fixed => Reach::All,
            // It begins nothing before some of what it has said is settled, but may well settle others' units: if all waited for
            // each other, they would wait for ever.
            _ if !worker.may_earn(&self.policy) && worker.in_line == Some(Class::First) => Reach::Second,
            _ if !worker.may_earn(&self.policy) => Reach::Joined,
            _ if worker.in_line == Some(Class::First) => Reach::All,
            Reach::Crowd if run.is_for(crowd) => Reach::Crowd,
            _ => Reach::Started,
        };
        if !is_fixed {
            let is_suspect = worker.record.agreed == 0 && worker.open_reports.len() >= UNSETTLED_MAX;
            let until = worker.leased_at.after(PAUSE);
            if is_suspect && now < until {
                self.to_rest.push((until, id));
                return false;
            }
            if !worker.may_join(&self.policy) {
                return false;
            }
        }
        let units = &mut run.units;
        let others = self.hungry.all.len() > 1;
        let index = run.queue.take(id, reach, |index, place| match &mut units[index] {
            State::Fresh => Look::Fits,
            // It stands elsewhere by now.
            State::Open(open) if open.queued != Some(place) && place != Place::Fresh => Look::Gone,
            State::Open(open) if open.wanted(rule) == 0 => {
                open.queued = None;
                Look::Gone
            }
            State::Open(open) if open.knows(id) => Look::NotThisWorker,
            State::Open(open) if !is_fixed && open.hears(worker, workers) => Look::NotThisWorker,
            State::Open(open) if others && open.failed_last == Some(id) => Look::Later,
            State::Open(open) if open.is_too_grave_for(worker, rule) => Look::Later,
            State::Open(open) if open.knows_engine(worker, workers) => Look::Worse,
            State::Open(_) => Look::Fits,
            State::Blocked { .. } | State::Calling { .. } | State::Ended(_) => Look::Gone,
        });
        let Some(index) = index else {
            run.line_up(&mut self.shares);
            return false;
        };
        if let State::Open(open) = &mut units[index] {
            open.queued = None;
        }
        self.shares.serve(&mut run.share);
        run.line_up(&mut self.shares);
        self.lease(now, id, UnitId { run: run_id, index });
        true
    }

    /// Gives a worker a lease of a unit for which it was drawn.
    fn grant_drawn(&mut self, now: Timestamp, id: WorkerNo) -> bool {
        if !self.workers[id].may_join(&self.policy) {
            return false;
        }
        let mut left = core::mem::take(&mut self.workers[id].drawn_for);
        left.retain(|unit| self.open(*unit).is_some_and(|open| open.drawn == Some(id)));
        let is_held = |unit: &UnitId| self.runs.get(&unit.run).is_none_or(|run| self.shares.is_held(&run.share));
        let unit = left.iter().position(|unit| !is_held(unit)).map(|at| left.remove(at));
        self.workers[id].drawn_for = left;
        let Some(unit) = unit else { return false };
        let Some(open) = self.open_mut(unit) else { return false };
        open.drawn = None;
        if open.ask == Ask::Established && open.leases.is_empty() {
            self.lease(now, id, unit);
        } else {
            self.enqueue(unit);
        }
        true
    }

    /// Gives a worker a replica beside one that is late. It is not counted against the owner, who did not make it late.
    fn grant_spare(&mut self, now: Timestamp, id: WorkerNo) -> bool {
        let (runs, firsts, shares) = (&mut self.runs, &self.hungry.firsts, &self.shares);
        let (paces, worker) = (&self.paces, &self.workers[id]);
        let unit = self.late.take(id, &mut |unit: UnitId| {
            let Some(run) = runs.get_mut(&unit.run) else { return Look::Gone };
            if shares.is_held(&run.share) {
                return Look::Later;
            }
            match run.units.get_mut(unit.index) {
                Some(State::Open(open)) if open.spares(run.spec.rule) == 0 => {
                    open.wants_spare = false;
                    Look::Gone
                }
                Some(State::Open(open)) if open.knows(id) || open.failed_last == Some(id) => Look::NotThisWorker,
                Some(State::Open(open)) if open.is_too_grave_for(worker, run.spec.rule) => Look::Later,
                Some(State::Open(_))
                    if paces
                        .not_before(now, &worker.pace, worker.origin.kind, &run.spec.module, run.spec.wall())
                        .is_some() =>
                {
                    Look::Later
                }
                Some(State::Open(open))
                    if matches!(run.spec.rule, Rule::Earned { .. })
                        && open.ask == Ask::Established
                        && !firsts.contains(&id) =>
                {
                    Look::NotThisWorker
                }
                Some(State::Open(open)) => {
                    open.wants_spare = false;
                    Look::Fits
                }
                Some(State::Fresh | State::Blocked { .. } | State::Calling { .. } | State::Ended(_)) | None => {
                    Look::Gone
                }
            }
        });
        let Some(unit) = unit else { return false };
        self.spares += 1;
        self.lease(now, id, unit);
        true
    }

    /// Gives a worker a lease of a unit that wants one.
    fn lease(&mut self, now: Timestamp, id: WorkerNo, unit: UnitId) {
        let Some(run) = self.runs.get_mut(&unit.run) else { return };
        let UnitId { index, .. } = unit;
        let mut lease = [0; 16];
        self.random.fill_bytes(&mut lease);
        let lease = LeaseId(lease);
        let wall = Duration::from_millis(run.spec.wall_ms);
        let expires_at = now.after(wall.saturating_mul(2)).after(self.policy.lease_margin);
        let entry = if run.shape.is_reduce(index) { Entry::Reduce } else { Entry::Run };
        let seed = run.spec.seed(index);
        let mut patience = Patience::Endless;
        if run.spec.is_awaited() {
            let usual = self.usual.of(&run.spec.module).map(|usual| usual.saturating_mul(LATE_TIMES));
            let until = now.after(usual.map_or(self.policy.patience_unknown, |it| it.max(self.policy.patience_min)));
            self.patience.insert((until, lease));
            patience = Patience::Until(until);
        }

        let era = self.workers[id].record.era;
        let state = &mut run.units[index];
        let counts = run.counts.at(index);
        let open = open(state, counts);
        let was_running = !open.leases.is_empty();
        open.leases.push((lease, id));
        let step = open.step;
        if !was_running {
            counts.waiting -= 1;
            counts.running += 1;
        }
        self.leases.insert(
            lease,
            Held { unit, worker: id, era, issued_at: now, expires_at, patience, permille: 0, was_left: false },
        );
        self.deadlines.insert((expires_at, lease));
        if run.shape.units() > 1 && !unit.is_decoy() {
            run.given.note(id, self.workers[id].origin.owner);
        }
        if let Some(seen) = self.seen.get_mut(run.share.owner()).filter(|_| !unit.is_decoy()) {
            seen.note(id);
        }
        let worker = &mut self.workers[id];
        worker.leases.push(lease);
        worker.leased_at = now;
        worker.wants -= 1;
        self.rank(id);
        self.effects.push_back(Effect::Grant(LeaseDraft {
            id: lease,
            worker: self.workers.id(id),
            unit,
            step,
            entry,
            seed,
            issued_at: now,
            expires_at,
        }));
        self.enqueue(unit);
    }

    fn withdraw(&mut self, worker: WorkerNo, leases: Vec<LeaseId>) {
        self.effects.push_back(Effect::Withdraw { worker: self.workers.id(worker), leases });
    }

    /// Makes durable what is known of a worker.
    fn note_worker(&mut self, no: WorkerNo) {
        self.effects.push_back(Effect::Record(Record::Worker(self.workers.id(no), self.workers[no].record)));
    }

    fn open_mut(&mut self, unit: UnitId) -> Option<&mut Open> {
        match self.runs.get_mut(&unit.run)?.units.get_mut(unit.index)? {
            State::Open(open) => Some(open),
            State::Blocked { .. } | State::Fresh | State::Calling { .. } | State::Ended(_) => None,
        }
    }

    // ── Questions ──

    /// An active run.
    pub fn run(&self, id: RunId) -> Option<RunRecord> {
        self.runs.get(&id).map(|run| run.record(RunStatus::Active, None))
    }

    /// How many runs are active.
    pub fn active_runs(&self) -> usize {
        self.runs.len()
    }

    /// Units of all active runs that have not ended.
    pub fn open_units(&self) -> u64 {
        self.runs.values().map(|run| u64::from(run.counts.own.open())).sum()
    }

    /// Units of all active runs, by where they are.
    pub fn counts(&self) -> Counts {
        self.runs.values().fold(Counts::default(), |sum, run| Counts {
            waiting: sum.waiting + run.counts.own.waiting,
            running: sum.running + run.counts.own.running,
            done: sum.done + run.counts.own.done,
            failed: sum.failed + run.counts.own.failed,
            cancelled: sum.cancelled + run.counts.own.cancelled,
        })
    }

    /// When the oldest active run was submitted that has a unit waiting for a worker.
    pub fn waiting_since(&self) -> Option<Timestamp> {
        let waiting = self.runs.values().filter(|run| run.counts.own.waiting > 0);
        waiting.map(|run| run.spec.submitted_at).min()
    }

    /// Leases that ran out since this scheduler began.
    pub const fn expired(&self) -> u64 {
        self.expired
    }

    /// Leases given since this scheduler began because others were late for which somebody waited.
    pub const fn spares(&self) -> u64 {
        self.spares
    }

    /// Whether a worker gets no more work, ever.
    pub fn is_banned(&self, worker: WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|worker| worker.record.banned)
    }

    /// Serials that active runs of `job` execute; the lowest must stay permitted.
    pub fn serials<'a>(&'a self, job: &'a manyhands_model::JobName) -> impl Iterator<Item = u64> + 'a {
        self.runs.values().filter(move |run| run.spec.job == *job).map(|run| run.spec.serial)
    }

    /// Active runs, each with the module that it executes.
    pub fn modules(&self) -> impl Iterator<Item = (RunId, Digest)> + '_ {
        self.runs.iter().map(|(id, run)| (*id, run.spec.module))
    }

    /// All workers that ever reported or are connected.
    pub fn workers(&self) -> impl Iterator<Item = WorkerSummary> + '_ {
        self.workers.iter().map(|(id, worker)| worker.summary(id, &self.policy.trust))
    }

    /// What is known of one worker.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerSummary> {
        self.workers.get(id).map(|worker| worker.summary(id, &self.policy.trust))
    }

    /// How much of each active run of more than one unit a worker was given.
    pub fn exposure(&self, worker: WorkerId) -> impl Iterator<Item = Exposure> + '_ {
        let no = self.workers.find(worker);
        self.runs.iter().filter_map(move |(id, run)| {
            let units = run.given.of(no?)?;
            Some(Exposure { run: *id, units, owner_units: self.seen_by_owner(no?, run), of: run.shape.units() })
        })
    }

    /// How much of each requester's work a worker was given, of what was given out lately.
    pub fn exposure_to_requesters(&self, worker: WorkerId) -> impl Iterator<Item = RequesterExposure> + '_ {
        let no = self.workers.find(worker);
        self.seen.iter().filter_map(move |(requester, seen)| {
            let leases = Some(seen.of(no?)).filter(|leases| *leases > 0)?;
            Some(RequesterExposure { requester: requester.to_string(), leases, of: seen.all() })
        })
    }

    /// Audits under way, and audits in line.
    pub fn audits(&self) -> (usize, usize) {
        self.audits.counts()
    }

    /// Audits by their reasons.
    pub const fn audit_tally(&self) -> AuditTally {
        self.audits.tally()
    }

    /// Disputes that the operator's machine may still settle.
    pub fn disputes_left(&self) -> u64 {
        self.audits.left(&self.policy.trust, Need::Dispute)
    }

    /// Units that got an answer since this scheduler began, under rules of a level; under fixed ones for none. One that was opened again counts again.
    pub fn decided(&self, level: Option<Level>) -> u64 {
        self.decided.get(&level).copied().unwrap_or_default()
    }

    /// Workers by what their word is worth.
    pub fn standings(&self) -> Standings {
        let mut standings = Standings::default();
        for (_, worker) in self.workers.iter() {
            let is_there = worker.connected;
            match worker.standing(&self.policy.trust) {
                _ if worker.record.banned => standings.banned += 1,
                Standing::Stranger => standings.strangers += u64::from(is_there),
                Standing::Established => standings.established += u64::from(is_there),
                Standing::Trusted => standings.trusted += u64::from(is_there),
            }
        }
        standings
    }

    /// Accepted units that rest on one worker's word, as far as is known without their records.
    pub fn vouched_units(&self) -> usize {
        self.history.len()
    }

    /// A lease that is out.
    pub fn lease_of(&self, id: LeaseId) -> Option<LeaseSummary> {
        self.leases.get(&id).map(|held| held.summary(&self.workers))
    }

    /// All leases that are out, in no order that means anything.
    pub fn leases(&self) -> impl Iterator<Item = LeaseSummary> + '_ {
        self.leases.values().map(|held| held.summary(&self.workers))
    }

    /// Who holds a lease of a unit.
    pub fn holders(&self, unit: UnitId) -> impl Iterator<Item = WorkerId> + '_ {
        let state = self.runs.get(&unit.run).and_then(|run| run.units.get(unit.index));
        let open = state.and_then(|state| if let State::Open(open) = state { Some(open) } else { None });
        open.into_iter().flat_map(|open| open.leases.iter().map(|(_, worker)| self.workers.id(*worker)))
    }

    /// Why a unit of an active run is where it is.
    pub fn why(&self, now: Timestamp, unit: UnitId) -> Option<UnitSummary> {
        let run = self.runs.get(&unit.run)?;
        let state = run.units.get(unit.index)?;
        Some(UnitSummary { index: unit.index, reason: self.reason(now, run, state) })
    }

    /// Why the units of an active run that have not ended are where they are.
    pub fn why_all(&self, now: Timestamp, id: RunId) -> impl Iterator<Item = UnitSummary> + '_ {
        self.runs.get(&id).into_iter().flat_map(move |run| {
            run.units
                .own()
                .iter()
                .enumerate()
                .filter(|(_, state)| !matches!(state, State::Ended(_)))
                .map(move |(index, state)| UnitSummary { index: index as u32, reason: self.reason(now, run, state) })
        })
    }

    fn reason(&self, now: Timestamp, run: &Run, state: &State) -> Reason {
        let nobody = Open::default();
        let open = match state {
            State::Blocked { missing: 0 } => return Reason::AssemblingInput,
            State::Blocked { missing } => return Reason::NeedsParts { missing: *missing },
            State::Ended(end) => return Reason::Ended(*end),
            State::Calling { step } => return Reason::Calling { step: *step },
            State::Fresh => &nobody,
            State::Open(open) => open,
        };
        if open.ask == Ask::Nobody && open.leases.is_empty() {
            return Reason::NeedsAudit;
        }
        let is_earned = matches!(run.spec.rule, Rule::Earned { .. });
        let needs_record = is_earned && open.ask == Ask::Established;
        let may_begin = |no: WorkerNo, worker: &Worker| {
            let is_tried = worker.in_line == Some(Class::First) || self.candidates.contains(&no);
            !needs_record || worker.is_in_core || is_tried && !open.is_too_grave_for(worker, run.spec.rule)
        };
        let is_another_voice = |worker: &Worker| !is_earned || !open.hears(worker, &self.workers);
        let more = open.wanted(run.spec.rule);
        let left =
            if self.shares.is_held(&run.share) { self.funds.left(&run.spec.owner, self.policy.budgets) } else { None };
        let held: Vec<&Held> = open.leases.iter().filter_map(|(lease, _)| self.leases.get(lease)).collect();
        let stays = |worker: &Worker| {
            self.paces.not_before(now, &worker.pace, worker.origin.kind, &run.spec.module, run.spec.wall()).is_none()
        };
        let may_work = |worker: &Worker| worker.connected && !worker.record.banned;
        let connected = self.workers.iter().filter(|(_, worker)| may_work(worker)).count();
        let others = || self.workers.numbered().filter(|(no, worker)| may_work(worker) && !open.knows(*no));
        let voices = || others().filter(|(no, worker)| may_begin(*no, worker) && is_another_voice(worker));
        let (others, eligible) = (voices().count(), voices().filter(|(_, worker)| stays(worker)).count());
        match held.iter().map(|held| held.expires_at).min() {
            Some(first) if more == 0 || eligible == 0 || left.is_some() => Reason::Running {
                by: held.len(),
                permille: held.iter().map(|held| held.permille).max().unwrap_or(0),
                lease_ends_in: first.since(now),
            },
            _ if let Some(left) = left => Reason::OutOfBudget { left },
            _ if connected == 0 => Reason::NoWorker,
            _ if others == 0 && needs_record => Reason::NeedsRecord { connected },
            _ if others == 0 => Reason::NeedsIndependentWorker { more, connected },
            _ if eligible == 0 => Reason::NeedsStayingWorker { connected },
            _ => Reason::Queued { eligible },
        }
    }
}

/// What a record says that was said.
fn heard(workers: &mut Roster<Worker>, replicas: Vec<Replica>) -> Vec<Word> {
    let word = |Replica { worker, era, outcome, claims, is_echo }| {
        let by = workers.enrol(worker);
        Word { by, era, outcome, claims, is_echo }
    };
    replicas.into_iter().map(word).collect()
}

/// The open unit behind `state`; a fresh one becomes open. Both count as waiting.
fn open<'a>(state: &'a mut State, counts: &mut Counts) -> &'a mut Open {
    if !matches!(state, State::Open(_)) {
        debug_assert!(matches!(state, State::Fresh), "only fresh units are opened");
        *counts.of(state) -= 1;
        *state = State::Open(Box::default());
        *counts.of(state) += 1;
    }
    match state {
        State::Open(open) => open,
        State::Fresh | State::Blocked { .. } | State::Calling { .. } | State::Ended(_) => {
            unreachable!("it was made open above")
        }
    }
}

impl Run {
    fn new(spec: RunSpec, shares: &mut Shares, hasher: Keyed) -> Self {
        let share = shares.join(&spec.owner, spec.priority, spec.is_awaited(), spec.id);
        let shape = spec.reduction();
        let state = |unit| match shape.parts(unit).len() {
            0 => State::Fresh,
            parts => State::Blocked { missing: parts as u32 },
        };
        let units = Units::new((0..shape.units()).map(state).collect(), spec.decoys);
        let mut run = Self {
            queue: Queue::fresh(shape.inputs()),
            spec,
            shape,
            units,
            counts: Tallies::default(),
            dissents: 0,
            cancelled: false,
            in_line_since: Timestamp::default(),
            share,
            given: Given::new(hasher),
        };
        run.recount();
        run
    }

    /// Keeps workers from telling which of its units somebody has had before, where words have to be earned.
    fn hide(&mut self, random: &mut ChaCha20Rng) {
        if matches!(self.spec.rule, Rule::Earned { .. }) {
            let mut seed = [0; 32];
            random.fill_bytes(&mut seed);
            let units = (0..self.shape.inputs()).chain(self.spec.decoys.indices());
            self.queue = Queue::hidden(units, seed);
        }
    }

    /// Notes that its unit is in line from `now` on, and kept for some until then, if somebody waits for it.
    fn keep(&mut self, until: Timestamp, now: Timestamp, kept: &mut BTreeSet<(Timestamp, RunId)>) {
        if self.spec.is_awaited() {
            self.in_line_since = now;
            kept.insert((until, self.spec.id));
        }
    }

    /// Says whether units are in line; to be called whenever that may have changed.
    fn line_up(&mut self, shares: &mut Shares) {
        let has_units = !self.queue.is_empty() && !shares.is_held(&self.share);
        shares.set_waiting(&mut self.share, has_units);
        let is_fixed = matches!(self.spec.rule, Rule::Fixed(_));
        let crowd = has_units && self.is_for_crowds() && self.queue.has_fresh();
        shares.set_offers(
            &mut self.share,
            Offers {
                everybody: is_fixed && has_units,
                established: !is_fixed && has_units,
                strangers: !is_fixed && has_units && self.queue.has_started(),
                crowd,
            },
        );
    }

    /// Whether those without a record may begin its units. Not where somebody waits: it takes many of them, one after the other.
    fn is_for_crowds(&self) -> bool {
        let may = matches!(self.spec.rule, Rule::Earned { level: Level::Adaptive | Level::Full, .. });
        may && !self.spec.is_awaited()
    }

    /// Whether this crowd is enough for it.
    fn is_for(&self, crowd: Option<Crowd>) -> bool {
        let Rule::Earned { wrong_ppb, .. } = self.spec.rule else { return false };
        self.is_for_crowds() && crowd.is_some_and(|crowd| crowd.is_enough(share(wrong_ppb)))
    }

    fn missing(&self, unit: u32) -> u32 {
        let done = |part: &u32| matches!(self.units[*part], State::Ended(End::Done));
        self.shape.parts(unit).filter(|part| !done(part)).count() as u32
    }

    fn recount(&mut self) {
        self.counts = Tallies::default();
        for (index, state) in self.units.iter_mut() {
            *self.counts.at(index).of(state) += 1;
        }
    }

    fn record(&self, status: RunStatus, finished_at: Option<Timestamp>) -> RunRecord {
        RunRecord { spec: self.spec.clone(), status, counts: self.counts.own, dissents: self.dissents, finished_at }
    }
}
