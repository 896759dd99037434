//! Units that want a lease.

use std::collections::{BTreeMap, VecDeque};

use crate::roster::WorkerNo;

/// Those of one run, in two lines: units on which somebody works already go first, so that units end early and few are open
/// at a time; then units that nobody has touched.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    started: Line<u32>,
    /// Started ones that are for workers with a record.
    kept: Line<u32>,
    fresh: Line<u32>,
    /// Never leased units need no place in a line: they are all from here on, in order.
    next_fresh: u32,
    end_fresh: u32,
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

    /// Takes the first unit that fits this worker. Those that are gone leave the line.
    pub(crate) fn take(&mut self, worker: WorkerNo, look: &mut impl FnMut(T) -> Look) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let from = self.seen.get(&worker).copied().unwrap_or(0).max(self.gone);
        let end = self.gone + self.places.len() as u64;
        let mut later = None;
        let mut found = None;
        let mut at = from;
        while at < end && found.is_none() {
            let place = &mut self.places[(at - self.gone) as usize];
            if let Some(unit) = *place {
                match look(unit) {
                    Look::Fits => found = place.take(),
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
    /// All of `0..inputs` are fresh.
    pub(crate) fn fresh(inputs: u32) -> Self {
        Self { end_fresh: inputs, ..Self::default() }
    }

    pub(crate) fn push(&mut self, unit: u32, place: Place) {
        match place {
            Place::Started => self.started.push(unit),
            Place::Kept => self.kept.push(unit),
            Place::Fresh => self.fresh.push(unit),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.has_started() && self.kept.is_empty() && self.fresh.is_empty() && self.next_fresh == self.end_fresh
    }

    /// Units that are kept for workers with a record.
    pub(crate) fn kept(&self) -> impl Iterator<Item = u32> + '_ {
        self.kept.places.iter().copied().flatten()
    }

    /// Whether there are started units that anybody may have.
    pub(crate) fn has_started(&self) -> bool {
        !self.started.is_empty()
    }

    /// Lets a worker look at everything again: it may now take what it could not.
    pub(crate) fn look_again(&mut self, worker: WorkerNo) {
        self.started.look_again(worker);
        self.kept.look_again(worker);
        self.fresh.look_again(worker);
    }

    /// Takes the first unit that fits this worker, among started ones that anybody may have only, or among all. Those that
    /// are gone leave the line.
    pub(crate) fn take(
        &mut self,
        worker: WorkerNo,
        all: bool,
        mut look: impl FnMut(u32, Place) -> Look,
    ) -> Option<u32> {
        let mut found = self.started.take(worker, &mut |unit| look(unit, Place::Started));
        if all {
            found = found
                .or_else(|| self.kept.take(worker, &mut |unit| look(unit, Place::Kept)))
                .or_else(|| self.fresh.take(worker, &mut |unit| look(unit, Place::Fresh)));
        }
        if found.is_some() || !all {
            return found;
        }
        while self.next_fresh < self.end_fresh {
            let unit = self.next_fresh;
            self.next_fresh += 1;
            match look(unit, Place::Fresh) {
                Look::Fits => return Some(unit),
                Look::NotThisWorker | Look::Later => self.fresh.push(unit),
                Look::Gone => {}
            }
        }
        None
    }
}

/// Where a unit stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Somebody works on it already.
    Started,
    /// The same, and somebody with a record should be next.
    Kept,
    /// Nobody has touched it.
    Fresh,
}

/// What a look at a unit in line says.
pub(crate) enum Look {
    /// This worker may have it.
    Fits,
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
            let taken = queue.take(FAST, true, |unit, _| {
                looks += 1;
                if known.contains(&unit) { Look::NotThisWorker } else { Look::Fits }
            });
            let unit = taken.expect("there is one left");
            known.insert(unit);
            queue.push(unit, Place::Started);
        }
        assert!(looks <= 2 * UNITS, "{looks} looks for {UNITS} leases");
        // The slow one meets them in order.
        let met: Vec<_> = (0..5).filter_map(|_| queue.take(SLOW, true, |_, _| Look::Fits)).collect();
        assert_eq!(met, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_somebody_else_should_have_stays_on_offer() {
        let mut queue = Queue::default();
        queue.push(7, Place::Started);
        queue.push(8, Place::Started);
        assert_eq!(queue.take(FAST, true, |unit, _| if unit == 7 { Look::Later } else { Look::Fits }), Some(8));
        assert_eq!(queue.take(FAST, true, |_, _| Look::Fits), Some(7));
        assert!(queue.is_empty());
    }

    #[test]
    fn who_may_not_have_it_is_not_asked_again_until_told_so() {
        let mut queue = Queue::default();
        queue.push(7, Place::Started);
        assert_eq!(queue.take(FAST, true, |_, _| Look::NotThisWorker), None);
        assert_eq!(queue.take(FAST, true, |_, _| panic!("looked at again")), None);
        queue.look_again(FAST);
        assert_eq!(queue.take(FAST, true, |_, _| Look::Fits), Some(7));
    }

    #[test]
    fn those_that_are_gone_leave_no_trace() {
        let mut queue = Queue::default();
        (0..1_000).for_each(|unit| queue.push(unit, Place::Started));
        assert_eq!(queue.take(FAST, true, |unit, _| if unit < 999 { Look::Gone } else { Look::Fits }), Some(999));
        assert!(queue.is_empty() && queue.started.places.is_empty());
    }
}
