//! What a worker can tell of a lease before it answers.
//!
//! Whoever knows that somebody has spoken on a unit before knows that a lie would be contradicted, and tells the truth there; only
//! where it comes first does a lie pay. So each lease is noted with everything that its worker can see, and a classifier is trained on it: it
//! is told which ones were checks, and then asked about the leases of workers that it has never seen. What it makes of them is the
//! area under its curve (AUC): the probability that it takes a check for one more readily than another lease of the same ten minutes. 0.5 is
//! guessing. How many checks there are at a time is no secret.
//!
//! The same for decoys: it is told which ones were made up, and then asked about units that it has not been told of either.

use std::collections::BTreeMap;

use manyhands_model::{RunId, Timestamp, UnitId, WorkerId};
use manyhands_scheduler::LeaseDraft;
use serde::Serialize;
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use crate::{calls, inputs};

/// What is seen of a lease beside the input and the answer to its call, by name. Times are in milliseconds.
const SEEN: [&str; 14] = [
    "the unit's number",
    "behind the highest number that it was given",
    "after the number that it was given before",
    "the same of the lease before",
    "the number's low bits",
    "what it takes",
    "since the lease before",
    "since it last reported",
    "leases in the same moment before",
    "leases that it holds",
    "leases that it was given",
    "since it came",
    "since the run's first lease",
    "the unit's step",
];
/// What is seen besides by workers who all tell each other: of what they know together, numbers of units are the same for everybody. Who spoke on a unit before they know as well, so only decoys are
/// to be told by it.
const TOLD: &str = "since anybody reported on the unit's step before";

/// Leases are compared with others of the same ten minutes.
const WINDOW_MS: u64 = 600_000;
/// Trees, their depth, and the leases that a leaf has at least.
const TREES: usize = 60;
const DEPTH: u16 = 12;
const LEAF: usize = 20;

/// A lease, as its worker sees it.
#[derive(Clone, Debug)]
struct Seen {
    by: usize,
    at: Timestamp,
    unit: UnitId,
    values: Vec<f32>,
    /// What others told.
    told: f32,
    what: What,
}

impl Seen {
    /// Whether a classifier is trained on what its worker saw; it is asked about what others did.
    const fn is_shown(&self) -> bool {
        self.by.is_multiple_of(2)
    }

    /// Whether it is of a unit whose leases one half of the workers show, or the other half is asked about: who was told of a unit what it is
    /// knows it again.
    const fn is_of_its_half(&self) -> bool {
        self.unit.index.is_multiple_of(2) == self.is_shown()
    }
}

/// What it really is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct What {
    /// Whether somebody has spoken on its unit before.
    pub(crate) is_check: bool,
    pub(crate) is_decoy: bool,
    /// Whether its worker has a record. One that has none knows that it is checked.
    pub(crate) has_record: bool,
}

/// What a worker remembers.
#[derive(Clone, Debug)]
struct Memory {
    number: usize,
    came: Timestamp,
    granted: Option<Timestamp>,
    reported: Option<Timestamp>,
    at_once: u32,
    leases: u32,
    runs: BTreeMap<RunId, Course>,
}

/// What it remembers of a run.
#[derive(Clone, Copy, Debug)]
struct Course {
    began: Timestamp,
    highest: u32,
    last: u32,
    step: i64,
}

/// Notes what honest workers see.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    memories: BTreeMap<WorkerId, Memory>,
    seen: Vec<Seen>,
    /// When somebody reported last that a unit asks for a call.
    asked: BTreeMap<UnitId, Timestamp>,
}

/// What workers could tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Observed {
    /// Which leases are checks. None where there are too few to learn from.
    pub checks: Option<Tells>,
    /// Which are decoys.
    pub decoys: Option<Tells>,
    /// The share of decoys among the leases of workers without a record, and of those with one.
    pub decoys_of: [f64; 2],
}

/// What a classifier made of what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tells {
    /// Leases that it was trained on, and those that it was asked about.
    pub trained: usize,
    /// See there.
    pub asked: usize,
    /// The part of them that were what it was to tell.
    pub told: f64,
    /// The area under its curve.
    pub auc: f64,
    /// What it went by, and how much: the largest three.
    pub by: Vec<(&'static str, f64)>,
}

