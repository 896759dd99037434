//! How much of the time a worker was there.
//!
//! Time is counted only while the coordinator runs and counts it: when that is away, nobody is absent.

use core::fmt;
use std::collections::VecDeque;

use manyhands_model::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 24 * 3_600_000;
/// Days that are told apart, the present one included.
const DAYS: usize = 30;

/// Time that was counted, in all and on each of the last thirty days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendance {
    total_ms: u64,
    /// Days since 1970, with the milliseconds of each.
    days: VecDeque<(u32, u32)>,
}

impl Attendance {
    /// Adds time that ended at `now`. A minute over midnight counts to the day in which it ends.
    pub fn add(&mut self, now: Timestamp, milliseconds: u32) {
        let day = day(now);
        self.total_ms = self.total_ms.saturating_add(u64::from(milliseconds));
        match self.days.back_mut() {
            // Clocks are set back as well.
            Some((last, sum)) if *last >= day => *sum = sum.saturating_add(milliseconds),
            Some(_) | None => self.days.push_back((day, milliseconds)),
        }
        while self.days.len() > DAYS {
            self.days.pop_front();
        }
    }

    /// Milliseconds in the thirty days that end with the one of `now`.
    fn lately(&self, now: Timestamp) -> u64 {
        let first = (day(now) + 1).saturating_sub(DAYS as u32);
        self.days.iter().filter(|(day, _)| *day >= first).map(|(_, sum)| u64::from(*sum)).sum()
    }
}

fn day(at: Timestamp) -> u32 {
    u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX - 1)
}

/// How long a worker was connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// When it first was.
    pub since: Timestamp,
    /// What the coordinator had counted by then.
    before_ms: u64,
    connected: Attendance,
}

/// A share of the time, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uptime(pub u32);

impl Presence {
    /// Of a worker that is there for the first time, when the coordinator has counted so much.
    pub fn new(now: Timestamp, counted: &Attendance) -> Self {
        Self { since: now, before_ms: counted.total_ms, connected: Attendance::default() }
    }

    /// Adds time in which it was connected, and that ended at `now`.
    pub fn add(&mut self, now: Timestamp, milliseconds: u32) {
        self.connected.add(now, milliseconds);
    }

    /// How long it was connected, in milliseconds, and the last day on which it was, since 1970: how much would be forgotten with it.
    pub fn weight(&self) -> (u64, u32) {
        (self.connected.total_ms, self.connected.days.back().map_or(0, |(day, _)| *day))
    }

    /// The share of all time since it was first there; none if nothing was counted since.
    pub fn ever(&self, counted: &Attendance) -> Option<Uptime> {
        share(self.connected.total_ms, counted.total_ms.saturating_sub(self.before_ms))
    }

    /// The same of the last thirty days.
    pub fn lately(&self, now: Timestamp, counted: &Attendance) -> Option<Uptime> {
        let possible = counted.lately(now).min(counted.total_ms.saturating_sub(self.before_ms));
        share(self.connected.lately(now), possible)
    }
}

fn share(of: u64, all: u64) -> Option<Uptime> {
    let millionths = u128::from(of.min(all)) * 1_000_000 / u128::from(core::num::NonZeroU64::new(all)?.get());
    u32::try_from(millionths).ok().map(Uptime)
}

impl Uptime {
    /// How many nines it begins with: 2 for 99.5 %. At most 6, which is all the time that was counted.
    pub fn nines(self) -> u32 {
        let absent = 1_000_000_u32.saturating_sub(self.0);
        (1..=6).take_while(|nines| absent <= 1_000_000 / 10_u32.pow(*nines)).count() as u32
    }
}

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nines() {
            0 => write!(f, "{} %", self.0 / 10_000),
            1 => f.write_str("1 nine"),
            2..=5 => write!(f, "{} nines", self.nines()),
            _ => f.write_str("100 %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u32 = 60_000;

    fn at(day: u64, minute: u64) -> Timestamp {
        Timestamp(day * DAY_MS + minute * u64::from(MINUTE))
    }

    #[test]
    fn a_worker_is_measured_against_the_time_since_it_came_and_in_which_the_coordinator_ran() {
        let mut counted = Attendance::default();
        counted.add(at(1, 9), 9 * MINUTE);
        let mut worker = Presence::new(at(1, 9), &counted);
        assert_eq!(worker.ever(&counted), None);
        // Ten minutes later it was there for all but one; then the coordinator was away for days.
        counted.add(at(1, 19), 10 * MINUTE);
        worker.add(at(1, 18), 9 * MINUTE);
        assert_eq!(worker.ever(&counted), Some(Uptime(900_000)));
        counted.add(at(7, 0), 10 * MINUTE);
        worker.add(at(7, 0), 10 * MINUTE);
        assert_eq!(worker.ever(&counted), Some(Uptime(950_000)));
        assert_eq!(worker.lately(at(7, 0), &counted), Some(Uptime(950_000)));
        // Thirty days later the first day counts no more, and then nothing does.
        assert_eq!(worker.lately(at(36, 0), &counted), Some(Uptime(1_000_000)));
        assert_eq!(worker.lately(at(37, 0), &counted), None);
        assert_eq!(worker.ever(&counted), Some(Uptime(950_000)));
    }

    #[test]
    fn no_more_than_thirty_days_are_kept_whatever_the_clock_does() {
        let mut counted = Attendance::default();
        for day in (0..100).chain(0..100) {
            counted.add(at(day, 1), MINUTE);
        }
        assert_eq!(counted.days.len(), DAYS);
        assert_eq!(counted.total_ms, 200 * u64::from(MINUTE));
    }

    #[test]
    fn nines_are_counted_and_less_is_percent() {
        let said = [0, 123_456, 899_999, 900_000, 989_999, 990_000, 999_900, 999_999, 1_000_000];
        let said = said.map(|millionths| Uptime(millionths).to_string());
        let expected = ["0 %", "12 %", "89 %", "1 nine", "1 nine", "2 nines", "4 nines", "100 %", "100 %"];
        assert_eq!(said, expected.map(str::to_owned));
    }
}
