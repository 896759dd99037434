//! What a worker's word is worth, and how much of it a unit takes.
//!
//! # The model
//! A share `f` of the independent voices is hostile ([`Trust::hostile`]). The hostile know each other, tell each other which
//! units they hold, and lie only when they like. So nothing that a worker did proves that it is honest: a sleeper's record is
//! as good as anybody's. What a record does prove is how much an identity has cost, and so how much harm its loss outweighs.
//!
//! *The order of words.* A unit's replicas are leased one after the other, and the next only when the one before has been
//! reported. The first voice with a record, the *anchor*, speaks without knowing who will come after it, or whether anybody
//! will: that is drawn from a keyed function of its report. A lie of the anchor stays undetected with probability
//! `ν = (1 − a) · h^n`, where `a` is the share of the accepted units that the operator's machine executes as well, `n` the
//! voices after the anchor, and `h` the chance that one of them belongs to it. Voices before the anchor count for nothing,
//! since whoever speaks after an accomplice lies without risk. Colluders that see that they share a unit gain nothing where
//! the first of them had to speak alone.
//!
//! *The harm of one identity.* Once a lie is proven, everything that the liar's word decided is taken back. What remains is
//! what an identity said that was never caught: `x` lies remain with probability `ν^x`, so at best for it `max x·ν^x`, which is
//! `1 / (e · ln 1/ν)` for `ν ≥ 1/e`, and `ν` below that, for the one lie of an identity that is given away for it. Sarmenta's bound
//! on spot-checking with blacklisting (Sarmenta, "Sabotage-tolerance mechanisms for volunteer computing systems", CCGrid 2001)
//! has the same form, for liars with a constant rate; this one holds for any history.
//!
//! *The rule.* The share of wrong answers is `f · harm / u`, where `u` is how many units an identity decides. With a target `ε`,
//! - a worker that has decided `u ≥ f / (e · ε)` units may be alone, with `ν = exp(−f / (e · ε · u))`: the more it has given,
//!   the less it is checked, and never less than [`Trust::checked_min`];
//! - before that, and where the target asks for more, `ν = min(1/e, ε · L / f)`: an identity can harm but once, and that counts
//!   over the `L` units of a usual life ([`Trust::life_units`]). Where one voice is enough ([`Level::Adaptive`]) nothing is assumed about
//!   a life: `L` is what the identity has cost so far.
//!
//! *Asking again.* An identity that is given away for one lie is caught by nobody's record. If it has been silent for
//! [`Trust::absence`], or does next to nothing beside others, and decided fewer units than its lie would have to be spread over, what it decided
//! is asked once more. If that was a lie, all who confirmed it are accomplices: so an *echo*, a word that was said after one that does not
//! count any more, contradicts and supports nothing. A new anchor is asked, who is hostile with probability `f`, and one voice more than the
//! first time, since the gang knows by now what it is asked: `f · h^(n+1)` of such lies remain. Where somebody was caught, most of what it
//! decided is right; there a new anchor is enough if nobody who confirmed it was caught as well, and `f` of the lies remain that were believed.
//!
//! *Who is asked again is drawn*, of those with a record and at work, whether they have time now or not. A gang knows the moment in which
//! one of it has been silent for long enough. If whoever came first got the unit, it would be theirs: they ask in that moment, and give back what is
//! another unit. The first time that a unit is asked whoever comes may have it, since to draw there as well would tell workers which of their
//! leases are checks: by how long they had been busy before. So of what is believed *at first* more is wrong than `f · h^n` by far, if a gang does that.
//!
//! *Strangers after the anchor.* Newcomers earn their records by confirming. Where they are few, all of them may be hostile: the honest
//! have their records, and whoever gave one away is back. So they are heard as seldom as it takes that `h` is no more than `(1 + s) · f`
//! even then (`Trust::strangers_heard`); `s` is 0.27.
//!
//! Where `n` is not whole, the next voice is drawn with the probability that makes up for it (`voices_after`).
//!
//! *Those without a record.* Visitors are gone before they have earned one. Where they are so many that the hostile share among them can
//! be told, since at worst all who are hostile are among them, they decide by their number: see `Crowd` below. They begin what those with a
//! record have no hands for; and each answer counts for the records of those who stay.
//!
//! # What it does not cover
//! - More hostile voices than `f`, or voices that look independent and are not.
//! - An identity that is thrown away for one lie, until it has been silent for [`Trust::absence`]. Before that the share is up to
//!   `f · h^n / u`, and up to `f / u` where accomplices pick the units of each other; no rule with so few replicas can do better. To keep an
//!   answer back until the next check of the same worker does not help: the liar says the truth until that check, which is of another unit, and
//!   leaves after it.
//! - One lie of each identity that is kept at work for good. A computer that works as much as others do can keep eight of them.
//! - Answers that were handed on before a liar was caught: they are named, and not undone. What must never be wrong waits for
//!   the operator's own machine ([`Level::Audited`]).

