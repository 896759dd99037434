//! Everything outside the coordinator, in virtual time.
//!
//! The world plays the shell: it carries out effects, keeps what is recorded, and says what happened. Nothing waits: the clock
//! jumps to whatever comes next.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use bytes::Bytes;
use manyhands_model::{Digest, Fuel, LeaseId, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{Lease, Receipt, Report, Task, Ticket};
use manyhands_scheduler::{
    Consequence, Counts, Decoys, Effect, End, Groups, Input, Kind, LeaseDraft, Record, RunRecord, RunSpec, RunStatus,
    UnitRecord, WorkerRecord,
};

use crate::adversary::{Act, Answer, Gang, Strategy, View};
use crate::calls::Calls;
use crate::figures::{Figures, Tally};
use crate::inputs;
use crate::random::Random;
use crate::rule::Coordinator;
use crate::scene::Scene;
use crate::tells::{Observed, Observer, What};

/// Into how many runs the units are divided: what is known of workers outlives a run, and so does what they did.
pub(crate) const RUNS: u32 = 8;
/// What a unit takes a worker of speed 1 on the average. Unit: seconds.
const WORK_S: f64 = 5.0;
/// The wall time of the job: no worker is so slow.
const WALL_MS: u64 = 60_000;
/// So many times as long, and so many times as dear, is a unit of the long job.
const LONG_TIMES: u32 = 60;
/// How long a runner stays on the average, and how long it is away. Unit: seconds.
const SESSION_S: f64 = 3600.0;
const AWAY_S: f64 = 600.0;
/// Half of the visitors close the page before. Unit: seconds.
const VISIT_MEDIAN_S: f64 = 60.0;
/// How long after the last answer it is looked at once more: long enough to miss those who are gone.
const SETTLE: Duration = Duration::from_secs(3 * 3600);
/// How many leases a cheat looks at to get a certain one.
const PICKED_MAX: u32 = 64;
/// How often somebody who was left behind says something. Unit: seconds.
const NURSED_S: f64 = 600.0;
/// Those who leave without a word.
const VANISH: f64 = 0.3;
/// Answers after which a worker has a record for certain.
const TRUSTED: u32 = 150;
/// How many leases a runner wants, and a visitor.
const ROOM: u16 = 4;
const VISITOR_ROOM: u16 = 2;

/// Something will happen to somebody. Order has no meaning: moments and numbers decide before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize),
    /// In this session; one of a session that is over is nobody's.
    Depart(usize, u32),
    Finish(usize, LeaseId),
    Decide(usize, LeaseId),
    /// The operator's machine has executed this step of a unit.
    Audited(UnitId, u32),
    /// The answer to a unit's call is there, so long after it asked.
    Answered(UnitId, u32, Duration),
    /// A decoy that asked at that time is tried again.
    MakeUp(UnitId, u32, Timestamp),
    /// It has room.
    Ask(usize),
    /// A gang that lied about this unit wants to be asked again.
    Pick(UnitId),
    /// This identity of it is worth nothing any more.
    Rename(usize, WorkerId),
    /// The same, but it stays connected.
    Abandon(usize, WorkerId),
    /// An identity that its owner has left behind wants a unit, so as not to be silent.
    Nurse(WorkerId),
}

/// A computer, whoever it says it is.
struct Body {
    id: WorkerId,
    strategy: Option<Box<dyn Strategy>>,
    /// Reports under this identity that became answers.
    agreed: u32,
    /// Leases under this identity.
    leases: u32,
    speed: f64,
    is_visitor: bool,
    online: bool,
    session: u32,
    /// It ends what it does, and goes.
    is_leaving: bool,
    is_banned: bool,
    queue: VecDeque<Held>,
    /// What it executes, and since when.
    current: Option<(Held, Timestamp)>,
    /// Executed and not reported yet; only cheats have these.
    withheld: Vec<Held>,
}

/// A lease in somebody's hands.
struct Held {
    draft: LeaseDraft,
    /// How much of what this identity had reported were answers when it got the lease: a cheat knows whether it was trusted then.
    agreed: u32,
}

impl Body {
    fn room(&self) -> u16 {
        let most = if self.is_visitor { VISITOR_ROOM } else { ROOM };
        let held = self.queue.len() + usize::from(self.current.is_some()) + self.withheld.len();
        most.saturating_sub(u16::try_from(held).unwrap_or(u16::MAX))
    }
}

/// What the disk says of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stored {
    #[default]
    Open,
    Right,
    Wrong,
    /// It ended without an answer.
    Undecided,
}

