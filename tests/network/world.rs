//! One seeded world: the true time, the network between the computers, and what goes wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use manyhands_model::{Digest, LeaseId, RunId, Timestamp, UnitId, Version, WorkerId};
use manyhands_protocol::{Done, ServerMessage, decode, encode};
use manyhands_scheduler::{Counts, Decoys, End, Quorum, Record, Rule, RunRecord, RunSpec, RunStatus, UnitRecord};
use manyhands_signing::PublicKey;
use manyhands_worker::{Input, Order, Pause};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::coordinator::{self, Coordinator, LinkId, Write, job};
use crate::job::{self as work, BAD};
use crate::machine::{self, Machine};

/// Last events that a failure tells.
const TRACE: usize = 80;
/// Frames that somebody on the way keeps, to say them again.
const OVERHEARD: usize = 30;
/// No world takes as many events, unless somebody spins.
const EVENTS_MAX: u64 = 3_000_000;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// All work is done so long after the last fault, whatever it was.
const RECOVERY_MAX: u64 = 25 * MINUTE;

/// Which computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Coordinator,
    Machine(usize),
}

#[derive(Debug)]
enum Event {
    Start,
    /// Somebody submits a run, or tries to.
    Submitted(Box<RunRecord>, Vec<Bytes>),
    /// A timer that was set on a computer's monotonic clock, for that moment of it.
    Timer(i64, Timer),
    /// A frame arrives over a connection.
    Frame(LinkId, Vec<u8>),
    Opened(LinkId),
    Closed(LinkId),
    Fetched(Digest, bool),
    Executed(Order),
    Saved(manyhands_worker::Parcel, bool),
    Committed,
}

#[derive(Debug)]
enum Timer {
    /// The core wants to be woken, unless it said another time since.
    Wake(u64),
    Watch(LinkId),
    Hour,
}

/// A connection as its two ends see it.
struct Link {
    machine: usize,
    /// Which ends believe in it: the machine's, the coordinator's.
    believed: [bool; 2],
    /// Whether frames to the coordinator, and to the machine, vanish.
    dead: [bool; 2],
    /// When the last frame in each direction arrives: frames do not overtake each other by themselves.
    last: [u64; 2],
}

/// What can go wrong in a world; most have only some of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Delay,
    CutConnections,
    HalfOpen,
    Duplicates,
    Reordering,
    Replays,
    CoordinatorCrash,
    MachineCrash,
    ClockJump,
    Suspension,
    SlowDisk,
    FullDisk,
    Rotation,
    PauseAndDrain,
    MachineFailure,
}

const TROUBLES: &[Trouble] = &[
    Trouble::Delay,
    Trouble::CutConnections,
    Trouble::HalfOpen,
    Trouble::Duplicates,
    Trouble::Reordering,
    Trouble::Replays,
    Trouble::CoordinatorCrash,
    Trouble::MachineCrash,
    Trouble::ClockJump,
    Trouble::Suspension,
    Trouble::SlowDisk,
    Trouble::FullDisk,
    Trouble::Rotation,
    Trouble::PauseAndDrain,
    Trouble::MachineFailure,
];

pub(crate) struct World {
    seed: u64,
    random: ChaCha8Rng,
    /// The true time.
    t: u64,
    events: BTreeMap<(u64, u64), (Node, Option<u64>, Event)>,
    count: u64,
    coordinator: Coordinator,
    machines: Vec<Machine>,
    links: BTreeMap<LinkId, Link>,
    /// Which of a core's timers counts.
    wakes: BTreeMap<Node, u64>,
    /// Until when a computer sleeps.
    asleep: BTreeMap<Node, u64>,
    troubles: BTreeSet<Trouble>,
    /// Writes on their way to the coordinator's disk.
    pending: Vec<Write>,
    /// The longest that an execution takes.
    pace: u64,
    slow_until: u64,
    /// Frames that went over older connections.
    overheard: VecDeque<(usize, Node, Vec<u8>)>,
    /// Everything that is promised later rests on these.
    granted: BTreeMap<LeaseId, (PublicKey, UnitId)>,
    acknowledged: BTreeSet<(WorkerId, UnitId)>,
    /// Runs that are still to be submitted.
    submissions: u32,
    retries: u32,
    /// The last events, if somebody wants to know; telling them takes longer than making them.
    trace: Option<VecDeque<String>>,
}

/// What a world came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Events until the end.
    pub(crate) events: u64,
    /// How long the work took once everything was well. Unit: milliseconds of the world.
    pub(crate) recovery: u64,
    /// How the units ended.
    pub(crate) answers: BTreeMap<UnitId, Option<manyhands_model::Outcome>>,
}