#[expect(clippy::cast_possible_truncation, reason = "features")]
fn feature(value: f64) -> f32 {
    value as f32
}

impl Observer {
    pub(crate) fn came(&mut self, worker: WorkerId, now: Timestamp) {
        let number = self.memories.len();
        self.memories.entry(worker).or_insert(Memory {
            number,
            came: now,
            granted: None,
            reported: None,
            at_once: 0,
            leases: 0,
            runs: BTreeMap::new(),
        });
    }

    /// It reported, perhaps that a unit asks for a call.
    pub(crate) fn reported(&mut self, worker: WorkerId, asks: Option<UnitId>, now: Timestamp) {
        if let Some(memory) = self.memories.get_mut(&worker) {
            memory.reported = Some(now);
        }
        self.asked.extend(asks.map(|unit| (unit, now)));
    }

    /// It was given a lease, and told this number of its unit. One of which nobody says what it is is remembered all the same.
    pub(crate) fn granted(
        &mut self,
        draft: &LeaseDraft,
        (index, input, answer): (u32, &str, [f32; calls::SEEN.len()]),
        held: usize,
        takes_s: f64,
        what: Option<What>,
    ) {
        let Some(memory) = self.memories.get_mut(&draft.worker) else { return };
        let now = draft.issued_at;
        let fresh = Course { began: now, highest: index, last: index, step: 0 };
        let course = memory.runs.entry(draft.unit.run).or_insert(fresh);
        let since = |at: Option<Timestamp>| at.map_or(-1.0, |at| now.0.saturating_sub(at.0) as f64);
        memory.at_once = if memory.granted == Some(now) { memory.at_once + 1 } else { 0 };
        let step = i64::from(index) - i64::from(course.last);
        let values = [
            f64::from(index),
            f64::from(course.highest) - f64::from(index),
            step as f64,
            course.step as f64,
            f64::from(index % 64),
            takes_s * 1e3,
            since(memory.granted),
            since(memory.reported),
            f64::from(memory.at_once),
            held as f64,
            f64::from(memory.leases),
            since(Some(memory.came)),
            since(Some(course.began)),
            f64::from(draft.step),
        ];
        *course = Course { highest: course.highest.max(index), last: index, step, ..*course };
        memory.granted = Some(now);
        memory.leases += 1;
        if let Some(what) = what {
            let values = values.map(feature).into_iter().chain(inputs::seen(input)).chain(answer).collect();
            let told = since(self.asked.get(&draft.unit).copied().filter(|_| draft.step > 0));
            self.seen.push(Seen { by: memory.number, at: now, unit: draft.unit, values, told: feature(told), what });
        }
    }

    pub(crate) fn observed(&self) -> Observed {
        let share = |has_record| {
            let of: Vec<_> = self.seen.iter().filter(|seen| seen.what.has_record == has_record).collect();
            of.iter().filter(|seen| seen.what.is_decoy).count() as f64 / of.len().max(1) as f64
        };
        Observed {
            // Those without a record know it.
            checks: self.tells(false, |seen| seen.what.has_record.then_some(seen.what.is_check)),
            decoys: self.tells(true, |seen| seen.is_of_its_half().then_some(seen.what.is_decoy)),
            decoys_of: [share(false), share(true)],
        }
    }

