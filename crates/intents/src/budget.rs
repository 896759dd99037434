//! How often a verb was called, and whether it may be called again.
//!
//! A call is reserved before it is claimed, and given back only if it is certain that it was never made. So whatever crashes, no more
//! calls are made than the budget says; after a crash there may be fewer.

use std::collections::BTreeMap;

use manyhands_model::Timestamp;
use manyhands_model::verb::Budget;
use serde::{Deserialize, Serialize};

const HOUR_MS: u64 = 60 * 60 * 1_000;
/// Hours that may overlap with the last 24, the present one included.
const HOURS: u64 = 25;

/// The calls of one verb of a job in the last day, counted by hours.
///
/// An hour counts until the last moment of it is a day ago: in no 24 hours are there more calls than the budget says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// The latest hour that was ever reserved in. A clock that is put back does not open an hour that has been counted out.
    latest: u64,
    calls: BTreeMap<u64, u64>,
}

/// One call that may be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    hour: u64,
}

/// Why a call may not be made now. The job hears `budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The run has had its share, for good.
    #[error("this run has made its {0} calls of the verb; raise `budget.per_run` in the manifest, or divide the run")]
    Run(u64),
    /// All runs together have had the day's share.
    #[error(
        "the job has made its {per_day} calls of the verb in 24 hours; the next may be made in at most {wait_s} seconds"
    )]
    Day {
        /// The budget.
        per_day: u64,
        /// Until enough of them are a day ago.
        wait_s: u64,
    },
}

impl Day {
    /// How many calls there were in the last 24 hours, or in up to one hour before.
    pub fn used(&self, now: Timestamp) -> u64 {
        let first = (self.latest.max(now.0 / HOUR_MS) + 1).saturating_sub(HOURS);
        self.calls.range(first..).fold(0, |sum, (_, calls)| sum.saturating_add(*calls))
    }

    /// The hour in which a call counts now.
    fn turn(&mut self, now: Timestamp) -> u64 {
        let hour = now.0 / HOUR_MS;
        if hour + HOURS < self.latest {
            // More than a day back: it is not this clock that is wrong, but the one before. What it counted counts from now on.
            let ahead = self.calls.split_off(&hour).into_values().fold(0, u64::saturating_add);
            if ahead > 0 {
                self.calls.insert(hour, ahead);
            }
            self.latest = hour;
        }
        self.latest = self.latest.max(hour);
        let latest = self.latest;
        self.calls.retain(|counted, _| counted + HOURS > latest);
        latest
    }
}

/// Reserves a call, of which `run` have been made in this run.
///
/// # Errors
/// [`Exhausted`]; nothing is then reserved.
pub fn reserve(budget: &Budget, run: &mut u64, day: &mut Day, now: Timestamp) -> Result<Reservation, Exhausted> {
    if *run >= budget.per_run {
        return Err(Exhausted::Run(budget.per_run));
    }
    let hour = day.turn(now);
    if let Some(per_day) = budget.per_day
        && day.used(now) >= per_day
    {
        let oldest = day.calls.first_key_value().map_or(hour, |(oldest, _)| *oldest);
        let wait_ms = ((oldest + HOURS) * HOUR_MS).saturating_sub(now.0);
        return Err(Exhausted::Day { per_day, wait_s: wait_ms.div_ceil(1_000) });
    }
    *day.calls.entry(hour).or_default() += 1;
    *run += 1;
    Ok(Reservation { hour })
}

/// Gives back a call that was never made.
pub fn give_back(reservation: &Reservation, run: &mut u64, day: &mut Day) {
    *run = run.saturating_sub(1);
    if let Some(calls) = day.calls.get_mut(&reservation.hour) {
        *calls = calls.saturating_sub(1);
    }
}