use core::time::Duration;
use manyhands_model::Judge;

use serde::{Deserialize, Serialize};

use crate::record::WorkerRecord;
use crate::unit::Quorum;

/// When an outcome counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// So many equal outcomes, whoever says so.
    Fixed(Quorum),
    /// As many as it takes, by what those who say so have earned.
    Earned {
        /// The least that it takes.
        level: Level,
        /// Units of a thousand million that may be wrong. At least 1.
        wrong_ppb: u32,
    },
}

impl Rule {
    /// The fewest equal outcomes that make an answer, and the most replicas of a unit.
    pub const fn replicas(self) -> Quorum {
        match self {
            Self::Fixed(quorum) => quorum,
            Self::Earned { level: Level::Adaptive | Level::Audited, .. } => Quorum { agree: 1, most: VOICES_MAX },
            Self::Earned { level: Level::Full, .. } => Quorum { agree: 2, most: VOICES_MAX },
        }
    }
}

/// The least that it takes, however much workers have earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// One worker with a record, and now and then another one.
    Adaptive,
    /// Two, at least one of them with a record.
    Full,
    /// The operator's own machine executes each unit as well: for what cannot be taken back. Where it does not execute
    /// anything, so many workers with a record that a target of all hostile ones agreeing is met.
    Audited,
}

/// What an operator can set about trust.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trust {
    /// The share of independent voices that is assumed to be hostile, above 0 and below 1.
    pub hostile: f64,
    /// How often an identity must have been right to be believed in anything.
    pub established_checks: u32,
    /// The share of a worker's units that somebody else executes as well, however much it has earned; 0 to 1.
    pub checked_min: f64,
    /// The share of units for which nobody else is needed, and that somebody without a record executes as well, as long as there
    /// are any who have nothing to do; 0 to 1. It is what it costs that newcomers become useful.
    pub tried_share: f64,
    /// Units that an identity usually decides before it is given up.
    pub life_units: u32,
    /// The share of accepted units that the operator's own machine executes as well; 0 to 1. Two thirds are drawn, the rest is
    /// for disputes.
    pub audit_share: f64,
    /// Audits beyond that share that may settle disputes.
    pub audit_burst: u64,
    /// Audits that may be under way at a time; 0 where the operator's machine executes nothing.
    pub audits_in_flight_max: usize,
    /// Workers with a record that have to be there, so that others are not tried on their own.
    pub core_min: usize,
    /// Workers that are tried on their own at a time while there are fewer.
    pub candidates_max: usize,
    /// Wrong outcomes after which a worker gets no more work.
    pub faults_max: u32,
    /// Checks for which a wrong outcome is forgiven: a machine that errs once in so many is no liar.
    pub forgiven_after: u32,
    /// Leases that a worker may let run out beyond what it brings, before it gets no more.
    pub lapses_max: u8,
    /// How long nothing that a worker says may count before what it decided is asked once more, if that is so little that one lie
    /// would matter: for somebody who has just earned a record. Who has done more may be away for longer in proportion, up to 32 times
    /// as long: what it did for one lie is so much more, and it is likelier to come back.
    pub absence: Duration,
    /// The share of one run's units that one worker may see; 0 to 1.
    pub run_share_max: f64,
    /// The share of one run's units that all workers of one owner together may see; 0 to 1.
    pub owner_share_max: f64,
    /// The share of one requester's leases of late that one worker may get, whatever runs they are of; 0 to 1.
    pub requester_share_max: f64,
    /// Units of one run, or of one requester, that a worker may see whatever share that is.
    pub run_units_min: u32,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            hostile: 0.3,
            established_checks: 100,
            checked_min: 0.05,
            tried_share: 0.15,
            life_units: 12_000,
            audit_share: 0.03,
            audit_burst: 2_000,
            audits_in_flight_max: 16,
            core_min: 8,
            candidates_max: 12,
            faults_max: 3,
            forgiven_after: 1_000,
            lapses_max: 12,
            absence: Duration::from_secs(900),
            run_share_max: 0.25,
            owner_share_max: 0.25,
            requester_share_max: 0.25,
            run_units_min: 256,
        }
    }
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Somebody of whom little is known.
    Stranger,
    /// It has been right as often as is asked for.
    Established,
    /// It is the operator's own.
    Trusted,
}