impl World {
    /// The world of that seed; without trouble, if so wished.
    pub(crate) fn new(seed: u64, calm: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let agree = 1 + random.next_u32() % 3;
        // Fewer in league than it takes to agree, and honest ones enough for every unit.
        let liars = if agree == 1 { 0 } else { random.next_u32() % (agree + 1) };
        let honest = agree + 1 + random.next_u32() % 2;
        let machine = |number: u32, random: &mut ChaCha8Rng| {
            let lies = number >= honest;
            let in_league = number - honest.min(number) < agree - 1;
            let league = lies.then_some(if in_league { 1_000 } else { u64::from(number) });
            Machine::new(number as u8, 1 + (random.next_u32() % 3) as u16, league)
        };
        let machines = (0..honest + liars).map(|number| machine(number, &mut random)).collect();
        let quorum = Quorum { agree: agree as u8, most: (agree + liars + 1) as u8 };
        let pace = [4, 200, 3 * SECOND, 30 * SECOND][random.next_u32() as usize % 4];
        let runs: Vec<_> =
            (0..1 + random.next_u32() % 4).map(|number| run(number as u8, quorum, &mut random)).collect();
        let mut world = Self {
            seed,
            t: 0,
            events: BTreeMap::new(),
            count: 0,
            coordinator: Coordinator::new(b"module".to_vec()),
            machines,
            links: BTreeMap::new(),
            wakes: BTreeMap::new(),
            asleep: BTreeMap::new(),
            troubles: BTreeSet::new(),
            pending: Vec::new(),
            pace,
            slow_until: 0,
            overheard: VecDeque::new(),
            granted: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            submissions: 0,
            retries: 0,
            trace: None,
            random,
        };
        if !calm {
            world.troubles = TROUBLES.iter().copied().filter(|_| world.random.next_u32().is_multiple_of(2)).collect();
        }
        for node in world.nodes() {
            let drift = i64::from(world.random.next_u32() % 401) - 200;
            world.clock(node).drift = drift;
            world.later(node, 0, Event::Start);
        }
        for (number, (run, inputs)) in runs.into_iter().enumerate() {
            // The first at once, and more while trouble lasts.
            let wait = if calm || number == 0 { SECOND } else { world.within(SECOND, 10 * MINUTE) };
            world.later(Node::Coordinator, wait, Event::Submitted(Box::new(run), inputs));
            world.submissions += 1;
        }
        world
    }

    fn nodes(&self) -> Vec<Node> {
        [Node::Coordinator].into_iter().chain((0..self.machines.len()).map(Node::Machine)).collect()
    }

    /// The same world, which tells its last events should it fail.
    pub(crate) fn traced(mut self) -> Self {
        self.trace = Some(VecDeque::new());
        self
    }

    /// Trouble for a while, then none until all work is done.
    pub(crate) fn run(mut self) -> Outcome {
        let trouble_ends = if self.troubles.is_empty() { 0 } else { self.within(2 * MINUTE, 20 * MINUTE) };
        let mut next_trouble = self.within(0, 20 * SECOND);
        while self.t < trouble_ends {
            if self.next_event_at().is_none_or(|at| at > next_trouble) {
                self.t = self.t.max(next_trouble);
                self.strike();
                next_trouble = self.t + self.within(SECOND, 30 * SECOND);
            } else {
                self.step();
            }
        }
        self.heal();
        let healed = self.t;
        while !self.is_over() {
            self.promise(self.t < healed + RECOVERY_MAX, || format!("work is stuck: {}", self.open()));
            self.step();
        }
        self.judge();
        let units = self.coordinator.disk.units.iter();
        let answers = units.map(|(id, unit)| (*id, unit.accepted.clone())).collect();
        Outcome { events: self.count, recovery: self.t - healed, answers }
    }

    // ── Time ──

    fn below(&mut self, most: u64) -> u64 {
        self.random.next_u64() % most.max(1)
    }

    fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn suffers(&self, trouble: Trouble) -> bool {
        self.troubles.contains(&trouble)
    }

    fn clock(&mut self, node: Node) -> &mut crate::clock::Clock {
        match node {
            Node::Coordinator => &mut self.coordinator.clock,
            Node::Machine(index) => &mut self.machines[index].clock,
        }
    }

    /// Something happens to whoever runs there then.
    fn later(&mut self, node: Node, wait: u64, event: Event) {
        self.at(self.t + wait, node, None, event);
    }

    /// The same, if it is still this process that runs there.
    fn for_process(&mut self, node: Node, wait: u64, event: Event) {
        let epoch = self.epoch(node);
        self.at(self.t + wait, node, Some(epoch), event);
    }