#[derive(Clone, Debug, Default)]
struct Unit {
    stored: Stored,
    record: UnitRecord,
    first_lease: Option<Timestamp>,
    /// Whether it had an answer once.
    was_answered: bool,
    /// Whether it had a wrong one once.
    was_wrong: bool,
}

/// A unit that nobody submitted.
struct Decoy {
    input: String,
    record: UnitRecord,
}

/// One world, from its beginning to the end of all units.
pub(crate) struct World<'a> {
    scene: &'a Scene,
    coordinator: Box<dyn Coordinator>,
    random: Random,
    now: Timestamp,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    /// How many events there were so far: equal moments keep their order.
    numbers: u64,
    bodies: Vec<Body>,
    by_id: BTreeMap<WorkerId, usize>,
    gang: Gang,
    runs: BTreeMap<RunId, RunRecord>,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    /// How often the coordinator has lost its memory.
    restarts: u32,
    units: Vec<Unit>,
    /// Identities that their owners have left behind and keep up.
    kept: BTreeSet<WorkerId>,
    /// Those that nobody submitted and somebody had.
    decoys: BTreeMap<UnitId, Decoy>,
    calls: Calls,
    /// Records that the coordinator wants to read.
    recalls: VecDeque<(RunId, Vec<u32>)>,
    /// What the operator's machine executes.
    auditing: usize,
    tally: Tally,
    /// Who notes what workers see, if somebody does.
    observer: Option<Observer>,
}

/// What the job really makes of a unit.
pub(crate) fn truth(unit: UnitId) -> Outcome {
    outcome(unit, |digest| digest[0] = 1)
}

fn outcome(unit: UnitId, mark: impl FnOnce(&mut [u8; 32])) -> Outcome {
    let mut digest = [0; 32];
    digest[4..8].copy_from_slice(&unit.index.to_le_bytes());
    digest[8..24].copy_from_slice(unit.run.as_bytes());
    mark(&mut digest);
    // A liar knows what a unit costs.
    let fuel = Fuel(1000 * u64::from(times(unit.run)));
    Outcome { verdict: Verdict::Ok { output: Digest(digest), output_bytes: 32 }, fuel }
}

/// What a unit asks for, where it does.
fn request(unit: UnitId) -> Outcome {
    let Outcome { verdict, fuel } = outcome(unit, |digest| digest[0] = 3);
    let (calls, calls_bytes) = verdict.content().expect("it has an output");
    Outcome { verdict: Verdict::Called { calls, calls_bytes }, fuel }
}

fn run_id(number: u32, is_long: bool) -> RunId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    id[15] = u8::from(is_long);
    RunId(id)
}

/// How many times the usual a unit of a run takes.
fn times(run: RunId) -> u32 {
    if run.0[15] == 0 { 1 } else { LONG_TIMES }
}

fn module(run: RunId) -> Digest {
    Digest::of(&[run.0[15]])
}

impl<'a> World<'a> {
    pub(crate) fn new(scene: &'a Scene) -> Self {
        let mut random = Random::new(scene.seed);
        let coordinator = scene.rule.coordinator(random.bytes(), scene);
        let mut world = Self {
            scene,
            coordinator,
            random,
            now: Timestamp(0),
            events: BinaryHeap::new(),
            numbers: 0,
            bodies: Vec::new(),
            by_id: BTreeMap::new(),
            gang: Gang::default(),
            runs: BTreeMap::new(),
            workers: BTreeMap::new(),
            restarts: 0,
            recalls: VecDeque::new(),
            auditing: 0,
            decoys: BTreeMap::new(),
            calls: Calls::default(),
            kept: BTreeSet::new(),
            units: vec![Unit::default(); (RUNS * scene.units_per_run()) as usize],
            tally: Tally::new(scene),
            observer: None,
        };
        for number in 0..RUNS {
            let spec = world.spec(number);
            let record = RunRecord {
                spec: spec.clone(),
                status: RunStatus::Active,
                counts: Counts::default(),
                dissents: 0,
                finished_at: None,
            };
            world.runs.insert(spec.id, record);
            world.tell(Input::Submitted(spec));
        }
        let offset = world.random.unit();
        let hostile = u64::from(scene.workers) * u64::from(scene.hostile_percent) / 100;
        for index in 0..scene.workers {
            let strategy = if u64::from(index) < hostile { scene.adversary.strategy() } else { None };
            world.bodies.push(Body {
                id: WorkerId([0; 32]),
                agreed: 0,
                leases: 0,
                // The fastest is nine times as fast as the slowest. Steps of the golden ratio lie evenly, so that the hostile are
                // neither the fast ones nor the slow ones by chance.
                speed: 3_f64.powf(2.0 * (offset + f64::from(index) * 0.618_033_988_749_895).fract() - 1.0),
                // Whoever wants to be believed stays.
                is_visitor: index % 100 < scene.visitors_percent && strategy.is_none(),
                strategy,
                online: false,
                session: 0,
                is_leaving: false,
                is_banned: false,
                queue: VecDeque::new(),
                current: None,
                withheld: Vec::new(),
            });
            world.rename(index as usize);
            // Not all in the same millisecond.
            let at = world.random.unit() * WORK_S;
            world.schedule(at, Event::Arrive(index as usize));
        }
        world
    }

