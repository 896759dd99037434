//! Words that have to be earned, against those who mean harm: small worlds, each from a seed. `tests/sim` has the large ones.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a world that stands still has failed, and each says how it went"
)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use bytes::Bytes;
use manyhands_credit::Amount;
use manyhands_model::{Digest, Fuel, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{Lease, Task, Ticket};
use manyhands_scheduler::{
    Consequence, Counts, Decoys, Effect, End, Group, Groups, Input, LeaseDraft, Level, Policy, Record, Rule, RunRecord,
    RunSpec, RunStatus, Scheduler, Standing, Statement, Trust, UnitRecord,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// What a hostile worker does. All of them share one wrong answer for each unit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Adversary {
    /// Nobody is hostile.
    None,
    /// It lies with this probability, alone or together, once it has been right so often.
    Liar { chance: f64, after: u32, together: bool },
    /// It lies together with all others, if whoever was asked before it lied as well; and begins with this probability.
    Aware { begins: f64, after: u32 },
    /// It never answers.
    Silent,
    /// It tells the truth; where it copies, what a friend has said of the unit, at once and without computing anything. Under one roof all of
    /// them share a stretch of addresses.
    Sharer { copies: bool, one_roof: bool },
}

struct Body {
    id: WorkerId,
    hostile: bool,
    speed: f64,
    right: u32,
}

struct World {
    scheduler: Scheduler,
    random: ChaCha8Rng,
    adversary: Adversary,
    now: u64,
    bodies: Vec<Body>,
    body_of: BTreeMap<WorkerId, usize>,
    identities: u64,
    /// When, what: a body, and what it holds.
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    held: BTreeMap<u64, LeaseDraft>,
    next: u64,
    units: BTreeMap<u32, UnitRecord>,
    record: RunRecord,
    lied_on: BTreeSet<u32>,
    /// Replicas by identity; those of identities that were banned included.
    given: BTreeMap<WorkerId, u32>,
    replicas: u64,
    audits: u64,
    first_wrong: u64,
    reopened: u64,
    bans: u64,
    /// What each worker was paid, less what was taken back.
    earned: BTreeMap<WorkerId, Amount>,
    /// Whether the job fails on what is made up.
    fails_on_decoys: bool,
    /// Decoys that were given out, and to whom.
    decoys_given: BTreeSet<(u32, WorkerId)>,
    /// What hostile workers reported, and of it what they had of a friend.
    shared: (u64, u64),
    /// When a worker's word was first believed, in milliseconds.
    believed_at: BTreeMap<WorkerId, u64>,
    /// Whether the job asks for calls first. Of decoys, every other one waits for their answers in vain.
    asks: bool,
    asked: BTreeSet<u32>,
    /// Audits of requests for calls that the operator's machine has not ended yet; at most so many of them.
    late: Vec<(UnitId, u32)>,
    late_max: usize,
}

fn truth(unit: u32) -> Outcome {
    Outcome {
        verdict: Verdict::Ok { output: Digest([(unit % 251) as u8; 32]), output_bytes: 4 },
        fuel: Fuel(u64::from(unit)),
    }
}

fn lie(unit: u32, nonce: u64) -> Outcome {
    Outcome { fuel: Fuel(u64::from(unit) + 1 + nonce), ..truth(unit) }
}

/// What a unit asks for.
fn request(unit: u32) -> Digest {
    Digest::of(&unit.to_le_bytes())
}

const RUN: RunId = RunId([1; 16]);

impl World {
    fn new(seed: u64, workers: usize, units: u32, rule: Rule, hostile: f64, adversary: Adversary) -> Self {
        Self::with(seed, workers, units, rule, hostile, adversary, Decoys::default(), false)
    }

    #[expect(clippy::too_many_arguments, reason = "each test says only what it is about")]
    fn with(
        seed: u64,
        workers: usize,
        units: u32,
        rule: Rule,
        hostile: f64,
        adversary: Adversary,
        decoys: Decoys,
        fails_on_decoys: bool,
    ) -> Self {
        let policy = Policy { trust: Trust { hostile: hostile.max(0.1), ..Trust::default() }, ..Policy::default() };
        let spec = RunSpec {
            id: RUN,
            owner: "ann".into(),
            job: "job".parse().expect("a constant"),
            version: "1.0.0".parse().expect("a constant"),
            serial: 1,
            module: Digest::of(b"module"),
            wall_ms: 60_000,
            rule,
            priority: 0,
            reduce: false,
            inputs: units,
            submitted_at: Timestamp(0),
            is_dry: false,
            decoys,
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let bodies = (0..workers).map(|index| Body {
            id: WorkerId([0; 32]),
            hostile: (index as f64) < hostile * workers as f64 && adversary != Adversary::None,
            speed: 0.5 + f64::from(random.next_u32() % 1_000) / 500.0,
            right: 0,
        });
        let bodies: Vec<Body> = bodies.collect();
        let mut world = Self {
            scheduler: Scheduler::new(policy, [seed as u8; 32]),
            random,
            adversary,
            now: 0,
            bodies,
            body_of: BTreeMap::new(),
            identities: 0,
            due: BinaryHeap::new(),
            held: BTreeMap::new(),
            next: 0,
            units: BTreeMap::new(),
            record: RunRecord {
                spec: spec.clone(),
                status: RunStatus::Active,
                counts: Counts::default(),
                dissents: 0,
                finished_at: None,
            },
            lied_on: BTreeSet::new(),
            given: BTreeMap::new(),
            replicas: 0,
            audits: 0,
            first_wrong: 0,
            reopened: 0,
            bans: 0,
            earned: BTreeMap::new(),
            fails_on_decoys,
            decoys_given: BTreeSet::new(),
            shared: (0, 0),
            believed_at: BTreeMap::new(),
            asks: false,
            asked: BTreeSet::new(),
            late: Vec::new(),
            late_max: 0,
        };
        world.tell(Input::Submitted(spec));
        for body in 0..workers {
            world.join(body);
        }
        world
    }

    fn chance(&mut self, share: f64) -> bool {
        f64::from(self.random.next_u32()) < share * f64::from(u32::MAX)
    }

    /// A body comes with a new identity.
    fn join(&mut self, body: usize) {
        self.identities += 1;
        let id = WorkerId(Digest::of(&self.identities.to_le_bytes()).0);
        self.body_of.remove(&self.bodies[body].id);
        self.bodies[body].id = id;
        self.bodies[body].right = 0;
        self.body_of.insert(id, body);
        let is_under_the_roof =
            self.bodies[body].hostile && matches!(self.adversary, Adversary::Sharer { one_roof: true, .. });
        let prefix = is_under_the_roof.then_some(Group(7));
        self.tell(Input::Connected { worker: id, origin: Groups { prefix, ..Groups::default() } });
        self.tell(Input::Wants { worker: id, count: 1 });
    }

    fn tell(&mut self, input: Input) {
        self.scheduler.handle(Timestamp(self.now), input);
        let mut banned = Vec::new();
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Record(Record::Unit(id, record)) => drop(self.units.insert(id.index, record)),
                Effect::Record(Record::Paid(unit, paid)) => {
                    assert_eq!(paid.owner.is_none(), unit.is_decoy(), "who submitted it pays for what they know of");
                    for (worker, amount) in paid.to {
                        let amount = if paid.is_taken_back { -amount } else { amount };
                        *self.earned.entry(worker).or_default() += amount;
                    }
                }
                Effect::Record(Record::Run(record)) => self.record = *record,
                Effect::Grant(draft) => self.granted(draft),
                Effect::Audit { unit, step } => {
                    self.audits += 1;
                    let has_asked = self.units.get(&unit.index).is_some_and(|unit| unit.calls().is_some());
                    if has_asked && self.late.len() < self.late_max {
                        self.late.push((unit, step));
                        continue;
                    }
                    let outcome = Some(self.truth_of(unit.index, step));
                    self.scheduler.handle(Timestamp(self.now), Input::Audited { unit, step, outcome, claims: None });
                }
                Effect::Call { unit, step, calls } => {
                    assert_eq!((step, calls), (0, request(unit.index)));
                    assert!(self.asked.insert(unit.index), "{unit} asks once");
                    if !unit.is_decoy() || unit.index.is_multiple_of(2) {
                        self.scheduler.handle(Timestamp(self.now), Input::Answered { unit, step });
                    }
                }
                Effect::Recall { units, .. } => {
                    let record = |index: u32| Some((index, self.units.get(&index)?.clone()));
                    let units = units.into_iter().filter_map(record).collect();
                    let input = Input::Recalled { run: Box::new(self.record.clone()), units };
                    self.scheduler.handle(Timestamp(self.now), input);
                }
                Effect::Ended(unit, end) => {
                    assert!(!unit.is_decoy(), "nobody waits for {unit}");
                    assert_eq!(end, End::Done, "{unit}");
                    let accepted = self.units[&unit.index].accepted.as_ref();
                    self.first_wrong += u64::from(accepted != Some(&truth(unit.index)));
                }
                Effect::Reopened { units, .. } => {
                    assert!(units.iter().all(|index| *index < UnitId::FIRST_DECOY), "nobody was told their answers");
                    self.reopened += units.len() as u64;
                }
                Effect::Changed { unit, .. } => assert!(!unit.is_decoy(), "{unit}"),
                // It is of no use any more, whether it is banned or gets no more leases.
                Effect::Dissent { worker, consequence, .. }
                    if consequence == Consequence::Banned
                        || self
                            .scheduler
                            .worker(worker)
                            .is_some_and(|it| it.record.lapses >= Trust::default().lapses_max) =>
                {
                    self.bans += 1;
                    banned.push(worker);
                }
                Effect::Withdraw { worker, leases } => {
                    self.held.retain(|_, held| held.worker != worker || !leases.contains(&held.id));
                    if let Some(body) = self.body_of.get(&worker).copied() {
                        // It is free again.
                        self.due.push(Reverse((self.now + 1, u64::MAX, body)));
                    }
                }
                _ => {}
            }
        }
        for worker in banned {
            if let Some(body) = self.body_of.get(&worker).copied() {
                self.held.retain(|_, held| held.worker != worker);
                self.tell(Input::Disconnected { worker });
                self.join(body);
            }
        }
    }

    fn granted(&mut self, draft: LeaseDraft) {
        self.replicas += 1;
        *self.given.entry(draft.worker).or_default() += 1;
        if draft.unit.is_decoy() {
            let is_new = self.decoys_given.insert((draft.unit.index, draft.worker));
            assert!(is_new || draft.step > 0, "twice to one");
        }
        let body = self.body_of[&draft.worker];
        if self.bodies[body].hostile && self.adversary == Adversary::Silent {
            return;
        }
        let jitter = f64::from(self.random.next_u32() % 1_000) / 1_000.0;
        let mut took = (1_000.0 * self.bodies[body].speed * (0.5 + jitter)) as u64;
        if self.bodies[body].hostile {
            self.shared.0 += 1;
            let friend = |worker: &WorkerId| self.body_of.get(worker).is_some_and(|body| self.bodies[*body].hostile);
            let said = self.units.get(&draft.unit.index).map(|unit| &unit.replicas[..]).unwrap_or_default();
            if said.iter().any(|replica| friend(&replica.worker)) {
                self.shared.1 += 1;
                if matches!(self.adversary, Adversary::Sharer { copies: true, .. }) {
                    took = 1;
                }
            }
        }
        self.next += 1;
        self.held.insert(self.next, draft);
        self.due.push(Reverse((self.now + took, self.next, body)));
    }

    fn truth_of(&self, unit: u32, step: u32) -> Outcome {
        if self.asks && step == 0 {
            return Outcome { verdict: Verdict::Called { calls: request(unit), calls_bytes: 4 }, ..truth(unit) };
        }
        let fails = self.fails_on_decoys && unit >= UnitId::FIRST_DECOY;
        if fails { Outcome { verdict: Verdict::Trap, ..truth(unit) } } else { truth(unit) }
    }

    fn say(&mut self, body: usize, unit: u32, step: u32) -> Outcome {
        let Body { hostile, right, .. } = self.bodies[body];
        let lies = hostile
            && match self.adversary {
                Adversary::None | Adversary::Silent | Adversary::Sharer { .. } => false,
                Adversary::Liar { chance, after, .. } => right >= after && self.chance(chance),
                Adversary::Aware { begins, after } => {
                    let said: Vec<_> = self
                        .units
                        .get(&unit)
                        .map(|unit| unit.replicas.clone())
                        .unwrap_or_default()
                        .into_iter()
                        .collect();
                    let accomplice =
                        |worker: &WorkerId| self.body_of.get(worker).is_some_and(|body| self.bodies[*body].hostile);
                    if said.iter().any(|replica| !accomplice(&replica.worker)) {
                        false
                    } else if said.is_empty() {
                        right >= after && self.chance(begins)
                    } else {
                        said.iter().all(|replica| replica.outcome != truth(unit))
                    }
                }
            };
        self.bodies[body].right += 1;
        if !lies {
            return self.truth_of(unit, step);
        }
        self.lied_on.insert(unit);
        let alone = matches!(self.adversary, Adversary::Liar { together: false, .. });
        lie(unit, if alone { self.random.next_u64() >> 8 } else { 0 })
    }

    fn run(&mut self) {
        let mut steps = 0_u64;
        while self.record.status == RunStatus::Active {
            steps += 1;
            assert!(steps < 100_000_000, "it does not end");
            let wake = self.scheduler.wake_at().map(|at| at.0);
            let Some(Reverse((at, number, body))) = self.due.peek().copied() else {
                let Some(wake) = wake else {
                    let stuck: Vec<_> = self.scheduler.why_all(Timestamp(self.now), RUN).take(3).collect();
                    let workers = self
                        .scheduler
                        .workers()
                        .filter(|it| it.connected)
                        .map(|it| (it.standing, it.record, it.leases));
                    panic!(
                        "units are stuck: {stuck:?}, audits {:?}, {:?}",
                        self.scheduler.audits(),
                        workers.collect::<Vec<_>>()
                    );
                };
                self.now = wake.max(self.now);
                self.tell(Input::TimePassed);
                continue;
            };
            if wake.is_some_and(|wake| wake < at) {
                self.now = wake.unwrap_or_default().max(self.now);
                self.tell(Input::TimePassed);
                continue;
            }
            self.due.pop();
            self.now = self.now.max(at);
            if let Some(draft) = self.held.remove(&number) {
                let outcome = self.say(body, draft.unit.index, draft.step);
                let LeaseDraft { id, unit, step, entry, seed, worker, .. } = draft;
                let task = Task { index: unit.index, step, entry, input: Digest::of(b""), seed };
                let reports =
                    vec![Statement { lease: Lease { id, task, ticket: Ticket([0; 16]) }, outcome, claims: None }];
                let (run, module) = (RUN, Digest::of(b"module"));
                self.tell(Input::Reported { worker, run, module, reports, evidence: Bytes::new() });
                let now = self.now;
                let believed = self.scheduler.workers().filter(|it| it.standing == Standing::Established);
                for it in believed.collect::<Vec<_>>() {
                    self.believed_at.entry(it.id).or_insert(now);
                }
            }
            let worker = self.bodies[body].id;
            if !self.held.values().any(|held| held.worker == worker) {
                self.tell(Input::Wants { worker, count: 1 });
            }
        }
    }

    fn wrong(&self) -> u64 {
        let own = self.units.range(..UnitId::FIRST_DECOY);
        own.filter(|(index, unit)| unit.accepted != Some(truth(**index))).count() as u64
    }

    fn line(&self) -> String {
        let units = f64::from(self.record.spec.inputs);
        let established = self.scheduler.workers().filter(|it| it.standing == Standing::Established);
        let established = established.count();
        format!(
            "{:?}: established {established}, wrong {:.1e} (first {:.1e}), replicas {:.3} of which audits {:.3} and again {:.3}, bans {}, time {} s",
            self.adversary,
            self.wrong() as f64 / units,
            self.first_wrong as f64 / units,
            (self.replicas + self.audits) as f64 / units,
            self.audits as f64 / units,
            self.reopened as f64 / units,
            self.bans,
            self.now / 1_000
        )
    }
}

