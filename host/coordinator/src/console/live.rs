//! The live picture: what each slot of each worker executes, as bars that are sent to whoever looks.
//!
//! Nothing is kept while nobody looks. Then, grants become bars; above a rate only one of so many, which the picture
//! says. A worker gets leases ahead of what it executes, so a bar waits until a row of its worker is free: rows are
//! slots, as well as a coordinator can know. Short units come back together under one signature; their bars share the
//! time between them evenly.
//!
//! ```text
//! queued ──row is free──▶ running ──report──▶ reported ──answer──▶ accepted | contradicted | undone
//!    │                       └── machine failed, given back, ran out, not needed ──▶ failed | undone
//!    └── the same before it had a row: it was never drawn
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use manyhands_model::{JobName, LeaseId, Timestamp, UnitId, WorkerId};
use manyhands_scheduler::UnitRecord;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Kind;
use crate::clock::Clock;

/// How often those who look are told.
const TICK: Duration = Duration::from_millis(250);
/// Bars that begin in a tick, about; beyond that only one of so many is drawn.
const BARS_PER_TICK: u32 = 25;
/// How long a bar stays that has ended; the picture is a minute wide.
const KEPT: Duration = Duration::from_secs(75);
/// Bars at the same time.
const BARS_MAX: usize = 4096;
/// Workers that have rows; what others do is not drawn.
const LANES_MAX: usize = 48;
/// Rows of one worker.
const ROWS_MAX: u16 = 16;
/// Ticks that are kept for those who read slowly or come back.
const FRAMES_MAX: usize = 240;
/// Those who may look at the same time.
const LISTENERS_MAX: usize = 16;
/// How long bars are kept after somebody loaded a page and does not listen.
const LOOKED_AT: Duration = Duration::from_secs(75);

/// What became of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Given to a worker that executes others first.
    Queued,
    /// Being executed.
    Running,
    /// Reported; the unit has no answer yet.
    Reported,
    /// Part of the quorum.
    Accepted,
    /// It contradicts the answer.
    Contradicted,
    /// Its machine failed.
    Failed,
    /// Given back, run out, too late, or of a unit without an answer.
    Undone,
}

impl Stage {
    /// For a person.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "waits at the worker",
            Self::Running => "running",
            Self::Reported => "reported",
            Self::Accepted => "accepted",
            Self::Contradicted => "contradicts the answer",
            Self::Failed => "machine failed",
            Self::Undone => "not needed or given back",
        }
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Who.
    pub worker: WorkerId,
    /// What executes it.
    pub kind: Kind,
    /// What.
    pub unit: UnitId,
    /// Of which job.
    pub job: JobName,
    /// From when.
    pub begin: Timestamp,
    /// Until when.
    pub end: Option<Timestamp>,
    /// What became of it.
    pub stage: Stage,
    lease: LeaseId,
    lane: u32,
    row: Option<u16>,
    hue: u32,
}

struct Lane {
    number: u32,
    kind: Kind,
    engine: String,
    rows: Vec<Option<u64>>,
    /// Bars without a row, first come first.
    queue: VecDeque<u64>,
}

/// A worker to whom units are given.
#[derive(Debug)]
pub struct Holder<'a> {
    /// Who.
    pub worker: WorkerId,
    /// What executes there.
    pub kind: Kind,
    /// Its engine.
    pub engine: &'a str,
    /// How many units at once.
    pub slots: u16,
}

#[derive(Default)]
struct Scene {
    next_bar: u64,
    next_lane: u32,
    bars: BTreeMap<u64, Bar>,
    by_lease: BTreeMap<LeaseId, u64>,
    by_unit: BTreeMap<UnitId, Vec<u64>>,
    lanes: BTreeMap<WorkerId, Lane>,
    jobs: Vec<JobName>,
    /// Bars that changed since the last tick.
    changed: BTreeSet<u64>,
    /// Whether there are new rows or jobs since then.
    renamed: bool,
    /// Grants since then, and a moving average of that.
    granted: u32,
    usual: u32,
    /// One of so many grants is drawn.
    every: u32,
    /// Workers whose replicas are not drawn, because there are too many of them.
    hidden: BTreeSet<WorkerId>,
    frames: VecDeque<(u64, Arc<str>)>,
    sequence: u64,
}

