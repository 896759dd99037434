//! Fuel and time of recent replicas, by job: the same fuel on every engine is determinism that can be seen, and time
//! tells whose engine is slow.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use manyhands_model::{Digest, Fuel};

use super::Kind;

/// Replicas of one job that are remembered.
const SAMPLES_MAX: usize = 1024;
/// Jobs of which some are; the one that nobody executed for longest is forgotten first.
const JOBS_MAX: usize = 64;

/// One replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What executed it.
    pub kind: Kind,
    /// Its fuel.
    pub fuel: Fuel,
    /// From the lease to the report.
    pub took: Duration,
}

#[derive(Debug, Default)]
struct Job {
    samples: VecDeque<Sample>,
    used: u64,
}

/// Recent replicas of recent jobs, by the sealed module.
#[derive(Debug, Default)]
pub struct Samples {
    jobs: BTreeMap<Digest, Job>,
    /// Counts up with every note.
    turn: u64,
}

impl Samples {
    /// Takes note of some replicas.
    pub fn note(&mut self, module: Digest, samples: impl IntoIterator<Item = Sample>) {
        self.turn += 1;
        if !self.jobs.contains_key(&module) && self.jobs.len() >= JOBS_MAX {
            let oldest = self.jobs.iter().min_by_key(|(_, job)| job.used).map(|(module, _)| *module);
            oldest.and_then(|module| self.jobs.remove(&module));
        }
        let job = self.jobs.entry(module).or_default();
        job.used = self.turn;
        for sample in samples {
            if job.samples.len() >= SAMPLES_MAX {
                job.samples.pop_front();
            }
            job.samples.push_back(sample);
        }
    }

    /// Those of a job.
    pub fn of(&self, module: &Digest) -> Vec<Sample> {
        self.jobs.get(module).map(|job| job.samples.iter().copied().collect()).unwrap_or_default()
    }

    /// The job that was executed last.
    pub fn latest(&self) -> Option<Digest> {
        self.jobs.iter().max_by_key(|(_, job)| job.used).map(|(module, _)| *module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(fuel: u64) -> Sample {
        Sample { kind: Kind::Native, fuel: Fuel(fuel), took: Duration::from_millis(1) }
    }

    #[test]
    fn the_last_replicas_of_the_last_jobs_are_kept() {
        let mut samples = Samples::default();
        let module = |index: usize| Digest::of(&index.to_be_bytes());
        samples.note(module(0), (0..2_000).map(sample));
        assert_eq!(samples.of(&module(0)).len(), SAMPLES_MAX);
        assert_eq!(samples.of(&module(0))[0], sample(2_000 - 1024));
        (1..JOBS_MAX).for_each(|index| samples.note(module(index), [sample(1)]));
        samples.note(module(0), [sample(7)]);
        samples.note(module(JOBS_MAX), [sample(1)]);
        assert_eq!(samples.jobs.len(), JOBS_MAX);
        assert!(samples.of(&module(1)).is_empty(), "used the longest time ago");
        assert!(!samples.of(&module(0)).is_empty());
        assert_eq!(samples.latest(), Some(module(JOBS_MAX)));
    }
}
