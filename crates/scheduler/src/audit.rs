//! Which units the operator's own machine executes as well.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

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

/// Audits under way and in line.
#[derive(Default)]
pub(crate) struct Audits {
    in_flight: BTreeMap<(UnitId, u32), Purpose>,
    /// Units without an answer go first.
    deciding: VecDeque<(UnitId, u32)>,
    verifying: VecDeque<(UnitId, u32, Box<UnitRecord>)>,
    /// Units without an answer that were asked for so far, and units accepted so far.
    decided: u64,
    accepted: u64,
}

impl Audits {
    /// Notes that a unit was accepted.
    pub(crate) const fn note_accepted(&mut self) {
        self.accepted += 1;
    }

    /// Whether one more dispute may be settled. Drawn audits have a budget of their own, so that nobody can use it up by disputing.
    pub(crate) fn is_affordable(&self, trust: &Trust) -> bool {
        let most = trust.audit_burst as f64 + (trust.audit_share - trust.audited()) * self.accepted as f64;
        trust.has_audits() && (self.decided as f64) < most
    }

    /// Asks for one, unless that has happened.
    pub(crate) fn ask(&mut self, unit: UnitId, step: u32, purpose: Purpose) {
        match purpose {
            Purpose::Decide => {
                if self.in_flight.contains_key(&(unit, step)) || self.deciding.contains(&(unit, step)) {
                    return;
                }
                self.deciding.push_back((unit, step));
                self.decided += 1;
            }
            Purpose::Verify(record) if self.verifying.len() < WAITING_MAX => {
                self.verifying.push_back((unit, step, record));
            }
            Purpose::Verify(_) => {}
        }
    }

    /// The next to begin, if one may.
    pub(crate) fn begin(&mut self, trust: &Trust) -> Option<(UnitId, u32, Purpose)> {
        if self.in_flight.len() >= trust.audits_in_flight_max {
            return None;
        }
        if let Some((unit, step)) = self.deciding.pop_front() {
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