/// What is sent to the page: everything at first, then what changed.
#[derive(Serialize)]
struct Frame<'a> {
    now: u64,
    every: u32,
    hidden: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    lanes: Option<Vec<LaneFigures<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<&'a [JobName]>,
    bars: Vec<BarFigures>,
}

/// Number, worker, kind, engine, rows.
#[derive(Serialize)]
struct LaneFigures<'a>(u32, String, &'static str, &'a str, usize);

/// Number, lane, row, job, begin, end or 0, stage, run, unit.
#[derive(Serialize)]
struct BarFigures(u64, u32, u16, u32, u64, u64, u8, String, u32);

impl Scene {
    fn granted(
        &mut self,
        now: Timestamp,
        to: &Holder<'_>,
        job: &JobName,
        leases: impl Iterator<Item = (LeaseId, UnitId)>,
    ) {
        for (lease, unit) in leases {
            self.granted += 1;
            // Ids of leases are random.
            let drawn = u32::from_le_bytes([lease.0[0], lease.0[1], lease.0[2], lease.0[3]]) % self.every.max(1) == 0;
            if !drawn || self.by_lease.contains_key(&lease) {
                continue;
            }
            if !self.lanes.contains_key(&to.worker) {
                if self.lanes.len() >= LANES_MAX {
                    // It only has to say that there are some.
                    if self.hidden.len() < LANES_MAX {
                        self.hidden.insert(to.worker);
                    }
                    return;
                }
                self.add_lane(to);
            }
            let hue = self.hue(job);
            let Some(lane) = self.lanes.get_mut(&to.worker) else { return };
            let number = self.next_bar;
            self.next_bar += 1;
            let row = lane.rows.iter().position(Option::is_none);
            match row {
                Some(row) => lane.rows[row] = Some(number),
                None => lane.queue.push_back(number),
            }
            let bar = Bar {
                worker: to.worker,
                kind: to.kind,
                unit,
                job: job.clone(),
                begin: now,
                end: None,
                stage: if row.is_some() { Stage::Running } else { Stage::Queued },
                lease,
                lane: lane.number,
                row: row.and_then(|row| u16::try_from(row).ok()),
                hue,
            };
            self.bars.insert(number, bar);
            self.by_lease.insert(lease, number);
            self.by_unit.entry(unit).or_default().push(number);
            self.changed.insert(number);
            if self.bars.len() > BARS_MAX
                && let Some((&oldest, _)) = self.bars.first_key_value()
            {
                self.remove(oldest);
            }
        }
    }

