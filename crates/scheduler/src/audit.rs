//! Which units the operator's own machine executes as well.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use manyhands_model::{Digest, Outcome, UnitId};

use crate::record::UnitRecord;
use crate::trust::Trust;

/// Accepted units that may wait for their audit. Beyond that they go without: audits are never in the way.
const WAITING_MAX: usize = 4_096;

/// Draws that nobody can foresee: a keyed function of what was reported, so they are fixed only when it is too late to
/// report something else, and nobody without the key can compute them.
pub(crate) struct Lottery(pub(crate) [u8; 32]);

/// What is drawn for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Draw {
    /// How many voices a unit takes.
    Voices,
    /// Whether the next voice, the so-manyth, may be one without a record.
    Stranger(u8),
    /// Whether somebody without a record is tried on a unit that takes no other voice.
    Trial,
    /// Whether an accepted unit is audited.
    Audit,
}

impl Lottery {
    /// Evenly distributed over 0 to 1, without 1.
    pub(crate) fn draw(&self, what: Draw, unit: UnitId, step: u32, said: &Outcome) -> f64 {
        let (letter, number) = match what {
            Draw::Voices => (b'v', 0),
            Draw::Stranger(number) => (b's', number),
            Draw::Trial => (b't', 0),
            Draw::Audit => (b'a', 0),
        };
        let content = said.verdict.content().map_or([0; 32], |(digest, _)| digest.0);
        let place = [&unit.index.to_le_bytes()[..], &step.to_le_bytes(), &said.fuel.0.to_le_bytes()].concat();
        let parts = [&b"manyhands:draw\0"[..], &self.0, &[letter, number], unit.run.as_bytes(), &place, &content];
        let Digest(digest) = Digest::of_parts(parts);
        let (bits, _) = digest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        (u64::from_le_bytes(*bits) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Why a unit is audited.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// It has no answer before.
    Decide(Need),
    /// It has one, which was drawn, and this is its record.
    Verify(Box<UnitRecord>),
}

/// Why a unit has no answer without the operator's machine. What owners ask for by their rule is not counted, or they could use up
/// what there is for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its rule says so.
    Rule,
    /// Those who were asked differ.
    Dispute,
    /// Too few are there who could be asked.
    Alone,
}

/// Audits for one reason, since the scheduler began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCount {
    /// Units that the operator's machine was to execute. A few were settled before their turn came.
    pub asked: u64,
    /// Units of which it said what came out.
    pub done: u64,
}

/// Audits by their reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditTally {
    /// The run's rule asks for them.
    pub rule: AuditCount,
    /// Workers differed.
    pub dispute: AuditCount,
    /// Too few workers with a record were there.
    pub alone: AuditCount,
    /// Drawn among the accepted units, without any reason.
    pub drawn: AuditCount,
}

impl AuditTally {
    const fn decided(&mut self, need: Need) -> &mut AuditCount {
        match need {
            Need::Rule => &mut self.rule,
            Need::Dispute => &mut self.dispute,
            Need::Alone => &mut self.alone,
        }
    }
}

/// Audits under way and in line.
#[derive(Default)]
pub(crate) struct Audits {
    in_flight: BTreeMap<(UnitId, u32), Purpose>,
    /// Units without an answer go first. Each stands in line once.
    deciding: VecDeque<(UnitId, u32, Need)>,
    in_line: BTreeSet<(UnitId, u32)>,
    verifying: VecDeque<(UnitId, u32, Box<UnitRecord>)>,
    tally: AuditTally,
    /// Units accepted so far.
    accepted: u64,
}

impl Audits {
    /// Notes that a unit was accepted.
    pub(crate) const fn note_accepted(&mut self) {
        self.accepted += 1;
    }

    /// Whether one more unit may be decided for such a reason.
    pub(crate) fn is_affordable(&self, trust: &Trust, need: Need) -> bool {
        self.left(trust, need) > 0
    }

    /// Units that may still be decided for such a reason. Each has a budget of its own, and so have drawn audits, so that
    /// nobody can use up one by another, or those that are drawn by disputing.
    pub(crate) fn left(&self, trust: &Trust, need: Need) -> u64 {
        if !trust.has_audits() {
            return 0;
        }
        let most = trust.audit_burst as f64 + (trust.audit_share - trust.audited()) * self.accepted as f64;
        let so_far = match need {
            Need::Rule => 0,
            Need::Dispute => self.tally.dispute.asked,
            Need::Alone => self.tally.alone.asked,
        };
        (most.ceil() as u64).saturating_sub(so_far)
    }

