//! What happened, by the minute for a day and by the hour for thirty days; it survives a restart.
//!
//! Each period has a place in a ring of keys of the store, which the same minute of the next day, or the same hour
//! after thirty days, takes over: what is kept never grows. A minute in which nothing happened is not written.

use std::collections::BTreeMap;
use std::time::Duration;

use manyhands_model::Timestamp;
use manyhands_state::commit::Op;
use manyhands_state::{Commit, Key, ReadError, StateStore, Table};
use serde::{Deserialize, Serialize};

/// Before the keys of all periods, in the table of what belongs nowhere else.
pub const KEY: &[u8] = b"history";
/// Minutes that are kept.
pub const MINUTES: u64 = 24 * 60;
/// Hours that are kept.
pub const HOURS: u64 = 30 * 24;

/// What happened in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Units that got their answer.
    pub accepted: u64,
    /// Units on which workers could not agree, or whose machines failed.
    pub undecided: u64,
    /// Replicas that reported in time.
    pub replicas: u64,
    /// Reports that contradicted an answer.
    pub disagreements: u64,
    /// Leases that ran out, or that a machine failed.
    pub failures: u64,
    /// Fuel of the replicas that were part of a quorum.
    pub fuel: u64,
    /// Time of all replicas between lease and report. Unit: milliseconds.
    pub report_ms: u64,
    /// Native workers that were connected, at most.
    pub native: u32,
    /// Browsers that were connected, at most.
    pub browser: u32,
    /// Others that were connected, at most.
    pub other: u32,
}

impl Tally {
    /// Takes in what happened in another while.
    pub fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.accepted, other.accepted),
            (&mut self.undecided, other.undecided),
            (&mut self.replicas, other.replicas),
            (&mut self.disagreements, other.disagreements),
            (&mut self.failures, other.failures),
            (&mut self.fuel, other.fuel),
            (&mut self.report_ms, other.report_ms),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
        self.native = self.native.max(other.native);
        self.browser = self.browser.max(other.browser);
        self.other = self.other.max(other.other);
    }

    /// Whether anything happened; that workers are there is nothing that happens.
    pub fn is_quiet(&self) -> bool {
        let Self { accepted, undecided, replicas, disagreements, failures, .. } = *self;
        accepted + undecided + replicas + disagreements + failures == 0
    }
}

/// How long a period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A minute, of a day.
    Minute,
    /// An hour, of thirty days.
    Hour,
}

impl Period {
    /// How long it is.
    pub const fn length(self) -> Duration {
        match self {
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3600),
        }
    }

    const fn kept(self) -> u64 {
        match self {
            Self::Minute => MINUTES,
            Self::Hour => HOURS,
        }
    }

    /// The number of the period that `at` belongs to.
    pub fn of(self, at: Timestamp) -> u64 {
        at.0 / u64::try_from(self.length().as_millis()).unwrap_or(u64::MAX)
    }

    /// When a period begins.
    pub fn begin(self, number: u64) -> Timestamp {
        Timestamp(number.saturating_mul(u64::try_from(self.length().as_millis()).unwrap_or(u64::MAX)))
    }

    fn key(self, number: u64) -> Vec<u8> {
        let letter = match self {
            Self::Minute => b"m",
            Self::Hour => b"h",
        };
        let place = u16::try_from(number % self.kept()).unwrap_or(u16::MAX);
        [KEY, letter, &place.to_be_bytes()].concat()
    }
}

/// What a key of a period holds: its number, of which the key knows only the place in the ring, and what happened.
pub type Stored = (u64, Tally);

/// The day and the thirty days before now.
#[derive(Debug, Default)]
pub struct History {
    minutes: BTreeMap<u64, Tally>,
    hours: BTreeMap<u64, Tally>,
}

