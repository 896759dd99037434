//! The connection to the coordinator, as far as time is concerned.
//!
//! ```text
//! Down ──its time──▶ Dialling ──challenge believed──▶ Introduced ──welcome──▶ Up
//!  ▲                    │                                 │                   │
//!  └── closed, silent ──┴─────────────────────────────────┴───────────────────┘
//! ```

use core::time::Duration;

use manyhands_model::quantity::milliseconds;
use manyhands_model::{Digest, Timestamp};

/// Time for the coordinator to greet, and to take the worker on.
pub(crate) const GREETING_TIME: Duration = Duration::from_secs(20);
/// Silent heartbeats after which the coordinator is gone, as the protocol has it.
const SILENT_HEARTBEATS: u32 = 3;
/// What a heartbeat may be, whatever the coordinator says.
const HEARTBEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// No connection; the next try at this moment, or never.
    Down(Option<Timestamp>),
    /// Connecting, or waiting for the challenge, until then.
    Dialling(Timestamp),
    /// The challenge is answered; waiting for the welcome until then.
    Introduced(Timestamp),
    /// Taken on.
    Up {
        /// How often to say something.
        heartbeat: Duration,
        /// When to say something next.
        ping_at: Timestamp,
        /// When the coordinator counts as gone.
        silent_at: Timestamp,
    },
}

/// What has to happen because time passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Connect,
    Ping,
    GiveUp(&'static str),
}

impl Link {
    pub(crate) fn up(now: Timestamp, heartbeat: Duration) -> Self {
        let heartbeat = heartbeat.clamp(HEARTBEAT.0, HEARTBEAT.1);
        Self::Up { heartbeat, ping_at: now.after(heartbeat), silent_at: now.after(heartbeat * SILENT_HEARTBEATS) }
    }

    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Something was heard.
    pub(crate) fn heard(&mut self, now: Timestamp) {
        if let Self::Up { heartbeat, silent_at, .. } = self {
            *silent_at = now.after(*heartbeat * SILENT_HEARTBEATS);
        }
    }

    /// What is due at `now`. A ping counts as said.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<Due> {
        match self {
            Self::Down(Some(at)) if *at <= now => Some(Due::Connect),
            Self::Dialling(until) | Self::Introduced(until) if *until <= now => {
                Some(Due::GiveUp("the coordinator did not answer in time"))
            }
            Self::Up { silent_at, .. } if *silent_at <= now => Some(Due::GiveUp("the coordinator fell silent")),
            Self::Up { heartbeat, ping_at, .. } if *ping_at <= now => {
                *ping_at = now.after(*heartbeat);
                Some(Due::Ping)
            }
            Self::Down(_) | Self::Dialling(_) | Self::Introduced(_) | Self::Up { .. } => None,
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        match *self {
            Self::Down(retry_at) => retry_at,
            Self::Dialling(until) | Self::Introduced(until) => Some(until),
            Self::Up { ping_at, silent_at, .. } => Some(ping_at.min(silent_at)),
        }
    }

    /// The clock was set back by `by`; what was a second away still is.
    pub(crate) fn set_back(&mut self, by: Duration) {
        match self {
            Self::Down(None) => {}
            Self::Down(Some(at)) | Self::Dialling(at) | Self::Introduced(at) => *at = at.before(by),
            Self::Up { ping_at, silent_at, .. } => {
                (*ping_at, *silent_at) = (ping_at.before(by), silent_at.before(by));
            }
        }
    }
}

/// Numbers that nobody foresees who does not know the seed: each the SHA-256 of the one before. Browsers have that hash in any
/// case, and waiting times are no reason to fetch a generator besides.
pub(crate) struct Random(Digest);

impl Random {
    pub(crate) const fn new(seed: [u8; 32]) -> Self {
        Self(Digest(seed))
    }

    fn next(&mut self) -> u32 {
        self.0 = Digest::of(self.0.as_bytes());
        let [a, b, c, d, ..] = self.0.0;
        u32::from_le_bytes([a, b, c, d])
    }
}

/// Waits that grow, and differ from worker to worker.
///
/// Full jitter (Brooker, "Exponential Backoff And Jitter", 2015): those who lost their connection together
/// do not come back together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackOff {
    shortest: Duration,
    longest: Duration,
    failures: u32,
}

impl BackOff {
    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, failures: 0 }
    }

    /// How long to wait after one more failure: at most `shortest` after the first, and at most twice as long
    /// after each more.
    pub(crate) fn next(&mut self, random: &mut Random) -> Duration {
        let ceiling = self.longest.min(self.shortest.saturating_mul(1 << self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        // Never nothing: a failure that is immediate would keep a processor busy.
        let millis = milliseconds(ceiling).saturating_mul(random.next().into()) >> u32::BITS;
        Duration::from_millis(millis).max(self.shortest / 5)
    }

    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}