    /// These workers are there: a slot that is idle is shown as well, for a missing one looks like a fault.
    fn meet<'a>(&mut self, workers: impl Iterator<Item = Holder<'a>>) {
        for worker in workers {
            if self.lanes.len() < LANES_MAX && !self.lanes.contains_key(&worker.worker) {
                self.add_lane(&worker);
            }
        }
    }

    fn add_lane(&mut self, to: &Holder<'_>) {
        let rows = vec![None; usize::from(to.slots.clamp(1, ROWS_MAX))];
        let (number, kind, engine) = (self.next_lane, to.kind, to.engine.to_owned());
        self.lanes.insert(to.worker, Lane { number, kind, engine, rows, queue: VecDeque::new() });
        self.next_lane += 1;
        self.renamed = true;
    }

    /// The number of a job, by which it is coloured.
    fn hue(&mut self, job: &JobName) -> u32 {
        let known = self.jobs.iter().position(|known| known == job);
        let index = known.unwrap_or_else(|| {
            self.jobs.push(job.clone());
            self.renamed = true;
            self.jobs.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// A worker said what came of some leases, all at once.
    fn reported(&mut self, now: Timestamp, worker: WorkerId, leases: impl Iterator<Item = LeaseId>) {
        let open = |bar: &Bar| bar.worker == worker && bar.stage <= Stage::Running;
        let known = leases.filter_map(|lease| self.by_lease.get(&lease).copied());
        let mut bars: Vec<u64> = known.filter(|number| self.bars.get(number).is_some_and(open)).collect();
        bars.sort_unstable();
        let Some(lane) = self.lanes.get_mut(&worker) else { return };
        // The rows that these bars share, each with the moment from which on.
        let held = |(row, holder): (usize, &Option<u64>)| {
            let bar = self.bars.get(holder.as_ref().filter(|holder| bars.contains(holder))?)?;
            Some((row, bar.begin))
        };
        let mut rows: Vec<(usize, Timestamp)> = lane.rows.iter().enumerate().filter_map(held).collect();
        if rows.is_empty() {
            // It went ahead of what the coordinator thought it would do first.
            rows.push((0, now));
        }
        for (index, (row, begin)) in rows.iter().enumerate() {
            let mine: Vec<u64> = bars.iter().skip(index).step_by(rows.len()).copied().collect();
            let time = now.since(*begin).as_millis() as u64;
            let share = |part: usize| Timestamp(begin.0 + time * part as u64 / mine.len() as u64);
            for (part, number) in mine.iter().enumerate() {
                let Some(bar) = self.bars.get_mut(number) else { continue };
                (bar.begin, bar.end) = (share(part), Some(share(part + 1)));
                (bar.row, bar.stage) = (u16::try_from(*row).ok(), Stage::Reported);
            }
        }
        self.changed.extend(&bars);
        let gone: BTreeSet<u64> = bars.into_iter().collect();
        self.free(now, worker, &gone);
    }

    /// Takes bars out of their worker's rows and lets those in that wait.
    fn free(&mut self, now: Timestamp, worker: WorkerId, gone: &BTreeSet<u64>) {
        let Some(lane) = self.lanes.get_mut(&worker) else { return };
        lane.queue.retain(|number| !gone.contains(number));
        for (row, holder) in lane.rows.iter_mut().enumerate() {
            if holder.is_some_and(|number| gone.contains(&number)) {
                *holder = None;
            }
            if holder.is_none()
                && let Some(number) = lane.queue.pop_front()
                && let Some(bar) = self.bars.get_mut(&number)
            {
                *holder = Some(number);
                (bar.row, bar.begin, bar.stage) = (u16::try_from(row).ok(), now, Stage::Running);
                self.changed.insert(number);
            }
        }
    }

    /// A lease ended otherwise than with a report that counts.
    fn ended(&mut self, now: Timestamp, lease: LeaseId, stage: Stage) {
        let Some(&number) = self.by_lease.get(&lease) else { return };
        let Some(bar) = self.bars.get_mut(&number) else { return };
        let (before, worker) = (bar.stage, bar.worker);
        match before {
            Stage::Queued => self.remove(number),
            Stage::Running => {
                (bar.end, bar.stage) = (Some(now), stage);
                self.changed.insert(number);
            }
            // Its report was refused.
            Stage::Reported => {
                bar.stage = stage;
                self.changed.insert(number);
            }
            Stage::Accepted | Stage::Contradicted | Stage::Failed | Stage::Undone => return,
        }
        self.free(now, worker, &BTreeSet::from([number]));
    }

    /// A unit ended.
    fn judged(&mut self, unit: UnitId, record: &UnitRecord) {
        for number in self.by_unit.remove(&unit).unwrap_or_default() {
            let Some(bar) = self.bars.get_mut(&number) else { continue };
            let Some(replica) = record.replicas.iter().find(|replica| replica.worker == bar.worker) else { continue };
            bar.stage = match &record.accepted {
                Some(accepted) if *accepted == replica.outcome => Stage::Accepted,
                Some(_) => Stage::Contradicted,
                None => Stage::Undone,
            };
            self.changed.insert(number);
        }
    }

    /// Nothing counts any more that a worker said of units without an answer.
    fn discarded(&mut self, worker: WorkerId) {
        let open = |bar: &Bar| bar.worker == worker && bar.stage == Stage::Reported;
        for (number, bar) in self.bars.iter_mut().filter(|(_, bar)| open(bar)) {
            bar.stage = Stage::Undone;
            self.changed.insert(*number);
        }
    }

    /// A worker left and executes nothing of what it had.
    fn left(&mut self, now: Timestamp, worker: WorkerId) {
        let open = |bar: &&Bar| bar.worker == worker && bar.stage <= Stage::Running;
        let leases: Vec<LeaseId> = self.bars.values().filter(open).map(|bar| bar.lease).collect();
        // Those that wait first, or they would get rows.
        leases.into_iter().rev().for_each(|lease| self.ended(now, lease, Stage::Undone));
    }

    fn remove(&mut self, number: u64) {
        let Some(bar) = self.bars.remove(&number) else { return };
        self.changed.remove(&number);
        self.by_lease.remove(&bar.lease);
        if let Some(others) = self.by_unit.get_mut(&bar.unit) {
            others.retain(|other| *other != number);
            if others.is_empty() {
                self.by_unit.remove(&bar.unit);
            }
        }
        if let Some(lane) = self.lanes.get_mut(&bar.worker) {
            lane.queue.retain(|other| *other != number);
            lane.rows.iter_mut().filter(|holder| **holder == Some(number)).for_each(|holder| *holder = None);
        }
    }

    /// Forgets what is over, and says what changed.
    fn tick(&mut self, now: Timestamp) -> bool {
        let is_over = |bar: &Bar| bar.end.is_some_and(|end| now.since(end) > KEPT) || bar.begin.since(now) > KEPT;
        let over: Vec<u64> = self.bars.iter().filter(|(_, bar)| is_over(bar)).map(|(number, _)| *number).collect();
        over.into_iter().for_each(|number| self.remove(number));
        if !std::mem::take(&mut self.hidden).is_empty() {
            // Whoever does nothing makes room for those who do.
            let busy: BTreeSet<WorkerId> = self.bars.values().map(|bar| bar.worker).collect();
            self.lanes.retain(|worker, _| busy.contains(worker));
            self.renamed = true;
        }
        self.usual = (self.usual * 3 + std::mem::take(&mut self.granted)).div_ceil(4);
        let every = self.usual.div_ceil(BARS_PER_TICK).max(1).next_power_of_two();
        let thinned = every != self.every;
        self.every = every;
        if self.changed.is_empty() && !self.renamed && !thinned {
            return false;
        }
        let changed = std::mem::take(&mut self.changed);
        let renamed = std::mem::take(&mut self.renamed);
        let frame = self.frame(now, changed.iter(), renamed);
        self.sequence += 1;
        self.frames.push_back((self.sequence, frame.into()));
        if self.frames.len() > FRAMES_MAX {
            self.frames.pop_front();
        }
        true
    }

    fn frame<'a>(&'a self, now: Timestamp, bars: impl Iterator<Item = &'a u64>, named: bool) -> String {
        let bar = |number: &u64| {
            let bar = self.bars.get(number)?;
            let (row, end) = (bar.row?, bar.end.map_or(0, |end| end.0));
            let stage = bar.stage as u8;
            let (run, unit) = (bar.unit.run.to_string(), bar.unit.index);
            Some(BarFigures(*number, bar.lane, row, bar.hue, bar.begin.0, end, stage, run, unit))
        };
        let lane = |(id, lane): (&WorkerId, &'a Lane)| {
            LaneFigures(lane.number, id.short(), lane.kind.word(), &lane.engine, lane.rows.len())
        };
        let frame = Frame {
            now: now.0,
            every: self.every.max(1),
            hidden: self.hidden.len(),
            lanes: named.then(|| self.lanes.iter().map(lane).collect()),
            jobs: named.then_some(&self.jobs),
            bars: bars.filter_map(bar).collect(),
        };
        serde_json::to_string(&frame).unwrap_or_default()
    }
}

/// What a listener has not seen.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// These frames, each with its number.
    Frames(Vec<(u64, Arc<str>)>),
    /// So many frames are gone: this is everything as it stands, up to the frame of this number.
    Missed(u64, u64, Arc<str>),
}