/// What those without a record are worth at present.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomers {
    /// The share of what they were asked that came to good, the latest most.
    good: f64,
}

impl Default for Newcomers {
    fn default() -> Self {
        Self { good: 1.0 }
    }
}

impl Newcomers {
    pub(crate) fn note(&mut self, good: bool) {
        self.good += (f64::from(u8::from(good)) - self.good) / 256.0;
    }

    /// The share of units that take nobody else on which one of them is tried. Where most of them only cost, few are.
    pub(crate) fn tried(self, trust: &Trust) -> f64 {
        trust.tried_share * self.good.powi(4)
    }

    /// The share of the voices after an anchor that may be theirs, by what it may be at [most](Trust::strangers_heard).
    pub(crate) fn heard(self, most: f64) -> f64 {
        most * self.good.max(0.1)
    }
}

/// Contradictions that nobody proved after which a worker that brings nothing else gets no more work; half as many where it has
/// hardly brought anything before.
const DOUBTS_MAX: u8 = 4;

/// What follows from a wrong outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing for whoever said it: an operator has pardoned it since. What its word of that time decided is taken back all the same.
    Pardoned,
    /// It is noted.
    Doubt,
    /// It has to earn everything again, and what it decided is taken back.
    Caught,
    /// The same, and from now on it gets no more work.
    Banned,
}

/// One word in so many more may be outvoted without a ban: where three workers in ten say the same lie, they outvote an honest one of
/// two in every sixth unit or so, and without this they would have everybody banned who is honest.
const OUTVOTED_BY_CHANCE: u64 = 3;

impl WorkerRecord {
    /// Whose word this is, unless it is the operator's.
    pub(crate) fn standing(&self, trust: &Trust) -> Standing {
        if self.checks >= trust.established_checks && !self.is_recalled(self.era) && !self.banned {
            Standing::Established
        } else {
            Standing::Stranger
        }
    }

    /// Whether it was found wrong, and has not been found right so often since that this is forgotten.
    pub const fn is_in_doubt(&self, trust: &Trust) -> bool {
        self.dissents > 0 && (self.faults > 0 || self.checks < trust.established_checks)
    }

    /// Units that its identity has cost.
    pub(crate) fn credit(&self, trust: &Trust) -> u32 {
        self.checks.min(trust.established_checks).saturating_add(self.decided)
    }

    /// Somebody who could not be fooled found it right.
    pub(crate) const fn passed(&mut self, trust: &Trust) {
        self.checks = self.checks.saturating_add(1);
        if self.faults > 0 && self.checks.is_multiple_of(trust.forgiven_after) {
            self.faults -= 1;
        }
    }

    /// Its signature stands under a wrong outcome. All that leads to a ban stands here: so many unforgiven faults that the
    /// operator's machine proved, or that a fixed quorum counted and that are no accident, or a proven one of somebody who has hardly done anything else. What
    /// only other workers say never bans where words have to be earned, or those who are many could ban whom they like.
    pub(crate) fn erred(&mut self, says: Judge, trust: &Trust) -> Consequence {
        self.dissents += 1;
        let hardly_known = self.checks < trust.established_checks / 10;
        if says == Judge::Peers {
            (self.checks, self.decided) = (self.checks / 2, 0);
            let doubts = if hardly_known { DOUBTS_MAX / 2 } else { DOUBTS_MAX };
            self.lapses = self.lapses.saturating_add(trust.lapses_max.div_ceil(doubts));
            return Consequence::Caught;
        }
        self.faults += 1;
        let is_habit = says == Judge::Operator || u64::from(self.faults) * OUTVOTED_BY_CHANCE > self.agreed;
        self.banned |= (self.faults >= trust.faults_max && is_habit) || (says == Judge::Operator && hardly_known);
        if self.banned || says == Judge::Operator {
            (self.checks, self.decided) = (0, 0);
        } else {
            self.checks /= 2;
        }
        match says {
            _ if self.banned => Consequence::Banned,
            Judge::Operator => Consequence::Caught,
            Judge::Peers => Consequence::Caught,
            Judge::Quorum => Consequence::Doubt,
        }
    }
}

