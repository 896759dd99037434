//! How much somebody does.

use core::time::Duration;

use manyhands_model::Timestamp;

/// Work that counted, each part of it half as much with every half-life that has gone by since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effort {
    work: f64,
    at: Timestamp,
}

impl Effort {
    pub(crate) fn at(self, now: Timestamp, half_life: Duration) -> f64 {
        let gone = now.since(self.at).as_secs_f64() / half_life.as_secs_f64().max(f64::MIN_POSITIVE);
        self.work * (-gone).exp2()
    }

    pub(crate) fn add(&mut self, now: Timestamp, half_life: Duration, work: f64) {
        *self = Self { work: (self.at(now, half_life) + work).max(0.0), at: now };
    }

    /// The clock was set back.
    pub(crate) fn set_back(&mut self, earlier: impl Fn(Timestamp) -> Timestamp) {
        self.at = earlier(self.at);
    }
}