const SUITE: [Adversary; 12] = [
    Adversary::None,
    Adversary::Liar { chance: 1.0, after: 0, together: false },
    Adversary::Liar { chance: 1.0, after: 0, together: true },
    Adversary::Liar { chance: 0.1, after: 0, together: true },
    Adversary::Liar { chance: 0.01, after: 0, together: true },
    Adversary::Liar { chance: 1.0, after: 10, together: true },
    Adversary::Liar { chance: 1.0, after: 100, together: true },
    Adversary::Liar { chance: 0.01, after: 150, together: true },
    Adversary::Liar { chance: 0.003, after: 150, together: false },
    Adversary::Aware { begins: 0.0, after: 200 },
    Adversary::Aware { begins: 0.01, after: 200 },
    Adversary::Aware { begins: 1.0, after: 400 },
];

fn play(seed: u64, hostile: f64, level: Level, wrong_ppb: u32, adversary: Adversary) -> World {
    let mut world = World::new(seed, 30, 1_500, Rule::Earned { level, wrong_ppb }, hostile, adversary);
    world.run();
    println!("{hostile} {level:?} {}", world.line());
    world
}

/// Who lies often is caught, and then nothing that it said is left.
#[test]
fn who_lies_often_leaves_nothing_wrong() {
    for (chance, after) in [(1.0, 0), (0.3, 0), (1.0, 10), (0.3, 120)] {
        for (level, wrong_ppb) in [(Level::Adaptive, 1_000_000), (Level::Full, 10_000)] {
            for together in [false, true] {
                let world = play(3, 0.3, level, wrong_ppb, Adversary::Liar { chance, after, together });
                assert!(!world.lied_on.is_empty(), "nobody lied");
                assert_eq!(world.wrong(), 0, "{}", world.line());
            }
        }
    }
}