impl Trust {
    /// Whether the operator's own machine executes units.
    pub(crate) const fn has_audits(&self) -> bool {
        self.audits_in_flight_max > 0
    }

    /// The share of accepted units that is audited without any reason.
    pub(crate) fn audited(&self) -> f64 {
        if self.has_audits() { self.audit_share * 2.0 / 3.0 } else { 0.0 }
    }

    /// How likely a voice after the anchor is the anchor's accomplice: the share of the hostile, and what strangers add to it at most.
    fn accomplice(&self) -> f64 {
        ((1.0 + STRANGERS) * self.hostile).min(0.95)
    }

    /// The share of the voices after an anchor that may be without a record, where there are so many `strangers`, and so many others. At
    /// worst all who are hostile are strangers: where these are few, nobody else is, since the honest have earned their records long
    /// since. So few are heard then that an accomplice is no likelier than the model says.
    pub(crate) fn strangers_heard(&self, strangers: usize, others: usize) -> f64 {
        let at_worst = (self.hostile * (strangers + others) as f64 / strangers.max(1) as f64).min(1.0);
        (STRANGERS * self.hostile / (at_worst - self.hostile).max(f64::MIN_POSITIVE)).min(STRANGERS)
    }

    /// How many independent voices have to say the same after the anchor, by its `credit` and a `draw` of 0 to 1.
    pub(crate) fn voices_after(&self, level: Level, wrong: f64, credit: u32, draw: f64) -> u8 {
        let accomplice = self.accomplice();
        let life = match level {
            // Where one voice more for young identities costs little, nothing is assumed about how long they live.
            Level::Adaptive => credit,
            Level::Full | Level::Audited => self.life_units,
        };
        let mut most = undetected_max(wrong / self.hostile, credit, life);
        if level == Level::Adaptive {
            most = most.min(undetected_alone(wrong / self.hostile, credit));
        }
        let mut undetected = 1.0 - self.audited();
        for voices in 0..VOICES_MAX {
            let chance = (1.0 - most / undetected) / (1.0 - accomplice);
            let chance = match (voices, level) {
                (0, Level::Adaptive) => chance.max(self.checked_min),
                (0, Level::Full | Level::Audited) => 1.0,
                _ => chance,
            };
            if draw >= chance {
                return voices;
            }
            undetected *= accomplice;
        }
        VOICES_MAX
    }

    /// How long this worker may be silent. See [`Self::absence`].
    pub(crate) fn absence_of(&self, record: &WorkerRecord) -> Duration {
        let times = f64::from(record.credit(self)) / f64::from(self.established_checks.max(1));
        self.absence.mul_f64(times.clamp(1.0, ABSENCES_MAX))
    }

    /// The half-life of what somebody did, where it is compared with what others do.
    pub(crate) fn effort_half_life(&self) -> Duration {
        self.absence / 3
    }

    /// How many units an identity has to decide before one lie of it does not count; at least 1. See the model.
    pub(crate) fn life(&self, wrong: f64) -> u32 {
        let undetected = undetected_max(wrong / self.hostile, 0, self.life_units);
        (self.hostile * undetected / wrong).ceil().max(1.0) as u32
    }

    /// How those without a record may decide by their number, where there are so many `strangers`, and so many others. At worst
    /// all who are hostile are among them, and where that is more than [`CROWD_HOSTILE_MAX`] they decide nothing.
    pub(crate) fn crowd(&self, strangers: usize, others: usize) -> Option<Crowd> {
        let hostile = self.hostile * (strangers + others) as f64 / strangers as f64;
        (hostile <= CROWD_HOSTILE_MAX).then_some(Crowd { hostile, strangers })
    }

    /// How many workers with a record have to say the same where nothing else stands behind them.
    pub(crate) fn voices_alone(&self, standing: Standing, wrong: f64) -> u8 {
        let hostile = if standing == Standing::Stranger { (2.0 * self.hostile).min(0.95) } else { self.hostile };
        (wrong.ln() / hostile.ln()).ceil().clamp(2.0, f64::from(VOICES_MAX)) as u8
    }
}

/// So many times as long as the youngest may anybody be silent: a night, for a quarter of an hour.
const ABSENCES_MAX: f64 = 32.0;

/// Words about one unit after which those without a record decide nothing any more.
pub(crate) const CROWD_MAX: usize = 40;

/// Beyond this share of hostile ones, numbers say too little.
const CROWD_HOSTILE_MAX: f64 = 0.4;

