//! What is promised of a world, and whether it is kept.

use core::fmt;

use manyhands_scheduler::Level;

use crate::figures::Figures;
use crate::rule::Rule;
use crate::scene::Scene;

/// A figure for which there is a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// The share of units whose answer is wrong when all have one.
    Wrong,
    /// Reports and own runs for each unit, once computers have had the time to earn their records.
    Replicas,
    /// The coordinator's own runs for each unit.
    OwnRuns,
    /// Honest workers that were banned.
    HonestBanned,
    /// The most leases that an identity was given that never is right.
    InVain,
    /// Answers a second, as a share of those where nobody cheats and as many are assumed to.
    Throughput,
    /// Of the time that honest workers computed, the part that went into reports that counted.
    TimeCounted,
}

impl Quantity {
    /// Each.
    pub const ALL: [Self; 7] = [
        Self::Wrong,
        Self::Replicas,
        Self::OwnRuns,
        Self::HonestBanned,
        Self::InVain,
        Self::Throughput,
        Self::TimeCounted,
    ];

    /// How much it is, beside what came of the same world without cheats; nothing where that one is needed and was not played.
    pub fn of(self, figures: &Figures, control: Option<&Figures>) -> Option<f64> {
        Some(match self {
            Self::Wrong => figures.wrong_share(),
            Self::Replicas => figures.replicas_later,
            Self::OwnRuns => figures.own_runs,
            Self::HonestBanned => figures.honest_banned as f64,
            Self::InVain => f64::from(figures.in_vain_max),
            Self::Throughput => figures.throughput / control?.throughput.max(f64::MIN_POSITIVE),
            Self::TimeCounted => figures.time_counted,
        })
    }

    /// An amount of it in as few signs as it takes.
    pub fn text(self, amount: f64) -> String {
        match self {
            Self::Wrong if amount == 0.0 => "0".to_owned(),
            Self::Wrong => format!("{amount:.1e}"),
            Self::HonestBanned | Self::InVain => format!("{amount}"),
            Self::Replicas | Self::OwnRuns | Self::Throughput | Self::TimeCounted => format!("{amount:.2}"),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wrong => "wrong answers",
            Self::Replicas => "replicas a unit",
            Self::OwnRuns => "own runs a unit",
            Self::HonestBanned => "honest banned",
            Self::InVain => "leases in vain",
            Self::Throughput => "answers left",
            Self::TimeCounted => "time counted",
        })
    }
}

/// How far a figure may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Limit {
    /// The limit itself.
    pub const fn amount(self) -> f64 {
        match self {
            Self::AtMost(amount) | Self::AtLeast(amount) => amount,
        }
    }

    /// How far an amount is from it: above 0 where the promise is broken. What is no number breaks it.
    pub fn missed_by(self, amount: f64) -> f64 {
        let missed = match self {
            Self::AtMost(most) => amount - most,
            Self::AtLeast(least) => least - amount,
        };
        if missed.is_nan() { f64::INFINITY } else { missed }
    }
}

/// Audits that a unit takes on the average. What a rule promises besides stands with the rule.
const OWN_RUNS_MAX: f64 = 0.05;
/// What an identity may cost that is never right. Unit: leases.
const IN_VAIN_MAX: f64 = 20.0;
/// What is left of the answers a second while three in ten are only in the way.
const THROUGHPUT_MIN: f64 = 0.6;
/// Of what visitors donate, what has to count.
const TIME_COUNTED_MIN: f64 = 0.9;

/// How often a rule that keeps its promise exactly may seem to break it. So few units are not enough to say so.
const BY_CHANCE: f64 = 0.05;

/// The most that may be wrong of so many units where such a share is promised. Where that is less than one unit, it is what is not
/// less likely than [`BY_CHANCE`] if the share is true (Poisson): one wrong answer of 60,000 does not say that there is more than one in 100,000.
fn shown_by(units: u32, share_max: f64) -> f64 {
    let expected = share_max * f64::from(units);
    if expected <= 0.0 || expected >= 1.0 {
        return share_max;
    }
    // How likely so many are, and so many or more.
    let (mut exactly, mut at_least, mut most) = ((-expected).exp(), 1.0, 0.0);
    while at_least - exactly >= BY_CHANCE {
        at_least -= exactly;
        most += 1.0;
        exactly *= expected / most;
    }
    most / f64::from(units)
}

