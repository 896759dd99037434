//! Units that want a lease.

use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::lot::place;
use crate::roster::WorkerNo;

/// Those of one run, in two lines: units on which somebody works already go first, so that units end early and few are open
/// at a time; then units that nobody has touched. Where workers are not to know which is which, chance decides.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    started: Line<u32>,
    /// Started ones that are for workers with a record.
    kept: Line<u32>,
    /// Started ones that those without a record decide by their number, by how much has been said of them: what has heard most goes first, so
    /// that the first answers come soon, and with them it shows who lies.
    crowd: [Line<u32>; CROWD_LINES],
    fresh: Line<u32>,
    /// Never leased units, which need no place in a line: all of these, in order.
    untouched: Range<u32>,
    /// The same, where nobody is to foresee what comes next.
    hidden: Option<Box<Hidden>>,
}

/// Keeps workers from telling units on which somebody has spoken from others. They would know by the number, if units were begun in order:
/// it is below the highest ones. They would know by the moment, if started units always went first: whoever comes finds those that
/// nobody else may have. So units are begun in an order that is drawn, and so is each time whether a started one or another goes first, about as
/// often as there are such.
#[derive(Debug)]
struct Hidden {
    random: ChaCha8Rng,
    /// Fisher and Yates's shuffle, a step for each unit that is taken.
    untouched: Vec<u32>,
    /// Started units that stood in line lately, and others that were taken.
    started: f64,
    begun: f64,
}

/// How many leases count as lately.
const LATELY: f64 = 1024.0;
/// How much more often started units go first than there are such: enough that they do not pile up, and so little that some always wait.
const AHEAD: f64 = 1.15;

impl Hidden {
    fn take(&mut self) -> Option<u32> {
        let place = place(&mut self.random, self.untouched.len());
        let taken = (!self.untouched.is_empty()).then(|| self.untouched.swap_remove(place));
        if self.untouched.is_empty() {
            self.untouched.shrink_to_fit();
        }
        taken
    }

    fn note(&mut self, started: f64, begun: f64) {
        let less = 1.0 - 1.0 / LATELY;
        self.started = self.started * less + started;
        self.begun = self.begun * less + begun;
    }

    /// Whether a started unit goes first.
    fn draw(&mut self) -> bool {
        let share = if self.begun > 0.0 { AHEAD * self.started / (self.started + self.begun) } else { 1.0 };
        f64::from(self.random.next_u32()) < share * 4_294_967_296.0
    }
}

/// First come, first served; and whoever looked at a place does not look there again, so that a fast worker, which
/// knows all units that wait for a slow one, passes them once and not with every lease.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// Units in the order in which they came; none where one has left.
    places: VecDeque<Option<T>>,
    /// How many places came before the first of these.
    gone: u64,
    /// Units that stand in line.
    units: usize,
    /// The place from which on each worker has to look.
    seen: BTreeMap<WorkerNo, u64>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { places: VecDeque::new(), gone: 0, units: 0, seen: BTreeMap::new() }
    }
}

impl<T: Copy> Line<T> {
    pub(crate) fn push(&mut self, unit: T) {
        self.places.push_back(Some(unit));
        self.units += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// Lets a worker look at everything again: it may now take what it could not.
    pub(crate) fn look_again(&mut self, worker: WorkerNo) {
        self.seen.remove(&worker);
    }

    /// Takes the first unit that fits this worker, or one of the next that fits it better. Those that are gone leave the line.
    pub(crate) fn take(&mut self, worker: WorkerNo, look: &mut impl FnMut(T) -> Look) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let from = self.seen.get(&worker).copied().unwrap_or(0).max(self.gone);
        let end = self.gone + self.places.len() as u64;
        let mut later = None;
        let mut worse = None;
        let mut found = None;
        let mut at = from;
        while at < end && found.is_none() {
            if worse.is_some_and(|(first, _)| at - first >= BETTER_MAX) {
                break;
            }
            let place = &mut self.places[(at - self.gone) as usize];
            if let Some(unit) = *place {
                match look(unit) {
                    Look::Fits => found = place.take(),
                    Look::Worse => worse = worse.or(Some((at, unit))),
                    Look::Gone => {
                        *place = None;
                        self.units -= 1;
                    }
                    Look::NotThisWorker => {}
                    Look::Later => later = later.or(Some(at)),
                }
            }
            at += 1;
        }
        if let Some((first, unit)) = worse {
            // What was passed is looked at again: there may be others who make a better pair.
            later = later.or(Some(first));
            if found.is_none() {
                self.places[(first - self.gone) as usize] = None;
                found = Some(unit);
            }
        }
        self.units -= usize::from(found.is_some());
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.gone += 1;
        }
        let next = later.unwrap_or(at);
        // Most take what stands first, and need no memory of it.
        if next > self.gone {
            self.seen.insert(worker, next);
        } else if self.is_empty() {
            self.seen.clear();
        }
        found
    }
}

impl Queue {
    /// All of `0..inputs` are fresh, and go in order.
    pub(crate) fn fresh(inputs: u32) -> Self {
        Self { untouched: 0..inputs, ..Self::default() }
    }