/// Those without a record, where they decide by their number.
///
/// They are asked one after the other, so the first of them lies without knowing who comes next. A unit on which all agree is wrong if
/// all are hostile, which `n` of them are with probability `hⁿ`. Where they do not agree they go on until one answer is `d`
/// ahead, and the wrong one is with probability below `(h / (1 − h))ᵈ` (the gambler's ruin).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Crowd {
    /// The share of them that may be hostile; up to [`CROWD_HOSTILE_MAX`].
    hostile: f64,
    /// How many independent ones there are.
    strangers: usize,
}

impl Crowd {
    /// Whether there are enough of them for a target, even if some are busy.
    pub(crate) fn is_enough(self, wrong: f64) -> bool {
        2 * self.ahead(wrong) <= self.strangers.min(CROWD_MAX)
    }

    /// How many have to say the same where nobody says anything else, by a `draw` of 0 to 1.
    pub(crate) fn unanimous(self, wrong: f64, draw: f64) -> usize {
        let exact = wrong.ln() / self.hostile.ln();
        let fewer = exact.floor().max(1.0);
        let chance = (1.0 - wrong / self.hostile.powf(fewer)) / (1.0 - self.hostile);
        (fewer as usize + usize::from(draw < chance)).max(2)
    }

    /// How far an answer has to be ahead where there are others.
    pub(crate) fn ahead(self, wrong: f64) -> usize {
        (wrong.ln() / (self.hostile / (1.0 - self.hostile)).ln()).ceil() as usize
    }
}

/// The share of the voices after an anchor that may be without a record, at most; and how much likelier that makes an accomplice.
const STRANGERS: f64 = 0.27;

/// A target as a share.
pub(crate) fn share(wrong_ppb: u32) -> f64 {
    f64::from(wrong_ppb.max(1)) * 1e-9
}

/// More than any target asks for.
pub(crate) const VOICES_MAX: u8 = 24;

/// How likely a lie may stay undetected, by the target over the hostile share. See the model.
fn undetected_max(wrong: f64, credit: u32, life_units: u32) -> f64 {
    let earned = wrong * f64::from(credit) * core::f64::consts::E;
    if earned >= 1.0 { (-1.0 / earned).exp() } else { (wrong * f64::from(life_units)).min(1.0 / core::f64::consts::E) }
}

