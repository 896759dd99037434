//! Which backups may go.
//!
//! The rule is restic's: walk from the newest backup to the oldest, and keep the first one met in each
//! of so many hours, days and weeks. Hours without a backup do not count, so a computer that was off
//! for a month keeps what it had. *Newest* goes by the number that each backup was given and not by its
//! date: a clock that once ran ahead then leaves odd dates behind, and takes nothing along.

use std::collections::BTreeSet;

use manyhands_model::Timestamp;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// The Unix epoch was a Thursday, and weeks begin on Mondays.
const MONDAY_MS: u64 = 3 * DAY_MS;

/// How many backups are kept of each class. The newest is kept whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Hours, of which each keeps its last backup.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks, from Monday, in UTC.
    pub weekly: u32,
}

/// A backup as the rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken {
    /// Its number: grows with every backup in a directory.
    pub number: u64,
    /// When, by the clock of that moment.
    pub at: Timestamp,
}

/// The numbers of those that are kept for no reason any more. Pure, and the order of `backups` does not matter.
pub fn expired(backups: &[Taken], keep: Keep) -> BTreeSet<u64> {
    let mut newest_first = backups.to_vec();
    newest_first.sort_by(|a, b| b.cmp(a));
    let kept: BTreeSet<u64> = newest_first
        .first()
        .map(|newest| newest.number)
        .into_iter()
        .chain(last_of_each(&newest_first, keep.hourly, |at| at / HOUR_MS))
        .chain(last_of_each(&newest_first, keep.daily, |at| at / DAY_MS))
        .chain(last_of_each(&newest_first, keep.weekly, |at| (at + MONDAY_MS) / (7 * DAY_MS)))
        .collect();
    newest_first.iter().map(|taken| taken.number).filter(|number| !kept.contains(number)).collect()
}

/// The first met of each span of time, for the first `most` spans.
fn last_of_each(newest_first: &[Taken], most: u32, span: impl Fn(u64) -> u64) -> impl Iterator<Item = u64> {
    let mut seen = BTreeSet::new();
    newest_first.iter().filter(move |taken| seen.insert(span(taken.at.0))).map(|taken| taken.number).take(most as usize)
}

/// Whether it is time for another backup: none was taken in the last `every_ms` milliseconds. Backups from
/// the future, as a clock that ran ahead leaves them, do not count.
pub fn due(backups: &[Taken], now: Timestamp, every_ms: u64) -> bool {
    !backups.iter().any(|taken| taken.at <= now && now.0 - taken.at.0 < every_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEEP: Keep = Keep { hourly: 24, daily: 7, weekly: 4 };

    /// A directory over time: takes a backup whenever one is due, and lets the expired ones go.
    #[derive(Default)]
    struct Directory {
        number: u64,
        backups: Vec<Taken>,
    }

    impl Directory {
        fn tick(&mut self, at: u64) {
            let now = Timestamp(at);
            if due(&self.backups, now, HOUR_MS) {
                self.number += 1;
                self.backups.push(Taken { number: self.number, at: now });
                let expired = expired(&self.backups, KEEP);
                self.backups.retain(|taken| !expired.contains(&taken.number));
            }
        }

        /// Hours before `now` of all that is left, newest first.
        fn ages(&self, now: u64) -> Vec<u64> {
            self.backups.iter().rev().map(|taken| (now - taken.at.0) / HOUR_MS).collect()
        }
    }

    #[test]
    fn a_quarter_of_a_year_leaves_hours_days_and_weeks() {
        let mut directory = Directory::default();
        // Monday, 5 January 1970, and every quarter of an hour from then on.
        let start = 4 * DAY_MS;
        let end = start + 90 * DAY_MS;
        (start..=end).step_by(HOUR_MS as usize / 4).for_each(|at| directory.tick(at));
        // At midnight: this day's only backup, the last 23 hours, then the last of each earlier day and week.
        let mut expected: Vec<u64> = (0..24).collect();
        expected.extend([25, 49, 73, 97, 121]);
        // Day 90 is a Sunday, the 7th of its week: weeks end 6 days and an hour before it, and so on.
        expected.extend([145, 145 + 168, 145 + 336]);
        assert_eq!(directory.ages(end), expected);
    }

    #[test]
    fn a_clock_that_ran_ahead_takes_nothing_along() {
        let mut directory = Directory::default();
        let (start, year) = (20_000 * DAY_MS, 365 * DAY_MS);
        (0..48).for_each(|hour| directory.tick(start + hour * HOUR_MS));
        // The clock is a year ahead for two days, then right again for one.
        (48..96).for_each(|hour| directory.tick(start + year + hour * HOUR_MS));
        (96..120).for_each(|hour| directory.tick(start + hour * HOUR_MS));
        let last_day: Vec<_> = (96..120).map(|hour| Timestamp(start + hour * HOUR_MS)).collect();
        for at in last_day {
            assert!(directory.backups.iter().any(|taken| taken.at == at), "{at:?} is missing");
        }
        // And back by a year: a backup is due at once, and is not the first to go.
        let before = directory.number;
        directory.tick(start - year);
        assert_eq!(directory.number, before + 1);
        assert_eq!(directory.backups.last().map(|taken| taken.number), Some(directory.number));
    }

    proptest! {
        #[test]
        fn the_newest_stays_and_no_class_holds_too_many(
            dates in prop::collection::vec(0..400 * DAY_MS, 1..200),
            (hourly, daily, weekly) in (0..30_u32, 0..10_u32, 0..6_u32),
        ) {
            let keep = Keep { hourly, daily, weekly };
            let mut backups: Vec<_> =
                (1..).zip(&dates).map(|(number, &at)| Taken { number, at: Timestamp(at) }).collect();
            let gone = expired(&backups, keep);
            prop_assert!(!gone.contains(&backups[backups.len() - 1].number));
            let left = backups.len() - gone.len();
            prop_assert!(left <= 1.max((hourly + daily + weekly) as usize));
            // As many hours as were asked for, if there are so many.
            let spans = |span: u64| dates.iter().map(|at| at / span).collect::<BTreeSet<_>>().len();
            prop_assert!(left >= (hourly as usize).min(spans(HOUR_MS)));
            prop_assert!(left >= (daily as usize).min(spans(DAY_MS)));
            // The order in which they are listed does not matter, and what is left is left alone.
            backups.reverse();
            prop_assert_eq!(&expired(&backups, keep), &gone);
            backups.retain(|taken| !gone.contains(&taken.number));
            prop_assert_eq!(expired(&backups, keep), BTreeSet::new());
        }
    }
}