    /// All of these are fresh, and go in an order that nobody without the seed foresees.
    pub(crate) fn hidden(units: impl Iterator<Item = u32>, seed: [u8; 32]) -> Self {
        let random = ChaCha8Rng::from_seed(seed);
        let hidden = Hidden { random, untouched: units.collect(), started: 0.0, begun: 0.0 };
        Self { hidden: Some(Box::new(hidden)), ..Self::default() }
    }

    pub(crate) fn push(&mut self, unit: u32, place: Place) {
        if let (Some(hidden), Place::Started | Place::Kept | Place::Crowd(_)) = (&mut self.hidden, place) {
            hidden.note(1.0, 0.0);
        }
        match place {
            Place::Started => self.started.push(unit),
            Place::Kept => self.kept.push(unit),
            Place::Crowd(line) => self.crowd[line].push(unit),
            Place::Fresh => self.fresh.push(unit),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.has_started() && self.kept.is_empty() && !self.has_fresh()
    }

    /// Started units that not everybody may have.
    pub(crate) fn kept(&self) -> impl Iterator<Item = u32> + '_ {
        self.kept.places.iter().chain(self.crowd.iter().flat_map(|line| &line.places)).copied().flatten()
    }

    /// Whether there are started units that anybody may have.
    pub(crate) fn has_started(&self) -> bool {
        !self.started.is_empty() || self.crowd.iter().any(|line| !line.is_empty())
    }

    /// Whether there are units that nobody has touched.
    pub(crate) fn has_fresh(&self) -> bool {
        let is_hidden = |hidden: &Hidden| !hidden.untouched.is_empty();
        !self.fresh.is_empty() || !self.untouched.is_empty() || self.hidden.as_deref().is_some_and(is_hidden)
    }

    /// Lets a worker look at everything again: it may now take what it could not.
    pub(crate) fn look_again(&mut self, worker: WorkerNo) {
        self.started.look_again(worker);
        self.kept.look_again(worker);
        self.crowd.iter_mut().for_each(|line| line.look_again(worker));
        self.fresh.look_again(worker);
    }

    /// Takes the first unit that fits this worker, among those that it may reach. Those that are gone leave the line.
    pub(crate) fn take(
        &mut self,
        worker: WorkerNo,
        reach: Reach,
        mut look: impl FnMut(u32, Place) -> Look,
    ) -> Option<u32> {
        if !matches!(reach, Reach::Crowd | Reach::All) {
            return self.take_started(worker, reach, &mut look);
        }
        let found = if self.hidden.as_mut().is_none_or(|hidden| hidden.draw()) {
            self.take_started(worker, reach, &mut look).or_else(|| self.begin(worker, &mut look))
        } else {
            self.begin(worker, &mut look).or_else(|| self.take_started(worker, reach, &mut look))
        };
        // With a record it is worth more elsewhere.
        found.or_else(|| self.take_of_crowd(worker, &mut look))
    }

    fn take_started(
        &mut self,
        worker: WorkerNo,
        reach: Reach,
        look: &mut impl FnMut(u32, Place) -> Look,
    ) -> Option<u32> {
        let started = match reach {
            Reach::Joined => None,
            _ => self.started.take(worker, &mut |unit| look(unit, Place::Started)),
        };
        let found = started.or_else(|| match reach {
            Reach::Second | Reach::All => self.kept.take(worker, &mut |unit| look(unit, Place::Kept)),
            Reach::Joined | Reach::Started | Reach::Crowd => None,
        });
        match reach {
            Reach::All => found,
            _ => found.or_else(|| self.take_of_crowd(worker, look)),
        }
    }

    fn take_of_crowd(&mut self, worker: WorkerNo, look: &mut impl FnMut(u32, Place) -> Look) -> Option<u32> {
        let mut lines = self.crowd.iter_mut().enumerate().rev();
        lines.find_map(|(line, units)| units.take(worker, &mut |unit| look(unit, Place::Crowd(line))))
    }

    fn begin(&mut self, worker: WorkerNo, look: &mut impl FnMut(u32, Place) -> Look) -> Option<u32> {
        let found = self.fresh.take(worker, &mut |unit| look(unit, Place::Fresh)).or_else(|| {
            while let Some(unit) = self.untouched.next().or_else(|| self.hidden.as_mut()?.take()) {
                match look(unit, Place::Fresh) {
                    Look::Fits | Look::Worse => return Some(unit),
                    Look::NotThisWorker | Look::Later => self.fresh.push(unit),
                    Look::Gone => {}
                }
            }
            None
        });
        if let (Some(hidden), Some(_)) = (&mut self.hidden, found) {
            hidden.note(0.0, 1.0);
        }
        found
    }
}

/// Where a unit stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Somebody works on it already.
    Started,
    /// The same, and somebody with a record should be next.
    Kept,
    /// The same, and those without a record decide it by their number: in which of the lines for that, by how many of them have spoken.
    Crowd(usize),
    /// Nobody has touched it.
    Fresh,
}

