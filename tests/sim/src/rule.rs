//! When an outcome counts: the rules that are compared.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use manyhands_model::{Timestamp, WorkerId};
use manyhands_scheduler::{
    self as scheduler, Effect, Input, Level, Policy, Quorum, RunRecord, RunStatus, Scheduler, Trust, UnitRecord,
    WorkerRecord,
};
use serde::{Serialize, Serializer};

use crate::baseline::{Baseline, Kind};
use crate::scene::Scene;

/// What drives the workers of a world: the production scheduler, or somebody else's rule behind the same three verbs.
pub trait Coordinator {
    /// As [`Scheduler::handle`].
    fn handle(&mut self, now: Timestamp, input: Input);
    /// As [`Scheduler::poll_effect`].
    fn poll_effect(&mut self) -> Option<Effect>;
    /// As [`Scheduler::wake_at`].
    fn wake_at(&self) -> Option<Timestamp>;
    /// As [`Scheduler::restore_worker`]. Rules of others have no disk.
    fn restore_worker(&mut self, _id: WorkerId, _record: WorkerRecord) {}
    /// As [`Scheduler::restore_run`] for a run that is active, and as [`Scheduler::restore_history`] for others.
    fn restore_run(&mut self, _now: Timestamp, _run: RunRecord, _units: Vec<(u32, UnitRecord)>) {}
    /// What it waits for, for whoever looks into a world that does not end.
    fn explain(&self, _now: Timestamp) -> String {
        String::new()
    }
}

impl Coordinator for Scheduler {
    fn handle(&mut self, now: Timestamp, input: Input) {
        Self::handle(self, now, input);
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        Self::poll_effect(self)
    }

    fn wake_at(&self) -> Option<Timestamp> {
        Self::wake_at(self)
    }

    fn restore_worker(&mut self, id: WorkerId, record: WorkerRecord) {
        Self::restore_worker(self, id, record);
    }

    fn restore_run(&mut self, now: Timestamp, run: RunRecord, units: Vec<(u32, UnitRecord)>) {
        if run.status == RunStatus::Active {
            Self::restore_run(self, now, run, units, |_| false);
        } else {
            self.restore_history(&run.spec, units);
        }
    }

    fn explain(&self, now: Timestamp) -> String {
        let runs: Vec<_> = self.modules().map(|(run, _)| run).collect();
        let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
        for unit in runs.into_iter().flat_map(|run| self.why_all(now, run)) {
            *reasons.entry(format!("{:?}", unit.reason)).or_default() += 1;
        }
        let mut workers: BTreeMap<String, u32> = BTreeMap::new();
        for worker in self.workers() {
            let state = format!(
                "{:?}, connected {}, leases {}, banned {}, lapses {}",
                worker.standing, worker.connected, worker.leases, worker.record.banned, worker.record.lapses
            );
            *workers.entry(state).or_default() += 1;
        }
        format!("units: {reasons:#?}\nworkers: {workers:#?}\naudits under way, and in line: {:?}", self.audits())
    }
}

/// A rule that can be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Plain majority: two replicas, and one more at a time until two agree.
    QuorumOfTwo,
    /// Plain majority: three replicas at once, two that agree.
    TwoOfThree,
    /// BOINC's adaptive replication.
    Boinc,
    /// Sarmenta's credibility, for 1e-4.
    Credibility,
    /// The production scheduler with a fixed quorum: two that agree.
    Fixed,
    /// The production scheduler where words have to be earned: what it takes at least, and units of a thousand million that may be
    /// wrong.
    Earned(Level, u32),
}

/// What a rule promises, whoever attacks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// The share of units whose answer may be wrong when all have one.
    pub wrong_share_max: f64,
    /// Reports and own runs for each unit, once computers have had the time to earn their records.
    pub replicas_max: f64,
}

/// The rules of others.
pub const OTHERS: &[Rule] = &[Rule::QuorumOfTwo, Rule::TwoOfThree, Rule::Boinc, Rule::Credibility];

const ADAPTIVE_1E3: Rule = Rule::Earned(Level::Adaptive, 1_000_000);
const ADAPTIVE_4E4: Rule = Rule::Earned(Level::Adaptive, 400_000);
const ADAPTIVE_1E4: Rule = Rule::Earned(Level::Adaptive, 100_000);
const FULL_1E5: Rule = Rule::Earned(Level::Full, 10_000);
const FULL_1E6: Rule = Rule::Earned(Level::Full, 1_000);

impl Rule {
    /// The rules that the tables have where so many of a hundred workers are hostile.
    pub fn of_tables(hostile_percent: u32) -> Vec<Self> {
        let ours: &[Self] = match hostile_percent {
            0 => &[ADAPTIVE_1E3, ADAPTIVE_4E4, ADAPTIVE_1E4, FULL_1E5, FULL_1E6],
            1..=19 => &[ADAPTIVE_4E4, FULL_1E5],
            _ => &[ADAPTIVE_1E3, ADAPTIVE_1E4, FULL_1E5, FULL_1E6],
        };
        [OTHERS, ours].concat()
    }