/// The picture, and who looks at it.
pub struct Live {
    watched: AtomicBool,
    /// Until when somebody looks who does not listen. Unit: milliseconds since the epoch.
    looked_at_until: AtomicU64,
    listeners: AtomicUsize,
    /// Listeners that were cut off, because they read too slowly.
    dropped: AtomicU64,
    scene: Mutex<Scene>,
    /// The number of the last frame.
    last: watch::Sender<u64>,
    woken: Notify,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            watched: AtomicBool::new(false),
            looked_at_until: AtomicU64::new(0),
            listeners: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            scene: Mutex::default(),
            last: watch::channel(0).0,
            woken: Notify::new(),
        }
    }
}

impl Live {
    /// Whether anybody looks: all that the picture costs while nobody does.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Nothing panics while it is held, and nothing awaits.
    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These workers are there.
    pub fn meet<'a>(&self, workers: impl Iterator<Item = Holder<'a>>) {
        self.scene().meet(workers);
    }

    /// Units were given to a worker.
    pub fn granted(
        &self,
        now: Timestamp,
        to: &Holder<'_>,
        job: &JobName,
        leases: impl Iterator<Item = (LeaseId, UnitId)>,
    ) {
        self.scene().granted(now, to, job, leases);
    }

    /// A worker reported.
    pub fn reported(&self, now: Timestamp, worker: WorkerId, leases: impl Iterator<Item = LeaseId>) {
        self.scene().reported(now, worker, leases);
    }

    /// Leases ended otherwise than with a report that counts.
    pub fn ended(&self, now: Timestamp, leases: impl Iterator<Item = LeaseId>, stage: Stage) {
        let mut scene = self.scene();
        leases.for_each(|lease| scene.ended(now, lease, stage));
    }

    /// A unit ended.
    pub fn judged(&self, unit: UnitId, record: &UnitRecord) {
        self.scene().judged(unit, record);
    }

    /// A worker was banned: nothing counts any more that it said of units without an answer.
    pub fn discarded(&self, worker: WorkerId) {
        self.scene().discarded(worker);
    }

    /// A worker left and executes nothing of what it had.
    pub fn left(&self, now: Timestamp, worker: WorkerId) {
        self.scene().left(now, worker);
    }

    /// Somebody looks at a page at this moment, and perhaps listens soon.
    pub fn look(&self, now: Timestamp) {
        self.looked_at_until.store(now.after(LOOKED_AT).0, Ordering::Relaxed);
        self.watch();
    }

    fn watch(&self) {
        if !self.watched.swap(true, Ordering::Relaxed) {
            self.woken.notify_one();
        }
    }

    /// Somebody listens from now on; none if as many do as may.
    pub fn listen(self: &Arc<Self>) -> Option<Listener> {
        if self.listeners.fetch_add(1, Ordering::Relaxed) >= LISTENERS_MAX {
            self.listeners.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.watch();
        Some(Listener { live: Arc::clone(self), frames: self.last.subscribe() })
    }

    /// Listeners that were cut off, because they read too slowly.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// One more was.
    pub fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// The newest bars, newest first.
    pub fn recent(&self, count: usize) -> Vec<Bar> {
        let scene = self.scene();
        scene.bars.values().rev().filter(|bar| bar.row.is_some()).take(count).cloned().collect()
    }

    /// One of so many replicas is drawn.
    pub fn every(&self) -> u32 {
        self.scene().every.max(1)
    }

    /// Tells those who listen, for as long as somebody does.
    pub async fn run(&self, clock: &Clock, stop: &CancellationToken) {
        while stop.run_until_cancelled(self.woken.notified()).await.is_some() {
            let mut every = tokio::time::interval(TICK);
            while self.is_watched() {
                if stop.run_until_cancelled(every.tick()).await.is_none() {
                    return;
                }
                self.tick(clock.now());
            }
        }
    }

    fn tick(&self, now: Timestamp) {
        let mut scene = self.scene();
        if scene.tick(now) {
            let last = scene.sequence;
            self.last.send_replace(last);
        }
        let listeners = self.listeners.load(Ordering::Relaxed);
        if listeners == 0 && now.0 > self.looked_at_until.load(Ordering::Relaxed) {
            self.watched.store(false, Ordering::Relaxed);
            // Numbers go on: whoever comes back is told that it missed something.
            *scene = Scene { sequence: scene.sequence + 1, ..Scene::default() };
        }
    }
}