/// Whatever they do, hostile workers leave no more wrong answers than one for each of them, and where two have to say the
/// same, a third of that.
#[test]
fn no_adversary_harms_more_than_once_for_each_identity() {
    for (level, wrong_ppb, most) in [(Level::Adaptive, 1_000_000, 9), (Level::Full, 10_000, 3)] {
        for adversary in SUITE {
            let world = play(4, 0.3, level, wrong_ppb, adversary);
            assert!(world.wrong() <= most, "{}", world.line());
        }
    }
}

/// Colluders who lie only where all who were asked before them are theirs never get to it.
#[test]
fn attack_32_who_never_begins_a_lie_never_tells_one() {
    let world = play(5, 0.3, Level::Full, 10_000, Adversary::Aware { begins: 0.0, after: 0 });
    assert!(world.lied_on.is_empty() && world.wrong() == 0, "{}", world.line());
}

/// Nine of thirty earn records, telling each other or not what they said of a unit: of each of their leases the checks, and the part that a friend
/// had before; and the seconds until all of them are believed.
fn shares(seed: u64, level: Level, wrong_ppb: u32, copies: bool, one_roof: bool) -> (f64, f64, f64) {
    let rule = Rule::Earned { level, wrong_ppb };
    let mut world = World::new(seed, 30, 6_000, rule, 0.3, Adversary::Sharer { copies, one_roof });
    world.run();
    let gang: Vec<WorkerId> = world.bodies.iter().filter(|body| body.hostile).map(|body| body.id).collect();
    let checks: u32 = gang.iter().filter_map(|id| world.scheduler.worker(*id)).map(|it| it.record.checks).sum();
    let given: u32 = gang.iter().filter_map(|id| world.given.get(id)).sum();
    let believed: Vec<u64> = gang.iter().filter_map(|id| world.believed_at.get(id).copied()).collect();
    let all = believed.len() == gang.len();
    let last = if all { believed.into_iter().fold(0, u64::max) as f64 / 1_000.0 } else { f64::INFINITY };
    let shares = (f64::from(checks) / f64::from(given), world.shared.1 as f64 / world.shared.0 as f64, last);
    println!("{level:?}, seed {seed}, copies {copies}, one roof {one_roof}: {shares:.3?}");
    shares
}

