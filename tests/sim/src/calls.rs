//! What units hear that ask for a call: of an API that is made up for the world, and decoys of what the production code draws.
//!
//! An answer has nothing to do with what was asked, nor its values with each other.

use core::time::Duration;
use std::collections::BTreeMap;

use manyhands_decoys::answers::{Over, draw};
use manyhands_intents::{Fault, Field, Heard};
use manyhands_model::{Digest, RunId, UnitId};

use crate::random::Random;

/// As many calls of a run are kept for its decoys.
const OVER_MAX: usize = 64;
/// How soon a decoy is looked at again for which too few calls are over; as the coordinator has it.
const LOOK_SOON: Duration = Duration::from_millis(50);

/// What is seen of an answer, by name.
pub(crate) const SEEN: [&str; 5] =
    ["whether a call was answered", "its status", "the answer's number", "the answer's word", "the answer's yes or no"];

/// All that was heard.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    heard: BTreeMap<UnitId, Heard>,
    over: BTreeMap<RunId, Vec<Over>>,
}

impl Calls {
    /// What an API says to a unit that was submitted, and how long that takes. Asked again, it is the same.
    pub(crate) fn ask(&mut self, unit: UnitId, seed: u64) -> Duration {
        let mut random = Random::new(seed ^ u64::from(unit.index) << 8 ^ u64::from(unit.run.0[3]));
        let soon = 0.05 + random.exponential(0.4);
        let (heard, took) = match random.unit() {
            ..0.05 => (Heard::Fault(Fault::TimedOut), 30.0 + soon),
            ..0.13 => (Heard::Fault(Fault::Status(404)), soon / 2.0),
            ..0.15 => (Heard::Fault(Fault::Withheld), soon),
            _ => {
                let cents = Field::Integer((random.unit() * 100_000.0) as i64);
                let word = ["basic", "basic", "basic", "silver", "gold"][(random.unit() * 5.0) as usize];
                let (word, in_stock) = (Field::Plain(word.to_owned()), Field::Boolean(random.chance(0.7)));
                let name = |text: &str| text.parse().expect("a constant");
                let fields = [(name("cents"), cents), (name("in_stock"), in_stock), (name("tier"), word)].into();
                // What there is more of takes longer.
                (Heard::Answer { status: 200, fields }, soon + random.exponential(0.2))
            }
        };
        self.heard.insert(unit, heard);
        Duration::from_secs_f64(took)
    }

    /// The answer is there. It is kept for decoys, at a place that follows from the call.
    pub(crate) fn over(&mut self, unit: UnitId, took: Duration) {
        let Some(heard) = self.heard.get(&unit).cloned().filter(|_| !unit.is_decoy()) else { return };
        let over = self.over.entry(unit.run).or_default();
        let call = Over { unit, step: 0, heard, took };
        let drawn = Digest::of_parts([&unit.run.0[..], &unit.index.to_le_bytes()]).0[0];
        // As if places were filled one after the other, until all are.
        match over.get_mut(usize::from(drawn) % OVER_MAX) {
            Some(place) => *place = call,
            None => over.push(call),
        }
    }

    /// What a decoy hears, and when, since it asked; or how long to wait until it is tried again, as it has waited so long.
    pub(crate) fn make_up(&mut self, unit: UnitId, waited: Duration, seed: [u8; 32]) -> Result<Duration, Duration> {
        // It is written before it is told, so who begins anew finds it.
        if self.heard.contains_key(&unit) {
            return Ok(Duration::ZERO);
        }
        let over = self.over.get(&unit.run).map_or(&[][..], Vec::as_slice);
        let Some(Over { heard, took, .. }) = draw(over, seed) else { return Err(LOOK_SOON.max(waited / 4)) };
        self.heard.insert(unit, heard);
        Ok(took)
    }

    /// What is seen of it.
    #[expect(clippy::cast_precision_loss, reason = "features")]
    pub(crate) fn seen(&self, unit: UnitId, step: u32) -> [f32; SEEN.len()] {
        let Some(heard) = self.heard.get(&unit).filter(|_| step > 0) else { return [-1.0; SEEN.len()] };
        match heard {
            Heard::Fault(Fault::Status(status)) => [0.0, f32::from(*status), -1.0, -1.0, -1.0],
            Heard::Fault(fault) => [0.0, fault.word().len() as f32, -1.0, -1.0, -1.0],
            Heard::Answer { status, fields } => {
                let value = |field: &Field| match field {
                    Field::Integer(number) => *number as f32,
                    Field::Boolean(yes) => f32::from(u8::from(*yes)),
                    Field::Plain(text) => text.bytes().map(f32::from).sum(),
                    Field::Token(_) => -1.0,
                };
                let of =
                    |name: &str| fields.iter().find(|(key, _)| key.as_str() == name).map_or(-1.0, |it| value(it.1));
                [1.0, f32::from(*status), of("cents"), of("tier"), of("in_stock")]
            }
        }
    }
}
