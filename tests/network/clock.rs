//! A computer's clocks against the true time, and the clock that both shells make of them.

use std::time::Duration;

use manyhands_model::Timestamp;

/// What a right wall clock shows at the beginning. Unit: milliseconds since the Unix epoch.
const EPOCH: i64 = 1_800_000_000_000;
/// Difference between wall and monotonic clock that means a leap, as the shells have it.
const LEAP: i64 = 30_000;

/// The clocks of one computer. All times in milliseconds, all arguments true time.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// How wrong the wall clock is.
    pub(crate) error: i64,
    /// How much faster than right both clocks go, in millionths.
    pub(crate) drift: i64,
    /// How long the computer has slept; its monotonic clock stood still meanwhile.
    pub(crate) slept: u64,
    /// How often the process has followed a leap of the wall clock.
    pub(crate) leaps: u32,
    /// Wall and monotonic clock when the process started, or when the wall clock leapt last.
    anchor: (i64, i64),
}

impl Clock {
    fn wall(&self, t: u64) -> i64 {
        EPOCH + self.ticks(t) + self.error
    }

    fn ticks(&self, t: u64) -> i64 {
        let t = t as i64;
        t + t * self.drift / 1_000_000
    }

    /// The monotonic clock.
    pub(crate) fn monotonic(&self, t: u64) -> i64 {
        self.ticks(t) - self.slept as i64
    }

    /// A process starts.
    pub(crate) fn start(&mut self, t: u64) {
        self.anchor = (self.wall(t), self.monotonic(t));
    }

    /// What the process takes for the time: the wall clock, carried on by the monotonic one between leaps.
    pub(crate) fn now(&mut self, t: u64) -> Timestamp {
        let (wall, carried) = (self.wall(t), self.anchor.0 + self.monotonic(t) - self.anchor.1);
        if (wall - carried).abs() < LEAP {
            return Timestamp(carried as u64);
        }
        self.start(t);
        self.leaps += 1;
        Timestamp(wall as u64)
    }

    /// The true time after `wait` on this computer's monotonic clock, unless it sleeps before.
    pub(crate) fn after(&self, t: u64, wait: Duration) -> u64 {
        // At least a millisecond on, whatever the rounding.
        let wait = wait.as_millis() as i64;
        t + (wait - wait * self.drift / 1_000_000 + 1) as u64
    }
}