    fn at(&mut self, at: u64, node: Node, epoch: Option<u64>, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), (node, epoch, event));
    }

    fn timer(&mut self, node: Node, wait: Duration, timer: Timer) {
        let (t, clock) = (self.t, self.clock(node));
        let (at, due) = (clock.after(t, wait), clock.monotonic(t) + wait.as_millis() as i64);
        let epoch = self.epoch(node);
        self.at(at, node, Some(epoch), Event::Timer(due, timer));
    }

    /// Sets the one timer that a core has.
    fn wake(&mut self, node: Node, wait: Duration) {
        let turn = self.wakes.entry(node).or_default();
        *turn += 1;
        let turn = *turn;
        self.timer(node, wait, Timer::Wake(turn));
    }

    fn epoch(&self, node: Node) -> u64 {
        match node {
            Node::Coordinator => self.coordinator.epoch,
            Node::Machine(index) => self.machines[index].epoch,
        }
    }

    fn next_event_at(&self) -> Option<u64> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    fn step(&mut self) {
        self.promise(self.count < EVENTS_MAX, || "somebody spins".to_owned());
        let Some(((at, _), (node, epoch, event))) = self.events.pop_first() else {
            return self.fail(format!("nothing will happen any more: {}", self.open()));
        };
        self.t = self.t.max(at);
        if epoch.is_some_and(|epoch| epoch != self.epoch(node)) {
            return;
        }
        match self.asleep.get(&node).copied() {
            // Everything at once, when it wakes up.
            Some(until) if until > self.t => return self.at(until, node, epoch, event),
            _ => drop(self.asleep.remove(&node)),
        }
        if let Event::Timer(due, timer) = event {
            let t = self.t;
            let left = due - self.clock(node).monotonic(t);
            if left > 0 {
                return self.timer(node, Duration::from_millis(left as u64), timer);
            }
            return self.rings(node, timer);
        }
        match node {
            Node::Coordinator => self.at_coordinator(event),
            Node::Machine(index) => self.at_machine(index, event),
        }
    }

    fn rings(&mut self, node: Node, timer: Timer) {
        let t = self.t;
        match (node, timer) {
            (_, Timer::Wake(turn)) if self.wakes.get(&node) != Some(&turn) => {}
            (Node::Machine(index), _) => {
                let acts = self.machines[index].tell(t, Input::TimePassed);
                self.obey_machine(index, acts);
            }
            (Node::Coordinator, Timer::Wake(_)) => {
                let acts = self.coordinator.tell(t, manyhands_scheduler::Input::TimePassed);
                self.obey_coordinator(acts);
            }
            (Node::Coordinator, Timer::Watch(link)) => {
                let acts = self.coordinator.watch(t, link);
                self.obey_coordinator(acts);
            }
            (Node::Coordinator, Timer::Hour) => {
                self.timer(node, Duration::from_secs(3600), Timer::Hour);
                let acts = self.coordinator.hour(t);
                self.obey_coordinator(acts);
            }
        }
    }

    // ── The coordinator ──

    fn at_coordinator(&mut self, event: Event) {
        let t = self.t;
        let acts = match event {
            Event::Start if self.coordinator.is_running() => return,
            Event::Start => {
                self.note(|| "the coordinator starts".to_owned());
                let seed = self.bytes();
                let acts = self.coordinator.start(t, seed);
                self.timer(Node::Coordinator, Duration::from_secs(3600), Timer::Hour);
                acts
            }
            Event::Submitted(run, inputs) if !self.coordinator.is_running() => {
                return self.later(Node::Coordinator, 5 * SECOND, Event::Submitted(run, inputs));
            }
            Event::Submitted(run, inputs) => {
                self.submissions -= 1;
                self.note(|| format!("{} is submitted, with {} inputs", run.spec.id, inputs.len()));
                self.coordinator.submit(t, *run, inputs)
            }
            Event::Opened(link) => self.coordinator.accept(t, link),
            Event::Closed(link) => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.believed[1] = false;
                }
                self.coordinator.closed(t, link)
            }
            Event::Frame(link, frame) => {
                if self.links.get(&link).is_none_or(|link| !link.believed[1]) {
                    return;
                }
                self.coordinator.frame(t, link, &frame)
            }
            Event::Committed => {
                let writes = std::mem::take(&mut self.pending);
                writes.into_iter().for_each(|write| self.write(write));
                if self.suffers(Trouble::CoordinatorCrash) && self.chance(2) {
                    let most = self.below(4) as usize;
                    let acts = self.coordinator.committed(t, most);
                    self.obey_coordinator(acts);
                    return self.crash_coordinator("in the middle of what follows a commit");
                }
                self.coordinator.committed(t, usize::MAX)
            }
            event => return self.fail(format!("{event:?} at the coordinator")),
        };
        self.obey_coordinator(acts);
    }

    fn obey_coordinator(&mut self, acts: Vec<coordinator::Act>) {
        for act in acts {
            match act {
                coordinator::Act::Send(link, message) => {
                    self.note(|| format!("coordinator => {link}: {}", brief(&message)));
                    self.send(link, Node::Coordinator, encode(&message));
                }
                coordinator::Act::Close(link) => self.close(link, Node::Coordinator),
                coordinator::Act::Wake(wait) => {
                    self.promise(!wait.is_zero(), || "the scheduler wants to be woken in the past".to_owned());
                    self.wake(Node::Coordinator, wait);
                }
                coordinator::Act::Watch(link, wait) => self.timer(Node::Coordinator, wait, Timer::Watch(link)),
                coordinator::Act::Commit(writes) => {
                    self.promise(self.pending.is_empty(), || "two commits at a time".to_owned());
                    self.pending = writes;
                    let slow = self.t < self.slow_until;
                    let wait = if slow { self.within(SECOND, 30 * SECOND) } else { self.within(1, 30) };
                    self.for_process(Node::Coordinator, wait, Event::Committed);
                }
                coordinator::Act::Granted(lease, unit) => {
                    self.granted.insert(lease, (self.coordinator.keys.signing.public(), unit));
                }
                coordinator::Act::Acknowledged(worker, lease) => {
                    let Some((_, unit)) = self.granted.get(&lease).copied() else {
                        return self.fail(format!("{lease} is acknowledged and was never granted"));
                    };
                    self.promise(self.has_word_of(worker, unit), || {
                        format!("{worker} is told that its report on {unit} is recorded, which is not on disk")
                    });
                    self.acknowledged.insert((worker, unit));
                }
            }
        }
    }

    /// Whether a worker's report is on disk, or the worker is banned and its word not wanted.
    fn has_word_of(&self, worker: WorkerId, unit: UnitId) -> bool {
        let disk = &self.coordinator.disk;
        let counted = disk.units.get(&unit).is_some_and(|unit| unit.replicas.iter().any(|it| it.worker == worker));
        let banned = disk.workers.get(&worker).is_some_and(|record| record.banned);
        (counted && disk.evidence.contains(&(unit.run, worker))) || banned
    }

    /// A write reaches the disk: what was accepted stays, and is true.
    fn write(&mut self, write: Write) {
        if let Write::Record(Record::Unit(id, unit)) = &write {
            let voters: BTreeSet<_> = unit.replicas.iter().map(|replica| replica.worker).collect();
            self.promise(voters.len() == unit.replicas.len(), || format!("a worker counts twice on {id}"));
            if let Some(before) = self.coordinator.disk.units.get(id)
                && matches!(before.end, Some(End::Done | End::Failed))
                && !(before.end == Some(End::Failed) && *unit == UnitRecord::default())
            {
                let same = before.accepted == unit.accepted && before.end == unit.end;
                self.promise(same, || format!("{id} is accepted twice: {before:?}, then {unit:?}"));
            }
            if let Some(accepted) = &unit.accepted {
                let (truth, _) = self.truth(*id);
                self.promise(*accepted == truth, || format!("a lie is accepted on {id}: {accepted:?}"));
            }
            if *unit == UnitRecord::default() {
                self.acknowledged.retain(|(_, acknowledged)| acknowledged != id);
            }
        }
        self.coordinator.disk.write(write);
    }

    fn truth(&self, unit: UnitId) -> (manyhands_model::Outcome, Bytes) {
        let disk = &self.coordinator.disk;
        let entry = if disk.runs[&unit.run].spec.reduction().is_reduce(unit.index) {
            manyhands_protocol::Entry::Reduce
        } else {
            manyhands_protocol::Entry::Run
        };
        let seed = Digest::of_parts([&b"manyhands:seed\0"[..], unit.run.as_bytes(), &unit.index.to_le_bytes()]).0;
        work::execute(entry, &disk.inputs[&unit], &seed)
    }

    fn crash_coordinator(&mut self, when: &str) {
        if !self.coordinator.is_running() {
            return;
        }
        self.note(|| format!("the coordinator crashes {when}"));
        // Of a commit under way, the disk may have got all, nothing, or the first of several parts.
        let writes = std::mem::take(&mut self.pending);
        let durable = self.below(writes.len() as u64 + 1) as usize;
        writes.into_iter().take(durable).for_each(|write| self.write(write));
        self.coordinator.crash();
        let links: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.believed[1]).map(|(id, _)| *id).collect();
        links.into_iter().for_each(|link| self.close(link, Node::Coordinator));
        let wait = self.within(100, 30 * SECOND);
        self.later(Node::Coordinator, wait, Event::Start);
    }

    // ── The machines ──

    fn at_machine(&mut self, index: usize, event: Event) {
        let t = self.t;
        let machine = &mut self.machines[index];
        let current = machine.link();
        let input = match event {
            Event::Start if machine.is_running() => return,
            Event::Start => {
                self.note(|| format!("machine {index} starts"));
                let (root, seed) = (self.coordinator.root(), self.bytes());
                let acts = self.machines[index].start(t, root, seed);
                return self.obey_machine(index, acts);
            }
            Event::Opened(link) if current == Some(link) => Input::Connected,
            Event::Closed(link) => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.believed[0] = false;
                }
                if current != Some(link) {
                    return;
                }
                machine.use_link(None);
                Input::Disconnected("the connection broke".into())
            }
            Event::Frame(link, frame) if current == Some(link) => match decode::<ServerMessage>(&frame) {
                Ok(message) => {
                    if let ServerMessage::Receipts(receipts) = &message {
                        machine.answered.extend(receipts.iter().map(|(lease, _)| *lease));
                    }
                    Input::Frame(message)
                }
                Err(error) => {
                    machine.use_link(None);
                    self.close(link, Node::Machine(index));
                    Input::Disconnected(error.to_string())
                }
            },
            Event::Opened(_) | Event::Frame(..) => return,
            Event::Fetched(module, true) => Input::ModuleReady(module),
            Event::Fetched(module, false) => Input::ModuleFailed(module, "no answer".into()),
            Event::Executed(order) => {
                if !machine.finish(order.lease) {
                    return;
                }
                let league = machine.league;
                let result = if self.suffers(Trouble::MachineFailure) && self.chance(5) {
                    Err("out of memory".to_owned())
                } else {
                    match league {
                        Some(league) if self.chance(60) => Ok(work::lie(league, &order.input)),
                        _ => Ok(work::execute(order.entry, &order.input, &order.seed)),
                    }
                };
                // A bit that flips in its memory, after the outcome was known.
                let spoilt = self.suffers(Trouble::MachineFailure) && self.chance(5);
                let spoil = |output: Bytes| output.iter().map(|byte| if spoilt { !byte } else { *byte }).collect();
                let result = result.map(|(outcome, output)| (outcome, spoil(output)));
                Input::Executed { lease: order.lease, result }
            }
            Event::Saved(parcel, true) => {
                machine.disk.parcels.insert(parcel.name(), Machine::file(&parcel));
                Input::Saved(parcel.name())
            }
            Event::Saved(parcel, false) => Input::NotSaved(parcel.name()),
            event => return self.fail(format!("{event:?} at machine {index}")),
        };
        let acts = self.machines[index].tell(t, input);
        self.obey_machine(index, acts);
    }

    fn obey_machine(&mut self, index: usize, acts: Vec<machine::Act>) {
        let (t, node) = (self.t, Node::Machine(index));
        let now = self.clock(node).now(t);
        let wake_at = self.machines[index].wake_at();
        self.promise(wake_at.is_none_or(|at| at > now), || format!("machine {index} wants to be woken in the past"));
        for act in acts {
            match act {
                machine::Act::Dial => self.dial(index),
                machine::Act::Send(link, message) => {
                    self.note(|| format!("machine {index} => {link}: {}", brief(&message)));
                    self.send(link, node, encode(&message));
                }
                machine::Act::HangUp(link) => self.close(link, node),
                machine::Act::Fetch(module) => {
                    let fails = self.suffers(Trouble::MachineFailure) && self.chance(20);
                    let wait = self.within(10, 2 * SECOND);
                    self.for_process(node, wait, Event::Fetched(module, !fails));
                }
                machine::Act::Execute(order) => self.execute(index, order),
                machine::Act::Save(parcel) => {
                    let fails = self.suffers(Trouble::FullDisk) && self.chance(30);
                    let wait =
                        if self.t < self.slow_until { self.within(SECOND, 30 * SECOND) } else { self.within(1, 30) };
                    self.for_process(node, wait, Event::Saved(parcel, !fails));
                }
                machine::Act::Forget(parcel) => {
                    let Some(file) = self.machines[index].disk.parcels.remove(&parcel) else { continue };
                    let reports = decode::<Done>(&file).unwrap().reports.verify_any().unwrap();
                    let answered =
                        reports.reports.iter().all(|it| self.machines[index].answered.contains(&it.lease.id));
                    self.promise(answered, || format!("machine {index} forgets a report that nobody acknowledged"));
                }
                machine::Act::Wake(wait) => self.wake(node, wait),
                machine::Act::Say(event) => self.note(|| format!("machine {index}: {event}")),
                machine::Act::Ended(reason) => {
                    self.note(|| format!("machine {index} ends: {reason}"));
                    self.crash_machine(index);
                }
            }
        }
    }

    fn execute(&mut self, index: usize, order: Order) {
        let Some((key, unit)) = self.granted.get(&order.lease).copied() else {
            return self.fail(format!("machine {index} executes {}, which nobody granted", order.lease));
        };
        let believed = self.machines[index].disk.trust_version;
        let revoked = self.coordinator.keys.revoked.iter().find(|(revoked, _)| *revoked == key);
        self.promise(revoked.is_none_or(|(_, version)| *version > believed), || {
            format!("machine {index} executes {unit} under a key that it knows to be revoked")
        });
        let wait = self.within(1, self.pace);
        self.for_process(Node::Machine(index), wait, Event::Executed(order));
    }

    fn crash_machine(&mut self, index: usize) {
        if !self.machines[index].is_running() {
            return;
        }
        let link = self.machines[index].link();
        self.machines[index].crash();
        link.into_iter().for_each(|link| self.close(link, Node::Machine(index)));
        // Whoever lends a computer, or its service manager, starts the program again.
        let wait = self.within(100, MINUTE);
        self.later(Node::Machine(index), wait, Event::Start);
    }

    // ── The network ──

    fn latency(&mut self) -> u64 {
        if self.suffers(Trouble::Delay) && self.chance(10) {
            self.within(SECOND, 20 * SECOND)
        } else {
            self.within(5, 150)
        }
    }

    fn dial(&mut self, index: usize) {
        let id = self.links.last_key_value().map_or(1, |(last, _)| last + 1);
        self.links.insert(id, Link { machine: index, believed: [true; 2], dead: [false; 2], last: [self.t; 2] });
        self.machines[index].use_link(Some(id));
        let wait = self.latency();
        if self.coordinator.is_running() && !(self.suffers(Trouble::CutConnections) && self.chance(5)) {
            self.deliver(id, Node::Machine(index), wait, Event::Opened(id));
            self.for_process(Node::Machine(index), wait, Event::Opened(id));
        } else {
            self.for_process(Node::Machine(index), wait, Event::Closed(id));
        }
    }

    /// Something arrives at the other end, after everything that was sent before.
    fn deliver(&mut self, id: LinkId, from: Node, wait: u64, event: Event) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let to = usize::from(from == Node::Coordinator);
        let node = if to == 1 { Node::Machine(link.machine) } else { Node::Coordinator };
        let at = link.last[to].max(self.t + wait);
        link.last[to] = at;
        let epoch = self.epoch(node);
        self.at(at, node, Some(epoch), event);
    }

    fn send(&mut self, id: LinkId, from: Node, frame: Vec<u8>) {
        let to = usize::from(from == Node::Coordinator);
        let Some(link) = self.links.get(&id) else { return };
        let (index, vanishes) = (link.machine, link.dead[to] || !link.believed[1 - to]);
        if vanishes {
            return;
        }
        let node = if to == 1 { Node::Machine(index) } else { Node::Coordinator };
        if self.suffers(Trouble::Replays) {
            self.overheard.push_back((index, node, frame.clone()));
            if self.overheard.len() > OVERHEARD {
                self.overheard.pop_front();
            }
            if self.chance(2) {
                let old = self.below(self.overheard.len() as u64) as usize;
                let (whose, to, frame) = self.overheard[old].clone();
                if (whose, to) == (index, node) {
                    self.note(|| format!("an old frame is said again over {id}"));
                    let (wait, epoch) = (self.latency(), self.epoch(to));
                    self.at(self.t + wait, to, Some(epoch), Event::Frame(id, frame));
                }
            }
        }
        if self.suffers(Trouble::Duplicates) && self.chance(3) {
            self.note(|| format!("a frame over {id} is doubled"));
            let (wait, epoch) = (self.latency(), self.epoch(node));
            self.at(self.t + wait, node, Some(epoch), Event::Frame(id, frame.clone()));
        }
        let wait = self.latency();
        if self.suffers(Trouble::Reordering) && self.chance(5) {
            let (wait, epoch) = (wait + self.below(2 * SECOND), self.epoch(node));
            return self.at(self.t + wait, node, Some(epoch), Event::Frame(id, frame));
        }
        self.deliver(id, from, wait, Event::Frame(id, frame));
        if self.suffers(Trouble::CutConnections) && self.chance(1) {
            self.cut(id);
        }
    }

    /// One end closes a connection; the other hears of it, unless nothing gets through any more.
    fn close(&mut self, id: LinkId, from: Node) {
        let to = usize::from(from == Node::Coordinator);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.believed[to] = false;
        if link.dead[to] || (self.suffers(Trouble::HalfOpen) && self.chance(20)) {
            return;
        }
        let wait = self.latency();
        self.deliver(id, from, wait, Event::Closed(id));
    }

    /// A connection breaks, and both ends hear of it.
    fn cut(&mut self, id: LinkId) {
        self.note(|| format!("connection {id} breaks"));
        let Some(link) = self.links.get_mut(&id) else { return };
        link.dead = [true; 2];
        for node in [Node::Coordinator, Node::Machine(link.machine)] {
            let (wait, epoch) = (self.latency(), self.epoch(node));
            self.at(self.t + wait, node, Some(epoch), Event::Closed(id));
        }
    }

    // ── Trouble ──

    fn strike(&mut self) {
        let troubles: Vec<Trouble> = self.troubles.iter().copied().collect();
        let Some(trouble) = troubles.get(self.below(troubles.len() as u64) as usize).copied() else { return };
        let nodes = self.nodes();
        let node = nodes[self.below(nodes.len() as u64) as usize];
        let index = self.below(self.machines.len() as u64) as usize;
        let open: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.believed == [true; 2]).map(|(id, _)| *id).collect();
        let link = open.get(self.below(open.len() as u64) as usize).copied();
        match trouble {
            Trouble::CutConnections => link.into_iter().for_each(|link| self.cut(link)),
            Trouble::HalfOpen => {
                let to = self.below(3) as usize;
                if let Some((id, link)) = link.and_then(|id| Some((id, self.links.get_mut(&id)?))) {
                    link.dead = [to != 0, to != 1];
                    self.note(|| format!("connection {id} is half open: {to}"));
                }
            }
            Trouble::CoordinatorCrash => self.crash_coordinator("out of the blue"),
            Trouble::MachineCrash => {
                self.note(|| format!("machine {index} crashes"));
                self.crash_machine(index);
            }
            Trouble::ClockJump => {
                let error = self.within(0, 2 * HOUR) as i64 - HOUR as i64;
                self.note(|| format!("the clock of {node:?} is wrong by {error} ms"));
                self.clock(node).error = error;
            }
            Trouble::Suspension => {
                let wait = self.within(5 * SECOND, 10 * MINUTE);
                self.suspend(node, wait);
            }
            Trouble::SlowDisk => self.slow_until = self.t + self.below(2 * MINUTE),
            Trouble::Rotation if !self.asleep.contains_key(&Node::Coordinator) && self.coordinator.is_running() => {
                self.note(|| "the signing key is rotated".to_owned());
                let (t, seed) = (self.t, self.bytes());
                let acts = self.coordinator.rotate(t, seed);
                self.obey_coordinator(acts);
            }
            Trouble::PauseAndDrain if !self.asleep.contains_key(&Node::Machine(index)) => {
                let command = [Input::Pause(Pause::Asked), Input::Resume, Input::Resume, Input::Drain];
                let command = command.into_iter().nth(self.below(4) as usize).unwrap();
                self.note(|| format!("machine {index} is told: {command:?}"));
                let acts = self.machines[index].tell(self.t, command);
                self.obey_machine(index, acts);
            }
            // The others happen to each frame and execution, or meet somebody who is not there.
            _ => {}
        }
    }

    fn suspend(&mut self, node: Node, wait: u64) {
        if self.asleep.contains_key(&node) {
            return;
        }
        self.note(|| format!("{node:?} sleeps for {wait} ms"));
        self.asleep.insert(node, self.t + wait);
        // Its wall clock goes on; the monotonic one will have missed the sleep.
        self.clock(node).slept += wait;
    }

    /// Everything is well from now on.
    fn heal(&mut self) {
        self.note(|| "everything is well from now on".to_owned());
        self.troubles.clear();
        self.slow_until = 0;
        // What sleeps wakes up at its time; nothing is gained by pretending that it did not sleep.
        while let Some(until) = self.asleep.values().copied().max() {
            while self.next_event_at().is_some_and(|at| at <= until) {
                self.step();
            }
            self.t = self.t.max(until);
            self.asleep.retain(|_, end| *end > until);
        }
        for node in self.nodes() {
            self.clock(node).error = 0;
            if let Node::Machine(index) = node {
                let acts = self.machines[index].tell(self.t, Input::Resume);
                self.obey_machine(index, acts);
            }
        }
    }

    // ── Promises ──

    fn is_over(&mut self) -> bool {
        let runs = &self.coordinator.disk.runs;
        if self.submissions > 0
            || runs.values().any(|run| run.status == RunStatus::Active)
            || !self.coordinator.is_running()
        {
            return false;
        }
        // Too many machines may have failed on a unit; its owner asks again.
        let lacking = |run: &&RunRecord| {
            let units = self.coordinator.disk.units.range(UnitId { run: run.spec.id, index: 0 }..);
            let mut units = units.take_while(|(id, _)| id.run == run.spec.id);
            units.any(|(_, unit)| unit.end == Some(End::Undecided))
        };
        if let Some(id) = runs.values().find(lacking).map(|run| run.spec.id) {
            if self.pending.is_empty() && self.coordinator.open_units() == 0 {
                self.retries += 1;
                self.promise(self.retries < 20, || "a run is undecided whenever it is tried".to_owned());
                self.note(|| format!("the owner of {id} tries again"));
                let acts = self.coordinator.retry(self.t, id);
                self.obey_coordinator(acts);
            }
            return false;
        }
        // Honest machines hear what became of their work.
        self.machines.iter().all(|machine| machine.disk.parcels.is_empty())
    }

    fn open(&self) -> String {
        let disk = &self.coordinator.disk;
        let active = disk.runs.values().filter(|run| run.status == RunStatus::Active).count();
        let kept: Vec<usize> = self.machines.iter().map(|machine| machine.disk.parcels.len()).collect();
        let (units, running) = (self.coordinator.open_units(), self.coordinator.is_running());
        format!("{active} runs and {units} units open, parcels kept {kept:?}, coordinator running: {running}")
    }

    /// Everything that must hold in the end.
    fn judge(&self) {
        let disk = &self.coordinator.disk;
        for run in disk.runs.values() {
            let mut failed_part = false;
            for index in 0..run.spec.reduction().units() {
                let id = UnitId { run: run.spec.id, index };
                let Some(unit) = disk.units.get(&id) else { return self.fail(format!("{id} has no record")) };
                match unit.end {
                    Some(End::Done) => {
                        let (_, output) = self.truth(id);
                        let kept = disk.output(id.run, index);
                        self.promise(kept == Some(&output), || format!("the output of {id} is not there"));
                    }
                    Some(End::Failed) => failed_part = true,
                    Some(End::Skipped) => self.promise(failed_part, || format!("{id} is skipped for no reason")),
                    other => self.fail(format!("{id} ended as {other:?}")),
                }
            }
        }
        for (worker, unit) in &self.acknowledged {
            self.promise(self.has_word_of(*worker, *unit), || {
                format!("the acknowledged report of {worker} on {unit} is lost")
            });
        }
    }

    #[track_caller]
    fn promise(&self, kept: bool, otherwise: impl FnOnce() -> String) {
        if !kept {
            self.fail(otherwise());
        }
    }

    #[track_caller]
    fn fail(&self, what: String) {
        panic!("{what}\nat {} ms of seed {}", self.t, self.seed);
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        if trace.len() == TRACE {
            trace.pop_front();
        }
        trace.push_back(format!("{:>9} ms  {}", self.t, what()));
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.random.fill_bytes(&mut bytes);
        bytes
    }
}

