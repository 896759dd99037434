//! What a worker can finish: how fast it is, and how long it stays.
//!
//! A unit is leased to nobody who will be gone before it is done, as far as its history says: a page of which half are closed
//! within a minute gets no unit that takes ten. Whoever has stayed for so long may have one that takes as long again: of
//! sessions that have lasted, most last.
//!
//! All of it is an estimate and kept in memory only: a process that begins anew learns it anew.

use core::time::Duration;

use manyhands_model::{Digest, Fuel, Timestamp};

use crate::groups::Kind;
use crate::roster::{Keyed, Table};

/// Jobs that are remembered.
const JOBS_MAX: usize = 4_096;
/// How fast an average forgets: so many values ago counts little.
const MEMORY: f64 = 8.0;
/// By how much a typical session moves with each one that is longer or shorter: it settles where half of them are either.
const STEP: f64 = 1.1;
/// What a session is taken for before any has ended. Unit: seconds.
const RUNNER_S: f64 = 3_600.0;
const VISITOR_S: f64 = 60.0;
/// Typical sessions lie between these. Unit: seconds.
const SESSION_S: core::ops::RangeInclusive<f64> = 5.0..=604_800.0;

/// An average in which the latest count most.
#[derive(Clone, Copy, Debug, Default)]
struct Average(Option<f64>);

impl Average {
    fn note(&mut self, value: f64) {
        let before = self.0.unwrap_or(value);
        self.0 = Some(before + (value - before) / MEMORY);
    }
}

/// A typical length, of which half are longer.
#[derive(Clone, Copy, Debug)]
struct Typical(f64);

impl Typical {
    fn note(&mut self, length: Duration, step: f64) {
        let factor = if length.as_secs_f64() > self.0 { step } else { step.recip() };
        self.0 = (self.0 * factor).clamp(*SESSION_S.start(), *SESSION_S.end());
    }
}

/// What is known of all.
#[derive(Debug)]
pub(crate) struct Paces {
    /// What a unit of a job costs. Unit: fuel.
    costs: Table<Digest, Average>,
    runners: Class,
    visitors: Class,
}

#[derive(Debug)]
struct Class {
    /// Unit: fuel a second.
    speed: Average,
    stay: Typical,
}

/// What is known of one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// From when a unit was given to it to its report, so that whatever waits in line there counts. Unit: fuel a second.
    speed: Average,
    /// How long it usually stays, once a session has ended.
    stay: Option<Typical>,
    since: Timestamp,
    left: Option<Timestamp>,
    /// Whether something that it brought counted in this session.
    is_useful: bool,
}

impl Pace {
    /// It is there. One that was gone for no longer than `absence` was not gone.
    pub(crate) fn came(&mut self, now: Timestamp, absence: Duration) {
        match self.left.take() {
            Some(left) if now.since(left) <= absence => return,
            Some(left) if self.is_useful => {
                let length = left.since(self.since);
                self.stay.get_or_insert(Typical(length.as_secs_f64())).note(length, STEP * STEP);
            }
            _ => {}
        }
        (self.since, self.is_useful) = (now, false);
    }

    pub(crate) fn set_back(&mut self, earlier: impl Fn(Timestamp) -> Timestamp) {
        (self.since, self.left) = (earlier(self.since), self.left.map(earlier));
    }
}

impl Paces {
    pub(crate) fn new(hasher: Keyed) -> Self {
        let class = |stay| Class { speed: Average::default(), stay: Typical(stay) };
        Self { costs: Table::with_hasher(hasher), runners: class(RUNNER_S), visitors: class(VISITOR_S) }
    }

    fn class(&mut self, kind: Kind) -> &mut Class {
        match kind {
            Kind::Runner => &mut self.runners,
            Kind::Visitor => &mut self.visitors,
        }
    }

    /// A unit of this job has an answer, which cost so much.
    pub(crate) fn note_cost(&mut self, job: Digest, fuel: Fuel) {
        // Of units that hold tokens outcomes do not say it.
        if fuel == Fuel(0) {
            return;
        }
        if self.costs.len() >= JOBS_MAX && !self.costs.contains_key(&job) {
            self.costs.clear();
        }
        self.costs.entry(job).or_default().note(fuel.0 as f64);
    }

    /// What a unit of this job costs of late; nothing if that is not known.
    pub(crate) fn cost(&self, job: &Digest) -> Fuel {
        Fuel(self.costs.get(job).and_then(|cost| cost.0).unwrap_or(0.0) as u64)
    }

    /// A worker brought something that counted, so long after it was given to it. What it says that this cost is not asked.
    pub(crate) fn note_speed(&mut self, worker: &mut Pace, kind: Kind, job: &Digest, took: Duration) {
        worker.is_useful = true;
        let Some(cost) = self.costs.get(job).and_then(|cost| cost.0) else { return };
        let speed = cost / took.as_secs_f64().max(1e-3);
        worker.speed.note(speed);
        self.class(kind).speed.note(speed);
    }

    /// A worker is gone. Sessions in which it brought nothing say nothing: anybody could have as many as they like.
    pub(crate) fn left(&mut self, now: Timestamp, worker: &mut Pace, kind: Kind) {
        worker.left = Some(now);
        if worker.is_useful {
            self.class(kind).stay.note(now.since(worker.since), STEP);
        }
    }