/// What is checked is a unit like any other, and nobody is asked the same twice. So who says what a friend said has a check for each unit that it was given,
/// as who computes has; what it saves is time, and computing where a friend was before it.
#[test]
fn attack_37_a_friends_answers_bring_no_more_checks_and_under_one_roof_nothing_at_all() {
    for (level, wrong_ppb) in [(Level::Adaptive, 1_000_000), (Level::Full, 10_000)] {
        for seed in 12..15 {
            let computed = shares(seed, level, wrong_ppb, false, false);
            let copied = shares(seed, level, wrong_ppb, true, false);
            assert!(copied.0 <= computed.0 + 0.02, "a lease is worth no more");
            assert!(copied.1 > 0.1, "control: there was something to copy");
            assert!(copied.1 <= 0.5, "most of its units nobody of them had before");
            assert!(copied.2.is_finite() && copied.2 >= computed.2 / 4.0, "nor has it a record at once");
            // Friends of whom it is known that they belong together are never asked the same, and are one voice, so they earn later than others.
            let known = shares(seed, level, wrong_ppb, true, true);
            assert_eq!(known.1, 0.0);
            assert!(known.2 >= computed.2);
        }
    }
}

/// Who only takes costs at most twenty replicas, and the others go on.
#[test]
fn attack_36_who_never_answers_costs_twenty_replicas_at_most() {
    let world = play(6, 0.3, Level::Adaptive, 1_000_000, Adversary::Silent);
    let silent = world.bodies.iter().filter(|body| body.hostile).map(|body| world.given[&body.id]);
    let silent: Vec<u32> = silent.collect();
    assert!(silent.iter().all(|given| *given <= 20), "{silent:?}");
}