    /// What the job really makes of a step of a unit.
    fn truth(&self, unit: UnitId, step: u32) -> Outcome {
        if self.scene.calls && step == 0 { request(unit) } else { truth(unit) }
    }

    fn spec(&self, number: u32) -> RunSpec {
        // Short and long ones in turn, as long as there are both.
        let is_long = self.scene.long_runs * (number + 1) / RUNS > self.scene.long_runs * number / RUNS;
        let id = run_id(number, is_long);
        RunSpec {
            id,
            owner: "ann".to_owned(),
            job: "simulated".parse().expect("a constant"),
            version: "1.0.0".parse().expect("a constant"),
            serial: 1,
            module: module(id),
            wall_ms: WALL_MS * u64::from(times(id)),
            rule: self.scene.rule.of_run(),
            // One after the other.
            priority: -i8::try_from(number).expect("few runs"),
            reduce: false,
            inputs: self.scene.units_per_run(),
            submitted_at: Timestamp(0),
            is_dry: false,
            decoys: self.decoys(id),
        }
    }

    fn decoys(&self, run: RunId) -> Decoys {
        if self.scene.rule.is_in_order() {
            return Decoys::default();
        }
        let count = u64::from(self.scene.units_per_run()) * u64::from(self.scene.decoys_permille) / 1000;
        Decoys { count: u32::try_from(count).expect("fewer than inputs"), seed: Digest::of(&run.0).0 }
    }

    /// What a unit reads. A decoy is given to somebody before that.
    fn input(&self, unit: UnitId) -> String {
        self.decoys.get(&unit).map_or_else(|| inputs::of(unit), |decoy| decoy.input.clone())
    }

    /// What a unit takes a worker of speed 1, which is the same each time: from two fifths to eight fifths of the average. Unit: seconds.
    fn work_s(&self, unit: UnitId) -> f64 {
        let work = self.decoys.get(&unit).map_or_else(|| inputs::mixed(unit), |decoy| inputs::work(&decoy.input));
        f64::from(times(unit.run)) * WORK_S * (0.4 + 1.2 * work)
    }

    /// Lets everything happen until each unit has its answer, and then until those who are gone have been missed.
    pub(crate) fn run(mut self, progress: &dyn Fn(u64)) -> Figures {
        self.go_on(self.now, progress);
        let mut figures = self.tally.figures(self.now);
        self.go_on(self.now.after(SETTLE), &|_| ());
        figures.wrong_settled = self.tally.wrong;
        figures.honest_banned = self.tally.honest_banned;
        figures.overpaid = self.tally.overpaid();
        figures
    }

    /// The same, and what its workers could tell of their leases; as long as it takes until each unit has its answer.
    pub(crate) fn observed(mut self, progress: &dyn Fn(u64)) -> Observed {
        self.observer = Some(Observer::default());
        self.go_on(self.now, progress);
        self.observer.unwrap_or_default().observed()
    }

    /// Lets everything happen that does until then, and until each unit has its answer.
    fn go_on(&mut self, until: Timestamp, progress: &dyn Fn(u64)) {
        // No rule needs half as long as if each of a hundred replicas of each unit were executed by one slow worker at a time.
        let end = Timestamp(self.now.0 + u64::from(self.scene.units) * 500_000 + 86_400_000);
        let mut wakes = 0;
        let mut said = 0;
        while self.now < until || self.tally.open > 0 || self.auditing > 0 {
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let wake = self.coordinator.wake_at();
            let at = match (event, wake) {
                (Some(event), Some(wake)) => event.min(wake),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => self.fail("nothing will ever happen again"),
            };
            wakes = if at > self.now { 0 } else { wakes + 1 };
            self.now = self.now.max(at);
            if self.now > end {
                self.fail("units are stuck");
            }
            if wakes > 1_000_000 {
                self.fail("time stands still");
            }
            if wake.is_some_and(|wake| wake <= self.now) {
                self.tell(Input::TimePassed);
            } else if let Some(Reverse((_, _, event))) = self.events.pop() {
                self.happen(event);
            }
            let ended = self.tally.ended();
            let due = u64::from(self.restarts + 1) * u64::from(self.scene.units) / u64::from(self.scene.restarts + 1);
            if self.restarts < self.scene.restarts && ended >= due {
                self.restarts += 1;
                self.restart();
            }
            if ended >= said + 1000 {
                progress(ended - said);
                said = ended;
            }
        }
    }