impl Scene {
    /// What is promised of it.
    pub fn promises(&self) -> Vec<(Quantity, Limit)> {
        let Some(promise) = self.rule.promise(self.hostile_percent) else { return Vec::new() };
        let is_hostile = self.hostile_percent > 0;
        let mut promises = vec![
            (Quantity::Wrong, Limit::AtMost(shown_by(self.units, promise.wrong_share_max))),
            (Quantity::HonestBanned, Limit::AtMost(0.0)),
        ];
        // Who assumes more pays for more, and visitors are not believed as soon as those who stay.
        let is_as_assumed = self.assumed_percent == self.hostile_percent.clamp(10, 99);
        if promise.replicas_max.is_finite() && is_as_assumed && self.visitors_percent == 0 {
            promises.push((Quantity::Replicas, Limit::AtMost(promise.replicas_max)));
        }
        // An audited rule asks for one of each unit.
        if !matches!(self.rule, Rule::Earned(Level::Audited, _)) {
            promises.push((Quantity::OwnRuns, Limit::AtMost(OWN_RUNS_MAX)));
        }
        if is_hostile && self.adversary.is_never_right() {
            promises.push((Quantity::InVain, Limit::AtMost(IN_VAIN_MAX)));
        }
        if self.control().is_some() {
            promises.push((Quantity::Throughput, Limit::AtLeast(THROUGHPUT_MIN)));
        }
        if !is_hostile && self.visitors_percent > 0 {
            promises.push((Quantity::TimeCounted, Limit::AtLeast(TIME_COUNTED_MIN)));
        }
        promises.sort_by_key(|(quantity, _)| *quantity);
        promises
    }

    /// The same world without cheats, for one whose answers a second are promised to be a share of that one's.
    pub fn control(&self) -> Option<Self> {
        let is_grieved = (1..=30).contains(&self.hostile_percent) && self.adversary.is_griefer();
        (is_grieved && self.rule.promise(self.hostile_percent).is_some()).then_some(self.without_cheats())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_broken_beyond_its_limit_and_by_what_is_no_number() {
        let broken = |limit: Limit, amount| limit.missed_by(amount) > 0.0;
        assert_eq!([0.9, 1.0, 1.1, f64::NAN].map(|it| broken(Limit::AtMost(1.0), it)), [false, false, true, true]);
        assert_eq!([0.9, 1.0, 1.1, f64::NAN].map(|it| broken(Limit::AtLeast(1.0), it)), [true, false, false, true]);
    }

    #[test]
    fn what_so_few_units_cannot_show_is_not_held_against_a_rule() {
        let wrong = |units, share| (shown_by(units, share) * f64::from(units)).round();
        // Two of 60,000 happen with 12 % if one in 100,000 is wrong, three with 2 %; one with 6 % if it is one in a million, two with 0.2 %.
        assert_eq!([wrong(60_000, 1e-5), wrong(60_000, 1e-6)], [2.0, 1.0]);
        assert_eq!([wrong(60_000, 1e-4), wrong(1_000_000, 1e-5), wrong(1_000_000, 1e-6)], [6.0, 10.0, 1.0]);
        assert_eq!([wrong(1_000, 1e-9), wrong(60_000, 0.0)], [0.0, 0.0]);
    }

    fn promised(rule: &str, adversary: &str, hostile_percent: u32, visitors_percent: u32) -> String {
        let scene = Scene {
            seed: 1,
            workers: 120,
            units: 60_000,
            hostile_percent,
            adversary: adversary.parse().expect("an adversary"),
            visitors_percent,
            assumed_percent: hostile_percent.max(10),
            long_runs: 0,
            restarts: 0,
            decoys_permille: 20,
            calls: false,
            rule: rule.parse().expect("a rule"),
        };
        let text = |(quantity, limit): (Quantity, Limit)| match limit {
            Limit::AtMost(most) => format!("{quantity} ≤ {}", quantity.text(most)),
            Limit::AtLeast(least) => format!("{quantity} ≥ {}", quantity.text(least)),
        };
        scene.promises().into_iter().map(text).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_world_has_the_promises_that_it_is_for() {
        let always = "own runs a unit ≤ 0.05, honest banned ≤ 0";
        let cells = [
            (promised("boinc", "mute", 30, 0), String::new()),
            (
                promised("full:1e-5", "sleeper:10", 30, 0),
                format!("wrong answers ≤ 3.3e-5, replicas a unit ≤ 2.40, {always}"),
            ),
            (
                promised("adaptive:1e-4", "gang:0:1000", 30, 0),
                format!("wrong answers ≤ 1.0e-4, replicas a unit ≤ 3.50, {always}, leases in vain ≤ 20"),
            ),
            (
                promised("adaptive:1e-4", "mute", 30, 0),
                format!(
                    "wrong answers ≤ 1.0e-4, replicas a unit ≤ 3.50, {always}, leases in vain ≤ 20, answers left ≥ 0.60"
                ),
            ),
            (promised("adaptive:4e-4", "none", 0, 90), format!("wrong answers ≤ 0, {always}, time counted ≥ 0.90")),
            (promised("audited:1e-6", "none", 0, 0), "wrong answers ≤ 0, honest banned ≤ 0".to_owned()),
        ];
        for (seen, expected) in cells {
            assert_eq!(seen, expected);
        }
    }
}