    /// Trains a forest on what every other worker saw, and asks it about the others'; `tell_each_other` says whether on what they were told as well. None where there is too
    /// little to learn from.
    fn tells(&self, tell_each_other: bool, label: impl Fn(&Seen) -> Option<bool>) -> Option<Tells> {
        let seen = self.seen.iter().filter_map(|seen| Some((seen, label(seen)?)));
        let (trained, asked): (Vec<_>, Vec<_>) = seen.partition(|(seen, _)| seen.is_shown());
        let matrix = |seen: &[(&Seen, bool)]| {
            let values =
                |seen: &Seen| seen.values.iter().copied().chain(tell_each_other.then_some(seen.told)).collect();
            DenseMatrix::from_2d_vec(&seen.iter().map(|(seen, _)| values(seen)).collect::<Vec<_>>()).ok()
        };
        let labels: Vec<f64> = trained.iter().map(|(_, is_it)| f64::from(u8::from(*is_it))).collect();
        let parameters = RandomForestRegressorParameters::default()
            .with_n_trees(TREES)
            .with_max_depth(DEPTH)
            .with_min_samples_leaf(LEAF)
            .with_seed(1);
        let forest = RandomForestRegressor::fit(&matrix(&trained)?, &labels, parameters).ok()?;
        let scores = forest.predict(&matrix(&asked)?).ok()?;
        let mut scored: BTreeMap<u64, Vec<(f64, bool)>> = BTreeMap::new();
        for (score, (seen, is_it)) in scores.into_iter().zip(&asked) {
            scored.entry(seen.at.0 / WINDOW_MS).or_default().push((score, *is_it));
        }
        let all = SEEN.into_iter().chain(inputs::SEEN).chain(calls::SEEN).chain(tell_each_other.then_some(TOLD));
        let mut by: Vec<_> = all.zip(forest.compute_feature_importances().ok()?).collect();
        by.sort_by(|one, other| other.1.total_cmp(&one.1));
        by.truncate(3);
        let told = asked.iter().filter(|(_, is_it)| *is_it).count() as f64 / asked.len() as f64;
        Some(Tells { trained: trained.len(), asked: asked.len(), told, auc: area(scored.into_values())?, by })
    }
}

/// The area under the curve: Mann and Whitney's statistic over the number of pairs, each within a window. None where there are none.
fn area(windows: impl IntoIterator<Item = Vec<(f64, bool)>>) -> Option<f64> {
    let (mut won, mut pairs) = (0.0, 0.0);
    for mut scored in windows {
        scored.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut below, mut checks) = (0.0, 0.0);
        for equal in scored.chunk_by(|one, other| one.0 == other.0) {
            let yes = equal.iter().filter(|scored| scored.1).count() as f64;
            let no = equal.len() as f64 - yes;
            won += yes * (below + no / 2.0);
            below += no;
            checks += yes;
        }
        pairs += checks * below;
    }
    (pairs > 0.0).then(|| won / pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker's leases, a check each third time: with numbers below those of others, or not.
    fn observed(tells: bool) -> Tells {
        let mut observer = Observer::default();
        for worker in 0..8_u8 {
            let id = WorkerId([worker; 32]);
            observer.came(id, Timestamp(0));
            let mut chance = crate::random::Random::new(u64::from(worker));
            for number in 0..1_000_u32 {
                let is_check = chance.chance(0.3);
                let index = if is_check && tells { number } else { number + 500 };
                let now = Timestamp(u64::from(number) * 1_000);
                let draft = LeaseDraft {
                    id: manyhands_model::LeaseId([0; 16]),
                    worker: id,
                    unit: manyhands_model::UnitId { run: RunId([0; 16]), index },
                    step: 0,
                    entry: manyhands_protocol::Entry::Run,
                    seed: [0; 32],
                    issued_at: now,
                    expires_at: now,
                };
                let what = What { is_check, is_decoy: false, has_record: true };
                observer.granted(&draft, (index, "{}", [-1.0; calls::SEEN.len()]), 0, 5.0, Some(what));
                observer.reported(id, None, now);
            }
        }
        observer.observed().checks.expect("there are enough")
    }

    #[test]
    fn what_tells_is_found_and_where_nothing_does_nothing_is() {
        let (told, blind) = (observed(true), observed(false));
        assert!(told.auc > 0.95, "{told:?}");
        assert!((0.45..0.55).contains(&blind.auc), "{blind:?}");
    }

    #[test]
    fn the_area_of_what_is_known_is_one_and_of_a_guess_a_half() {
        let scored = |yes: &[f64], no: &[f64]| {
            area([yes.iter().map(|it| (*it, true)).chain(no.iter().map(|it| (*it, false))).collect()])
        };
        assert_eq!(scored(&[0.9, 0.8], &[0.1, 0.2]), Some(1.0));
        assert_eq!(scored(&[0.1, 0.2], &[0.9, 0.8]), Some(0.0));
        assert_eq!(scored(&[0.5, 0.5], &[0.5]), Some(0.5));
        assert_eq!(scored(&[0.7, 0.1], &[0.5]), Some(0.5));
        assert_eq!(scored(&[], &[0.5]), None);
    }
}