    /// The coordinator loses its memory. Workers hold what they held, and connect again.
    fn restart(&mut self) {
        let seed = self.random.bytes();
        self.coordinator = self.scene.rule.coordinator(seed, self.scene);
        self.recalls.clear();
        for (id, record) in &self.workers {
            self.coordinator.restore_worker(*id, *record);
        }
        for (run, record) in self.runs.clone() {
            let indexes = 0..self.scene.units_per_run();
            let of = |index| Some((index, self.units[self.place(UnitId { run, index })?].record.clone()));
            let decoys = self.decoys.range(UnitId { run, index: 0 }..=UnitId { run, index: u32::MAX });
            let decoys = decoys.map(|(unit, decoy)| (unit.index, decoy.record.clone()));
            let units =
                indexes.filter_map(of).chain(decoys).filter(|(_, unit)| *unit != UnitRecord::default()).collect();
            self.coordinator.restore_run(self.now, record, units);
        }
        for index in 0..self.bodies.len() {
            if self.bodies[index].online {
                self.connect(index);
                self.ask(index);
            }
        }
    }

    #[expect(clippy::panic, reason = "a broken promise of the scheduler; whoever reads it can see it again")]
    fn fail(&self, what: &str) -> ! {
        let (seconds, open, why) = (self.now.0 / 1000, self.tally.open, self.coordinator.explain(self.now));
        panic!("{what}, after {seconds} s, with {open} units open; replay with `{}`\n{why}", self.scene)
    }

    fn schedule(&mut self, in_s: f64, event: Event) {
        self.schedule_at(self.now.after(Duration::from_secs_f64(in_s)), event);
    }

    fn schedule_at(&mut self, at: Timestamp, event: Event) {
        self.numbers += 1;
        self.events.push(Reverse((at, self.numbers, event)));
    }