/// Whatever is opened again and however often: in the end everybody has what its word is worth that stands.
#[test]
fn who_is_right_is_paid_once_and_a_lie_that_is_found_earns_nothing() {
    let mut reopened = 0;
    // So few and so much to do that some have a record, and are believed alone, before they lie.
    for (seed, chance, together) in [(7, 0.3, false), (8, 0.3, true), (9, 0.01, false)] {
        let adversary = Adversary::Liar { chance, after: 150, together };
        let rule = Rule::Earned { level: Level::Adaptive, wrong_ppb: 1_000_000 };
        let mut world = World::new(seed, 15, 6_000, rule, 0.3, adversary);
        world.run();
        let mut fair: BTreeMap<WorkerId, Amount> = BTreeMap::new();
        for unit in world.units.values() {
            let accepted = unit.accepted.as_ref().expect("all have ended");
            for replica in unit.replicas.iter().filter(|replica| replica.outcome == *accepted) {
                *fair.entry(replica.worker).or_default() += accepted.fuel.into();
            }
        }
        let mut earned = world.earned.clone();
        [&mut fair, &mut earned].into_iter().for_each(|book| book.retain(|_, amount| *amount != Amount::ZERO));
        assert_eq!(earned, fair, "{}", world.line());
        reopened += world.reopened;
    }
    assert!(reopened > 0, "nothing was taken back");
}

