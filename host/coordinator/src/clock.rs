//! The one clock of this process.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use manyhands_model::Timestamp;

/// Difference between the clock on the wall and the one that only goes forward that means a leap: somebody
/// set the clock, or the computer slept, through which the latter stands still. Runners have the same.
const LEAP: Duration = Duration::from_secs(30);

/// How far the wall clock has leapt since this process started. Unit: milliseconds.
static LEAPT: AtomicI64 = AtomicI64::new(0);

/// Wall-clock time as it was when the process started, carried on by the monotonic clock: somebody who sets the
/// computer's clock a little does not end leases. A leap is followed, or every lease would be out of date for the
/// workers, whose clocks are right.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started_at: earlier(wall(), LEAPT.load(Ordering::Relaxed)), started: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let ticks = self.started_at.after(self.started.elapsed());
        let known = LEAPT.load(Ordering::Relaxed);
        let leapt = follow(ticks, wall(), known);
        if leapt != known {
            LEAPT.store(leapt, Ordering::Relaxed);
        }
        earlier(ticks, -leapt)
    }

    /// How far the wall clock has leapt since the process started, in milliseconds: another number, another leap.
    pub fn leapt(&self) -> i64 {
        LEAPT.load(Ordering::Relaxed)
    }

    /// When `at` will be, for a timer.
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        tokio::time::Instant::now() + at.since(self.now())
    }
}

fn wall() -> Timestamp {
    Timestamp(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// How far the wall clock has leapt, where it was known to have leapt so far and the monotonic clock says `ticks`.
fn follow(ticks: Timestamp, wall: Timestamp, leapt: i64) -> i64 {
    let carried_on = earlier(ticks, -leapt);
    let apart = carried_on.since(wall).max(wall.since(carried_on));
    if apart < LEAP { leapt } else { wall.0.cast_signed() - ticks.0.cast_signed() }
}

/// The moment so many milliseconds earlier, or later if they are negative.
const fn earlier(at: Timestamp, by: i64) -> Timestamp {
    Timestamp(at.0.saturating_add_signed(by.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_is_followed_and_a_step_is_not() {
        let ticks = Timestamp(1_000_000_000);
        let off = |by| earlier(ticks, -by);
        for (wall, known, leapt) in [
            (0, 0, 0),
            (29_999, 0, 0),
            (-29_999, 0, 0),
            (30_000, 0, 30_000),
            (-7_200_000, 0, -7_200_000),
            (86_400_000, 86_390_000, 86_390_000),
            (0, 86_400_000, 0),
        ] {
            assert_eq!(follow(ticks, off(wall), known), leapt, "{wall} off the ticks, {known} known");
        }
    }
}