    // ── Workers ──

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(index) => self.arrive(index),
            Event::Depart(index, session) => {
                if self.bodies[index].online && self.bodies[index].session == session {
                    self.depart(index);
                }
            }
            Event::Finish(index, lease) => self.finish(index, lease),
            Event::Decide(index, lease) => {
                let withheld = &mut self.bodies[index].withheld;
                if let Some(at) = withheld.iter().position(|held| held.draft.id == lease) {
                    let held = withheld.swap_remove(at);
                    self.cheat(index, held, true);
                }
            }
            Event::Audited(unit, step) => {
                self.auditing -= 1;
                self.tell(Input::Audited { unit, step, outcome: Some(self.truth(unit, step)), claims: None });
            }
            Event::Answered(unit, step, took) => {
                self.calls.over(unit, took);
                self.tell(Input::Answered { unit, step });
            }
            Event::MakeUp(unit, step, asked_at) => self.make_up(unit, step, asked_at),
            Event::Ask(index) => self.ask(index),
            Event::Pick(unit) => self.pick(unit, &outcome(unit, |digest| digest[0] = 2)),
            Event::Nurse(worker) => {
                self.tell(Input::Wants { worker, count: 1 });
                self.tell(Input::Wants { worker, count: 0 });
                self.schedule(NURSED_S, Event::Nurse(worker));
            }
            Event::Abandon(index, worker) => {
                let body = &mut self.bodies[index];
                if body.id == worker && core::mem::take(&mut body.online) {
                    let current = body.current.take().map(|(held, _)| held);
                    let held = body.queue.drain(..).chain(body.withheld.drain(..)).chain(current);
                    let leases = held.map(|held| held.draft.id).collect();
                    self.tell(Input::Wants { worker, count: 0 });
                    self.tell(Input::GaveBack { worker, leases });
                    self.rename(index);
                    self.arrive(index);
                }
            }
            Event::Rename(index, worker) => {
                let body = &mut self.bodies[index];
                // It may have left in the meantime, and comes back by itself.
                if body.id == worker && core::mem::take(&mut body.online) {
                    self.drop_work(index);
                    self.tell(Input::Left { worker });
                    self.rename(index);
                    self.arrive(index);
                } else if body.id == worker {
                    self.rename(index);
                }
            }
        }
    }

    /// Gives a body an identity that nobody has seen.
    fn rename(&mut self, index: usize) {
        let id = WorkerId(self.random.bytes());
        let body = &mut self.bodies[index];
        self.by_id.remove(&body.id);
        body.id = id;
        (body.agreed, body.leases) = (0, 0);
        body.is_banned = false;
        if body.strategy.is_some() {
            body.strategy = self.scene.adversary.strategy();
            self.tally.hostile_identities += 1;
        }
        self.by_id.insert(id, index);
    }

    fn arrive(&mut self, index: usize) {
        let body = &mut self.bodies[index];
        if body.online {
            return;
        }
        body.online = true;
        body.is_leaving = false;
        body.session += 1;
        let (session, is_visitor) = (body.session, body.is_visitor);
        let mean = if is_visitor { VISIT_MEDIAN_S / core::f64::consts::LN_2 } else { SESSION_S };
        let stay = self.random.exponential(mean);
        self.schedule(stay, Event::Depart(index, session));
        if let Some(observer) = &mut self.observer {
            observer.came(self.bodies[index].id, self.now);
        }
        self.connect(index);
        self.ask(index);
    }

    fn connect(&mut self, index: usize) {
        let body = &self.bodies[index];
        let kind = if body.is_visitor { Kind::Visitor } else { Kind::Runner };
        self.tell(Input::Connected { worker: body.id, origin: Groups { kind, ..Groups::default() } });
    }

    fn depart(&mut self, index: usize) {
        if self.random.chance(VANISH) || self.bodies[index].current.is_none() {
            let vanishes = self.bodies[index].current.is_some();
            self.drop_work(index);
            self.gone(index, vanishes);
            return;
        }
        // It gives back what it has not begun, and ends what it has.
        let body = &mut self.bodies[index];
        body.is_leaving = true;
        let leases: Vec<LeaseId> =
            body.queue.drain(..).chain(body.withheld.drain(..)).map(|held| held.draft.id).collect();
        let worker = body.id;
        self.tell(Input::Wants { worker, count: 0 });
        if !leases.is_empty() {
            self.tell(Input::GaveBack { worker, leases });
        }
    }

    /// It is offline, and comes back; a visitor is somebody else then.
    fn gone(&mut self, index: usize, vanished: bool) {
        let body = &mut self.bodies[index];
        body.online = false;
        let (worker, is_visitor) = (body.id, body.is_visitor);
        self.tell(if vanished { Input::Disconnected { worker } } else { Input::Left { worker } });
        if is_visitor {
            self.rename(index);
            self.schedule(0.0, Event::Arrive(index));
        } else {
            let away = self.random.exponential(AWAY_S);
            self.schedule(away, Event::Arrive(index));
        }
    }

    fn drop_work(&mut self, index: usize) {
        let body = &mut self.bodies[index];
        body.queue.clear();
        body.withheld.clear();
        if let (Some((_, began)), None) = (body.current.take(), &body.strategy) {
            self.tally.donate(self.now.since(began));
        }
    }

    fn ask(&mut self, index: usize) {
        let body = &self.bodies[index];
        if body.online && !body.is_leaving {
            let (worker, count) = (body.id, body.room());
            self.tell(Input::Wants { worker, count });
        }
    }

    fn begin(&mut self, index: usize) {
        let body = &mut self.bodies[index];
        if body.current.is_some() {
            return;
        }
        let Some(held) = body.queue.pop_front() else { return };
        let LeaseDraft { id: lease, unit, .. } = held.draft;
        body.current = Some((held, self.now));
        let seconds = self.work_s(unit) / self.bodies[index].speed;
        self.schedule(seconds, Event::Finish(index, lease));
    }

    fn finish(&mut self, index: usize, lease: LeaseId) {
        let body = &mut self.bodies[index];
        let Some((held, began)) = body.current.take_if(|(held, _)| held.draft.id == lease) else { return };
        if body.strategy.is_none() {
            let took = self.now.since(began);
            self.tally.donate(took);
            self.report(index, &held.draft, self.truth(held.draft.unit, held.draft.step), took);
        } else {
            self.cheat(index, held, false);
        }
        self.begin(index);
        self.go_if_done(index);
    }

    fn go_if_done(&mut self, index: usize) {
        let body = &self.bodies[index];
        if body.is_leaving && body.online && body.current.is_none() {
            self.gone(index, false);
        }
    }

    fn cheat(&mut self, index: usize, held: Held, waited: bool) {
        let draft = &held.draft;
        let truth = self.truth(draft.unit, draft.step);
        let body = &mut self.bodies[index];
        let Some(strategy) = &mut body.strategy else { return };
        let act = strategy.act(View {
            unit: draft.unit,
            left: draft.expires_at.since(self.now),
            waited,
            agreed: held.agreed,
            gang: &mut self.gang,
            random: &mut self.random,
        });
        match act {
            Act::Tell(answer) => {
                let outcome = match answer {
                    Answer::Truth => truth,
                    Answer::Shared => outcome(draft.unit, |digest| digest[0] = 2),
                    Answer::Inflated => Outcome { fuel: Fuel(10 * truth.fuel.0), ..truth },
                    Answer::Noise => {
                        let noise = self.random.bytes();
                        outcome(draft.unit, |digest| *digest = noise)
                    }
                };
                let picks = answer == Answer::Shared && strategy.picks(held.agreed);
                self.report(index, draft, outcome.clone(), Duration::ZERO);
                if picks {
                    self.pick(draft.unit, &outcome);
                }
            }
            Act::Wait(how_long) => {
                let at = self.now.after(how_long);
                let lease = draft.id;
                body.withheld.push(held);
                self.schedule_at(at, Event::Decide(index, lease));
            }
            Act::Silence => body.withheld.push(held),
            Act::Abandon => {
                let id = body.id;
                self.schedule(0.0, Event::Abandon(index, id));
            }
            Act::Keep => {
                let id = body.id;
                self.kept.insert(id);
                self.schedule(0.0, Event::Abandon(index, id));
                self.schedule(NURSED_S, Event::Nurse(id));
            }
            Act::Vanish => {
                let id = body.id;
                self.schedule(0.0, Event::Rename(index, id));
            }
        }
    }

    /// All of a gang ask for work until one of them has this unit, and give back whatever else they get.
    fn pick(&mut self, unit: UnitId, outcome: &Outcome) {
        for index in 0..self.bodies.len() {
            for _ in 0..PICKED_MAX {
                let is_open = self.place(unit).is_some_and(|place| self.units[place].stored == Stored::Open);
                let body = &self.bodies[index];
                let picks = body.strategy.as_ref().is_some_and(|strategy| strategy.picks(body.agreed));
                if !is_open || !picks || !body.online || body.is_leaving {
                    break;
                }
                let (worker, had) = (body.id, body.leases);
                self.tell(Input::Wants { worker, count: 1 });
                let body = &mut self.bodies[index];
                if body.leases == had {
                    break;
                }
                let Some(held) = body.queue.pop_back().or_else(|| body.current.take().map(|(held, _)| held)) else {
                    break;
                };
                if held.draft.unit == unit {
                    self.report(index, &held.draft, outcome.clone(), Duration::ZERO);
                    break;
                }
                self.tell(Input::GaveBack { worker, leases: vec![held.draft.id] });
            }
            if self.bodies[index].strategy.is_some() {
                self.ask(index);
            }
        }
    }

    /// Tells what came out, and asks for more.
    fn report(&mut self, index: usize, draft: &LeaseDraft, outcome: Outcome, took: Duration) {
        let body = &mut self.bodies[index];
        if !body.online {
            return;
        }
        let worker = body.id;
        if let Some(observer) = &mut self.observer {
            let asks = (self.scene.calls && draft.step == 0).then_some(draft.unit);
            observer.reported(worker, asks, self.now);
        }
        self.tally.reports += 1;
        self.tally.reporting = took;
        self.send(worker, draft, outcome);
        self.ask(index);
    }

    fn send(&mut self, worker: WorkerId, draft: &LeaseDraft, outcome: Outcome) {
        let LeaseDraft { id, unit, step, entry, seed, .. } = *draft;
        let task = Task { index: unit.index, step, entry, input: Digest([0; 32]), seed };
        let report = Report { lease: Lease { id, task, ticket: Ticket([0; 16]) }, outcome };
        let module = module(unit.run);
        self.tell(Input::Reported {
            worker,
            run: unit.run,
            module,
            reports: vec![report.into()],
            evidence: Bytes::new(),
        });
    }

    // ── Effects ──

    fn tell(&mut self, input: Input) {
        self.coordinator.handle(self.now, input);
        loop {
            while let Some(effect) = self.coordinator.poll_effect() {
                self.obey(effect);
            }
            let Some((run, indexes)) = self.recalls.pop_front() else { return };
            let place =
                |index: &u32| Some((*index, self.units[self.place(UnitId { run, index: *index })?].record.clone()));
            let units = indexes.iter().filter_map(place).collect();
            let Some(record) = self.runs.get(&run).cloned() else { return };
            self.coordinator.handle(self.now, Input::Recalled { run: Box::new(record), units });
        }
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::Record(Record::Unit(unit, record)) => self.store(unit, record),
            Effect::Record(Record::Run(run)) => drop(self.runs.insert(run.spec.id, *run)),
            Effect::Grant(draft) => self.granted(draft),
            Effect::Withdraw { worker, leases } => self.withdrawn(worker, &leases),
            Effect::Receipts { receipts, .. } => {
                let counted = receipts.iter().any(|(_, receipt)| *receipt == Receipt::Recorded);
                let took = core::mem::take(&mut self.tally.reporting);
                if counted {
                    self.tally.count(took);
                }
            }
            Effect::Dissent { worker, consequence, .. } => {
                self.contradicted(worker, consequence == Consequence::Banned);
            }
            Effect::Audit { unit, step } => {
                self.tally.own_runs += 1;
                self.auditing += 1;
                self.schedule(self.work_s(unit), Event::Audited(unit, step));
            }
            Effect::Recall { run, units } => self.recalls.push_back((run, units)),
            Effect::Reopened { run, units } => {
                self.tally.reopened += units.len() as u64;
                for unit in units.into_iter().map(|index| UnitId { run, index }) {
                    // They know how long one of them may be silent.
                    if self.scene.adversary.picks() && self.gang.has_lied(unit) {
                        self.schedule(0.0, Event::Pick(unit));
                    }
                }
            }
            Effect::Record(Record::Worker(worker, record)) => drop(self.workers.insert(worker, record)),
            Effect::Record(Record::Paid(unit, paid)) => self.tally.pay(&paid, truth(unit).fuel),
            Effect::Record(Record::Evidence(..)) | Effect::Changed { .. } | Effect::Ended(..) | Effect::RunEnded(_) => {
            }
            Effect::Call { unit, step, .. } if self.scene.calls => {
                if unit.is_decoy() {
                    self.make_up(unit, step, self.now);
                } else {
                    let took = self.calls.ask(unit, self.scene.seed);
                    self.schedule(took.as_secs_f64(), Event::Answered(unit, step, took));
                }
            }
            Effect::Assemble { .. } | Effect::Call { .. } => self.fail("the job neither reduces nor calls"),
        }
    }

    fn make_up(&mut self, unit: UnitId, step: u32, asked_at: Timestamp) {
        let seed = self.random.bytes();
        let waited = self.now.since(asked_at);
        match self.calls.make_up(unit, waited, seed) {
            // It may have waited for longer than that already.
            Ok(took) => self.schedule_at(asked_at.after(took).max(self.now), Event::Answered(unit, step, took)),
            // When its run has ended, nobody waits for it.
            Err(_) if self.runs[&unit.run].status != RunStatus::Active => {}
            Err(later) => self.schedule(later.as_secs_f64(), Event::MakeUp(unit, step, asked_at)),
        }
    }

    fn place(&self, unit: UnitId) -> Option<usize> {
        let run = u32::from_be_bytes(unit.run.as_bytes()[..4].try_into().ok()?);
        // Quizzes lie beyond.
        (unit.index < self.scene.units_per_run()).then_some((run * self.scene.units_per_run() + unit.index) as usize)
    }

    fn store(&mut self, id: UnitId, record: UnitRecord) {
        for (number, replica) in record.replicas.iter().enumerate() {
            if record.replicas[..number].iter().any(|other| other.worker == replica.worker) {
                self.fail("a worker counts twice on a unit");
            }
        }
        for replica in record.replicas.iter().filter(|replica| Some(&replica.outcome) == record.accepted.as_ref()) {
            if let Some(index) = self.by_id.get(&replica.worker) {
                self.bodies[*index].agreed += 1;
            }
        }
        if let Some(decoy) = self.decoys.get_mut(&id) {
            decoy.record = record;
            return;
        }
        let Some(place) = self.place(id) else { return };
        let right = || record.accepted.as_ref() == Some(&truth(id));
        let stored = match record.end {
            None => Stored::Open,
            Some(End::Done | End::Failed) => {
                if right() {
                    Stored::Right
                } else {
                    Stored::Wrong
                }
            }
            Some(End::Undecided | End::Skipped | End::Cancelled) => Stored::Undecided,
        };
        let unit = &mut self.units[place];
        unit.record = record;
        let before = core::mem::replace(&mut unit.stored, stored);
        self.tally.moved(before == Stored::Open, stored == Stored::Open);
        self.tally.wrong += u64::from(stored == Stored::Wrong);
        self.tally.wrong -= u64::from(before == Stored::Wrong);
        self.tally.undecided += u64::from(stored == Stored::Undecided);
        self.tally.undecided -= u64::from(before == Stored::Undecided);
        if stored == Stored::Wrong && !core::mem::replace(&mut unit.was_wrong, true) {
            self.tally.wrong_once += 1;
        }
        if stored != Stored::Open && !core::mem::replace(&mut unit.was_answered, true) {
            let waited = unit.first_lease.map_or(Duration::ZERO, |first| self.now.since(first));
            self.tally.answered(self.now, waited);
        }
    }

    fn granted(&mut self, draft: LeaseDraft) {
        self.tally.leases += 1;
        let place = self.place(draft.unit);
        if draft.unit.is_decoy() {
            let input = || inputs::of_decoy(draft.unit, self.scene.units_per_run());
            self.decoys.entry(draft.unit).or_insert_with(|| Decoy { input: input(), record: UnitRecord::default() });
        }
        if let Some(place) = place {
            self.units[place].first_lease.get_or_insert(self.now);
        }
        if self.kept.contains(&draft.worker) {
            let truth = self.truth(draft.unit, draft.step);
            return self.send(draft.worker, &draft, truth);
        }
        // Whoever has gone does not get it.
        let Some(index) = self.by_id.get(&draft.worker).copied() else { return };
        let body = &mut self.bodies[index];
        if !body.online {
            return;
        }
        body.leases += 1;
        if body.strategy.is_some() {
            if body.agreed == 0 {
                self.tally.in_vain_max = self.tally.in_vain_max.max(body.leases);
            }
            self.gang.granted(draft.unit, place.is_some() || draft.unit.is_decoy(), self.scene.rule.is_in_order());
        }
        let agreed = body.agreed;
        let (held, is_honest) = (body.queue.len() + usize::from(body.current.is_some()), body.strategy.is_none());
        let decoy = self.decoys.get(&draft.unit);
        if let (true, Some(record)) =
            (self.observer.is_some(), place.map(|place| &self.units[place].record).or(decoy.map(|decoy| &decoy.record)))
        {
            let is_check = record.step == draft.step && !record.replicas.is_empty();
            let what = What { is_check, is_decoy: decoy.is_some(), has_record: agreed >= TRUSTED };
            let told = self.runs[&draft.unit.run].spec.numbers().told(draft.unit.index);
            let (input, takes_s) = (self.input(draft.unit), self.work_s(draft.unit));
            let answer = self.calls.seen(draft.unit, draft.step);
            if let Some(observer) = &mut self.observer {
                observer.granted(&draft, (told, &input, answer), held, takes_s, is_honest.then_some(what));
            }
        }
        let body = &mut self.bodies[index];
        body.queue.push_back(Held { draft, agreed });
        self.begin(index);
    }

    fn withdrawn(&mut self, worker: WorkerId, leases: &[LeaseId]) {
        let Some(index) = self.by_id.get(&worker).copied() else { return };
        let body = &mut self.bodies[index];
        body.queue.retain(|held| !leases.contains(&held.draft.id));
        body.withheld.retain(|held| !leases.contains(&held.draft.id));
        if let Some((_, began)) = body.current.take_if(|(held, _)| leases.contains(&held.draft.id)) {
            if body.strategy.is_none() {
                self.tally.donate(self.now.since(began));
            }
            self.begin(index);
            self.go_if_done(index);
        }
        self.schedule(0.0, Event::Ask(index));
    }

    fn contradicted(&mut self, worker: WorkerId, banned: bool) {
        let Some(index) = self.by_id.get(&worker).copied() else { return };
        let body = &mut self.bodies[index];
        let newly = banned && !core::mem::replace(&mut body.is_banned, banned);
        match &body.strategy {
            None => self.tally.honest_banned += u64::from(newly),
            Some(strategy) => {
                self.tally.hostile_banned += u64::from(newly);
                if banned || strategy.is_shy() {
                    self.schedule(0.0, Event::Rename(index, worker));
                }
            }
        }
    }
}