/// What is made up is given out, checked and paid like everything else, and nobody hears of it.
#[test]
fn decoys_are_executed_like_units_and_counted_nowhere() {
    let rule = Rule::Earned { level: Level::Adaptive, wrong_ppb: 1_000_000 };
    let decoys = Decoys { count: 150, seed: [1; 32] };
    for adversary in [Adversary::None, Adversary::Liar { chance: 0.3, after: 20, together: true }] {
        let mut world = World::with(11, 30, 1_500, rule, 0.3, adversary, decoys, false);
        world.run();
        let Counts { waiting, running, done, failed, cancelled } = world.record.counts;
        assert_eq!([waiting, running, done, failed, cancelled], [0, 0, 1_500, 0, 0]);
        assert_eq!(world.wrong(), 0, "{}", world.line());
        let settled = world.units.range(UnitId::FIRST_DECOY..).filter(|(_, unit)| unit.end.is_some());
        let settled: Vec<_> = settled.collect();
        // Not those that were left when all else was done.
        assert!(settled.len() > 120, "{} of 150 ended", settled.len());
        assert!(settled.iter().all(|(index, unit)| unit.accepted == Some(truth(**index))));
        // As many replicas as others have.
        let replicas = |of: core::ops::Range<u32>| {
            let of: Vec<_> = world.units.range(of).filter(|(_, unit)| unit.end.is_some()).collect();
            of.iter().map(|(_, unit)| unit.replicas.len()).sum::<usize>() as f64 / of.len() as f64
        };
        let (own, made_up) = (replicas(0..UnitId::FIRST_DECOY), replicas(UnitId::FIRST_DECOY..u32::MAX));
        assert!((own / made_up - 1.0).abs() < 0.15, "{own} and {made_up}");
        // Nothing is left of them.
        for worker in world.scheduler.workers() {
            assert_eq!(worker.leases, 0, "{worker:?}");
        }
        assert_eq!((world.scheduler.open_units(), world.scheduler.active_runs()), (0, 0));
    }
}