impl Place {
    /// Where a unit stands that a crowd decides, of which so many have spoken.
    pub(crate) fn crowd(words: usize) -> Self {
        Self::Crowd((words / CROWD_STEP).min(CROWD_LINES - 1))
    }
}

/// Which units a worker may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those that a crowd decides.
    Joined,
    /// Started ones that anybody may have.
    Started,
    /// Those, and ones that are kept for workers with a record.
    Second,
    /// Started ones that anybody may have, and ones that nobody has touched.
    Crowd,
    /// All.
    All,
}

/// In how many lines units stand that a crowd decides, and with how many words they go on to the next.
const CROWD_LINES: usize = 4;
const CROWD_STEP: usize = 4;

/// Places behind a unit among which a better one is looked for.
const BETTER_MAX: u64 = 16;

/// What a look at a unit in line says.
pub(crate) enum Look {
    /// This worker may have it.
    Fits,
    /// It may, but one of the next may suit it better.
    Worse,
    /// It may not, until [`Queue::look_again`].
    NotThisWorker,
    /// It may, but somebody else should.
    Later,
    /// Nobody needs it.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: WorkerNo = WorkerNo::new(1);
    const SLOW: WorkerNo = WorkerNo::new(2);

    #[test]
    fn a_fast_worker_passes_what_it_knows_once() {
        const UNITS: u32 = 10_000;
        let mut queue = Queue::fresh(UNITS);
        let mut known = std::collections::BTreeSet::new();
        let mut looks = 0;
        for _ in 0..UNITS {
            let taken = queue.take(FAST, Reach::All, |unit, _| {
                looks += 1;
                if known.contains(&unit) { Look::NotThisWorker } else { Look::Fits }
            });
            let unit = taken.expect("there is one left");
            known.insert(unit);
            queue.push(unit, Place::Started);
        }
        assert!(looks <= 2 * UNITS, "{looks} looks for {UNITS} leases");
        // The slow one meets them in order.
        let met: Vec<_> = (0..5).filter_map(|_| queue.take(SLOW, Reach::All, |_, _| Look::Fits)).collect();
        assert_eq!(met, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_somebody_else_should_have_stays_on_offer() {
        let mut queue = Queue::default();
        queue.push(7, Place::Started);
        queue.push(8, Place::Started);
        assert_eq!(queue.take(FAST, Reach::All, |unit, _| if unit == 7 { Look::Later } else { Look::Fits }), Some(8));
        assert_eq!(queue.take(FAST, Reach::All, |_, _| Look::Fits), Some(7));
        assert!(queue.is_empty());
    }

    #[test]
    fn who_may_not_have_it_is_not_asked_again_until_told_so() {
        let mut queue = Queue::default();
        queue.push(7, Place::Started);
        assert_eq!(queue.take(FAST, Reach::All, |_, _| Look::NotThisWorker), None);
        assert_eq!(queue.take(FAST, Reach::All, |_, _| panic!("looked at again")), None);
        queue.look_again(FAST);
        assert_eq!(queue.take(FAST, Reach::All, |_, _| Look::Fits), Some(7));
    }

    #[test]
    fn a_better_one_is_taken_if_it_stands_near_and_the_first_one_otherwise() {
        let mut queue = Queue::default();
        (0..40).for_each(|unit| queue.push(unit, Place::Started));
        let mut take = |better: u32| {
            let mut looks = 0;
            let look = |unit, _: Place| {
                looks += 1;
                if unit == better { Look::Fits } else { Look::Worse }
            };
            (queue.take(FAST, Reach::All, look), looks)
        };
        assert_eq!([take(5), take(30), take(6)], [(Some(5), 6), (Some(0), 15), (Some(6), 5)]);
        let rest: Vec<_> = std::iter::from_fn(|| queue.take(FAST, Reach::All, |_, _| Look::Worse)).collect();
        assert_eq!(rest, (1..40).filter(|unit| ![5, 6].contains(unit)).collect::<Vec<_>>());
    }

    #[test]
    fn hidden_ones_are_all_taken_once_in_another_order() {
        let all = |seed| {
            let mut queue = Queue::hidden(0..1_000, [seed; 32]);
            let taken: Vec<_> = core::iter::from_fn(|| queue.take(FAST, Reach::All, |_, _| Look::Fits)).collect();
            assert!(queue.is_empty());
            taken
        };
        let (one, other) = (all(1), all(2));
        assert_ne!(one, other);
        assert_eq!(one, all(1));
        let mut sorted = one.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1_000).collect::<Vec<_>>());
        // What comes next is above what came before as often as below.
        let ups = one.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((450..550).contains(&ups), "{ups}");
    }

    #[test]
    fn those_that_are_gone_leave_no_trace() {
        let mut queue = Queue::default();
        (0..1_000).for_each(|unit| queue.push(unit, Place::Started));
        assert_eq!(queue.take(FAST, Reach::All, |unit, _| if unit < 999 { Look::Gone } else { Look::Fits }), Some(999));
        assert!(queue.is_empty() && queue.started.places.is_empty());
    }
}