impl History {
    /// Reads what was kept. Blocks; for the start.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn load(store: &dyn StateStore) -> Result<Self, ReadError> {
        let mut history = Self::default();
        for (key, record) in store.scan(Table::Meta, KEY, None, (MINUTES + HOURS) as usize)? {
            let period = if key.get(KEY.len()) == Some(&b'm') { Period::Minute } else { Period::Hour };
            // A record of another version is worth no more than none.
            if let Ok((number, tally)) = postcard::from_bytes::<Stored>(&record.value) {
                history.of_mut(period).insert(number, tally);
            }
        }
        Ok(history)
    }

    fn of_mut(&mut self, period: Period) -> &mut BTreeMap<u64, Tally> {
        match period {
            Period::Minute => &mut self.minutes,
            Period::Hour => &mut self.hours,
        }
    }

    /// Takes note of what happened in the minute of `at`, and says what has to be written: nothing, if nothing did.
    pub fn note(&mut self, at: Timestamp, tally: &Tally) -> Option<Commit> {
        let mut commit = Commit::new();
        for period in [Period::Minute, Period::Hour] {
            let number = period.of(at);
            let periods = self.of_mut(period);
            // A clock that was set back must not leave a future.
            periods.retain(|kept, _| *kept + period.kept() > number && *kept <= number);
            let sum = periods.entry(number).or_default();
            sum.add(tally);
            if let Ok(value) = postcard::to_allocvec::<Stored>(&(number, *sum)) {
                commit.ops.push(Op::Put(Key::new(Table::Meta, &period.key(number)), value));
            }
        }
        (!tally.is_quiet()).then_some(commit)
    }

    /// `count` sums of `each` periods one after the other, up to `now`; the one that goes on comes last. With each the
    /// number of its first period. None where the coordinator did not run, or nothing happened and it restarted since.
    pub fn sums(&self, period: Period, now: Timestamp, each: u64, count: u64) -> Vec<(u64, Option<Tally>)> {
        let periods = match period {
            Period::Minute => &self.minutes,
            Period::Hour => &self.hours,
        };
        // Whole groups, so that a bar does not change its members each minute.
        let last = period.of(now) / each;
        let group = |number: u64| {
            let mut sum = None;
            for (_, tally) in periods.range(number * each..(number + 1) * each) {
                sum.get_or_insert_with(Tally::default).add(tally);
            }
            (number * each, sum)
        };
        (last.saturating_sub(count - 1)..=last).map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use manyhands_state::MemoryStore;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn accepted(accepted: u64) -> Tally {
        Tally { accepted, native: 2, ..Tally::default() }
    }

    fn of(history: &History, period: Period, at: u64) -> Option<u64> {
        let sums = history.sums(period, Timestamp(at), 1, 1);
        sums[0].1.map(|tally| tally.accepted)
    }

    #[test]
    fn what_happened_survives_a_restart() {
        let store = MemoryStore::new();
        let mut history = History::default();
        let at = 1_000 * 3_600_000 + 59 * MINUTE;
        for (minute, count) in [(0, 3), (1, 4)] {
            store.commit(history.note(Timestamp(at + minute * MINUTE), &accepted(count)).unwrap()).unwrap();
        }
        let mut again = History::load(&store).unwrap();
        assert_eq!(
            again.sums(Period::Minute, Timestamp(at + MINUTE), 1, 5),
            history.sums(Period::Minute, Timestamp(at + MINUTE), 1, 5)
        );
        assert_eq!(of(&again, Period::Hour, at), Some(3));
        assert_eq!(of(&again, Period::Hour, at + MINUTE), Some(4));
        // The minute in which it restarted has two halves.
        again.note(Timestamp(at + MINUTE + 1), &accepted(5));
        assert_eq!(of(&again, Period::Minute, at + MINUTE), Some(9));
    }

    #[test]
    fn the_same_place_is_used_again_and_nothing_is_older_than_it_says() {
        let store = MemoryStore::new();
        let mut history = History::default();
        let day = MINUTES * MINUTE;
        for number in 0..MINUTES + 5 {
            let commit = history.note(Timestamp(number * MINUTE), &accepted(1)).unwrap();
            assert!(commit.bytes() < 200, "{}", commit.bytes());
            store.commit(commit).unwrap();
        }
        let records = store.scan(Table::Meta, KEY, None, 10_000).unwrap().len() as u64;
        assert_eq!(records, MINUTES + 25, "a day of minutes, and hours");
        let again = History::load(&store).unwrap();
        assert_eq!(again.minutes.len() as u64, MINUTES);
        assert_eq!(of(&again, Period::Minute, day + 4 * MINUTE), Some(1));
        let sums = again.sums(Period::Minute, Timestamp(day + 4 * MINUTE), 60, 24);
        assert_eq!(sums.iter().filter_map(|(_, tally)| Some(tally.as_ref()?.accepted)).sum::<u64>(), 23 * 60 + 5);
        assert_eq!(sums.last().unwrap().0, MINUTES);
    }

    #[test]
    fn a_quiet_minute_is_known_and_not_written() {
        let mut history = History::default();
        let quiet = Tally { native: 3, ..Tally::default() };
        assert_eq!(history.note(Timestamp(0), &quiet), None);
        assert_eq!(history.sums(Period::Minute, Timestamp(0), 1, 1), [(0, Some(quiet))]);
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_no_future() {
        let mut history = History::default();
        history.note(Timestamp(100 * MINUTE), &accepted(1));
        history.note(Timestamp(50 * MINUTE), &accepted(2));
        assert_eq!(history.minutes.len(), 1);
    }
}
