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
    Decide,
    /// It has one, and this is its record.
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

/// Audits under way and in line.
#[derive(Default)]
pub(crate) struct Audits {
    in_flight: BTreeMap<(UnitId, u32), Purpose>,
    /// Units without an answer go first. Each stands in line once.
    deciding: VecDeque<(UnitId, u32)>,
    in_line: BTreeSet<(UnitId, u32)>,
    verifying: VecDeque<(UnitId, u32, Box<UnitRecord>)>,
    /// Asked for so far.
    disputes: u64,
    alone: u64,
    /// Units accepted so far.
    accepted: u64,
}

impl Audits {
    /// Notes that a unit was accepted.
    pub(crate) const fn note_accepted(&mut self) {
        self.accepted += 1;
    }

    /// Whether one more unit may be decided for such a reason. Each has a budget of its own, and so have drawn audits, so that
    /// nobody can use up one by another, or those that are drawn by disputing.
    pub(crate) fn is_affordable(&self, trust: &Trust, need: Need) -> bool {
        let most = trust.audit_burst as f64 + (trust.audit_share - trust.audited()) * self.accepted as f64;
        let so_far = match need {
            Need::Rule => 0,
            Need::Dispute => self.disputes,
            Need::Alone => self.alone,
        };
        trust.has_audits() && (so_far as f64) < most
    }

    /// Asks for a unit's answer, unless that has happened.
    pub(crate) fn decide(&mut self, unit: UnitId, step: u32, need: Need) {
        if self.in_flight.contains_key(&(unit, step)) || !self.in_line.insert((unit, step)) {
            return;
        }
        self.deciding.push_back((unit, step));
        match need {
            Need::Rule => {}
            Need::Dispute => self.disputes += 1,
            Need::Alone => self.alone += 1,
        }
    }

    /// Asks whether a unit's answer is right.
    pub(crate) fn verify(&mut self, unit: UnitId, step: u32, record: UnitRecord) {
        if self.verifying.len() < WAITING_MAX {
            self.verifying.push_back((unit, step, Box::new(record)));
        }
    }

    /// The next to begin, if one may.
    pub(crate) fn begin(&mut self, trust: &Trust) -> Option<(UnitId, u32, Purpose)> {
        if self.in_flight.len() >= trust.audits_in_flight_max {
            return None;
        }
        if let Some((unit, step)) = self.deciding.pop_front() {
            self.in_line.remove(&(unit, step));
            return Some((unit, step, Purpose::Decide));
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

    /// One has come back; says what for.
    pub(crate) fn done(&mut self, unit: UnitId, step: u32) -> Option<Purpose> {
        self.in_flight.remove(&(unit, step))
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
        let mut begin = || {
            let (unit, step, purpose) = audits.begin(&trust).expect("one is in line");
            audits.began(unit, step, purpose)
        };
        assert!(begin() && !begin());
        assert!(matches!(audits.done(UNIT, 0), Some(Purpose::Decide)));
        assert!(audits.done(UNIT, 0).is_none());
        // It may be asked for once more.
        audits.decide(UNIT, 0, Need::Dispute);
        assert_eq!(audits.counts(), (0, 1));
    }
}