/// Where units ask for calls, decoys do; and the run waits for no answer that only a decoy wants.
#[test]
fn decoys_ask_for_calls_like_units_and_nobody_waits_for_them() {
    let rule = Rule::Earned { level: Level::Full, wrong_ppb: 1_000_000 };
    let decoys = Decoys { count: 150, seed: [1; 32] };
    let mut world = World::with(13, 30, 1_500, rule, 0.0, Adversary::None, decoys, false);
    world.asks = true;
    world.run();
    assert_eq!((world.record.counts.done, world.record.counts.open()), (1_500, 0));
    assert_eq!(world.asked.range(..UnitId::FIRST_DECOY).count(), 1_500);
    let asked: Vec<u32> = world.asked.range(UnitId::FIRST_DECOY..).copied().collect();
    assert!(asked.len() > 120, "{} of 150 asked", asked.len());
    for index in asked {
        let unit = &world.units[&index];
        if index.is_multiple_of(2) {
            assert_eq!(unit.step, 1, "it goes on once it has answers: {unit:?}");
        } else {
            assert_eq!((unit.end, unit.calls()), (None, Some(request(index))), "{unit:?}");
        }
    }
    let ended = world.units.range(UnitId::FIRST_DECOY..).filter(|(_, unit)| unit.end == Some(End::Done)).count();
    assert!(ended > 50, "{ended} decoys ended");
    for worker in world.scheduler.workers() {
        assert_eq!(worker.leases, 0, "{worker:?}");
    }
    assert_eq!((world.scheduler.open_units(), world.scheduler.active_runs()), (0, 0));
}

/// Where a unit has gone on, what the operator's machine says late of what it asked for changes nothing of what is recorded.
#[test]
fn a_request_that_is_audited_late_takes_no_answer_away() {
    let rule = Rule::Earned { level: Level::Full, wrong_ppb: 1_000_000 };
    let mut world = World::with(14, 30, 1_500, rule, 0.0, Adversary::None, Decoys::default(), false);
    (world.asks, world.late_max) = (true, 8);
    world.run();
    assert_eq!((world.record.counts.done, world.late.len()), (1_500, 8));
    for (unit, step) in core::mem::take(&mut world.late) {
        assert_eq!(step, 0);
        let outcome = Some(world.truth_of(unit.index, step));
        world.tell(Input::Audited { unit, step, outcome, claims: None });
        let record = &world.units[&unit.index];
        assert_eq!((record.step, record.end, &record.accepted), (1, Some(End::Done), &Some(truth(unit.index))));
    }
}

#[test]
fn a_job_that_fails_on_what_is_made_up_gives_away_a_few_decoys_and_no_more() {
    let rule = Rule::Earned { level: Level::Adaptive, wrong_ppb: 1_000_000 };
    let decoys = Decoys { count: 500, seed: [1; 32] };
    let mut world = World::with(12, 30, 1_500, rule, 0.0, Adversary::None, decoys, true);
    world.run();
    assert_eq!(world.record.counts.done, 1_500);
    let given: BTreeSet<u32> = world.decoys_given.iter().map(|(index, _)| *index).collect();
    assert!((1..=60).contains(&given.len()), "{} of 500 were given out", given.len());
}

/// The cells of the table, for tuning: `cargo test --release -p manyhands-scheduler --test trust -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes, also in a release build"]
#[expect(clippy::disallowed_methods, reason = "a test that is started by hand has no other arguments")]
fn the_table() {
    // Workers, units, and a word of the cell.
    let size = std::env::var("MANYHANDS_TRUST").unwrap_or_else(|_| "400,300000,".into());
    let [workers, units, only] = size.split(',').collect::<Vec<_>>()[..] else {
        panic!("{size}: expected WORKERS,UNITS,CELL")
    };
    let (workers, units) = (workers.parse().expect("workers"), units.parse().expect("units"));
    for (hostile, level, wrong_ppb) in [
        (0.1, Level::Adaptive, 400_000),
        (0.1, Level::Full, 10_000),
        (0.3, Level::Adaptive, 1_000_000),
        (0.3, Level::Full, 10_000),
        (0.3, Level::Full, 1_000),
    ] {
        let cell = format!("{hostile} {level:?} {wrong_ppb} in 10⁹");
        if !cell.contains(only) {
            continue;
        }
        println!("{cell}");
        for adversary in SUITE {
            let mut world = World::new(1, workers, units, Rule::Earned { level, wrong_ppb }, hostile, adversary);
            world.run();
            println!("  {}", world.line());
        }
    }
}