/// Somebody who listens.
pub struct Listener {
    live: Arc<Live>,
    frames: watch::Receiver<u64>,
}

impl Listener {
    /// Everything as it stands: the number of the last frame in it, and the frame itself.
    pub fn everything(&self, now: Timestamp) -> (u64, Arc<str>) {
        let scene = self.live.scene();
        (scene.sequence, scene.frame(now, scene.bars.keys(), true).into())
    }

    /// What came after the frame `seen`.
    pub fn since(&self, seen: u64, now: Timestamp) -> News {
        let scene = self.live.scene();
        let first = scene.frames.front().map_or(scene.sequence + 1, |(first, _)| *first);
        if seen > scene.sequence || seen + 1 < first {
            let missed = first.saturating_sub(seen + 1).max(1);
            return News::Missed(missed, scene.sequence, scene.frame(now, scene.bars.keys(), true).into());
        }
        News::Frames(scene.frames.iter().filter(|(number, _)| *number > seen).cloned().collect())
    }

    /// Waits for another frame.
    pub async fn changed(&mut self) {
        // The sender lives in what this holds.
        let _never_closed = self.frames.changed().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.live.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Fuel, Outcome, RunId, Verdict};
    use manyhands_scheduler::{End, Era, Replica};

    use super::*;

    fn worker(index: u8) -> WorkerId {
        WorkerId([index; 32])
    }