    /// From when on a worker that stays may be given a unit of this job, which takes no longer than `wall`, whatever anybody has said
    /// that it costs; nothing if that is now.
    pub(crate) fn not_before(
        &self,
        now: Timestamp,
        worker: &Pace,
        kind: Kind,
        job: &Digest,
        wall: Duration,
    ) -> Option<Timestamp> {
        let cost = self.costs.get(job)?.0?;
        let (class, other) = match kind {
            Kind::Runner => (&self.runners, &self.visitors),
            Kind::Visitor => (&self.visitors, &self.runners),
        };
        let speed = worker.speed.0.or(class.speed.0).or(other.speed.0)?;
        let takes = (cost / speed.max(f64::MIN_POSITIVE)).min(wall.as_secs_f64());
        if takes <= worker.stay.map_or(class.stay.0, |stay| stay.0) {
            return None;
        }
        let from = worker.since.after(Duration::try_from_secs_f64(takes).unwrap_or(Duration::MAX));
        (from > now).then_some(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(10_000);
    const SHORT: Digest = Digest([1; 32]);
    const LONG: Digest = Digest([2; 32]);

    fn at(second: u64) -> Timestamp {
        Timestamp(second * 1_000)
    }

    /// Jobs of five seconds and of ten minutes, for whoever is as fast as everybody.
    fn paces() -> Paces {
        let mut paces = Paces::new(Keyed::new(&[7; 32]));
        paces.note_cost(SHORT, Fuel(5_000));
        paces.note_cost(LONG, Fuel(600_000));
        paces.note_speed(&mut Pace::default(), Kind::Runner, &SHORT, Duration::from_secs(5));
        paces
    }

    #[test]
    fn a_page_that_is_open_for_a_minute_gets_nothing_that_takes_ten() {
        let paces = paces();
        let mut page = Pace::default();
        page.came(at(100), Duration::ZERO);
        let from = |now, job| paces.not_before(at(now), &page, Kind::Visitor, job, WALL);
        assert_eq!(from(100, &SHORT), None);
        assert_eq!(from(100, &LONG), Some(at(700)));
        assert_eq!(from(700, &LONG), None, "who has stayed for ten minutes may stay for ten more");
        assert_eq!(from(100, &Digest([3; 32])), None, "nobody knows yet what it takes");
        assert_eq!(paces.not_before(at(100), &page, Kind::Runner, &LONG, WALL), None);
    }

    #[test]
    fn a_worker_is_judged_by_its_own_sessions_and_its_own_speed() {
        let mut paces = paces();
        let (mut brief, mut slow) = (Pace::default(), Pace::default());
        brief.came(at(0), Duration::ZERO);
        paces.note_speed(&mut brief, Kind::Runner, &SHORT, Duration::from_secs(5));
        paces.left(at(60), &mut brief, Kind::Runner);
        brief.came(at(1_000), Duration::from_secs(15));
        assert_eq!(paces.not_before(at(1_000), &brief, Kind::Runner, &LONG, WALL), Some(at(1_600)));
        slow.came(at(0), Duration::ZERO);
        paces.note_speed(&mut slow, Kind::Runner, &SHORT, Duration::from_secs(50));
        assert_eq!(paces.not_before(at(100), &slow, Kind::Runner, &LONG, WALL), Some(at(6_000)));
    }

    #[test]
    fn a_broken_connection_ends_no_session_and_idle_ones_say_nothing() {
        let mut paces = paces();
        let mut flaky = Pace::default();
        flaky.came(at(0), Duration::ZERO);
        paces.note_speed(&mut flaky, Kind::Visitor, &SHORT, Duration::from_secs(5));
        paces.left(at(500), &mut flaky, Kind::Visitor);
        flaky.came(at(510), Duration::from_secs(15));
        assert_eq!(paces.not_before(at(600), &flaky, Kind::Visitor, &LONG, WALL), None, "it is there since 0 s");
        let before = paces.visitors.stay.0;
        for second in 0..1_000 {
            let mut sybil = Pace::default();
            sybil.came(at(second), Duration::ZERO);
            paces.left(at(second), &mut sybil, Kind::Visitor);
        }
        assert_eq!(paces.visitors.stay.0, before);
    }

    #[test]
    fn half_of_the_sessions_are_longer_than_a_typical_one() {
        let mut typical = Typical(VISITOR_S);
        for round in 0..10_000_u64 {
            typical.note(Duration::from_secs(200 + 10 * (round * 61 % 100)), STEP);
        }
        assert!((500.0..900.0).contains(&typical.0), "{}", typical.0);
    }

    #[test]
    fn a_lie_about_fuel_keeps_nobody_from_work() {
        let mut paces = paces();
        paces.note_cost(SHORT, Fuel(u64::MAX));
        paces.note_cost(SHORT, Fuel(0));
        let mut runner = Pace::default();
        runner.came(at(100), Duration::ZERO);
        let wall = Duration::from_secs(60);
        assert_eq!(paces.not_before(at(100), &runner, Kind::Runner, &SHORT, wall), None);
    }
}
