//! The one clock of this process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use manyhands_model::Timestamp;

/// Wall-clock time as it was when the process started, carried on by the monotonic clock: somebody who
/// sets the computer's clock does not end leases.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_at: Timestamp(0).after(since_epoch), started: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }

    /// When `at` will be, for a timer.
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started) + at.since(self.started_at)
    }
}
