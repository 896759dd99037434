//! When an outcome counts: the rules that are compared.

use core::fmt;
use core::str::FromStr;

use manyhands_model::Timestamp;
use manyhands_scheduler::{Effect, Input, Policy, Quorum, Scheduler};
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
    /// Sarmenta's credibility.
    Credibility,
    /// The production scheduler with a fixed quorum: two that agree.
    Fixed,
}

/// All of them, in the order of the tables.
pub const ALL: &[Rule] = &[Rule::QuorumOfTwo, Rule::TwoOfThree, Rule::Boinc, Rule::Credibility, Rule::Fixed];

/// What a rule promises, whoever attacks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// The share of units whose answer may be wrong in the end.
    pub wrong_share_max: f64,
    /// Reports and own runs for each unit.
    pub replicas_max: f64,
}

impl Rule {
    /// What it promises with so many of a hundred workers hostile, if it promises anything.
    pub const fn promise(self, _hostile_percent: u32) -> Option<Promise> {
        None
    }

    /// Whether it is the production scheduler's.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Fixed)
    }

    pub(crate) const fn quorum(self) -> Quorum {
        Quorum { agree: 2, most: 16 }
    }

    pub(crate) fn coordinator(self, seed: [u8; 32], scene: &Scene) -> Box<dyn Coordinator> {
        let kind = match self {
            Self::Fixed => return Box::new(Scheduler::new(Policy::default(), seed)),
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
        f.pad(match self {
            Self::QuorumOfTwo => "2-of-2+",
            Self::TwoOfThree => "2-of-3",
            Self::Boinc => "boinc",
            Self::Credibility => "sarmenta",
            Self::Fixed => "fixed",
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
#[error("there is no rule `{0}`; there are {all}", all = ALL.iter().map(Rule::to_string).collect::<Vec<_>>().join(", "))]
pub struct NoRule(String);

impl FromStr for Rule {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Self, NoRule> {
        ALL.iter().find(|rule| rule.to_string() == text).copied().ok_or_else(|| NoRule(text.to_owned()))
    }
}
