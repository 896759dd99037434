//! The wall clock, smoothed.

use core::time::Duration;

use manyhands_model::Timestamp;

/// A difference between the clocks that means a leap: somebody set the clock, or the computer slept, through which the
/// monotonic one may stand still.
const LEAP: Duration = Duration::from_secs(30);

/// The wall clock, carried on by the monotonic one between leaps, so that a small correction ends no lease.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    anchor: Option<(Timestamp, Duration)>,
}

impl Clock {
    /// The time, when the wall clock says `wall` and the monotonic one `elapsed`, since whenever.
    pub fn now(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        if let Some((since, then)) = self.anchor {
            let carried_on = since.after(elapsed.saturating_sub(then));
            if carried_on.since(wall).max(wall.since(carried_on)) < LEAP {
                return carried_on;
            }
        }
        self.anchor = Some((wall, elapsed));
        wall
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    #[test]
    fn small_corrections_are_not_followed_and_leaps_are() {
        let mut clock = Clock::default();
        let mut now = |wall, elapsed| clock.now(Timestamp(wall), Duration::from_millis(elapsed)).0;
        assert_eq!(now(1_000_000, 5_000), 1_000_000);
        assert_eq!(now(1_029_000, 6_000), 1_001_000, "set ahead by 28 s");
        assert_eq!(now(1_040_000, 7_000), 1_040_000, "it slept");
        assert_eq!(now(900_000, 8_000), 900_000, "set back");
        assert_eq!(now(900_500, 9_000), 901_000);
    }
}