/// The same for one lie of an identity that is given up for it. Where few voices follow, up to half as careful again as the model: an
/// identity earns its credit with reports, of which a unit takes more than one.
fn undetected_alone(wrong: f64, credit: u32) -> f64 {
    let harm = wrong * f64::from(credit);
    harm / (1.0 + harm.min(0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(trust: &Trust, level: Level, wrong: f64, credit: u32) -> f64 {
        let draws = 10_000;
        let voices = |draw| f64::from(trust.voices_after(level, wrong, credit, f64::from(draw) / f64::from(draws)));
        1.0 + (0..draws).map(voices).sum::<f64>() / f64::from(draws)
    }

    #[test]
    fn voices_by_target_and_credit() {
        let with = |hostile| Trust { hostile, ..Trust::default() };
        let cells = [
            (0.1, Level::Adaptive, 4e-4),
            (0.3, Level::Adaptive, 1e-3),
            (0.3, Level::Adaptive, 1e-4),
            (0.1, Level::Full, 1e-5),
            (0.3, Level::Full, 1e-5),
            (0.3, Level::Full, 1e-6),
        ];
        let line = |(hostile, level, wrong)| {
            let means = [100, 1_000, 10_000, 1_000_000].map(|credit| mean(&with(hostile), level, wrong, credit));
            format!("{hostile} {level:?} {wrong:e}: {means:.2?}")
        };
        assert_eq!(
            cells.map(line).join("\n"),
            "0.1 Adaptive 4e-4: [1.81, 1.08, 1.05, 1.05]
0.3 Adaptive 1e-3: [2.53, 1.14, 1.05, 1.05]
0.3 Adaptive 1e-4: [4.65, 2.53, 1.14, 1.05]
0.1 Full 1e-5: [2.00, 2.00, 2.00, 2.00]
0.3 Full 1e-5: [2.02, 2.02, 2.02, 2.00]
0.3 Full 1e-6: [4.42, 4.42, 4.42, 2.00]"
        );
    }

    #[test]
    fn few_strangers_are_heard_where_they_may_all_be_accomplices() {
        for hostile in [0.1, 0.3, 0.5] {
            let trust = Trust { hostile, ..Trust::default() };
            for (strangers, others) in [(0, 100), (1, 99), (12, 108), (40, 80), (90, 10), (100, 0)] {
                let heard = trust.strangers_heard(strangers, others);
                let everybody = (strangers + others) as f64;
                let of_strangers = (hostile * everybody / strangers.max(1) as f64).min(1.0);
                // As many of the others as of all are, though so many of them are strangers.
                let accomplice = heard * of_strangers + (1.0 - heard) * hostile;
                assert!(accomplice <= trust.accomplice() + 1e-9, "{hostile} {strangers} {others}: {accomplice}");
                assert!(heard > 0.0 && heard <= STRANGERS, "newcomers have to earn a record somewhere");
            }
        }
        let trust = Trust { hostile: 0.1, ..Trust::default() };
        let heard =
            [(12, 108), (60, 60), (110, 10)].map(|(strangers, others)| trust.strangers_heard(strangers, others));
        assert_eq!(heard.map(|heard| format!("{heard:.3}")), ["0.030", "0.270", "0.270"]);
    }

    #[test]
    fn who_has_done_more_may_be_away_for_longer() {
        let trust = Trust::default();
        let absence = |checks, decided| trust.absence_of(&WorkerRecord { checks, decided, ..WorkerRecord::default() });
        let minutes = [(0, 0), (100, 0), (100, 500), (5_000, 500), (5_000, 1_000_000)]
            .map(|(checks, decided)| absence(checks, decided).as_secs() / 60);
        assert_eq!(minutes, [15, 15, 90, 90, 480]);
    }

    #[test]
    fn a_crowd_is_as_large_as_its_hostile_share_asks_for() {
        let trust = Trust { hostile: 0.1, ..Trust::default() };
        assert_eq!(trust.crowd(20, 80), None);
        assert_eq!(trust.crowd(0, 100), None);
        let crowd = trust.crowd(90, 10).expect("nine in ten are strangers");
        assert!(crowd.is_enough(1e-5) && !trust.crowd(9, 1).expect("nine in ten").is_enough(1e-5));
        let mean =
            |wrong| (0..1_000).map(|draw| crowd.unanimous(wrong, f64::from(draw) / 1e3) as f64).sum::<f64>() / 1e3;
        assert_eq!([1e-2, 4e-4, 1e-5].map(|wrong| format!("{:.2}", mean(wrong))), ["2.21", "3.80", "5.46"]);
        assert_eq!([1e-2, 4e-4, 1e-5].map(|wrong| crowd.ahead(wrong)), [3, 4, 6]);
        // Which is what a unit may be wrong, exactly.
        for wrong in [1e-2, 4e-4, 1e-5] {
            let of = |draw| crowd.hostile.powi(crowd.unanimous(wrong, f64::from(draw) / 1e4) as i32);
            let share = (0..10_000).map(of).sum::<f64>() / 1e4;
            assert!((share / wrong - 1.0).abs() < 0.02, "{share} instead of {wrong}");
        }
    }

    #[test]
    fn no_history_makes_a_lie_worth_more_than_the_target() {
        // What an identity can do before it is caught, in any history: it lies with the probability that suits it best.
        for hostile in [0.05, 0.1, 0.3] {
            for wrong in [1e-3, 1e-4, 1e-5] {
                for credit in [200, 1_000, 5_000, 50_000] {
                    let undetected = undetected_max(wrong / hostile, credit, 10_000);
                    let harm = (1..1_000).map(|lies| f64::from(lies) * undetected.powi(lies)).fold(0.0, f64::max);
                    let life = f64::from(credit.max(10_000));
                    let counted = if undetected > 1.0 / core::f64::consts::E { f64::from(credit) } else { life };
                    assert!(hostile * harm / counted <= 1.05 * wrong, "{hostile} {wrong} {credit}: {harm}");
                }
            }
        }
    }

    #[test]
    fn attack_32_a_gang_that_outvotes_honest_workers_does_not_have_them_banned() {
        let trust = Trust::default();
        let banned = |said: &str| {
            let mut record = WorkerRecord::default();
            for word in said.bytes() {
                match word {
                    b'.' => record.agreed += 1,
                    _ => drop(record.erred(Judge::Quorum, &trust)),
                }
            }
            record.banned
        };
        assert!(!banned("xx") && banned("xxx"), "a liar is gone after three");
        assert!(banned(".........xxxx") && !banned(".........xxx"), "and one who begins to lie soon after");
        assert!(!banned(&".....x".repeat(1_000)), "one in six is what three in ten can do to an honest one");
    }
}
