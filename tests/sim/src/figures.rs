//! What came of a world.

use core::time::Duration;

use manyhands_model::{Fuel, Timestamp};
use manyhands_scheduler::Paid;
use serde::Serialize;

use crate::scene::Scene;
use crate::world::RUNS;

/// What came of a world. Times are the world's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Units.
    pub units: u64,
    /// Those whose answer is wrong when all have one.
    pub wrong: u64,
    /// The same three hours later.
    pub wrong_settled: u64,
    /// Those that had a wrong answer at some time.
    pub wrong_once: u64,
    /// Answers that were taken back, right or wrong.
    pub reopened: u64,
    /// Those that ended without an answer.
    pub undecided: u64,
    /// Reports of workers and the coordinator's own runs, for each unit.
    pub replicas: f64,
    /// The same for the second half of the units.
    pub replicas_later: f64,
    /// The coordinator's own runs, for each unit.
    pub own_runs: f64,
    /// Leases that came to no report, for each unit.
    pub lost_leases: f64,
    /// From a unit's first lease to its first answer: half of the units take less. Unit: seconds.
    pub latency_p50_s: f64,
    /// One in a hundred takes more. Unit: seconds.
    pub latency_p99_s: f64,
    /// Answers a second, until 95 of 100 units have one.
    pub throughput: f64,
    /// Of the time that honest workers computed, the part that went into reports that counted.
    pub time_counted: f64,
    /// Identities that cheats used.
    pub hostile_identities: u64,
    /// The most leases that one of those was given that never was right.
    pub in_vain_max: u32,
    /// Those among them that were banned.
    pub hostile_banned: u64,
    /// Honest workers that were banned, within three hours after the last answer.
    pub honest_banned: u64,
    /// Of the fuel that was paid and not taken back within three hours, the part that nobody burnt for the answer.
    pub overpaid: f64,
}

impl Figures {
    /// The share of units whose answer is wrong when all have one.
    pub fn wrong_share(&self) -> f64 {
        self.wrong as f64 / self.units as f64
    }

    /// The share below which the true one is with a probability of 95 %: the exact bound of Clopper and Pearson in its Poisson limit,
    /// by the Wilson–Hilferty approximation of the quantile of chi-squared.
    pub fn wrong_share_at_most(&self) -> f64 {
        let freedom = (self.wrong + 1) as f64;
        // The standard normal's quantile of 95 %.
        let z = 1.644_853_627;
        let root = 1.0 - 1.0 / (9.0 * freedom) + z / (3.0 * freedom.sqrt());
        freedom * root.powi(3) / self.units as f64
    }

    /// Identities that cheats used up for each answer that is wrong when all have one; none if there is no such answer.
    pub fn identities_per_wrong(&self) -> Option<f64> {
        (self.wrong > 0).then(|| self.hostile_identities as f64 / self.wrong as f64)
    }
}

/// Counts while a world goes on.
#[derive(Debug)]
pub(crate) struct Tally {
    units: u64,
    /// Units without an answer.
    pub(crate) open: u64,
    pub(crate) wrong: u64,
    pub(crate) wrong_once: u64,
    pub(crate) undecided: u64,
    pub(crate) reopened: u64,
    pub(crate) reports: u64,
    pub(crate) own_runs: u64,
    pub(crate) leases: u64,
    pub(crate) hostile_identities: u64,
    pub(crate) in_vain_max: u32,
    pub(crate) hostile_banned: u64,
    pub(crate) honest_banned: u64,
    /// Fuel that was paid, less what was taken back; and of it what is more than the units cost.
    paid: i128,
    overpaid: i128,
    /// What the report took that is being told.
    pub(crate) reporting: Duration,
    donated: Duration,
    counted: Duration,
    latencies_ms: Vec<u64>,
    /// Replicas when half of the units had an answer.
    at_half: Option<u64>,
    /// When 95 of 100 units had one.
    mostly: Option<Timestamp>,
}

impl Tally {
    pub(crate) fn new(scene: &Scene) -> Self {
        let units = u64::from(RUNS * scene.units_per_run());
        Self {
            units,
            open: units,
            wrong: 0,
            wrong_once: 0,
            undecided: 0,
            reopened: 0,
            reports: 0,
            own_runs: 0,
            leases: 0,
            hostile_identities: 0,
            in_vain_max: 0,
            hostile_banned: 0,
            honest_banned: 0,
            paid: 0,
            overpaid: 0,
            reporting: Duration::ZERO,
            donated: Duration::ZERO,
            counted: Duration::ZERO,
            latencies_ms: Vec::new(),
            at_half: None,
            mostly: None,
        }
    }

    pub(crate) const fn ended(&self) -> u64 {
        self.units - self.open
    }

    /// An honest worker computed for so long.
    pub(crate) fn donate(&mut self, time: Duration) {
        self.donated += time;
    }

    /// So much of it went into a report that counted.
    pub(crate) fn count(&mut self, time: Duration) {
        self.counted += time;
    }

    /// A unit may have ended, or be open again.
    pub(crate) fn moved(&mut self, was_open: bool, is_open: bool) {
        self.open -= u64::from(was_open);
        self.open += u64::from(is_open);
    }

    /// A unit has its first answer, so long after its first lease.
    pub(crate) fn answered(&mut self, now: Timestamp, waited: Duration) {
        self.latencies_ms.push(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
        let answered = self.latencies_ms.len() as u64;
        if answered * 2 >= self.units {
            self.at_half.get_or_insert(self.reports + self.own_runs);
        }
        if answered * 20 >= self.units * 19 {
            self.mostly.get_or_insert(now);
        }
    }

    pub(crate) fn figures(&mut self, now: Timestamp) -> Figures {
        let units = self.units as f64;
        let replicas = self.reports + self.own_runs;
        self.latencies_ms.sort_unstable();
        let latency = |percent: usize| {
            let at = self.latencies_ms.len() * percent / 100;
            self.latencies_ms.get(at).map_or(0.0, |ms| *ms as f64 / 1000.0)
        };
        let mostly = self.mostly.unwrap_or(now);
        Figures {
            units: self.units,
            wrong: self.wrong,
            wrong_settled: self.wrong,
            wrong_once: self.wrong_once,
            undecided: self.undecided,
            reopened: self.reopened,
            replicas: replicas as f64 / units,
            replicas_later: (replicas - self.at_half.unwrap_or(0)) as f64 / (units / 2.0),
            own_runs: self.own_runs as f64 / units,
            lost_leases: self.leases.saturating_sub(self.reports) as f64 / units,
            latency_p50_s: latency(50),
            latency_p99_s: latency(99),
            throughput: units * 0.95 / (mostly.0.max(1) as f64 / 1000.0),
            time_counted: self.counted.as_secs_f64() / self.donated.as_secs_f64().max(f64::MIN_POSITIVE),
            hostile_identities: self.hostile_identities,
            in_vain_max: self.in_vain_max,
            hostile_banned: self.hostile_banned,
            honest_banned: self.honest_banned,
            overpaid: self.overpaid(),
        }
    }

    /// So much was paid for a unit that cost less, or was taken back.
    pub(crate) fn pay(&mut self, paid: &Paid, cost: Fuel) {
        let sign = if paid.is_taken_back { -1 } else { 1 };
        for (_, amount) in &paid.to {
            self.paid += sign * amount.0;
            self.overpaid += sign * (amount.0 - i128::from(cost.0)).max(0);
        }
    }

    pub(crate) fn overpaid(&self) -> f64 {
        self.overpaid as f64 / self.paid.max(1) as f64
    }
}