/// Whatever fails, here or inside the cores.
impl Drop for World {
    fn drop(&mut self) {
        if let (true, Some(trace)) = (std::thread::panicking(), &self.trace) {
            let lines: Vec<&str> = trace.iter().map(String::as_str).collect();
            eprintln!("what happened last in seed {}:\n{}", self.seed, lines.join("\n"));
        }
    }
}

fn brief(message: &impl std::fmt::Debug) -> String {
    let text = format!("{message:?}");
    text.chars().take(160).collect()
}

/// A run and its inputs.
fn run(number: u8, quorum: Quorum, random: &mut ChaCha8Rng) -> (RunRecord, Vec<Bytes>) {
    let inputs = 1 + random.next_u32() % 24;
    let input = |index| {
        let bad = random.next_u32().is_multiple_of(40);
        if bad { Bytes::from_static(BAD) } else { format!("input {index}").into() }
    };
    let contents = (0..inputs).map(input).collect();
    let spec = RunSpec {
        id: RunId([number + 1; 16]),
        owner: format!("owner {}", number % 2),
        job: job(),
        version: Version::new(1, 0, 0),
        serial: 1,
        module: Digest::of(b"module"),
        wall_ms: 20_000,
        rule: Rule::Fixed(quorum),
        priority: 0,
        reduce: random.next_u32().is_multiple_of(2),
        inputs,
        submitted_at: Timestamp(0),
        is_dry: false,
        decoys: Decoys::default(),
    };
    let (status, counts) = (RunStatus::Active, Counts::default());
    (RunRecord { spec, status, counts, dissents: 0, finished_at: None }, contents)
}