    /// What it promises with so many of a hundred workers hostile, if it promises anything.
    pub fn promise(self, hostile_percent: u32) -> Option<Promise> {
        let replicas_max = match (self, hostile_percent) {
            (ADAPTIVE_4E4 | ADAPTIVE_1E3, 0) => 1.25,
            (Self::Earned(..), 0) => f64::INFINITY,
            (ADAPTIVE_4E4, ..=10) => 1.40,
            (FULL_1E5, ..=10) => 2.15,
            (ADAPTIVE_1E3, ..=30) => 1.75,
            (ADAPTIVE_1E4, ..=30) => 3.50,
            (FULL_1E5, ..=30) => 2.40,
            (FULL_1E6, ..=30) => 5.00,
            _ => return None,
        };
        let Self::Earned(_, wrong_ppb) = self else { return None };
        let wrong_share_max = if hostile_percent == 0 { 0.0 } else { f64::from(wrong_ppb) / 1e9 };
        Some(Promise { wrong_share_max, replicas_max })
    }

    /// Whether it is the production scheduler's.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Fixed | Self::Earned(..))
    }

    /// Whether units are begun in order, so that their numbers tell which ones somebody has had before.
    pub(crate) const fn is_in_order(self) -> bool {
        !matches!(self, Self::Earned(..))
    }

    pub(crate) const fn of_run(self) -> scheduler::Rule {
        match self {
            Self::Earned(level, wrong_ppb) => scheduler::Rule::Earned { level, wrong_ppb },
            _ => scheduler::Rule::Fixed(Quorum { agree: 2, most: 16 }),
        }
    }

    pub(crate) fn coordinator(self, seed: [u8; 32], scene: &Scene) -> Box<dyn Coordinator> {
        let kind = match self {
            Self::Fixed | Self::Earned(..) => {
                let hostile = f64::from(scene.assumed_percent) / 100.0;
                let policy = Policy { trust: Trust { hostile, ..Trust::default() }, ..Policy::default() };
                return Box::new(Scheduler::new(policy, seed));
            }
            Self::QuorumOfTwo => Kind::Majority { replicas: 2 },
            Self::TwoOfThree => Kind::Majority { replicas: 3 },
            Self::Boinc => Kind::Boinc,
            Self::Credibility => Kind::Credibility { hostile: f64::from(scene.hostile_percent.max(10)) / 100.0 },
        };
        Box::new(Baseline::new(kind, seed))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let earned = |level, wrong_ppb: u32| format!("{level}:{:e}", f64::from(wrong_ppb) / 1e9);
        f.pad(&match *self {
            Self::QuorumOfTwo => "2-of-2+".to_owned(),
            Self::TwoOfThree => "2-of-3".to_owned(),
            Self::Boinc => "boinc".to_owned(),
            Self::Credibility => "sarmenta".to_owned(),
            Self::Fixed => "fixed".to_owned(),
            Self::Earned(Level::Adaptive, wrong_ppb) => earned("adaptive", wrong_ppb),
            Self::Earned(Level::Full, wrong_ppb) => earned("full", wrong_ppb),
            Self::Earned(Level::Audited, wrong_ppb) => earned("audited", wrong_ppb),
        })
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text names no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no rule `{0}`; there are 2-of-2+, 2-of-3, boinc, sarmenta, fixed, adaptive:SHARE, full:SHARE and audited:SHARE, where a \
     share such as 1e-4 of the answers may be wrong"
)]
pub struct NoRule(String);

impl FromStr for Rule {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        if let Some(rule) = OTHERS.iter().chain(&[Self::Fixed]).find(|rule| rule.to_string() == text) {
            return Ok(*rule);
        }
        let unknown = || NoRule(text.to_owned());
        let (level, share) = text.split_once(':').ok_or_else(unknown)?;
        let level = match level {
            "adaptive" => Level::Adaptive,
            "full" => Level::Full,
            "audited" => Level::Audited,
            _ => return Err(unknown()),
        };
        let share: f64 = share.parse().map_err(|_| unknown())?;
        if !(1e-9..=1.0).contains(&share) {
            return Err(unknown());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be from 1 to a thousand million"
        )]
        Ok(Self::Earned(level, (share * 1e9).round() as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for rule in [0, 10, 30].into_iter().flat_map(Rule::of_tables) {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert_eq!(FULL_1E6.to_string(), "full:1e-6");
        for wrong in ["", "adaptive", "adaptive:0", "adaptive:-1", "adaptive:2", "full:NaN", "majority"] {
            assert!(wrong.parse::<Rule>().is_err(), "{wrong}");
        }
    }
}