    fn unit(index: u32) -> UnitId {
        UnitId { run: RunId([1; 16]), index }
    }

    fn lease(index: u32) -> LeaseId {
        let mut id = [0; 16];
        id[12..].copy_from_slice(&index.to_be_bytes());
        LeaseId(id)
    }

    fn holder(index: u8, slots: u16) -> Holder<'static> {
        Holder { worker: worker(index), kind: Kind::Native, engine: "wasmtime 48", slots }
    }

    /// Gives a worker the leases of units of the same numbers.
    fn grant(scene: &mut Scene, at: u64, to: &Holder<'_>, units: impl IntoIterator<Item = u32>) {
        let leases = units.into_iter().map(|index| (lease(index + 1000 * u32::from(to.worker.0[0])), unit(index)));
        scene.granted(Timestamp(at), to, &"mandelbrot".parse().unwrap(), leases);
    }

    fn report(scene: &mut Scene, at: u64, index: u8, units: impl IntoIterator<Item = u32>) {
        let leases = units.into_iter().map(|unit| lease(unit + 1000 * u32::from(index)));
        scene.reported(Timestamp(at), worker(index), leases);
    }

    /// Each bar as `unit@row begin-end stage`.
    fn picture(scene: &Scene) -> String {
        let bar = |bar: &Bar| {
            let row = bar.row.map_or("-".to_owned(), |row| row.to_string());
            let end = bar.end.map_or("".to_owned(), |end| end.0.to_string());
            format!("{}@{row} {}-{end} {:?}", bar.unit.index, bar.begin.0, bar.stage)
        };
        scene.bars.values().map(bar).collect::<Vec<_>>().join("; ")
    }

    fn record(outcomes: &[(u8, u64)], accepted: Option<u64>) -> UnitRecord {
        let outcome = |fuel: u64| Outcome { verdict: Verdict::Trap, fuel: Fuel(fuel) };
        let replica = |&(index, fuel): &(u8, u64)| {
            let (worker, era) = (worker(index), Era::default());
            Replica { worker, era, outcome: outcome(fuel), claims: None, is_echo: false }
        };
        UnitRecord {
            step: 0,
            end: Some(End::Done),
            accepted: accepted.map(outcome),
            replicas: outcomes.iter().map(replica).collect(),
            ..UnitRecord::default()
        }
    }

    #[test]
    fn rows_are_slots_and_what_waits_gets_the_next_free_one() {
        let mut scene = Scene::default();
        grant(&mut scene, 10, &holder(1, 2), 0..3);
        assert_eq!(picture(&scene), "0@0 10- Running; 1@1 10- Running; 2@- 10- Queued");
        report(&mut scene, 30, 1, [1]);
        assert_eq!(picture(&scene), "0@0 10- Running; 1@1 10-30 Reported; 2@1 30- Running");
        scene.ended(Timestamp(40), lease(1000), Stage::Failed);
        assert!(picture(&scene).starts_with("0@0 10-40 Failed"), "{}", picture(&scene));
        grant(&mut scene, 50, &holder(1, 2), [3]);
        assert!(picture(&scene).ends_with("3@0 50- Running"), "the lowest free row: {}", picture(&scene));
    }

    #[test]
    fn what_is_reported_together_shares_the_time() {
        let mut scene = Scene::default();
        grant(&mut scene, 100, &holder(1, 1), 0..5);
        report(&mut scene, 140, 1, 0..4);
        assert_eq!(
            picture(&scene),
            "0@0 100-110 Reported; 1@0 110-120 Reported; 2@0 120-130 Reported; 3@0 130-140 Reported; 4@0 140- Running"
        );
    }

    #[test]
    fn an_answer_says_who_was_right() {
        let mut scene = Scene::default();
        for index in 1..=4 {
            grant(&mut scene, 10, &holder(index, 1), [7]);
        }
        (1..=3).for_each(|index| report(&mut scene, 20, index, [7]));
        scene.judged(unit(7), &record(&[(1, 5), (2, 6), (3, 5)], Some(5)));
        scene.ended(Timestamp(21), lease(4007), Stage::Undone);
        assert_eq!(picture(&scene), "7@0 10-20 Accepted; 7@0 10-20 Contradicted; 7@0 10-20 Accepted; 7@0 10-21 Undone");
    }

    #[test]
    fn who_is_banned_or_left_leaves_nothing_open() {
        let mut scene = Scene::default();
        grant(&mut scene, 30, &holder(2, 1), [8, 9, 10]);
        report(&mut scene, 40, 2, [8]);
        scene.discarded(worker(2));
        scene.left(Timestamp(50), worker(2));
        assert_eq!(picture(&scene), "8@0 30-40 Undone; 9@0 40-50 Undone");
    }

    #[test]
    fn whatever_happens_the_picture_stays_bounded_and_ends_empty() {
        let mut scene = Scene::default();
        for index in 0..3 * BARS_MAX as u32 {
            let by = holder((index % 60) as u8, 2);
            grant(&mut scene, 10, &by, [index]);
        }
        assert!(scene.bars.len() <= BARS_MAX && scene.by_lease.len() <= BARS_MAX && scene.by_unit.len() <= BARS_MAX);
        assert_eq!((scene.lanes.len(), scene.hidden.len()), (LANES_MAX, 12));
        assert!(scene.lanes.values().map(|lane| lane.queue.len()).sum::<usize>() <= BARS_MAX);
        let leases: Vec<LeaseId> = scene.by_lease.keys().copied().collect();
        leases.iter().for_each(|lease| scene.ended(Timestamp(20), *lease, Stage::Undone));
        // Those who got a row when others left end as well.
        while let Some(lease) = scene.bars.values().find(|bar| bar.end.is_none()).map(|bar| bar.lease) {
            scene.ended(Timestamp(20), lease, Stage::Undone);
        }
        scene.tick(Timestamp(20).after(KEPT * 2));
        assert_eq!((scene.bars.len(), scene.by_lease.len(), scene.by_unit.len()), (0, 0, 0));
        assert!(scene.lanes.values().all(|lane| lane.queue.is_empty() && lane.rows.iter().all(Option::is_none)));
    }

    #[test]
    fn above_a_rate_one_of_so_many_is_drawn_and_then_all_again() {
        let mut scene = Scene::default();
        let mut seed = 1_u64;
        let mut number = 0;
        for at in 0..40 {
            for _ in 0..1000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let mut id = [0; 16];
                id[..8].copy_from_slice(&(seed >> 16).to_le_bytes());
                let leases = [(LeaseId(id), unit(number))].into_iter();
                scene.granted(Timestamp(at), &holder(1, 4), &"j".parse().unwrap(), leases);
                number += 1;
            }
            scene.tick(Timestamp(at));
        }
        assert_eq!(scene.every, 64);
        assert!((400..3_000).contains(&scene.bars.len()), "{} of {number}", scene.bars.len());
        for at in 100..120 {
            scene.tick(Timestamp(at));
        }
        assert_eq!(scene.every, 1);
    }

    #[tokio::test]
    async fn who_reads_slowly_is_told_what_it_missed_and_who_comes_back_gets_the_rest() {
        let live = Arc::new(Live::default());
        assert!(!live.is_watched());
        let listener = live.listen().unwrap();
        assert!(live.is_watched());
        let (seen, _) = listener.everything(Timestamp(0));
        let grant_one = |index: u32| {
            let leases = [(lease(index), unit(index))].into_iter();
            live.granted(Timestamp(u64::from(index)), &holder(1, 1), &"j".parse().unwrap(), leases);
            live.tick(Timestamp(u64::from(index)));
        };
        (0..3).for_each(grant_one);
        let News::Frames(frames) = listener.since(seen + 1, Timestamp(5)) else { panic!("nothing is missing") };
        assert_eq!(frames.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [seen + 2, seen + 3]);
        (3..3 + FRAMES_MAX as u32).for_each(grant_one);
        let missed = listener.since(seen, Timestamp(5));
        assert!(matches!(missed, News::Missed(3, last, _) if last == seen + 3 + FRAMES_MAX as u64), "{missed:?}");
        assert!(matches!(listener.since(u64::MAX - 1, Timestamp(5)), News::Missed(1, ..)), "of another process");
    }

    #[tokio::test]
    async fn nothing_is_kept_once_nobody_looks() {
        let live = Arc::new(Live::default());
        let listeners: Vec<_> = std::iter::from_fn(|| live.listen()).collect();
        assert_eq!(listeners.len(), LISTENERS_MAX);
        live.granted(Timestamp(1), &holder(1, 1), &"j".parse().unwrap(), [(lease(1), unit(1))].into_iter());
        live.tick(Timestamp(1));
        assert!(live.is_watched());
        drop(listeners);
        live.tick(Timestamp(2));
        assert!(!live.is_watched() && live.recent(9).is_empty());
        live.look(Timestamp(10));
        live.tick(Timestamp(10).after(LOOKED_AT));
        assert!(live.is_watched(), "somebody loaded a page");
        live.tick(Timestamp(11).after(LOOKED_AT));
        assert!(!live.is_watched());
    }
}