    /// Asks for a unit's answer, unless that has happened.
    pub(crate) fn decide(&mut self, unit: UnitId, step: u32, need: Need) {
        if self.in_flight.contains_key(&(unit, step)) || !self.in_line.insert((unit, step)) {
            return;
        }
        self.deciding.push_back((unit, step, need));
        self.tally.decided(need).asked += 1;
    }

    /// Asks whether a unit's answer is right.
    pub(crate) fn verify(&mut self, unit: UnitId, step: u32, record: UnitRecord) {
        if self.verifying.len() < WAITING_MAX {
            self.verifying.push_back((unit, step, Box::new(record)));
            self.tally.drawn.asked += 1;
        }
    }

    /// The next to begin, if one may.
    pub(crate) fn begin(&mut self, trust: &Trust) -> Option<(UnitId, u32, Purpose)> {
        if self.in_flight.len() >= trust.audits_in_flight_max {
            return None;
        }
        if let Some((unit, step, need)) = self.deciding.pop_front() {
            self.in_line.remove(&(unit, step));
            return Some((unit, step, Purpose::Decide(need)));
        }
        self.verifying.pop_front().map(|(unit, step, record)| (unit, step, Purpose::Verify(record)))
    }

    /// Notes that it begins; not if the same is executed already, which will do.
    pub(crate) fn began(&mut self, unit: UnitId, step: u32, purpose: Purpose) -> bool {
        match self.in_flight.entry((unit, step)) {
            Entry::Vacant(entry) => {
                entry.insert(purpose);
                true
            }
            Entry::Occupied(mut entry) => {
                // The latest record is the one to be verified; who waits for an answer goes on waiting.
                if matches!((entry.get(), &purpose), (Purpose::Verify(_), Purpose::Verify(_))) {
                    entry.insert(purpose);
                }
                false
            }
        }
    }

    /// One has come back, perhaps with an outcome; says what for.
    pub(crate) fn done(&mut self, unit: UnitId, step: u32, has_outcome: bool) -> Option<Purpose> {
        let purpose = self.in_flight.remove(&(unit, step))?;
        let count = match &purpose {
            Purpose::Decide(need) => self.tally.decided(*need),
            Purpose::Verify(_) => &mut self.tally.drawn,
        };
        count.done += u64::from(has_outcome);
        Some(purpose)
    }

    /// Audits by their reasons.
    pub(crate) const fn tally(&self) -> AuditTally {
        self.tally
    }

    /// Audits under way, and in line.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.in_flight.len(), self.deciding.len() + self.verifying.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_model::RunId;

    const UNIT: UnitId = UnitId { run: RunId([1; 16]), index: 0 };

    #[test]
    fn what_rules_ask_for_leaves_disputes_their_budget() {
        let trust = Trust { audit_burst: 2, ..Trust::default() };
        let mut audits = Audits::default();
        for index in 0..10 {
            audits.decide(UnitId { index, ..UNIT }, 0, Need::Rule);
        }
        assert!(audits.is_affordable(&trust, Need::Dispute) && audits.is_affordable(&trust, Need::Alone));
        for _ in 0..3 {
            audits.decide(UnitId { index: 10, ..UNIT }, 0, Need::Dispute);
        }
        assert!(audits.is_affordable(&trust, Need::Dispute), "the same unit counts once");
        audits.decide(UnitId { index: 11, ..UNIT }, 0, Need::Dispute);
        assert!(!audits.is_affordable(&trust, Need::Dispute) && audits.is_affordable(&trust, Need::Alone));
        assert_eq!(audits.counts(), (0, 12));
    }

    #[test]
    fn what_is_to_be_decided_is_not_displaced_by_what_is_to_be_verified() {
        let trust = Trust::default();
        let mut audits = Audits::default();
        audits.verify(UNIT, 0, UnitRecord::default());
        audits.decide(UNIT, 0, Need::Dispute);
        let begin = |audits: &mut Audits| {
            let (unit, step, purpose) = audits.begin(&trust).expect("one is in line");
            audits.began(unit, step, purpose)
        };
        assert!(begin(&mut audits) && !begin(&mut audits));
        assert!(matches!(audits.done(UNIT, 0, true), Some(Purpose::Decide(Need::Dispute))));
        assert!(audits.done(UNIT, 0, true).is_none());
        let (drawn, dispute) = (AuditCount { asked: 1, done: 0 }, AuditCount { asked: 1, done: 1 });
        assert_eq!(audits.tally(), AuditTally { drawn, dispute, ..AuditTally::default() });
        // It may be asked for once more.
        audits.decide(UNIT, 0, Need::Dispute);
        assert_eq!(audits.counts(), (0, 1));
        // Nobody could execute it.
        assert!(begin(&mut audits));
        audits.done(UNIT, 0, false);
        assert_eq!(audits.tally().dispute, AuditCount { asked: 2, done: 1 });
    }
}
