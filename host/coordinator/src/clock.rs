//! The one clock of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use manyhands_model::Timestamp;

/// A day.
pub const DAY: Duration = Duration::from_secs(86_400);

/// Difference between the clock on the wall and the one that only goes forward that means a leap: somebody set
/// the clock, or the computer slept, through which the latter stands still.
const LEAP: Duration = Duration::from_secs(30);

/// The wall clock, carried on by the monotonic one between leaps: small corrections end no lease, and after a
/// large one workers with right clocks still believe what is signed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started_at: Timestamp,
    started: Instant,
    /// Milliseconds by which leaps moved it.
    moved: AtomicI64,
    leaps: AtomicU64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let (moved, leaps) = Default::default();
        Self(Arc::new(Inner { started_at: wall(), started: Instant::now(), moved, leaps }))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.at(wall())
    }

    fn at(&self, wall: Timestamp) -> Timestamp {
        let Inner { started_at, started, moved, leaps } = &*self.0;
        let carried_on = started_at.after(started.elapsed());
        let before = moved.load(Ordering::Relaxed);
        let now = Timestamp(carried_on.0.saturating_add_signed(before));
        if now.since(wall).max(wall.since(now)) < LEAP {
            return now;
        }
        let after = i64::try_from(i128::from(wall.0) - i128::from(carried_on.0)).unwrap_or(before);
        // Of several who notice at once, one counts.
        if moved.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            leaps.fetch_add(1, Ordering::Relaxed);
        }
        wall
    }

    /// How often it leapt so far.
    pub fn leaps(&self) -> u64 {
        self.0.leaps.load(Ordering::Relaxed)
    }

    /// When this process began to look at it.
    pub fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    /// When `at` will be, for a timer.
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        tokio::time::Instant::now() + at.since(self.now())
    }
}

fn wall() -> Timestamp {
    Timestamp(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_correction_changes_nothing_and_a_leap_is_followed() {
        let clock = Clock::start();
        let began = clock.now();
        let small = clock.at(began.after(Duration::from_secs(29)));
        assert!(small.since(began) < Duration::from_secs(5) && clock.leaps() == 0, "{small:?}");
        let later = began.after(Duration::from_secs(7200));
        assert_eq!((clock.at(later), clock.leaps()), (later, 1));
        let again = clock.at(later);
        assert!(again.since(later) < Duration::from_secs(5) && clock.leaps() == 1);
        let earlier = Timestamp(began.0 - 86_400_000);
        assert_eq!((clock.at(earlier), clock.leaps()), (earlier, 2));
    }
}
